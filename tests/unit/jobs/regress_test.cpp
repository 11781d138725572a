#include "jobs/regress.h"

#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <sstream>

#include "base/file.h"
#include "jobs/progress.h"
#include "jobs/record.h"
#include "media/ffmpeg/image.h"
#include "support/errors.h"
#include "support/folder.h"
#include "weights/tensor_store.h"

using namespace rushes;
using Catch::Contains;
namespace fs = std::filesystem;

namespace {

struct Look {
  std::string id;
  uint8_t gray = 100;  // of its one frame
  float latent = 1;    // of each element
};

void note(const fs::path& path, const std::string& text) {
  fs::create_directories(path.parent_path());
  write_file_atomic(path, text, "test");
}

/// The folder of a job that made these clips.
fs::path output_of(const fs::path& root, const std::vector<Look>& looks) {
  std::vector<ManifestItem> items;
  for (const Look& look : looks) {
    fs::create_directories(root / "frames" / look.id);
    fs::create_directories(root / "latents");
    const std::string frame = "frames/" + look.id + "/00000.png",
                      latents = "latents/" + look.id + ".safetensors";
    write_png(root / frame,
              {.count = 1, .height = 16, .width = 16, .rgb = std::vector<uint8_t>(16 * 16 * 3, look.gray)},
              0);
    write_safetensors(root / latents, {{"latents", at::full({1, 2, 3}, look.latent)}}, {}, "test");
    ItemRecord record;
    record.done = true;
    record.id = look.id;
    record.request = {{"device", "cpu"}, {"precision.transformer", "float32"}, {"attention", "flash"}};
    record.files = {file_entry(root, "frames", frame), file_entry(root, "latents", latents)};
    record.more = {{"model", "a/b"}};
    note(root / "items" / (look.id + ".json"), to_text(record));
    items.push_back({look.id, 1});
  }
  note(root / ".rushes" / "manifest.json", manifest_text(items));
  return root;
}

std::vector<nlohmann::json> lines_of(const fs::path& path) {
  std::vector<nlohmann::json> lines;
  std::istringstream text(read_file(path));
  for (std::string line; std::getline(text, line);)
    lines.push_back(nlohmann::json::parse(line));
  return lines;
}

std::string noise_floor_of(const std::vector<fs::path>& folders) {
  std::ostringstream out;
  tell_noise_floor(folders, out);
  return out.str();
}

}  // namespace

TEST_CASE("regress: the threshold of a broken job.yaml is not guessed") {
  const TestFolder folder;
  CHECK(thresholds_of_output(folder.path()).usual_from == "default");
  for (const char* text : {"", "regression: {min_ssim: [", "- a list\n", "regression: {min_ssim: high}\n",
                           "regression: 3\n", "regression: {least: 1}\n"}) {
    INFO(text);
    note(folder / "job.yaml", text);
    CHECK_THAT(error_of([&] { thresholds_of_output(folder.path()); }),
               Contains("job.yaml") && Contains("--min-ssim"));
  }
  note(folder / "job.yaml", "job: generate\n");
  CHECK(thresholds_of_output(folder.path()).usual_from == "default");
  note(folder / "job.yaml", "a_key_of_tomorrow: 1\nregression: {min_ssim: 0.5}\n");
  CHECK(thresholds_of_output(folder.path()).usual == 0.5);
  CHECK(thresholds_of_output(folder.path()).usual_from == "regression.min_ssim of the job");
}

TEST_CASE("regress: an output's list of ids is not followed out of the folder") {
  const TestFolder folder;
  const fs::path output = output_of(folder / "output", {{"a"}});
  fs::copy_file(output / "items" / "a.json", output / "x.json");
  note(output / ".rushes" / "manifest.json", manifest_text({{"../x", 1}}));
  CHECK_THAT(error_of([&] { clips_of_output(output); }), Contains("manifest.json: id: '../x'"));
}

TEST_CASE("regress: blessings say who, and what was dropped") {
  const TestFolder folder;
  const fs::path first = output_of(folder / "first", {{"a"}, {"b"}});
  const fs::path second = output_of(folder / "second", {{"a", 200}});
  std::ostringstream out;
  const fs::path references = folder / "references";
  BlessRequest request;
  request.output = first;
  request.references = references;
  bless(request, out);
  request.output = second;
  request.drop_missing = true;
  bless(request, out);
  const auto lines = lines_of(references / "a--b" / "cpu-float32-flash" / "blessings.jsonl");
  REQUIRE(lines.size() == 4);
  for (const nlohmann::json& line : lines) {
    CHECK(!line.at("user").get<std::string>().empty());
    CHECK(!line.at("host").get<std::string>().empty());
    CHECK(!line.at("time").get<std::string>().empty());
  }
  CHECK(lines[2].at("id") == "a");
  CHECK(lines[2].at("before").contains("worst_ssim"));
  CHECK(lines[3].at("id") == "b");
  CHECK(lines[3].at("dropped") == true);
  CHECK(lines[3].at("before").at("blessed") == lines[1].at("time"));
}

