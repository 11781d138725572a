"""WanTransformer3DModel against diffusers: random configs, random values in all parameters, every kind of input.

float32 at atol = rtol = 1e-4. In bfloat16 both sides round after each operation: there each is held to diffusers in
float32, and ours may be off by no more than 1.5 times what diffusers' own bfloat16 is (plus what a few values can
differ by chance).
"""
import json
import sys

import diffusers
import torch

from oracle.support import compare, expect, randomize_parameters, refused_probe, run_cases, run_probe, write_model_folder

diffusers.utils.logging.set_verbosity_error()
diffusers.utils.logging.disable_progress_bar()
HEAD_DIMS = [2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 32, 44, 64]  # most of them split unevenly over the three axes
PATCHES = [(1, 2, 2), (1, 2, 2), (1, 1, 1), (2, 2, 2), (1, 2, 3), (1, 4, 1), (3, 1, 2)]
TEXT_TOKENS = 512  # what diffusers' image conditioning takes for text


def random_config(rng, image):
    heads, head_dim = rng.randrange(1, 5), rng.choice(HEAD_DIMS)
    config = dict(
        patch_size=rng.choice(PATCHES), num_attention_heads=heads, attention_head_dim=head_dim,
        in_channels=rng.choice([1, 3, 4, 16]), out_channels=rng.choice([1, 4, 5, 16, None]),
        text_dim=rng.choice([7, 16, 48]), freq_dim=rng.choice([2, 9, 32, 256]), ffn_dim=rng.choice([5, 32, 100]),
        num_layers=rng.randrange(1, 4), cross_attn_norm=rng.chance(0.7), eps=rng.choice([1e-6, 1e-5, 1e-2]),
        qk_norm=rng.choice(["rms_norm_across_heads", "rms_norm_across_heads", "rms_norm", None]),
        rope_max_seq_len=rng.choice([16, 1024]))
    if image != "none":
        config["image_dim"] = rng.choice([6, 20])
    if image in ("own", "absent", "first-last"):
        config["added_kv_proj_dim"] = heads * head_dim
    if image == "first-last":
        config["pos_embed_seq_len"] = 2 * rng.choice([3, 5])
    return config


def random_inputs(rng, config, image):
    batch = rng.choice([1, 1, 2, 3])
    grid = [rng.randrange(1, 5) for _ in range(3)]
    if rng.chance(0.1):
        grid[rng.randrange(3)] = 16  # the last position of the smaller tables
    sides = [n * p for n, p in zip(grid, config["patch_size"])]
    tokens = grid[0] * grid[1] * grid[2]
    inputs = {"hidden_states": rng.normal(batch, config["in_channels"], *sides)}
    times = rng.choice(["real", "whole", "tokens", "two"])
    if times == "real":
        inputs["timestep"] = rng.uniform_tensor(batch, high=1000)
    elif times == "whole":
        inputs["timestep"] = rng.integers(0, 999, (batch,))
    elif times == "tokens":
        inputs["timestep"] = rng.uniform_tensor(batch, tokens, high=1000)
    else:  # as Wan 2.2 TI2V: the first frame is given, its time is 0
        inputs["timestep"] = torch.full((batch, tokens), rng.uniform(1, 1000))
        inputs["timestep"][:, : grid[1] * grid[2]] = 0
    text = rng.choice([1, 2, 9, 31])
    image_tokens = rng.choice([1, 4, 9])
    if image == "first-last":
        image_tokens = config["pos_embed_seq_len"] // 2
    if "added_kv_proj_dim" in config:
        text = TEXT_TOKENS  # ... and what the reference does with fewer, which is no sense but its own
        if image == "own" and rng.chance(0.2):
            text = rng.choice([100, 300, TEXT_TOKENS - image_tokens + 1])
    inputs["encoder_hidden_states"] = rng.normal(batch, text, config["text_dim"])
    if image in ("own", "joint", "first-last"):
        images = batch * (2 if image == "first-last" else 1)
        inputs["encoder_hidden_states_image"] = rng.normal(images, image_tokens, config["image_dim"])
    return inputs


def forward(model, inputs, dtype=torch.float32):
    with torch.no_grad():
        given = {name: value if name == "timestep" else value.to(dtype) for name, value in inputs.items()}
        return model(**given, return_dict=False)[0].double()


def check_bfloat16(folder, inputs, want):
    model = diffusers.WanTransformer3DModel.from_pretrained(folder / "model" / "transformer", torch_dtype=torch.bfloat16)
    theirs = forward(model.eval(), inputs, torch.bfloat16) - want
    ours = run_probe(folder / "model", "transformer", inputs, dtype="bfloat16")["sample"].double() - want
    own, their, size = (x.pow(2).mean().sqrt().item() for x in (ours, theirs, want))
    print(f"  bfloat16: off by {own:.2e} rms where diffusers is by {their:.2e}, of {size:.2e}; "
          f"{ours.abs().max():.2e} at most ({theirs.abs().max():.2e})")
    chance = 1 + 2 / want.numel()**0.5
    expect(own <= 1.5 * chance * their + 1e-4 * size, f"bfloat16 is off by {own}, diffusers' by {their}")


def check_refusals(rng, folder, config, inputs):
    patch = config["patch_size"]
    axis = max(range(3), key=lambda i: patch[i])
    if patch[axis] > 1:
        side = list(inputs["hidden_states"].shape)
        side[2 + axis] += 1
        said = refused_probe(folder / "model", "transformer", {**inputs, "hidden_states": torch.zeros(side)})
        expect("multiple" in said, said)
    if "image_dim" not in config:
        said = refused_probe(folder / "model", "transformer",
                             {**inputs, "encoder_hidden_states_image": torch.zeros(inputs["hidden_states"].shape[0], 3, 8)})
        expect("image" in said, said)
    else:
        images = inputs.get("encoder_hidden_states_image", torch.zeros(1, 2, 1))
        wrong = torch.zeros(images.shape[0], images.shape[1], config["image_dim"] + 1)
        said = refused_probe(folder / "model", "transformer", {**inputs, "encoder_hidden_states_image": wrong})
        expect("encoder_hidden_states_image" in said and str(config["image_dim"]) in said, said)


def case(rng, folder):
    # own: keys and values for images; joint: images among the text; absent: such a model without an image.
    image = rng.choice(["none", "none", "none", "own", "own", "joint", "absent", "first-last"])
    config = random_config(rng, image)
    print(f"{image} {json.dumps(config)}")
    model = diffusers.WanTransformer3DModel(**config).eval()
    randomize_parameters(model, rng, torch.bfloat16)
    write_model_folder(folder / "model", {"transformer": model}, max_shard_size=rng.choice([None, None, 30000]),
                       dtype=rng.choice([None, None, torch.bfloat16]))
    inputs = random_inputs(rng, config, image)
    print("  " + ", ".join(f"{name} {list(value.shape)}" for name, value in inputs.items()))
    want = forward(model, inputs)
    got, trace = run_probe(folder / "model", "transformer", inputs, trace=True)
    compare("sample", got["sample"], want)
    layers = [row["layer"] for row in trace]
    for i in range(config["num_layers"]):
        expect(f"blocks.{i}" in layers, f"no blocks.{i} in the trace: {layers}")
    check_bfloat16(folder, inputs, want)
    check_refusals(rng, folder, config, inputs)


if __name__ == "__main__":
    sys.exit(run_cases(case, count=12))
