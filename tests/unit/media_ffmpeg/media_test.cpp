extern "C" {
#include <libavformat/avformat.h>
}
#include <sched.h>
#include <sys/resource.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <csignal>
#include <map>
#include <random>

#include "base/error.h"
#include "base/file.h"
#include "media/ffmpeg/image.h"
#include "media/ffmpeg/video.h"
#include "support/errors.h"
#include "support/folder.h"

using namespace rushes;

namespace {

template <class Pixel>
Frames paint(int64_t count, int64_t height, int64_t width, Pixel pixel) {
  Frames frames{.count = count, .height = height, .width = width, .rgb = {}};
  for (int64_t t = 0; t < count; ++t) {
    for (int64_t y = 0; y < height; ++y) {
      for (int64_t x = 0; x < width; ++x) {
        for (int64_t c = 0; c < 3; ++c)
          frames.rgb.push_back(static_cast<uint8_t>(pixel(t, y, x, c)));
      }
    }
  }
  return frames;
}

/// Smooth colours that move: every channel another slope.
Frames gradients(int64_t count, int64_t height, int64_t width) {
  return paint(count, height, width, [=](int64_t t, int64_t y, int64_t x, int64_t c) {
    const double at = c == 0   ? static_cast<double>(x) / static_cast<double>(width)
                      : c == 1 ? static_cast<double>(y) / static_cast<double>(height)
                               : static_cast<double>(x + y) / static_cast<double>(width + height);
    return 40 + 160 * at + static_cast<double>(t);
  });
}

double psnr(const Frames& a, const Frames& b) {
  REQUIRE(a.rgb.size() == b.rgb.size());
  double sum = 0;
  for (size_t i = 0; i < a.rgb.size(); ++i)
    sum += std::pow(static_cast<double>(a.rgb[i]) - b.rgb[i], 2);
  return 10 * std::log10(255.0 * 255.0 * static_cast<double>(a.rgb.size()) / sum);
}

int largest_difference(const Frames& a, const Frames& b) {
  REQUIRE(a.rgb.size() == b.rgb.size());
  int largest = 0;
  for (size_t i = 0; i < a.rgb.size(); ++i)
    largest = std::max(largest, std::abs(a.rgb[i] - b.rgb[i]));
  return largest;
}

/// The file's own tags, but those of the container (brands).
std::map<std::string, std::string> tags_of(const std::filesystem::path& path) {
  AVFormatContext* file = nullptr;
  REQUIRE(avformat_open_input(&file, path.c_str(), nullptr, nullptr) == 0);
  std::map<std::string, std::string> tags;
  const AVDictionaryEntry* entry = nullptr;
  while ((entry = av_dict_get(file->metadata, "", entry, AV_DICT_IGNORE_SUFFIX)) != nullptr) {
    const std::string key = entry->key;
    if (key != "major_brand" && key != "minor_version" && key != "compatible_brands")
      tags[key] = entry->value;
  }
  avformat_close_input(&file);
  return tags;
}

}  // namespace

TEST_CASE("video: what is written is read back") {
  const TestFolder folder;
  const auto path = folder / "clip.mp4";
  for (const auto& [count, height, width, fps] :
       {std::tuple<int64_t, int64_t, int64_t, int64_t>{17, 64, 64, 8},
        {1, 48, 80, 16},
        {2, 34, 18, 24},
        {33, 96, 50, 30},
        {5, 240, 416, 25},
        {3, 16, 16, 1},
        {4, 64, 64, 1000}}) {
    INFO(count << " frames of " << width << "x" << height << " at " << fps);
    const Frames frames = gradients(count, height, width);
    write_video(path, frames, fps, {.crf = 18});
    const Video video = read_video(path);
    CHECK(video.frames.count == count);
    CHECK(video.frames.height == height);
    CHECK(video.frames.width == width);
    CHECK(video.fps_num == fps * video.fps_den);
    const double found = psnr(frames, video.frames);
    INFO("PSNR " << found);
    CHECK(found > 35);
  }
}

TEST_CASE("video: crf 0 loses nothing but the rounding to YUV") {
  const TestFolder folder;
  const auto path = folder / "gray.mp4";
  std::mt19937 random(7);
  std::vector<int> noise(9 * 64 * 48);
  for (int& value : noise)
    value = static_cast<int>(random() % 256);
  const Frames gray = paint(9, 64, 48, [&](int64_t t, int64_t y, int64_t x, int64_t) {
    return noise[static_cast<size_t>((t * 64 + y) * 48 + x)];
  });
  write_video(path, gray, 8, {.crf = 0});
  CHECK(largest_difference(gray, read_video(path).frames) <= 1);
  write_video(path, gray, 8, {.crf = 40});
  CHECK(largest_difference(gray, read_video(path).frames) > 10);
}

