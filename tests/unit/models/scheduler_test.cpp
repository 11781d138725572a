// Schedules written down from diffusers 0.42.1, refusals, and what has no finite result.
// tests/oracle/test_schedulers.py holds whole runs to diffusers.

#include <c10/core/InferenceMode.h>

#include <catch2/catch.hpp>

#include "base/error.h"
#include "models/registry.h"
#include "models/schedulers/sigma_schedules.h"

using namespace rushes;
using nlohmann::json;

namespace {

// As in Wan's checkpoints.
json wan_unipc() {
  return {{"_class_name", "UniPCMultistepScheduler"},
          {"_diffusers_version", "0.33.0.dev0"},
          {"disable_corrector", json::array()},
          {"flow_shift", 3.0},
          {"num_train_timesteps", 1000},
          {"prediction_type", "flow_prediction"},
          {"solver_p", nullptr},
          {"trained_betas", nullptr},
          {"use_flow_sigmas", true}};
}

std::unique_ptr<Scheduler> unipc(const json& change = json::object()) {
  json config = wan_unipc();
  config.update(change);
  return make_scheduler("UniPCMultistepScheduler", config, "scheduler_config.json");
}

std::unique_ptr<Scheduler> euler(const json& config = json::object()) {
  return make_scheduler("FlowMatchEulerDiscreteScheduler", config, "scheduler_config.json");
}

template <class Call>
std::string refusal(Call call) {
  try {
    call();
  } catch (const UserError& error) {
    return error.what();
  }
  return "accepted";
}

std::vector<double> numbers(const at::Tensor& tensor) {
  const at::Tensor wide = tensor.to(at::kDouble).contiguous();
  return {wide.const_data_ptr<double>(), wide.const_data_ptr<double>() + wide.numel()};
}

}  // namespace

TEST_CASE("schedulers: timesteps and flow sigmas are diffusers' to the bit, Karras sigmas but for the last") {
  const auto wan = unipc()->start(4, {});
  CHECK(wan->timesteps().scalar_type() == at::kLong);
  CHECK(numbers(wan->timesteps()) == (std::vector<double>{999, 900, 750, 500}));
  CHECK(numbers(wan->sigmas()) ==
        (std::vector<double>{0x1.ffffdep-1, 0x1.ccdc86p-1, 0x1.80312p-1, 0x1.0082fp-1, 0}));
  // A shift given to the run takes the config's place.
  CHECK(numbers(unipc({{"flow_shift", 7.0}})->start(4, 3.0)->sigmas()) == numbers(wan->sigmas()));
  const auto flow = euler({{"shift", 3.0}})->start(4, {});
  CHECK(flow->timesteps().scalar_type() == at::kFloat);
  CHECK(numbers(flow->timesteps()) ==
        (std::vector<double>{1000.0, 857.6923217773438, 602.1505737304688, 8.928571701049805}));
  CHECK(numbers(euler()->start(4, 3.0)->sigmas()) == numbers(flow->sigmas()));
  const auto karras = unipc({{"use_flow_sigmas", false},
                             {"prediction_type", "epsilon"},
                             {"beta_schedule", "scaled_linear"},
                             {"beta_start", 0.00085},
                             {"beta_end", 0.012},
                             {"use_karras_sigmas", true}})
                          ->start(4, {});
  CHECK(numbers(karras->timesteps()) == (std::vector<double>{999, 687, 146, 0}));
  // Powers: diffusers' own last bit is the processor's.
  const std::vector<double> sigmas = numbers(karras->sigmas());
  const std::vector<double> wanted = {14.614646911621094, 3.1686110496520996, 0.44692090153694153,
                                      0.02916753478348255, 0};
  REQUIRE(sigmas.size() == wanted.size());
  for (size_t i = 0; i < wanted.size(); ++i)
    CHECK(std::abs(sigmas[i] - wanted[i]) <= 1.2e-7 * wanted[i]);
}

