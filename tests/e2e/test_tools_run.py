#!/usr/bin/env python3
"""`tools/run` as a user starts it: the demo's model, signals, exit codes."""
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

from e2e.support import (SKIPPED, Launch, assert_clean, digests, done_counts, events, expect, main, no_processes,
                         write_job)

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODEL = ROOT / "datasets" / "shapes" / "checkpoint"
IDS = ["one", "two", "three", "four"]
COLOURS = ["red", "blue", "green", "yellow"]


def shapes_job(folder, name, steps=40):
    rows = [{"id": key, "prompt": f"a {colour} circle moving left on a black background", "seed": 7, "height": 64,
             "width": 64, "num_frames": 17} for key, colour in zip(IDS, COLOURS)]
    return write_job(folder, MODEL, name=name, output=name, rows=rows, steps=steps, save=("video",))


def start(*arguments, log, environment=None):
    return Launch([str(ROOT / "tools" / "run"), *map(str, arguments)], log, environment)


def case_runs_a_batch(folder, _):
    job = shapes_job(folder, "whole", steps=4)
    started = start(job, "-n", 2, log=folder / "log.txt")
    expect(started.wait() == 0, started.text())
    expect(str(folder / "whole" / "videos") in started.text(), f"does not say where the videos are:\n{started.text()}")
    assert_clean(folder / "whole", IDS)
    no_processes(started)


def case_signals_end_with_75_and_the_same_command_goes_on(folder, _):
    expect(start(shapes_job(folder, "whole"), log=folder / "whole.txt").wait() == 0, "the unbroken run failed")
    for number in (signal.SIGTERM, signal.SIGINT):
        name = number.name
        job, out = shapes_job(folder, name), folder / name
        started = start(job, "-n", 2, log=folder / f"{name}.txt")
        ready = started.wait_until(lambda: (out / "events.jsonl").exists() and len(done_counts(out)) >= 1)
        expect(ready, started.text())
        os.kill(started.pid, number)
        code = started.wait(60)
        expect(code == 75, f"{name}: exit code {code}:\n{started.text()}")
        expect(0 < len(events(out, "item_done")) < len(IDS), f"{name}: {len(events(out, 'item_done'))} items were done")
        no_processes(started)
        again = start(job, "-n", 2, log=folder / f"{name}-again.txt")
        expect(again.wait() == 0, again.text())
        assert_clean(out, IDS)
        expect(set(done_counts(out).values()) == {1}, f"{name}: {done_counts(out)}")
        expect(digests(out) == digests(folder / "whole"), f"{name}: other files than an unbroken run's")


def case_a_stop_counts_from_the_first_moment(folder, _):
    signals = [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1]
    for number, delay in enumerate((0, 0.03, 0.1, 0.2, 0.35, 0.6, 1, 1.5)):
        job = shapes_job(folder, f"after-{delay}")
        started = start(job, "-n", 2, log=folder / f"after-{delay}.txt")
        listens(started)
        time.sleep(delay)
        (os.kill if number % 2 else os.killpg)(started.pid, signals[number % 3])  # a group: Ctrl-C, Slurm
        code = started.wait(60)
        expect(code == 75, f"{delay} s: exit code {code}:\n{started.text()}")
        expect("run the same command again" in started.text() and "was lost" not in started.text(), started.text())
        no_processes(started)
        if delay in (0.2, 1.5):
            again = start(job, "-n", 2, log=folder / f"after-{delay}-again.txt")
            expect(again.wait() == 0, again.text())
            assert_clean(folder / f"after-{delay}", IDS)


def case_the_third_signal_ends_it(folder, _):
    job, out = shapes_job(folder, "out", steps=2000), folder / "out"
    started = start(job, "-n", 2, log=folder / "log.txt")
    expect(started.wait_until(lambda: (out / "events.jsonl").exists() and events(out, "item_started")), started.text())
    ranks = started.ranks()
    started.kill(ranks, signal.SIGSTOP)  # steps that never end
    try:
        for count in range(1, 4):
            expect(started.process.poll() is None, f"ended before signal {count}:\n{started.text()}")
            os.kill(started.pid, signal.SIGTERM)
            time.sleep(1)  # the stop is asked for repeatedly: that must not count
        expect(started.wait(20) == 75 and "third signal" in started.text(), started.text())
    finally:
        started.kill(ranks, signal.SIGCONT)
    no_processes(started)


