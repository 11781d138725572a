#!/usr/bin/env python3
"""save: [hdf5]: what h5py and webdataset read is what was made, once each, whatever was killed."""
import json
import os
import pathlib
import random
import subprocess
import sys
import tarfile
import time

import h5py
import numpy as np
import webdataset
from safetensors.numpy import load_file

from e2e.support import binary, expect, launch, main, records, run, write_job
from e2e.test_kill import run_and_kill, strike


def texts(array):
    return [value.decode() for value in array[:]]


def png_frames(folder):
    from PIL import Image
    return np.stack([np.asarray(Image.open(file).convert("RGB")) for file in sorted(folder.iterdir())])


def buckets_of(path):
    with h5py.File(path) as file:
        return sorted(name for name, entry in file.items() if isinstance(entry, h5py.Group))


def check_set(out, ids, frames=True):
    """One virtual file, each clip once, as its own files say."""
    seen = []
    with h5py.File(out / "dataset.h5") as file:
        expect(file.attrs["format"] == "rushes data set", dict(file.attrs))
        for name in buckets_of(out / "dataset.h5"):
            group = file[name]
            for row, clip in enumerate(texts(group["id"])):
                seen.append(clip)
                latents = load_file(out / "latents" / f"{clip}.safetensors")["latents"][0]
                expect(np.array_equal(group["latents"][row], latents), f"{clip}: other latents")
                if frames:
                    expect(np.array_equal(group["frames"][row], png_frames(out / "frames" / clip)), f"{clip}: other frames")
                record = records(out)[clip]
                expect(group["caption"][row].decode() == record["prompt"], f"{clip}: another caption")
                settings, facts = json.loads(group["settings"][row]), json.loads(group["provenance"][row])
                expect(settings == record["sampling"], f"{clip}: {settings}")
                expect(facts["request_hash"] == record["request_hash"] and facts["code"], facts)
                mask, embeds = group["text_mask"][row], group["text_embeds"][row]
                count = int(mask.sum())
                expect(mask[:count].all() and count > 1 and np.abs(embeds[:count]).sum(1).all(), f"{clip}: mask {mask}")
                expect(not embeds[count:].any(), f"{clip}: rows behind the prompt are not zero")
    expect(sorted(seen) == sorted(ids), f"samples {sorted(seen)}, should be {sorted(ids)}")


def check_files(out):
    """No shard that nothing refers to, none missing, nothing left in the spool."""
    listed = {file["path"] for record in records(out).values() for file in record["files"] if file["kind"] == "hdf5"}
    there = {str(path.relative_to(out)) for path in (out / "hdf5").rglob("*") if path.is_file() and path.suffix != ".lock"}
    expect(there == listed, f"without a record: {sorted(there - listed)}; missing: {sorted(listed - there)}")
    told = subprocess.run([binary(), "dataset", "info", str(out), "--verify"], capture_output=True, text=True)
    expect(told.returncode == 0 and "every file is as recorded" in told.stdout, told.stdout + told.stderr)
    return told.stdout


def alike(count):
    return [{"id": f"clip-{i}", "prompt": f"number {i}", "seed": i} for i in range(count)]


def case_arrays_are_what_was_made(folder, model):
    job = write_job(folder, model, rows=alike(7), save=("hdf5", "latents", "frames"), dataset={"pixels": "frames", "shard_clips": 3})
    run(job, ranks=2)
    out = folder / "out"
    check_set(out, [f"clip-{i}" for i in range(7)])
    text = check_files(out)
    expect("7 samples in" in text, text)
    with h5py.File(out / "dataset.h5") as file:
        expect(file["latents"].shape[0] == 7 and file["latents"].is_virtual, file["latents"])
    before = {path: path.stat().st_mtime_ns for path in (out / "hdf5").rglob("*.h5")}
    run(job)
    expect({path: path.stat().st_mtime_ns for path in (out / "hdf5").rglob("*.h5")} == before, "a rerun wrote shards again")


