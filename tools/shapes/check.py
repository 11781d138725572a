#!/usr/bin/env python3
"""Reads colour, shape, direction and background back from clips of the `shapes` set by plain image processing.

    check.py OUTPUT            a Rushes output folder: prints each item against its prompt, and the share right in all four
    check.py CLIP --prompt P   one video, folder of PNG frames or .npy array

Also printed: how far the colours drift over the clip (8-bit levels, the larger of shape and background, against their
median over time) and how wide the edges are (pixels from 10 % to 90 % coverage; an ideal anti-aliased edge has 0.8 to 1).
The exit code is 1 when the share right is below --min-share.
"""
import argparse
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

import generate
from clips import clips_of, read_clip

BORDER = 2
LEAST_CONTRAST = 60.0
FARTHEST_COLOUR = 60.0
LEAST_OVERLAP = 0.8
LEAST_TRAVEL = 8.0
UNCLEAR = "unclear"


@dataclass(frozen=True)
class Reading:
    colour: str
    shape: str
    direction: str
    background: str
    drift: float
    edge_width: float

    def wrong_fields(self, expected):
        """Names of the four properties that differ from the expected combination."""
        return [name for name, value in vars(expected).items() if getattr(self, name) != value]


@dataclass(frozen=True)
class FrameReading:
    front: np.ndarray
    back: np.ndarray
    share: np.ndarray
    centre: np.ndarray
    shape: str
    edge_width: float


def border_pixels(frame):
    inner = np.zeros(frame.shape[:2], bool)
    inner[BORDER:-BORDER, BORDER:-BORDER] = True
    return frame[~inner]


def nearest_name(colour, names):
    distances = {name: np.linalg.norm(colour - np.array(generate.PALETTE[name])) for name in names}
    name = min(distances, key=distances.get)
    return name if distances[name] <= FARTHEST_COLOUR else UNCLEAR


def front_colour(frame, back):
    """Median colour of the pixels that differ from the background nearly as much as any do; None where none do."""
    distance = np.linalg.norm(frame - back, axis=-1)
    top = np.percentile(distance, 99)
    if top < LEAST_CONTRAST:
        return None
    return np.median(frame[distance > 0.75 * top], axis=0)


def coverage_of(frame, front, back):
    """Each pixel's place between background and shape colour, 0 to 1."""
    way = front - back
    return np.clip((frame - back) @ way / (way @ way), 0.0, 1.0)


def area_radius(shape, area):
    """The radius at which generate's shape has this area."""
    units = {
        "circle": np.pi,
        "square": 4 * generate.SQUARE_HALF**2,
        "triangle": 3**1.5 * generate.TRIANGLE_APOTHEM**2,
    }
    return np.sqrt(area / units[shape])


def best_shape(share, centre, area):
    """The ideal shape of this area and centre that overlaps most, `unclear` below LEAST_OVERLAP."""
    pixel = np.arange(share.shape[0])
    overlaps = {}
    for shape in generate.SHAPES:
        radius = area_radius(shape, area)
        lift = 0.5 * generate.TRIANGLE_APOTHEM * radius if shape == "triangle" else 0.0
        dx = pixel[None, :] - centre[0]
        dy = pixel[:, None] - centre[1] + lift
        ideal = generate.coverage(shape, radius, dx, dy)
        overlaps[shape] = np.minimum(share, ideal).sum() / np.maximum(share, ideal).sum()
    shape = max(overlaps, key=overlaps.get)
    return shape if overlaps[shape] >= LEAST_OVERLAP else UNCLEAR


def edge_width(share):
    """Area of the pixels between 10 % and 90 % over the length of the outline."""
    down, across = np.gradient(share)
    outline = np.hypot(down, across).sum()
    return ((share > 0.1) & (share < 0.9)).sum() / outline


def read_frame(frame):
    frame = frame.astype(np.float64)
    back = np.median(border_pixels(frame), axis=0)
    front = front_colour(frame, back)
    if front is None:
        return None
    share = coverage_of(frame, front, back)
    solid = np.where(share > 0.3, share, 0.0)
    area = solid.sum()
    y, x = np.mgrid[: share.shape[0], : share.shape[1]]
    centre = np.array([(solid * x).sum(), (solid * y).sum()]) / area
    return FrameReading(front, back, share, centre, best_shape(solid, centre, area), edge_width(share))


