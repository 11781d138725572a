"""Runs the program on wrong input: it must end in time, with little memory, in words, and with nothing written."""
import os
import resource
import shutil
import signal
import subprocess
import time

from .checks import listing
from .jobs import expect
from .launch import binary

SECONDS, MEGABYTES = 20, 1500
ADDRESSES = 8 << 30  # spares the machine what the program fails to hold


class Ended:
    def __init__(self, code, text, seconds, megabytes):
        self.code, self.text, self.seconds, self.megabytes = code, text, seconds, megabytes

    def __str__(self):
        return f"exit code {self.code} after {self.seconds:.1f} s and {self.megabytes:.0f} MB:\n{self.text[:900]}"


def rushes(*arguments, folder, seconds=SECONDS, megabytes=MEGABYTES, before=(), environment=None, addresses=ADDRESSES):
    """`rushes ARGUMENTS` in `folder`, ended: its code, and what it said. before: words of a command that starts it."""
    log = folder.parent / (folder.name + ".log")
    start = time.monotonic()
    with open(log, "wb") as out:
        process = subprocess.Popen(
            [*before, binary(), *map(str, arguments)], cwd=folder, stdout=out, stderr=out, stdin=subprocess.DEVNULL,
            start_new_session=True, env={**os.environ, "OMP_NUM_THREADS": "1", "RUSHES_THREADS": "1", **(environment or {})},
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (addresses, addresses)))
    pid = 0
    while pid == 0:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid == 0 and time.monotonic() - start > seconds:
            os.killpg(process.pid, signal.SIGKILL)
            pid, status, usage = os.wait4(process.pid, 0)
        time.sleep(0.005)
    process.returncode = os.waitstatus_to_exitcode(status)
    ended = Ended(process.returncode, log.read_text(errors="replace"), time.monotonic() - start, usage.ru_maxrss / 1024)
    shown = " ".join(map(str, arguments))[:200]
    if os.environ.get("HOSTILE_SHOW"):
        print(f"--- {shown}: {ended}", flush=True)
    expect(ended.seconds < seconds, f"{shown}: a hang: {ended}")
    expect(ended.megabytes < megabytes, f"{shown}: too much memory: {ended}")
    expect("internal error" not in ended.text and ended.code >= 0, f"{shown}: a bug: {ended}")
    return ended


def misses(text, wanted):
    """The entries of `wanted` (a text, or several that one line must hold together) that no line of `text` has."""
    lines = text.splitlines()
    return [entry for entry in wanted
            if not any(all(word in line for word in ([entry] if isinstance(entry, str) else entry)) for line in lines)]


def refused(arguments, wanted, folder, count=None, **how):
    """Exit code 2, each entry of `wanted` in a line (`count` lines in all), and nothing written."""
    before = listing(folder)
    ended = rushes(*arguments, folder=folder, **how)
    expect(ended.code == 2, f"{arguments}: should end with 2: {ended}")
    missing = misses(ended.text, wanted)
    expect(not missing, f"{arguments}: no line has {missing}: {ended}")
    problems = [line for line in ended.text.splitlines() if line.startswith("error: ")]
    expect(count is None or len(problems) == count, f"{arguments}: {len(problems)} problems, should be {count}: {ended}")
    expect(len(ended.text) < 100_000, f"{arguments}: a message of {len(ended.text)} bytes")
    expect(listing(folder) == before, f"{arguments}: something was written: {sorted(set(listing(folder)) - set(before))}")
    return ended


def accepted(arguments, wanted, folder, code=0, **how):
    ended = rushes(*arguments, folder=folder, **how)
    expect(ended.code == code, f"{arguments}: should end with {code}: {ended}")
    missing = misses(ended.text, wanted)
    expect(not missing, f"{arguments}: no line has {missing}: {ended}")
    return ended


def each(table, check):
    """check(name, *row) for every row; all failures in one go."""
    failed = []
    for name, *row in table:
        try:
            check(name, *row)
        except Exception as error:  # one failed row must not hide the others
            failed.append(f"{name}: {type(error).__name__}: {error}")
    expect(not failed, f"{len(failed)} of {len(table)}:\n" + "\n".join(failed))


def variant(model, folder, changes):
    """A copy of the model (hard links) at `folder`. changes: relative path -> bytes, a function of the old bytes, a
    function of the path (by its name `at`), or None to remove it."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(model, folder, copy_function=os.link)
    for name, change in changes.items():
        path = folder / name
        old = path.read_bytes() if path.is_file() and not getattr(change, "at", False) else None
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        if callable(change):
            change(path) if getattr(change, "at", False) else path.write_bytes(change(old))
        elif change is not None:
            path.write_bytes(change)
    return folder


def at(make):
    """Marks a change that makes something at the path: a link, a pipe, a folder."""
    make.at = True
    return make


def link(target):
    return at(lambda path: path.symlink_to(target))


pipe = at(lambda path: os.mkfifo(path))
directory = at(lambda path: path.mkdir())
