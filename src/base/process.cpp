#include "base/process.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "base/env.h"
#include "base/error.h"

extern char** environ;

namespace rushes {
namespace {

/// A pipe, both ends closed when it goes.
struct Pipe {
  Pipe() {
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) fail("cannot make a pipe: ", std::strerror(errno));
  }
  ~Pipe() {
    close(0);
    close(1);
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  void close(size_t end) {
    if (ends[end] >= 0) ::close(ends[end]);
    ends[end] = -1;
  }
  std::array<int, 2> ends = {-1, -1};
};

/// Reads both until both are closed.
void read_both(Pipe& out, Pipe& err, Ended& ended) {
  std::array<std::pair<Pipe*, std::string*>, 2> sources = {{{&out, &ended.out}, {&err, &ended.err}}};
  while (out.ends[0] >= 0 || err.ends[0] >= 0) {
    std::array<pollfd, 2> waits = {{{out.ends[0], POLLIN, 0}, {err.ends[0], POLLIN, 0}}};
    if (::poll(waits.data(), waits.size(), -1) < 0 && errno != EINTR) return;
    for (size_t i = 0; i < sources.size(); ++i) {
      if (waits[i].fd < 0 || waits[i].revents == 0) continue;
      std::array<char, 4096> piece{};
      const ssize_t length = ::read(waits[i].fd, piece.data(), piece.size());
      if (length > 0) sources[i].second->append(piece.data(), static_cast<size_t>(length));
      if (length == 0 || (length < 0 && errno != EINTR)) sources[i].first->close(0);
    }
  }
}

}  // namespace

Ended run_program(const std::vector<std::string>& words) {
  Pipe out, err;
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, out.ends[1], STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, err.ends[1], STDERR_FILENO);
  std::vector<char*> arguments;
  for (const std::string& word : words)
    arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  pid_t pid = 0;
  const int error = ::posix_spawnp(&pid, arguments[0], &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) fail("cannot start ", words[0], ": ", std::strerror(error));
  out.close(1);
  err.close(1);
  Ended ended;
  read_both(out, err, ended);
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  ended.code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  return ended;
}

std::vector<std::string> environment_names(const std::string& beginning) {
  std::vector<std::string> names;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    if (text.starts_with(beginning)) names.push_back(text.substr(0, text.find('=')));
  }
  return names;
}

std::string find_program(const std::string& name) {
  const std::string path = env(EnvVar::path);
  for (size_t start = 0; start <= path.size();) {
    const size_t end = std::min(path.find(':', start), path.size());
    const std::filesystem::path candidate = std::filesystem::path(path.substr(start, end - start)) / name;
    if (end > start && ::access(candidate.c_str(), X_OK) == 0) return candidate.string();
    start = end + 1;
  }
  return {};
}

std::string one_line(std::string text) {
  while (text.ends_with('\n'))
    text.pop_back();
  for (char& c : text) {
    const bool space = c == '\n' || c == '\t' || c == '\r';
    if (static_cast<unsigned char>(c) < 0x20) c = space ? ' ' : '?';
  }
  return text;
}

std::string shell_word(const std::string& text) {
  const std::string plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./:,@%";
  if (!text.empty() && text.find_first_not_of(plain) == std::string::npos) return text;
  std::string word = "'";
  for (const char c : text) {
    if (c == '\'') word += "'\\''";
    if (c != '\'') word += c;
  }
  return word + "'";
}

}  // namespace rushes
