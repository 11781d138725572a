"""Reads clips back as uint8 arrays [frames, height, width, 3]: video files, folders of PNG frames, .npy arrays, and whole
output folders of Rushes."""
import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

VIDEO_SUFFIXES = (".mp4", ".mkv", ".mov", ".webm", ".avi", ".gif")


@dataclass(frozen=True)
class Clip:
    name: str
    prompt: str | None
    path: Path


def ffmpeg_program():
    program = shutil.which("ffmpeg")
    if program is None:
        import imageio_ffmpeg

        program = imageio_ffmpeg.get_ffmpeg_exe()
    return program


def read_video(path):
    """Decodes with the ffmpeg program; each frame comes as a PPM picture that says its own size."""
    command = [ffmpeg_program(), "-v", "error", "-i", path, "-f", "image2pipe", "-c:v", "ppm", "-pix_fmt", "rgb24", "-"]
    data = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    frames = []
    while data:
        magic, size, depth, rest = data.split(b"\n", 3)
        if magic != b"P6" or depth != b"255":
            raise ValueError(f"{path}: ffmpeg gave no 8-bit PPM pictures")
        width, height = map(int, size.split())
        length = 3 * width * height
        frames.append(np.frombuffer(rest[:length], np.uint8).reshape(height, width, 3))
        data = rest[length:]
    return np.stack(frames)


def read_frames(folder):
    paths = sorted(folder.glob("*.png"))
    if not paths:
        raise ValueError(f"{folder}: no PNG frames")
    return np.stack([np.asarray(Image.open(path).convert("RGB")) for path in paths])


def read_array(path):
    array = np.load(path)
    return array if array.dtype == np.uint8 else np.rint(np.clip(array, 0, 1) * 255).astype(np.uint8)


def read_clip(path):
    if path.is_dir():
        return read_frames(path)
    return read_array(path) if path.suffix == ".npy" else read_video(path)


def find_prompt(record):
    """The first text under the key `prompt` in nested dictionaries, outer ones first."""
    if isinstance(record.get("prompt"), str):
        return record["prompt"]
    nested = (find_prompt(value) for value in record.values() if isinstance(value, dict))
    return next((prompt for prompt in nested if prompt is not None), None)


def clip_of_item(output, name, prompt):
    """The item's PNG frames where they were saved, since a video is lossy; else its video."""
    frames = output / "frames" / name
    videos = [path for path in (output / "videos").glob(f"{name}.*") if path.suffix in VIDEO_SUFFIXES]
    path = frames if frames.is_dir() else next(iter(videos), None)
    return None if path is None else Clip(name, prompt, path)


def clips_of_output(output):
    """The clips of a Rushes output folder, by its item records."""
    clips = []
    for path in sorted((output / "items").glob("*.json")):
        clip = clip_of_item(output, path.stem, find_prompt(json.loads(path.read_text())))
        if clip is not None:
            clips.append(clip)
    return clips


def clips_of(path):
    """The clips under `path`: an output folder, a folder of frames or of clips, or one file."""
    if (path / "items").is_dir():
        return clips_of_output(path)
    if path.is_dir() and not any(path.glob("*.png")):
        inside = [p for p in sorted(path.iterdir()) if p.is_dir() or p.suffix in (*VIDEO_SUFFIXES, ".npy")]
        return [Clip(p.stem, None, p) for p in inside]
    return [Clip(path.stem, None, path)]
