// The components' configs. First byte: which one; then its JSON. What a config that is taken says is reckoned
// with.

#include <cmath>

#include "fuzz.h"
#include "models/dits/wan_config.h"
#include "models/encoders/t5_config.h"
#include "models/schedulers/flow_match_euler.h"
#include "models/schedulers/unipc_config.h"
#include "models/vaes/wan_vae_config.h"
#include "weights/model_dir.h"

using namespace rushes;

namespace {

void transformer(const nlohmann::json& config) {
  const WanConfig read = read_wan_config(config, "config.json");
  fuzz::hold(wan_parameter_count(read) > 0, "a model has parameters");
}

void vae(const nlohmann::json& config) {
  const WanVaeConfig read = parse_wan_vae(config, "config.json");
  fuzz::hold(read.decoded_frames(read.latent_frames(81)) > 0, "frames are decoded to frames");
  for (const Cost& cost :
       {wan_vae_decode_cost(config, 81, 480, 832), wan_vae_encode_cost(config, 81, 480, 832)}) {
    fuzz::hold(std::isfinite(cost.flops) && cost.flops >= 0 && cost.weight_bytes > 0, "a cost is a number");
  }
}

// Longer schedules take their time, and nothing else.
constexpr int64_t kMostTimesteps = 2000;

void unipc(const nlohmann::json& config) {
  const UniPcConfig read = parse_unipc(config, "scheduler_config.json");
  if (read.num_train_timesteps > kMostTimesteps) return;
  const UniPcSchedule schedule = unipc_schedule(read, 4, {});
  fuzz::hold(schedule.sigmas.numel() == schedule.timesteps.numel() + 1, "one sigma more than timesteps");
}

void flow_match(const nlohmann::json& config) {
  const FlowMatchEulerScheduler scheduler(parse_flow_match_euler(config, "scheduler_config.json"));
  const auto run = scheduler.start(4, {});
  fuzz::hold(run->timesteps().numel() == 4 && run->sigmas().numel() == 5, "a schedule of four steps");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string text = fuzz::text_of(data, size);
  const size_t which = fuzz::choice(text, 6);
  fuzz::accepted([&] {
    const nlohmann::json config = parse_json(text, "config.json");
    switch (which) {
      case 0:
        return transformer(config);
      case 1:
        return vae(config);
      case 2:
        return unipc(config);
      case 3:
        return flow_match(config);
      default:
        parse_t5_config(config, which == 4 ? T5Variant::t5 : T5Variant::umt5, "config.json");
    }
  });
  return 0;
}