TEST_CASE("video: colours survive") {
  const TestFolder folder;
  const auto path = folder / "colours.mp4";
  const int colours[8][3] = {{255, 0, 0},   {0, 255, 0},   {0, 0, 255}, {255, 255, 0},
                             {0, 255, 255}, {255, 0, 255}, {0, 0, 0},   {255, 255, 255}};
  for (const auto& colour : colours) {
    const Frames flat = paint(3, 32, 32, [&](int64_t, int64_t, int64_t, int64_t c) { return colour[c]; });
    write_video(path, flat, 8, {.crf = 10});
    INFO(colour[0] << "," << colour[1] << "," << colour[2]);
    CHECK(largest_difference(flat, read_video(path).frames) <= 4);
  }
  // Left half red, right half blue: away from the edge both are pure, so chroma is where luma is.
  const Frames halves = paint(3, 32, 32, [](int64_t, int64_t, int64_t x, int64_t c) {
    return c == 0 ? (x < 16 ? 255 : 0) : c == 2 ? (x < 16 ? 0 : 255) : 0;
  });
  write_video(path, halves, 8, {.crf = 0});
  const Frames back = read_video(path).frames;
  for (const int64_t x : {0, 8, 12, 19, 24, 31}) {
    INFO(x);
    const uint8_t* pixel = back.frame(1) + (16 * 32 + x) * 3;
    CHECK(std::abs(pixel[0] - (x < 16 ? 255 : 0)) <= 6);
    CHECK(std::abs(pixel[2] - (x < 16 ? 0 : 255)) <= 6);
  }
}

TEST_CASE("video: the same bytes on one core and on all, today and tomorrow") {
  const TestFolder folder;
  const Frames frames = gradients(20, 96, 160);
  write_video(folder / "all.mp4", frames, 16, {});
  cpu_set_t before, one;
  REQUIRE(sched_getaffinity(0, sizeof before, &before) == 0);
  CPU_ZERO(&one);
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &before) && CPU_COUNT(&one) == 0) CPU_SET(cpu, &one);
  }
  REQUIRE(sched_setaffinity(0, sizeof one, &one) == 0);
  write_video(folder / "one.mp4", frames, 16, {});
  REQUIRE(sched_setaffinity(0, sizeof before, &before) == 0);
  const std::string bytes = read_file(folder / "all.mp4");
  CHECK(bytes == read_file(folder / "one.mp4"));
  // The index stands before the data, and no time of writing is in it.
  const size_t index = bytes.find("moov"), data = bytes.find("mdat"), header = bytes.find("mvhd");
  CHECK(index < data);
  REQUIRE(header != std::string::npos);
  CHECK(bytes.substr(header + 8, 8) == std::string(8, '\0'));  // creation and modification time
  CHECK(bytes.find("Lavf") == std::string::npos);
}

TEST_CASE("video: tags are read back, whatever they hold, and are no part of the picture") {
  const TestFolder folder;
  const Frames frames = gradients(5, 32, 48);
  const auto path = folder / "clip.mp4";
  write_video(path, frames, 8, {});
  CHECK(tags_of(path).empty());
  const Frames plain = read_video(path).frames;
  const std::string long_text(100'000, 'x');
  for (const VideoTags& tags :
       {VideoTags{.title = "a red circle", .comment = R"({"prompt":"a \"red\" circle\n","seed":7})"},
        VideoTags{.title = "猫 🐈 \x01 = ; # \\ [x]", .comment = "two\nlines\r\n"},
        VideoTags{.title = "", .comment = long_text}}) {
    write_video(path, frames, 8, {}, tags);
    std::map<std::string, std::string> wanted = {{"comment", tags.comment}};
    if (!tags.title.empty()) wanted["title"] = tags.title;
    CHECK(tags_of(path) == wanted);
    CHECK(read_video(path).frames.rgb == plain.rgb);
  }
  const std::string once = read_file(path);
  write_video(folder / "other.mp4", frames, 8, {}, {.title = "", .comment = long_text});
  CHECK(read_file(folder / "other.mp4") == once);
  CHECK_THROWS_AS(write_video(path, frames, 8, {}, {.title = "\xff", .comment = ""}), InternalError);
}

TEST_CASE("video: one frame alone is that of the whole, by its number") {
  const TestFolder folder;
  const auto path = folder / "clip.mp4";
  for (const int64_t count : {1, 2, 30}) {
    write_video(path, gradients(count, 32, 48), 8, {});
    const Frames all = read_video(path).frames;
    for (const int64_t index : {int64_t{0}, count / 2, count - 1, count + 5}) {
      INFO(index << " of " << count);
      const Frames one = read_frame(path, index);
      REQUIRE(one.count == 1);
      const uint8_t* const wanted = all.frame(std::min(index, count - 1));
      CHECK(std::equal(one.rgb.begin(), one.rgb.end(), wanted));
    }
  }
  CHECK_THROWS_AS(read_frame(folder.write("words.mp4", "these are words"), 0), UserError);
}

