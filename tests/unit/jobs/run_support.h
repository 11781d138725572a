#pragma once
// A small world for the tests of the running half: a temporary output folder, and jobs without a model.

#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>

#include "base/file.h"
#include "jobs/job.h"
#include "jobs/owner.h"
#include "jobs/request_hash.h"

namespace rushes::test {

/// A folder that goes with the test.
class TemporaryFolder {
 public:
  TemporaryFolder() : TemporaryFolder(std::filesystem::temp_directory_path()) {}
  explicit TemporaryFolder(const std::filesystem::path& parent) {
    std::string name = (parent / "rushes-test-XXXXXX").string();
    REQUIRE(mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

/// Another process; killed and reaped at the latest when this goes.
class Child {
 public:
  explicit Child(const std::function<int()>& body) : pid_(fork()) {
    if (pid_ == 0) {
      // With Catch's handlers, or a sanitizer's, a death by a signal would be an exit.
      for (const int number : {SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGILL})
        std::signal(number, SIG_DFL);
      _exit(body());  // no destructors: they are the parent's
    }
    REQUIRE(pid_ > 0);
  }
  ~Child() { kill(); }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  pid_t pid() const { return pid_; }
  /// The exit code, or -signal.
  int wait() {
    int status = 0;
    if (pid_ <= 0 || waitpid(pid_, &status, 0) != pid_) return -1000;
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }
  void kill() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    wait();
  }

 private:
  pid_t pid_;
};

inline OwnerStatus status_of(const std::string& token) {
  OwnerStatus status;
  status.token = token;
  status.run = "run-1";
  return status;
}

inline Item item_of(const std::string& id, int64_t seed = 1, double flops = 1) {
  Item item;
  item.id = id;
  item.prompt = "a " + id;
  item.sampling.height = item.sampling.width = 16;
  item.sampling.num_frames = 2;
  item.sampling.fps = 8;
  item.sampling.seed = seed;
  item.flops = flops;
  item.where = "prompts.jsonl:1";
  item.request_hash = hash_request(request_of(ResolvedJob(), item));
  return item;
}

inline std::string slurp(const std::filesystem::path& path) {
  return read_file(path);
}

inline void spill(const std::filesystem::path& path, const std::string& text) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << text;
}

/// Every path below `root`, relative, that is no folder.
inline std::vector<std::string> files_below(const std::filesystem::path& root) {
  std::vector<std::string> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(root)) {
    if (!entry.is_directory()) files.push_back(std::filesystem::relative(entry.path(), root).string());
  }
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace rushes::test
