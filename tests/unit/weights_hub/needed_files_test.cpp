#include "weights/hub/needed_files.h"

#include <catch2/catch.hpp>
#include <filesystem>
#include <string>
#include <vector>

#include "base/error.h"
#include "support/folder.h"

using namespace rushes;
using namespace rushes::hub;

namespace {

Tree tree_of(const std::vector<std::string>& paths) {
  Tree tree;
  for (const std::string& path : paths)
    tree[path] = {1, std::string(40, 'a'), "", ""};
  return tree;
}

using List = std::vector<std::string>;

/// What lies in the folder is of the size that the Hub lists.
List needed(Tree tree, const TestFolder& folder) {
  for (auto& [path, file] : tree) {
    std::error_code error;
    const uint64_t size = std::filesystem::file_size(folder / path, error);
    if (!error) file.size = size;
  }
  return needed_files(tree, folder.path(), "m");
}

}  // namespace

TEST_CASE("needed files come to be known in turn: the index, configs and weights' index, shards") {
  const TestFolder folder;
  const Tree tree =
      tree_of({"README.md", "model_index.json", "vae/config.json", "vae/model.safetensors.index.json",
               "vae/model-1.safetensors", "vae/model-2.safetensors", "vae/model.fp16.safetensors",
               "vae/model.bin", "vae/sub/config.json", "other/config.json"});
  CHECK(needed(tree, folder) == List{"model_index.json"});
  folder.write("model_index.json", R"({"_class_name": "P", "vae": ["a", "B"], "x": [null, null], "n": 3})");
  const List configs = {"model_index.json", "vae/config.json", "vae/model.safetensors.index.json"};
  CHECK(needed(tree, folder) == configs);
  std::filesystem::create_directory(folder / "vae");
  folder.write(
      "vae/model.safetensors.index.json",
      R"({"weight_map": {"a": "model-2.safetensors", "b": "model-1.safetensors", "c": "model-2.safetensors"}})");
  CHECK(needed(tree, folder) == List{"model_index.json", "vae/config.json", "vae/model-1.safetensors",
                                     "vae/model-2.safetensors", "vae/model.safetensors.index.json"});
}

TEST_CASE("an index of another size than the Hub lists is not read: it is needed again") {
  const TestFolder folder;
  Tree tree = tree_of(
      {"model_index.json", "vae/config.json", "vae/model.safetensors.index.json", "vae/model-1.safetensors"});
  folder.write("model_index.json", "");
  CHECK(needed_files(tree, folder.path(), "m") == List{"model_index.json"});
  folder.write("model_index.json", R"({"vae": ["a", "B"]})");
  std::filesystem::create_directory(folder / "vae");
  folder.write("vae/model.safetensors.index.json", "");
  tree["model_index.json"].size = std::filesystem::file_size(folder / "model_index.json");
  CHECK(needed_files(tree, folder.path(), "m") ==
        List{"model_index.json", "vae/config.json", "vae/model.safetensors.index.json"});
}

TEST_CASE("whole weights go before shards, whose index is left out") {
  const TestFolder folder;
  folder.write("model_index.json", R"({"_class_name": "P", "vae": ["a", "B"]})");
  CHECK(needed(tree_of({"model_index.json", "vae/config.json", "vae/model.safetensors",
                        "vae/model.safetensors.index.json", "vae/model-1.safetensors"}),
               folder) == List{"model_index.json", "vae/config.json", "vae/model.safetensors"});
}

TEST_CASE("a repository that lacks something is refused in words") {
  const TestFolder folder;
  CHECK_THROWS_WITH(needed(tree_of({"config.json"}), folder),
                    Catch::Contains("no model_index.json") && Catch::Contains("-Diffusers"));
  folder.write("model_index.json", R"({"_class_name": "P", "vae": ["a", "B"], "text_encoder": ["c", "D"]})");
  CHECK_THROWS_WITH(needed(tree_of({"model_index.json", "vae/config.json", "vae/model.bin"}), folder),
                    Catch::Contains("'vae' has its weights only as 'vae/model.bin'") &&
                        Catch::Contains("'text_encoder' has no files"));
  folder.write("model_index.json", R"({"../evil": ["a", "B"]})");
  CHECK_THROWS_WITH(needed(tree_of({"model_index.json"}), folder), Catch::Contains("no name"));
}
