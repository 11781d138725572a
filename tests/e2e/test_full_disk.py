#!/usr/bin/env python3
"""`rushes run` on a file system that fills up. Skipped where none can be mounted."""
import subprocess
import sys

from e2e.support import Skip, assert_clean, done_counts, expect, launch, main, records, run, write_job

IDS = [f"clip-{i}" for i in range(4)]


def case_a_full_disk_stops_and_a_rerun_goes_on(folder, model):
    disk = folder / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "rushes", str(disk)], capture_output=True, text=True)
    if mounted.returncode != 0:
        raise Skip(f"no small file system can be mounted here ({mounted.stderr.strip()})")
    try:
        job = write_job(folder, model, count=4, output="disk/out", steps=300)
        out = disk / "out"
        started = launch(job, ranks=2)
        expect(started.wait_until(lambda: (out / "events.jsonl").exists() and len(done_counts(out)) >= 1), started.text())
        filler = disk / "filler"
        with open(filler, "wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                pass
        code = started.wait(120)
        expect(code == 75, f"exit code {code}:\n{started.text()}")
        expect("No space left on device" in started.text() and "run the same command again" in started.text(), started.text())
        expect(all(record["status"] == "done" for record in records(out).values()), "an item was blamed for the disk")
        filler.unlink()
        run(job, ranks=2)
        assert_clean(out, IDS)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)


if __name__ == "__main__":
    sys.exit(main(__name__))
