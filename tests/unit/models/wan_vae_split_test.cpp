// One video coded by several ranks, each with its rows: the same as by one rank alone, and with as many bytes
// as the theory says.

#include "models/vaes/wan_vae.h"

#include <c10/core/InferenceMode.h>

#include <catch2/catch.hpp>
#include <random>

#include "base/error.h"
#include "support/ranks.h"
#include "unit/models/random_wan_vae.h"

using namespace rushes;
using namespace rushes::test;
using nlohmann::json;

namespace {

/// What each rank of a group gets and sends.
struct SplitRun {
  std::vector<at::Tensor> videos;
  std::vector<LatentDistribution> latents;
  std::vector<int64_t> decode_bytes, encode_bytes, messages;
};

SplitRun run_split(const WanVae& vae, int ranks, const at::Tensor& z, const at::Tensor& x) {
  const auto count = static_cast<size_t>(ranks);
  SplitRun run{std::vector<at::Tensor>(count), std::vector<LatentDistribution>(count),
               std::vector<int64_t>(count), std::vector<int64_t>(count), std::vector<int64_t>(count)};
  run_ranks(ranks, [&](const Comm& world) {
    const auto rank = static_cast<size_t>(world.rank());
    StepContext context;
    context.vae = &world;
    run.videos[rank] = vae.decode(z, context);
    run.decode_bytes[rank] = world.traffic().bytes_sent;
    run.latents[rank] = vae.encode(x, context);
    run.encode_bytes[rank] = world.traffic().bytes_sent - run.decode_bytes[rank];
    run.messages[rank] = world.traffic().messages_sent;
  });
  return run;
}

/// How far a run is from one rank alone; -1: not what a group must give.
struct Distance {
  double decode = 0, encode = 0;
};
Distance distance(const WanVae& vae, const SplitRun& run, const at::Tensor& z, const at::Tensor& x) {
  const LatentDistribution whole = vae.encode(x, {});
  Distance result{furthest(run.videos[0], vae.decode(z, {})), 0};
  for (size_t rank = 0; rank < run.videos.size(); ++rank) {
    CHECK(run.videos[rank].defined() == (rank == 0));
    CHECK(at::equal(run.latents[rank].mean, run.latents[0].mean));
    CHECK(at::equal(run.latents[rank].logvar, run.latents[0].logvar));
  }
  result.encode =
      std::max(furthest(run.latents[0].mean, whole.mean), furthest(run.latents[0].logvar, whole.logvar));
  return result;
}

/// Bytes of every rank are those of wan_vae_*_traffic.
void check_bytes(const json& config, const SplitRun& run, const at::Tensor& z, const at::Tensor& x,
                 int64_t element_bytes) {
  const WanVaeConfig c = parse_wan_vae(config, "vae");
  const int64_t ratio = c.spatial_factor() * c.patch_size;
  const auto ranks = static_cast<int64_t>(run.decode_bytes.size());
  for (int64_t rank = 0; rank < ranks; ++rank) {
    const WanVaeShare share{ranks, rank};
    const auto index = static_cast<size_t>(rank);
    CAPTURE(ranks, rank);
    CHECK(static_cast<double>(run.decode_bytes[index]) ==
          static_cast<double>(z.size(0)) * wan_vae_decode_traffic(config, c.decoded_frames(z.size(2)),
                                                                  z.size(3) * ratio, z.size(4) * ratio,
                                                                  element_bytes, share));
    CHECK(static_cast<double>(run.encode_bytes[index]) ==
          static_cast<double>(x.size(0)) *
              wan_vae_encode_traffic(config, x.size(2), x.size(3), x.size(4), element_bytes, share));
  }
}

/// A small config of either generation, and a clip for it.
struct RandomCase {
  json config;
  at::Tensor z, x;
  int64_t chunk_bytes = kWanVaeChunkBytes;

