// Component folders (single file, shards, links) and model folders.
#include <catch2/catch.hpp>

#include "base/file.h"
#include "temp_files.h"
#include "weights/model_dir.h"
#include "weights/model_files.h"

using namespace rushes;
using Catch::Matchers::Contains;
namespace fs = std::filesystem;

namespace {

void put(const fs::path& file, const std::map<std::string, at::Tensor>& tensors) {
  fs::create_directories(file.parent_path());
  write_safetensors(file, tensors, {}, "test");
}

/// Two shards with tensors a and b.
void put_shards(const fs::path& folder, const std::string& stem = "model") {
  put(folder / (stem + "-00001-of-00002.safetensors"), {{"a", at::ones({2})}});
  put(folder / (stem + "-00002-of-00002.safetensors"), {{"b", at::zeros({3})}});
}

std::string index_of(const std::string& a, const std::string& b) {
  return str(R"({"metadata":{"total_size":20},"weight_map":{"a":")", a, R"(","b":")", b, "\"}}");
}

const char* const kOne = "model-00001-of-00002.safetensors";
const char* const kTwo = "model-00002-of-00002.safetensors";
const char* const kIndex = "model.safetensors.index.json";

std::string refused_folder(const fs::path& folder) {
  return refusal([&] { TensorStore::open_folder(folder); });
}

/// A folder as WanPipeline has it, with next to nothing in it.
void put_model(const TempFolder& folder) {
  folder.write("m/model_index.json", R"({"_class_name":"WanPipeline","_diffusers_version":"0.42.1",
    "boundary_ratio":null,"expand_timesteps":false,"image_encoder":[null,null],
    "scheduler":["diffusers","UniPCMultistepScheduler"],"vae":["diffusers","AutoencoderKLWan"]})");
  folder.write("m/scheduler/scheduler_config.json", R"({"_class_name":"UniPCMultistepScheduler"})");
  folder.write("m/vae/config.json", R"({"_class_name":"AutoencoderKLWan","z_dim":16})");
  put(folder.path() / "m/vae/diffusion_pytorch_model.safetensors", {{"x", at::arange(1000)}});
}

}  // namespace

TEST_CASE("Shards read as one store") {
  const TempFolder folder;
  const std::string stem = GENERATE("model", "diffusion_pytorch_model");
  put_shards(folder.path(), stem);
  folder.write(stem + ".safetensors.index.json",
               index_of(stem + "-00001-of-00002.safetensors", stem + "-00002-of-00002.safetensors"));
  const TensorStore store = TensorStore::open_folder(folder.path());
  CHECK(store.files().size() == 2);
  REQUIRE(store.tensors().size() == 2);
  CHECK(at::equal(as_tensor(store.tensors().at("a")), at::ones({2})));
  CHECK(at::equal(as_tensor(store.tensors().at("b")), at::zeros({3})));
}

TEST_CASE("An index and its shards must agree") {
  const TempFolder folder;
  put_shards(folder.path());
  const auto [index, message] = GENERATE_COPY(table<std::string, std::string>({
      {index_of(kOne, "model-00003-of-00003.safetensors"), "'model-00003-of-00003.safetensors' is missing"},
      {index_of(kTwo, kTwo), "holds no tensor 'a'"},
      {index_of(kTwo, kOne), "should be in 'model-00002-of-00002.safetensors'"},
      {index_of("../x/model.safetensors", kTwo), "must be the name of a file beside the index"},
      {index_of("/etc/passwd", kTwo), "must be the name of a file beside the index"},
      {index_of("..", kTwo), "must be the name of a file beside the index"},
      {index_of("", kTwo), "must be the name of a file beside the index"},
      {index_of("a\\u0000b", kTwo), "must be the name of a file beside the index"},
      {R"({"weight_map":{"a":"model-00001-of-00002.safetensors","b":7}})", "must be a text"},
      {R"({"weight_map":{}})", "'weight_map' is empty"},
      {R"({"weight_map":[]})", "needs an object 'weight_map'"},
      {R"([])", "needs an object 'weight_map'"},
      {R"({"weight_map":{"a":"x","a":"x"}})", "the key 'a' is there twice"},
      {"{", "not valid JSON"},
  }));
  folder.write(kIndex, index);
  INFO(index);
  CHECK_THAT(refused_folder(folder.path()), Contains(message) && Contains(folder.path().string()));
}

