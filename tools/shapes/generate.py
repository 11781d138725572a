#!/usr/bin/env python3
"""Generates the `shapes` set: clips of one coloured shape that moves over a coloured background.

Captions follow one fixed grammar:

    a COLOUR SHAPE moving DIRECTION on a BACKGROUND background

COLOUR is red, green, blue, yellow, purple or white; SHAPE is circle, square or triangle; DIRECTION is left, right, up
or down; BACKGROUND is black, gray, white, blue or green and never the shape's colour. That makes 324 captions, of which
32 are held out: no training clip has them.

    generate.py clips --count 16 --seed 1 --output DIR    writes DIR/frames/<id>/00000.png ... and DIR/items/<id>.json
    generate.py prompts --output datasets/shapes          writes prompts.jsonl and unseen.jsonl
"""
import argparse
import json
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SIZE = 64
FRAMES = 17
PALETTE = {
    "red": (220, 40, 40),
    "green": (40, 165, 70),
    "blue": (40, 80, 220),
    "yellow": (245, 210, 50),
    "purple": (150, 60, 190),
    "white": (240, 240, 240),
    "black": (20, 20, 20),
    "gray": (125, 125, 125),
}
COLOURS = ("red", "green", "blue", "yellow", "purple", "white")
BACKGROUNDS = ("black", "gray", "white", "blue", "green")
SHAPES = ("circle", "square", "triangle")
DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
SQUARE_HALF = 0.886
TRIANGLE_APOTHEM = 0.675

HELD_OUT = 32
HELD_OUT_SEED = 7
UNSEEN_PAIRS = 48
DEMO_PROMPTS = 16


@dataclass(frozen=True)
class Combination:
    """What a caption says."""

    colour: str
    shape: str
    direction: str
    background: str

    def caption(self):
        return f"a {self.colour} {self.shape} moving {self.direction} on a {self.background} background"

    def slug(self):
        return f"{self.colour}-{self.shape}-{self.direction}-{self.background}"


@dataclass(frozen=True)
class Placement:
    """What a caption leaves open, in pixels."""

    radius: float
    travel: float
    along: float
    across: float


def all_combinations():
    return [
        Combination(colour, shape, direction, background)
        for colour in COLOURS
        for shape in SHAPES
        for direction in DIRECTIONS
        for background in BACKGROUNDS
        if colour != background
    ]


def split_combinations():
    """The combinations seen in training, and those held out."""
    combinations = all_combinations()
    order = np.random.default_rng(HELD_OUT_SEED).permutation(len(combinations))
    held_out = [combinations[i] for i in order[:HELD_OUT]]
    return [combinations[i] for i in order[HELD_OUT:]], held_out


def parse_caption(caption):
    """The combination of a caption; ValueError for text outside the grammar."""
    for combination in all_combinations():
        if combination.caption() == " ".join(caption.split()):
            return combination
    raise ValueError(f"not a caption of the shapes grammar: {caption!r}")


def random_placement(generator):
    return Placement(
        radius=generator.uniform(9.0, 12.0),
        travel=generator.uniform(20.0, 26.0),
        along=generator.uniform(-3.0, 3.0),
        across=generator.uniform(-9.0, 9.0),
    )


def coverage(shape, radius, dx, dy):
    """Share of each pixel that the shape covers; dx and dy are the pixels' offsets from the middle of its bounding box."""
    if shape == "circle":
        distance = np.hypot(dx, dy) - radius
    elif shape == "square":
        distance = np.maximum(np.abs(dx), np.abs(dy)) - SQUARE_HALF * radius
    elif shape == "triangle":
        apothem = TRIANGLE_APOTHEM * radius
        below = dy - 0.5 * apothem
        distance = np.maximum(below, 0.75**0.5 * np.abs(dx) - 0.5 * below) - apothem
    else:
        raise ValueError(f"no such shape: {shape}")
    return np.clip(0.5 - distance, 0.0, 1.0)


def centres(direction, placement, frames=FRAMES, size=SIZE):
    """The shape's centre in each frame, as arrays x and y."""
    step_x, step_y = DIRECTIONS[direction]
    way = placement.along + placement.travel * (np.arange(frames) / (frames - 1) - 0.5)
    middle = (size - 1) / 2
    return (
        middle + step_x * way + abs(step_y) * placement.across,
        middle + step_y * way + abs(step_x) * placement.across,
    )


def render(combination, placement, frames=FRAMES, size=SIZE):
    """A clip as float32 [frames, size, size, 3] in 0..1."""
    x, y = centres(combination.direction, placement, frames, size)
    pixel = np.arange(size)
    dx = pixel[None, None, :] - x[:, None, None]
    dy = pixel[None, :, None] - y[:, None, None]
    share = coverage(combination.shape, placement.radius, dx, dy)[..., None]
    front = np.array(PALETTE[combination.colour]) / 255
    back = np.array(PALETTE[combination.background]) / 255
    return (back + share * (front - back)).astype(np.float32)


def random_clip(combinations, generator):
    combination = combinations[generator.integers(len(combinations))]
    return combination, render(combination, random_placement(generator))


def to_bytes(clip):
    return np.rint(clip * 255).astype(np.uint8)


def write_png(path, image):
    """Writes uint8 [height, width, 3] as an RGB PNG."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width, _ = image.shape
    rows = b"".join(b"\0" + row.tobytes() for row in image)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


def write_clips(output, count, seed):
    generator = np.random.default_rng(seed)
    combinations = all_combinations()
    (output / "items").mkdir(parents=True, exist_ok=True)
    for index in range(count):
        combination, clip = random_clip(combinations, generator)
        name = f"{index:05d}-{combination.slug()}"
        folder = output / "frames" / name
        folder.mkdir(parents=True, exist_ok=True)
        for frame, image in enumerate(to_bytes(clip)):
            write_png(folder / f"{frame:05d}.png", image)
        record = {"id": name, "prompt": combination.caption()}
        (output / "items" / f"{name}.json").write_text(json.dumps(record) + "\n")


def write_lines(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def write_prompts(output):
    seen, held_out = split_combinations()
    output.mkdir(parents=True, exist_ok=True)
    demo = demo_combinations(seen)
    write_lines(output / "prompts.jsonl", [{"id": c.slug(), "prompt": c.caption()} for c in demo])
    unseen = [(held_out[i % len(held_out)], 1000 + i) for i in range(UNSEEN_PAIRS)]
    write_lines(
        output / "unseen.jsonl",
        [{"id": f"{c.slug()}-{seed}", "prompt": c.caption(), "seed": seed} for c, seed in unseen],
    )


def demo_combinations(seen):
    """A varied handful: neighbours differ in all four words."""
    chosen = [seen[0]]
    for candidate in seen[1:]:
        last = chosen[-1]
        pairs = zip(vars(candidate).values(), vars(last).values())
        if all(a != b for a, b in pairs):
            chosen.append(candidate)
        if len(chosen) == DEMO_PROMPTS:
            break
    return chosen


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    clips = commands.add_parser("clips", help="write clips as PNG folders with their captions")
    clips.add_argument("--count", type=int, default=16)
    clips.add_argument("--seed", type=int, default=0)
    clips.add_argument("--output", type=Path, required=True)
    prompts = commands.add_parser("prompts", help="write the demo prompts and the unseen prompts")
    prompts.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    if arguments.command == "clips":
        write_clips(arguments.output, arguments.count, arguments.seed)
    else:
        write_prompts(arguments.output)


if __name__ == "__main__":
    main()
