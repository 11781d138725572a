#!/usr/bin/env python3
"""`rushes run` on a file system that fills up. Skipped where none can be mounted."""
import subprocess
import sys

from e2e.support import Skip, assert_clean, done_counts, events, expect, launch, main, records, run, write_job

IDS = [f"clip-{i}" for i in range(4)]


def mount(disk, size):
    disk.mkdir(exist_ok=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "rushes", str(disk)], capture_output=True, text=True)
    if mounted.returncode != 0:
        raise Skip(f"no small file system can be mounted here ({mounted.stderr.strip()})")


def unmount(disk):
    subprocess.run(["umount", "-l", str(disk)], check=False)


def fill_up(disk):
    """Takes all room that is left; gives the file that holds it."""
    filler = disk / "filler"
    with open(filler, "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
    return filler


def case_one_rank_with_a_full_disk_leaves_its_items_to_the_others(folder, model):
    job = write_job(folder, model, count=6, steps=2500)
    out = folder / "out"
    started = launch(job, ranks=2)
    work = out / ".rushes" / "work"
    expect(started.wait_until(lambda: (out / "events.jsonl").exists() and len(events(out, "item_started")) >= 2), started.text())
    full = next(work.iterdir())  # of one rank: what it writes now finds no room
    mount(full, "4k")
    try:
        code = started.wait(120)
        expect("cannot go on" in started.text() and "No space left on device" in started.text(), started.text())
        expect(code == 0, f"exit code {code}, though the other rank could do all:\n{started.text()}")
        expect(len({row["rank"] for row in events(out, "item_done")}) == 1, "the other rank did not do it all")
    finally:
        unmount(full)
    run(job, ranks=2)
    assert_clean(out, [f"clip-{i}" for i in range(6)])


def case_a_full_disk_stops_and_a_rerun_goes_on(folder, model):
    disk = folder / "disk"
    mount(disk, "2m")
    try:
        job = write_job(folder, model, count=4, output="disk/out", steps=1500)
        out = disk / "out"
        started = launch(job, ranks=2)
        expect(started.wait_until(lambda: (out / "events.jsonl").exists() and len(done_counts(out)) >= 1), started.text())
        filler = fill_up(disk)
        code = started.wait(120)
        expect(code == 75, f"exit code {code}:\n{started.text()}")
        expect("No space left on device" in started.text() and "run the same command again" in started.text(), started.text())
        expect(all(record["status"] == "done" for record in records(out).values()), "an item was blamed for the disk")
        filler.unlink()
        run(job, ranks=2)
        assert_clean(out, IDS)
    finally:
        unmount(disk)


def case_a_full_disk_at_the_start_leaves_nothing_behind(folder, model):
    disk = folder / "disk"
    mount(disk, "1m")
    try:
        job = write_job(folder, model, count=4, output="disk/a/out")
        filler = fill_up(disk)
        for room in (0, 4096, 16384):
            with open(filler, "r+b") as file:
                file.truncate(filler.stat().st_size - room)
            text = run(job, ranks=2, code=2)
            expect("No space left on device" in text and "free space" in text and "output" in text, text)
            expect([path.name for path in disk.rglob("*")] == ["filler"], f"left behind: {list(disk.rglob('*'))}")
        (disk / "a" / "out").mkdir(parents=True)  # the user's own folder stays
        run(job, ranks=2, code=2)
        expect(list((disk / "a" / "out").iterdir()) == [], f"left behind: {list(disk.rglob('*'))}")
    finally:
        unmount(disk)


if __name__ == "__main__":
    sys.exit(main(__name__))
