#include "datasets/shard.h"

#include <catch2/catch.hpp>
#include <random>

#include "base/file.h"
#include "datasets/h5.h"
#include "support/errors.h"
#include "support/folder.h"
#include "weights/tensor_store.h"

using namespace rushes;

namespace {

Sample sample_of(const std::string& id, int64_t frames = 5) {
  Sample sample{id, "a caption, \xC3\xA4", R"({"seed":1})", R"({"host":"x"})", {}};
  sample.parts["latents"] = at::randn({4, 2, 3, 5});
  sample.parts["text_embeds"] = at::randn({7, 11});
  sample.parts["text_mask"] = at::ones({7}, at::kByte);
  sample.parts["frames"] = at::randint(0, 256, {frames, 6, 10, 3}, at::kByte);
  return sample;
}

std::filesystem::path spooled(const TestFolder& folder, const Sample& sample) {
  const auto path = folder / (sample.id + ".safetensors");
  write_sample(path, sample, "test");
  return path;
}

bool same(const Sample& a, const Sample& b) {
  if (a.id != b.id || a.caption != b.caption || a.settings != b.settings || a.provenance != b.provenance ||
      a.parts.size() != b.parts.size())
    return false;
  for (const auto& [name, part] : a.parts) {
    if (b.parts.count(name) == 0 || !at::equal(part, b.parts.at(name))) return false;
  }
  return true;
}

}  // namespace

TEST_CASE("sample: what is written is read") {
  const TestFolder folder;
  Sample sample = sample_of("a");
  CHECK(same(read_sample(spooled(folder, sample)), sample));
  CHECK(bucket_of(sample) == "latents4x2x3x5-text_embeds7x11-frames5x6x10x3");
  sample.parts.erase("frames");
  sample.parts["video"] = at::randint(0, 256, {1234}, at::kByte);
  CHECK(bucket_of(sample) == "latents4x2x3x5-text_embeds7x11-video");
  CHECK(same(read_sample(spooled(folder, sample)), sample));
  sample.parts.clear();
  CHECK(bucket_of(sample) == "empty");
}

TEST_CASE("sample: another file is refused") {
  const TestFolder folder;
  const std::string path = (folder / "x.safetensors").string();
  const auto why = [&] { return error_of([&] { read_sample(path); }); };
  CHECK(why().find("x.safetensors") != std::string::npos);
  folder.write("x.safetensors", "");
  CHECK(why() != "no error");
  folder.write("x.safetensors", std::string(100, '\xff'));
  CHECK(why() != "no error");
  const std::map<std::string, std::string> texts = {
      {"id", "a"}, {"caption", ""}, {"settings", "{}"}, {"provenance", "{}"}};
  write_safetensors(path, {{"latents", at::zeros({1, 1, 1, 1})}}, {{"id", "a"}}, "test");
  CHECK(why().find("it has no caption") != std::string::npos);
  write_safetensors(path, {{"latents", at::zeros({1, 1, 1})}}, texts, "test");
  CHECK(why().find("its part latents is not known so") != std::string::npos);
  write_safetensors(path, {{"latents", at::zeros({1, 1, 1, 1}, at::kHalf)}}, texts, "test");
  CHECK(why().find("its part latents is not known so") != std::string::npos);
  write_safetensors(path, {{"../latents", at::zeros({1, 1, 1, 1})}}, texts, "test");
  CHECK(why().find("is not known so") != std::string::npos);
}

TEST_CASE("shard: every sample is read back, compressed or not") {
  const TestFolder folder;
  std::vector<Sample> samples;
  std::vector<std::filesystem::path> files;
  for (const char* id : {"a", "b", "c"}) {
    samples.push_back(sample_of(id));
    files.push_back(spooled(folder, samples.back()));
  }
  for (const int level : {0, 1, 9}) {
    const auto path = folder / (std::to_string(level) + ".h5");
    write_shard(path, files, {level});
    const Shard shard(path);
    REQUIRE(shard.count() == 3);
    CHECK(shard.bucket() == bucket_of(samples[0]));
    for (int64_t row = 0; row < 3; ++row)
      CHECK(same(shard.read(row), samples[static_cast<size_t>(row)]));
  }
  files.push_back(spooled(folder, sample_of("d", /*frames=*/9)));
  CHECK(error_of([&] { write_shard(folder / "x.h5", files, {}); }).find("is of the bucket") !=
        std::string::npos);
}

