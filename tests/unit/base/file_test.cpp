#include "base/file.h"

#include <sys/resource.h>
#include <sys/stat.h>

#include <catch2/catch.hpp>
#include <csignal>

#include "base/error.h"
#include "support/errors.h"
#include "support/folder.h"

using namespace rushes;

namespace {

/// While it lives no file can grow beyond `bytes`: what a full disk looks like without one.
class SmallFiles {
 public:
  explicit SmallFiles(rlim_t bytes) {
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before_);
    rlimit small = before_;
    small.rlim_cur = bytes;
    setrlimit(RLIMIT_FSIZE, &small);
  }
  ~SmallFiles() {
    setrlimit(RLIMIT_FSIZE, &before_);
    signal(SIGXFSZ, SIG_DFL);
  }

 private:
  rlimit before_{};
};

}  // namespace

TEST_CASE("utf8: what is text and what is not") {
  CHECK(is_utf8(""));
  CHECK(is_utf8("plain"));
  CHECK(is_utf8("gr\xC3\xBC\xC3\x9F \xE2\x82\xAC \xF0\x9F\x8E\xAC"));
  CHECK(is_utf8("\xF4\x8F\xBF\xBF"));                 // U+10FFFF
  CHECK_FALSE(is_utf8(std::string_view("a\0b", 3)));  // NUL
  CHECK_FALSE(is_utf8("\xFF"));                       // no lead byte
  CHECK_FALSE(is_utf8("\x80"));                       // continuation first
  CHECK_FALSE(is_utf8("\xC3"));                       // cut short
  CHECK_FALSE(is_utf8("\xE2\x82"));                   // cut short
  CHECK_FALSE(is_utf8("\xE2\x82x"));                  // no continuation
  CHECK_FALSE(is_utf8("\xC0\x80"));                   // overlong
  CHECK_FALSE(is_utf8("\xE0\x80\x80"));               // overlong
  CHECK_FALSE(is_utf8("\xF0\x80\x80\x80"));           // overlong
  CHECK_FALSE(is_utf8("\xED\xA0\x80"));               // surrogate
  CHECK_FALSE(is_utf8("\xF4\x90\x80\x80"));           // beyond U+10FFFF
  CHECK_FALSE(is_utf8("gr\xFC\xDF"));                 // Latin-1
}

TEST_CASE("read_file: whole, bounded, and says what is wrong") {
  const TestFolder folder;
  const std::string path = folder.write("a.txt", std::string("x\0y\n", 4));
  CHECK(read_file(path) == std::string("x\0y\n", 4));
  CHECK(read_file(path, 4).size() == 4);
  CHECK(error_of([&] { read_file(path, 3); }).find("at most 3") != std::string::npos);
  CHECK(error_of([&] { read_file(folder / "none"); }) ==
        "cannot read " + (folder / "none").string() + ": No such file or directory");
  CHECK(error_of([&] { read_file(folder.path()); }).find("it is a folder") != std::string::npos);
  CHECK(error_of([&] { read_file("/dev/zero", 1000); }).find("a pipe or device") != std::string::npos);
  REQUIRE(mkfifo((folder / "pipe").c_str(), 0600) == 0);
  CHECK(error_of([&] { read_file(folder / "pipe"); }).find("a pipe or device") != std::string::npos);
}

TEST_CASE("atomic files: whole or not at all") {
  const TestFolder folder;
  const auto path = folder / "video.mp4";
  CHECK(temporary_name(path, "me") == folder / ".video.me.tmp.mp4");
  write_file_atomic(path, "one", "me");
  CHECK(read_file(path) == "one");
  write_file_atomic(path, "two", "me");
  CHECK(read_file(path) == "two");
  CHECK(folder.count() == 1);

  SECTION("the writer throws: the old file stays, nothing is left over") {
    CHECK_THROWS_AS(write_path_atomic(path, "me",
                                      [](const std::filesystem::path& beside) {
                                        std::ofstream(beside) << "half";
                                        throw std::runtime_error("broken");
                                      }),
                    std::runtime_error);
    CHECK(read_file(path) == "two");
    CHECK(folder.count() == 1);
  }
  SECTION("the disk is full: the same, and the reason is told") {
    std::string error;
    {
      const SmallFiles limit(1000);
      error = error_of([&] { write_file_atomic(path, std::string(100000, 'x'), "me"); });
    }
    CHECK(error.find("cannot write") != std::string::npos);
    CHECK(error.find("File too large") != std::string::npos);
    CHECK(read_file(path) == "two");
    CHECK(folder.count() == 1);
  }
  SECTION("no such folder") {
    CHECK(error_of([&] { write_file_atomic(folder / "none" / "a", "x", "me"); }).find("No such file") !=
          std::string::npos);
  }
  SECTION("the target is a folder: the rename fails and cleans up") {
    std::filesystem::create_directory(folder / "taken");
    CHECK(error_of([&] { write_file_atomic(folder / "taken", "x", "me"); }).find("rename") !=
          std::string::npos);
    CHECK(folder.count() == 2);
  }
  SECTION("a path without a folder lies in the working directory") {
    const auto before = std::filesystem::current_path();
    std::filesystem::current_path(folder.path());
    write_file_atomic("bare", "x", "me");
    std::filesystem::current_path(before);
    CHECK(read_file(folder / "bare") == "x");
  }
}

TEST_CASE("hashes: bytes and files agree, known value") {
  const TestFolder folder;
  std::string bytes(300000, '\0');
  for (size_t i = 0; i < bytes.size(); ++i)
    bytes[i] = static_cast<char>(i * 31 % 251);
  CHECK(hash_bytes("") == "99aa06d3014798d86001c324468d497f");  // XXH3 128 of nothing
  CHECK(hash_file(folder.write("a", bytes)) == hash_bytes(bytes));
  CHECK(hash_bytes(bytes).size() == 32);
  bytes[150000] ^= 1;
  CHECK(hash_file(folder / "a") != hash_bytes(bytes));
}
