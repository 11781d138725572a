#!/usr/bin/env python3
"""Trains the `shapes` checkpoint with diffusers' and transformers' own classes, on a CPU.

Stages keep their state in --work and can be run again to go on; --minutes is processor time per thread:

    train.py --work DIR vae --minutes 40           tokenizer and autoencoder
    train.py --work DIR latents --clips 6000       encodes clips, measures the latents' mean and deviation
    train.py --work DIR transformer --minutes 60   text encoder and diffusion transformer
    train.py --work DIR decoder --minutes 20       goes on with the decoder alone, latents as they are
    train.py --work DIR export --output datasets/shapes/checkpoint
"""
import argparse
import random
import shutil
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import WanPipeline
from torch import nn

import generate
import models
from optimise import Average, Budget, Optimisers

REPORT_EVERY = 100
SAVE_SECONDS = 120
MAX_BYTES = 12_000_000


def to_clips(arrays):
    """Arrays [frames, height, width, 3] in 0..1 to one tensor [batch, 3, frames, height, width] in -1..1."""
    return torch.from_numpy(np.stack(arrays)).permute(0, 4, 1, 2, 3).mul(2).sub(1)


class ClipSource:
    """Random training clips: none of a held-out combination."""

    def __init__(self, seed):
        self.generator = np.random.default_rng(seed)
        self.combinations, _ = generate.split_combinations()

    def draw(self, count, frames=generate.FRAMES):
        clips, captions = [], []
        for _ in range(count):
            combination, clip = generate.random_clip(self.combinations, self.generator)
            start = self.generator.integers(generate.FRAMES - frames + 1)
            clips.append(clip[start : start + frames])
            captions.append(combination.caption())
        return to_clips(clips).contiguous(memory_format=torch.channels_last_3d), captions


def held_out_clips(count):
    generator = np.random.default_rng(4321)
    _, held_out = generate.split_combinations()
    return to_clips([generate.render(held_out[i % len(held_out)], generate.random_placement(generator)) for i in range(count)])


def psnr(restored, clips):
    error = (restored.clamp(-1, 1) - clips).div(2).square().mean((1, 2, 3, 4))
    return (-10 * error.log10()).mean().item()


def save_state(path, **parts):
    beside = path.with_suffix(".part")
    torch.save(parts, beside)
    beside.replace(path)


def load_state(path):
    return torch.load(path, weights_only=True) if path.exists() else None


class Run:
    """One stage's loop: budget, reports, saved state."""

    def __init__(self, path, minutes, module, optimisers, decay):
        self.path = path
        self.module = module
        self.optimisers = optimisers
        self.average = Average(module, decay)
        self.step = 0
        self.minutes = 0.0
        self.restore()
        self.budget = Budget(minutes, torch.get_num_threads())
        self.saved = 0.0
        self.sums = {}

    def restore(self):
        state = load_state(self.path)
        if state is None:
            return
        self.module.load_state_dict(state["module"])
        self.average.load_state_dict(state["average"])
        self.optimisers.load_state_dict(state["optimisers"])
        self.step, self.minutes = state["step"], state["minutes"]

    def save(self):
        save_state(
            self.path,
            module=self.module.state_dict(),
            average=self.average.state_dict(),
            optimisers=self.optimisers.state_dict(),
            step=self.step,
            minutes=self.minutes + self.budget.elapsed() / 60,
        )
        self.saved = self.budget.elapsed()

    def update(self, losses):
        """One optimiser step for the sum of `losses`; false once the budget is spent."""
        sum(losses.values()).backward()
        factor = self.budget.factor()
        self.optimisers.step(factor)
        self.average.update(self.module)
        self.step += 1
        for name, loss in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + loss.item()
        if self.step % REPORT_EVERY == 0:
            self.report(factor)
        if self.budget.elapsed() - self.saved > SAVE_SECONDS:
            self.save()
        return self.budget.progress() < 1

    def report(self, factor):
        means = " ".join(f"{name} {total / REPORT_EVERY:.4f}" for name, total in self.sums.items())
        print(f"step {self.step} {self.budget.elapsed():.0f} s, rate x{factor:.2f}, {means}", flush=True)
        self.sums = {}


def differences(x):
    return x.diff(dim=-1), x.diff(dim=-2)


def picture_losses(restored, clips):
    error = restored - clips
    edges = sum((a - b).abs().mean() for a, b in zip(differences(restored), differences(clips), strict=True))
    return {"l1": error.abs().mean(), "l2": 0.5 * error.square().mean(), "edge": edges}


def latent_loss(latents):
    """Keeps each channel near mean 0 and deviation 1."""
    channels = latents.transpose(0, 1).flatten(1)
    return 0.02 * (channels.mean(1).square() + (channels.std(1) - 1).square()).mean()


