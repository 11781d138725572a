#!/usr/bin/env python3
"""Whole runs of `rushes run` beside diffusers' WanPipeline on the same random models: latents within 1e-3, frames within
one 8-bit level; and the same job on 1 and 3 ranks byte-equal."""
import hashlib
import json
import os
import pathlib
import subprocess
import sys

import diffusers
import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

from oracle.support import Rng, binary, compare, expect, randomize_parameters, run_cases, write_model_folder

PROMPTS = [
    "a red circle moving left on a blue background",
    "“Curly quotes” &amp; a cat’s whiskers — close-up",
    "ﬁlm of ｆｕｌｌ width letters,   many   spaces",
    "ein Haus am See, über den Wolken",
    "一只猫在草地上奔跑",
    "x",
]
NEGATIVE = ["", "blurry, low quality", "模糊"]


def small_tokenizer(rng):
    pieces = {c for prompt in PROMPTS + NEGATIVE for c in prompt if not c.isspace()} | set("abcdefghijklmnopqrstuvwxyz")
    words = {"▁" + w for prompt in PROMPTS for w in prompt.split() if rng.chance(0.6)}
    vocab = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -20.0), ("▁", -4.0)]
    vocab += [(piece, -rng.uniform(1.0, 9.0)) for piece in sorted(pieces | words)]
    tokenizer = Tokenizer(models.Unigram(vocab, unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme="always")])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)])
    return len(vocab), PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>",
                                               unk_token="<unk>", extra_special_tokens=[])


def random_transformer(rng, channels, text_dim):
    heads = rng.choice([1, 2, 3])
    return diffusers.WanTransformer3DModel(
        patch_size=(1, 2, 2), num_attention_heads=heads, attention_head_dim=rng.choice([12, 16, 24]), in_channels=channels,
        out_channels=channels, text_dim=text_dim, freq_dim=rng.choice([16, 32]), ffn_dim=rng.choice([32, 48]),
        num_layers=rng.choice([1, 2]), cross_attn_norm=rng.chance(0.7), qk_norm="rms_norm_across_heads")


def random_pipeline(rng):
    vocabulary, tokenizer = small_tokenizer(rng)
    text_dim, channels = rng.choice([16, 24]), rng.choice([4, 8])
    text_encoder = UMT5EncoderModel(UMT5Config(
        vocab_size=vocabulary, d_model=text_dim, d_kv=8, d_ff=32, num_layers=2, num_heads=2, feed_forward_proj="gated-gelu"))
    vae = diffusers.AutoencoderKLWan(
        base_dim=8, z_dim=channels, dim_mult=[1, 2, 2, 2], num_res_blocks=1,
        latents_mean=[rng.uniform(-0.5, 0.5) for _ in range(channels)],
        latents_std=[rng.uniform(0.5, 2.0) for _ in range(channels)])
    if rng.chance(0.6):
        scheduler = diffusers.UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=rng.choice([1.0, 3.0, 5.0]),
            solver_order=rng.choice([1, 2, 3]))
    else:
        scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=rng.choice([1.0, 3.0]))
    two_experts = rng.chance(0.3)
    modules = {"transformer": random_transformer(rng, channels, text_dim), "vae": vae, "text_encoder": text_encoder,
               "transformer_2": random_transformer(rng, channels, text_dim) if two_experts else None}
    for module in modules.values():
        if module is not None:
            randomize_parameters(module.eval(), rng)
    return diffusers.WanPipeline(
        tokenizer=tokenizer, scheduler=scheduler, boundary_ratio=rng.uniform(0.4, 0.9) if two_experts else None,
        expand_timesteps=rng.chance(0.3), **modules)


def save_pipeline(pipeline, folder):
    """save_pretrained's layout, with the tokenizer named as Wan's checkpoints name it."""
    components = {key: getattr(pipeline, key) for key in ("text_encoder", "vae", "transformer", "transformer_2", "scheduler")}
    components["tokenizer"] = ("transformers", "T5TokenizerFast", pipeline.tokenizer.save_pretrained)
    return write_model_folder(folder, components, extra={
        "boundary_ratio": pipeline.config.boundary_ratio, "expand_timesteps": pipeline.config.expand_timesteps})


def random_rows(rng, count):
    rows = []
    for number in range(count):
        rows.append({"id": f"clip-{number}", "prompt": rng.choice(PROMPTS), "seed": rng.randrange(2**31),
                     "height": 16 * rng.randint(1, 3), "width": 16 * rng.randint(1, 3), "num_frames": 4 * rng.randint(0, 2) + 1,
                     "num_inference_steps": rng.randint(1, 8), "guidance_scale": rng.choice([1.0, 3.5, 6.0]),
                     "negative_prompt": rng.choice(NEGATIVE), "max_sequence_length": rng.choice([8, 32, 64])})
    return rows


def run_job(folder, model, rows, ranks):
    output = folder / f"out-{ranks}"
    prompts = folder / "prompts.jsonl"
    prompts.write_text("".join(json.dumps(row) + "\n" for row in rows))
    job = folder / f"job-{ranks}.yaml"
    job.write_text(json.dumps({"job": "generate", "model": str(model), "prompts": str(prompts), "output": str(output),
                               "save": ["video", "latents", "frames"], "device": "cpu"}))
    done = subprocess.run(["mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-n", str(ranks),
                           binary(), "run", str(job)], capture_output=True, text=True, timeout=900)
    expect(done.returncode == 0, f"rushes run on {ranks} ranks ended with {done.returncode}:\n{done.stderr[-3000:]}")
    return output


def reference_clip(pipeline, row):
    given = {key: row[key] for key in ("prompt", "negative_prompt", "height", "width", "num_frames", "num_inference_steps",
                                       "guidance_scale", "max_sequence_length")}
    draw = lambda: torch.Generator("cpu").manual_seed(row["seed"])
    pipeline.set_progress_bar_config(disable=True)
    latents = pipeline(**given, generator=draw(), output_type="latent").frames
    frames = pipeline(**given, generator=draw(), output_type="np").frames[0]
    return latents, np.round(frames * 255).astype(np.int64)


def compare_clip(output, pipeline, row):
    latents, frames = reference_clip(pipeline, row)
    name = row["id"]
    compare(f"{name} latents", load_file(output / "latents" / f"{name}.safetensors")["latents"], latents,
            atol=1e-3, rtol=1e-3)
    files = sorted((output / "frames" / name).iterdir())
    expect(len(files) == row["num_frames"], f"{name}: {len(files)} frames, should be {row['num_frames']}")
    got = np.stack([np.asarray(Image.open(file)) for file in files]).astype(np.int64)
    expect(got.shape == frames.shape, f"{name}: frames {got.shape}, should be {frames.shape}")
    worst = int(np.abs(got - frames).max())
    print(f"  {name} frames: largest difference {worst} of 255")
    expect(worst <= 1, f"{name}: a pixel differs by {worst} of 255")


def digests(folder):
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for kind in ("videos", "latents", "frames") for path in (folder / kind).rglob("*") if path.is_file()}


def case(rng: Rng, folder: pathlib.Path):
    pipeline = random_pipeline(rng)
    model = save_pipeline(pipeline, folder / "model")
    rows = random_rows(rng, 3)
    output = run_job(folder, model, rows, ranks=1)
    for row in rows:
        compare_clip(output, pipeline, row)
    three = digests(run_job(folder, model, rows, ranks=3))
    expect(digests(output) == three, "the files of 1 and 3 ranks differ")
    expect(len(three) == 2 * len(rows) + sum(row["num_frames"] for row in rows), f"{len(three)} files")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    sys.exit(run_cases(case, count=4))
