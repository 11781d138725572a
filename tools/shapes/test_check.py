#!/usr/bin/env python3
"""Tests of the checker: it must read every caption back from true clips, also out of a video, and refuse wrong ones."""
import subprocess
import tempfile
import unittest
from pathlib import Path

import numpy as np

import generate
from check import UNCLEAR, read_shapes_clip
from clips import ffmpeg_program, read_clip

RED_LEFT = generate.Combination("red", "circle", "left", "blue")
PLACEMENT = generate.Placement(radius=10, travel=22, along=0, across=3)


def true_clip(combination, seed=0):
    placement = generate.random_placement(np.random.default_rng(seed))
    return generate.to_bytes(generate.render(combination, placement))


def through_video(clip, folder):
    path = Path(folder) / "clip.mp4"
    count, height, width, _ = clip.shape
    command = [ffmpeg_program(), "-v", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", "8"]
    command += ["-i", "-", "-c:v", "libx264", "-crf", "18", "-pix_fmt", "yuv420p", path]
    subprocess.run(command, input=clip.tobytes(), check=True)
    back = read_clip(path)
    assert back.shape == (count, height, width, 3)
    return back


class Reads(unittest.TestCase):
    def test_every_caption(self):
        for seed, combination in enumerate(generate.all_combinations()):
            reading = read_shapes_clip(true_clip(combination, seed))
            self.assertEqual(reading.wrong_fields(combination), [], combination)
            self.assertEqual(reading.drift, 0.0)
            self.assertLess(reading.edge_width, 1.1)

    def test_videos(self):
        with tempfile.TemporaryDirectory() as folder:
            for seed, combination in enumerate(generate.all_combinations()[::27]):
                (Path(folder) / "clip.mp4").unlink(missing_ok=True)
                reading = read_shapes_clip(through_video(true_clip(combination, seed), folder))
                self.assertEqual(reading.wrong_fields(combination), [], combination)

    def test_noisy_clip(self):
        clip = true_clip(RED_LEFT).astype(float) + np.random.default_rng(0).normal(0, 8, (17, 64, 64, 3))
        reading = read_shapes_clip(np.clip(clip, 0, 255).astype(np.uint8))
        self.assertEqual(reading.wrong_fields(RED_LEFT), [])


class Refuses(unittest.TestCase):
    def test_other_captions(self):
        clip = true_clip(RED_LEFT)
        for other in generate.all_combinations():
            if other != RED_LEFT:
                differing = [name for name, value in vars(other).items() if value != getattr(RED_LEFT, name)]
                self.assertEqual(read_shapes_clip(clip).wrong_fields(other), differing)

    def test_still_clip(self):
        clip = true_clip(RED_LEFT)
        self.assertEqual(read_shapes_clip(np.repeat(clip[:1], 17, 0)).direction, UNCLEAR)

    def test_reversed_clip(self):
        self.assertEqual(read_shapes_clip(true_clip(RED_LEFT)[::-1]).direction, "right")

    def test_empty_and_noise(self):
        self.assertEqual(read_shapes_clip(np.full((17, 64, 64, 3), 125, np.uint8)).shape, UNCLEAR)
        noise = np.random.default_rng(0).integers(0, 256, (17, 64, 64, 3), np.uint8)
        self.assertEqual(read_shapes_clip(noise).shape, UNCLEAR)

    def test_two_shapes(self):
        one, two = (generate.render(RED_LEFT, generate.Placement(10, 22, 0, across)) for across in (-18, 18))
        background = np.array(generate.PALETTE["blue"]) / 255
        both = np.where(np.abs(one - background) > np.abs(two - background), one, two)
        self.assertEqual(read_shapes_clip(generate.to_bytes(both)).shape, UNCLEAR)

    def test_drift_is_seen(self):
        clip = generate.render(RED_LEFT, PLACEMENT)
        fading = clip * np.linspace(1, 0.7, 17)[:, None, None, None]
        self.assertGreater(read_shapes_clip(generate.to_bytes(fading)).drift, 20)

    def test_soft_edges_are_seen(self):
        clip = generate.render(RED_LEFT, PLACEMENT)
        for axis in (1, 2):
            clip = sum(np.roll(clip, shift, axis) for shift in range(-2, 3)) / 5
        self.assertGreater(read_shapes_clip(generate.to_bytes(clip)).edge_width, 2.5)


if __name__ == "__main__":
    unittest.main()
