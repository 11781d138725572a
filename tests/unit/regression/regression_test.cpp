#include <catch2/catch.hpp>
#include <fstream>

#include "base/error.h"
#include "base/file.h"
#include "media/ffmpeg/image.h"
#include "regression/clip_pictures.h"
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
  CHECK(reference_model_name("Wan-AI/Wan2.1-T2V-1.3B-Diffusers@refs/pr/1") ==
        "Wan-AI--Wan2.1-T2V-1.3B-Diffusers");
  CHECK(reference_model_name("a b/c<d>") == "a_b--c_d_");
  CHECK(reference_model_name("x/../../..") != "..");
}

TEST_CASE("references: '@' in a folder's path begins no revision") {
  CHECK(reference_model_name("/models/wan@v2/checkpoint") == "wan_v2--checkpoint");
  CHECK(reference_model_name("models@home/shapes/checkpoint") == "shapes--checkpoint");
  const TestFolder folder;
  const auto before = std::filesystem::current_path();
  std::filesystem::create_directories(folder / "org/wan@v2/checkpoint");
  std::filesystem::current_path(folder.path());
  const std::string name = reference_model_name("org/wan@v2/checkpoint");
  std::filesystem::current_path(before);
  CHECK(name == "wan_v2--checkpoint");
}

TEST_CASE("references: what is put is found, old versions stay, damage is seen") {
  const TestFolder folder;
  const ReferenceStore store(folder / "references");
  const ClipFiles first = clip_of(folder / "one", "clip", 10), second = clip_of(folder / "two", "clip", 200);
  const ReferenceKey key = key_of(first);
  CHECK(key.folder() == "a--b/cpu-float32-flash");
  CHECK_FALSE(store.find(key, "clip"));
  store.stage(key, first, "t1")->put();
  store.stage(key, second, "t2")->put();
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
                               [{"kind": "video", "path": "../../x", "bytes": 1, "hash": ""}]})",
                           R"({"schema": "rushes.reference/1", "id": "clip", "files":
                               [{"kind": "video", "path": "/etc/x", "bytes": 1, "hash": ""}]})"}) {
    std::ofstream(path, std::ios::trunc) << text;
    CHECK(error_of([&] { store.find(key, "clip"); }) != "no error");
  }
  ClipFiles hostile = clip_of(folder / "one", "clip", 10);
  hostile.record["request"]["attention"] = "../../x";
  CHECK(error_of([&] { key_of(hostile); }) != "no error");
}

TEST_CASE("references: an id that is no file name gets nowhere") {
  const TestFolder folder;
  const ReferenceStore store(folder / "references");
  ClipFiles clip = clip_of(folder / "one", "clip", 10);
  const ReferenceKey key = key_of(clip);
  for (const char* id : {"../x", "..", "/x", "a/b", ""}) {
    INFO(id);
    clip.id = id;
    CHECK_THAT(error_of([&] { store.stage(key, clip, "t")->put(); }), Catch::Contains("id: "));
    CHECK_THAT(error_of([&] { store.find(key, id); }), Catch::Contains("id: "));
    CHECK_THAT(error_of([&] { store.drop(key, id); }), Catch::Contains("id: "));
    CHECK(compare_clips({clip}, store, {}, nullptr).clips.front().verdict == Verdict::unreadable);
  }
  CHECK_FALSE(std::filesystem::exists(folder / "references"));
  const auto clips = folder / "references" / key.folder() / "clips";
  std::filesystem::create_directories(clips);
  std::ofstream(clips / "clip (copy).json") << "{}";
  CHECK_THAT(error_of([&] { store.ids(key); }), Catch::Contains("clip (copy).json"));
}

TEST_CASE("references: a folder that cannot be read is not an empty one") {
  const TestFolder folder;
  const ReferenceStore store(folder / "references");
  const ClipFiles clip = clip_of(folder / "one", "clip", 10);
  const ReferenceKey key = key_of(clip);
  CHECK(store.ids(key).empty());
  CHECK(store.keys().empty());
  const auto clips = folder / "references" / key.folder() / "clips";
  std::filesystem::create_directories(clips.parent_path());
  // A link to itself: refused even to a user who may read everything.
  std::filesystem::create_directory_symlink("clips", clips);
  CHECK_THAT(error_of([&] { store.ids(key); }), Catch::Contains(clips.string()));
  CHECK_THAT(error_of([&] { store.keys(); }), Catch::Contains(clips.string()));
  CHECK_THAT(error_of([&] { store.find(key, "clip"); }), Catch::Contains(clips.string()));
  CHECK(error_of([&] { compare_clips({clip}, store, {}, nullptr); }) != "no error");
  std::filesystem::remove(clips);
  std::ofstream(clips) << "no folder";
  CHECK(error_of([&] { store.ids(key); }) != "no error");
}

TEST_CASE("references: only what is compared is kept, each file once") {
  const TestFolder folder;
  const ReferenceStore store(folder / "references");
  ClipFiles clip = clip_of(folder / "one", "clip", 10);
  const ReferenceKey key = key_of(clip);
  for (const char* kind : {"hdf5", "../../x"}) {
    std::ofstream(folder / "one" / "shard.h5") << "other clips too";
    clip.files.push_back({kind, "shard.h5", 15, hash_file(folder / "one" / "shard.h5")});
  }
  store.stage(key, clip, "t")->put();
  const auto found = store.find(key, "clip");
  REQUIRE(found);
  REQUIRE(found->clip.files.size() == 1);
  CHECK(found->clip.files.front().kind == "frames");
  size_t files = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder / "references"))
    files += entry.is_regular_file() ? 1 : 0;
  CHECK(files == 3);  // the frame, its version's JSON and the pointer
  clip.files.push_back(clip.files.front());
  CHECK_THAT(error_of([&] { store.stage(key, clip, "t2")->put(); }), Catch::Contains("two files"));
}

