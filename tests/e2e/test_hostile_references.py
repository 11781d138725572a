#!/usr/bin/env python3
"""A folder of references that somebody has spoilt: regress, compare and bless say so, end with the right code and write
nothing through it; a bless that cannot be done changes nothing."""
import json
import os
import pathlib
import shutil
import sys
import tempfile

from e2e.support import expect, listing, main, write_job
from e2e.support.hostile import accepted, each, refused, rushes
from e2e.test_hostile_outputs import DEEP, STEPS

ROWS = [{"id": f"clip-{i}", "prompt": "x", "seed": i} for i in range(2)]
REGRESS, COMPARE = ["run", "night.yaml"], ["compare", "out", "--references", "references"]
BLESS = ["bless", "other", "--references", "references"]
_made = None


def spoilable(folder, model):
    """An output `out`, its references, the same clips by another seed in `other`, and a regress job. Gives the key's folder."""
    global _made
    if _made is None:
        _made = pathlib.Path(tempfile.mkdtemp(dir=model.parent))
        for name, kind, output, seed in (("job", "generate", "out", 0), ("job2", "generate", "other", 10),
                                         ("night", "regress", "night", 0)):
            rows = [{**row, "seed": row["seed"] + seed} for row in ROWS]
            job = write_job(_made, model, rows=rows, name=name, output=output, save=["frames"], sampling=STEPS, job=kind,
                            regression={"references": "references"})
            job.write_text(job.read_text().replace(str(_made) + "/", ""))
        for command in (["run", "job.yaml"], ["run", "job2.yaml"], ["bless", "out", "--references", "references"], REGRESS):
            accepted(command, [], _made)
        accepted(COMPARE, [], _made)
    shutil.rmtree(folder)
    shutil.copytree(_made, folder, copy_function=shutil.copy2, symlinks=True)
    return next(path.parent for path in (folder / "references").rglob("clips"))


def files(folder):
    """All that lies there; of folders only that they are there."""
    return {name: facts if (folder / name).is_file() else "folder" for name, facts in listing(folder).items()}


def put(path, content):
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    content(path) if callable(content) else path.write_bytes(content)


def folder_with_words(path):
    path.mkdir()
    (path / "words").write_text("dear")


def outside(path):
    path.symlink_to("/etc/passwd")


ODD = [("nothing", b""), ("garbage", b"\xff\0{"), ("half", b'{"schema": "rushes.re'), ("a list", b"[1]\n"), ("null", b"null\n"),
       ("deep", b'{"a":' * DEEP + b"1" + b"}" * DEEP), ("lists", b'{"a": [' + b"[]," * 15_000_000 + b"[]]}"),
       ("a pipe", os.mkfifo), ("a folder", folder_with_words), ("a link out", outside),
       ("a device", lambda path: path.symlink_to("/dev/zero")), ("a loop", lambda path: path.symlink_to(path.name))]


def case_hostile_references_of_a_clip(folder, model):
    good = json.loads((spoilable(folder, model) / "clips" / "clip-0.json").read_text())

    def changed(**fields):
        return json.dumps({**good, **fields}).encode()

    def file(**fields):
        return changed(files=[{**good["files"][0], **fields}])

    rows = ODD + [("schema", changed(schema="rushes.reference/9")), ("schema 3", changed(schema=3)), ("id", changed(id="clip-1")),
                  ("files", changed(files={"a": 1})), ("no files", changed(files=[])), ("files 3", changed(files=3)),
                  ("path", file(path="../../../../../etc/passwd")), ("absolute", file(path="/etc/passwd")),
                  ("bytes", file(bytes=-1)), ("many bytes", file(bytes="many")), ("hash", file(hash="0")),
                  ("kind", file(kind=3)), ("record", changed(record=[1]))]

    def check(name, content):
        key = spoilable(folder, model)
        put(key / "clips" / "clip-0.json", content)
        for command in (COMPARE, REGRESS) if callable(content) else (COMPARE,):
            ended = rushes(*command, folder=folder)
            expect(ended.code == (0 if name == "record" else 3), f"{command}: {ended}")
            expect(name == "record" or "clip-0" in ended.text, f"{command} does not say which: {ended}")
            expect("[json.exception" not in ended.text and "root:" not in ended.text, str(ended))

    each(rows, check)


