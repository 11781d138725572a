"""Files of a repository on the Hub, and the names that the Hub gives to their contents."""
import hashlib
import json
import random


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def git_id(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def some_bytes(count, seed):
    return random.Random(seed).randbytes(count)


# What of pipeline_files a pipeline needs.
NEEDED = ["model_index.json", "scheduler/scheduler_config.json", "text_encoder/config.json",
          "text_encoder/model-00001-of-00002.safetensors", "text_encoder/model-00002-of-00002.safetensors",
          "text_encoder/model.safetensors.index.json", "tokenizer/spiece.model", "tokenizer/tokenizer.json",
          "tokenizer/tokenizer_config.json", "transformer/config.json",
          "transformer/diffusion_pytorch_model.safetensors", "vae/config.json",
          "vae/diffusion_pytorch_model.safetensors"]


def pipeline_files(size=100_000):
    """A repository in the Diffusers layout with all that such ones have besides; the weights are no tensors."""
    def text(value):
        return json.dumps(value, indent=2).encode()

    shards = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    return {
        ".gitattributes": b"*.safetensors filter=lfs\n",
        "README.md": b"# A model\n",
        "assets/picture.png": some_bytes(3000, "picture"),
        "model_index.json": text({
            "_class_name": "WanPipeline", "_diffusers_version": "0.42.1", "boundary_ratio": None,
            "scheduler": ["diffusers", "UniPCMultistepScheduler"], "text_encoder": ["transformers", "UMT5EncoderModel"],
            "tokenizer": ["transformers", "T5TokenizerFast"], "transformer": ["diffusers", "WanTransformer3DModel"],
            "transformer_2": [None, None], "vae": ["diffusers", "AutoencoderKLWan"]}),
        "scheduler/scheduler_config.json": text({"_class_name": "UniPCMultistepScheduler"}),
        "text_encoder/config.json": text({"d_model": 8}),
        "text_encoder/model.safetensors.index.json": text({"weight_map": {"a": shards[0], "b": shards[1], "c": shards[0]}}),
        "text_encoder/" + shards[0]: some_bytes(size, "shard 1"),
        "text_encoder/" + shards[1]: some_bytes(size // 2, "shard 2"),
        "text_encoder/pytorch_model.bin": some_bytes(size, "pickle"),
        "tokenizer/tokenizer.json": text({"version": "1.0"}),
        "tokenizer/tokenizer_config.json": text({"model_max_length": 512}),
        "tokenizer/spiece.model": some_bytes(5000, "spiece"),
        "transformer/config.json": text({"_class_name": "WanTransformer3DModel"}),
        "transformer/diffusion_pytorch_model.safetensors": some_bytes(size * 3, "transformer"),
        "transformer/diffusion_pytorch_model.fp16.safetensors": some_bytes(size, "half"),
        "vae/config.json": text({"_class_name": "AutoencoderKLWan"}),
        "vae/diffusion_pytorch_model.safetensors": some_bytes(size, "vae"),
        "vae/diffusion_pytorch_model.bin": some_bytes(size, "vae pickle"),
    }
