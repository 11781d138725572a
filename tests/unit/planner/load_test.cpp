#include <catch2/catch.hpp>
#include <numeric>

#include "some_blueprint.h"

using namespace rushes;

namespace {

const WanClip kClip{
    .frames = 21, .height = 60, .width = 104, .text_tokens = 512, .steps = 2, .guided = true, .element = 2};

}  // namespace

TEST_CASE("load: one rank does what the model's formula says") {
  const SomeBlueprint model;
  const Load load = wan_denoising_load(model.wan(), kClip, {});
  // 32,760 tokens, 30 blocks of width 1,536 and inside 8,960, 512 text tokens; two forwards in each of two
  // steps.
  const double n = 32760, d = 1536, f = 8960, x = 512;
  const double products = 30 * (12 * n * d * d + 4 * n * d * f) + 2 * n * d * 4 * 32 + 2 * d * (256 + 7 * d);
  const double text = 2 * x * d * (4096 + d) + 30 * 4 * x * d * d;
  CHECK(load.matmul_flops == Approx(4 * (products + text)).epsilon(1e-12));
  CHECK(load.attention_flops == Approx(4 * 30 * (4 * n * n * d + 4 * n * x * d)).epsilon(1e-12));
  CHECK(load.weight_bytes == 2 * static_cast<double>(wan_parameter_count(model.wan())));
  for (const Sent& sent : load.sent)
    CHECK(sent.bytes == 0);
}

TEST_CASE("load: the parts of all ranks make the whole, for uneven heads and tokens too") {
  const SomeBlueprint model;
  const Load whole = wan_denoising_load(model.wan(), kClip, {});
  for (const Split& split : {Split{.ulysses = 5}, Split{.ring = 3}, Split{.ulysses = 8}, Split{.dit_tp = 5},
                             Split{.ulysses = 2, .ring = 3, .dit_tp = 3}}) {
    double attention = 0;
    for (int64_t ring = 0; ring < split.ring; ++ring) {
      for (int64_t ulysses = 0; ulysses < split.ulysses; ++ulysses) {
        for (int64_t tp = 0; tp < split.dit_tp; ++tp) {
          const Seat seat{.replica = 0, .cfg = 0, .ring = ring, .ulysses = ulysses, .dit_tp = tp};
          attention += wan_denoising_load(model.wan(), kClip, split, seat).attention_flops;
        }
      }
    }
    CHECK(attention == Approx(whole.attention_flops).epsilon(1e-9));
  }
  const Load half = wan_denoising_load(model.wan(), kClip, {.cfg = 2});
  CHECK(half.matmul_flops == Approx(whole.matmul_flops / 2).epsilon(1e-12));
}

TEST_CASE("load: bytes sent, worked by hand") {
  const SomeBlueprint model;
  const double forwards = 4, blocks = 30;
  const auto bytes = [&](const Split& split, Group group) {
    return wan_denoising_load(model.wan(), kClip, split).to(group).bytes;
  };
  // 2 ranks: each has 16,380 tokens and in attention 6 heads of 128; out 3 x, back 1 x; 2 bytes a number.
  CHECK(bytes({.ulysses = 2}, Group::ulysses) == forwards * blocks * 16380.0 * 6 * 128 * (3 + 1) * 2);
  // A ring of 3: two sends of 10,920 tokens' keys and values, of 1,536 numbers each.
  CHECK(bytes({.ring = 3}, Group::ring) == forwards * blocks * 2 * 2 * 10920.0 * 1536 * 2);
  // The output, 16 channels of 1 x 2 x 2, from each of 4 ranks to 3 others.
  CHECK(bytes({.ulysses = 2, .ring = 2}, Group::sp) == forwards * 3 * 8190.0 * 64 * 2);
  // Two ranks' sums: half of the numbers in float32 to the other, then the own half in bfloat16; three of the
  // stream, three of a number a token, and one of the text's keys.
  const double stream = 32760.0 * 1536, token = 32760, text = 512;
  CHECK(bytes({.dit_tp = 2}, Group::dit_tp) ==
        forwards * blocks *
            (3 * (stream / 2 * 4 + stream / 2 * 2) + 3 * (token / 2 * 4 + token / 2 * 4) + text * 4));
  // Latents of 16 x 21 x 60 x 104 once a step.
  CHECK(bytes({.cfg = 2}, Group::cfg) == 2 * 16.0 * 21 * 60 * 104 * 2);
}

