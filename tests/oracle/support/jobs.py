"""Jobs of `rushes plan` and `rushes run`, and the same clips by diffusers."""
import json
import os
import subprocess

import numpy as np
import torch

from .comparison import expect
from .probe import binary

CALL = ("prompt", "negative_prompt", "height", "width", "num_frames", "num_inference_steps", "guidance_scale",
        "max_sequence_length")


def write_job(folder, model, rows, name="job", **more):
    """Writes <name>.yaml and <name>.jsonl; returns the job file and its output folder."""
    prompts, job, output = folder / f"{name}.jsonl", folder / f"{name}.yaml", folder / f"out-{name}"
    prompts.write_text("".join(json.dumps(row) + "\n" for row in rows))
    job.write_text(json.dumps({"job": "generate", "model": str(model), "prompts": str(prompts), "output": str(output),
                               "save": ["video", "latents", "frames"], "device": "cpu", **more}))
    return job, output


def rushes(*arguments, ranks=None):
    """`rushes ARGUMENTS`, finished, by mpirun where `ranks` is given."""
    launcher = ["mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-n", str(ranks)] if ranks else []
    return subprocess.run([*launcher, binary(), *map(str, arguments)], capture_output=True, text=True, timeout=900,
                          env={"OMP_NUM_THREADS": "2", **os.environ})


def run_job(folder, model, rows, ranks=1, **more):
    """Runs `rows` on `ranks` ranks; returns the output folder."""
    job, output = write_job(folder, model, rows, name=more.pop("name", f"ranks-{ranks}"), **more)
    done = rushes("run", job, ranks=ranks)
    expect(done.returncode == 0, f"rushes run on {ranks} ranks ended with {done.returncode}:\n{done.stderr[-3000:]}")
    return output


def with_flow_shift(scheduler, shift):
    """The scheduler with another shift, as the Wan examples make it."""
    key = "flow_shift" if "flow_shift" in scheduler.config else "shift"
    return type(scheduler).from_config(scheduler.config, **{key: shift})


def reference_clip(pipeline, row, output_type="np"):
    """Latents of diffusers for a row of a job, and its frames (bytes, as int64)."""
    given = {key: row[key] for key in CALL if key in row}
    if pipeline.vae_scale_factor_temporal == 1:
        given["num_frames"] -= 1  # 0.42 "rounds" n to n + 1 where a latent is one frame
    kept, states = pipeline.scheduler, {}
    if "flow_shift" in row:
        pipeline.scheduler = with_flow_shift(kept, row["flow_shift"])
    pipeline.set_progress_bar_config(disable=True)
    frames = pipeline(**given, generator=torch.Generator("cpu").manual_seed(row["seed"]), output_type=output_type,
                      callback_on_step_end=lambda pipe, i, t, now: states.update(now) or {}).frames[0]
    pipeline.scheduler = kept
    return states["latents"], np.round(frames * 255).astype(np.int64) if output_type == "np" else None
