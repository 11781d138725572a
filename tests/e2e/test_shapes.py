#!/usr/bin/env python3
"""The shapes checkpoint: what Rushes makes of it shows what the prompts say, and is what diffusers makes of it."""
import json
import pathlib
import sys

import numpy as np
from PIL import Image

from e2e.support import assert_clean, expect, main, run

ROOT = pathlib.Path(__file__).resolve().parents[2]
SHAPES = ROOT / "datasets" / "shapes"
sys.path.insert(0, str(ROOT / "tools" / "shapes"))

import evaluate  # noqa: E402
from check import check_clips, summarise  # noqa: E402
from clips import clips_of  # noqa: E402

SAMPLING = {"height": 64, "width": 64, "num_frames": 17, "fps": 8, "num_inference_steps": 20, "guidance_scale": 5.0,
            "flow_shift": 3.0, "seed": 42}


def write_shapes_job(folder, prompts, save):
    job = folder / "job.yaml"
    job.write_text(json.dumps({"job": "generate", "model": str(SHAPES / "checkpoint"), "prompts": str(prompts),
                               "output": str(folder / "out"), "save": save, "device": "cpu", "sampling": SAMPLING}))
    return job


def case_unseen_prompts_come_out_right(folder, _):
    rows = [json.loads(line) for line in (SHAPES / "unseen.jsonl").read_text().splitlines()]
    expect(len({(row["prompt"], row["seed"]) for row in rows}) == 48, "not 48 pairs of prompt and seed")
    run(write_shapes_job(folder, SHAPES / "unseen.jsonl", ["video"]), ranks=2)
    assert_clean(folder / "out", [row["id"] for row in rows])
    summary = summarise(check_clips(clips_of(folder / "out")))
    print(f"  {summary}")
    expect(summary["judged"] == 48 and summary["share_right"] >= 0.9, f"{summary}")
    expect(summary["drift_median"] < 8 and summary["edge_width_median"] < 3, f"{summary}")


def case_the_frames_are_those_of_diffusers(folder, _):
    rows = [json.loads(line) for line in (SHAPES / "unseen.jsonl").read_text().splitlines()][::12]
    prompts = folder / "prompts.jsonl"
    prompts.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run(write_shapes_job(folder, prompts, ["frames"]), mpi=False)
    pipeline = evaluate.load_pipeline(SHAPES / "checkpoint", SAMPLING["flow_shift"])
    settings = evaluate.Settings(SAMPLING["num_inference_steps"], SAMPLING["guidance_scale"], 512)
    for row in rows:
        theirs = evaluate.make_clip(pipeline, row["prompt"], row["seed"], settings).astype(int)
        files = sorted((folder / "out" / "frames" / row["id"]).iterdir())
        ours = np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files]).astype(int)
        expect(ours.shape == theirs.shape, f"{row['id']}: {ours.shape} frames, diffusers {theirs.shape}")
        worst, changed = np.abs(ours - theirs).max(), np.mean(ours != theirs)
        print(f"  {row['id']}: largest difference {worst} level, {100 * changed:.3f} % of values differ")
        expect(worst <= 1, f"{row['id']}: {worst} levels off diffusers")


if __name__ == "__main__":
    sys.exit(main(__name__, needs_model=False))
