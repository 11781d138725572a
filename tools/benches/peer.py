#!/usr/bin/env python3
"""diffusers' side of tools/bench, a process of its own: runs one job, prints one line of JSON.

  peer.py component KIND CONFIG DTYPE THREADS REPEAT COMPILE HEIGHT WIDTH FRAMES     KIND: dit, vae
  peer.py gemm SIZE DTYPE THREADS SECONDS                                            seconds of each product
  peer.py batch MODEL PROMPTS OUTPUT DTYPE THREADS COMPILE SAMPLING(JSON)            mp4 files into OUTPUT
"""
import json
import resource
import statistics
import subprocess
import sys
import time

BEGUN = time.time()


def peak_bytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def timed(run, repeat):
    """Seconds of each call, after one that is not timed."""
    run()
    seconds = []
    for _ in range(repeat):
        start = time.monotonic()
        run()
        seconds.append(time.monotonic() - start)
    return seconds


def gemm(size, dtype, threads, seconds):
    """For as long as a step takes: a processor's first products are faster than those that it can go on with."""
    import torch
    torch.set_num_threads(int(threads))
    size, dtype = int(size), getattr(torch, dtype)
    a, b = torch.randn(size, size).to(dtype), torch.randn(size, size).to(dtype)
    with torch.inference_mode():
        packed = torch.ops.mkldnn._reorder_linear_weight(b, size)  # oneDNN; a @ b is MKL's where it is float32
        calls = {"aten": lambda: a @ b,
                 "onednn": lambda: torch.ops.mkldnn._linear_pointwise(a, packed, None, "none", [], "")}
        once = {name: min(timed(call, 3)) for name, call in calls.items()}
        return {name: timed(call, max(3, round(float(seconds) / once[name]))) for name, call in calls.items()}


def component(kind, config, dtype, threads, repeat, compiled, height, width, frames):
    import diffusers
    import torch
    torch.set_num_threads(int(threads))
    torch.manual_seed(1)
    dtype = getattr(torch, dtype)
    config = json.load(open(config))
    latent = (1, 16, (int(frames) - 1) // 4 + 1, int(height) // 8, int(width) // 8)
    with torch.inference_mode():
        if kind == "dit":
            model = diffusers.WanTransformer3DModel.from_config(config).to(dtype).eval()
            inputs = {"hidden_states": torch.randn(latent, dtype=dtype), "timestep": torch.tensor([500.0]),
                      "encoder_hidden_states": torch.randn(1, 512, config["text_dim"], dtype=dtype)}
            call = torch.compile(model) if int(compiled) else model
            run = lambda: call(**inputs)
        else:
            model = diffusers.AutoencoderKLWan.from_config(config).to(dtype).eval()
            z = torch.randn(latent, dtype=dtype)
            if int(compiled):
                model.decoder = torch.compile(model.decoder)
            run = lambda: model.decode(z)
        seconds = timed(run, int(repeat))
    return {"seconds": seconds, "median_s": statistics.median(seconds), "peak_bytes": peak_bytes()}


def write_mp4(frames, path, fps):
    """frames: uint8 [frames, height, width, 3]."""
    count, height, width, _ = frames.shape
    subprocess.run(["ffmpeg", "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(fps),
                    "-i", "-", "-c:v", "libx264", "-crf", "18", "-pix_fmt", "yuv420p", path], input=frames.tobytes(), check=True)


def batch(model, prompts, output, dtype, threads, compiled, sampling):
    import diffusers
    import torch
    torch.set_num_threads(int(threads))
    sampling = json.loads(sampling)
    pipeline = diffusers.WanPipeline.from_pretrained(model, torch_dtype=getattr(torch, dtype))
    pipeline.vae.to(torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    if int(compiled):
        pipeline.transformer.compile()
    first = []
    pipeline.transformer.register_forward_pre_hook(lambda *_: first.append(time.time()) if not first else None)
    for line in open(prompts):
        row = json.loads(line)
        clip = pipeline(prompt=row["prompt"], negative_prompt=sampling["negative_prompt"], height=sampling["height"],
                        width=sampling["width"], num_frames=sampling["num_frames"],
                        num_inference_steps=sampling["num_inference_steps"], guidance_scale=sampling["guidance_scale"],
                        max_sequence_length=sampling["max_sequence_length"], output_type="np",
                        generator=torch.Generator("cpu").manual_seed(row["seed"])).frames[0]
        write_mp4((clip * 255).round().astype("uint8"), f"{output}/{row['id']}.mp4", sampling["fps"])
    return {"first_step": first[0], "peak_bytes": peak_bytes()}


if __name__ == "__main__":
    print(json.dumps({"gemm": gemm, "component": component, "batch": batch}[sys.argv[1]](*sys.argv[2:])))