  explicit RandomCase(int64_t seed) : random_(static_cast<uint64_t>(seed)) {
    const bool residual = pick(2) == 0;
    const int64_t levels = 2 + pick(3), patch = 1 + pick(2);
    std::vector<bool> temporal(static_cast<size_t>(levels - 1));
    for (size_t i = 0, shrunk = 0; i < temporal.size(); ++i) {
      temporal[i] = shrunk < 2 && pick(3) > 0;
      if (temporal[i]) ++shrunk;
    }
    std::vector<int64_t> mult = {1 + pick(2)};
    for (int64_t i = 1; i < levels; ++i)  // a residual one's last level has no room for more channels
      mult.push_back(residual && i == levels - 1 ? mult.back() : std::max(mult.back(), 1 + pick(2)));
    config = small_wan_vae(false);
    config.update({{"base_dim", std::vector<int>{4, 6, 8}[static_cast<size_t>(pick(3))]},
                   {"decoder_base_dim", std::vector<int>{4, 8}[static_cast<size_t>(pick(2))]},
                   {"dim_mult", mult},
                   {"num_res_blocks", 1 + pick(2)},
                   {"temperal_downsample", temporal},
                   {"is_residual", residual},
                   {"patch_size", patch},
                   {"in_channels", 3 * patch * patch},
                   {"out_channels", 3 * patch * patch},
                   {"scale_factor_spatial", (int64_t{1} << (levels - 1)) * patch}});
    if (pick(2) == 0) config["attn_scales"] = {0.5};
    const WanVaeConfig c = parse_wan_vae(config, "vae");
    const int64_t factor = c.spatial_factor();
    at::manual_seed(static_cast<uint64_t>(seed));
    const int64_t batch = 1 + pick(2), rows = 1 + pick(9), columns = 1 + pick(4);
    z = at::randn({batch, c.z_dim, 1 + pick(4), rows, columns});
    const int64_t more = residual ? 0 : pick(static_cast<int>(factor));
    x = at::rand(
            {batch, 3, 1 + 4 * pick(4), (rows * factor + more) * patch, (columns * factor + more) * patch}) *
            2 -
        1;
    if (pick(2) == 0) chunk_bytes = 1;
  }

 private:
  int64_t pick(int count) { return static_cast<int64_t>(random_() % static_cast<uint64_t>(count)); }
  std::mt19937_64 random_;
};

}  // namespace

TEST_CASE("wan vae split: any config, size and chunk, by any number of ranks") {
  const c10::InferenceMode inference;
  std::map<int, Distance> worst;
  for (int64_t seed = 0; seed < 24; ++seed) {
    RandomCase random(seed);
    const auto vae = random_vae(random.config, seed, 0.1);
    vae->set_chunk_bytes(random.chunk_bytes);
    for (const int ranks : {2, 3, 5}) {
      INFO("seed " << seed << " of " << random.config << ", z " << random.z.sizes() << ", x "
                   << random.x.sizes() << ", " << ranks << " ranks");
      const SplitRun run = run_split(*vae, ranks, random.z, random.x);
      const Distance off = distance(*vae, run, random.z, random.x);
      CHECK(off.decode < 1e-5);
      CHECK(off.encode < 1e-5);
      check_bytes(random.config, run, random.z, random.x, 4);
      worst[ranks].decode = std::max(worst[ranks].decode, off.decode);
      worst[ranks].encode = std::max(worst[ranks].encode, off.encode);
    }
  }
  for (const auto& [ranks, off] : worst)
    WARN("float32, " << ranks << " ranks: decode off by " << off.decode << ", encode by " << off.encode);
}

TEST_CASE("wan vae split: bfloat16 is as far from one rank as its rounding") {
  const c10::InferenceMode inference;
  for (const bool residual : {false, true}) {
    const json config = small_wan_vae(residual);
    const auto vae = random_vae(config, 1, 0.1, at::kBFloat16);
    const auto exact = random_vae(config, 1, 0.1);
    const at::Tensor z = at::randn({1, 4, 3, 7, 4});
    const at::Tensor x = at::rand({1, 3, 9, residual ? 56 : 28, 32}) * 2 - 1;
    const double rounding = furthest(vae->decode(z, {}).to(at::kFloat), exact->decode(z, {}));
    const double encode_rounding =
        furthest(vae->encode(x, {}).mean.to(at::kFloat), exact->encode(x, {}).mean);
    for (const int ranks : {2, 3, 5}) {
      const SplitRun run = run_split(*vae, ranks, z, x);
      const Distance off = distance(*vae, run, z, x);
      CHECK(off.decode <= 2 * rounding);
      CHECK(off.encode <= 2 * encode_rounding + 0.02);
      check_bytes(config, run, z, x, 2);
      WARN("bfloat16" << (residual ? ", residual, " : ", ") << ranks << " ranks: decode off by " << off.decode
                      << " (bfloat16 itself by " << rounding << "), encode by " << off.encode << " ("
                      << encode_rounding << ")");
    }
  }
}

TEST_CASE("wan vae split: ranks without rows take no part") {
  const c10::InferenceMode inference;
  const bool residual = GENERATE(false, true);
  const json config = small_wan_vae(residual);
  const auto vae = random_vae(config, 2, 0.1);
  for (const int64_t rows : {1, 2}) {
    const at::Tensor z = at::randn({2, 4, 2, rows, 3});
    const at::Tensor x = at::rand({2, 3, 5, rows * (residual ? 8 : 4) + (residual ? 0 : 3), 16}) * 2 - 1;
    for (const int ranks : {3, 5}) {
      CAPTURE(residual, rows, ranks);
      const SplitRun run = run_split(*vae, ranks, z, x);
      const Distance off = distance(*vae, run, z, x);
      // One row: no two share the work, so that nothing can differ.
      CHECK(off.decode <= (rows == 1 ? 0 : 1e-5));
      CHECK(off.encode <= (rows == 1 ? 0 : 1e-5));
      CHECK(run.messages.back() == 0);
      check_bytes(config, run, z, x, 4);
    }
  }
}

