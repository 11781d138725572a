#!/usr/bin/env python3
"""Models whose parts do not fit together, and jobs that a model cannot do: `rushes plan` and `rushes run` end with exit
code 2, say the problem, and write nothing.

Diffusers is asked first whether it makes the clip that was asked for. What it cannot make must be refused; what it
makes must come out the same, or be refused in words.
"""
import os
import pathlib
import sys
import warnings

import diffusers
from transformers import UMT5Config, UMT5EncoderModel

from oracle.support import Rng, expect, randomize_parameters, run_cases
from oracle.support.jobs import reference_clip, run_job, rushes, write_job
from oracle.support.pipelines import random_pipeline, save_pipeline, wan22_vae, wan_unipc
from oracle.test_wan_pipeline import compare_clip

SIZE = {"height": 32, "width": 48, "num_frames": 5, "num_inference_steps": 3, "max_sequence_length": 16,
        "guidance_scale": 2.0}


def rebuilt(module, rng, **changes):
    """A module of another config, with random values."""
    config = {key: value for key, value in module.config.items() if not key.startswith("_")}
    return randomize_parameters(type(module)(**{**config, **changes}).eval(), rng)


# Each of these gives a change to a pipeline, made before it is saved.


def scheduler(base=None, **fields):
    def change(pipeline, rng):
        made = base or type(pipeline.scheduler)
        pipeline.scheduler = made.from_config(pipeline.scheduler.config if base is None else {}, **fields)
    return change


def part(key, **fields):
    def change(pipeline, rng):
        setattr(pipeline, key, rebuilt(getattr(pipeline, key), rng, **fields))
    return change


def registered(**fields):
    """Fields of model_index.json."""
    return lambda pipeline, rng: pipeline.register_to_config(**fields)


def second(**fields):
    """A transformer_2 with other fields than transformer."""
    def change(pipeline, rng):
        pipeline.transformer_2 = rebuilt(pipeline.transformer, rng, **fields)
        pipeline.register_to_config(boundary_ratio=0.8)
    return change


def embeddings(less):
    """So many rows less than the tokenizer has ids."""
    def change(pipeline, rng):
        config = {**pipeline.text_encoder.config.to_dict(), "vocab_size": len(pipeline.tokenizer) - less}
        pipeline.text_encoder = randomize_parameters(UMT5EncoderModel(UMT5Config(**config)).eval(), rng)
    return change


def both(*changes):
    def change(pipeline, rng):
        for each in changes:
            each(pipeline, rng)
    return change


EULER = diffusers.FlowMatchEulerDiscreteScheduler

