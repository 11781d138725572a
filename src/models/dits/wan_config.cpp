#include "models/dits/wan_config.h"

#include <algorithm>

#include "config/json_fields.h"

namespace rushes {
namespace {

// No side of a matrix is longer in any model there is; it keeps products far from overflow.
constexpr double kLargest = 1 << 20;

void read_sizes(JsonFields& fields, WanConfig& c) {
  struct Size {
    const char* key;
    int64_t& value;
    double low;
    double high = kLargest;
  };
  for (const Size& size :
       {Size{"num_attention_heads", c.num_attention_heads, 1},
        Size{"attention_head_dim", c.attention_head_dim, 2}, Size{"in_channels", c.in_channels, 1},
        Size{"text_dim", c.text_dim, 1}, Size{"freq_dim", c.freq_dim, 2}, Size{"ffn_dim", c.ffn_dim, 1},
        Size{"num_layers", c.num_layers, 0, 1 << 16}, Size{"rope_max_seq_len", c.rope_max_seq_len, 1}}) {
    size.value = fields.integer(size.key, size.value);
    fields.range(size.key, static_cast<double>(size.value), size.low, size.high);
    // What was refused still goes into the checks that follow.
    size.value = std::clamp(size.value, static_cast<int64_t>(size.low), static_cast<int64_t>(size.high));
  }
  if (static_cast<double>(c.dim()) > kLargest) {
    fields.problem("num_attention_heads", "times attention_head_dim must be at most ",
                   static_cast<int64_t>(kLargest), ", is ", c.dim());
  }
  if (c.attention_head_dim % 2 != 0) {
    fields.problem("attention_head_dim", "must be even (rotary positions turn pairs), is ",
                   c.attention_head_dim);
  }
  const std::vector<int64_t> patch = fields.integers("patch_size", {1, 2, 2});
  if (patch.size() != 3) fields.problem("patch_size", "must have 3 numbers, has ", patch.size());
  for (size_t i = 0; i < 3 && patch.size() == 3; ++i) {
    fields.range("patch_size", static_cast<double>(patch[i]), 1, 64);
    c.patch_size[i] = patch[i];
  }
}

void read_image_fields(JsonFields& fields, WanConfig& c) {
  c.image_dim = fields.optional_integer("image_dim");
  c.added_kv_proj_dim = fields.optional_integer("added_kv_proj_dim");
  c.pos_embed_seq_len = fields.optional_integer("pos_embed_seq_len");
  for (const auto& [key, value] : {std::pair{"image_dim", c.image_dim},
                                   {"added_kv_proj_dim", c.added_kv_proj_dim},
                                   {"pos_embed_seq_len", c.pos_embed_seq_len}}) {
    if (value) fields.range(key, static_cast<double>(*value), 1, kLargest);
  }
  if (c.added_kv_proj_dim && *c.added_kv_proj_dim != c.dim()) {
    fields.problem("added_kv_proj_dim", "must be num_attention_heads * attention_head_dim = ", c.dim(),
                   ", the width of embedded images, is ", *c.added_kv_proj_dim);
  }
}

}  // namespace

WanConfig read_wan_config(const nlohmann::json& config, const std::string& where) {
  JsonFields fields(config, where);
  WanConfig c;
  read_sizes(fields, c);
  // null and 0 mean "as many as go in".
  c.out_channels = fields.optional_integer("out_channels", c.out_channels).value_or(0);
  if (c.out_channels == 0) c.out_channels = c.in_channels;
  fields.range("out_channels", static_cast<double>(c.out_channels), 1, kLargest);
  c.cross_attn_norm = fields.boolean("cross_attn_norm", c.cross_attn_norm);
  c.eps = fields.number("eps", c.eps);
  fields.range("eps", c.eps, 0, 1);
  read_image_fields(fields, c);
  // The reference takes any qk_norm and norms queries and keys over all heads whatever it says.
  fields.harmless({"qk_norm"});
  fields.only("window_size", {-1, -1});
  fields.finish();
  c.defaults_taken = fields.defaults_taken();
  return c;
}

int64_t wan_parameter_count(const WanConfig& c) {
  const auto dense = [](int64_t in, int64_t out) { return in * out + out; };
  const int64_t d = c.dim();
  int64_t attention = 4 * dense(d, d) + 2 * d;
  int64_t block = 2 * attention + dense(d, c.ffn_dim) + dense(c.ffn_dim, d) + 6 * d;
  if (c.cross_attn_norm) block += 2 * d;
  if (c.added_kv_proj_dim) block += 2 * dense(*c.added_kv_proj_dim, d) + d;
  int64_t count = c.num_layers * block + dense(c.in_channels * c.patch_volume(), d) +
                  dense(d, c.out_channels * c.patch_volume()) + 2 * d;
  count += dense(c.freq_dim, d) + dense(d, d) + dense(d, 6 * d) + dense(c.text_dim, d) + dense(d, d);
  if (c.image_dim) {
    const int64_t i = *c.image_dim;
    count += 2 * i + dense(i, i) + dense(i, d) + 2 * d + c.pos_embed_seq_len.value_or(0) * i;
  }
  return count;
}

}  // namespace rushes