def case_the_set_can_be_moved_and_damage_is_found(folder, model):
    job = write_job(folder, model, rows=alike(4), save=("hdf5",), dataset={"shard_clips": 2})
    run(job)
    moved = folder / "elsewhere"
    (folder / "out").rename(moved)
    os.chdir("/")
    with h5py.File(moved / "dataset.h5") as file:
        expect(len(set(texts(file["id"]))) == 4 and file["latents"][:].std() > 0, "the moved set is not whole")
    shard = sorted((moved / "hdf5").rglob("*.h5"))[0]
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    told = subprocess.run([binary(), "dataset", "info", str(moved), "--verify"], capture_output=True, text=True)
    expect(told.returncode == 3 and f"wrong: {shard.relative_to(moved)} has other bytes" in told.stdout, told.stdout)


def case_sizes_and_fresh_and_more_prompts(folder, model):
    rows = [{"id": f"clip-{i}", "prompt": f"number {i}", **({"num_frames": 9} if i % 2 else {})} for i in range(5)]
    more = {"save": ("hdf5", "latents", "frames"), "dataset": {"pixels": "frames", "shard_clips": 2}}
    run(write_job(folder, model, rows=rows, **more))
    out = folder / "out"
    check_set(out, [row["id"] for row in rows])
    expect(len(buckets_of(out / "dataset.h5")) == 2, buckets_of(out / "dataset.h5"))
    with h5py.File(out / "dataset.h5") as file:
        expect("latents" not in file, "arrays at the top though there are two sizes")
    rows += [{"id": "late", "prompt": "one more"}]
    job = write_job(folder, model, rows=rows, **more)
    run(job, ranks=2)
    check_set(out, [row["id"] for row in rows])
    rows[0]["prompt"] = "another"
    job = write_job(folder, model, rows=rows, **more)
    run(job, "--fresh")
    check_set(out, [row["id"] for row in rows])
    check_files(out)


def case_webdataset_reads_the_export(folder, model):
    rows = [{"id": name, "prompt": f"prompt of {name}, \u00e4"} for name in ("a", "b.c", "b_c", "long-" + "x" * 120)]
    run(write_job(folder, model, rows=rows, save=("hdf5", "latents", "video"), dataset={"pixels": "video"}))
    out, tars = folder / "out", folder / "tars"
    told = subprocess.run([binary(), "dataset", "export", str(out), "--to", str(tars), "--tar-clips", "3"],
                          capture_output=True, text=True)
    expect(told.returncode == 0 and "4 samples in 2 files" in told.stdout, told.stdout + told.stderr)
    files = sorted(str(path) for path in tars.iterdir())
    seen = {}
    for sample in webdataset.WebDataset(files, shardshuffle=False).decode():
        seen[sample["json"]["id"]] = sample
    expect(set(seen) == {row["id"] for row in rows}, sorted(seen))
    for row in rows:
        sample = seen[row["id"]]
        expect(sample["txt"] == row["prompt"], sample["txt"])
        expect(sample["mp4"] == (out / "videos" / f"{row['id']}.mp4").read_bytes(), f"{row['id']}: another video")
        expect(np.array_equal(sample["latents.npy"], load_file(out / "latents" / f"{row['id']}.safetensors")["latents"][0]),
               f"{row['id']}: other latents")
        expect(sample["text_mask.npy"].dtype == np.uint8 and sample["text_embeds.npy"].ndim == 2, sample.keys())
    with tarfile.open(files[0]) as tar:
        expect(all(member.mtime == 0 for member in tar), "times in the tar")
    again = subprocess.run([binary(), "dataset", "export", str(out), "--to", str(tars)], capture_output=True, text=True)
    expect(again.returncode == 2 and "is there already" in again.stderr, again.stderr)


