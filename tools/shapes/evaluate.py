#!/usr/bin/env python3
"""Runs diffusers' WanPipeline on the checkpoint in float32 on the CPU, and the checker on what it makes.

    evaluate.py datasets/shapes/checkpoint --prompts datasets/shapes/unseen.jsonl --output DIR

Writes DIR/frames/<id>/00000.png ... and DIR/items/<id>.json, as Rushes does, and prints check.py's report.
"""
import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import WanPipeline
from diffusers.utils import logging

import generate
from check import check_clips, print_summary, summarise
from clips import clips_of


def read_lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def load_pipeline(folder, shift):
    pipeline = WanPipeline.from_pretrained(folder, torch_dtype=torch.float32)
    pipeline.scheduler.register_to_config(flow_shift=shift)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@dataclass
class Settings:
    steps: int
    guidance: float
    max_sequence_length: int


def make_clip(pipeline, prompt, seed, settings):
    """uint8 [frames, height, width, 3]"""
    result = pipeline(
        prompt=prompt,
        negative_prompt="",
        height=generate.SIZE,
        width=generate.SIZE,
        num_frames=generate.FRAMES,
        num_inference_steps=settings.steps,
        guidance_scale=settings.guidance,
        max_sequence_length=settings.max_sequence_length,
        generator=torch.Generator("cpu").manual_seed(seed),
        output_type="np",
    )
    return generate.to_bytes(np.asarray(result.frames[0]))


def write_item(output, name, prompt, seed, clip):
    folder = output / "frames" / name
    folder.mkdir(parents=True, exist_ok=True)
    for index, frame in enumerate(clip):
        generate.write_png(folder / f"{index:05d}.png", frame)
    (output / "items").mkdir(exist_ok=True)
    record = {"id": name, "prompt": prompt, "seed": seed, "status": "done"}
    (output / "items" / f"{name}.json").write_text(json.dumps(record) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--prompts", type=Path, required=True, help="lines with prompt, id and seed")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--guidance", type=float, default=5.0)
    parser.add_argument("--shift", type=float, default=3.0)
    parser.add_argument("--max-sequence-length", type=int, default=512)
    parser.add_argument("--seed", type=int, default=42, help="for lines without a seed")
    parser.add_argument("--limit", type=int, help="the first so many prompts only")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    logging.set_verbosity_error()
    pipeline = load_pipeline(arguments.checkpoint, arguments.shift)
    lines = read_lines(arguments.prompts)[: arguments.limit]
    start = time.monotonic()
    settings = Settings(arguments.steps, arguments.guidance, arguments.max_sequence_length)
    for line in lines:
        seed = line.get("seed", arguments.seed)
        write_item(arguments.output, line["id"], line["prompt"], seed, make_clip(pipeline, line["prompt"], seed, settings))
    print(f"{(time.monotonic() - start) / len(lines):.1f} s a clip")
    print_summary(summarise(check_clips(clips_of(arguments.output))))


if __name__ == "__main__":
    main()
