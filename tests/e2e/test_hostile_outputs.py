#!/usr/bin/env python3
"""Output folders that somebody has spoilt, and wrong tensors for the probe: no hang, no crash, nothing outside the folder
touched; what can be made again is made again, what is in the way is told."""
import json
import os
import pathlib
import shutil
import struct
import sys
import tempfile

import numpy as np
from safetensors.numpy import save_file

from e2e.support import expect, main, records, write_job
from e2e.support.hostile import accepted, each, refused, rushes, variant

DEEP = 200_000
COUNT = 14
STEPS = {"height": 32, "width": 32, "num_frames": 1, "num_inference_steps": 1, "max_sequence_length": 16,
         "guidance_scale": 1}
_made = None


def finished(folder, model):
    """A copy of an output folder with COUNT finished clips, beside its job."""
    global _made
    if _made is None:
        _made = pathlib.Path(tempfile.mkdtemp(dir=model.parent))
        job = write_job(_made, model, rows=[{"id": f"clip-{i}", "prompt": "x", "seed": i} for i in range(COUNT)],
                        save=["video"], sampling=STEPS)
        job.write_text(job.read_text().replace(str(_made) + "/", ""))
        accepted(["run", "job.yaml"], [], _made)
    shutil.rmtree(folder)
    shutil.copytree(_made, folder, copy_function=shutil.copy2)
    return folder / "out"


def lone(folder, model):
    """The same, with a job that wants the first clip only."""
    out = finished(folder, model)
    rows = (folder / "job.jsonl").read_text().splitlines()
    (folder / "job.jsonl").write_text(rows[0] + "\n")
    return out


def case_hostile_records_count_as_not_made(folder, model):
    out = finished(folder, model)
    victim = folder / "victim.txt"
    victim.write_text("dear")
    good = json.loads((out / "items" / "clip-0.json").read_text())

    def changed(**fields):
        return json.dumps({**good, **fields}).encode()

    def file(**fields):
        return changed(files=[{**good["files"][0], **fields}])

    bad = [b"", b"garbage \xff\0", b"[" * DEEP, b'{"status": "done", "request": ' + b'{"a":' * DEEP, changed(request=3),
           file(path="../../victim.txt"), file(path="/etc/passwd"), file(bytes=-1), file(bytes="many"), changed(attempts=-1),
           changed(id="clip-3"),
           changed(status="half"), changed(files={}), b'{"files": [' + b"[]," * 20_000_000 + b"[]]}"]
    for i, content in enumerate(bad):
        (out / "items" / f"clip-{i}.json").write_bytes(content)
    before = {path.name: path.stat().st_mtime_ns for path in (folder, pathlib.Path("/etc/passwd"))}
    ended = accepted(["run", "job.yaml"], [("the record cannot be used", f"clip-{i}.json") for i in range(COUNT)], folder)
    expect(all(record["status"] == "done" for record in records(out).values()) and len(records(out)) == COUNT, str(ended))
    expect(victim.read_text() == "dear" and pathlib.Path("/etc/passwd").stat().st_mtime_ns == before["passwd"],
           "a file outside was touched")
    accepted(["status", "out"], [f"{COUNT} done"], folder)


def case_records_of_another_kind(folder, model):
    out = finished(folder, model)
    items = out / "items"
    kinds = [os.mkfifo, lambda path: path.symlink_to("/dev/zero"), lambda path: path.mkdir(),
             lambda path: path.symlink_to(path.name)]
    for i, make in enumerate(kinds):
        (items / f"clip-{i}.json").unlink()
        make(items / f"clip-{i}.json")
    os.mkfifo(items / "pipe.json")  # of no item: nobody's business
    refused(RUN, [f"clip-{i}.json" for i in range(len(kinds))], folder)
    for i in range(len(kinds)):
        shutil.rmtree(items / f"clip-{i}.json") if i == 2 else (items / f"clip-{i}.json").unlink()
    (items / "clip-0.json").symlink_to(folder / "nowhere")
    accepted(RUN, [("clip-0.json", "cannot be used")], folder)
    expect(not (folder / "nowhere").exists(), "written through a link")
    expect(all((items / f"clip-{i}.json").is_file() for i in range(COUNT)), "not all were made")
    (items / "clip-0.json").unlink()
    os.mkfifo(items / "clip-0.json")
    accepted(STATUS, [f"{COUNT - 1} done"], folder)