TEST_CASE("shard: a large part is cut into chunks and read back") {
  const TestFolder folder;
  Sample sample = sample_of("big");
  sample.parts["frames"] = at::randint(0, 256, {21, 512, 768, 3}, at::kByte);  // 24 MiB
  write_shard(folder / "big.h5", {spooled(folder, sample)}, {1});
  CHECK(same(Shard(folder / "big.h5").read(0), sample));
}

TEST_CASE("shard: cut anywhere it is refused") {
  // (The library itself falls over some changed bytes: whoever opens a shard compares its checksum first.)
  const TestFolder folder;
  std::vector<std::filesystem::path> files;
  for (const char* id : {"a", "b"})
    files.push_back(spooled(folder, sample_of(id)));
  write_shard(folder / "good.h5", files, {1});
  const std::string good = read_file(folder / "good.h5");
  std::mt19937 random(1);
  for (int i = 0; i < 300; ++i) {
    folder.write("cut.h5", good.substr(0, random() % good.size()));
    CHECK(error_of([&] { const Shard shard(folder / "cut.h5"); }) != "no error");
  }
}

TEST_CASE("shard: a foreign HDF5 file is refused") {
  const TestFolder folder;
  const std::string path = (folder / "x.h5").string();
  const auto why = [&] { return error_of([&] { Shard(path).read(0); }); };
  { const h5::Handle file = h5::create_file(path); }
  CHECK(why().find("has no attribute format") != std::string::npos);
  const auto write = [&](const std::vector<hsize_t>& latents, hid_t type) {
    std::filesystem::remove(path);
    const h5::Handle file = h5::create_file(path);
    h5::write_attribute(file, "format", "rushes samples");
    h5::write_attribute(file, "version", 1);
    h5::write_attribute(file, "bucket", "x");
    const h5::Handle text = h5::text_type();
    const auto make = [&](const char* name, hid_t of, const std::vector<hsize_t>& shape) {
      const h5::Handle space(H5Screate_simple(static_cast<int>(shape.size()), shape.data(), nullptr),
                             H5Sclose, name);
      return h5::Handle(H5Dcreate2(file, name, of, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT), H5Dclose,
                        name);
    };
    for (const char* name : {"id", "caption", "settings", "provenance"})
      make(name, text, {1});
    make("latents", type, latents);
  };
  write({1, 2, 2, 2, 2}, H5T_IEEE_F32LE);
  CHECK(why() == "no error");
  write({2, 2, 2, 2, 2}, H5T_IEEE_F32LE);
  CHECK(why().find("is not an array of the shard's samples") != std::string::npos);
  write({1, 2, 2, 2, 2}, H5T_IEEE_F64LE);
  CHECK(why().find("is not an array of the shard's samples") != std::string::npos);
  // Sizes that no memory holds cost nothing in a file without data.
  write({1, 1u << 20, 1u << 20, 1u << 20, 1}, H5T_IEEE_F32LE);
  CHECK(why().find("latents") != std::string::npos);
}

TEST_CASE("shard: a virtual set names what it cannot find") {
  const TestFolder folder;
  write_shard(folder / "a.h5", {spooled(folder, sample_of("a"))}, {});
  write_virtual_set(folder / "set.h5", folder.path(), {{"a.h5", {0}}});
  CHECK(error_of([&] {
          write_virtual_set(folder / "other.h5", folder.path(), {{"gone.h5", {0}}});
        }).find("gone.h5") != std::string::npos);
}
