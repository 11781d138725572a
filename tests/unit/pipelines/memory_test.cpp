// What a clip does to be made in less memory, on the shapes checkpoint.
#include <sys/resource.h>

#include <catch2/catch.hpp>
#include <fstream>
#include <functional>

#include "device/kept_memory.h"
#include "device/torch_error.h"
#include "models/tokenizers/prompt_clean.h"
#include "pipelines/pipeline.h"

namespace rushes {
namespace {

std::unique_ptr<Pipeline> shapes_pipeline() {
  static const auto blueprint = make_blueprint(ModelDir::open("datasets/shapes/checkpoint"),
                                               [](const std::string& text) { return text; });
  return blueprint->load({});
}

Request request_of(int64_t side) {
  Request request;
  request.prompt = "a red circle moving left on a blue background";
  request.sampling.height = request.sampling.width = side;
  request.sampling.num_frames = 9;
  request.sampling.num_inference_steps = 3;
  request.sampling.guidance_scale = 3.0;
  request.sampling.max_sequence_length = 64;
  return request;
}

class OneCheckpoint : public CheckpointStore {
 public:
  std::optional<Checkpoint> load() override { return kept; }
  bool due() const override { return false; }
  void save(const Checkpoint& checkpoint) override {
    kept = checkpoint;
    kept->latents = checkpoint.latents.clone();
  }
  std::optional<Checkpoint> kept;
};

class StageObserver : public StepObserver {
 public:
  void on_stage(const std::string& stage) override { at_stage(stage); }
  void on_step(int64_t, int64_t, double) override { ++steps; }
  std::function<void(const std::string&)> at_stage = [](const std::string&) {};
  int steps = 0;
};

/// Until it goes, this process may hold no more private memory than now and `spare` bytes.
class MemoryLimit {
 public:
  explicit MemoryLimit(int64_t spare) {
    getrlimit(RLIMIT_DATA, &before_);
    std::ifstream status("/proc/self/status");
    std::string word;
    int64_t kibibytes = 0;
    while (status >> word && word != "VmData:") {
    }
    status >> kibibytes;
    rlimit now = before_;
    now.rlim_cur = static_cast<rlim_t>(kibibytes * 1024 + spare);
    setrlimit(RLIMIT_DATA, &now);
  }
  ~MemoryLimit() { setrlimit(RLIMIT_DATA, &before_); }
  MemoryLimit(const MemoryLimit&) = delete;
  MemoryLimit& operator=(const MemoryLimit&) = delete;

 private:
  rlimit before_{};
};

TEST_CASE("with no weights but those in use a clip has the same bits", "[pipelines]") {
  const StopToken stop;
  const auto pipeline = shapes_pipeline();
  const Clip plain = pipeline->run(request_of(64), {.stop = stop});
  const Clip spare = pipeline->run(request_of(64), {.stop = stop, .memory = {.offload = true}});
  const Clip after = pipeline->run(request_of(64), {.stop = stop});
  CHECK(at::equal(plain.latents, spare.latents));
  CHECK(plain.frames.rgb == spare.frames.rgb);
  CHECK(at::equal(plain.latents, after.latents));
  CHECK(plain.frames.rgb == after.frames.rgb);
}

TEST_CASE("tiles change the pictures and not the latents, the same way each time", "[pipelines]") {
  const StopToken stop;
  const auto pipeline = shapes_pipeline();
  const Clip plain = pipeline->run(request_of(64), {.stop = stop});
  const Clip tiles = pipeline->run(request_of(64), {.stop = stop, .memory = {.tiles = true}});
  const Clip both = pipeline->run(request_of(64), {.stop = stop, .memory = {.tiles = true, .offload = true}});
  CHECK(at::equal(plain.latents, tiles.latents));
  CHECK(plain.frames.rgb != tiles.frames.rgb);
  CHECK(both.frames.rgb == tiles.frames.rgb);
}

#ifndef __SANITIZE_ADDRESS__  // whose own memory the limit would hit
TEST_CASE("where decoding runs out of memory, another try need not denoise again", "[pipelines]") {
  const StopToken stop;
  const auto pipeline = shapes_pipeline();
  const Request request = request_of(512);
  const Clip whole = pipeline->run(request, {.stop = stop, .memory = {.tiles = true}});
  OneCheckpoint checkpoint;
  StageObserver first, second;
  {
    std::optional<MemoryLimit> limit;
    first.at_stage = [&](const std::string& stage) {
      forget_kept_memory();
      if (stage == "decoding") limit.emplace(int64_t{16} << 20);
    };
    std::optional<std::string> asked;
    try {
      pipeline->run(request, {.stop = stop, .observer = &first, .checkpoints = &checkpoint});
    } catch (const std::exception& error) {
      asked = memory_shortage(error);
    }
    REQUIRE(asked.has_value());
  }
  CHECK(first.steps == 3);
  REQUIRE(checkpoint.kept.has_value());
  CHECK(checkpoint.kept->steps_done == 3);
  const Clip tiles = pipeline->run(
      request, {.stop = stop, .observer = &second, .checkpoints = &checkpoint, .memory = {.tiles = true}});
  CHECK(second.steps == 0);
  CHECK(tiles.continued_from == 3);
  CHECK(tiles.frames.rgb == whole.frames.rgb);
}
#endif

}  // namespace
}  // namespace rushes
