#!/usr/bin/env python3
"""A long batch holds on to nothing: memory and file descriptors of a rank while it makes one demo clip after the other.

60 clips of few steps; with RUSHES_NIGHTLY=1 300 clips as the demo makes them.
"""
import json
import os
import pathlib
import sys

from e2e.support import expect, launch, main

ROOT = pathlib.Path(__file__).resolve().parents[2]
NIGHTLY = bool(os.environ.get("RUSHES_NIGHTLY"))
COUNT, STEPS = (300, 20) if NIGHTLY else (60, 2)
SETTLED = 10  # clips after which caches and the allocator's pools are as large as they get
MOST_GROWTH = 10 << 20


def resident(pid):
    return int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def case_memory_and_descriptors_stay(folder, _):
    lines = (ROOT / "datasets" / "shapes" / "prompts.jsonl").read_text().splitlines()
    rows = [{"prompt": json.loads(lines[i % len(lines)])["prompt"], "id": f"clip-{i}", "seed": i} for i in range(COUNT)]
    prompts = folder / "prompts.jsonl"
    prompts.write_text("".join(json.dumps(row) + "\n" for row in rows))
    job = folder / "job.yaml"
    out = folder / "out"
    job.write_text(json.dumps({"job": "generate", "model": str(ROOT / "datasets" / "shapes" / "checkpoint"), "device": "cpu",
                               "prompts": str(prompts), "output": str(out), "save": ["video", "latents", "frames"],
                               "sampling": {"height": 64, "width": 64, "num_frames": 17, "fps": 8, "flow_shift": 3.0,
                                            "num_inference_steps": STEPS, "max_sequence_length": 64}}))
    started = launch(job, mpi=False)
    seen = {}  # clips done -> (resident, descriptors), looked at between two clips' ends

    def look():
        try:
            done = len(list((out / "items").glob("*.json")))
            seen[done] = (resident(started.pid), descriptors(started.pid))
        except OSError:
            pass
        return False
    started.wait_until(look, timeout=1200)
    expect(started.wait() == 0, started.text())
    before = [values for done, values in seen.items() if SETTLED <= done < SETTLED + 5]
    after = [values for done, values in seen.items() if COUNT - 5 <= done]
    expect(before and after, f"seen only after {sorted(seen)} clips")
    # The least of several looks: between two clips nothing of either is held.
    growth = min(values[0] for values in after) - min(values[0] for values in before)
    more = min(values[1] for values in after) - min(values[1] for values in before)
    print(f"  {COUNT} clips: {growth / 2**20:+.1f} MB, {more:+d} descriptors since clip {SETTLED}")
    expect(growth < MOST_GROWTH, f"memory grew by {growth} bytes")
    expect(more <= 0, f"{more} descriptors were left open")


if __name__ == "__main__":
    sys.exit(main(__name__, needs_model=False))
