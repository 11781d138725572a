#!/usr/bin/env python3
"""What a run shows of itself: provenance inside the mp4, the contact sheet, metrics for Prometheus, clips that are refused
for how they look."""
import json
import os
import pathlib
import re
import subprocess
import sys

import h5py
import numpy
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families
from safetensors.torch import load_file, save_file

from e2e.support import assert_clean, digests, events, expect, launch, listing, main, records, run, write_job
from e2e.support.hostile import variant

VERSION = re.search(r"project\(\w+\s+VERSION\s+([0-9.]+)",
                    (pathlib.Path(__file__).resolve().parents[2] / "CMakeLists.txt").read_text()).group(1)


def tags(path):
    """The file's tags as ffprobe has them."""
    text = subprocess.run(["ffprobe", "-v", "error", "-of", "json", "-show_entries", "format_tags", str(path)], check=True,
                          capture_output=True, text=True).stdout
    return json.loads(text)["format"].get("tags", {})


def provenance(path):
    return json.loads(tags(path)["comment"])


def case_a_video_says_where_it_is_from(folder, model):
    long = "猫 " * 2_500_000  # 10 MB
    rows = [{"id": "plain", "prompt": "a red circle", "seed": 7},
            {"id": "odd", "prompt": "a \"cat\"\n\ton \\grass; = # \u0001 \u009f 猫 🐈", "seed": 2**63 - 1},
            {"id": "long", "prompt": long}]
    run(write_job(folder, model, rows=rows), mpi=False)
    found = records(folder / "out")
    for row in rows:
        record, seen = found[row["id"]], provenance(folder / "out" / "videos" / f"{row['id']}.mp4")
        expect(seen["seed"] == record["sampling"]["seed"], f"{seen['seed']}")
        expect(seen["request_hash"] == record["request_hash"], f"{seen}")
        expect((seen["model"], seen["revision"]) == ("WanPipeline", record["weights"]), f"{seen}")
        expect(seen["version"] == f"rushes {VERSION}", seen["version"])
        whole = seen["prompt"] == row["prompt"]
        expect(whole == (row["id"] != "long"), seen["prompt"][:200])
        expect(("prompt_bytes" in seen) != whole, f"{set(seen)}")
    video = folder / "out" / "videos" / "long.mp4"
    seen = provenance(video)
    expect(seen["prompt_bytes"] == len(long.encode()) and long.startswith(seen["prompt"].removesuffix("...")), f"{seen['prompt_bytes']}")
    expect(video.stat().st_size < 100_000, f"{video.stat().st_size} bytes")
    expect(tags(folder / "out" / "videos" / "plain.mp4")["title"] == "a red circle", "no title")
    expect(tags(folder / "out" / "videos" / "odd.mp4")["title"].startswith('a "cat" on \\grass; = # '), "another title")
    commit = found["plain"]["code"].split("(")[1].rstrip(")").removesuffix("-dirty")
    for name in ("plain", "odd", "long"):
        data = (folder / "out" / "videos" / f"{name}.mp4").read_bytes()
        for word in (str(folder), str(model), commit, found[name]["run"]):
            expect(word.encode() not in data, f"'{word}' stands in {name}.mp4")


def case_the_place_and_the_layout_are_not_in_it(folder, model):
    """Other folders, ranks, `save` and names of the job: the same bytes. Inside HDF5 as well."""
    one = write_job(folder, model, count=3, save=["video"])
    run(one, mpi=False)
    (folder / "elsewhere").mkdir()
    moved = variant(model, folder / "elsewhere" / "other name", {})
    two = write_job(folder / "elsewhere", moved, count=3, name="two", output="deep/er", save=["video", "hdf5"])
    run(two, ranks=2)
    first, second = (digests(path) for path in (folder / "out", folder / "elsewhere" / "deep" / "er"))
    expect(len(first) == 3 and first == second, f"{first}\n{second}")
    with h5py.File(folder / "elsewhere" / "deep" / "er" / "dataset.h5") as data:
        groups = [data] if "id" in data else [data[name] for name in data if isinstance(data[name], h5py.Group) and "id" in data[name]]
        rows = [(name, video) for group in groups for name, video in zip(group["id"][:], group["video"][:])]
        expect(len(rows) == 3, f"{rows}")
        for name, video in rows:
            same = (folder / "out" / "videos" / f"{name.decode()}.mp4").read_bytes()
            expect(bytes(numpy.asarray(video, dtype=numpy.uint8)) == same, f"{name}: another mp4 in dataset.h5")