def case_hostile_history_and_thresholds(folder, model):
    night = {"schema": "rushes.history/1", "time": "t", "output": "o", "run": "r", "build": "b", "passed": True, "clips": {}}
    lines = [{**night, key: wrong} for key in night for wrong in (3, None, [1], {"a": {"b": 1}})] + [{"schema": 3}, 3, None]
    wrong_lines = ("wrong lines", "".join(json.dumps(line) + "\n" for line in lines).encode())

    def check(name, content, place, code, word):
        key = spoilable(folder, model)
        put({"history": folder / "references", "model": key.parent}[place] /
            {"history": "history.jsonl", "model": "model.json"}[place], content)
        passwd = os.stat("/etc/passwd").st_mtime_ns
        for command in (COMPARE, REGRESS) if callable(content) else (COMPARE,):
            ended = rushes(*command, folder=folder)
            expect(ended.code == code, f"{command}: should end with {code}: {ended}")
            expect(word in ended.text and "[json.exception" not in ended.text, f"{command}: no '{word}': {ended}")
        expect(os.stat("/etc/passwd").st_mtime_ns == passwd, "written through a link")

    # What cannot be added to is a warning: no night fails for it.
    each([(name, content, "history", 0, "history" if callable(content) else "") for name, content in [*ODD, wrong_lines]], check)
    each([(name, content, "model", 3, "model.json") for name, content in
          [*ODD, ("a text", b'{"min_ssim": "0.5"}'), ("2", b'{"min_ssim": 2}'), ("NaN", b'{"min_ssim": NaN}')]], check)


def case_a_bless_that_cannot_be_done_changes_nothing(folder, model):
    key = spoilable(folder, model).relative_to(folder)

    def told(name, spoil, *wanted, command=BLESS):
        spoilable(folder, model)
        spoil()
        before = files(folder)
        ended = rushes(*command, folder=folder)
        expect(ended.code == 2 and all(word in ended.text for word in wanted), str(ended))
        expect(files(folder) == before, f"changed: {sorted(set(files(folder).items()) ^ set(before.items()))}: {ended}")

    clips = folder / key / "clips"
    each([(name, lambda content=content: put(folder / key / "blessings.jsonl", content), "blessings.jsonl")
          for name, content in ODD if callable(content)], told)
    last = folder / "other" / "frames" / "clip-1" / "00000.png"
    each([("a clip is a folder", lambda: put(clips / "clip-1.json", folder_with_words), "clip-1.json", "is a folder"),
          ("no reference", lambda: put(clips / "a b.json", b"{}"), "a b.json", "no file of bless"),
          ("versions are a file", lambda: put(folder / key / "versions" / "clip-1", b"x"), "versions/clip-1"),
          ("versions are a link", lambda: put(folder / key / "versions" / "clip-1", outside), "is a link"),
          ("clips are a link", lambda: put(clips, lambda path: path.symlink_to("/tmp")), "clips"),
          ("the last clip is damaged", lambda: put(last, b"x"), "clip-1")], told)
    told("the threshold is a folder", lambda: put((folder / key).parent / "model.json", folder_with_words), "model.json", "no file",
         command=[*BLESS, "--min-ssim", "0.9"])
    spoilable(folder, model)
    for target, why in (("out/job.yaml/x", "is no folder"), ("out", "there already")):
        refused([*BLESS, "--upload", target], [("--upload", target, why)], folder)


def case_an_upload_that_fails_late_names_what_was_asked_for(folder, model):
    key = spoilable(folder, model)
    damaged = next((key / "versions" / "clip-1").rglob("00000.png"))
    damaged.write_bytes(b"x")
    before = listing(folder / "out")
    ended = rushes("bless", "out", "--references", "references", "--only", "clip-0", "--upload", "new", folder=folder)
    expect(ended.code == 2 and "--upload" in ended.text and "bless clip-1 anew" in ended.text, str(ended))
    expect(".tmp" not in ended.text and "the clips are blessed" in ended.text, str(ended))
    expect(not (folder / "new").exists() and not list(folder.glob(".new*")), "something half is left")
    expect(listing(folder / "out") == before, "the output was changed")


if __name__ == "__main__":
    sys.exit(main(__name__))