TEST_CASE("references: a blessing says by whom and where") {
  const TestFolder folder;
  const ReferenceStore store(folder / "references");
  const ReferenceKey key = key_of(clip_of(folder / "one", "clip", 10));
  store.note_blessing(key, {{"id", "clip"}});
  const nlohmann::json line =
      nlohmann::json::parse(read_file(folder / "references" / key.folder() / "blessings.jsonl"));
  CHECK(line.at("id") == "clip");
  CHECK_FALSE(line.at("user").get<std::string>().empty());
  CHECK_FALSE(line.at("host").get<std::string>().empty());
}

TEST_CASE("references: the folder to upload") {
  const TestFolder folder;
  const ReferenceStore store(folder / "references");
  const ClipFiles clip = clip_of(folder / "one", "clip", 10);
  const ReferenceKey key = key_of(clip);
  store.stage(key, clip, "t")->put();
  std::ofstream(folder / "references" / key.folder() / "clips" / ".other.bless-1.tmp.json") << "{";
  std::filesystem::create_directories(folder / "references" / ".git" / "x" / "clips");
  std::ofstream(folder / "references" / ".git" / "x" / "clips" / "y.json") << "{}";
  std::filesystem::create_directories(folder / "up.part");  // the user's own
  std::ofstream(folder / "up.part" / "kept") << "x";
  std::filesystem::create_directories(folder / ".up.bless-1.tmp");  // of a killed upload
  store.export_to(folder / "up/");
  CHECK(std::filesystem::exists(folder / "up.part" / "kept"));
  CHECK(compare_clips({clip}, ReferenceStore(folder / "up"), {}, nullptr).passed());
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder / "up")) {
    INFO(entry.path().string());
    CHECK_FALSE(entry.path().filename().string().starts_with('.'));
  }
  CHECK_THAT(error_of([&] { store.export_to(folder / "up"); }), Catch::Contains("there already"));
  CHECK_THAT(error_of([&] { store.export_to(folder / "up/"); }), Catch::Contains("there already"));
  CHECK(error_of([&] { store.export_to(""); }) != "no error");
  // One that cannot be made leaves nothing.
  const size_t before = folder.count();
  std::filesystem::remove_all(folder / "references" / key.folder() / "versions");
  CHECK(error_of([&] { store.export_to(folder / "second"); }) != "no error");
  CHECK(folder.count() == before);
}

TEST_CASE("comparison: verdicts, thresholds and what is missing") {
  const TestFolder folder;
  const ReferenceStore store(folder / "references");
  std::vector<ClipFiles> clips;
  for (const char* id : {"same", "other", "own", "gone"}) {
    const ClipFiles clip = clip_of(folder / "one", id, 100);
    store.stage(key_of(clip), clip, "t")->put();
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

TEST_CASE("comparison: what cannot be read fails its clip by name, not the others") {
  const TestFolder folder;
  const ReferenceStore store(folder / "references");
  std::vector<ClipFiles> clips;
  for (const char* id : {"good", "own", "keyless", "changed"}) {
    clips.push_back(clip_of(folder / "one", id, 100));
    store.stage(key_of(clips.back()), clips.back(), "t")->put();
  }
  clips[1].min_ssim = 0.5;
  clips[2].record.erase("request");
  const auto verdict = [](const Comparison& comparison, const std::string& id) {
    for (const ClipComparison& clip : comparison.clips)
      if (clip.id == id) return str(verdict_word(clip.verdict), ": ", clip.reason);
    return std::string("none");
  };
  Comparison comparison = compare_clips(clips, store, {}, nullptr);
  CHECK(verdict(comparison, "good") == "passed: ");
  CHECK_THAT(verdict(comparison, "keyless"), Catch::Contains("unreadable: clip keyless"));
  CHECK(comparison.clips.size() == 4);
  const auto model = folder / "references" / "a--b" / "model.json";
  for (const char* text : {"{", "[]", R"({"min_ssim": "high"})", R"({"min_ssim": 2})"}) {
    INFO(text);
    std::ofstream(model, std::ios::trunc) << text;
    comparison = compare_clips(clips, store, {}, nullptr);
    CHECK_THAT(verdict(comparison, "good"),
               Catch::Contains("unreadable: its threshold is not known") && Catch::Contains(model.string()));
    CHECK(verdict(comparison, "own") == "passed: ");
    CHECK(report_json(comparison).at("clips").size() == 4);
  }
  // A threshold of the command's own needs no other.
  CHECK(verdict(compare_clips(clips, store, {.forced = 0.9}, nullptr), "good") == "passed: ");
}

TEST_CASE("history: later lines of a run count, broken ones are left out") {
  const TestFolder folder;
  const ReferenceStore store(folder / "references");
  const ClipFiles clip = clip_of(folder / "one", "clip", 10);
  store.stage(key_of(clip), clip, "t")->put();
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