TEST_CASE("schedulers: one step ends at the prediction of the clean sample") {
  const c10::InferenceMode inference;
  const at::Tensor x = at::randn({2, 3, 4}), v = at::randn({2, 3, 4});
  for (const auto& scheduler : {unipc(), euler({{"shift", 5.0}})}) {
    const auto run = scheduler->start(1, {});
    CHECK(run->timesteps().size(0) == 1);
    CHECK((run->step(v, x) - (x - v)).abs().max().item<double>() < 1e-5);
    CHECK(scheduler->train_timesteps() == 1000);
  }
}

TEST_CASE("schedulers: a straight path is followed exactly, whatever the number of steps") {
  const c10::InferenceMode inference;
  const at::Tensor clean = at::randn({1, 4, 2, 3}), noise = at::randn({1, 4, 2, 3});
  for (const int64_t steps : {2, 7, 50}) {
    for (const auto& scheduler : {unipc(), unipc({{"solver_order", 3}}), euler({{"shift", 2.0}})}) {
      const auto run = scheduler->start(steps, {});
      at::Tensor x = noise;
      for (int64_t i = 0; i < steps; ++i)
        x = run->step(noise - clean, x);
      CHECK((x - clean).abs().max().item<double>() < 1e-4);
    }
  }
}

TEST_CASE("schedulers: 16-bit model outputs leave the sample in float32 with UniPC, in 16 bits with Euler") {
  const at::Tensor x = at::randn({1, 2, 3}), v = at::randn({1, 2, 3}).to(at::kBFloat16);
  CHECK(unipc()->start(3, {})->step(v, x).scalar_type() == at::kFloat);
  CHECK(euler()->start(3, {})->step(v, x).scalar_type() == at::kBFloat16);
}

TEST_CASE("schedulers: fields that can't be honoured are refused by name and value") {
  for (const auto& [key, value] : std::vector<std::pair<std::string, json>>{{"use_dynamic_shifting", true},
                                                                            {"solver_p", "ddim"},
                                                                            {"solver_order", 4},
                                                                            {"solver_type", "euler"},
                                                                            {"prediction_type", "x"},
                                                                            {"beta_schedule", "laplace"},
                                                                            {"timestep_spacing", "even"},
                                                                            {"final_sigmas_type", "one"},
                                                                            {"predict_x0", false},
                                                                            {"num_train_timesteps", 1},
                                                                            {"novel", 1}}) {
    INFO(key);
    CHECK_THAT(refusal([&, k = key, v = value] { unipc({{k, v}}); }), Catch::Contains(key));
  }
  CHECK_THAT(refusal([] {
               unipc({{"use_karras_sigmas", true}, {"use_beta_sigmas", true}});
             }),
             Catch::Contains("only one"));
  CHECK_THAT(refusal([] {
               unipc({{"use_flow_sigmas", false}, {"shift_terminal", 0.1}});
             }),
             Catch::Contains("shift_terminal"));
  for (const char* key : {"use_dynamic_shifting", "stochastic_sampling"})
    CHECK_THAT(refusal([&] { euler({{key, true}}); }), Catch::Contains(key));
  CHECK(refusal([] {
          euler({{"base_shift", 0.5}, {"max_shift", 1.15}, {"time_shift_type", "linear"}});
        }) == "accepted");
}

TEST_CASE("schedulers: runs without a finite result are refused before they start") {
  CHECK(refusal([] { unipc()->start(1000, {}); }) == "accepted");
  CHECK_THAT(refusal([] { unipc()->start(0, {}); }), Catch::Contains("num_inference_steps"));
  CHECK_THAT(refusal([] { euler()->start(-1, {}); }), Catch::Contains("num_inference_steps"));
  CHECK_THAT(refusal([] { unipc({{"solver_type", "bh1"}})->start(8, {}); }), Catch::Contains("bh1"));
  CHECK(refusal([] {
          unipc({{"solver_type", "bh1"}, {"final_sigmas_type", "sigma_min"}})->start(8, {});
        }) == "accepted");
  const json other_way = {{"prediction_type", "epsilon"}, {"predict_x0", false}};
  CHECK_THAT(refusal([&] { unipc(other_way)->start(8, {}); }), Catch::Contains("predict_x0"));
  CHECK_THAT(refusal([] {
               unipc({{"lower_order_final", false}})->start(8, {});
             }),
             Catch::Contains("lower_order_final"));
  CHECK_THAT(refusal([] {
               unipc({{"shift_terminal", 0.1}})->start(1, {});
             }),
             Catch::Contains("shift_terminal"));
  CHECK_THAT(refusal([] {
               euler({{"shift_terminal", 0.1}})->start(1, {});
             }),
             Catch::Contains("shift_terminal"));
  CHECK_THAT(refusal([] {
               unipc({{"use_flow_sigmas", false}})->start(4, 3.0);
             }),
             Catch::Contains("flow_shift"));
}

