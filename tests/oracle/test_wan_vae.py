"""AutoencoderKLWan against diffusers: random configs (both generations), random values in all parameters.

float32 at atol = rtol = 1e-4: decode, and mean and logvar of encode, for batches, odd sizes and frame counts. In bfloat16
ours may be off from float32 by no more than 1.5 times what diffusers is (2.5 times where few values leave it to chance).
Chunks and tiles: tests/unit/models/wan_vae_test.cpp.
"""
import json
import sys

import torch
from diffusers import AutoencoderKLWan
from diffusers.models.autoencoders import autoencoder_kl_wan

from oracle.support import compare, expect, randomize_parameters, refused_probe, run_cases, run_probe, write_model_folder

# diffusers 0.42 hands the encoder's attention blocks (attn_scales) a cache that they do not take.
_attend = autoencoder_kl_wan.WanAttentionBlock.forward
autoencoder_kl_wan.WanAttentionBlock.forward = lambda self, x, feat_cache=None, feat_idx=None: _attend(self, x)


def random_config(rng):
    levels, residual, patch = rng.choice([1, 2, 3, 3, 4]), rng.chance(0.4), rng.choice([None, 1, 2])
    temporal = [rng.chance(0.5) for _ in range(levels - 1)]
    while sum(temporal) > 2:
        temporal[rng.randrange(levels - 1)] = False
    mult = [rng.choice([1, 2, 3, 4]) for _ in range(levels)]
    if residual:  # what its shortcuts can average and repeat
        mult = sorted(rng.choice([1, 2]) for _ in range(levels - 1)) or [1]
        mult += mult[-1:] * (levels - len(mult))
    z, pixels = rng.choice([2, 4, 7, 16]), 3 * (patch or 1) ** 2
    return dict(base_dim=rng.choice([4, 6, 8, 16]), decoder_base_dim=rng.choice([None, 4, 8, 12]), z_dim=z,
                dim_mult=mult, num_res_blocks=rng.choice([1, 1, 2]), attn_scales=rng.choice([[], [1.0], [0.5], [0.25, 1.0]]),
                temperal_downsample=temporal, is_residual=residual, in_channels=pixels, out_channels=pixels,
                patch_size=patch, latents_mean=[rng.uniform(-1, 1) for _ in range(z)],
                latents_std=[rng.uniform(0.5, 3) for _ in range(z)], scale_factor_temporal=2 ** sum(temporal),
                scale_factor_spatial=2 ** (levels - 1) * (patch or 1), dropout=rng.choice([0.0, 0.1]))


def random_video(rng, config):
    """Sides that diffusers can encode: any multiple of a patch, with is_residual of all that is shrunk."""
    patch, factor = config["patch_size"] or 1, 2 ** (len(config["dim_mult"]) - 1)
    sides = [patch * (factor * rng.randrange(1, 5) + (0 if config["is_residual"] else rng.randrange(factor)))
             for _ in range(2)]
    return rng.uniform_tensor(rng.choice([1, 2]), 3, rng.choice([1, 5, 9, 13, 4, 7]), *sides, low=-1.0)


def rms(tensor):
    return tensor.double().pow(2).mean().sqrt().item()


def case(rng, folder):
    config = random_config(rng)
    vae = AutoencoderKLWan(**config).eval()
    randomize_parameters(vae, rng, dtype=torch.bfloat16)
    if rng.chance(0.3):  # some log variances outside of what is allowed
        vae.quant_conv.bias.data[config["z_dim"]:] *= 150
    write_model_folder(folder / "model", {"vae": vae}, max_shard_size=rng.choice([None, None, 100000]))
    z = rng.normal(rng.choice([1, 2]), config["z_dim"], rng.choice([1, 2, 3, 4]), rng.randrange(1, 6), rng.randrange(1, 6))
    x = random_video(rng, config)
    shown = {key: value for key, value in config.items() if not key.startswith("latents")}
    print(json.dumps(shown), tuple(z.shape), tuple(x.shape))
    half = AutoencoderKLWan.from_pretrained(folder / "model" / "vae", torch_dtype=torch.bfloat16).eval()
    with torch.no_grad():
        video, latents = vae.decode(z).sample, vae.encode(x).latent_dist
        half_video, half_latents = half.decode(z.bfloat16()).sample, half.encode(x.bfloat16()).latent_dist
    got, trace = run_probe(folder / "model", "vae", {"z": z}, method="decode", trace=True)
    compare("decode", got["sample"], video)
    expect(len(trace) >= 3 + len(config["dim_mult"]), f"trace rows: {trace}")
    got = run_probe(folder / "model", "vae", {"x": x}, method="encode")
    compare("mean", got["mean"], latents.mean)
    compare("logvar", got["logvar"], latents.logvar)

    ours = run_probe(folder / "model", "vae", {"z": z}, method="decode", dtype="bfloat16")["sample"]
    about_as_exact("decode", ours, half_video, video)
    ours = run_probe(folder / "model", "vae", {"x": x}, method="encode", dtype="bfloat16")["mean"]
    about_as_exact("mean", ours, half_latents.mean, latents.mean)
    refusals(folder, z)


def about_as_exact(name, ours, theirs, exact):
    """In bfloat16: no further from float32 than diffusers is. A handful of values is too few to compare errors by; for
    them 3 % of the values' own size are let pass, eight roundings of bfloat16."""
    own, other = rms(ours - exact), rms(theirs - exact)
    print(f"  bfloat16 {name}: off by {own:.2e} rms where diffusers is by {other:.2e}")
    limit = 1.5 * other if exact.numel() >= 2000 else max(2.5 * other, 0.03 * rms(exact))
    expect(own <= limit + 1e-4, f"bfloat16 {name}: ours is less exact")


def refusals(folder, z):
    path = folder / "model" / "vae" / "config.json"
    plain = json.loads(path.read_text())
    for key, value in [("novel_field", 1), ("z_dim", plain["z_dim"] + 1), ("dim_mult", []), ("base_dim", "a")]:
        path.write_text(json.dumps({**plain, key: value}))
        message = refused_probe(folder / "model", "vae", {"z": z}, method="decode")
        expect(key in message or "z_dim" in message, f"{key}: {message}")
    path.write_text(json.dumps(plain))


if __name__ == "__main__":
    sys.exit(run_cases(case, count=8))