# name, change, the job's sampling keys, words that must stand in what is said, further arguments of random_pipeline
MISFITS = [
    # Schedules that have no finite values, or where a key has no effect.
    ("bh1_to_zero", scheduler(solver_type="bh1"), {}, ["finite"], {}),
    ("high_order_to_zero", scheduler(lower_order_final=False), {}, ["finite"], {}),
    ("one_step_to_terminal", scheduler(shift_terminal=0.1), {"num_inference_steps": 1},
     ["num_inference_steps", "finite"], {}),
    ("euler_one_step_to_terminal", scheduler(EULER, shift_terminal=0.1), {"num_inference_steps": 1},
     ["num_inference_steps", "finite"], {}),
    ("more_steps_than_levels", scheduler(use_flow_sigmas=False, num_train_timesteps=10), {"num_inference_steps": 20},
     ["finite"], {}),
    ("shift_without_flow", scheduler(use_flow_sigmas=False), {"flow_shift": 5.0}, ["flow_shift"], {}),
    ("shift_with_karras", scheduler(use_karras_sigmas=True), {"flow_shift": 5.0}, ["flow_shift"], {}),
    ("dynamic_shift", scheduler(use_dynamic_shifting=True), {}, ["use_dynamic_shifting"], {}),
    # VAEs that make another size than they say.
    ("says_16_pixels", part("vae", scale_factor_spatial=16), {"width": 64}, ["scale_factor_spatial"], {}),
    ("says_4_pixels", part("vae", scale_factor_spatial=4), {}, ["scale_factor_spatial"], {}),
    ("says_8_frames", part("vae", scale_factor_temporal=8), {"num_frames": 9}, ["scale_factor_temporal"], {}),
    ("says_2_frames", part("vae", scale_factor_temporal=2), {}, ["scale_factor_temporal"], {}),
    ("default_factors", part("vae", temperal_downsample=[False, False, True]), {}, ["scale_factor_temporal"], {}),
    ("forgets_its_patch", part("vae", scale_factor_spatial=8), {"width": 64}, ["scale_factor_spatial"], {"vae": wan22_vae}),
    ("four_colours", part("vae", out_channels=4), {}, ["out_channels"], {}),
    ("one_colour", part("vae", out_channels=1), {}, ["out_channels"], {}),
    ("colours_of_no_patch", part("vae", out_channels=24), {"width": 64}, ["out_channels"], {"vae": wan22_vae}),
    ("encodes_four_colours", part("vae", in_channels=4), {}, ["in_channels"], {}),
    # Transformers beside their neighbours.
    ("takes_more", part("transformer", in_channels=6), {}, ["channels"], {"channels": 4}),
    ("gives_more", part("transformer", out_channels=6), {}, ["channels"], {"channels": 4}),
    ("other_text", part("transformer", text_dim=20), {}, ["text_dim"], {}),
    ("few_positions", part("transformer", rope_max_seq_len=2), {}, ["rope_max_seq_len"], {}),
    ("second_takes_more", second(in_channels=6), {}, ["transformer_2", "channels"], {"channels": 4}),
    ("second_gives_more", second(out_channels=6), {}, ["transformer_2", "channels"], {"channels": 4}),
    ("second_other_patch", second(patch_size=(1, 1, 1)), {}, ["transformer_2", "patch_size"], {}),
    ("second_large_patch", second(patch_size=(1, 4, 4)), {}, ["transformer_2", "patch_size"], {}),
    ("second_other_text", second(text_dim=20), {}, ["transformer_2", "text_dim"], {}),
    ("second_few_positions", second(rope_max_seq_len=2), {}, ["rope_max_seq_len"], {}),
    ("second_without_boundary", both(second(), registered(boundary_ratio=None)), {}, ["boundary_ratio"], {}),
    ("boundary_without_second", registered(boundary_ratio=0.8), {}, ["transformer_2"], {}),
    ("boundary_below_0", both(second(), registered(boundary_ratio=-0.1)), {}, ["boundary_ratio"], {}),
    ("boundary_0", both(second(), registered(boundary_ratio=0.0)), {}, ["boundary_ratio"], {}),
    ("boundary_1", both(second(), registered(boundary_ratio=1.0)), {}, ["boundary_ratio"], {}),
    ("boundary_above_1", both(second(), registered(boundary_ratio=1.5)), {}, ["boundary_ratio"], {}),
    ("boundary_in_steps", both(second(), registered(boundary_ratio=875)), {}, ["boundary_ratio"], {}),
    ("expands_pixels", registered(expand_timesteps=True), {}, ["expand_timesteps"], {"patch_size": (1, 1, 1)}),
    ("expands_frames", registered(expand_timesteps=True), {}, ["expand_timesteps"], {"patch_size": (2, 2, 2)}),
    ("expands_columns", registered(expand_timesteps=True), {}, ["expand_timesteps"], {"patch_size": (1, 2, 1)}),
    ("expands_large_patches", registered(expand_timesteps=True), {"height": 64, "width": 64}, ["expand_timesteps"],
     {"patch_size": (1, 4, 4)}),
    ("expands_second", both(second(patch_size=(1, 1, 1)), registered(expand_timesteps=True)), {}, ["transformer_2"], {}),
    ("few_embeddings", embeddings(less=20), {"prompt": "一只猫在草地上奔跑"}, ["vocab_size"], {}),
    ("few_embeddings_for_the_negative", embeddings(less=20), {"prompt": "x", "negative_prompt": "模糊"}, ["vocab_size"], {}),
    ("enough_embeddings_without_guidance", embeddings(less=20),
     {"prompt": "x", "negative_prompt": "模糊", "guidance_scale": 1.0}, ["vocab_size"], {}),
    ("enough_embeddings_for_this_prompt", embeddings(less=20), {"prompt": "x"}, ["vocab_size"], {}),
    # All of it is said at once: what the model has, and what the job wants of a model that fits.
    ("model_in_one_go", both(second(text_dim=20), part("vae", scale_factor_spatial=16, out_channels=4)), {"width": 64},
     ["text_dim", "scale_factor_spatial", "out_channels"], {}),
    ("job_in_one_go", both(scheduler(solver_type="bh1"), embeddings(less=20)), {"prompt": "一只猫在草地上奔跑", "width": 56},
     ["vocab_size", "width"], {}),
]