def case_records_do_not_write_to_the_terminal(folder, model):
    record = lone(folder, model) / "items" / "clip-0.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "status": "failed", "error": "\x1b[2J", "attempts": 9}))
    expect("\x1b" not in accepted(STATUS, ["1 failed"], folder).text, "an error's text reaches the terminal as it is")


HIDDEN = (".rushes/folder.json", ".rushes/manifest.json", ".rushes/restarts.json", ".rushes/fresh.json",
          ".rushes/deaths/clip-0.json", ".rushes/front", "events.jsonl")
STATUS, RUN, MAKE = ["status", "out"], ["run", "job.yaml"], ["run", "job.yaml", "--fresh"]
# Who reads each of them.
READERS = dict(zip(HIDDEN, (RUN, STATUS, RUN, STATUS, MAKE, MAKE, STATUS)))


def spoilt():
    """name, command, what lies where (relative path -> bytes, or what makes it)."""
    lists = b'{"a": [' + b"[]," * 15_000_000 + b"[]]}\n"
    deep, deep_object = b"[" * DEEP + b"]" * DEEP, b'{"model":' * DEEP + b"1" + b"}" * DEEP + b"\n"
    folder = (lambda path: path.mkdir())

    def outside(path):
        out = next(parent for parent in path.parents if parent.name == "out")
        path.symlink_to(out.parent / "victim")

    rows = [(f"{what} everywhere", command, {name: content for name in HIDDEN}) for what, content in
            [("garbage", b"\xff\0{"), ("lists", b"[1]\n"), ("null", b"null\n"),
             ("numbers", b'{"items": [3, {"id": 3}], "run": 3, "model": 3}\n')]
            for command in (STATUS, RUN, MAKE)]
    rows += [(f"{what} {name}", reader, {name: content}) for name, reader in READERS.items()
             for what, content in [("deep", deep_object), ("pipe", os.mkfifo), ("folder", folder)]]
    rows += [("many lists in " + name, reader, {name: lists}) for name, reader in READERS.items() if "deaths" not in name]
    rows += [("deep event", STATUS, {"events.jsonl": b'{"event": "run_ended", "code": ' + deep + b"}\n"}),
             ("deep member", RUN, {".rushes/folder.json": b'{"model": ' + deep + b"}"}),
             ("paths", STATUS,
              {".rushes/manifest.json": b'{"items": [{"id": "../../x", "flops": 1}, {"id": "\\u0000", "flops": -1e300}]}'})]
    return rows + [("no place for " + name, RUN, {name: make}) for name, make in
                   [(".rushes/lock", os.mkfifo), (".rushes/lock", folder), ("failed.jsonl", folder), ("job.yaml", folder),
                    ("job.yaml", os.mkfifo), ("job.yaml", outside),
                    ("logs/rank-0.log", os.mkfifo), ("logs/rank-0.log", folder), ("logs/rank-0.log", outside),
                    ("events.jsonl", outside), (".rushes/lock", outside), (".rushes/front", outside),
                    (".rushes/restarts.json", outside), (".rushes/claims", b"x"),
                    (".rushes/claims", lambda path: path.symlink_to("/nowhere")),
                    (".rushes/embeddings", b"x"), (".rushes/work", outside)]]


def case_spoilt_files_of_a_run(folder, model):
    """The command ends, with 0 or with 2 in words, whatever the file that it reads or writes has become."""
    def check(name, command, files):
        out = lone(folder, model)
        for path, content in files.items():
            path = out / path
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            content(path) if callable(content) else path.write_bytes(content)
        ended = rushes(*command, folder=folder, seconds=10)
        expect(ended.code == 0 or ended.code == 2 and "error: " in ended.text, f"{command}: {ended}")
        expect(not (folder / "victim").exists(), "written through a link")

    each(spoilt(), check)


def case_what_is_in_the_way_is_told_before_anything_runs(folder, model):
    job = (["run", "job.yaml", "--set", "save=[hdf5]"], ["run", "job.yaml"])
    rows = [("dataset.h5", True, 0, "is a folder"), ("hdf5/spool", False, 0, "is in the way"),
            ("hdf5/spool/0.lock", True, 0, "move it away"), ("hdf5/spool/3", False, 0, "move it away"),
            ("hdf5", False, 0, "is in the way"), ("videos", False, 1, "is in the way"), ("logs", False, 1, "is in the way")]
    lone(folder, model)
    for number, (name, is_folder, which, words) in enumerate(rows):
        place = folder / f"o{number}" / name
        place.parent.mkdir(parents=True)
        place.mkdir() if is_folder else place.write_text("note")
        refused([*job[which], "--set", f"output=o{number}"], [(name.split("/")[-1], words)], folder)
    # Somebody's note beside the shards is nobody's business; a data set is not exported into one.
    out = folder / "notes"
    accepted([*job[0], "--set", "output=notes"], [], folder)
    (out / "hdf5" / "README.txt").write_text("note")
    accepted([*job[0], "--set", "output=notes"], [], folder)
    expect((out / "hdf5" / "README.txt").read_text() == "note", "a foreign file is gone")
    refused(["dataset", "export", "notes", "--to", "notes/hdf5"], [("--to", "own folder hdf5")], folder)


def case_files_of_nobody_are_told_before_they_are_replaced(folder, model):
    out = lone(folder, model)
    video, record = out / "videos" / "clip-0.mp4", out / "items" / "clip-0.json"
    word = ("out/videos/clip-0.mp4", "has no record", "move it away")

    def told(text):
        return all(part in text for part in word)

    # In a folder of earlier runs it may be a killed one's: a word, and on.
    record.unlink()
    video.write_text("mine")
    accepted(RUN, [word], folder)
    expect(video.read_bytes() != b"mine" and record.exists(), "it was not made")
    # With a record, whatever it says: nothing to say.
    record.write_text("garbage")
    expect(not told(accepted(RUN, [], folder).text), "told of a recorded file")
    # In a folder of no run it is the user's: only --fresh takes it.
    for path in (out / "items", out / ".rushes"):
        shutil.rmtree(path)
    video.write_text("mine")
    refused(RUN, [("job.yaml", "output", "out/videos/clip-0.mp4", "--fresh")], folder)
    accepted(["plan", "job.yaml", "--fresh"], [], folder)
    expect(video.read_bytes() == b"mine", "plan wrote something")
    accepted(MAKE, [word], folder)
    expect(video.read_bytes() != b"mine", "--fresh left it")
    (folder / "beside").mkdir()
    (folder / "beside" / "job.yaml").write_text("mine")
    refused([*RUN, "--set", "output=beside"], [("beside/job.yaml", "of no run", "--fresh")], folder)


def case_a_wrong_place_for_metrics(folder, model):
    lone(folder, model)
    os.mkfifo(folder / "pipe.prom")
    (folder / "folder.prom").mkdir()
    for number, (place, why) in enumerate([("none/x.prom", "the folder none does not exist"), ("none", "none does not exist"),
                                           ("job.yaml", "job.yaml is no folder"), ("pipe.prom", "a pipe"),
                                           ("folder.prom", "is a folder"), ("job.yaml/x.prom", "job.yaml is no folder")]):
        accepted([*RUN, "--set", f"metrics={place}", "--set", f"output=o{number}"],
                 [("no metrics for Prometheus", place, why, "metrics")], folder)
    expect((folder / "pipe.prom").is_fifo(), "the pipe is gone")


def case_a_wrong_cache_is_told_before_anything_runs(folder, model):
    lone(folder, model)
    (folder / "cache").mkdir()
    (folder / "cache" / "embeddings").write_text("x")
    for place in ("job.yaml", "job.yaml/x", "cache"):
        refused([*RUN, "--set", "output=fresh"], [("RUSHES_CACHE", f"'{place}'", "unset it")], folder,
                environment={"RUSHES_CACHE": place})


def case_wrong_variables_are_told_before_anything_runs(folder, model):
    lone(folder, model)
    for name in ("RUSHES_OVERLAP", "RUSHES_THREADS", "RUSHES_RANK_TIMEOUT"):
        refused(["run", "job.yaml", "--set", "output=fresh"], [(name, "'x'")], folder, environment={name: "x"})


def case_hostile_claims_and_owners(folder, model):
    out = finished(folder, model)
    for path in [*(out / "items").iterdir(), *(out / "videos").iterdir()]:
        path.unlink()
    claims, owners = out / ".rushes" / "claims", out / ".rushes" / "owners"
    dead = "../owners/host-00000000.1.1.json"
    for i, target in enumerate(["", "/etc/passwd", "../../../victim", "x" * 3000, "../owners/folder.json",
                                "../owners/deep.json", "../owners/..json", dead]):
        if target:
            (claims / f"clip-{i}").symlink_to(target)
    os.mkfifo(claims / "clip-8")
    (claims / "clip-9").mkdir()
    (claims / "clip-9" / "inside").write_text("x")
    (claims / "clip-10").write_text("garbage")
    (claims / "clip-11").symlink_to("clip-11")
    (claims / "clip-0").symlink_to(folder / "victim")
    os.mkfifo(claims / "of-no-item")
    (claims / "b\xff\n".encode("latin-1").decode("latin-1")).symlink_to("x")
    (folder / "victim").write_text("dear")
    (owners / "folder.json").mkdir()
    (owners / "zero.json").symlink_to("/dev/zero")
    for name, content in {"deep.json": b"[" * 60_000, "garbage.json": b"\xff" * 1024, "large.json": b"x" * 10_000_000,
                          "empty.json": b"",
                          "escape.json": json.dumps({"token": "../../victim", "item": "\x1b[2J"}).encode(),
                          "token.json": b'{"token": ' + b"[" * 50_000 + b"}"}.items():
        (owners / name).write_bytes(content)
    status = accepted(["status", "out"], [f"{COUNT} items"], folder)
    expect("\x1b" not in status.text, "an owner's file writes to the terminal")
    accepted(["run", "job.yaml"], [f"{COUNT} of {COUNT} done"], folder,
             seconds=120)  # it watches the unknown owners for 30 s
    expect((folder / "victim").read_text() == "dear", "a file outside was touched")
    expect(len(records(out)) == COUNT, "not all were made")


def case_pipes_as_owners(folder, model):
    out = lone(folder, model)
    os.mkfifo(out / ".rushes" / "owners" / "host-00000000.1.1.json")
    (out / ".rushes" / "claims" / "clip-1").symlink_to("../owners/host-00000000.1.1.json")
    each([("status", STATUS, f"{COUNT} done"), ("run", RUN, "1 done")],
         lambda name, command, word: accepted(command, [word], folder))


def case_stored_embeddings(folder, model):
    out = lone(folder, model)
    store = out / ".rushes" / "embeddings"
    name = next(iter(store.iterdir())).name
    header = json.dumps({"embedding": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
                         "__metadata__": {"seal": "0"}}).encode()
    files = [b"", b"garbage", struct.pack("<Q", 1 << 62), struct.pack("<Q", len(header)) + header + bytes(4)]

    def check(name_, content):
        (store / name).unlink()
        content(store / name) if callable(content) else (store / name).write_bytes(content)
        accepted(["run", "job.yaml", "--fresh"], [("a stored text embedding cannot be used",)], folder)

    each([(str(i), content) for i, content in enumerate([*files, os.mkfifo, lambda path: path.symlink_to("/dev/zero")])],
         check)


def case_the_folder_of_another_model_or_of_nobody(folder, model):
    out = lone(folder, model)
    other = variant(model, folder / "other", {"vae/config.json": lambda old: old + b"\n"})
    for command in ("run", "plan"):
        refused([command, "job.yaml", "--set", f"model={other}"],
                [("job.yaml:", "output: out", "another model", "choose another output folder")], folder)
    refused(["run", "job.yaml", "--set", "sampling.seed=5", "--set", "sampling.guidance_scale=2"],
            [("job.jsonl:1:", "clip-0", "sampling.seed", "sampling.guidance_scale", "--fresh")], folder)
    (folder / "theirs").mkdir()
    (folder / "theirs" / "thesis.txt").write_text("dear")
    for name in ("theirs", "none", "job.yaml"):
        refused(["status", name], [(name,)], folder)
    accepted(["run", "job.yaml", "--set", "output=theirs"], [], folder)
    expect((folder / "theirs" / "thesis.txt").read_text() == "dear" and out.exists(), "what lay there is gone")


def case_wrong_tensors_and_options_for_the_probe(folder, model):
    z = np.ones((1, 8, 1, 4, 4), np.float32)
    text = np.ones((1, 5, 24), np.float32)
    hidden = {"hidden_states": z, "timestep": np.ones(1, np.float32), "encoder_hidden_states": text}
    ids = {"input_ids": np.ones((1, 4), np.int64), "attention_mask": np.ones((1, 4), np.int64)}
    steps = {"sample": np.ones((2, 2), np.float32), "model_outputs": np.ones((3, 2, 2), np.float32)}
    nan = np.full_like(z, np.nan)
    decode, scheduler = ["--method", "decode"], ["--steps", "3"]
    table = [
        ("names", "transformer", {"hidden_state": z, "timestep": hidden["timestep"], "x": z}, [],
         ("hidden_states", "is missing", "did you mean 'hidden_state'?"),
         ("encoder_hidden_states", "is missing"), ("'x'", "none of this component's inputs")),
        ("shapes", "transformer", {**hidden, "hidden_states": z[0], "encoder_hidden_states": text[:, :, :3]}, [],
         ("hidden_states", "[8, 1, 4, 4]", "needs"),
         ("encoder_hidden_states", "[1, 5, 3]", "24")),
        ("odd", "transformer", {**hidden, "hidden_states": z[..., :3]}, [], ("hidden_states", "multiples of 1, 2, 2")),
        ("empty", "transformer", {**hidden, "hidden_states": z[:0]}, [], ("hidden_states", "needs")),
        ("types", "transformer", {**hidden, "hidden_states": z.astype(np.int32)}, [], ("hidden_states", "I32", "floating")),
        ("batch", "transformer", {**hidden, "timestep": np.ones(3, np.float32)}, [], ("timestep", "[3]")),
        ("z", "vae", {"z": z[:, :3]}, decode, ("'z'", "latent channels = 8")),
        ("ids below 0", "text_encoder", {**ids, "input_ids": -ids["input_ids"]}, [], ("input_ids", "-1")),
        ("ids beyond", "text_encoder", {**ids, "input_ids": ids["input_ids"] * (1 << 40)}, [], ("input_ids", "0 to 78")),
        ("ids as numbers", "text_encoder", {**ids, "input_ids": text[0]}, [], ("input_ids", "F32", "whole")),
        ("mask", "text_encoder", {**ids, "attention_mask": ids["attention_mask"] * 7}, [],
         ("attention_mask", "1 (a token)")),
        ("NaN mask", "text_encoder", {**ids, "attention_mask": np.full((1, 4), np.nan, np.float32)}, [],
         ("attention_mask",)),
        ("steps", "scheduler", steps, ["--steps", "4"], ("model_outputs", "steps = 4")),
        ("no steps", "scheduler", steps, [], ("--steps",)),
        ("0 steps", "scheduler", steps, ["--steps", "0"], ("--steps 0",)),
        ("steps 1e9", "scheduler", steps, ["--steps", "1000000000"], ("--steps",)),
        ("steps 2^70", "scheduler", steps, ["--steps", str(1 << 70)], ("steps",)),
        ("many", "vae", {"z": z}, ["--method", "explode", "--steps", "2", "--text", "x"], ("--method", "'explode'"),
         ("--steps",), ("--text",)),
        ("component", "vaes", {"z": z}, decode, ("'vaes'", "did you mean 'vae'?")),
        ("component out", "../vae", {"z": z}, decode, ("'../vae'",)),
        ("dtype", "vae", {"z": z}, [*decode, "--dtype", "int8"], ("int8",)),
        ("length", "tokenizer", None, ["--text", "x", "--max-length", "-1"], ("max-length",)),
        ("no text", "tokenizer", None, ["--max-length", "8"], ("--text",)),
        ("text", "tokenizer", None, ["--text", b"\xff\xfe", "--max-length", "8"], ("UTF-8",)),
        ("in is a folder", "vae", ".", decode, ("cannot read",)),
        ("in is a device", "vae", "/dev/zero", decode, ("/dev/zero", "regular file")),
        ("in is a pipe", "vae", "pipe", decode, ("pipe", "regular file")), ("in is none", "vae", "none", decode, ("none",)),
    ]
    os.mkfifo(folder / "pipe")

    def check(name, component, tensors, options, *wanted):
        given = ["--in", tensors] if isinstance(tensors, str) else []
        if isinstance(tensors, dict):
            save_file({key: np.ascontiguousarray(value) for key, value in tensors.items()}, folder / "in.safetensors")
            given = ["--in", "in.safetensors"]
        options = [os.fsdecode(option) if isinstance(option, bytes) else option for option in options]
        refused(["probe", "--model", model, "--component", component, *given, *options, "--out", "o.safetensors"], wanted,
                folder)

    each(table, check)
    # No number in, no number out: that is no mistake of the program's, and must be no crash.
    save_file({**hidden, "hidden_states": nan}, folder / "in.safetensors")
    accepted(["probe", "--model", model, "--component", "transformer", "--in", "in.safetensors", "--trace", "t.jsonl",
              "--out", "o.safetensors"], [], folder)


if __name__ == "__main__":
    sys.exit(main(__name__))
