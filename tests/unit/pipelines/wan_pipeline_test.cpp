// The whole pipeline on the shapes checkpoint: equal runs, the embedding store, stopping, and CUDA beside the
// CPU.
#include <catch2/catch.hpp>

#include <iostream>
#include <map>

#include "models/tokenizers/prompt_clean.h"
#include "pipelines/pipeline.h"

namespace rushes {
namespace {

const NormalizeNfc kAsciiNfc = [](const std::string& text) { return text; };  // the tests' prompts are ASCII

std::unique_ptr<Blueprint> shapes_blueprint() {
  return make_blueprint(ModelDir::open("datasets/shapes/checkpoint"), kAsciiNfc);
}

Request small_request() {
  Request request;
  request.prompt = "a red circle moving left on a blue background";
  request.sampling.height = 64;
  request.sampling.width = 64;
  request.sampling.num_frames = 9;
  request.sampling.num_inference_steps = 3;
  request.sampling.guidance_scale = 3.0;
  request.sampling.max_sequence_length = 64;
  return request;
}

class MapStore : public EmbeddingStore {
 public:
  std::optional<at::Tensor> get(const std::string& key) override {
    const auto found = map.find(key);
    return found == map.end() ? std::nullopt : std::optional(found->second);
  }
  void put(const std::string& key, const at::Tensor& value) override { map[key] = value.clone(); }

  std::map<std::string, at::Tensor> map;
};

class CountingObserver : public StepObserver {
 public:
  explicit CountingObserver(StopToken* stop_after_first = nullptr) : stop_(stop_after_first) {}
  void on_stage(const std::string& stage) override { stages.push_back(stage); }
  void on_step(int64_t, int64_t total, double) override {
    steps += 1;
    of = total;
    if (stop_ != nullptr) stop_->request();
  }
  std::vector<std::string> stages;
  int64_t steps = 0, of = 0;

 private:
  StopToken* stop_;
};

double largest_difference(const at::Tensor& a, const at::Tensor& b) {
  return (a - b).abs().max().item<double>();
}

TEST_CASE("the same request gives the same bits, with and without a stored embedding", "[pipelines]") {
  const auto blueprint = shapes_blueprint();
  const StopToken stop;
  MapStore store;
  CountingObserver observer;
  const Clip first =
      blueprint->load({})->run(small_request(), {.stop = stop, .embeddings = &store, .observer = &observer});
  CHECK(observer.steps == 3);
  CHECK(observer.of == 3);
  CHECK(observer.stages.size() == first.times.size());
  CHECK(store.map.size() == 2);  // the prompt and the negative prompt
  CHECK(first.frames.count == 9);
  CHECK(first.frames.rgb.size() == 9u * 64 * 64 * 3);

  const Clip again = blueprint->load({})->run(small_request(), {.stop = stop, .embeddings = &store});
  const Clip alone = blueprint->load({})->run(small_request(), {.stop = stop});
  CHECK(at::equal(first.latents, again.latents));
  CHECK(at::equal(first.latents, alone.latents));
  CHECK(first.frames.rgb == alone.frames.rgb);

  Request other = small_request();
  other.sampling.seed += 1;
  CHECK_FALSE(at::equal(first.latents, blueprint->load({})->run(other, {.stop = stop}).latents));
}

TEST_CASE("guidance of 1 and less asks for no negative prompt", "[pipelines]") {
  const auto blueprint = shapes_blueprint();
  const StopToken stop;
  MapStore store;
  Request request = small_request();
  request.sampling.guidance_scale = 1.0;
  blueprint->load({})->run(request, {.stop = stop, .embeddings = &store});
  CHECK(store.map.size() == 1);
}

TEST_CASE("a wish to stop is heard after the running step", "[pipelines]") {
  const auto blueprint = shapes_blueprint();
  StopToken stop;
  CountingObserver observer(&stop);
  CHECK_THROWS_AS(blueprint->load({})->run(small_request(), {.stop = stop, .observer = &observer}),
                  StoppedEarly);
  CHECK(observer.steps == 1);
}

TEST_CASE("a blueprint says what sizes the model needs", "[pipelines]") {
  const auto blueprint = shapes_blueprint();
  Sampling sampling = small_request().sampling;
  Problems none;
  blueprint->check(sampling, "job", none);
  CHECK(none.empty());

  sampling.height = 70;
  sampling.width = 0;
  sampling.num_frames = 16;
  Problems problems;
  blueprint->check(sampling, "job", problems);
  REQUIRE(problems.list().size() == 3);
  CHECK(problems.list()[0] == "job: height is 70; this model needs a multiple of 16 (64 or 80)");
  CHECK(problems.list()[2].find("4k + 1 frames (13 or 17)") != std::string::npos);
}

TEST_CASE("the cost of a clip grows with steps and guidance", "[pipelines]") {
  const auto blueprint = shapes_blueprint();
  Sampling sampling = small_request().sampling;
  const double guided = blueprint->cost(sampling, {}).flops;
  sampling.num_inference_steps *= 2;
  CHECK(blueprint->cost(sampling, {}).flops > guided * 1.2);
  sampling.guidance_scale = 1;
  CHECK(blueprint->cost(sampling, {}).flops < guided * 1.2);
}

TEST_CASE("CUDA makes the CPU's clip", "[gpu]") {
  if (!at::hasCUDA()) {
    std::cout << "skipped: no GPU\n";
    return;
  }
  const auto blueprint = shapes_blueprint();
  const StopToken stop;
  Request request = small_request();
  request.sampling.num_frames = 17;
  request.sampling.num_inference_steps = 20;
  const Clip cpu = blueprint->load({})->run(request, {.stop = stop});
  PipelineOptions options;
  options.device = at::Device(at::kCUDA, 0);
  const Clip cuda = blueprint->load(options)->run(request, {.stop = stop});
  const Clip again = blueprint->load(options)->run(request, {.stop = stop});
  options.transformer = options.text_encoder = Dtype::bfloat16;
  const Clip half = blueprint->load(options)->run(request, {.stop = stop});
  std::cout << "latents, CUDA float32 against CPU: " << largest_difference(cpu.latents, cuda.latents)
            << "; CUDA bfloat16 against CPU: " << largest_difference(cpu.latents, half.latents) << '\n';
  CHECK(largest_difference(cpu.latents, cuda.latents) < 2e-2);
  CHECK(at::equal(cuda.latents, again.latents));
  const double rms = (cpu.latents - half.latents).pow(2).mean().sqrt().item<double>();
  CHECK(rms < 0.25 * cpu.latents.std().item<double>());
}

}  // namespace
}  // namespace rushes
