#!/usr/bin/env python3
"""What `rushes probe` promises besides numbers: refusals with exit code 2 that say what is wrong, results that do not depend
on how the weights are stored, and traces."""
import json
import shutil
import sys

import diffusers
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

from oracle.support import (compare, expect, probe_process, randomize_parameters, refused_probe, run_cases, run_probe,
                            same, write_model_folder)

LAYERS, CHANNELS, TEXT_DIM, WORDS = 2, 4, 16, 60


def small_tokenizer():
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -20.0), ("▁", -3.0)]
    pieces += [(chr(ord("a") + i), -4.0 - i / 10) for i in range(26)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme="always")])
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>",
                                   extra_special_tokens=[])


def small_components(rng, dtype=None):
    parts = {
        "transformer": diffusers.WanTransformer3DModel(
            num_attention_heads=2, attention_head_dim=12, in_channels=CHANNELS, out_channels=CHANNELS,
            text_dim=TEXT_DIM, freq_dim=16, ffn_dim=32, num_layers=LAYERS),
        "vae": diffusers.AutoencoderKLWan(
            base_dim=8, z_dim=CHANNELS, dim_mult=[1, 2], num_res_blocks=1, temperal_downsample=[True],
            latents_mean=[0.0] * CHANNELS, latents_std=[1.0] * CHANNELS),
        "text_encoder": UMT5EncoderModel(UMT5Config(
            vocab_size=WORDS, d_model=TEXT_DIM, d_kv=8, d_ff=32, num_layers=LAYERS, num_heads=2,
            feed_forward_proj="gated-gelu")),
    }
    for part in parts.values():
        randomize_parameters(part.eval(), rng, dtype)
    return {**parts, "tokenizer": small_tokenizer(), "image_encoder": None,
            "scheduler": diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)}


def inputs_of(rng, batch=1):
    transformer = {"hidden_states": rng.normal(batch, CHANNELS, 2, 4, 6), "timestep": torch.full((batch,), 500.0),
                   "encoder_hidden_states": rng.normal(batch, 5, TEXT_DIM)}
    text = {"input_ids": rng.integers(3, WORDS - 1, (batch, 6)),
            "attention_mask": torch.ones(batch, 6, dtype=torch.int64)}
    return {"transformer": transformer, "vae": {"z": rng.normal(batch, CHANNELS, 2, 3, 4)}, "text_encoder": text,
            "scheduler": {"sample": rng.normal(2, 3), "model_outputs": rng.normal(4, 2, 3)}}


def says(what, message, *words):
    for word in words:
        expect(word in message, f"{what}: the message should have {word!r}:\n{message}")


def check_command_line(model, folder):
    out = folder / "o.safetensors"
    table = [
        ([], ["--model is needed", "--component is needed", "--out is needed"]),
        (["--model", model, "--component", "vae", "--out", out, "--colour"], ["colour"]),
        (["--model", model, "--component", "vae", "--out", out, "extra"], ["'extra'"]),
        (["--model", model, "--component", "vae", "--out", out, "--dtype", "float8"], ["float8", "bfloat16"]),
        (["--model", model, "--component", "scheduler", "--out", out, "--steps", "many"], ["many"]),
        (["--model", model, "--component", "scheduler", "--out", out, "--steps"], ["steps"]),
        (["--model", folder / "none", "--component", "vae", "--out", out], ["none does not exist"]),
        (["--model", model, "--component", "vae", "--out", folder / "no" / "o"], ["does not exist"]),
        (["--model", model, "--component", "vae", "--out", folder], ["is a folder"]),
    ]
    for arguments, words in table:
        done = probe_process(arguments)
        expect(done.returncode == 2, f"{arguments}: exit code {done.returncode}\n{done.stderr}")
        says(arguments, done.stderr, *words)
    expect(not out.exists(), "a refused probe wrote an output")
    done = probe_process(["--help"])
    expect(done.returncode == 0 and "--max-length" in done.stdout, "--help should list the options")


