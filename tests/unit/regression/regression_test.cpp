#include <catch2/catch.hpp>
#include <fstream>

#include "base/error.h"
#include "base/file.h"
#include "media/ffmpeg/image.h"
#include "regression/history.h"
#include "regression/report.h"
#include "support/errors.h"
#include "support/folder.h"

using namespace rushes;

namespace {

/// A finished clip of one small frame of one colour, at `root`.
ClipFiles clip_of(const std::filesystem::path& root, const std::string& id, uint8_t value) {
  ClipFiles clip{
      .id = id, .root = root, .done = true, .error = {}, .record = {}, .files = {}, .min_ssim = {}};
  const Frames frames{.count = 1, .height = 16, .width = 16, .rgb = std::vector<uint8_t>(16 * 16 * 3, value)};
  std::filesystem::create_directories(root / "frames" / id);
  const std::string path = "frames/" + id + "/00000.png";
  write_png(root / path, frames, 0);
  clip.files = {{"frames", path, std::filesystem::file_size(root / path), hash_file(root / path)}};
  clip.record = {
      {"model", "a/b"},
      {"run", "r"},
      {"prompt", "p"},
      {"code", "1"},
      {"request", {{"device", "cpu"}, {"precision.transformer", "float32"}, {"attention", "flash"}}}};
  return clip;
}

}  // namespace

TEST_CASE("references: a model has one name, wherever it lies") {
  CHECK(reference_model_name("datasets/shapes/checkpoint") == "shapes--checkpoint");
  CHECK(reference_model_name("/models/shapes/checkpoint/") == "shapes--checkpoint");
  CHECK(reference_model_name("Wan-AI/Wan2.1-T2V-1.3B-Diffusers@main") == "Wan-AI--Wan2.1-T2V-1.3B-Diffusers");
  CHECK(reference_model_name("/srv/Wan-AI/Wan2.1-T2V-1.3B-Diffusers") == "Wan-AI--Wan2.1-T2V-1.3B-Diffusers");
  CHECK(reference_model_name("a b/c<d>") == "a_b--c_d_");
  CHECK(reference_model_name("x/../../..") != "..");
}

TEST_CASE("references: what is put is found, old versions stay, damage is seen") {
  const TestFolder folder;
  const ReferenceStore store(folder / "references");
  const ClipFiles first = clip_of(folder / "one", "clip", 10), second = clip_of(folder / "two", "clip", 200);
  const ReferenceKey key = key_of(first);
  CHECK(key.folder() == "a--b/cpu-float32-flash");
  CHECK_FALSE(store.find(key, "clip"));
  store.put(key, first, "t1");
  store.put(key, second, "t2");
  CHECK(store.ids(key) == std::vector<std::string>{"clip"});
  CHECK(store.keys() == std::vector<std::string>{key.folder()});
  const auto found = store.find(key, "clip");
  REQUIRE(found);
  CHECK(found->blessed == "t2");
  CHECK(load_pictures(found->clip, PictureSource::frames).rgb.front() == 200);
  CHECK(std::filesystem::exists(folder / "references" / key.folder() / "versions/clip/t1/reference.json"));
  CHECK(damage(found->clip, "frames").empty());
  std::ofstream(found->clip.root / found->clip.files.front().path) << "x";
  CHECK_THAT(damage(found->clip, "frames"), Catch::Contains("other bytes"));
  CHECK(compare_clip(second, found->clip).verdict == Verdict::unreadable);
  store.drop(key, "clip");
  CHECK(store.ids(key).empty());
}

