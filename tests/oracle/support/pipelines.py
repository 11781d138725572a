"""Tiny random WanPipelines, shaped as the published ones and otherwise, and their model folders."""
import dataclasses

import diffusers
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

from .folders import write_model_folder
from .parameters import randomize_parameters

PROMPTS = [
    "a red circle moving left on a blue background",
    "“Curly quotes” &amp; a cat’s whiskers — close-up",
    "ﬁlm of ｆｕｌｌ width letters,   many   spaces",
    "ein Haus am See, über den Wolken",
    "一只猫在草地上奔跑",
    "x",
]
NEGATIVE = ["", "blurry, low quality", "模糊"]


def small_tokenizer(rng):
    pieces = {c for prompt in PROMPTS + NEGATIVE for c in prompt if not c.isspace()} | set("abcdefghijklmnopqrstuvwxyz")
    words = {"▁" + w for prompt in PROMPTS for w in prompt.split() if rng.chance(0.6)}
    vocab = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -20.0), ("▁", -4.0)]
    vocab += [(piece, -rng.uniform(1.0, 9.0)) for piece in sorted(pieces | words)]
    tokenizer = Tokenizer(models.Unigram(vocab, unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme="always")])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)])
    return len(vocab), PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>",
                                               unk_token="<unk>", extra_special_tokens=[])


def random_transformer(rng, channels, text_dim, patch_size=(1, 2, 2)):
    heads = rng.choice([1, 2, 3])
    return diffusers.WanTransformer3DModel(
        patch_size=patch_size, num_attention_heads=heads, attention_head_dim=rng.choice([12, 16, 24]), in_channels=channels,
        out_channels=channels, text_dim=text_dim, freq_dim=rng.choice([16, 32]), ffn_dim=rng.choice([32, 48]),
        num_layers=rng.choice([1, 2]), cross_attn_norm=rng.chance(0.7), qk_norm="rms_norm_across_heads")


def wan21_vae(rng, channels):
    """8 pixels and 4 frames a latent."""
    return diffusers.AutoencoderKLWan(base_dim=8, z_dim=channels, dim_mult=[1, 2, 2, 2], num_res_blocks=1,
                                      **random_statistics(rng, channels))


def wan22_vae(rng, channels):
    """As TI2V-5B's: patches of 2 pixels, averaging shortcuts, another width for the decoder; 16 pixels a latent."""
    return diffusers.AutoencoderKLWan(
        base_dim=8, decoder_base_dim=12, z_dim=channels, dim_mult=[1, 2, 4, 4], num_res_blocks=2, is_residual=True,
        patch_size=2, in_channels=12, out_channels=12, scale_factor_spatial=16, scale_factor_temporal=4,
        temperal_downsample=[False, True, True], **random_statistics(rng, channels))


def any_vae(rng, channels):
    """Any number of levels; time shrunk in any of them, so by 1 to 8."""
    levels, residual, patch = rng.choice([1, 2, 3, 4, 4]), rng.chance(0.5), rng.choice([None, 1, 2, 2, 3])
    temporal = [rng.chance(0.6) for _ in range(levels - 1)]
    if residual:  # what its shortcuts can average and repeat
        mult = sorted(rng.choice([1, 2]) for _ in range(levels - 1)) or [1]
        mult += mult[-1:] * (levels - len(mult))
    else:
        mult = [rng.choice([1, 2, 3]) for _ in range(levels)]
    pixels = 3 * (patch or 1) ** 2
    return diffusers.AutoencoderKLWan(
        base_dim=rng.choice([4, 8]), decoder_base_dim=rng.choice([None, 6]), z_dim=channels, dim_mult=mult,
        num_res_blocks=rng.choice([1, 2]), attn_scales=rng.choice([[], [], [1.0], [0.5]]), temperal_downsample=temporal,
        is_residual=residual, patch_size=patch, in_channels=pixels, out_channels=pixels,
        scale_factor_temporal=2 ** sum(temporal), scale_factor_spatial=2 ** (levels - 1) * (patch or 1),
        **random_statistics(rng, channels))


def random_statistics(rng, channels):
    return {"latents_mean": [rng.uniform(-0.5, 0.5) for _ in range(channels)],
            "latents_std": [rng.uniform(0.5, 2.0) for _ in range(channels)]}


def usual_scheduler(rng):
    if rng.chance(0.6):
        return diffusers.UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=rng.choice([1.0, 3.0, 5.0]),
            solver_order=rng.choice([1, 2, 3]))
    return diffusers.FlowMatchEulerDiscreteScheduler(shift=rng.choice([1.0, 3.0]))


