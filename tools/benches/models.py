"""The models that are timed: configs of published widths, and a middle-sized pipeline with random weights."""
import json
import pathlib

# Wan 2.1 T2V 1.3B but for the number of layers: 4 of 30 fit a CPU's patience and have the same arithmetic each.
DIT = {"_class_name": "WanTransformer3DModel", "attention_head_dim": 128, "cross_attn_norm": True, "ffn_dim": 8960,
       "freq_dim": 256, "in_channels": 16, "num_attention_heads": 12, "num_layers": 4, "out_channels": 16,
       "patch_size": [1, 2, 2], "qk_norm": "rms_norm_across_heads", "rope_max_seq_len": 1024, "text_dim": 4096}
VAE = {"_class_name": "AutoencoderKLWan"}  # diffusers' defaults are Wan 2.1's


def write_configs(folder, layers=4):
    """A model folder with configs alone (for `rushes bench --invent-weights`)."""
    folder = pathlib.Path(folder)
    for name, config in (("transformer", {**DIT, "num_layers": layers}), ("vae", VAE)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "config.json").write_text(json.dumps(config))
    (folder / "model_index.json").write_text(json.dumps({
        "_class_name": "WanPipeline", "transformer": ["diffusers", DIT["_class_name"]],
        "vae": ["diffusers", VAE["_class_name"]]}))
    return folder


def write_middle_pipeline(folder, text_encoder_of):
    """12 heads x 64, 8 layers, VAE base 32, random weights; text encoder and tokenizer of the demo's checkpoint."""
    import diffusers
    import torch
    import transformers
    torch.manual_seed(1)
    encoder = transformers.UMT5EncoderModel.from_pretrained(pathlib.Path(text_encoder_of) / "text_encoder")
    tokenizer = transformers.AutoTokenizer.from_pretrained(pathlib.Path(text_encoder_of) / "tokenizer")
    dit = diffusers.WanTransformer3DModel(
        patch_size=(1, 2, 2), num_attention_heads=12, attention_head_dim=64, in_channels=16, out_channels=16,
        text_dim=encoder.config.d_model, freq_dim=256, ffn_dim=3072, num_layers=8)
    vae = diffusers.AutoencoderKLWan(base_dim=32, z_dim=16)
    scheduler = diffusers.UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0)
    diffusers.WanPipeline(tokenizer, encoder, vae, scheduler, dit).save_pretrained(folder)
    return pathlib.Path(folder)


def write_wide_pipeline(folder, text_encoder_of):
    """The published widths of Wan 2.1's 1.3B model in 4 layers and of its VAE, random weights; the demo's text encoder."""
    import diffusers
    import torch
    import transformers
    torch.manual_seed(1)
    encoder = transformers.UMT5EncoderModel.from_pretrained(pathlib.Path(text_encoder_of) / "text_encoder")
    tokenizer = transformers.AutoTokenizer.from_pretrained(pathlib.Path(text_encoder_of) / "tokenizer")
    dit = diffusers.WanTransformer3DModel(num_attention_heads=12, attention_head_dim=128, ffn_dim=8960, num_layers=4,
                                          text_dim=encoder.config.d_model)
    scheduler = diffusers.UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0)
    diffusers.WanPipeline(tokenizer, encoder, diffusers.AutoencoderKLWan(), scheduler, dit).save_pretrained(folder)
    return pathlib.Path(folder)
