#!/usr/bin/env python3
"""SSIM, MS-SSIM and PSNR of `rushes compare` beside scikit-image, pytorch-msssim and FFmpeg, on the same frames."""
import ctypes
import json
import re
import subprocess
import sys

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from pytorch_msssim import ms_ssim
from pytorch_msssim.ssim import _fspecial_gauss_1d, _ssim
from skimage import data
from skimage.metrics import structural_similarity

from oracle.support import binary, expect, run_cases

SSIM_TOLERANCE = 1e-9      # both in float64
MS_SSIM_TOLERANCE = 5e-6   # pytorch-msssim rounds its window to float32: its weights add up to 1 + 1e-7
PSNR_TOLERANCE = 0.0051    # FFmpeg prints two digits a frame
WEIGHTS = [0.0448, 0.2856, 0.3001, 0.2363, 0.1333]


def write_output(folder, clips):
    """An output folder as `rushes run` leaves it, of these frames ([n, h, w, 3] uint8 each)."""
    for name, frames in clips.items():
        files = []
        for index, frame in enumerate(frames):
            path = folder / "frames" / name / f"{index:05d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(frame).save(path)
            files.append({"kind": "frames", "path": str(path.relative_to(folder)), "bytes": path.stat().st_size,
                          "mtime_ns": path.stat().st_mtime_ns, "hash": xxh128(path)})
        (folder / "items").mkdir(exist_ok=True)
        (folder / "items" / f"{name}.json").write_text(json.dumps({
            "status": "done", "id": name, "attempts": 1, "run": "r", "request_hash": "0", "files": files, "prompt": "p",
            "request": {"device": "cpu", "precision.transformer": "float32", "attention": "flash"}, "model": "a/b"}))
    (folder / ".rushes").mkdir()
    (folder / ".rushes" / "manifest.json").write_text(json.dumps(
        {"items": [[name, 1.0] for name in clips]}))


class Hash(ctypes.Structure):
    _fields_ = [("low", ctypes.c_uint64), ("high", ctypes.c_uint64)]


XXHASH = ctypes.CDLL("libxxhash.so.0")
XXHASH.XXH3_128bits.restype = Hash
XXHASH.XXH3_128bits.argtypes = [ctypes.c_char_p, ctypes.c_size_t]


def xxh128(path):
    data = path.read_bytes()
    value = XXHASH.XXH3_128bits(data, len(data))
    return f"{value.high:016x}{value.low:016x}"


def measured(folder, a, b):
    """The report of clips `a` beside their references `b` (dicts of the same names)."""
    write_output(folder / "a", a)
    write_output(folder / "b", b)
    subprocess.run([binary(), "bless", folder / "b", "--references", folder / "references"], check=True,
                   capture_output=True)
    done = subprocess.run([binary(), "compare", folder / "a", "--references", folder / "references"],
                          capture_output=True, text=True)
    expect(done.returncode in (0, 3), done.stderr)
    return {clip["id"]: clip for clip in json.loads((folder / "a/report/report.json").read_text())["clips"]}


def small_ms_ssim(x, y):
    """pytorch-msssim's own parts over the scales that media/metrics.h defines for a small frame."""
    scales = sum(min(x.shape[2:]) > 10 << scale for scale in range(5)) or 1
    weights = torch.tensor(WEIGHTS[:scales], dtype=torch.float64)
    weights = weights if scales == 5 else weights / weights.sum()
    window = _fspecial_gauss_1d(11, 1.5).repeat(3, 1, 1, 1)
    parts = []
    for scale in range(scales):
        ssim, structure = _ssim(x, y, data_range=255, win=window, size_average=False)
        parts.append(torch.relu(ssim if scale + 1 == scales else structure) ** weights[scale])
        padding = [side % 2 for side in x.shape[2:]]
        x, y = (F.avg_pool2d(each, kernel_size=2, padding=padding) for each in (x, y))
    return torch.stack(parts).prod(0).mean().item()