def sheet(output):
    return numpy.asarray(Image.open(output / "contact-sheet.png").convert("RGB")).astype(int)


def case_a_contact_sheet_shows_the_job(folder, model):
    out = folder / "out"
    run(write_job(folder, model, count=5), ranks=2)
    picture = sheet(out)
    # Five pictures of 32 x 32: three columns, two rows, 4 pixels apart.
    expect(picture.shape == (2 * 36 + 4, 3 * 36 + 4, 3), f"{picture.shape}")
    for i in range(5):
        frames = sorted((out / "frames" / f"clip-{i}").iterdir())
        wanted = numpy.asarray(Image.open(frames[len(frames) // 2]).convert("RGB")).astype(int)
        top, left = 4 + i // 3 * 36, 4 + i % 3 * 36
        expect((picture[top:top + 32, left:left + 32] == wanted).all(), f"clip-{i} is not at its place")
    # From videos where no frames are kept: the same within the codec's loss.
    run(write_job(folder, model, count=5, name="video", output="video", save=["video"], video={"crf": 1}), mpi=False)
    off = numpy.abs(sheet(folder / "video") - picture)
    expect(off.mean() < 12, f"mean {off.mean()}, largest {off.max()}")
    # Nothing new: it is left alone. A new clip: made again.
    before = (out / "contact-sheet.png").stat().st_mtime_ns
    run(write_job(folder, model, count=5), mpi=False)
    expect((out / "contact-sheet.png").stat().st_mtime_ns == before, "made anew for nothing")
    run(write_job(folder, model, count=7), mpi=False)
    expect(sheet(out).shape == (3 * 36 + 4, 3 * 36 + 4, 3), f"{sheet(out).shape}")
    # A broken video is left out; a place that cannot be written to is a warning; no pictures, no sheet.
    (folder / "video" / "videos" / "clip-0.mp4").write_bytes(b"no video")
    (folder / "video" / "contact-sheet.png").unlink()
    (folder / "video" / "contact-sheet.png").mkdir()
    text = run(write_job(folder, model, count=6, name="video", output="video", save=["video"], video={"crf": 1}), mpi=False)
    expect("no contact-sheet.png: " in text, text)
    run(write_job(folder, model, count=2, name="bare", output="bare", save=["latents"]), mpi=False)
    expect(not (folder / "bare" / "contact-sheet.png").exists(), "a sheet of nothing")


def samples(path):
    """{(name, state or ""): value} by the official parser, and the families' types; labels job and model are checked."""
    values, types = {}, {}
    for family in text_string_to_metric_families(path.read_text()):
        types[family.name] = family.type
        expect(family.documentation, f"{family.name} has no HELP")
        for one in family.samples:
            expect({"job", "model"} <= set(one.labels) <= {"job", "model", "state"}, f"{one}")
            values[one.name, one.labels.get("state", "")] = one.value
    return values, types


def case_metrics_for_prometheus(folder, model):
    bad = variant(model, folder / 'a "model"', {})
    place = folder / "textfile"
    place.mkdir()
    rows = [{"id": f"clip-{i}", "prompt": "x", "seed": i} for i in range(5)]
    job = write_job(folder, bad, rows=rows, metrics=str(place), steps=2000)
    started = launch(job, ranks=2)
    path = place / "rushes-out.prom"
    expect(started.wait_until(path.exists), started.text())
    values, types = samples(path)
    expect(("rushes_exit_code", "") not in values and values["rushes_clips", "left"] == 5, f"{values}")
    expect(types["rushes_clips"] == "gauge" and types["rushes_clips_made"] == "counter" and types["rushes_clip_seconds"] == "summary", f"{types}")
    expect(started.wait_until(lambda: len(events(folder / "out", "item_done")) > 0, 120), started.text())
    started.kill(started.ranks(), 10)
    expect(started.wait() == 75, started.text())
    values, _ = samples(path)
    made = len(events(folder / "out", "item_done"))
    expect(values["rushes_exit_code", ""] == 75 and values["rushes_clips_made_total", ""] == made, f"{made}: {values}")
    expect(0.5 < values["rushes_busy_share", ""] <= 1, f"{values}")
    expect(values["rushes_ranks", ""] == 2 and values["rushes_restarts", ""] == 0, f"{values}")
    took = sum(row["seconds"] for row in events(folder / "out", "item_done"))
    expect(abs(values["rushes_clip_seconds_sum", ""] - took) < 1e-6, f"{values} {took}")
    expect(values["rushes_clip_seconds_count", ""] == made, f"{values}")
    run(job, "--set", "metrics=", ranks=1)
    values, _ = samples(folder / "out" / "metrics.prom")
    expect(values["rushes_clips", "done"] == 5 and values["rushes_clips", "left"] == 0 and values["rushes_exit_code", ""] == 0, f"{values}")
    expect(values["rushes_clips_made_total", ""] == 5 - made and values["rushes_restarts", ""] == 1, f"{values}")
    expect([entry.name for entry in place.iterdir()] == ["rushes-out.prom"], "something is left beside it")
    label = next(iter(text_string_to_metric_families(path.read_text()))).samples[0].labels
    expect(label == {"job": "out", "model": 'a "model"', "state": "done"}, f"{label}")
    # A place that is not there: a warning.
    text = run(job, "--set", f"metrics={folder}/none/x.prom", mpi=False)
    expect("no metrics for Prometheus: cannot write" in text, text)


def black(model, folder):
    """A copy of the model whose VAE decodes everything to -1."""
    def change(path):
        tensors = load_file(path)
        name = "decoder.conv_out.bias"
        tensors[name] = tensors[name] * 0 - 1000
        path.unlink()
        save_file(tensors, path)
    change.at = True
    folder = variant(model, folder, {})
    change(folder / "vae" / "diffusion_pytorch_model.safetensors")
    return folder


def case_black_clips_fail(folder, model):
    dark = black(model, folder / "dark")
    rows = [{"id": f"clip-{i}", "prompt": "x", "num_frames": 5} for i in range(2)]
    job = write_job(folder, dark, rows=rows, retries=0)
    text = run(job, ranks=2, code=4)
    found = records(folder / "out")
    for name, record in found.items():
        expect(record["status"] == "failed", f"{name} is {record['status']}")
        expect(record["error"] == "the clip is black: every pixel of all 5 frames is at most 0 of 255 (reject: [] keeps such clips)",
               record["error"])
    expect(not digests(folder / "out") and not (folder / "out" / "contact-sheet.png").exists(), "something was kept")
    expect(len(events(folder / "out", "item_failed")) == 2 and "2 failed" in text, text)
    # Who wants them gets them, of the same request.
    run(job, "--set", "reject=[]", "--retry-failed", mpi=False)
    assert_clean(folder / "out", ["clip-0", "clip-1"])
    expect(records(folder / "out")["clip-0"]["request_hash"] == found["clip-0"]["request_hash"], "another request")
    expect("reject: []" in (folder / "out" / "job.yaml").read_text(), "job.yaml does not say so")
    run(write_job(folder, dark, rows=rows, name="noise", output="noise", reject="noise"), mpi=False)


if __name__ == "__main__":
    sys.exit(main(__name__))
