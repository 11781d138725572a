#!/usr/bin/env python3
"""Ranks of a node hold one copy of the weights between them, by the kernel's own count of who has which page."""
import json
import pathlib
import resource
import sys
import time

from e2e.support import digests, expect, launch, main

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
MODEL = {}


def model(folder):
    if not MODEL:
        from benches.models import write_middle_pipeline
        MODEL["path"] = write_middle_pipeline(folder / "middle", ROOT / "datasets" / "shapes" / "checkpoint")
        MODEL["bytes"] = sum((MODEL["path"] / name / "diffusion_pytorch_model.safetensors").stat().st_size
                             for name in ("transformer", "vae"))
    return MODEL["path"]


def shares(pid):
    """What the process has of memory: pages of its own, and of shared ones its share."""
    for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise OSError("no Pss")


def most_memory(folder, name, ranks, parallel, preexec=None):
    """-> the largest sum over the ranks while they make clips (but for a twentieth of the time: while pages become shared, ranks
    that are looked at one after the other count them twice), and the videos."""
    job = folder / f"{name}.yaml"
    out = folder / name
    rows = [{"prompt": f"a red circle {i}", "id": f"clip-{i}", "seed": i} for i in range(4)]
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    job.write_text(json.dumps({
        "job": "generate", "model": str(model(folder)), "device": "cpu", "prompts": str(folder / f"{name}.jsonl"), "output": str(out),
        "precision": {"transformer": "float32", "vae": "float32", "text_encoder": "float32"},
        "parallel": parallel, "save": ["video", "latents"],
        "sampling": {"height": 64, "width": 64, "num_frames": 5, "fps": 8, "flow_shift": 3.0, "num_inference_steps": 4,
                     "max_sequence_length": 64}}))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    if preexec:
        resource.setrlimit(resource.RLIMIT_FSIZE, (preexec, before[1]))
    try:
        started = launch(job, ranks=ranks)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    seen = []
    while started.process.poll() is None:
        try:
            pids = started.ranks()
            seen.append(sum(shares(pid) for pid in pids))
        except OSError:
            pass
        time.sleep(0.02)
    expect(started.wait() == 0, started.text())
    return sorted(seen)[len(seen) * 19 // 20], digests(out), started.text()


def case_one_copy_of_the_weights(folder, _):
    model(folder)
    weights = MODEL["bytes"]
    alone, videos, _ = most_memory(folder, "alone", 1, {})
    told = f"  weights {weights / 2**20:.0f} MiB; one rank {alone / 2**20:.0f}"
    for name, ranks, parallel in (("dp", 2, {"dp": 2}), ("sp", 3, {"dp": 1, "ring": 3}), ("cfg", 2, {"dp": 1, "cfg": 2})):
        shared, same, text = most_memory(folder, name, ranks, parallel)
        expect("share memory" not in text, text)
        if name == "dp":
            expect(same == videos, "other videos from shared weights")
        # A file that is larger than this may not be made: neither may the memory's.
        own, _, text = most_memory(folder, f"{name}-own", ranks, parallel, preexec=2**40)
        expect("ulimit -f): each keeps weights of its own" in text, text)
        told += f"; {name} on {ranks} ranks {shared / 2**20:.0f}, without sharing {own / 2**20:.0f}"
        expect(own - shared > 0.75 * (ranks - 1) * weights, told)
    print(told + " MiB")


if __name__ == "__main__":
    sys.exit(main(__name__, needs_model=False))
