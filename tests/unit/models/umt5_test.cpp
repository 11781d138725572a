// Parts of the text encoder that can be told by hand; tests/oracle/test_umt5.py holds the whole to
// transformers.

#include "models/encoders/umt5.h"

#include <catch2/catch.hpp>

#include "base/error.h"

using namespace rushes;
using nlohmann::json;

namespace {

json small_config() {
  return {{"model_type", "umt5"},
          {"vocab_size", 10},
          {"d_model", 4},
          {"d_kv", 2},
          {"d_ff", 6},
          {"num_layers", 2},
          {"num_heads", 3},
          {"relative_attention_num_buckets", 8}};
}

}  // namespace

TEST_CASE("umt5: buckets of relative positions") {
  // 8 buckets: 4 a direction, of these 2 exact (0, 1), 2 for 2 to 15 and from there on (border: sqrt(2 *
  // 16)).
  const at::Tensor buckets = relative_position_buckets(20, 8, 16);
  const auto bucket = [&](int64_t query, int64_t key) { return buckets[query][key].item<int64_t>(); };
  CHECK(bucket(0, 0) == 0);
  CHECK(bucket(1, 0) == 1);
  CHECK(bucket(2, 0) == 2);
  CHECK(bucket(5, 0) == 2);
  CHECK(bucket(6, 0) == 3);
  CHECK(bucket(19, 0) == 3);
  CHECK(bucket(0, 1) == 5);
  CHECK(bucket(0, 5) == 6);
  CHECK(bucket(0, 19) == 7);
  CHECK(relative_position_buckets(200, 32, 128).max().item<int64_t>() == 31);
  CHECK(relative_position_buckets(1, 4, 2).item<int64_t>() == 0);
}

TEST_CASE("umt5: config fields are read, harmless or refused") {
  const T5Config config = parse_t5_config(small_config(), T5Variant::umt5, "here");
  CHECK(config.gated);
  CHECK(config.activation == Activation::gelu_tanh);
  CHECK(config.relative_attention_max_distance == 128);
  CHECK_FALSE(parse_t5_config(small_config(), T5Variant::t5, "here").gated);
  json written = small_config();
  written.update({{"feed_forward_proj", "gated-gelu"},
                  {"dense_act_fn", "silu"},
                  {"is_gated_act", false},
                  {"scalable_attention", true},
                  {"tie_word_embeddings", false}});
  CHECK(parse_t5_config(written, T5Variant::umt5, "here").activation == Activation::silu);
  CHECK_FALSE(parse_t5_config(written, T5Variant::umt5, "here").gated);
  for (const json& wrong :
       {json{{"d_model", 0}}, json{{"d_ff", "x"}}, json{{"is_decoder", true}}, json{{"novel", 1}},
        json{{"feed_forward_proj", "gated-a-b"}}, json{{"feed_forward_proj", "gelux"}},
        json{{"relative_attention_num_buckets", 3}}, json{{"relative_attention_max_distance", 2}}}) {
    json bad = small_config();
    bad.update(wrong);
    INFO(wrong.dump());
    CHECK_THROWS_WITH(parse_t5_config(bad, T5Variant::umt5, "here"), Catch::Contains(wrong.begin().key()));
  }
}

TEST_CASE("umt5: cost of one text") {
  const Cost cost = umt5_cost(small_config(), 7);
  // A layer: q, k, v, o of 4 x 6, three matrices of 4 x 6; scores and mix of 7 x 7 x 6.
  CHECK(cost.flops == 2 * (2 * 7 * (4 * 24 + 3 * 24) + 2 * 2 * 7 * 7 * 6));
  CHECK(cost.weight_bytes == 4 * (10 * 4 + 2 * (4 * 24 + 3 * 24 + 2 * 4 + 8 * 3) + 4));
  CHECK(cost.activation_bytes > 0);
  // UMT5-XXL's encoder has 5.7 billion parameters.
  const Cost xxl = umt5_cost({{"vocab_size", 256384},
                              {"d_model", 4096},
                              {"d_kv", 64},
                              {"d_ff", 10240},
                              {"num_layers", 24},
                              {"num_heads", 64},
                              {"feed_forward_proj", "gated-gelu"}},
                             512);
  CHECK(xxl.weight_bytes / 4 == Approx(5.68e9).epsilon(0.01));
}