def most_common(values):
    return max(sorted(set(values)), key=values.count)


def read_direction(centres):
    ends = np.mean(centres[-3:], axis=0) - np.mean(centres[:3], axis=0)
    names = {name: float(ends @ np.array(step)) for name, step in generate.DIRECTIONS.items()}
    name = max(names, key=names.get)
    aside = np.abs(ends).min()
    return name if names[name] >= LEAST_TRAVEL and aside < 0.5 * names[name] else UNCLEAR


def colour_drift(colours):
    return float(np.linalg.norm(colours - np.median(colours, axis=0), axis=1).max())


def read_shapes_clip(clip):
    """A Reading of a uint8 clip [frames, height, width, 3]."""
    frames = [read_frame(frame) for frame in clip]
    if any(frame is None for frame in frames):
        return Reading(UNCLEAR, UNCLEAR, UNCLEAR, UNCLEAR, float("inf"), float("inf"))
    fronts = np.array([frame.front for frame in frames])
    backs = np.array([frame.back for frame in frames])
    return Reading(
        colour=nearest_name(np.median(fronts, axis=0), generate.COLOURS),
        shape=most_common([frame.shape for frame in frames]),
        direction=read_direction([frame.centre for frame in frames]),
        background=nearest_name(np.median(backs, axis=0), generate.BACKGROUNDS),
        drift=max(colour_drift(fronts), colour_drift(backs)),
        edge_width=float(np.median([frame.edge_width for frame in frames])),
    )


def describe(name, reading, wrong):
    seen = f"{reading.colour} {reading.shape} {reading.direction} on {reading.background}"
    verdict = "right" if wrong == [] else "wrong: " + ", ".join(wrong) if wrong else "no prompt"
    return f"{name}: {seen}; drift {reading.drift:.1f}, edges {reading.edge_width:.2f} px; {verdict}"


def check_clips(clips):
    """Reads each clip, prints it, and answers with one record per clip."""
    records = []
    for clip in clips:
        reading = read_shapes_clip(read_clip(clip.path))
        wrong = None if clip.prompt is None else reading.wrong_fields(generate.parse_caption(clip.prompt))
        print(describe(clip.name, reading, wrong))
        records.append({"id": clip.name, "prompt": clip.prompt, **asdict(reading), "wrong": wrong})
    return records


def summarise(records):
    judged = [record for record in records if record["wrong"] is not None]
    right = sum(not record["wrong"] for record in judged)
    drifts = [record["drift"] for record in records]
    widths = [record["edge_width"] for record in records]
    return {
        "clips": len(records),
        "judged": len(judged),
        "right": right,
        "share_right": right / len(judged) if judged else None,
        "drift_median": float(np.median(drifts)),
        "drift_largest": max(drifts),
        "edge_width_median": float(np.median(widths)),
        "edge_width_largest": max(widths),
    }


def print_summary(summary):
    if summary["judged"]:
        print(f"right in all four: {summary['right']} of {summary['judged']} ({100 * summary['share_right']:.1f} %)")
    print(f"drift: median {summary['drift_median']:.1f}, largest {summary['drift_largest']:.1f} levels")
    print(f"edges: median {summary['edge_width_median']:.2f}, largest {summary['edge_width_largest']:.2f} px")


def with_prompt(clips, prompt):
    return [type(clip)(clip.name, prompt, clip.path) for clip in clips]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path)
    parser.add_argument("--prompt", help="what the clips should show, where no item record says it")
    parser.add_argument("--min-share", type=float, default=0.0)
    parser.add_argument("--json", type=Path, help="write all readings to this file")
    arguments = parser.parse_args()
    clips = clips_of(arguments.path)
    if not clips:
        parser.error(f"{arguments.path}: no clips")
    if arguments.prompt:
        clips = with_prompt(clips, arguments.prompt)
    records = check_clips(clips)
    summary = summarise(records)
    print_summary(summary)
    if arguments.json:
        arguments.json.write_text(json.dumps({"summary": summary, "clips": records}, indent=1) + "\n")
    sys.exit((summary["share_right"] or 0.0) < arguments.min_share)


if __name__ == "__main__":
    main()