def ffmpeg_psnr(folder, a, b):
    """Per frame and over the clip, by FFmpeg's psnr filter on the same frames as planar RGB."""
    inputs = []
    for name, frames in (("x", a), ("y", b)):
        (folder / f"{name}.rgb").write_bytes(frames.tobytes())
        inputs += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{frames.shape[2]}x{frames.shape[1]}",
                   "-i", str(folder / f"{name}.rgb")]
    log = subprocess.run(["ffmpeg", "-hide_banner", *inputs, "-lavfi",
                          f"[0]format=gbrp[a];[1]format=gbrp[b];[a][b]psnr=stats_file={folder}/psnr.log", "-f", "null", "-"],
                         capture_output=True, text=True, check=True).stderr
    frames = [float(value) for value in re.findall(r"psnr_avg:(\S+)", (folder / "psnr.log").read_text())]
    return frames, float(re.search(r"average:(\S+)", log)[1])


def check(folder, a, b):
    """Every number of every clip; gives the largest differences."""
    largest = {"ssim": 0.0, "ms_ssim": 0.0, "psnr": 0.0}

    def near(kind, got, want, tolerance, name):
        if want == float("inf"):
            expect(got is None, f"{name}: {kind} {got}, should be infinite (null)")
            return
        largest[kind] = max(largest[kind], abs(got - want))
        expect(abs(got - want) <= tolerance, f"{name}: {kind} {got}, should be {want}")

    for name, clip in measured(folder, a, b).items():
        metrics = clip["metrics"]
        expect(len(metrics["frames"]["ssim"]) == len(a[name]), f"{name}: frames are missing")
        psnr, average = ffmpeg_psnr(folder, a[name], b[name])
        near("psnr", metrics["psnr"]["mean"], average, 1e-6, name)
        for i, (x, y) in enumerate(zip(a[name], b[name])):
            where = f"{name} frame {i} {x.shape}"
            want = structural_similarity(x, y, channel_axis=2, gaussian_weights=True, sigma=1.5,
                                         use_sample_covariance=False, data_range=255)
            near("ssim", metrics["frames"]["ssim"][i], want, SSIM_TOLERANCE, where)
            p, q = (torch.from_numpy(each).permute(2, 0, 1)[None].double() for each in (x, y))
            want = ms_ssim(p, q, data_range=255).item() if min(x.shape[:2]) > 160 else small_ms_ssim(p, q)
            near("ms_ssim", metrics["frames"]["ms_ssim"][i], want, MS_SSIM_TOLERANCE, where)
            near("psnr", metrics["frames"]["psnr"][i], psnr[i], PSNR_TOLERANCE, where)
        for kind in ("ssim", "ms_ssim"):
            values = metrics["frames"][kind]
            near(kind, metrics[kind]["mean"], sum(values) / len(values), 1e-12, name)
            near(kind, metrics[kind]["worst"], min(values), 0, name)
        expect(metrics["worst_frame"] == int(np.argmin(metrics["frames"]["ssim"])), f"{name}: worst frame")
    print("  largest differences: " + ", ".join(f"{kind} {value:.1e}" for kind, value in largest.items()), flush=True)


def noisy(random, frames, sigma):
    return np.clip(np.rint(frames + random.normal(0, sigma, frames.shape)), 0, 255).astype(np.uint8)


def numpy_random(rng):
    return np.random.default_rng(rng.getrandbits(32))


def random_frames(rng, folder):
    random = numpy_random(rng)
    a, b = {}, {}
    sizes = [(11, 11), (12, 35), (64, 64), (41, 80), (97, 161), (160, 170), (161, 175), (210, 163), (480, 832)]
    sizes.append((rng.randint(11, 300), rng.randint(11, 300)))
    for i, (height, width) in enumerate(sizes):
        a[f"noise-{i}"] = random.integers(0, 256, (2, height, width, 3), dtype=np.uint8)
        b[f"noise-{i}"] = noisy(random, a[f"noise-{i}"], rng.uniform(1, 60))
    check(folder, a, b)


def photographs(rng, folder):
    random = numpy_random(rng)
    a, b = {}, {}
    pictures = {"astronaut": data.astronaut(), "cat": data.chelsea(), "coffee": data.coffee(), "rocket": data.rocket()}
    for name, picture in pictures.items():
        picture = np.ascontiguousarray(picture[:, :, :3])
        dark = (picture * 0.9).astype(np.uint8)
        moved = np.roll(picture, 2, axis=1)
        a[name] = np.stack([picture] * 5)
        b[name] = np.stack([picture, dark, moved, noisy(random, picture, 8), 255 - picture])
    check(folder, a, b)


if __name__ == "__main__":
    sys.exit(run_cases([random_frames, photographs]))
