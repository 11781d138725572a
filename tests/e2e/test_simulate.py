#!/usr/bin/env python3
"""`run --simulate`: the queue and the failure handling under stragglers and deaths, with nothing made and nothing written.

Hundreds of items; with RUSHES_NIGHTLY=1 100,000 items on 10, 100 and 1,000 replicas.
"""
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

from e2e.support import expect, main
from e2e.support.hostile import accepted, each, refused
from e2e.support.launch import binary

ROOT = pathlib.Path(__file__).resolve().parents[2]
NIGHTLY = bool(os.environ.get("RUSHES_NIGHTLY"))
COUNT, REPLICAS = (100_000, (10, 100, 1000)) if NIGHTLY else (600, (10, 50))


def write(folder, count):
    rows = [{"prompt": f"circle {i}", "id": f"clip-{i}", "num_inference_steps": 10 + i % 41} for i in range(count)]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "job.yaml").write_text(json.dumps({
        "job": "generate", "model": str(ROOT / "datasets" / "shapes" / "checkpoint"), "device": "cpu", "prompts": "prompts.jsonl",
        "output": "out", "sampling": {"height": 256, "width": 256, "num_frames": 81, "max_sequence_length": 64}}))


def simulate(folder, *options):
    # Figures of a file, so that clips are as long on any machine. A thousand threads need many addresses.
    device = [] if "--device" in options else ["--device", str(ROOT / "configs" / "clusters" / "cpu.yaml")]
    ended = accepted(["run", "job.yaml", "--simulate", *map(str, options), *device], [], folder, seconds=3000, megabytes=12000,
                     addresses=1 << 40)
    text = ended.text
    numbers = re.search(r"items: (\d+) done, (\d+) failed, (\d+) left, (\d+) made twice; (\d+) tries, (\d+) deaths", text)
    expect(numbers, text)
    efficiency = float(re.search(r"efficiency: ([\d.]+) %", text).group(1))
    return [int(number) for number in numbers.groups()], efficiency, text


def case_every_item_once(folder, _):
    write(folder, COUNT)
    for replicas in REPLICAS:
        (done, failed, left, twice, tries, deaths), efficiency, text = simulate(
            folder, replicas, "--with", "deaths=0.5", "--with", "stragglers=0.05", "--with", "failing=0.01")
        print("  " + "\n  ".join(text.strip().splitlines()))
        expect(done + failed == COUNT and left == twice == 0, text)
        expect(failed > 0 and tries >= COUNT and efficiency > 50, text)
        expect(deaths > 0 and tries > COUNT, f"nobody died: {text}")
    expect(sorted(path.name for path in folder.iterdir()) == ["job.yaml", "prompts.jsonl"], "something was written")


def case_the_same_seed_is_the_same_run(folder, _):
    write(folder, 100)
    first = simulate(folder, 8, "--with", "deaths=3")
    expect(simulate(folder, 8, "--with", "deaths=3") == first, "another run")
    expect(simulate(folder, 8, "--with", "deaths=3", "--with", "seed=2") != first, "the seed changes nothing")
    # Of another device no part need be here.
    expect("H200" in simulate(folder, 8, "--device", "h200", "--with", "failing=0.2")[2], "not for an H200")


def case_wrong_options_are_refused(folder, _):
    write(folder, 3)
    each([(["--simulate", "0"], ["1 to 4096"]), (["--simulate", "x"], ["--simulate"]), (["--simulate=5", "--fresh"], ["--fresh"]),
          (["--with", "deaths=1"], ["goes with --simulate"]), (["--device", "h200"], ["goes with --simulate"]),
          (["--simulate", "5", "--with", "deths=1"], ["deths", "deaths"]),
          (["--simulate", "5", "--with", "deaths=-1"], ["0 to 3600"]),
          (["--simulate", "5", "--device", "h300"], ["h300", "h200"]),
          (["--simulate", "5", "--with", "deaths=3600", "--with", "slowdown=900"], ["would die"]),
          (["--simulate", "5", "--set", "parallel.dp=4"], ["dp is 4", "5 replicas"])],
         lambda options, wanted: refused(["run", "job.yaml", *options], wanted, folder))


def case_it_can_be_stopped(folder, _):
    write(folder, 20_000)
    shared = pathlib.Path("/dev/shm")
    before = set(shared.glob("rushes-simulation-*"))
    process = subprocess.Popen([binary(), "run", "job.yaml", "--simulate", "200"], cwd=folder, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    start = time.monotonic()
    while not set(shared.glob("rushes-simulation-*")) - before and time.monotonic() < start + 60:
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    expect(process.wait(timeout=60) == 75, f"exit code {process.returncode}")
    expect(set(shared.glob("rushes-simulation-*")) <= before, "its folder stays behind")


if __name__ == "__main__":
    sys.exit(main(__name__, needs_model=False))