def wan_unipc(flow_shift):
    """The published scheduler_config.json, in full."""
    return diffusers.UniPCMultistepScheduler(
        beta_end=0.02, beta_schedule="linear", beta_start=0.0001, disable_corrector=[], dynamic_thresholding_ratio=0.995,
        final_sigmas_type="zero", flow_shift=flow_shift, lower_order_final=True, num_train_timesteps=1000, predict_x0=True,
        prediction_type="flow_prediction", rescale_betas_zero_snr=False, sample_max_value=1.0, solver_order=2,
        solver_type="bh2", steps_offset=0, thresholding=False, timestep_spacing="linspace", use_beta_sigmas=False,
        use_exponential_sigmas=False, use_flow_sigmas=True, use_karras_sigmas=False)


def any_scheduler(rng):
    """The variants that flow models are run with. All fields: test_schedulers.py."""
    if rng.chance(0.4):
        spacing = rng.choice(["", "", "karras", "exponential", "beta"])
        return diffusers.FlowMatchEulerDiscreteScheduler(
            shift=rng.uniform(0.5, 8), **({f"use_{spacing}_sigmas": True} if spacing else {}),
            shift_terminal=rng.choice([None, None, 0.05]), num_train_timesteps=rng.choice([1000, 500]))
    karras = rng.chance(0.2)
    return diffusers.UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=rng.uniform(0.5, 8),
        solver_order=rng.choice([1, 2, 3]), use_karras_sigmas=karras,
        final_sigmas_type=rng.choice(["zero", "zero", "sigma_min"]),
        disable_corrector=rng.sample(range(4), rng.choice([0, 0, 2])), thresholding=rng.chance(0.1),
        shift_terminal=None if karras else rng.choice([None, None, 0.05]))


def random_pipeline(rng, channels=None, vae=wan21_vae, scheduler=usual_scheduler, patch_size=(1, 2, 2), boundary_ratio=None,
                    two_experts=None, expand_timesteps=None, dtype=None):
    """What is None is drawn. dtype: that the weights' values are exact in."""
    vocabulary, tokenizer = small_tokenizer(rng)
    text_dim, few = rng.choice([16, 24]), rng.choice([4, 8])
    channels = channels or few
    text_encoder = UMT5EncoderModel(UMT5Config(
        vocab_size=vocabulary, d_model=text_dim, d_kv=8, d_ff=32, num_layers=2, num_heads=2, feed_forward_proj="gated-gelu"))
    vae, scheduler = vae(rng, channels), scheduler(rng)
    if two_experts is None:
        two_experts = rng.chance(0.3)
    modules = {"transformer": random_transformer(rng, channels, text_dim, patch_size), "vae": vae,
               "text_encoder": text_encoder,
               "transformer_2": random_transformer(rng, channels, text_dim, patch_size) if two_experts else None}
    for module in modules.values():
        if module is not None:
            randomize_parameters(module.eval(), rng, dtype)
    if two_experts and boundary_ratio is None:
        boundary_ratio = rng.uniform(0.4, 0.9)
    if expand_timesteps is None:
        expand_timesteps = rng.chance(0.3)
    return diffusers.WanPipeline(tokenizer=tokenizer, scheduler=scheduler, expand_timesteps=expand_timesteps,
                                 boundary_ratio=boundary_ratio, **modules)


def save_pipeline(pipeline, folder, dtype=None, max_shard_size=None):
    """save_pretrained's layout, with the tokenizer named as Wan's checkpoints name it."""
    components = {key: getattr(pipeline, key)
                  for key in ("text_encoder", "vae", "transformer", "transformer_2", "scheduler")}
    components["tokenizer"] = ("transformers", "T5TokenizerFast", pipeline.tokenizer.save_pretrained)
    return write_model_folder(folder, components, dtype=dtype, max_shard_size=max_shard_size, extra={
        "boundary_ratio": pipeline.config.boundary_ratio, "expand_timesteps": pipeline.config.expand_timesteps})


@dataclasses.dataclass
class Ratios:
    """What a pipeline's sizes must be multiples of."""
    frames: int  # a latent frame
    height: int
    width: int
    patch_frames: int

    @classmethod
    def of(cls, pipeline):
        vae, patch = pipeline.vae.config, pipeline.transformer.config.patch_size
        return cls(vae.scale_factor_temporal, vae.scale_factor_spatial * patch[1], vae.scale_factor_spatial * patch[2],
                   patch[0])

    def num_frames(self, patches):
        """Of `patches` patches along time."""
        return self.frames * (self.patch_frames * patches - 1) + 1