TEST_CASE("wan vae split: the same bits again, and a group of one changes none") {
  const c10::InferenceMode inference;
  const auto vae = random_vae(small_wan_vae(true), 3, 0.1);
  const at::Tensor z = at::randn({1, 4, 4, 5, 3}), x = at::rand({1, 3, 9, 40, 24}) * 2 - 1;
  const SplitRun once = run_split(*vae, 3, z, x), again = run_split(*vae, 3, z, x);
  CHECK(at::equal(once.videos[0], again.videos[0]));
  CHECK(at::equal(once.latents[2].mean, again.latents[1].mean));
  const Comm alone;
  StepContext context;
  context.vae = &alone;
  CHECK(at::equal(vae->decode(z, context), vae->decode(z, {})));
  CHECK(at::equal(vae->encode(x, context).logvar, vae->encode(x, {}).logvar));
}

TEST_CASE("wan vae split: tiles are not, and refusals are everybody's") {
  const c10::InferenceMode inference;
  const auto vae = random_vae(small_wan_vae(false), 4, 0.1);
  const at::Tensor z = at::randn({1, 4, 2, 7, 4}), x = at::rand({1, 3, 5, 28, 16}) * 2 - 1;
  vae->enable_tiling({.tile_height = 12, .tile_width = 16, .stride_height = 8, .stride_width = 16});
  const SplitRun run = run_split(*vae, 3, z, x);
  const Distance off = distance(*vae, run, z, x);
  CHECK(off.decode == 0);
  CHECK(off.encode == 0);
  CHECK(run.messages == std::vector<int64_t>{0, 0, 0});
  vae->disable_tiling();
  // Two rows too few for a latent one: also the ranks that would have none say so.
  run_ranks(3, [&](const Comm& world) {
    StepContext context;
    context.vae = &world;
    try {
      vae->encode(x.narrow(3, 0, 2), context);
    } catch (const UserError&) {
      return;
    }
    RUSHES_CHECK(false, "accepted by rank ", world.rank());
  });
}

TEST_CASE("wan vae split: a dry run counts what is sent") {
  const c10::InferenceMode inference;
  const bool residual = GENERATE(false, true);
  const json config = small_wan_vae(residual);
  const auto vae = random_vae(config, 5);
  const at::Tensor z = at::randn({1, 4, 3, 5, 4}), x = at::rand({1, 3, 9, 40, 24}) * 2 - 1;
  for (const int ranks : {2, 4, 7}) {
    SplitRun run;
    for (int rank = 0; rank < ranks; ++rank) {
      const Comm dry(make_dry_transport(rank, ranks), "vae");
      StepContext context;
      context.vae = &dry;
      CHECK(vae->decode(z, context).defined() == (rank == 0));
      run.decode_bytes.push_back(dry.traffic().bytes_sent);
      CHECK(vae->encode(x, context).mean.sizes() == vae->encode(x, {}).mean.sizes());
      run.encode_bytes.push_back(dry.traffic().bytes_sent - run.decode_bytes.back());
    }
    check_bytes(config, run, z, x, 4);
  }
}

TEST_CASE("wan vae split: the work of all ranks is that of one, a share's memory is less") {
  json config = small_wan_vae(false);
  config["attn_scales"] = {0.5};
  for (const json& each : {config, small_wan_vae(true), json(json::object())}) {
    const Cost decode = wan_vae_decode_cost(each, 9, 240, 416),
               encode = wan_vae_encode_cost(each, 9, 240, 416);
    for (const int64_t ranks : {1, 3, 5, 64}) {
      double decode_flops = 0, encode_flops = 0;
      for (int64_t rank = 0; rank < ranks; ++rank) {
        decode_flops += wan_vae_decode_cost(each, 9, 240, 416, {ranks, rank}).flops;
        encode_flops += wan_vae_encode_cost(each, 9, 240, 416, {ranks, rank}).flops;
      }
      CHECK(decode_flops == decode.flops);
      CHECK(encode_flops == encode.flops);
    }
  }
  // A frame of it is more than a chunk may take, so that a share of rows is a share of memory but for halos.
  const Cost whole = wan_vae_decode_cost(json::object(), 81, 720, 1280);
  const Cost share = wan_vae_decode_cost(json::object(), 81, 720, 1280, {.ranks = 9, .rank = 0});
  CHECK(share.activation_bytes == Approx(whole.activation_bytes / 9 * (80 + 2) / 80));
  CHECK(share.weight_bytes == whole.weight_bytes);
  CHECK(wan_vae_decode_traffic(json::object(), 81, 720, 1280, 4, {}) == 0);
}
