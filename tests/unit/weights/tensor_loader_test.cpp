#include "weights/tensor_loader.h"

#include <catch2/catch.hpp>

#include "temp_files.h"

using namespace rushes;
using Catch::Matchers::Contains;

namespace {

struct Stored {
  TempFolder folder;
  TensorStore store;
  explicit Stored(const std::map<std::string, at::Tensor>& tensors) {
    const auto file = folder.path() / "w.safetensors";
    write_safetensors(file, tensors, {}, "test");
    store = TensorStore::open_file(file);
  }
};

std::string complaint(TensorLoader& loader) {
  return refusal([&] { loader.finish(); });
}

}  // namespace

TEST_CASE("Parameters come in the type asked for, as views where they already are") {
  const Stored stored(
      {{"a", at::randn({2, 3})}, {"b", at::randn({2}).to(at::kBFloat16)}, {"i", at::arange(3)}});
  TensorLoader loader(stored.store, {.device = at::kCPU, .dtype = at::kFloat}, "part");
  CHECK(loader.take("a", {2, 3}).const_data_ptr() == stored.store.tensors().at("a").data);
  CHECK(loader.take("b", {2}).scalar_type() == at::kFloat);
  CHECK(at::equal(loader.take("b", {2}), as_tensor(stored.store.tensors().at("b")).to(at::kFloat)));
  CHECK(loader.take("b", {2}, at::kDouble).scalar_type() == at::kDouble);
  CHECK(loader.take("i", {3}, at::kLong).scalar_type() == at::kLong);
  CHECK(complaint(loader).empty());
  CHECK(loader.shape("a") == std::vector<int64_t>{2, 3});
  CHECK_FALSE(loader.shape("none").has_value());
}

TEST_CASE("Everything wrong is listed at once, with shapes, files and near names") {
  const Stored stored({{"block.0.weight", at::ones({2, 3})},
                       {"block.0.bias", at::ones({3})},
                       {"extra", at::ones({4})},
                       {"ids", at::arange(3)}});
  TensorLoader loader(stored.store, {}, "transformer (m/transformer)");
  const at::Tensor missing = loader.take("blocks.0.weight", {2, 3});
  CHECK(missing.sizes() == at::IntArrayRef({2, 3}));
  CHECK(missing.isnan().all().item<bool>());
  CHECK(loader.take("block.0.bias", {2}).isnan().all().item<bool>());
  CHECK(loader.take("ids", {3}).isnan().all().item<bool>());
  const std::string text = complaint(loader);
  CHECK_THAT(
      text,
      Contains("transformer (m/transformer): tensor 'blocks.0.weight' of shape [2, 3] is missing; did you "
               "mean 'block.0.weight'?"));
  CHECK_THAT(text,
             Contains("tensor 'block.0.bias' in ") && Contains("has shape [3], the config asks for [2]"));
  CHECK_THAT(text, Contains("'ids'") && Contains("stored as I64"));
  CHECK_THAT(text, Contains("tensor 'extra' of shape [4] in ") &&
                       Contains("w.safetensors is not a part of the model"));
}

TEST_CASE("A missing tensor costs no memory, an impossible shape ends at once") {
  const Stored stored({{"a", at::ones({2})}});
  TensorLoader loader(stored.store, {}, "part");
  CHECK(loader.take("huge", {int64_t{1} << 30, int64_t{1} << 20}).storage().nbytes() < 100);
  CHECK_THAT(refusal([&] {
               loader.take("x", {int64_t{1} << 40, int64_t{1} << 40});
             }),
             Contains("no such tensor can exist") && Contains("'huge'"));
  CHECK_THAT(refusal([&] { loader.take("x", {-1}); }), Contains("no such tensor can exist"));
}

TEST_CASE("A config that asks for endless layers is not followed") {
  const Stored stored({{"a", at::ones({2})}});
  TensorLoader loader(stored.store, {}, "part");
  int asked = 0;
  CHECK_THAT(refusal([&] {
               for (; asked < 1'000'000; ++asked)
                 loader.take(str("layer.", asked), {2});
             }),
             Contains("more missing tensors"));
  CHECK(asked < 20'000);
}

TEST_CASE("Names are renamed by the first rule that fits") {
  const Stored stored({{"model.a.w", at::ones({1})}, {"model.b", at::ones({2})}, {"c", at::ones({3})}});
  TensorLoader loader(stored.store, {}, "part", {{"model.a.", "first."}, {"model.", ""}});
  CHECK(loader.has("first.w"));
  CHECK(loader.has("b"));
  CHECK_FALSE(loader.has("model.b"));
  loader.take("first.w", {1});
  loader.take("b", {2});
  loader.take("c", {3});
  CHECK(complaint(loader).empty());
}

TEST_CASE("Two stored names for one of the model's are an error") {
  const Stored stored({{"x.a", at::ones({1})}, {"y.a", at::ones({1})}});
  TensorLoader loader(stored.store, {}, "part", {{"x.", ""}, {"y.", ""}});
  loader.take("a", {1});
  CHECK_THAT(complaint(loader), Contains("'x.a' and 'y.a' are both 'a'"));
}

TEST_CASE("What is knowingly unused is named exactly or by its start") {
  const Stored stored({{"head.w", at::ones({1})},
                       {"head.b", at::ones({1})},
                       {"mask", at::ones({1})},
                       {"maskx", at::ones({1})}});
  TensorLoader loader(stored.store, {}, "part");
  loader.ignore("head.*");
  loader.ignore("mask");
  CHECK_THAT(complaint(loader), Contains("'maskx'") && !Contains("'mask'") && !Contains("head"));
}