TEST_CASE("A tensor that the index does not name is an error") {
  const TempFolder folder;
  put_shards(folder.path());
  put(folder.path() / kOne, {{"a", at::ones({2})}, {"stray", at::ones({1})}});
  folder.write(kIndex, index_of(kOne, kTwo));
  CHECK_THAT(refused_folder(folder.path()), Contains("'stray' is not named by"));
}

TEST_CASE("Broken shards are all listed") {
  const TempFolder folder;
  folder.write(kOne, "short");
  folder.write(kTwo, "");
  folder.write(kIndex, index_of(kOne, kTwo));
  CHECK_THAT(refused_folder(folder.path()), Contains(kOne) && Contains(kTwo));
}

TEST_CASE("A folder without weights, or with two sets of them, is refused") {
  const TempFolder folder;
  CHECK_THAT(refused_folder(folder.path()), Contains("holds no weights"));
  folder.write("pytorch_model.bin", "x");
  CHECK_THAT(refused_folder(folder.path()), Contains("there is pytorch_model.bin"));
  put(folder.path() / "model.safetensors", {{"a", at::ones({2})}});
  CHECK(TensorStore::open_folder(folder.path()).tensors().size() == 1);
  put_shards(folder.path());
  folder.write(kIndex, index_of(kOne, kTwo));
  CHECK_THAT(refused_folder(folder.path()), Contains("two sets of weights"));
  CHECK_THAT(refused_folder(folder.path() / "none"), Contains("No such file"));
}

TEST_CASE("Links may lead inside the model folder and into a Hub cache's blobs, nowhere else") {
  const TempFolder folder;
  const fs::path outside = folder.path() / "outside.safetensors";
  put(outside, {{"a", at::ones({2})}});
  const fs::path model = folder.path() / "m/vae";
  fs::create_directories(model);
  fs::create_symlink(outside, model / "model.safetensors");
  CHECK_THAT(refused_folder(model), Contains("leads out of the model folder"));
  CHECK(TensorStore::open_folder(model, folder.path()).tensors().size() == 1);
  fs::remove(model / "model.safetensors");
  fs::create_symlink(folder.path() / "nothing", model / "model.safetensors");
  CHECK_THAT(refused_folder(model), Contains("No such file"));

  const fs::path hub = folder.path() / "models--org--name";
  const fs::path snapshot = hub / "snapshots/abc/vae";
  put(hub / "blobs/1234", {{"a", at::ones({2})}});
  fs::create_directories(snapshot);
  fs::create_symlink("../../../blobs/1234", snapshot / "model.safetensors");
  CHECK(TensorStore::open_folder(snapshot, snapshot.parent_path()).tensors().size() == 1);
  CHECK(TensorStore::open_folder(snapshot).tensors().size() == 1);
  fs::remove(snapshot / "model.safetensors");
  put(folder.path() / "models--org--other/blobs/1234", {{"a", at::ones({2})}});
  fs::create_symlink("../../../../models--org--other/blobs/1234", snapshot / "model.safetensors");
  CHECK_THAT(refused_folder(snapshot), Contains("leads out of the model folder"));

  // The store that repositories of one cache share: only with its mark, only under names of contents.
  const auto lead_to = [&](const fs::path& target) {
    fs::remove(hub / "blobs/5678");
    fs::remove(snapshot / "model.safetensors");
    fs::create_symlink(target, hub / "blobs/5678");
    fs::create_symlink("../../../blobs/5678", snapshot / "model.safetensors");
  };
  const std::string hash = "ab" + std::string(62, '0');
  put(folder.path() / "blobs/ab" / hash, {{"a", at::ones({2})}});
  lead_to("../../blobs/ab/" + hash);
  CHECK_THAT(refused_folder(snapshot), Contains("leads out of the model folder"));
  folder.write("blobs/.huggingface-shared-blobs", "1");
  CHECK(TensorStore::open_folder(snapshot, snapshot.parent_path()).tensors().size() == 1);
  put(folder.path() / "blobs/ab/secret", {{"a", at::ones({2})}});
  lead_to("../../blobs/ab/secret");
  CHECK_THAT(refused_folder(snapshot), Contains("leads out of the model folder"));
}