TEST_CASE("regress: nothing is blessed where the folder to upload is there, or a record lacks its key") {
  const TestFolder folder;
  const fs::path output = output_of(folder / "output", {{"a"}});
  fs::create_directories(folder / "upload");
  BlessRequest request;
  request.output = output;
  request.references = folder / "references";
  request.upload = folder / "upload/";
  std::ostringstream out;
  CHECK_THAT(error_of([&] { bless(request, out); }), Contains("--upload") && Contains("there already"));
  CHECK_FALSE(fs::exists(folder / "references"));
  request.upload = folder / "new/";
  bless(request, out);
  CHECK(fs::exists(folder / "new" / "README.md"));
  nlohmann::json record = nlohmann::json::parse(read_file(output / "items" / "a.json"));
  record["request"].erase("attention");
  note(output / "items" / "a.json", record.dump());
  request.upload.reset();
  CHECK_THAT(error_of([&] { bless(request, out); }), Contains("clip a: ") && Contains("attention"));
}

TEST_CASE("regress: the noise floor names what differs") {
  const TestFolder folder;
  const fs::path first = output_of(folder / "0", {{"a"}, {"b"}});
  const fs::path equal = output_of(folder / "1", {{"a"}, {"b"}});
  const fs::path latents = output_of(folder / "2", {{"a"}, {"b", 100, 1.5}});
  CHECK_THAT(noise_floor_of({first, equal}), Contains("1 rerun, 2 of 2 clips bit-equal: these settings"));
  const std::string floor = noise_floor_of({first, equal, latents});
  CHECK_THAT(floor,
             Contains("2 reruns, 3 of 4 clips bit-equal; all pictures are equal, latents of 1 differ") &&
                 Contains("at most by 0.5 in b"));
  CHECK_THAT(floor, !Contains("lowest SSIM") && !Contains("()"));
  const fs::path pictures = output_of(folder / "3", {{"a", 101}, {"b", 100, 1.5}});
  CHECK_THAT(noise_floor_of({first, pictures}),
             Contains("0 of 2 clips bit-equal; lowest SSIM of a frame 0.99") && Contains("(a, frame 0)"));
}

TEST_CASE("regress: nothing is written through links of a references folder from elsewhere") {
  const TestFolder folder;
  const fs::path output = output_of(folder / "out", {{"clip"}});
  const std::string mine = folder.write("mine.txt", "my own\n");
  std::ostringstream out;
  BlessRequest request;
  request.output = output;
  request.references = folder / "refs";
  const auto why = [&] { return error_of([&] { bless(request, out); }); };
  fs::create_directories(folder / "refs" / "a--b" / "cpu-float32-flash");
  fs::create_symlink(mine, folder / "refs" / "a--b" / "cpu-float32-flash" / "blessings.jsonl");
  CHECK_THAT(why(), Contains("blessings.jsonl") && Contains("link"));
  fs::remove_all(folder / "refs");
  fs::create_directories(folder / "refs");
  fs::create_directories(folder / "elsewhere");
  fs::create_directory_symlink(folder / "elsewhere", folder / "refs" / "a--b");
  CHECK_THAT(why(), Contains("nothing is written through it"));
  CHECK(fs::is_empty(folder / "elsewhere"));
  CHECK(read_file(mine) == "my own\n");
  fs::remove_all(folder / "refs");
  bless(request, out);
  fs::create_symlink(mine, folder / "refs" / "history.jsonl");
  compare_output(output, clips_of_output(output), folder / "refs", {}, nullptr);
  CHECK(read_file(mine) == "my own\n");
}

TEST_CASE("regress: a reference with other bytes than recorded is not put up for others") {
  const TestFolder folder;
  const fs::path output = output_of(folder / "out", {{"clip"}});
  std::ostringstream out;
  BlessRequest request;
  request.output = output;
  request.references = folder / "refs";
  bless(request, out);
  const std::string secret = folder.write("secret", "a key");
  for (const auto& file : fs::recursive_directory_iterator(folder / "refs")) {
    if (file.path().extension() != ".safetensors") continue;
    fs::remove(file.path());
    fs::create_symlink(secret, file.path());
    break;
  }
  CHECK_THAT(error_of([&] { ReferenceStore(folder / "refs").export_to(folder / "up"); }),
             Contains("other bytes than recorded"));
  CHECK_FALSE(fs::exists(folder / "up"));
  // And the reference is made anew, though its pictures are equal.
  bless(request, out);
  ReferenceStore(folder / "refs").export_to(folder / "up");
}

TEST_CASE("regress: a prompt line's threshold is the latest list's") {
  const TestFolder folder;
  const fs::path output = output_of(folder / "out", {{"clip"}});
  note(output / ".rushes" / "manifest.json", manifest_text({{.id = "clip", .flops = 1, .min_ssim = 0.99}}));
  CHECK(clips_of_output(output).at(0).min_ssim == 0.99);
  note(output / ".rushes" / "manifest.json", R"({"items": [["clip", 1.0]]})");  // of an older version
  CHECK_FALSE(clips_of_output(output).at(0).min_ssim.has_value());
}
