#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <map>
#include <set>
#include <vector>

#include "base/error.h"
#include "device/kept_memory.h"
#include "models/dits/wan.h"
#include "models/dits/wan_cost.h"
#include "support/folder.h"
#include "weights/tensor_store.h"

namespace rushes {
namespace {

using Json = nlohmann::json;

const Json kWan13B = {{"_class_name", "WanTransformer3DModel"},
                      {"added_kv_proj_dim", nullptr},
                      {"attention_head_dim", 128},
                      {"cross_attn_norm", true},
                      {"eps", 1e-6},
                      {"ffn_dim", 8960},
                      {"freq_dim", 256},
                      {"image_dim", nullptr},
                      {"in_channels", 16},
                      {"num_attention_heads", 12},
                      {"num_layers", 30},
                      {"out_channels", 16},
                      {"patch_size", {1, 2, 2}},
                      {"qk_norm", "rms_norm_across_heads"},
                      {"rope_max_seq_len", 1024},
                      {"text_dim", 4096}};
const Json kSmall = {{"attention_head_dim", 10},
                     {"num_attention_heads", 2},
                     {"in_channels", 3},
                     {"out_channels", 5},
                     {"text_dim", 8},
                     {"freq_dim", 16},
                     {"ffn_dim", 24},
                     {"num_layers", 2}};

std::map<std::string, at::Tensor> random_parameters(const WanConfig& c) {
  std::map<std::string, at::Tensor> all;
  const int64_t d = c.dim();
  const auto dense = [&](const std::string& name, int64_t in, int64_t out) {
    all[name + ".weight"] = at::randn({out, in}).div_(std::sqrt(static_cast<double>(in)));
    all[name + ".bias"] = at::randn({out}).mul_(0.1);
  };
  dense("patch_embedding", c.in_channels * c.patch_volume(), d);
  all["patch_embedding.weight"] = all["patch_embedding.weight"].reshape(
      {d, c.in_channels, c.patch_size[0], c.patch_size[1], c.patch_size[2]});
  dense("condition_embedder.time_embedder.linear_1", c.freq_dim, d);
  dense("condition_embedder.time_embedder.linear_2", d, d);
  dense("condition_embedder.time_proj", d, 6 * d);
  dense("condition_embedder.text_embedder.linear_1", c.text_dim, d);
  dense("condition_embedder.text_embedder.linear_2", d, d);
  for (int64_t i = 0; i < c.num_layers; ++i) {
    const std::string block = str("blocks.", i);
    for (const char* attention : {".attn1", ".attn2"}) {
      for (const char* part : {".to_q", ".to_k", ".to_v", ".to_out.0"}) {
        dense(block + attention + part, d, d);
      }
      for (const char* part : {".norm_q.weight", ".norm_k.weight"}) {
        all[block + attention + part] = at::rand({d}).add_(0.5);
      }
    }
    all[block + ".norm2.weight"] = at::rand({d}).add_(0.5);
    all[block + ".norm2.bias"] = at::randn({d}).mul_(0.1);
    dense(block + ".ffn.net.0.proj", d, c.ffn_dim);
    dense(block + ".ffn.net.2", c.ffn_dim, d);
    all[block + ".scale_shift_table"] = at::randn({1, 6, d}).mul_(0.3);
  }
  all["scale_shift_table"] = at::randn({1, 2, d}).mul_(0.3);
  dense("proj_out", d, c.out_channels * c.patch_volume());
  return all;
}

// The small model with random parameters, out of a file in `folder`.
std::unique_ptr<Transformer> small_model(const TestFolder& folder, at::ScalarType dtype = at::kFloat) {
  const auto path = folder / "model.safetensors";
  write_safetensors(path, random_parameters(read_wan_config(kSmall, "config.json")), {}, "test");
  const TensorStore store = TensorStore::open_file(path);
  TensorLoader loader(store, {.device = at::kCPU, .dtype = dtype}, "transformer");
  return make_wan_transformer(kSmall, loader, "config.json");
}

TransformerInputs small_inputs(int64_t batch) {
  TransformerInputs inputs;
  inputs.hidden_states = at::randn({batch, 3, 2, 4, 6});  // 12 tokens
  inputs.timestep = at::rand({batch}).mul_(1000);
  inputs.encoder_hidden_states = at::randn({batch, 7, 8});
  return inputs;
}

TEST_CASE("a config of the family is read, and every wrong field listed") {
  const WanConfig config = read_wan_config(kWan13B, "config.json");
  CHECK(config.dim() == 1536);
  CHECK(!config.image_dim.has_value());
  CHECK(read_wan_config(Json::object(), "config.json").num_layers == 40);
  CHECK(read_wan_config({{"in_channels", 36}, {"out_channels", nullptr}}, "config.json").out_channels == 36);
  const Json wrong = {{"attention_head_dim", 7}, {"patch_size", {1, 2}},   {"num_layer", 3},
                      {"text_dim", -1},          {"added_kv_proj_dim", 3}, {"eps", "small"},
                      {"ffn_dim", 1e18},         {"window_size", {4, 4}},  {"freq_dim", 1}};
  try {
    read_wan_config(wrong, "m/config.json");
    FAIL("was read");
  } catch (const UserError& error) {
    const std::string said = error.what();
    for (const char* word : {"attention_head_dim", "patch_size", "num_layer", "text_dim", "added_kv_proj_dim",
                             "eps", "ffn_dim", "window_size", "freq_dim", "m/config.json"}) {
      INFO(said);
      CHECK(said.find(word) != std::string::npos);
    }
  }
}

TEST_CASE("cost is what the published sizes come to") {
  // Wan 2.1 1.3B, 480 x 832 x 81: 32,760 tokens.
  const Cost cost = wan_transformer_cost(kWan13B, 21, 60, 104, 512, 1);
  CHECK(cost.flops == Approx(283e12).epsilon(0.002));
  CHECK(wan_transformer_cost(kWan13B, 21, 60, 104, 512, 2).flops == Approx(2 * cost.flops));
  // Counted from diffusers' modules: 1.3B, and 14B that is given a first and a last frame.
  CHECK(wan_parameter_count(read_wan_config(kWan13B, "")) == 1418996800);
  CHECK(cost.weight_bytes == 4.0 * 1418996800);
  Json big = kWan13B;
  big.update({{"num_attention_heads", 40},
              {"num_layers", 40},
              {"ffn_dim", 13824},
              {"in_channels", 36},
              {"image_dim", 1280},
              {"added_kv_proj_dim", 5120},
              {"pos_embed_seq_len", 514}});
  CHECK(wan_parameter_count(read_wan_config(big, "")) == 16395536704);
}

TEST_CASE("rotary tables turn by frame, row and column") {
  const RopeTable table = wan_rope_table(/*head_dim=*/22, {3, 4, 5}, at::kCPU);  // pairs: 5, 3, 3
  REQUIRE(table.cos.sizes() == at::IntArrayRef({60, 11}));
  const auto angle = [](double position, double pair, double pairs) {
    return position * std::pow(10000.0, -pair / pairs);
  };
  const int64_t token = (2 * 4 + 3) * 5 + 1;  // frame 2, row 3, column 1
  const int64_t side = 22 / 6, frame = 11 - 2 * side;
  for (int64_t i = 0; i < 11; ++i) {
    double expected = 0;
    if (i < frame) {
      expected = angle(2, static_cast<double>(i), static_cast<double>(frame));
    } else if (i < frame + side) {
      expected = angle(3, static_cast<double>(i - frame), static_cast<double>(side));
    } else {
      expected = angle(1, static_cast<double>(i - frame - side), static_cast<double>(side));
    }
    CHECK(table.cos[token][i].item<float>() == Approx(std::cos(expected)).margin(1e-7));
    CHECK(table.sin[token][i].item<float>() == Approx(std::sin(expected)).margin(1e-7));
  }
}

TEST_CASE("steps ask the system for no memory once two have been made") {
  const c10::InferenceMode inference;
  keep_cpu_memory();
  Json config = kSmall;
  config.update({{"attention_head_dim", 64}, {"ffn_dim", 600}});
  const TensorStore none;
  TensorLoader loader(none, {.device = at::kCPU, .dtype = at::kFloat, .invented = true}, "transformer");
  const auto model = make_wan_transformer(config, loader, "config.json");
  TransformerInputs inputs = small_inputs(1);
  inputs.hidden_states = at::randn({1, 3, 4, 96, 96});  // 9,216 tokens: every tensor of them is large
  StepMemo memo;
  StepContext context;
  context.memo = &memo;
  std::vector<int64_t> fresh;
  for (int64_t step = 0; step < 6; ++step) {
    model->forward(inputs, context);
    fresh.push_back(fresh_cpu_blocks());
  }
  CAPTURE(fresh);
  CHECK(fresh[0] > 0);
  CHECK(fresh[1] <= fresh[0] + 1);  // where blocks came to lie beside each other
  CHECK(fresh[5] == fresh[1]);
}

TEST_CASE("a token's own time equals the sample's where all are the same") {
  const c10::InferenceMode inference;
  at::manual_seed(31);
  const TestFolder folder;
  const auto model = small_model(folder);
  TransformerInputs inputs = small_inputs(2);
  const at::Tensor whole = model->forward(inputs, {});
  CHECK(whole.sizes() == at::IntArrayRef({2, 5, 2, 4, 6}));
  inputs.timestep = inputs.timestep.unsqueeze(1).expand({2, 12});
  CHECK(at::allclose(model->forward(inputs, {}), whole, 1e-5, 1e-5));
  inputs.timestep = inputs.timestep.clone();
  inputs.timestep[1][3] += 100;
  const at::Tensor moved = model->forward(inputs, {});
  CHECK(at::allclose(moved[0], whole[0], 1e-5, 1e-5));
  CHECK(!at::allclose(moved[1], whole[1], 1e-3, 1e-3));
}

TEST_CASE("inputs are left as they are, samples do not mix, shapes may change between calls") {
  const c10::InferenceMode inference;
  at::manual_seed(32);
  const TestFolder folder;
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    const auto model = small_model(folder, dtype);
    CHECK(model->dtype() == dtype);
    const TransformerInputs inputs = small_inputs(2);
    TransformerInputs copy = inputs, second = inputs;
    copy.hidden_states = inputs.hidden_states.clone();
    second.hidden_states = inputs.hidden_states.narrow(0, 1, 1);
    second.timestep = inputs.timestep.narrow(0, 1, 1);
    second.encoder_hidden_states = inputs.encoder_hidden_states.narrow(0, 1, 1);
    const at::Tensor both = model->forward(inputs, {});
    CHECK(both.scalar_type() == dtype);
    CHECK(at::equal(inputs.hidden_states, copy.hidden_states));
    TransformerInputs other = small_inputs(1);
    other.hidden_states = at::randn({1, 3, 1, 6, 2});
    CHECK(model->forward(other, {}).sizes() == at::IntArrayRef({1, 5, 1, 6, 2}));
    const double tolerance = dtype == at::kFloat ? 1e-5 : 5e-2;
    CHECK(at::allclose(model->forward(second, {})[0], both[1], tolerance, tolerance));
  }
}

TEST_CASE("what is kept of the text changes no bit, and follows the text") {
  const c10::InferenceMode inference;
  at::manual_seed(33);
  const TestFolder folder;
  const auto model = small_model(folder);
  TransformerInputs inputs = small_inputs(2), other = inputs;
  other.encoder_hidden_states = at::randn({2, 7, 8});
  StepMemo memo;
  StepContext keeping;
  keeping.memo = &memo;
  for (int step = 0; step < 3; ++step) {
    inputs.timestep = other.timestep = at::rand({2}).mul_(1000);
    CHECK(at::equal(model->forward(inputs, keeping), model->forward(inputs, {})));
    CHECK(at::equal(model->forward(other, keeping), model->forward(other, {})));
  }
}

TEST_CASE("inputs that do not fit are all named") {
  const c10::InferenceMode inference;
  at::manual_seed(34);
  const TestFolder folder;
  const auto model = small_model(folder);
  TransformerInputs inputs = small_inputs(1);
  inputs.hidden_states = at::randn({1, 3, 2, 5, 6});
  inputs.timestep = at::zeros({4});
  inputs.encoder_hidden_states = at::randn({1, 7, 9});
  inputs.encoder_hidden_states_image = at::randn({1, 2, 3});
  inputs.guidance = at::ones({1});
  try {
    model->forward(inputs, {});
    FAIL("was taken");
  } catch (const UserError& error) {
    CHECK(error.problems().size() == 5);
    const std::string said = error.what();
    for (const char* word :
         {"height (5", "timestep", "encoder_hidden_states [1, 7, 9]", "no image_dim", "guidance"}) {
      INFO(said);
      CHECK(said.find(word) != std::string::npos);
    }
  }
}

TEST_CASE("a trace has a row a layer") {
  const c10::InferenceMode inference;
  at::manual_seed(35);
  const TestFolder folder;
  const auto model = small_model(folder);
  Trace trace;
  StepContext context;
  context.trace = &trace;
  model->forward(small_inputs(1), context);
  std::set<std::string> layers;
  for (const TraceRow& row : trace.rows()) {
    layers.insert(row.layer);
  }
  for (const char* layer :
       {"patch_embedding", "condition_embedder.time_proj", "condition_embedder.text_embedder",
        "blocks.0.attn1", "blocks.0", "blocks.1", "proj_out"}) {
    CHECK(layers.count(layer) == 1);
  }
}

}  // namespace
}  // namespace rushes