def case_an_mpirun_that_hangs_at_its_end_is_ended(folder, _):
    # What Open MPI does now and then after ranks were killed while they started: the ranks gone, it waits for a lock for ever.
    if not waits_are_told():
        print("  skipped: this system does not tell what a process waits for")
        return
    hanging = folder / "bin" / "mpirun"
    hanging.parent.mkdir()
    hanging.write_text(f"#!{sys.executable}\nimport subprocess, sys, threading\n"
                       f"subprocess.run([{shutil.which('mpirun')!r}, *sys.argv[1:]])\n"
                       "lock = threading.Lock()\nlock.acquire()\nlock.acquire()\n")
    hanging.chmod(0o755)
    job = shapes_job(folder, "out")
    started = start(job, "-n", 2, log=folder / "log.txt", environment={"PATH": f"{hanging.parent}:{os.environ['PATH']}"})
    expect(started.wait(120) == 75, started.text())
    expect("mpirun hangs though its ranks have gone" in started.text(), started.text())
    no_processes(started)
    again = start(job, "-n", 2, log=folder / "again.txt")
    expect(again.wait() == 0, again.text())
    assert_clean(folder / "out", IDS)


def waits_are_told():
    sleeper = subprocess.Popen(["sleep", "60"])
    try:
        time.sleep(0.2)
        return pathlib.Path(f"/proc/{sleeper.pid}/wchan").read_text() not in ("", "0")
    finally:
        sleeper.kill()
        sleeper.wait()


def listens(started):
    """Waits until tools/run catches SIGTERM; before that there is only a shell that starts."""
    def catches():
        for line in pathlib.Path(f"/proc/{started.pid}/status").read_text().splitlines():
            if line.startswith("SigCgt:"):
                return int(line.split()[1], 16) >> (signal.SIGTERM - 1) & 1
    expect(started.wait_until(catches), started.text())


def case_killed_itself_it_leaves_no_ranks(folder, _):
    job, out = shapes_job(folder, "out"), folder / "out"
    started = start(job, "-n", 2, log=folder / "log.txt")
    expect(started.wait_until(lambda: (out / "events.jsonl").exists() and events(out, "item_started")), started.text())
    os.kill(started.pid, signal.SIGKILL)
    started.wait(60)
    end = time.monotonic() + 30
    while ranks_of(job):
        expect(time.monotonic() < end, f"ranks run on after tools/run was killed: {ranks_of(job)}")
        time.sleep(0.05)
    again = start(job, log=folder / "again.txt")
    expect(again.wait() == 0, again.text())
    assert_clean(out, IDS)


def ranks_of(job):
    """Pids of the processes, of whatever session, that run this job file."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
        except OSError:
            continue
        if str(job).encode() in words:
            found.append(int(entry.name))
    return found


def case_help_runs_nothing(folder, _):
    for arguments in (["--help"], ["-h"], [folder / "none.yaml", "--help"]):
        started = start(*arguments, log=folder / "log.txt")
        expect(started.wait(20) == 0 and started.text().startswith("usage: tools/run JOB"), started.text())


def case_what_cannot_be_started_is_no_lost_rank(folder, _):
    # A copy of the scripts in a tree whose set-up is done, but whose program is no program.
    for name in ("tools", "build"):
        (folder / name).mkdir()
    for name in ("run", "launch"):
        shutil.copy(ROOT / "tools" / name, folder / "tools" / name)
    (folder / "tools" / "setup").write_text("#!/bin/sh\n")
    (folder / "tools" / "setup").chmod(0o755)
    program = folder / "build" / "rushes"
    program.write_text("no program")
    for mode, words in ((0o644, "there is no "), (0o755, "build/rushes cannot be started")):
        program.chmod(mode)
        started = Launch(["bash", str(folder / "tools" / "run"), "job.yaml"], folder / "log.txt")
        expect(started.wait(60) == 1, started.text())
        expect(words in started.text() and "was lost" not in started.text(), started.text())


def case_rules_of_a_simulation_get_through(folder, _):
    started = start(shapes_job(folder, "job"), "--simulate", "2", "--with", "deaths=0", log=folder / "log.txt")
    expect(started.wait(120) == 0 and "deaths" in started.text(), started.text())


def case_wrong_calls_end_with_2(folder, _):
    job = shapes_job(folder, "job")
    wrong = {"no job": [], "no ranks": [job, "-n", "0"], "words for ranks": [job, "-n", "two"], "no number": [job, "-n"],
             "no such file": [folder / "none.yaml"], "an unknown option": [job, "--frsh"],
             "an unknown launcher": [job, "--with", "mpiexec"]}
    for number, (name, arguments) in enumerate(wrong.items()):
        started = start(*arguments, log=folder / f"log-{number}.txt")
        code = started.wait(120)
        expect(code == 2, f"{name}: exit code {code}:\n{started.text()}")
    expect(not (folder / "job").exists(), "a wrong call made the output folder")


if __name__ == "__main__":
    build = pathlib.Path(os.environ.get("RUSHES_BUILD", ROOT / "build"))
    if build != ROOT / "build" or not (build / ".configured").exists():
        print("skipped: tools/run builds and runs build/rushes, and this is another build")
        sys.exit(SKIPPED)
    sys.exit(main(__name__, needs_model=False))