def train_vae(arguments):
    models.make_tokenizer(arguments.work / "tokenizer")
    vae = models.make_vae()
    optimisers = Optimisers(vae.named_parameters(), arguments.rate, lambda name: "conv_out" not in name)
    run = Run(arguments.work / "vae.pt", arguments.minutes, vae, optimisers, decay=0.998)
    source = ClipSource(seed=run.step)
    encode, decode = models.encode_means, models.decode_clips

    @torch.compile(dynamic=False, disable=not arguments.compile)
    def forward(clips, noise):
        with torch.autocast("cpu", torch.bfloat16, enabled=arguments.bfloat16):
            latents = encode(vae, clips)
            return latents.float(), decode(vae, latents + noise).float()

    going = True
    while going:
        short = run.budget.progress() < arguments.short_share
        count, frames = (4, 5) if short else (2, generate.FRAMES)
        clips, _ = source.draw(count, frames)
        noise = arguments.jitter * torch.randn(count, 16, (frames + 3) // 4, 8, 8)
        latents, restored = forward(clips, noise)
        going = run.update(picture_losses(restored, clips) | {"latent": latent_loss(latents)})
    run.save()
    load_vae(arguments.work)
    report_vae(arguments.work)


def load_vae(work):
    vae = models.make_vae().requires_grad_(False)
    vae.load_state_dict(load_state(work / "vae.pt")["average"]["weights"])
    decoder = load_state(work / "decoder.pt")
    if decoder is not None:
        decoder_parts(vae).load_state_dict(decoder["average"]["weights"])
    models.fix_log_variance(vae)
    return vae


def decoder_parts(vae):
    return nn.ModuleDict({"post_quant_conv": vae.post_quant_conv, "decoder": vae.decoder})


@torch.no_grad()
def report_vae(work, count=32):
    vae = load_vae(work)
    clips = held_out_clips(count)
    restored = [models.decode_clips(vae, models.encode_means(vae, clip)) for clip in clips.split(4)]
    print(f"held-out clips: {psnr(torch.cat(restored), clips):.2f} dB", flush=True)


@torch.no_grad()
def encode_clips(arguments):
    vae = load_vae(arguments.work)
    encode = torch.compile(models.encode_means, dynamic=False, disable=not arguments.compile)
    source = ClipSource(seed=99)
    latents, captions = [], []
    for _ in range(arguments.clips // 8):
        clips, texts = source.draw(8)
        with torch.autocast("cpu", torch.bfloat16, enabled=arguments.bfloat16):
            latents.append(encode(vae, clips).float())
        captions += texts
    latents = torch.cat(latents)
    mean, deviation = latents.mean((0, 2, 3, 4)), latents.std((0, 2, 3, 4))
    print("latents:", tuple(latents.shape), "mean", mean, "deviation", deviation)
    normal = (latents - mean.view(1, -1, 1, 1, 1)) / deviation.view(1, -1, 1, 1, 1)
    save_state(arguments.work / "latents.pt", latents=normal, captions=captions, mean=mean, deviation=deviation)


class Denoiser(nn.Module):
    """What the transformer stage trains: text encoder and transformer."""

    def __init__(self, tokenizer):
        super().__init__()
        self.text = models.TextEmbedder(tokenizer, models.make_text_encoder(tokenizer))
        self.transformer = models.make_transformer()


def is_inner_matrix(name):
    return ".blocks." in name and "scale_shift_table" not in name


def draw_padding():
    """How much padding the text has: as in WanPipeline's default, at times less."""
    return models.TEXT_LENGTH if random.random() < 0.8 else random.randint(16, models.TEXT_LENGTH)


def drop_some(captions, share=0.1):
    return ["" if random.random() < share else caption for caption in captions]


def draw_sigmas(count):
    """Noise levels, denser where a schedule of flow shift 3 has its steps; evenly spread over the batch."""
    even = (torch.arange(count) + torch.rand(count)) / count
    return 3 * even / (1 + 2 * even)


def train_transformer(arguments):
    data = load_state(arguments.work / "latents.pt")
    denoiser = Denoiser(models.load_tokenizer(arguments.work / "tokenizer"))
    set_padding = models.use_padded_text(denoiser.transformer)
    optimisers = Optimisers(denoiser.named_parameters(), arguments.rate, is_inner_matrix)
    run = Run(arguments.work / "transformer.pt", arguments.minutes, denoiser, optimisers, decay=0.999)
    transformer = torch.compile(denoiser.transformer, dynamic=False, disable=not arguments.compile)
    torch.manual_seed(run.step)
    random.seed(run.step)
    going = True
    while going:
        chosen = torch.randint(len(data["captions"]), (arguments.batch,))
        latents = data["latents"][chosen]
        text = denoiser.text(drop_some([data["captions"][i] for i in chosen]))
        tokens = text.shape[1] - 1
        set_padding(tokens, draw_padding() - tokens)
        noise = torch.randn_like(latents)
        sigma = draw_sigmas(arguments.batch)
        mixed = torch.lerp(latents, noise, sigma.view(-1, 1, 1, 1, 1))
        with torch.autocast("cpu", torch.bfloat16, enabled=arguments.bfloat16):
            velocity = transformer(mixed, 1000 * sigma, text, return_dict=False)[0]
        going = run.update({"loss": F.mse_loss(velocity.float(), noise - latents)})
    run.save()


def train_decoder(arguments):
    vae = load_vae(arguments.work)
    parts = decoder_parts(vae).requires_grad_(True)
    optimisers = Optimisers(parts.named_parameters(), arguments.rate, lambda name: "conv_out" not in name)
    run = Run(arguments.work / "decoder.pt", arguments.minutes, parts, optimisers, decay=0.998)
    source = ClipSource(seed=1_000_000 + run.step)

    @torch.compile(dynamic=False, disable=not arguments.compile)
    def forward(clips, noise):
        with torch.autocast("cpu", torch.bfloat16, enabled=arguments.bfloat16):
            with torch.no_grad():
                latents = models.encode_means(vae, clips)
            return models.decode_clips(vae, latents + noise).float()

    going = True
    while going:
        clips, _ = source.draw(2)
        noise = arguments.jitter * torch.randn(2, 16, 5, 8, 8)
        going = run.update(picture_losses(forward(clips, noise), clips))
    run.save()
    report_vae(arguments.work)


def export(arguments):
    """Writes the checkpoint in Diffusers' layout, weights in float16."""
    data = load_state(arguments.work / "latents.pt")
    vae = load_vae(arguments.work)
    vae.register_to_config(latents_mean=data["mean"].tolist(), latents_std=data["deviation"].tolist())
    tokenizer = models.load_tokenizer(arguments.work / "tokenizer")
    denoiser = Denoiser(tokenizer)
    denoiser.load_state_dict(load_state(arguments.work / "transformer.pt")["average"]["weights"])
    pipeline = WanPipeline(
        tokenizer=tokenizer,
        text_encoder=denoiser.text.encoder.half(),
        vae=vae.half(),
        transformer=denoiser.transformer.half(),
        scheduler=models.make_scheduler(),
    )
    shutil.rmtree(arguments.output, ignore_errors=True)
    pipeline.save_pretrained(arguments.output)
    for name in ("spiece.model", "tokenizer.json"):
        shutil.copy(arguments.work / "tokenizer" / name, arguments.output / "tokenizer" / name)
    check_size(arguments.output)


def check_size(folder):
    size = sum(path.stat().st_size for path in folder.rglob("*.safetensors"))
    print(f"weights: {size} bytes in {folder}")
    if size > MAX_BYTES:
        raise SystemExit(f"the weights exceed {MAX_BYTES} bytes")


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder of the stages' state")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--no-compile", dest="compile", action="store_false")
    parser.add_argument("--float32", dest="bfloat16", action="store_false", help="no bfloat16 while training")
    stages = parser.add_subparsers(dest="stage", required=True)
    vae = stages.add_parser("vae")
    vae.add_argument("--minutes", type=float, default=45)
    vae.add_argument("--rate", type=float, default=2e-3)
    vae.add_argument("--jitter", type=float, default=0.1, help="noise added to latents before decoding")
    vae.add_argument("--short-share", type=float, default=0.35, help="share of the time spent on 5-frame clips")
    latents = stages.add_parser("latents")
    latents.add_argument("--clips", type=int, default=6000)
    transformer = stages.add_parser("transformer")
    transformer.add_argument("--minutes", type=float, default=60)
    transformer.add_argument("--rate", type=float, default=2e-3)
    transformer.add_argument("--batch", type=int, default=32)
    decoder = stages.add_parser("decoder")
    decoder.add_argument("--minutes", type=float, default=20)
    decoder.add_argument("--rate", type=float, default=1e-3)
    decoder.add_argument("--jitter", type=float, default=0.15)
    stages.add_parser("export").add_argument("--output", type=Path, required=True)
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    arguments.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    models.use_whole_clips()
    stages = {
        "vae": train_vae,
        "latents": encode_clips,
        "transformer": train_transformer,
        "decoder": train_decoder,
        "export": export,
    }
    stages[arguments.stage](arguments)


if __name__ == "__main__":
    main()