def row_of(pipeline, sampling):
    patch = pipeline.transformer.config.patch_size[0]
    return {"id": "clip", "prompt": "a cat", "negative_prompt": "blurry", "seed": 3, **SIZE,
            **({"num_frames": 13} if patch == 2 else {}), **sampling}


def wanted_clip(pipeline, row):
    """Why diffusers does not make the clip, or None."""
    try:
        _, frames = reference_clip(pipeline, row)
    except Exception as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    wanted = (row["num_frames"], row["height"], row["width"], 3)
    if frames.shape != wanted:
        return f"a video of {frames.shape}, where {wanted} was asked for"
    # Not a number becomes the smallest integer.
    return None if frames.min() >= 0 else "values that are no numbers"


def said(done, words, output):
    """Does it refuse? Then with every word, as a problem and not as a bug, and with nothing written."""
    if done.returncode == 0:
        return False
    expect(done.returncode == 2, f"exit code {done.returncode}, should be 2:\n{done.stderr[-2000:]}")
    for word in words:
        expect(word in done.stderr, f"'{word}' is not in:\n{done.stderr[-2000:]}")
    expect("internal error" not in done.stderr, done.stderr[-2000:])
    expect(not output.exists(), "something was written")
    return True


def check(name, change, sampling, words, shape, rng: Rng, folder: pathlib.Path):
    usual = {"scheduler": lambda rng: wan_unipc(3.0), "two_experts": False, "expand_timesteps": False}
    pipeline = random_pipeline(rng, **{**usual, **shape})
    change(pipeline, rng)
    pipeline = diffusers.WanPipeline(**pipeline.components, boundary_ratio=pipeline.config.boundary_ratio,
                                     expand_timesteps=pipeline.config.expand_timesteps)  # it notes the VAE's factors
    model = save_pipeline(pipeline, folder / "model")
    row = row_of(pipeline, sampling)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        why = wanted_clip(pipeline, row)
    print(f"  {name}: diffusers makes {'it' if why is None else 'not: ' + why[:150]}")
    job, output = write_job(folder, model, [row])
    plan = rushes("plan", job)
    print("   ", plan.stderr.strip().replace(str(folder), "")[:600] or "rushes plan: takes it", flush=True)
    if said(plan, words, output):
        expect(said(rushes("run", job), words, output), "rushes run starts what rushes plan refuses")
        return
    if why is not None:
        done = rushes("run", job)
        lines = [line[:300] for line in done.stderr.splitlines() if line.startswith(("warning", "error"))]
        raise AssertionError(f"{name}: rushes plan takes what diffusers cannot make ({why}); rushes run ends with "
                             f"{done.returncode}: {'; '.join(lines)}")
    compare_clip(run_job(folder, model, [row]), pipeline, row)


def case_of(misfit):
    def case(rng, folder):
        check(*misfit, rng, folder)
    case.__name__ = misfit[0]
    return case


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    sys.exit(run_cases([case_of(misfit) for misfit in MISFITS], nightly=1))