TEST_CASE("A model folder tells its components") {
  const TempFolder folder;
  put_model(folder);
  const ModelDir model = ModelDir::open(folder.path() / "m");
  CHECK(model.pipeline_class() == "WanPipeline");
  CHECK(model.components().size() == 2);
  CHECK(model.find("image_encoder") == nullptr);
  CHECK(model.require("vae").class_name == "AutoencoderKLWan");
  CHECK(model.component_config("vae")["z_dim"] == 16);
  CHECK(model.component_config("scheduler")["_class_name"] == "UniPCMultistepScheduler");
  CHECK(model.component_tensors("vae").tensors().size() == 1);
  CHECK_FALSE(model.component_file("vae", "tokenizer.json").has_value());
  CHECK(model.component_file("vae", "config.json")->size() > 10);
  CHECK_THAT(refusal([&] { model.require("vea"); }),
             Contains("did you mean 'vae'") && Contains("scheduler, vae"));
}

TEST_CASE("Everything wrong with a model folder is listed") {
  const TempFolder folder;
  const fs::path model = folder.path() / "m";
  const auto refused = [&] { return refusal([&] { ModelDir::open(model); }); };
  CHECK_THAT(refused(), Contains("does not exist"));
  folder.write("m/x", "");
  CHECK_THAT(refused(), Contains("has no model_index.json"));
  folder.write("m/model_index.json",
               R"({"vae":["diffusers","V"],"../x":["a","b"],"..":["a","b"],"a/b":["a","b"],
    "one":["a"],"half":["a",null],"file":["a","b"],"transformer":["diffusers","T"]})");
  folder.write("m/file", "");
  CHECK_THAT(refused(), Contains("'_class_name'") && Contains("'../x'") && Contains("'..'") &&
                            Contains("'a/b'") && Contains("found 1 values") && Contains("[string, null]") &&
                            Contains("file is not a folder") && Contains("m/vae is missing") &&
                            Contains("m/transformer is missing"));
  folder.write("m/model_index.json", "[1]");
  CHECK_THAT(refused(), Contains("must be a JSON object"));
  folder.write("m/model_index.json", "{\"a\": 1,\n  \"a\": 2}");
  CHECK_THAT(refused(), Contains("model_index.json:2:") && Contains("twice"));
  fs::remove(model / "model_index.json");
  fs::create_symlink("/etc/hostname", model / "model_index.json");
  CHECK_THAT(refused(), Contains("leads out of the model folder"));
}

TEST_CASE("A component's config must be there and be its own") {
  const TempFolder folder;
  put_model(folder);
  const ModelDir model = ModelDir::open(folder.path() / "m");
  folder.write("m/vae/config.json", R"({"_class_name":"AutoencoderKL"})");
  CHECK_THAT(refusal([&] { model.component_config("vae"); }),
             Contains("is of class 'AutoencoderKL'") && Contains("'AutoencoderKLWan'"));
  folder.write("m/vae/config.json", "7");
  CHECK_THAT(refusal([&] { model.component_config("vae"); }), Contains("must be a JSON object"));
  fs::remove(folder.path() / "m/vae/config.json");
  CHECK_THAT(refusal([&] { model.component_config("vae"); }), Contains("config.json is missing"));
}

