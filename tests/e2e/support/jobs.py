"""A tiny random Wan model, and jobs for it."""
import json
import shutil

from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from oracle.support import Rng
from oracle.test_wan_pipeline import random_pipeline, save_pipeline

WORDS = ["a red circle", "a blue square", "a cat on grass", "a house at the lake", "x", "two boats"]


def expect(condition, message):
    if not condition:
        raise AssertionError(message)


def tiny_model(folder):
    """A WanPipeline of a few thousand random parameters, always the same one; a step takes milliseconds."""
    return save_pipeline(random_pipeline(Rng("e2e")), folder)


def poisoned(model, folder, word="poison"):
    """A copy of the model whose clips are NaN for prompts with `word`: the embeddings of tokens only it has are."""
    shutil.copytree(model, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer")
    only = set(tokenizer(word).input_ids) - {token for text in WORDS for token in tokenizer(text).input_ids}
    expect(only, f"every token of '{word}' occurs in other prompts")
    weights = folder / "text_encoder" / "model.safetensors"
    tensors = load_file(weights)
    tensors["shared.weight"][sorted(only)] = float("nan")
    save_file(tensors, weights)
    return folder


def write_job(folder, model, count=6, name="job", output="out", rows=None, steps=4, save=("video", "latents", "frames"), **more):
    """Writes <name>.yaml and <name>.jsonl; returns the job file. Items clip-0 ... take different times."""
    if rows is None:
        rows = [{"id": f"clip-{i}", "prompt": WORDS[i % len(WORDS)], "seed": 100 + i, "num_frames": 1 + 4 * (i % 3)}
                for i in range(count)]
    prompts = folder / f"{name}.jsonl"
    prompts.write_text("".join(json.dumps(row) + "\n" for row in rows))
    job = {"job": "generate", "model": str(model), "prompts": str(prompts), "output": str(folder / output),
           "save": list(save), "device": "cpu",
           "parallel": {"cfg": 1, "sp": 1, "dit_tp": 1},  # a rank a clip, so that any number of ranks makes the same bytes
           "sampling": {"height": 32, "width": 32, "num_frames": 5, "fps": 8, "num_inference_steps": steps,
                        "guidance_scale": 3.0, "max_sequence_length": 16}, **more}
    path = folder / f"{name}.yaml"
    path.write_text(json.dumps(job))
    return path