TEST_CASE("load: dit_tp splits the blocks' products and leaves the rest") {
  const SomeBlueprint model;
  const double whole = wan_denoising_load(model.wan(), kClip, {}).weight_bytes;
  const double half = wan_denoising_load(model.wan(), kClip, {.dit_tp = 2}).weight_bytes;
  CHECK(whole - half == 2 * 30 * (8.0 * 1536 * 1536 + 2.0 * 1536 * 8960) / 2);
}

TEST_CASE("load: a text's keys are kept beside a short video, and made at every forward of a long one") {
  const SomeBlueprint model;
  WanClip clip = kClip;
  clip.frames = 1;  // 1,560 tokens, less than four times the text's
  const double few = wan_denoising_load(model.wan(), clip, {}).matmul_flops;
  clip.steps = 4;
  const double more = wan_denoising_load(model.wan(), clip, {}).matmul_flops;
  CHECK(more < 2 * few);
  WanClip longer = kClip;
  longer.steps = 4;
  CHECK(wan_denoising_load(model.wan(), longer, {}).matmul_flops ==
        Approx(2 * wan_denoising_load(model.wan(), kClip, {}).matmul_flops));
}

TEST_CASE("load: a VAE's ranks share rows, and send a row to each neighbour") {
  const WanVaeConfig config = parse_wan_vae(nlohmann::json::object(), "vae");
  const WanVideo video{.frames = 17, .height = 480, .width = 832, .element = 4};
  const Load one = wan_vae_decode_load(config, video, {});
  const Load two = wan_vae_decode_load(config, video, {.vae = 2});
  const Load four = wan_vae_decode_load(config, video, {.vae = 4});
  CHECK(two.conv_flops == Approx(one.conv_flops / 2));
  CHECK(two.attention_flops == Approx(one.attention_flops / 2));
  CHECK(one.to(Group::vae).bytes == 0);
  CHECK(four.to(Group::vae).bytes > two.to(Group::vae).bytes);  // two neighbours
  CHECK(two.activation_bytes < one.activation_bytes);
  CHECK(two.weight_bytes == one.weight_bytes);
}

TEST_CASE("load: convolutions over doubled pictures have 4 of 9 multiply-adds where they are folded") {
  const WanVaeConfig config = parse_wan_vae(nlohmann::json::object(), "vae");
  WanVideo video{.frames = 1, .height = 480, .width = 832, .element = 4};
  const Load plain = wan_vae_decode_load(config, video, {});
  video.folds = true;
  const Load folded = wan_vae_decode_load(config, video, {});
  // 384 to 192 channels twice, 192 to 96 once.
  const double pixels = 480 * 832, last = 192 * 96, before = 384 * 192;
  const double taps = (pixels / 16 + pixels / 4) * before + pixels * last;
  CHECK(plain.conv_flops - folded.conv_flops == Approx(2 * 5 * taps));
  CHECK(folded.weight_bytes - plain.weight_bytes == 4 * (2 * (7 * before + 3 * 192) + 7 * last + 3 * 96));
}

TEST_CASE("load: a VAE's encoder does what its formula says") {
  const WanVaeConfig config = parse_wan_vae(nlohmann::json::object(), "vae");
  const WanVideo video{.frames = 17, .height = 480, .width = 832, .element = 4};
  const Load encode = wan_vae_encode_load(config, video);
  const Cost cost = wan_vae_encode_cost(nlohmann::json::object(), 17, 480, 832);
  // Its last, narrow convolutions count as wider ones.
  CHECK(encode.conv_flops + encode.matmul_flops + encode.attention_flops == Approx(cost.flops).epsilon(0.03));
  CHECK(encode.weight_bytes == wan_vae_decode_load(config, video, {}).weight_bytes);
  CHECK(encode.weight_bytes == cost.weight_bytes);
  CHECK(encode.activation_bytes > 4.0 * 17 * 480 * 832 * 96 / 5);  // a chunk of the widest level
}

TEST_CASE("load: an encoder's sums travel twice a layer and once for the vocabulary") {
  T5Config config;
  config.vocab_size = 100;
  config.d_model = 64;
  config.d_kv = 8;
  config.d_ff = 96;
  config.num_layers = 3;
  config.num_heads = 4;
  config.gated = true;
  const Load load = umt5_load(config, 10, {.tp = 2}, 4);
  CHECK(load.to(Group::tp).bytes == 7.0 * 640 * 4);
  CHECK(load.to(Group::tp).exchanges == 7);
  CHECK(load.matmul_flops == 3 * 2.0 * 10 * (4 * 64 * 16 + 3 * 64 * 48));
}
