#!/usr/bin/env python3
"""job: preprocess: real videos become latents and embeddings as the reference makes them, one by one, whatever is wrong with some."""
import json
import pathlib
import subprocess
import sys

import diffusers
import h5py
import numpy as np
import torch
import transformers
from PIL import Image

from e2e.support import expect, main, records, run, rushes

CAPTIONS = {"wheel": "a colour wheel turns", "noise": "grey noise", "wide": "a wide picture"}


def make_videos(folder):
    """Three clips by FFmpeg: other sizes and rates, one tagged BT.709."""
    folder.mkdir()
    sources = {"wheel": "testsrc2=size=96x64:rate=24:duration=2", "noise": "mandelbrot=size=64x64:rate=12:end_pts=40",
               "wide": "smptehdbars=size=256x64:rate=30:duration=1.2"}
    for name, source in sources.items():
        seconds = {"noise": ["-t", "1.5"]}.get(name, [])
        subprocess.run(["ffmpeg", "-v", "error", "-f", "lavfi", "-i", source, *seconds, "-pix_fmt", "yuv420p", "-crf", "10",
                        str(folder / f"{name}.mp4")], check=True)
    return folder


def write(folder, model, rows, name="job", **more):
    (folder / "videos" / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    job = folder / f"{name}.yaml"
    job.write_text(json.dumps({
        "job": "preprocess", "model": str(model), "prompts": str(folder / "videos" / f"{name}.jsonl"), "output": str(folder / name),
        "save": ["hdf5", "frames"], "device": "cpu", "dataset": {"pixels": "frames", "shard_clips": 2},
        "sampling": {"height": 32, "width": 48, "num_frames": 9, "fps": 8, "max_sequence_length": 16}, **more}))
    return job


def rows_of(names=tuple(CAPTIONS)):
    return [{"id": name, "prompt": CAPTIONS[name], "video": f"{name}.mp4"} for name in names]


def samples(out, parts=("latents", "text_embeds", "text_mask", "frames", "caption")):
    with h5py.File(out / "dataset.h5") as file:
        return {clip.decode(): {part: file[part][row] for part in parts}
                for row, clip in enumerate(file["id"][:])}


def case_equals_the_reference(folder, model):
    make_videos(folder / "videos")
    job = write(folder, model, rows_of())
    shown = rushes("plan", job, "--ranks", 2)
    expect("  encoding " in shown and "denoising" not in shown and "decoding" not in shown and "steps" not in shown.split("One clip")[1], shown)
    run(job, ranks=2)
    found = samples(folder / "job")
    expect(set(found) == set(CAPTIONS), found.keys())
    vae = diffusers.AutoencoderKLWan.from_pretrained(model / "vae", torch_dtype=torch.float32)
    encoder = transformers.UMT5EncoderModel.from_pretrained(model / "text_encoder", torch_dtype=torch.float32)
    tokenizer = transformers.AutoTokenizer.from_pretrained(model / "tokenizer")
    mean, std = (torch.tensor(values).view(-1, 1, 1, 1) for values in (vae.config.latents_mean, vae.config.latents_std))
    for name, sample in found.items():
        video = torch.from_numpy(sample["frames"].astype(np.float32)).permute(3, 0, 1, 2) / 255 * 2 - 1
        with torch.no_grad():
            wanted = (vae.encode(video[None]).latent_dist.mode()[0] - mean) * (1.0 / std)
            tokens = tokenizer(CAPTIONS[name], max_length=16, padding="max_length", truncation=True, return_tensors="pt")
            text = encoder(**tokens).last_hidden_state[0] * tokens.attention_mask[0, :, None]
        worst = (torch.from_numpy(sample["latents"]) - wanted).abs().max().item()
        off = (torch.from_numpy(sample["text_embeds"]) - text).abs().max().item()
        print(f"  {name}: latents within {worst:.1e} of {wanted.abs().max():.2f}, text within {off:.1e}")
        expect(worst < 1e-4 * (1 + wanted.abs().max()) and off < 1e-4 * (1 + text.abs().max()), f"{name} differs")
        expect(sample["caption"].decode() == CAPTIONS[name], sample["caption"])
        expect((sample["text_mask"] == tokens.attention_mask[0].numpy()).all(), sample["text_mask"])


def case_frames_are_those_shown_at_the_time(folder, model):
    make_videos(folder / "videos")
    run(write(folder, model, rows_of(("wheel", "wide"))))
    # FFmpeg's own: the frame shown at k/8 s, cover 48x32, cut at the middle.
    for name, rate, size in (("wheel", 24, (48, 32)), ("wide", 30, (128, 32))):
        folder_out = folder / f"{name}-frames"
        folder_out.mkdir()
        subprocess.run(["ffmpeg", "-v", "error", "-i", str(folder / "videos" / f"{name}.mp4"), "-vf",
                        f"scale={size[0]}:{size[1]}:flags=bicubic+accurate_rnd+full_chroma_inp+full_chroma_int,crop=48:32",
                        "-pix_fmt", "rgb24", str(folder_out / "%05d.png")], check=True)
        all_frames = [np.asarray(Image.open(file)).astype(int) for file in sorted(folder_out.iterdir())]
        for k in range(9):
            ours = np.asarray(Image.open(folder / "job" / "frames" / name / f"{k:05d}.png")).astype(int)
            off = [np.abs(ours - frame).mean() for frame in all_frames]
            at = min(len(all_frames) - 1, int(k / 8 * rate + 1e-6))
            expect(off[at] < 6, f"{name} frame {k}: {off[at]:.1f} levels from FFmpeg's frame {at}")
            if name == "wheel":
                expect(min(off) == off[at], f"{name} frame {k} is nearest to frame {off.index(min(off))}, not {at}")


def ffmpeg(*arguments):
    return subprocess.run(["ffmpeg", "-nostdin", "-v", "error", *arguments], check=True, capture_output=True).stdout


def case_phones_and_wide_pixels(folder, model):
    """Videos that ask to be turned, and whose pixels are not square, are seen as a player shows them."""
    videos = folder / "videos"
    videos.mkdir()
    # Near enough to one size that scaling differs by little; every corner has another colour.
    corners = ("color=red:size=48x32:rate=8:duration=2[a];color=green:size=48x32:rate=8[b];color=blue:size=48x32:rate=8[c];"
               "color=white:size=48x32:rate=8[d];[a][b][c][d]xstack=inputs=4:layout=0_0|w0_0|0_h0|w0_h0:shortest=1")
    ffmpeg("-f", "lavfi", "-i", corners, "-t", "2", "-pix_fmt", "yuv444p", "-crf", "5", str(videos / "plain.mp4"))
    for turns in (90, 180, 270):
        ffmpeg("-i", str(videos / "plain.mp4"), "-c", "copy", "-metadata:s:v:0", f"rotate={turns}", str(videos / f"turned-{turns}.mp4"))
    ffmpeg("-i", str(videos / "plain.mp4"), "-vf", "scale=48:64,setsar=2", "-pix_fmt", "yuv444p", "-crf", "5", str(videos / "wide.mp4"))
    # The same told by the container alone.
    ffmpeg("-i", str(videos / "plain.mp4"), "-vf", "scale=48:64,setsar=1", "-pix_fmt", "yuv444p", "-crf", "5", str(videos / "narrow.mp4"))
    ffmpeg("-i", str(videos / "narrow.mp4"), "-c", "copy", "-aspect", "96:64", str(videos / "wide-container.mkv"))
    (videos / "wide-container.mkv").rename(videos / "wide-container.mp4")
    names = ["plain", "turned-90", "turned-180", "turned-270", "wide", "wide-container"]
    rows = [{"id": name, "prompt": name, "video": f"{name}.mp4"} for name in names]
    run(write(folder, model, rows, sampling={"height": 48, "width": 32, "num_frames": 9, "fps": 8, "max_sequence_length": 16}))
    seen = []
    for name in names:
        view = "scale=iw*sar:ih," if name.startswith("wide") else ""
        wanted = np.frombuffer(ffmpeg("-i", str(videos / f"{name}.mp4"), "-frames:v", "1", "-vf",
                                      f"{view}scale=32:48:force_original_aspect_ratio=increase,crop=32:48", "-pix_fmt", "rgb24", "-f",
                                      "rawvideo", "-"), np.uint8).reshape(48, 32, 3).astype(int)
        ours = np.asarray(Image.open(folder / "job" / "frames" / name / "00000.png")).astype(int)
        off = np.abs(ours - wanted).mean()
        print(f"  {name}: {off:.1f} levels from what FFmpeg shows")
        expect(off < 5, name)
        seen.append(ours)
    expect(all(np.abs(seen[0] - other).mean() > 50 for other in seen[1:4]), "the turned ones look like the plain one")
    expect(all(np.abs(seen[0] - other).mean() < 5 for other in seen[4:]), "wide pixels look otherwise")


def case_files_that_read_other_files(folder, model):
    """A playlist that is called a video is none: it could show any file of this machine."""
    videos = make_videos(folder / "videos")
    (videos / "list.mp4").write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:2,\n{videos / 'wheel.mp4'}\n#EXT-X-ENDLIST\n")
    (videos / "concat.mp4").write_text(f"ffconcat version 1.0\nfile '{videos / 'wheel.mp4'}'\n")
    ffmpeg("-f", "lavfi", "-i", "color=red:size=2x4000:rate=8:duration=2", str(videos / "thin.mp4"))
    run(write(folder, model, [{"id": name, "prompt": name, "video": f"{name}.mp4"} for name in ("list", "concat", "thin")]), code=4)
    found = records(folder / "job")
    for name in ("list", "concat"):
        expect(f"cannot read" in found[name]["error"] and found[name]["status"] == "failed", found[name])
    expect("too narrow for 32x48" in found["thin"]["error"], found["thin"]["error"])


def case_bad_videos_fail_alone(folder, model):
    videos = make_videos(folder / "videos")
    (videos / "broken.mp4").write_bytes(b"not a video" * 100)
    (videos / "empty.mp4").write_bytes(b"")
    rows = rows_of(("wheel",)) + [{"id": name, "prompt": name, "video": f"{name}.mp4"} for name in ("broken", "empty")]
    rows += [{"id": "short", "prompt": "short", "video": "wide.mp4", "num_frames": 17}]
    text = run(write(folder, model, rows), code=4)
    found = records(folder / "job")
    expect(found["wheel"]["status"] == "done", found["wheel"])
    expect("too short: it gives 10 frames at 8 a second, this clip has 17" in found["short"]["error"], found["short"]["error"])
    for name in ("broken", "empty"):
        expect(f"{name}.mp4" in found[name]["error"], found[name]["error"])
    failed = [json.loads(line) for line in (folder / "job" / "failed.jsonl").read_text().splitlines()]
    expect(all(pathlib.Path(row["video"]).is_absolute() for row in failed) and len(failed) == 3, failed)
    job = write(folder, model, rows)
    settings = json.loads(job.read_text())
    settings["prompts"] = str(folder / "job" / "failed.jsonl")
    job.write_text(json.dumps(settings))
    run(job, code=4)  # ready to run, and as wrong as before
    # What was wrong is put right; the rerun makes it and leaves the rest.
    subprocess.run(["cp", str(videos / "noise.mp4"), str(videos / "broken.mp4")], check=True)
    done = samples(folder / "job")
    expect(set(done) == {"wheel"}, done.keys())
    run(write(folder, model, rows), "--retry-failed", code=4)
    expect(records(folder / "job")["broken"]["status"] == "done", text)


def case_wrong_jobs_say_so(folder, model):
    make_videos(folder / "videos")
    rows = rows_of(("wheel",)) + [{"prompt": "x"}, {"prompt": "y", "video": "gone.mp4"}]
    text = run(write(folder, model, rows, parallel={"sp": 2}), code=2)
    for wanted in ("job.jsonl:2: no video in this line", "job.jsonl:3: video: cannot read", "gone.mp4",
                   "parallel.sp: job: preprocess has one rank a video"):
        expect(wanted in text, f"'{wanted}' is missing from\n{text}")
    job = write(folder, model, rows_of(("wheel",)))
    settings = json.loads(job.read_text())
    settings["sampling"]["num_inference_steps"] = 3
    job.write_text(json.dumps(settings))
    text = run(job, code=2)
    expect("num_inference_steps" in text and "reads this key" in text, text)


if __name__ == "__main__":
    sys.exit(main(__name__))
