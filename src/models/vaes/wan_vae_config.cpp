#include "models/vaes/wan_vae_config.h"

#include <algorithm>

#include "base/error.h"
#include "config/json_fields.h"
#include "dist/comm.h"

namespace rushes {
namespace {

// The latent statistics of Wan 2.1, which a config without them means.
const std::vector<double> kWan21Mean = {-0.7571, -0.7089, -0.9113, 0.1075,  -0.1745, 0.9653,
                                        -0.1517, 1.5508,  0.4134,  -0.0715, 0.5517,  -0.3632,
                                        -0.1922, -0.9497, 0.2503,  -0.2921};
const std::vector<double> kWan21Std = {2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
                                       3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160};

// Far beyond those of any VAE there is, and far from where float32 makes infinity of a latent, or zero.
constexpr double kLargestStatistic = 1e6;

/// An integer from `low` to `high`; out of it: noted, and `low` is given so that reading can go on.
int64_t bounded(JsonFields& fields, const std::string& key, std::optional<int64_t> value, int64_t otherwise,
                int64_t low, int64_t high) {
  const int64_t result = value.value_or(otherwise);
  fields.range(key, static_cast<double>(result), static_cast<double>(low), static_cast<double>(high));
  return std::clamp(result, low, high);
}

void parse_levels(JsonFields& fields, WanVaeConfig& c) {
  c.dim_mult = fields.integers("dim_mult", {1, 2, 4, 4});
  if (c.dim_mult.empty() || c.dim_mult.size() > 8) {
    fields.problem("dim_mult", "needs 1 to 8 numbers, has ", c.dim_mult.size());
    c.dim_mult = {1};
  }
  for (int64_t mult : c.dim_mult) {
    if (mult < 1 || mult > 256) {
      fields.problem("dim_mult", mult, " is outside 1 to 256");
      c.dim_mult.assign(c.dim_mult.size(), 1);
      break;
    }
  }
  c.temporal_downsample = fields.booleans("temperal_downsample", {false, true, true});
  if (static_cast<int64_t>(c.temporal_downsample.size()) != c.levels() - 1) {
    fields.problem("temperal_downsample", "needs one value for each of dim_mult but the last (",
                   c.levels() - 1, "), has ", c.temporal_downsample.size());
    c.temporal_downsample.assign(static_cast<size_t>(c.levels() - 1), false);
  }
}

void parse_latents(JsonFields& fields, WanVaeConfig& c) {
  c.latents_mean = fields.numbers("latents_mean", kWan21Mean);
  c.latents_std = fields.numbers("latents_std", kWan21Std);
  const auto one_each = [&](const char* key, const std::vector<double>& values) {
    if (values.size() == static_cast<size_t>(c.z_dim)) return;
    fields.problem(key, "needs z_dim = ", c.z_dim, " numbers, has ", values.size(),
                   fields.has("z_dim") ? "" : str(" (", c.z_dim, " is z_dim's default: the file lacks it)"));
  };
  one_each("latents_mean", c.latents_mean);
  one_each("latents_std", c.latents_std);
  const auto check_range = [&](const char* key, const std::vector<double>& values, double low) {
    const auto wrong = std::find_if(values.begin(), values.end(), [&](double value) {
      return !(value >= low && value <= kLargestStatistic);
    });
    if (wrong != values.end()) fields.range(key, *wrong, low, kLargestStatistic);
  };
  check_range("latents_mean", c.latents_mean, -kLargestStatistic);
  check_range("latents_std", c.latents_std, 1 / kLargestStatistic);
}

/// Channels of neighbouring levels must fit the shortcuts and halvings between them.
void check_channels(JsonFields& fields, const WanVaeConfig& c) {
  const auto level = [&](int64_t i) { return c.dim_mult[static_cast<size_t>(i)]; };
  const int64_t last = c.levels() - 1;
  for (int64_t i = 0; i <= last; ++i) {
    const bool temporal = i < last && c.temporal_downsample[static_cast<size_t>(i)];
    const int64_t factor = (i < last ? 4 : 1) * (temporal ? 2 : 1);
    const int64_t down_in = c.base_dim * (i == 0 ? 1 : level(i - 1)), down_out = c.base_dim * level(i);
    if (c.is_residual && down_in * factor % down_out != 0)
      fields.problem("dim_mult", "level ", i, " goes from ", down_in, " to ", down_out,
                     " channels, which is_residual can't average");
  }
  for (int64_t i = last; i > 0; --i) {  // decoder levels, deepest first; the last does not upsample
    const bool temporal = c.temporal_downsample[static_cast<size_t>(i - 1)];
    const int64_t up_in = c.decoder_base_dim * level(std::min(last, i + 1));
    const int64_t up_out = c.decoder_base_dim * level(i);
    if (c.is_residual && up_out * (temporal ? 8 : 4) % up_in != 0)
      fields.problem("dim_mult", "decoder level ", i, " goes from ", up_in, " to ", up_out,
                     " channels, which is_residual can't repeat");
    if (!c.is_residual && up_out % 2 != 0)
      fields.problem("dim_mult", "decoder level ", i, " has ", up_out, " channels, which can't be halved");
  }
}

}  // namespace

int64_t WanVaeConfig::temporal_factor() const {
  return int64_t{1} << std::count(temporal_downsample.begin(), temporal_downsample.end(), true);
}

int64_t WanVaeConfig::latent_frames(int64_t frames) const {
  return 1 + (frames - 1) / kWanVaeGroup * std::max<int64_t>(1, kWanVaeGroup / temporal_factor());
}

WanVaeConfig parse_wan_vae(const nlohmann::json& config, const std::string& where) {
  WanVaeConfig c;
  JsonFields fields(config, where);
  c.base_dim = bounded(fields, "base_dim", fields.integer("base_dim", 96), 96, 1, 8192);
  c.decoder_base_dim =
      bounded(fields, "decoder_base_dim", fields.optional_integer("decoder_base_dim"), c.base_dim, 1, 8192);
  c.z_dim = bounded(fields, "z_dim", fields.integer("z_dim", 16), 16, 1, 4096);
  parse_levels(fields, c);
  c.num_res_blocks = bounded(fields, "num_res_blocks", fields.integer("num_res_blocks", 2), 2, 1, 64);
  c.attn_scales = fields.numbers("attn_scales", {});
  parse_latents(fields, c);
  c.is_residual = fields.boolean("is_residual", false);
  c.in_channels = bounded(fields, "in_channels", fields.integer("in_channels", 3), 3, 1, 4096);
  c.out_channels = bounded(fields, "out_channels", fields.integer("out_channels", 3), 3, 1, 4096);
  c.patch_size = bounded(fields, "patch_size", fields.optional_integer("patch_size"), 1, 1, 64);
  for (const auto& [key, channels] : {std::pair<const char*, int64_t>{"in_channels", c.in_channels},
                                      std::pair<const char*, int64_t>{"out_channels", c.out_channels}}) {
    if (channels % (c.patch_size * c.patch_size) != 0)
      fields.problem(key, channels, " is no multiple of patch_size squared (", c.patch_size * c.patch_size,
                     ")");
  }
  c.scale_factor_temporal =
      bounded(fields, "scale_factor_temporal", fields.optional_integer("scale_factor_temporal", 4),
              c.temporal_factor(), 1, 1024);
  c.scale_factor_spatial =
      bounded(fields, "scale_factor_spatial", fields.optional_integer("scale_factor_spatial", 8),
              c.spatial_factor() * c.patch_size, 1, 1024);
  check_channels(fields, c);
  // clip_output: Wan 2.2's published config says false; diffusers knows no such field and clamps all the
  // same.
  fields.harmless({"dropout", "clip_output"});
  fields.finish();
  c.defaults_taken = fields.defaults_taken();
  return c;
}

std::vector<int64_t> wan_vae_encode_rows(const WanVaeConfig& config, int64_t height, int64_t ranks) {
  const int64_t factor = config.spatial_factor(), latent = height / factor;
  std::vector<int64_t> rows = even_sizes(latent, ranks);
  for (int64_t& part : rows)
    part *= factor;
  rows[static_cast<size_t>(std::clamp<int64_t>(latent, 1, ranks) - 1)] += height % factor;
  return rows;
}

int64_t wan_vae_chunk(const WanVaeConfig& config, int64_t bytes, bool decode, int64_t batch,
                      int64_t latent_height, int64_t latent_width, int64_t element_bytes) {
  const int64_t last = config.levels() - 1;
  double widest = 0;
  double frames = 1, side = 1;
  // From the latents up: every level's activation of one latent frame.
  for (int64_t i = last; i >= 0; --i) {
    if (i < last) {
      side *= 2;
      if (config.temporal_downsample[static_cast<size_t>(i)]) frames *= 2;
    }
    const int64_t base = decode ? config.decoder_base_dim : config.base_dim;
    const double channels = static_cast<double>(base * config.dim_mult[static_cast<size_t>(i)]);
    widest = std::max(widest, frames * side * side * channels);
  }
  widest *= static_cast<double>(batch * latent_height * latent_width * element_bytes);
  if (!decode) widest *= static_cast<double>(kWanVaeGroup) / static_cast<double>(config.temporal_factor());
  return std::max<int64_t>(1, static_cast<int64_t>(static_cast<double>(bytes) / std::max(widest, 1.0)));
}

}  // namespace rushes
