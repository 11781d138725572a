#!/usr/bin/env python3
"""save: [hdf5] where things go wrong: damage, a full disk, runs at once, kills while shards are joined."""
import os
import random
import subprocess
import sys
import time

from e2e.support import binary, expect, launch, main, records, run, write_job
from e2e.test_dataset import alike, check_files, check_set
from e2e.test_full_disk import fill_up, mount, unmount

FRAMES = {"save": ("hdf5", "latents", "frames"), "dataset": {"pixels": "frames", "shard_clips": 2}}


def info(out, *options):
    return subprocess.run([binary(), "dataset", "info", str(out), *options], capture_output=True, text=True)


def shards(out):
    return sorted((out / "hdf5").glob("*/shard-*.h5"))


def case_a_lost_or_cut_shard_is_made_again(folder, model):
    job = write_job(folder, model, rows=alike(6), **FRAMES)
    run(job)
    out = folder / "out"
    gone, cut, flipped = shards(out)
    gone.unlink()
    with open(cut, "r+b") as file:
        file.truncate(cut.stat().st_size // 2)
    data = bytearray(flipped.read_bytes())
    data[len(data) // 2] ^= 16
    times = flipped.stat()
    flipped.write_bytes(data)
    os.utime(flipped, ns=(times.st_atime_ns, times.st_mtime_ns))
    told = info(out, "--verify")
    expect(told.returncode == 3, told)
    for path in (gone, cut, flipped):
        expect(f"wrong: {path.relative_to(out)}" in told.stdout, told.stdout + told.stderr)
    told = info(out)
    expect(told.returncode == 0 and told.stdout.count("cannot be read: ") == 2, told)
    exported = subprocess.run([binary(), "dataset", "export", str(out), "--to", str(folder / "tars")], capture_output=True, text=True)
    expect(exported.returncode == 2 and str(gone.relative_to(out)) in exported.stderr, exported)
    expect(not list((folder / "tars").iterdir()), "an export that failed left files")
    # Whatever bytes are changed, nothing falls over them.
    good, rng = data, random.Random(1)
    for _ in range(40):
        bad = bytearray(good)
        for _ in range(rng.randint(1, 4)):
            bad[rng.randrange(min(4096, len(bad)))] = rng.randrange(256)
        flipped.write_bytes(bad)
        told = info(out)
        expect(told.returncode == 0 and told.stdout.count("cannot be read: ") == 3, told)
    text = run(job, "--verify", ranks=2)
    expect("6 of 6 done" in text, text)
    check_set(out, [f"clip-{i}" for i in range(6)])
    check_files(out)


def case_a_damaged_spool_is_made_again(folder, model):
    """Two clips wait in the spool because the run was killed; one is cut, one has a bit flipped."""
    job = write_job(folder, model, rows=alike(8), steps=200, save=("hdf5", "latents", "frames"),
                    dataset={"pixels": "frames", "shard_clips": 64})
    out = folder / "out"
    started = launch(job)
    expect(started.wait_until(lambda: len(records(out)) >= 4 if (out / "items").exists() else False), started.text())
    started.kill(started.group())
    started.wait()
    spooled = sorted((out / "hdf5" / "spool").rglob("*.safetensors"))
    expect(len(spooled) >= 4, spooled)
    with open(spooled[0], "r+b") as file:
        file.truncate(1000)
    data = bytearray(spooled[1].read_bytes())
    data[-7] ^= 1
    times = spooled[1].stat()
    spooled[1].write_bytes(data)
    os.utime(spooled[1], ns=(times.st_atime_ns, times.st_mtime_ns))
    spooled[2].unlink()
    text = run(job, code=75)
    expect(f"{spooled[1].name} is damaged, and its item is to be made again" in text, text)
    run(job)
    check_set(out, [f"clip-{i}" for i in range(8)])
    check_files(out)


def case_other_pixels_are_noticed(folder, model):
    run(write_job(folder, model, rows=alike(3), save=("hdf5", "latents", "frames"), dataset={"pixels": "video", "shard_clips": 2}))
    text = run(write_job(folder, model, rows=alike(3), **FRAMES))
    expect(text.count("is made again: its sample has dataset.pixels: video, now frames") == 3, text)
    check_set(folder / "out", [f"clip-{i}" for i in range(3)])
    check_files(folder / "out")


def case_two_prompt_lists_in_one_folder(folder, model):
    """A second list with other ids adds its clips; the first one's stay."""
    first, second = alike(4), [{"id": f"other-{i}", "prompt": f"other {i}"} for i in range(3)]
    run(write_job(folder, model, rows=first, **FRAMES))
    run(write_job(folder, model, name="second", rows=second, **FRAMES), ranks=2)
    check_set(folder / "out", [row["id"] for row in first + second])
    check_files(folder / "out")


def case_runs_that_end_together(folder, model):
    """Four runs over one folder, ended at once by one list of short clips: each waits while another joins shards."""
    job = write_job(folder, model, rows=alike(12), **FRAMES)
    for started in [launch(job, ranks=1 + number % 2) for number in range(4)]:
        expect(started.wait() == 0, started.text())
    check_set(folder / "out", [f"clip-{i}" for i in range(12)])
    check_files(folder / "out")


def case_killed_while_shards_are_joined(folder, model):
    """Each time all clips are made anew, and the run is killed while it writes a shard or the whole set."""
    out, rng, kills = folder / "out", random.Random(os.environ.get("KILL_SEED") or 3), 0
    for trial in range(40 if os.environ.get("RUSHES_NIGHTLY") else 6):
        rows = [dict(row, seed=1000 * trial + row["seed"]) for row in alike(24)]
        job = write_job(folder, model, rows=rows, steps=2, **FRAMES)
        started = launch(job, "--fresh", ranks=2)
        work = out / ".rushes" / "work"
        if started.wait_until(lambda: any(work.glob("*/shard-*.h5")) or any(work.glob("*/dataset.h5"))):
            time.sleep(rng.random() * 0.05)
            started.kill(started.group())
            kills += 1
        started.wait()
        run(job, "--fresh", ranks=2)
        check_set(out, [f"clip-{i}" for i in range(24)])
        check_files(out)
    print(f"  {kills} kills while joining")
    expect(kills > 0, "none was killed while it joined shards")


def case_a_disk_that_fills_up(folder, model):
    """Clips go on while the disk is nearly full; where shards cannot be written, a rerun with room joins them."""
    disk = folder / "disk"
    mount(disk, "3m")
    try:
        rows = alike(12)
        job = write_job(folder, model, rows=rows, output="disk/out", steps=300, **FRAMES)
        out = disk / "out"
        started = launch(job, ranks=2)
        expect(started.wait_until(lambda: (out / "items").exists() and len(records(out)) >= 3), started.text())
        filler = fill_up(disk)
        code = started.wait(180)
        expect(code == 75 and "No space left on device" in started.text(), f"exit code {code}:\n{started.text()}")
        expect(all(record["status"] == "done" for record in records(out).values()), "an item was blamed for the disk")
        filler.unlink()
        run(job, ranks=2)
        check_set(out, [row["id"] for row in rows])
        check_files(out)
    finally:
        unmount(disk)


if __name__ == "__main__":
    sys.exit(main(__name__))