def check_options(model, inputs):
    says("component", refused_probe(model, "transfomer", inputs["vae"]), "'transfomer'", "did you mean 'transformer'")
    says("null component", refused_probe(model, "image_encoder", inputs["vae"]), "has no component 'image_encoder'")
    says("vae", refused_probe(model, "vae", inputs["vae"]), "give --method")
    says("vae", refused_probe(model, "vae", inputs["vae"], method="decod"), "decode and encode")
    says("options", refused_probe(model, "transformer", None, text="x", steps=3, method="decode"), "give --in",
         "takes no --text", "takes no --steps", "takes no --method")
    says("tokenizer", refused_probe(model, "tokenizer", None), "give --text", "give --max-length")
    says("tokenizer", refused_probe(model, "tokenizer", None, text="x", max_length=0), "needs 1 to")
    says("scheduler", refused_probe(model, "scheduler", inputs["scheduler"]), "give --steps")


def check_inputs(model, inputs, rng):
    good = inputs["transformer"]
    wrong = {"hidden_state": good["hidden_states"], "timestep": torch.full((3, 2, 2), 1.0),
             "encoder_hidden_states": rng.normal(1, 5, TEXT_DIM + 1)}
    says("transformer", refused_probe(model, "transformer", wrong), "'hidden_states' is missing",
         "did you mean 'hidden_state'", "'hidden_state' is none of", "'timestep' has shape [3, 2, 2]",
         f"dim = {TEXT_DIM}", f"[1, 5, {TEXT_DIM + 1}]")
    for name, tensor, word in (
            ("hidden_states", rng.normal(1, CHANNELS + 1, 2, 4, 6), f"channels = {CHANNELS}"),
            ("hidden_states", rng.normal(1, CHANNELS, 2, 5, 6), "multiples of 1, 2, 2"),
            ("hidden_states", torch.ones(1, CHANNELS, 2, 4, 6, dtype=torch.int32), "floating-point"),
            ("hidden_states", torch.ones(0, CHANNELS, 2, 4, 6), "[0, 4, 2, 4, 6]"),
            ("timestep", torch.tensor([1.0, 2.0]), "batch = 1"),
            ("timestep", torch.ones(1, 7), "tokens = 12"),
            ("encoder_hidden_states", rng.normal(2, 5, TEXT_DIM), "batch = 1")):
        says(name, refused_probe(model, "transformer", {**good, name: tensor}), f"'{name}' has shape"
             if tensor.is_floating_point() else f"'{name}' is of I32", word)
    says("vae", refused_probe(model, "vae", {"z": rng.normal(1, CHANNELS, 3, 4)}, method="decode"), "[1, 4, 3, 4]")
    says("vae", refused_probe(model, "vae", inputs["vae"], method="encode"), "'x' is missing", "'z' is none of")
    ids = inputs["text_encoder"]
    for changed, word in (({"input_ids": ids["input_ids"] + WORDS}, "the model knows 0 to"),
                          ({"input_ids": ids["input_ids"] - WORDS}, "the model knows 0 to"),
                          ({"input_ids": ids["input_ids"].float()}, "whole numbers"),
                          ({"attention_mask": ids["attention_mask"] * 2}, "1 (a token) and 0"),
                          ({"attention_mask": ids["attention_mask"][:, :3]}, "tokens = 6")):
        says(str(list(changed)), refused_probe(model, "text_encoder", {**ids, **changed}), word)
    says("text", refused_probe(model, "text_encoder", {"input_ids": ids["input_ids"]}), "'attention_mask' is missing")
    schedule = inputs["scheduler"]
    says("scheduler", refused_probe(model, "scheduler", schedule, steps=5), "steps = 5", "[4, 2, 3]")
    says("scheduler", refused_probe(model, "scheduler", {**schedule, "sample": rng.normal(2, 4)}, steps=4), "[4, 2, 3]")