TEST_CASE("references: hostile JSON is refused in words") {
  const TestFolder folder;
  const ReferenceStore store(folder / "references");
  const ReferenceKey key = key_of(clip_of(folder / "one", "clip", 10));
  const auto path = folder / "references" / key.folder() / "clips" / "clip.json";
  std::filesystem::create_directories(path.parent_path());
  for (const char* text : {"", "[]", "{}", R"({"schema": "rushes.reference/9", "id": "clip", "files": []})",
                           R"({"schema": "rushes.reference/1", "id": "other", "files": []})",
                           R"({"schema": "rushes.reference/1", "id": "clip", "files": [{"kind": 1}]})",
                           R"({"schema": "rushes.reference/1", "id": "clip", "files": {"a": 1}})",
                           R"({"schema": "rushes.reference/1", "id": "clip", "files":
                               [{"kind": "video", "path": "../../x", "bytes": 1, "hash": ""}]})"}) {
    std::ofstream(path, std::ios::trunc) << text;
    CHECK(error_of([&] { store.find(key, "clip"); }) != "no error");
  }
  ClipFiles hostile = clip_of(folder / "one", "clip", 10);
  hostile.record["request"]["attention"] = "../../x";
  CHECK(error_of([&] { key_of(hostile); }) != "no error");
}

TEST_CASE("comparison: verdicts, thresholds and what is missing") {
  const TestFolder folder;
  const ReferenceStore store(folder / "references");
  std::vector<ClipFiles> clips;
  for (const char* id : {"same", "other", "own", "gone"}) {
    const ClipFiles clip = clip_of(folder / "one", id, 100);
    store.put(key_of(clip), clip, "t");
    if (std::string(id) != "gone")
      clips.push_back(clip_of(folder / "two", id, std::string(id) == "same" ? 100 : 50));
  }
  clips[2].min_ssim = 0.1;
  clips.push_back(clip_of(folder / "two", "new", 1));
  clips.push_back(clips.back());
  clips.back().id = "failed";
  clips.back().done = false;
  const Comparison comparison = compare_clips(clips, store, {}, nullptr);
  std::map<std::string, std::string> verdicts;
  for (const ClipComparison& clip : comparison.clips)
    verdicts[clip.id] = verdict_word(clip.verdict);
  CHECK(verdicts == std::map<std::string, std::string>{{"same", "passed"},
                                                       {"other", "fell short"},
                                                       {"own", "passed"},
                                                       {"new", "no reference"},
                                                       {"failed", "not made"},
                                                       {"gone", "missing"}});
  CHECK_FALSE(comparison.passed());
  CHECK(summary(comparison).find('\n') == std::string::npos);
  CHECK(report_json(comparison).at("clips").size() == 6);
  CHECK_THROWS_AS(compare_clips(clips, store, {}, [] { return true; }), StoppedEarly);
}

TEST_CASE("history: later lines of a run count, broken ones are left out") {
  const TestFolder folder;
  const ReferenceStore store(folder / "references");
  const ClipFiles clip = clip_of(folder / "one", "clip", 10);
  store.put(key_of(clip), clip, "t");
  Comparison comparison = compare_clips({clip}, store, {}, nullptr);
  for (const char* output : {"a", "b", "a"}) {
    comparison.output = output;
    comparison.time = std::string("time of ") + output;
    note_in_history(store, comparison);
  }
  std::ofstream(folder / "references" / "history.jsonl", std::ios::app)
      << "{\"schema\": \"rushes.history/1\"}\n[]\n{\"schema\": 3}\n{\"schema\": \"rushes.hist";
  note_in_history(store, comparison);
  const std::vector<Night> nights = read_history(store, 10);
  REQUIRE(nights.size() == 2);
  CHECK(nights.back().output == "a");
  CHECK(nights.back().worst({"a--b/cpu-float32-flash/clip"}) == 1.0);
  CHECK_FALSE(nights.back().worst({"none"}));
  CHECK(read_history(store, 1).size() == 1);
}

TEST_CASE("report: templates and escapes") {
  CHECK(escaped("<a href='x'>\"&\x01") == "&lt;a href=&#39;x&#39;&gt;&quot;&amp; ");
  CHECK(fill_template("{{a}} {{{a}}} {b}", {{"a", "<"}}) == "&lt; < {b}");
  CHECK(fill_template("{{a}}", {{"a", "{{b}}"}}) == "{{b}}");
  CHECK_THROWS_AS(fill_template("{{c}}", {{"a", "x"}}), InternalError);
}
