"""The transformer, the text encoder and the VAE by 2, 3 and 4 ranks, on random layouts, against diffusers and
transformers: random configs, random values in all parameters. One rank's result is held beside as well.
"""
import sys

import torch

from oracle import test_umt5, test_wan_transformer, test_wan_vae
from oracle.support import compare, expect, refused_probe, run_cases, run_probe, write_model_folder, randomize_parameters


def layout(rng, ranks):
    """cfg aside, which is the pipeline's: ulysses x ring x dit_tp of so many ranks, encoders and VAE on some of them."""
    dit_tp = rng.choice([n for n in range(1, ranks + 1) if ranks % n == 0])
    sp = ranks // dit_tp
    ring = rng.choice([n for n in range(1, sp + 1) if sp % n == 0])
    return f"sp: {sp}, ring: {ring}, dit_tp: {dit_tp}, tp: {rng.randrange(1, ranks + 1)}, vae: {rng.randrange(2, ranks + 1)}"


def transformer(rng, folder):
    image = rng.choice(["none", "none", "own", "joint", "first-last"])
    config = test_wan_transformer.random_config(rng, image)
    model = test_wan_transformer.diffusers.WanTransformer3DModel(**config).eval()
    randomize_parameters(model, rng, torch.bfloat16)
    write_model_folder(folder / "model", {"transformer": model})
    inputs = test_wan_transformer.random_inputs(rng, config, image)
    want = test_wan_transformer.forward(model, inputs)
    one = run_probe(folder / "model", "transformer", inputs)["sample"]
    for ranks in (2, 3, 4):
        parallel = layout(rng, ranks)
        got = run_probe(folder / "model", "transformer", inputs, ranks=ranks, parallel=parallel)["sample"]
        print(f"  {ranks} ranks, {parallel}: {list(got.shape)}, {(got - one).abs().max():.1e} from one rank's")
        compare("sample", got, want)
    narrow = [run_probe(folder / "model", "transformer", inputs, dtype="bfloat16", **how)["sample"].double() - want
              for how in ({}, {"ranks": 3, "parallel": layout(rng, 3)})]
    rms = [error.pow(2).mean().sqrt().item() for error in narrow]
    print(f"  bfloat16: {rms[1]:.2e} rms off by 3 ranks, {rms[0]:.2e} by one")
    expect(rms[1] <= 1.5 * (1 + 2 / want.numel()**0.5) * rms[0] + 1e-4 * want.pow(2).mean().sqrt().item(),
           "bfloat16 by 3 ranks is less exact")


def text_encoder(rng, folder):
    variant = rng.choice(["UMT5", "T5"])
    config_class, model_class = (getattr(test_umt5.transformers, variant + name) for name in ("Config", "EncoderModel"))
    model = model_class(config_class(**test_umt5.random_config(rng))).eval()
    randomize_parameters(model, rng)
    write_model_folder(folder / "model", {"text_encoder": model})
    inputs = test_umt5.random_inputs(rng, model.config.vocab_size)
    model = model_class.from_pretrained(folder / "model" / "text_encoder").eval()
    with torch.no_grad():
        want = model(**inputs, output_hidden_states=True)
    for ranks in (2, 3, 4):
        tp = rng.randrange(2, ranks + 1)
        got = run_probe(folder / "model", "text_encoder", inputs, ranks=ranks, parallel=f"sp: {ranks}, tp: {tp}")
        print(f"  {ranks} ranks, tp {tp}")
        compare("last_hidden_state", got["last_hidden_state"], want.last_hidden_state)


def vae(rng, folder):
    config = test_wan_vae.random_config(rng)
    model = test_wan_vae.AutoencoderKLWan(**config).eval()
    randomize_parameters(model, rng, torch.bfloat16)
    write_model_folder(folder / "model", {"vae": model})
    z = rng.normal(rng.choice([1, 2]), config["z_dim"], rng.choice([1, 2, 3]), rng.randrange(1, 7), rng.randrange(1, 5))
    x = test_wan_vae.random_video(rng, config)
    with torch.no_grad():
        video, latents = model.decode(z).sample, model.encode(x).latent_dist
    for ranks in (2, 3, 4):
        print(f"  {ranks} ranks: z {list(z.shape)}, x {list(x.shape)}")
        how = {"ranks": ranks, "parallel": f"sp: {ranks}, vae: {ranks}"}
        compare("decode", run_probe(folder / "model", "vae", {"z": z}, method="decode", **how)["sample"], video)
        got = run_probe(folder / "model", "vae", {"x": x}, method="encode", **how)
        compare("mean", got["mean"], latents.mean)
        compare("logvar", got["logvar"], latents.logvar)


def refusals(rng, folder):
    write_model_folder(folder / "model", {"transformer": test_wan_transformer.diffusers.WanTransformer3DModel(
        **test_wan_transformer.random_config(rng, "none"))})
    for parallel, words in (("sp: 3", "needs 3 ranks"), ("sp: 1", "start 1 ranks"), ("spp: 2", "spp"), ("sp: [", "not YAML"),
                            ("sp: 2, tp: 3", "tp 3 is more")):
        message = refused_probe(folder / "model", "transformer", {"x": torch.ones(1)}, ranks=2, parallel=parallel)
        expect(words in message, f"{parallel}: {message}")


if __name__ == "__main__":
    sys.exit(run_cases([refusals, text_encoder, text_encoder, vae, vae, transformer], count=8))
