#!/usr/bin/env python3
"""What users and machines do to a job and its folder: kills during one clip, spoilt caches, parts in the way, reruns of
the written job file, a --fresh run that was left."""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

from e2e.support import (assert_clean, binary, digests, done_counts, events, expect, launch, listing, main, records, run,
                         rushes, write_job)


def is_denoising(out, pid):
    """Does the process tell of a clip's steps?"""
    for path in (out / ".rushes" / "owners").glob(f"*.{pid}.*.json"):
        try:
            owner = json.loads(path.read_text())
        except (OSError, ValueError):
            continue
        return owner["stage"] == "denoising" and owner["step"] > 0
    return False


def case_kills_during_one_clip_never_fail_it(folder, model):
    job = write_job(folder, model, count=2, steps=2500, retries=0)
    out = folder / "out"
    for _ in range(4):
        started = launch(job, mpi=False)
        expect(started.wait_until(lambda: is_denoising(out, started.pid)), started.text())
        started.kill([started.pid])
        started.wait(60)
    step = max((json.loads(path.read_text())["step"] for path in (out / ".rushes" / "deaths").iterdir()), default=0)
    expect(step > 0, "the deaths tell of step 0")
    run(job, ranks=2)
    assert_clean(out, ["clip-0", "clip-1"])
    expect(all(record["attempts"] == 1 for record in records(out).values()), "a kill was counted as a failed try")


def case_a_crash_signal_from_outside_is_no_crash(folder, model):
    job = write_job(folder, model, count=1, steps=2500, retries=0)
    out = folder / "out"
    started = launch(job, mpi=False)
    expect(started.wait_until(lambda: is_denoising(out, started.pid)), started.text())
    started.kill([started.pid], signal.SIGSEGV)
    started.wait(60)
    run(job, mpi=False)
    assert_clean(out, ["clip-0"])


def case_a_flipped_bit_in_a_stored_embedding_is_seen(folder, model):
    job = write_job(folder, model, count=3)
    out = folder / "out"
    run(job, mpi=False)
    before = digests(out)
    store = out / ".rushes" / "embeddings"
    files = sorted(store.iterdir())
    for file in files:
        data = bytearray(file.read_bytes())
        data[-2] ^= 0x40
        file.write_bytes(data)
    text = run(job, "--fresh", mpi=False)
    expect("made again" in text and "checksum" in text, text)
    expect(digests(out) == before, "a flipped bit changed the clips")
    first, second = files[:2]
    shutil.copyfile(first, second)  # another prompt's embedding under this prompt's name
    run(job, "--fresh", mpi=False)
    expect(digests(out) == before, "an embedding of another prompt was used")
    # Half-written files of the dead go, even where there is nothing to make.
    half = store / ".aa.host-00000000.1.1.tmp.safetensors"
    local = next(event["owner"] for event in reversed(events(out, "run_started"))).rsplit(".", 2)[0]
    dead = store / f".aa.{local}.999999999.1.tmp.safetensors"
    half.write_bytes(b"x")
    dead.write_bytes(b"x")
    run(job, mpi=False)
    expect(half.exists() and not dead.exists(), "only the files of this host's dead processes may go")
    half.unlink()


def case_the_written_job_makes_the_same_clips(folder, model):
    rows = [{"id": "a", "prompt": "x", "seed": 5, "num_frames": 5}, {"id": "b", "prompt": "two # boats"}]
    job = write_job(folder, model, rows=rows)
    out = folder / "out"
    run(job, "--set", "sampling.num_frames=1", "--set", "sampling.negative_prompt=no # blur: none", mpi=False)
    found = records(out)
    expect(found["a"]["request"]["sampling.num_frames"] == 1, "--set did not win over the prompt's line")
    expect(found["b"]["request"]["sampling.negative_prompt"] == "no # blur: none", f"{found['b']['request']}")
    before = digests(out)
    written = out / "job.yaml"
    expect("override:" in written.read_text(), written.read_text())
    expect("0 to do" in run(written, mpi=False), "the written job asks for other clips")
    other = folder / "again"
    run(written, "--set", f"output={other}", mpi=False)
    expect(digests(other) == before, "the written job made other clips")
    bad = folder / "bad.yaml"
    bad.write_text(json.dumps({**json.loads(job.read_text()), "override": {"sed": 1, "height": 33}}))
    text = rushes("plan", bad, code=2)
    expect("override.sed" in text and "'seed'" in text and text.count("override.sed") == 1, text)