def edited(model, folder, name, part, change):
    """A copy of the model whose component's config.json or weights were changed."""
    copy = folder / name
    shutil.copytree(model, copy)
    if part.endswith(".json"):
        config = json.loads((copy / part).read_text())
        change(config)
        (copy / part).write_text(json.dumps(config))
    else:
        tensors = load_file(copy / part)
        change(tensors)
        save_file(tensors, copy / part)
    return copy


def check_model(model, folder, inputs, rng):
    given, weights = inputs["transformer"], "transformer/diffusion_pytorch_model.safetensors"
    name = rng.choice(sorted(load_file(model / weights)))

    def refused(kind, part, change, *words, component="transformer", tensors=given, **options):
        copy = edited(model, folder, kind, part, change)
        says(kind, refused_probe(copy, component, tensors, **options), *words)
        shutil.rmtree(copy)

    refused("missing", weights, lambda t: t.pop(name), f"'{name}'", "is missing")
    refused("unexpected", weights, lambda t: t.update(stray=torch.ones(3, 5)), "'stray' of shape [3, 5]", "not a part")

    def misshape(tensors):
        tensors[name] = torch.ones(3, 1, 7)
    refused("misshaped", weights, misshape, f"'{name}'", "[3, 1, 7]",
            str(list(load_file(model / weights)[name].shape)))
    refused("layers", "transformer/config.json", lambda c: c.update(num_layers=LAYERS + 1), f"blocks.{LAYERS}.")
    refused("unknown field", "transformer/config.json", lambda c: c.update(num_layer=3), "num_layer'")
    refused("wrong type", "transformer/config.json", lambda c: c.update(num_layers="two"), "num_layers", "two")
    refused("other class", "transformer/config.json", lambda c: c.update(_class_name="FluxTransformer2DModel"),
            "FluxTransformer2DModel", "WanTransformer3DModel")
    refused("unknown class", "model_index.json", lambda i: i.update(transformer=["diffusers", "WanTransformer3D"]),
            "'WanTransformer3D'", "WanTransformer3DModel")
    refused("no folder", "model_index.json", lambda i: i.update(gone=["diffusers", "X"]), "gone is missing")
    refused("bad key", "model_index.json", lambda i: i.update({"../up": ["diffusers", "X"]}), "'../up'")
    refused("words", "text_encoder/config.json", lambda c: c.update(vocab_size=WORDS + 1), f"[{WORDS}, {TEXT_DIM}]",
            f"[{WORDS + 1}, {TEXT_DIM}]", component="text_encoder", tensors=inputs["text_encoder"])

    copy = folder / "cut"
    shutil.copytree(model, copy)
    whole = (copy / weights).read_bytes()
    for length in (0, 7, rng.randrange(8, len(whole)), len(whole) - 1):
        (copy / weights).write_bytes(whole[:length])
        says(f"cut to {length}", refused_probe(copy, "transformer", given), "diffusion_pytorch_model.safetensors")
    (folder / "notes.txt").write_text("no tensors")
    done = probe_process(["--model", model, "--component", "transformer", "--in", folder / "notes.txt", "--out",
                          folder / "o.safetensors"])
    expect(done.returncode == 2 and "notes.txt" in done.stderr, f"inputs that are no safetensors: {done.stderr}")


def outputs(model, inputs, dtype=None):
    return {**{f"transformer.{k}": v for k, v in run_probe(model, "transformer", inputs["transformer"], dtype=dtype).items()},
            **{f"vae.{k}": v for k, v in run_probe(model, "vae", inputs["vae"], method="decode", dtype=dtype).items()},
            **{f"text.{k}": v for k, v in run_probe(model, "text_encoder", inputs["text_encoder"], dtype=dtype).items()}}


