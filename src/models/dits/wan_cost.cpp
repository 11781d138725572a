// Counted as wan.cpp works: a product of n x k by k x m is 2nkm operations, attention of n queries to m keys
// over a width d 4nmd. "Moved" are the bytes that layers without products read and write.

#include "models/dits/wan_cost.h"

#include <algorithm>

#include "dist/traffic.h"

namespace rushes {
namespace {

constexpr double kImageTokens = 257;  // of CLIP ViT-H/14: 16 x 16 patches and the class

double real(int64_t n) {
  return static_cast<double>(n);
}

/// The sizes of one rank's part, by the names of the house: tokens are split over sp, heads and the
/// feed-forward part's inside over dit_tp, heads during attention over ulysses too.
struct Part {
  int64_t all_tokens = 0;   // of the clip
  int64_t tokens = 0;       // of this rank
  int64_t group = 0;        // of its Ulysses group: queries of its attention, and keys of one ring step
  int64_t tp_heads = 0;     // of this rank's columns
  int64_t heads = 0;        // of those, in attention
  int64_t ffn = 0;          // of this rank's columns
  int64_t text = 0;         // tokens of text and images
  double dim = 0, own = 0;  // the model's width, this rank's columns of it
  bool keeps_keys = false;

  Part(const WanConfig& c, const WanClip& clip, const Split& split, const Seat& seat) {
    all_tokens =
        (clip.frames / c.patch_size[0]) * (clip.height / c.patch_size[1]) * (clip.width / c.patch_size[2]);
    const int64_t place = seat.ring * split.ulysses + seat.ulysses;
    tokens = even_size(all_tokens, split.sp(), place);
    group = even_start(all_tokens, split.sp(), (seat.ring + 1) * split.ulysses) -
            even_start(all_tokens, split.sp(), seat.ring * split.ulysses);
    tp_heads = even_size(c.num_attention_heads, split.dit_tp, seat.dit_tp);
    heads = even_size(tp_heads, split.ulysses, seat.ulysses);
    ffn = even_size(c.ffn_dim, split.dit_tp, seat.dit_tp);
    text = clip.text_tokens;
    if (c.image_dim) text += static_cast<int64_t>(kImageTokens) * (c.pos_embed_seq_len ? 2 : 1);
    dim = real(c.dim());
    own = real(tp_heads * c.attention_head_dim);
    keeps_keys = WanConfig::keeps_text_keys(clip.text_tokens, tokens);
  }
};

/// What the text gives to every block: its embedding, and each block's keys and values. Where they are kept,
/// this is done once a clip and prompt, else at every forward.
Load text_load(const WanConfig& c, const Part& p, const Split& split) {
  const double layers = real(c.num_layers), text = real(p.text);
  Load load;
  load.matmul_flops = 2 * text * p.dim * (real(c.text_dim) + p.dim) + layers * 4 * text * p.dim * p.own;
  load.calls = 2 + 3 * layers;
  // The norm of the keys spans all heads: one float32 sum a token.
  load.send(Group::dit_tp, all_reduce_bytes(p.text, kFloat32Bytes, split.dit_tp, 0), layers);
  return load;
}

/// One forward without the text's part.
Load forward_load(const WanConfig& c, const WanClip& clip, const Part& p, const Split& split,
                  const Seat& seat) {
  const double layers = real(c.num_layers), tokens = real(p.tokens), text = real(p.text);
  const double width = real(p.heads * c.attention_head_dim);
  Load load;
  // q, k, v, out of self-attention; q, out of cross-attention; the feed-forward part's two.
  load.matmul_flops = layers * (12 * tokens * p.dim * p.own + 4 * tokens * p.dim * real(p.ffn)) +
                      2 * tokens * p.dim * real(c.patch_volume() * (c.in_channels + c.out_channels)) +
                      2 * p.dim * (real(c.freq_dim) + 7 * p.dim);
  load.attention_flops =
      layers * (4 * real(p.group) * real(p.all_tokens) * width + 4 * tokens * text * p.own);
  load.scores =
      layers * (real(p.group) * real(p.all_tokens) * real(p.heads) + tokens * text * real(p.tp_heads));
  // Of a token, read and written: two modulated norms, the norm before cross-attention, two gated sums and a
  // plain one (15 widths); norms of q, k and the cross-attention's q, rotations of q and k (10 own widths);
  // the feed-forward part's inside, through its GELU.
  load.moved_bytes = layers * tokens * real(clip.element) * (15 * p.dim + 10 * p.own + 2 * real(p.ffn));
  // In and out of eight dense layers (14 widths, and the feed-forward part's inside twice) and of attention
  // (6); and the blocks' weights.
  load.product_bytes = layers * real(clip.element) *
                       (tokens * (14 * p.dim + 6 * p.own + 2 * real(p.ffn)) +
                        (8 * p.dim * p.own + 2 * p.dim * real(p.ffn)) / 2);
  load.calls = 22 * layers + 16;

  const double sums = 3 * layers;  // after self-attention, cross-attention and the feed-forward part
  load.send(Group::dit_tp, all_reduce_bytes(p.tokens * c.dim(), clip.element, split.dit_tp, seat.dit_tp),
            sums);
  load.send(Group::dit_tp, all_reduce_bytes(p.tokens, kFloat32Bytes, split.dit_tp, seat.dit_tp), sums);
  const Ulysses trade{p.group, p.tp_heads, c.attention_head_dim, clip.element, split.ulysses};
  load.send(Group::ulysses, ulysses_bytes(trade, seat.ulysses), layers);
  if (split.ulysses > 1) load.to(Group::ulysses).exchanges += layers;  // there and back
  const int64_t hops = split.ring - 1;
  load.send(Group::ring, ring_bytes(p.group, p.heads, c.attention_head_dim, clip.element, split.ring),
            layers);
  if (hops > 1) load.to(Group::ring).exchanges += layers * real(hops - 1);
  load.send(Group::sp,
            all_gather_bytes(p.tokens * c.out_channels * c.patch_volume() * clip.element, split.sp()));
  return load;
}

/// The fullest moments of a block on this rank.
double activation_bytes(const WanConfig& c, const WanClip& clip, const Part& p, const Split& split) {
  const double tokens = real(p.tokens), element = real(clip.element);
  // The stream and its norm, with q, k, v and what attention gives; or with the feed-forward part's inside
  // and its result.
  double block = tokens * element * std::max(2 * p.dim + 4 * p.own, 3 * p.dim + real(p.ffn));
  // Packed q, k, v on both sides of the exchange, keys and values on their way round, sums in float32.
  if (split.ulysses > 1) block += tokens * element * 6 * p.own;
  if (split.ring > 1) block += real(p.group * p.heads * c.attention_head_dim) * element * 4;
  if (split.dit_tp > 1) block += tokens * p.dim * 2 * real(kFloat32Bytes);
  const double prompts = clip.guided && split.cfg == 1 ? 2 : 1;
  const double kept = p.keeps_keys ? prompts * real(c.num_layers) * 2 * real(p.text) * p.own * element : 0;
  const double rotations = real(p.all_tokens * c.attention_head_dim) * 2 * kFloat32Bytes;
  // The latents, two predictions and the scheduler's three kept ones, in float32.
  const double latents = 6 * real(c.out_channels * clip.frames * clip.height * clip.width) * kFloat32Bytes;
  return block + kept + rotations + latents;
}

/// Parameters on this rank: the blocks' products are split over dit_tp, all else is whole.
double weight_bytes(const WanConfig& c, const WanClip& clip, const Part& p) {
  const double dim = p.dim, split_columns = dim * (8 * (dim - p.own) + 2 * (real(c.ffn_dim - p.ffn)));
  return real(clip.element) * (real(wan_parameter_count(c)) - real(c.num_layers) * split_columns);
}

}  // namespace

Load wan_denoising_load(const WanConfig& config, const WanClip& clip, const Split& split, const Seat& seat) {
  const Part part(config, clip, split, seat);
  const double prompts = clip.guided ? 2 : 1;
  const double forwards = prompts / real(split.cfg);  // a step, of this rank
  Load load;
  load.add(forward_load(config, clip, part, split, seat), forwards * real(clip.steps));
  load.add(text_load(config, part, split), forwards * (part.keeps_keys ? 1 : real(clip.steps)));
  // Guidance and the scheduler pass over the latents some twenty times a step, in float32.
  const double latents = real(config.out_channels * clip.frames * clip.height * clip.width);
  load.moved_bytes += real(clip.steps) * 40 * latents * kFloat32Bytes;
  load.calls += real(clip.steps) * 24;
  load.steps = real(clip.steps);
  if (split.cfg > 1) {
    load.send(Group::cfg, static_cast<int64_t>(latents) * clip.element * (split.cfg - 1), real(clip.steps));
  }
  load.weight_bytes = weight_bytes(config, clip, part);
  load.activation_bytes = activation_bytes(config, clip, part, split);
  return load;
}

Cost wan_transformer_cost(const nlohmann::json& config, int64_t frames, int64_t height, int64_t width,
                          int64_t text_tokens, int64_t batch) {
  const WanConfig c = read_wan_config(config, "transformer config");
  const double tokens =
      real(frames / c.patch_size[0] * (height / c.patch_size[1]) * (width / c.patch_size[2]));
  const double dim = real(c.dim()), ffn = real(c.ffn_dim), text = real(text_tokens);
  const double image_dim = real(c.image_dim.value_or(0));
  const double images = c.image_dim ? kImageTokens * (c.pos_embed_seq_len ? 2 : 1) : 0;

  const double own = 8 * tokens * dim * dim + 4 * tokens * tokens * dim;
  const double cross =
      4 * tokens * dim * dim + 4 * (text + images) * dim * dim + 4 * tokens * (text + images) * dim;
  const double block = own + cross + 4 * tokens * dim * ffn;
  const double patches = 2 * tokens * dim * real(c.patch_volume() * (c.in_channels + c.out_channels));
  const double conditions = 2 * dim * (real(c.freq_dim) + 7 * dim) +
                            2 * text * dim * (real(c.text_dim) + dim) +
                            2 * images * image_dim * (image_dim + dim);

  Cost cost;
  cost.flops = real(batch) * (real(c.num_layers) * block + patches + conditions);
  cost.weight_bytes = 4 * real(wan_parameter_count(c));
  // The fullest moments of a block: the stream, its norm, q, k, v and what attention gives; or the stream,
  // its norm, the feed-forward part's inside and its result.
  cost.activation_bytes = 4 * real(batch) * tokens * std::max(6 * dim, 3 * dim + ffn);
  return cost;
}

}  // namespace rushes