TEST_CASE("video: what cannot be written is told and leaves nothing") {
  const TestFolder folder;
  const auto path = folder / "clip.mp4";
  CHECK(error_of([&] { write_video(path, gradients(1, 33, 64), 8, {}); }).find("even sides") !=
        std::string::npos);
  CHECK(error_of([&] { write_video(path, gradients(0, 32, 64), 8, {}); }).find("needs a frame") !=
        std::string::npos);
  CHECK(error_of([&] { write_video(path, gradients(1, 32, 64), 0, {}); }).find("frames a second") !=
        std::string::npos);
  CHECK(error_of([&] { write_video(path, gradients(1, 32, 64), 8, {.codec = "av1"}); }).find("av1") !=
        std::string::npos);
  CHECK(error_of([&] { write_video(folder / "no" / "clip.mp4", gradients(1, 32, 64), 8, {}); }) ==
        "cannot write " + (folder / "no" / "clip.mp4").string() + ": No such file or directory");
  CHECK(folder.count() == 0);
}

TEST_CASE("video: a full disk is an error, at every size of what fits") {
  const TestFolder folder;
  const auto path = folder / "clip.mp4";
  std::mt19937 random(5);
  const Frames frames = paint(20, 96, 96, [&](int64_t, int64_t, int64_t, int64_t) { return random() % 256; });
  write_video(path, frames, 8, {});
  const uintmax_t whole = std::filesystem::file_size(path);
  std::filesystem::remove(path);
  REQUIRE(whole > 100000);  // several of FFmpeg's write buffers
  signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  for (const uintmax_t fits : {uintmax_t{0}, uintmax_t{10}, whole / 2, whole - 2000, whole - 1}) {
    rlimit small = before;
    small.rlim_cur = fits;
    setrlimit(RLIMIT_FSIZE, &small);
    const std::string error = error_of([&] { write_video(path, frames, 8, {}); });
    setrlimit(RLIMIT_FSIZE, &before);
    INFO(fits << " of " << whole << ": " << error);
    CHECK(error.find("cannot write") == 0);
    CHECK(error.find("File too large") != std::string::npos);
    CHECK(folder.count() == 0);
  }
  signal(SIGXFSZ, SIG_DFL);
}

TEST_CASE("video: a disk without space says so, and a device is not removed") {
  const std::string error = error_of([&] { write_video("/dev/full", gradients(3, 64, 64), 8, {}); });
  CHECK(error.find("No space left on device") != std::string::npos);
  CHECK(std::filesystem::exists("/dev/full"));
}

TEST_CASE("video: broken files are errors") {
  const TestFolder folder;
  CHECK_THROWS_AS(read_video(folder / "none.mp4"), UserError);
  CHECK_THROWS_AS(read_video(folder.write("empty.mp4", "")), UserError);
  CHECK_THROWS_AS(read_video(folder.write("words.mp4", "these are words")), UserError);
  write_video(folder / "good.mp4", gradients(9, 64, 64), 8, {});
  const std::string bytes = read_file(folder / "good.mp4");
  for (const size_t length : {bytes.size() / 4, bytes.size() / 2})
    CHECK_THROWS_AS(read_video(folder.write("cut.mp4", bytes.substr(0, length))), UserError);
  CHECK_THROWS_AS(read_video(folder / "good.mp4", /*max_bytes=*/3 * 64 * 64 * 3), UserError);
}

TEST_CASE("png: frames survive bit by bit, in equal bytes") {
  const TestFolder folder;
  std::mt19937 random(3);
  for (const auto& [height, width] : {std::pair<int64_t, int64_t>{1, 1}, {17, 33}, {64, 64}}) {
    const Frames frames =
        paint(2, height, width, [&](int64_t, int64_t, int64_t, int64_t) { return random() % 256; });
    const std::string bytes = encode_png(frames, 1);
    CHECK(bytes == encode_png(frames, 1));
    write_png(folder / "frame.png", frames, 1);
    CHECK(read_file(folder / "frame.png") == bytes);
    const Frames back = read_png(folder / "frame.png");
    CHECK(back.height == height);
    CHECK(back.width == width);
    CHECK(std::equal(back.rgb.begin(), back.rgb.end(), frames.frame(1)));
  }
  CHECK(error_of([&] { write_png("/dev/full", gradients(1, 64, 64), 0); }) ==
        "cannot write /dev/full: No space left on device");
  CHECK(error_of([&] { write_png(folder / "no" / "a.png", gradients(1, 8, 8), 0); }).find("No such file") !=
        std::string::npos);
  CHECK_THROWS_AS(decode_png("", "x.png"), UserError);
  CHECK_THROWS_AS(decode_png("no picture", "x.png"), UserError);
  const std::string bytes = encode_png(gradients(1, 64, 64), 0);
  CHECK_THROWS_AS(decode_png(bytes.substr(0, bytes.size() / 2), "x.png"), UserError);
}