def check_storage(model, folder, parts, inputs, rng):
    """Shards and narrower types are ways to store the same numbers. Not bit by bit: the last bit of a matrix product can
    depend on where in memory, and so where in a file, its weights begin."""
    want = outputs(model, inputs)
    shards = write_model_folder(folder / "shards", parts, max_shard_size=rng.choice([2_000, 9_000]))
    index = shards / "transformer" / "diffusion_pytorch_model.safetensors.index.json"
    expect(index.exists(), "the small shard size should give shards")
    half = write_model_folder(folder / "half", parts, dtype=torch.float16)
    for what, other in (("shards", shards), ("stored in float16", half)):
        for name, tensor in outputs(other, inputs).items():
            compare(f"{what}: {name}", tensor, want[name], atol=1e-5, rtol=1e-5)
    lost = sorted(index.parent.glob("*.safetensors"))[-1]
    lost.unlink()
    says("lost shard", refused_probe(shards, "transformer", inputs["transformer"]), lost.name, "is missing")
    for name, tensor in outputs(model, inputs, dtype="bfloat16").items():
        expect(tensor.dtype == torch.float32, f"{name}: {tensor.dtype} from a bfloat16 probe")
        expect(not torch.equal(tensor, want[name]), f"{name}: bfloat16 gave float32's numbers")
        compare(f"bfloat16 {name}", tensor, want[name], atol=0.3, rtol=0.3, min_rms=0.05)


def check_results(model, parts, inputs):
    text = run_probe(model, "text_encoder", inputs["text_encoder"])
    expect(set(text) == {"last_hidden_state", *(f"hidden_states.{i}" for i in range(LAYERS + 1))},
           f"the text encoder gives {sorted(text)}")
    steps = run_probe(model, "scheduler", inputs["scheduler"], steps=4)
    shapes = {name: list(tensor.shape) for name, tensor in steps.items()}
    expect(shapes == {"timesteps": [4], "sigmas": [5], "samples": [4, 2, 3]}, f"the scheduler gives {shapes}")
    ids = run_probe(model, "tokenizer", text="  a&amp;b\n word ", max_length=9)
    want = parts["tokenizer"](["a&b word"], padding="max_length", max_length=9, truncation=True, return_tensors="pt")
    for name in ("input_ids", "attention_mask"):
        expect(ids[name].dtype == torch.int64, f"{name} is {ids[name].dtype}")
        same(f"tokenizer {name}", ids[name], want[name])
    empty = run_probe(model, "tokenizer", text="", max_length=4)
    expect(empty["attention_mask"].tolist() == [[1, 0, 0, 0]], f"the empty text gives {empty}")


def check_trace(model, inputs):
    options = {"transformer": {}, "vae": {"method": "decode"}, "text_encoder": {}}
    for component, more in options.items():
        plain = run_probe(model, component, inputs[component], **more)
        traced, rows = run_probe(model, component, inputs[component], trace=True, **more)
        for name, tensor in plain.items():
            same(f"{component} with a trace: {name}", traced[name], tensor)
        expect(len(rows) > LAYERS, f"{component}: only {len(rows)} rows of trace")
        for row in rows:
            expect(set(row) == {"layer", "shape", "dtype", "mean", "std", "min", "max", "l2"}, f"trace row {row}")
            expect(row["min"] <= row["mean"] <= row["max"], f"trace row {row}")
        expect(len({row["layer"] for row in rows}) > LAYERS, f"{component}: the layers of the trace have no names")


def case(rng, folder):
    parts = small_components(rng, dtype=torch.float16)
    model = write_model_folder(folder / "model", parts)
    inputs = inputs_of(rng, batch=1)
    check_command_line(model, folder)
    check_options(model, inputs)
    check_inputs(model, inputs, rng)
    check_model(model, folder, inputs, rng)
    check_results(model, parts, inputs)
    check_storage(model, folder, parts, inputs, rng)
    check_trace(model, inputs)


if __name__ == "__main__":
    sys.exit(run_cases(case, count=1))
