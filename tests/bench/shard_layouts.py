#!/usr/bin/env python3
"""Chunks and compression of a data set's shards on a large clip: HDF5's own times and sizes, by h5py.

  tests/bench/shard_layouts.py VIDEO [--frames 81 --height 480 --width 832] [--out FILE.json]

For RGB frames of the video, latents and text embeddings of the sizes of Wan 2.1 (latents are drawn: no compressor finds
anything in normal numbers but their exponents). Each layout is written to a file on the disk given by TMPDIR, fsynced, and
read back whole and by one frame, from the page cache, median of 5.
"""
import argparse
import datetime
import json
import os
import pathlib
import platform
import statistics
import subprocess
import tempfile
import time

import h5py
import numpy as np


def frames_of(video, count, height, width):
    cover = f"scale={width}:{height}:force_original_aspect_ratio=increase,crop={width}:{height}"
    rgb = subprocess.run(["ffmpeg", "-nostdin", "-v", "error", "-stream_loop", "-1", "-i", video, "-frames:v", str(count), "-vf", cover,
                          "-f", "rawvideo", "-pix_fmt", "rgb24", "-"], capture_output=True, check=True).stdout
    return np.frombuffer(rgb, np.uint8).reshape(count, height, width, 3)


def within(shape, item, most):
    """A chunk of one sample, cut along its first dims until it has at most `most` bytes."""
    chunk, size = [1, *shape], item * int(np.prod(shape))
    for d in range(1, len(chunk)):
        if size > most:
            rest = size // chunk[d]
            chunk[d] = max(1, most // rest)
            size = rest * chunk[d]
    return tuple(chunk)


def timed(work, repeats=5):
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def measure(folder, name, array, chunk, level):
    path = folder / "shard.h5"

    def write():
        with h5py.File(path, "w") as file:
            how = {"compression": "gzip", "compression_opts": level, "shuffle": array.itemsize > 1} if level else {}
            file.create_dataset("x", data=array[None], chunks=chunk, **how)
        with open(path, "rb") as file:
            os.fsync(file.fileno())

    row = {"array": name, "chunk_mib": round(np.prod(chunk) * array.itemsize / 2**20, 2), "level": level}
    row["write_s"] = timed(write, 3 if level < 6 else 1)
    row["mib"] = path.stat().st_size / 2**20
    row["ratio"] = path.stat().st_size / array.nbytes
    with h5py.File(path) as file:
        row["read_s"] = timed(lambda: file["x"][0])
    if array.ndim == 4 and array.dtype == np.uint8:
        def one():
            with h5py.File(path) as file:
                return file["x"][0, len(array) // 2]
        row["read_frame_s"] = timed(one)
    print(json.dumps(row), flush=True)
    return row


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("video")
    for name, value in (("frames", 81), ("height", 480), ("width", 832)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--out")
    asked = parser.parse_args()
    rng = np.random.default_rng(1)
    frames = frames_of(asked.video, asked.frames, asked.height, asked.width)
    latents = rng.standard_normal((16, (asked.frames - 1) // 4 + 1, asked.height // 8, asked.width // 8), np.float32)
    text = np.zeros((512, 4096), np.float32)
    text[:40] = rng.standard_normal((40, 4096), np.float32)
    rows = []
    with tempfile.TemporaryDirectory(prefix="rushes-bench-") as folder:
        folder = pathlib.Path(folder)
        for level in (0, 1, 4, 9):
            for most in (2**40, 2**24, int(np.prod(frames.shape[1:]))):
                rows.append(measure(folder, "frames", frames, within(frames.shape, 1, most), level))
            rows.append(measure(folder, "latents", latents, within(latents.shape, 4, 2**24), level))
            rows.append(measure(folder, "text_embeds", text, within(text.shape, 4, 2**24), level))
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    result = {"what": "shard layouts", "date": datetime.date.today().isoformat(), "cpu": cpu, "hdf5": h5py.version.hdf5_version,
              "video": pathlib.Path(asked.video).name, "frames": list(frames.shape), "rows": rows}
    if asked.out:
        pathlib.Path(asked.out).write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
