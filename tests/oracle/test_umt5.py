"""UMT5EncoderModel and T5EncoderModel against transformers: random configs, random values in all parameters.

float32 at atol = rtol = 1e-4, last_hidden_state and every hidden state, with padding and batches. In 16 bits both sides
round after each operation, at places of their own choosing: there each is held to transformers in float32, and ours may
be off by no more than twice what transformers' own 16 bits are.
"""
import json
import sys

import torch
import transformers
from safetensors.torch import load_file, save_file

from oracle.support import compare, expect, randomize_parameters, refused_probe, run_cases, run_probe, write_model_folder

ACTIVATIONS = ["gated-gelu", "gated-gelu", "gated-silu", "gated-relu", "relu", "gelu", "gated-gelu_new", "silu", "gated-quick_gelu",
               "gelu_pytorch_tanh", "tanh", "gated-sigmoid", "gated-linear"]
transformers.logging.set_verbosity_error()


def random_config(rng):
    return dict(vocab_size=rng.randrange(20, 300), d_model=rng.choice([8, 24, 48, 64]), d_kv=rng.choice([4, 8, 16, 20]),
                d_ff=rng.choice([16, 40, 96]), num_layers=rng.randrange(1, 4), num_heads=rng.randrange(1, 6),
                relative_attention_num_buckets=rng.choice([4, 5, 6, 16, 17, 32]),
                relative_attention_max_distance=rng.choice([9, 20, 33, 128]), feed_forward_proj=rng.choice(ACTIVATIONS),
                layer_norm_epsilon=rng.choice([1e-6, 1e-5, 1e-2]))


def random_inputs(rng, vocab_size):
    batch, tokens = rng.randrange(1, 4), rng.choice([1, 2, 7, 30, 75, 160])
    mask = torch.ones(batch, tokens, dtype=torch.int64)
    for row in mask:
        kind = rng.randrange(5)
        if kind == 0:
            row[rng.randrange(1, tokens + 1):] = 0  # as tokenizers pad
        elif kind == 1:
            row[:rng.randrange(tokens)] = 0
        elif kind == 2:
            row.copy_(rng.integers(0, rng.randrange(2), (tokens,)))  # holes, or padding alone
    return {"input_ids": rng.integers(0, vocab_size - 1, (batch, tokens)), "attention_mask": mask}


def with_names(path, change):
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def case(rng, folder):
    variant = rng.choice(["UMT5", "UMT5", "T5"])
    config_class, model_class = getattr(transformers, variant + "Config"), getattr(transformers, variant + "EncoderModel")
    settings = random_config(rng)
    model = model_class(config_class(**settings)).eval()
    randomize_parameters(model, rng, dtype=torch.bfloat16)
    write_model_folder(folder / "model", {"text_encoder": model}, max_shard_size=rng.choice([None, None, 20000]))
    component = folder / "model" / "text_encoder"
    inputs = random_inputs(rng, model.config.vocab_size)
    print(f"{variant} {settings} input_ids {list(inputs['input_ids'].shape)}")

    single = component / "model.safetensors"
    if single.exists() and rng.chance(0.5):
        def rename(tensors):
            table = tensors["shared.weight"]
            kind = rng.randrange(3)
            tensors["encoder.embed_tokens.weight"] = table.clone() if kind else tensors.pop("shared.weight") * 1
            if kind == 2:  # untied: the encoder's own table counts
                tensors["shared.weight"] = table + 1
            if rng.chance(0.3):
                tensors["decoder.final_layer_norm.weight"] = torch.ones(4)
                tensors["lm_head.weight"] = torch.ones(4)
        with_names(single, rename)
    reference = model_class.from_pretrained(component).eval()
    with torch.no_grad():
        want = reference(**inputs, output_hidden_states=True)
    got, trace = run_probe(folder / "model", "text_encoder", inputs, trace=True)
    compare("last_hidden_state", got["last_hidden_state"], want.last_hidden_state)
    for i, state in enumerate(want.hidden_states):
        compare(f"hidden_states.{i}", got[f"hidden_states.{i}"], state)
    expect(f"hidden_states.{len(want.hidden_states)}" not in got, "too many hidden states")
    expect(len(trace) >= model.config.num_layers + 2, f"trace rows: {trace}")

    for dtype in (torch.bfloat16, torch.float16):
        other = model_class.from_pretrained(component, dtype=dtype).eval()
        with torch.no_grad():
            rounded = other(**inputs).last_hidden_state.double()
        ours = run_probe(folder / "model", "text_encoder", inputs, dtype=str(dtype).removeprefix("torch."))
        exact = want.last_hidden_state.double()
        own, theirs = (ours["last_hidden_state"].double() - exact), (rounded - exact)
        print(f"  {dtype}: off by {own.pow(2).mean().sqrt():.2e} rms where transformers is by "
              f"{theirs.pow(2).mean().sqrt():.2e}, of {exact.pow(2).mean().sqrt():.2e}; {own.abs().max():.2e} at most "
              f"({theirs.abs().max():.2e})")
        expect(own.pow(2).mean().sqrt() <= 2 * theirs.pow(2).mean().sqrt() + 1e-4, f"{dtype}: ours is less exact")

    refusals(rng, folder, model, inputs)


def refusals(rng, folder, model, inputs):
    wrong = {name: tensor.clone() for name, tensor in inputs.items()}
    wrong["input_ids"][0, -1] = rng.choice([model.config.vocab_size, -1])
    message = refused_probe(folder / "model", "text_encoder", wrong)
    expect(str(wrong["input_ids"][0, -1].item()) in message, f"id outside the vocabulary: {message}")
    path = folder / "model" / "text_encoder" / "config.json"
    plain = json.loads(path.read_text())
    for key, value in rng.sample([("novel_field", 1), ("is_decoder", True), ("feed_forward_proj", "gated-gelu-x"),
                                  ("d_model", 0), ("dense_act_fn", "xielu"), ("quantization_config", {"bits": 8}),
                                  ("relative_attention_num_buckets", 3)], 2):
        path.write_text(json.dumps({**plain, key: value}))
        message = refused_probe(folder / "model", "text_encoder", inputs)
        expect(key in message, f"{key}: {message}")
    path.write_text(json.dumps(plain))


if __name__ == "__main__":
    sys.exit(run_cases(case, count=8))