def case_killed_at_random_moments(folder, model):
    seed = int(os.environ.get("KILL_SEED") or int.from_bytes(os.urandom(4), "little"))
    trials = 40 if os.environ.get("RUSHES_NIGHTLY") else 4
    print(f"  KILL_SEED={seed}", flush=True)
    rng = random.Random(seed)
    how = {"count": 10, "steps": 30, "save": ("hdf5", "latents", "frames"), "dataset": {"pixels": "frames", "shard_clips": 2}}
    start = time.monotonic()
    run(write_job(folder, model, name="whole", output="whole", **how), ranks=2)
    span = time.monotonic() - start
    for trial in range(trials):
        name = f"trial-{trial}"
        job = write_job(folder, model, name=name, output=name, **how)
        log = []
        for _ in range(rng.choice([1, 2, 3])):
            log += run_and_kill([launch(job, ranks=rng.choice([1, 2])) for _ in range(rng.choice([1, 1, 2]))], rng, span)
        run(job, ranks=rng.choice([1, 2]))
        try:
            check_set(folder / name, [f"clip-{i}" for i in range(10)])
            check_files(folder / name)
        except AssertionError as error:
            raise AssertionError(f"trial {trial} ({log}; KILL_SEED={seed}): {error}") from None
        print(f"  trial {trial}: {', '.join(log) or 'was through before'}: ok", flush=True)


def case_two_thousand_clips_and_a_kill_a_minute(folder, _):
    """The shapes model over two ranks; every minute processes of the run are killed and the run is started again."""
    nightly = bool(os.environ.get("RUSHES_NIGHTLY"))  # else 40 clips and a kill every four seconds
    count, interval = int(os.environ.get("BULK_COUNT") or (2000 if nightly else 40)), 60 if nightly else 4
    root = pathlib.Path(__file__).resolve().parents[2]
    lines = (root / "datasets" / "shapes" / "prompts.jsonl").read_text().splitlines()
    rows = [{"id": f"clip-{i}", "prompt": json.loads(lines[i % len(lines)])["prompt"], "seed": i} for i in range(count)]
    job = write_job(folder, root / "datasets" / "shapes" / "checkpoint", rows=rows, save=("hdf5",),
                    sampling={"height": 64, "width": 64, "num_frames": 17, "fps": 8, "num_inference_steps": 20,
                              "guidance_scale": 3.0, "max_sequence_length": 64})
    rng = random.Random(os.environ.get("KILL_SEED") or 1)
    begun, log = time.monotonic(), []
    while True:
        started = launch(job, ranks=2)
        moment = time.monotonic() + interval + len(log) % 3
        started.wait_until(lambda: time.monotonic() > moment, timeout=120)
        if started.process.poll() is None:
            log.append(strike(started, rng))
            started.wait(60)
            continue
        code = started.process.poll()
        expect(code in (0, 137), f"exit code {code} after {log}:\n{started.text()[-2000:]}")
        if code == 0:
            break
    seconds = time.monotonic() - begun
    out = folder / "out"
    with h5py.File(out / "dataset.h5") as file:
        seen = texts(file["id"])
        expect(sorted(seen) == sorted(row["id"] for row in rows), f"{len(seen)} samples, {len(set(seen))} of them different")
        captions = dict(zip(seen, texts(file["caption"])))
        expect(all(captions[row["id"]] == row["prompt"] for row in rows), "captions of other clips")
        expect(all(array.size > 500 for array in file["video"][:50]), "empty videos")
        expect(np.isfinite(file["latents"][:]).all(), "latents that are no numbers")
    check_files(out)
    made = sum(1 for line in (out / "events.jsonl").read_text().splitlines() if '"item_done"' in line)
    print(f"  {count} clips in {seconds:.0f} s, {len(log)} kills ({', '.join(log)}), {made} deliveries, "
          f"{len(list((out / 'hdf5').rglob('*.h5')))} shards, {sum(p.stat().st_size for p in (out / 'hdf5').rglob('*.h5')) / 2**20:.0f} MiB")


if __name__ == "__main__":
    sys.exit(main(__name__))