TEST_CASE("schedulers: numbers that no float32 latent survives are refused by their key") {
  for (const char* key : {"sigma_min", "sigma_max", "sample_max_value", "flow_shift"}) {
    for (const double value : {1e300, -1.0})
      CHECK_THAT(refusal([&] { unipc({{key, value}}); }), Catch::Contains(key));
  }
}

TEST_CASE("schedulers: quantiles of the beta distribution") {
  // scipy.stats.beta.ppf
  CHECK(beta_quantile(0, 0.6, 0.6) == 0);
  CHECK(beta_quantile(1, 0.6, 0.6) == 1);
  CHECK(beta_quantile(0.0001, 0.6, 0.6) == Approx(3.998377158137721e-07).epsilon(1e-9));
  CHECK(beta_quantile(0.1, 0.6, 0.6) == Approx(0.03958440558878085).epsilon(1e-13));
  CHECK(beta_quantile(0.5, 0.6, 0.6) == Approx(0.5).epsilon(1e-14));
  CHECK(beta_quantile(0.77, 0.6, 0.6) == Approx(0.8461624142325022).epsilon(1e-11));
  CHECK(beta_quantile(0.999, 0.6, 0.6) == Approx(0.9999814412614826).epsilon(1e-13));
  CHECK(beta_quantile(0.3, 2, 5) == Approx(0.18180347131894917).epsilon(1e-13));
}

TEST_CASE("schedulers: a run that goes on from its history makes the same steps to the bit") {
  const c10::InferenceMode inference;
  const auto model = [](const at::Tensor& x, int64_t step) { return at::sin(x * 3 + step).mul(0.7); };
  std::vector<std::pair<std::string, std::unique_ptr<Scheduler>>> all;
  for (const int64_t order : {1, 2, 3})
    all.emplace_back(str("unipc ", order), unipc({{"solver_order", order}}));
  all.emplace_back(
      "unipc bh1, no corrector at 1",
      unipc({{"solver_type", "bh1"}, {"final_sigmas_type", "sigma_min"}, {"disable_corrector", {1}}}));
  all.emplace_back("euler", euler());
  for (const auto& [name, scheduler] : all) {
    INFO(name);
    constexpr int64_t kSteps = 7;
    const at::Tensor noise = at::randn({2, 3, 4});
    const auto whole = scheduler->start(kSteps, {});
    at::Tensor wanted = noise;
    for (int64_t step = 0; step < kSteps; ++step)
      wanted = whole->step(model(wanted, step), wanted);
    for (int64_t cut = 1; cut <= kSteps; ++cut) {
      const auto before = scheduler->start(kSteps, {});
      at::Tensor x = noise;
      for (int64_t step = 0; step < cut; ++step)
        x = before->step(model(x, step), x);
      const auto after = scheduler->start(kSteps, {});
      after->resume(cut, before->history());
      for (int64_t step = cut; step < kSteps; ++step)
        x = after->step(model(x, step), x);
      CHECK(at::equal(x, wanted));
    }
    CHECK(refusal([&] { scheduler->start(kSteps, {})->resume(kSteps + 1, whole->history()); }) != "accepted");
    CHECK(refusal([&] { scheduler->start(kSteps, {})->resume(3, {{"last_sample", noise}}); }) != "accepted");
    CHECK(refusal([&] { scheduler->start(kSteps, {})->resume(0, {}); }) != "accepted");
  }
}
