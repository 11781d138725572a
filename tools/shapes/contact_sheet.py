#!/usr/bin/env python3
"""Makes one picture of several clips: a row per clip, frames evenly spread over its time.

    contact_sheet.py runs/demo --output sheet.png
    contact_sheet.py videos/a.mp4 videos/b.mp4 --columns 5 --scale 2 --output sheet.png
"""
import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from clips import clips_of, read_clip

GAP = 4
PAPER = (255, 255, 255)
INK = (40, 40, 40)


def chosen_frames(clip, columns):
    return [clip[i] for i in np.linspace(0, len(clip) - 1, columns).round().astype(int)]


def row_picture(clip, columns, scale):
    frames = [Image.fromarray(frame) for frame in chosen_frames(clip, columns)]
    width, height = (scale * side for side in frames[0].size)
    row = Image.new("RGB", (columns * (width + GAP) - GAP, height), PAPER)
    for index, frame in enumerate(frames):
        row.paste(frame.resize((width, height), Image.Resampling.NEAREST), (index * (width + GAP), 0))
    return row


def with_label(row, label, size=13):
    font = ImageFont.load_default(size)
    labelled = Image.new("RGB", (row.width, row.height + size + 6), PAPER)
    ImageDraw.Draw(labelled).text((0, 1), label, INK, font)
    labelled.paste(row, (0, size + 6))
    return labelled


def grid_picture(rows, abreast):
    """Rows set in `abreast` columns of equal cells."""
    width = max(row.width for row in rows)
    height = max(row.height for row in rows)
    lines = -(-len(rows) // abreast)
    sheet = Image.new("RGB", (abreast * (width + 4 * GAP), lines * (height + 2 * GAP)), PAPER)
    for index, row in enumerate(rows):
        sheet.paste(row, (index % abreast * (width + 4 * GAP) + 2 * GAP, index // abreast * (height + 2 * GAP) + GAP))
    return sheet


def make_sheet(clips, columns, scale, abreast):
    rows = [with_label(row_picture(read_clip(c.path), columns, scale), c.prompt or c.name) for c in clips]
    return grid_picture(rows, abreast)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", type=Path, nargs="+", help="Rushes output folders, videos or folders of PNG frames")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--columns", type=int, default=5, help="frames of each clip")
    parser.add_argument("--scale", type=int, default=1, help="size of a pixel")
    parser.add_argument("--abreast", type=int, default=2, help="clips side by side")
    parser.add_argument("--limit", type=int, default=16, help="clips at most")
    arguments = parser.parse_args()
    clips = [clip for path in arguments.paths for clip in clips_of(path)][: arguments.limit]
    if not clips:
        parser.error("no clips there")
    make_sheet(clips, arguments.columns, arguments.scale, arguments.abreast).save(arguments.output, optimize=True)


if __name__ == "__main__":
    main()