TEST_CASE("The fingerprint follows what would be loaded, and nothing else") {
  const TempFolder folder;
  put_model(folder);
  const auto mark = [&](const char* name = "m") {
    return ModelDir::open(folder.path() / name).fingerprint();
  };
  const std::string first = mark();
  CHECK(first.size() == 32);
  fs::copy(folder.path() / "m", folder.path() / "copy", fs::copy_options::recursive);
  CHECK(mark("copy") == first);
  folder.write("m/vae/README.md", "words");
  CHECK(mark() == first);
  folder.write("m/vae/config.json", R"({"_class_name":"AutoencoderKLWan","z_dim":17})");
  CHECK(mark() != first);
  put_model(folder);
  CHECK(mark() == first);
  at::Tensor changed = at::arange(1000);
  changed[500] = -1;
  put(folder.path() / "m/vae/diffusion_pytorch_model.safetensors", {{"x", changed}});
  CHECK(mark() != first);
}

TEST_CASE("A large file's fingerprint sees its start, its end and what is spread over it") {
  const TempFolder folder;
  put_model(folder);
  const fs::path file = folder.path() / "m/vae/diffusion_pytorch_model.safetensors";
  const size_t size = size_t{80} << 20;
  const std::string header =
      str(R"({"x":{"dtype":"U8","shape":[)", size, R"(],"data_offsets":[0,)", size, "]}}");
  folder.write("m/vae/diffusion_pytorch_model.safetensors", length_bytes(header.size()) + header);
  fs::resize_file(file, 8 + header.size() + size);
  const auto mark = [&] { return ModelDir::open(folder.path() / "m").fingerprint(); };
  const std::string first = mark();
  for (const size_t place : {size_t{200}, size_t{2} << 20, fs::file_size(file) - 1}) {
    const auto poke = [&](char value) {
      std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
      stream.seekp(static_cast<std::streamoff>(place));
      // Wide enough that one of the sampled blocks is hit.
      stream << std::string(std::min<size_t>(size_t{400} << 10, fs::file_size(file) - place), value);
    };
    poke('x');
    CHECK(mark() != first);
    poke('\0');
    CHECK(mark() == first);
  }
}

TEST_CASE("JSON: depth, duplicates and places") {
  CHECK(parse_json(" {\"a\": [1, -2, 2.5, true, null, \"\\u00e9\"]} ", "f") ==
        nlohmann::json::parse(R"({"a": [1, -2, 2.5, true, null, "é"]})"));
  CHECK(parse_json("\xEF\xBB\xBF{}", "f").is_object());
  const auto [text, message] = GENERATE(table<std::string, std::string>({
      {"", "f:1:1: not valid JSON"},
      {"{\"a\": 1,}", "f:1:9: not valid JSON"},
      {"{\n \"a\": 1\n \"b\": 2}", "f:3:4: "},
      {"{\"a\": {\"b\": 1, \"b\": 2}}", "the key 'b' is there twice"},
      {"[1, 2", "f:1:"},
      {"{} {}", "not valid JSON"},
      {"[NaN]", "not valid JSON"},
      {"[1e999]", "not valid JSON"},
      {"\"\xff\"", "not valid JSON"},
      {std::string("[\0]", 3), "not valid JSON"},
  }));
  INFO(text);
  CHECK_THAT(refusal([&] { parse_json(text, "f"); }), Contains(message));
  CHECK_THAT(refusal([&] { parse_json(std::string(1'000'000, '['), "f"); }), Contains("levels of brackets"));
  CHECK_NOTHROW(parse_json(std::string(64, '[') + std::string(64, ']'), "f"));
}

TEST_CASE("Plain names") {
  CHECK(is_plain_name("vae"));
  CHECK(is_plain_name("..a"));
  for (const char* name : {"", ".", "..", "a/b", "/a"})
    CHECK_FALSE(is_plain_name(name));
  CHECK_FALSE(is_plain_name(std::string("a\0b", 3)));
}