def case_an_unfinished_fresh_run_is_seen_and_ended(folder, model):
    job = write_job(folder, model, count=4, steps=1500)
    out = folder / "out"
    run(job, mpi=False)
    started = launch(job, "--fresh", mpi=False)
    expect(started.wait_until(lambda: len(events(out, "item_done")) >= 5), started.text())
    os.kill(started.pid, signal.SIGTERM)
    expect(started.wait() == 75, started.text())
    again = len(events(out, "item_done")) - 4
    expect(f"{again} done" in rushes("status", out), "status counts what an unfinished --fresh has still to make")
    expect("0 to do" in run(job, mpi=False), "a plain run found work")
    expect("4 done" in rushes("status", out), "status still waits for the --fresh that a plain run has ended")
    run(job, "--fresh", mpi=False)
    expect(all(count >= 2 for count in done_counts(out).values()) and len(events(out, "item_done")) == 8 + again,
           f"the next --fresh did not make everything: {done_counts(out)}")


def case_what_is_in_the_way_is_told_before_anything_starts(folder, model):
    job = write_job(folder, model, count=2)
    out = folder / "out"
    for part in ("items/clip-0.json", "videos/clip-1.mp4", "latents/clip-0.safetensors"):
        (out / part).mkdir(parents=True)
    (out / "frames").mkdir()
    (out / "frames" / "clip-1").write_text("x")
    before = listing(folder / "out")
    text = run(job, ranks=2, code=2)
    for word in ("clip-0.json", "clip-1.mp4", "clip-0.safetensors", "frames/clip-1"):
        expect(word in text, f"'{word}' is not in {text}")
    expect(listing(out) == before, "a refused run wrote something")
    shutil.rmtree(out)
    file = folder / "file"
    file.write_text("x")
    text = run(job, mpi=False, code=2, environment={"RUSHES_CACHE": str(file / "cache")})
    expect("embeddings" in text and str(file) in text, text)
    expect(not out.exists(), "a refused run wrote something")
    run(job, mpi=False)
    assert_clean(out, ["clip-0", "clip-1"])


def case_probe_replaces_no_device_or_pipe(folder, model):
    pipe = folder / "pipe"
    os.mkfifo(pipe)
    for option in ("--out", "--trace"):
        other = [] if option == "--out" else ["--out", folder / "out.safetensors"]
        text = rushes("probe", "--model", model, "--component", "tokenizer", "--text", "x", "--max-length", "8",
                      option, pipe, *other, code=2)
        expect("pipe" in text, text)
    expect(pipe.is_fifo(), "the pipe was replaced")


def case_bad_words_and_layouts_are_told_with_their_place(folder, model):
    expect("'extra'" in rushes("doctor", "extra", code=2), "doctor")
    expect("'extra'" in rushes("status", folder, "extra", code=2), "status")
    job = write_job(folder, model, count=1)
    data = json.loads(job.read_text())
    job.write_text(json.dumps({**data, "parallel": {"dp": 4}, "sampling": {**data["sampling"], "height": 33}}, indent=1))
    line = next(i for i, text in enumerate(job.read_text().splitlines(), 1) if '"dp"' in text)
    text = run(job, ranks=2, code=2)
    expect(f"job.yaml:{line}: parallel: dp 4" in text and "height" in text, text)


def case_the_starter_says_what_is_missing_and_loads_no_cuda_without_a_driver(folder, model):
    alone = shutil.copy(binary(), folder / "rushes")
    done = subprocess.run([alone, "--version"], capture_output=True, text=True, timeout=60)
    expect(done.returncode == 2 and "librushes.so" in done.stderr, f"{done.returncode}: {done.stderr}")
    (folder / "link").symlink_to(binary())
    expect("rushes" in subprocess.run([folder / "link", "--version"], capture_output=True, text=True).stdout, "by a link")
    if pathlib.Path("/proc/driver/nvidia").exists():
        return
    done = subprocess.run([binary(), "--version"], capture_output=True, text=True, timeout=60,
                          env={**os.environ, "LD_DEBUG": "files"})
    expect("libtorch_cpu" in done.stderr and "libtorch_cuda" not in done.stderr, "libtorch_cuda was loaded")


if __name__ == "__main__":
    sys.exit(main(__name__))
