"""The four tiny models of the `shapes` checkpoint, from diffusers' and transformers' own classes, and exact short cuts
that make training them cheap. The short cuts change no weight and no result: `test_models.py` compares them."""
import io
import math
import shutil
from collections import Counter
from pathlib import Path

import sentencepiece
import torch
from diffusers import AutoencoderKLWan, UniPCMultistepScheduler, WanTransformer3DModel
from diffusers.models.autoencoders import autoencoder_kl_wan
from diffusers.models.transformers.transformer_wan import WanAttnProcessor
from sentencepiece import sentencepiece_model_pb2
from torch import nn
from transformers import AutoTokenizer, T5TokenizerFast, UMT5Config, UMT5EncoderModel

import generate

LATENT_CHANNELS = 16
TEXT_LENGTH = 512


def make_vae():
    vae = AutoencoderKLWan(
        base_dim=16,
        z_dim=LATENT_CHANNELS,
        dim_mult=[1, 2, 4, 4],
        num_res_blocks=1,
        attn_scales=[],
        temperal_downsample=[False, True, True],
    )
    fix_log_variance(vae)
    return vae


def fix_log_variance(vae, value=-8.0):
    """Training uses the posterior's mean alone; its log variance is a small constant."""
    with torch.no_grad():
        vae.quant_conv.weight[LATENT_CHANNELS:] = 0
        vae.quant_conv.bias[LATENT_CHANNELS:] = value


def make_transformer():
    return WanTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=6,
        attention_head_dim=32,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        text_dim=64,
        freq_dim=256,
        ffn_dim=576,
        num_layers=5,
        cross_attn_norm=True,
        qk_norm="rms_norm_across_heads",
        eps=1e-6,
    )


def make_text_encoder(tokenizer):
    return UMT5EncoderModel(
        UMT5Config(
            vocab_size=len(tokenizer),
            d_model=64,
            d_kv=16,
            d_ff=128,
            num_layers=2,
            num_heads=4,
            relative_attention_num_buckets=32,
            relative_attention_max_distance=128,
            dropout_rate=0.0,
            feed_forward_proj="gated-gelu",
            tie_word_embeddings=False,
        )
    )


def make_scheduler():
    return UniPCMultistepScheduler(
        prediction_type="flow_prediction",
        use_flow_sigmas=True,
        flow_shift=3.0,
        solver_order=2,
        num_train_timesteps=1000,
    )


def make_tokenizer(folder):
    """Trains a Unigram model on the captions, in which every printable ASCII character has a piece, and gives each of
    the captions' words a piece of its own. Writes spiece.model, tokenizer.json and tokenizer_config.json."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    captions = [c.caption() for c in generate.all_combinations()]
    trained = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(captions),
        model_writer=trained,
        model_type="unigram",
        vocab_size=160,
        hard_vocab_limit=False,
        required_chars="".join(map(chr, range(33, 127))),
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        num_threads=1,
        minloglevel=2,
    )
    model = sentencepiece_model_pb2.ModelProto.FromString(trained.getvalue())
    add_words(model, captions)
    (folder / "spiece.model").write_bytes(model.SerializeToString())
    return save_tokenizer(folder)


def add_words(model, captions):
    counts = Counter("\u2581" + word for caption in captions for word in caption.split())
    present = {piece.piece for piece in model.pieces}
    for word in sorted(counts.keys() - present):
        model.pieces.add(piece=word, score=math.log(counts[word] / counts.total()))


def save_tokenizer(folder):
    tokenizer = T5TokenizerFast.from_pretrained(folder, extra_ids=0, model_max_length=TEXT_LENGTH)
    tokenizer.save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


def whole_clip_resample(self, x, feat_cache=None, feat_idx=None):
    """`WanResample.forward` over a whole clip at once, equal to diffusers' run over chunks with caches."""
    if feat_cache is not None:
        return self.chunked_forward(x, feat_cache, feat_idx)
    batch, channels, frames, height, width = x.shape
    if self.mode == "upsample3d" and frames > 1:
        rest = self.time_conv(x[:, :, 1:]).reshape(batch, 2, channels, frames - 1, height, width)
        rest = rest.permute(0, 2, 3, 1, 4, 5).reshape(batch, channels, 2 * (frames - 1), height, width)
        x = torch.cat([x[:, :, :1], rest], 2)
    frames = x.shape[2]
    x = self.resample(x.permute(0, 2, 1, 3, 4).reshape(batch * frames, channels, height, width))
    x = x.unflatten(0, (batch, frames)).permute(0, 2, 1, 3, 4)
    if self.mode == "downsample3d" and frames > 1:
        x = torch.cat([x[:, :, :1], self.time_conv(x)], 2)
    return x


def quick_rms_norm(self, x):
    """`WanRMS_norm.forward` in operations that are quick on a CPU, also backwards."""
    size = x.float().square().sum(1, keepdim=True).sqrt().clamp_min(1e-12)
    return (x / size).to(x.dtype) * self.scale * self.gamma


def use_whole_clips():
    """From here on `vae.encoder` and `vae.decoder` take whole clips when given no cache."""
    resample = autoencoder_kl_wan.WanResample
    if not hasattr(resample, "chunked_forward"):
        resample.chunked_forward = resample.forward
        resample.forward = whole_clip_resample
        autoencoder_kl_wan.WanRMS_norm.forward = quick_rms_norm


def encode_means(vae, clips):
    """Latent means of clips [batch, 3, frames, height, width] in -1..1."""
    return vae.quant_conv(vae.encoder(clips))[:, :LATENT_CHANNELS]


def decode_clips(vae, latents):
    return vae.decoder(vae.post_quant_conv(latents))


class PaddedTextProcessor(WanAttnProcessor):
    """Cross-attention in which the last text token stands for all padding.

    WanPipeline pads the text with zeros to max_sequence_length and the transformer attends to the padding. All of it
    has one key and one value, so one zero token whose logit is raised by log(count) gives the same result.
    """

    bias = None

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, rotary_emb=None):
        return super().__call__(attn, hidden_states, encoder_hidden_states, self.bias, rotary_emb)


def use_padded_text(transformer):
    """Makes `transformer` read texts whose padding is one token; answers with the function that sets its count."""
    processor = PaddedTextProcessor()
    for block in transformer.blocks:
        block.attn2.set_processor(processor)

    def set_padding(tokens, count):
        processor.bias = torch.zeros(1, 1, 1, tokens + 1)
        processor.bias[..., -1] = math.log(count)

    return set_padding


class TextEmbedder(nn.Module):
    """Captions to what WanPipeline feeds the transformer, with one zero token in place of the padding."""

    def __init__(self, tokenizer, encoder):
        super().__init__()
        self.tokenizer = tokenizer
        self.encoder = encoder

    def forward(self, captions):
        tokens = self.tokenizer(captions, padding=True, return_tensors="pt")
        hidden = self.encoder(tokens.input_ids, tokens.attention_mask).last_hidden_state
        hidden = hidden * tokens.attention_mask.unsqueeze(-1)
        return torch.cat([hidden, hidden.new_zeros(hidden.shape[0], 1, hidden.shape[2])], 1)


def load_tokenizer(folder):
    return AutoTokenizer.from_pretrained(Path(folder))
