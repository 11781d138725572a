#include "base/log.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <mutex>
#include <regex>
#include <vector>

#include "base/env.h"
#include "base/error.h"

namespace rushes {
namespace {

struct LogState {
  std::mutex mutex;
  int rank = 0;
  int world = 1;
  LogLevel level = LogLevel::info;
  std::ofstream file;
  std::string live;  // the block below the log, as it stands on the terminal
};

LogState& state() {
  static LogState instance;
  return instance;
}

constexpr size_t kLeastSecret = 4;

struct Secrets {
  std::mutex mutex;
  std::vector<std::string> list;
};

Secrets& secrets() {
  static Secrets instance;
  return instance;
}

const char* level_name(LogLevel level) {
  switch (level) {
    case LogLevel::debug:
      return "debug";
    case LogLevel::info:
      return "info";
    case LogLevel::warning:
      return "warning";
    case LogLevel::error:
      return "error";
  }
  return "?";
}

/// Moves the cursor up over the live block and clears from there on.
std::string erase_live(const std::string& block) {
  const auto lines = std::count(block.begin(), block.end(), '\n');
  return lines == 0 ? std::string() : str("\x1b[", lines, "A\r\x1b[J");
}

std::string time_now() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  tm parts{};
  gmtime_r(&now.tv_sec, &parts);
  char text[32];
  const size_t length = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
  char whole[48];
  snprintf(whole, sizeof whole, "%.*s.%03ldZ", static_cast<int>(length), text, now.tv_nsec / 1000000);
  return whole;
}

}  // namespace

void log_setup(int rank, int world, LogLevel level) {
  LogState& log = state();
  const std::lock_guard lock(log.mutex);
  log.rank = rank;
  log.world = world;
  log.level = level;
}

void log_to_file(const std::string& path) {
  LogState& log = state();
  const std::lock_guard lock(log.mutex);
  log.file.close();
  log.file.clear();
  struct stat info {};
  if (::lstat(path.c_str(), &info) == 0 && !S_ISREG(info.st_mode))
    fail("cannot write the log ", path, ": something that is no file is in the way");
  log.file.open(path, std::ios::app);
  if (!log.file) fail("cannot write the log ", path, ": check that the folder exists and may be written");
}

void log_secret(const std::string& secret) {
  if (secret.size() < kLeastSecret) return;
  Secrets& known = secrets();
  const std::lock_guard lock(known.mutex);
  if (std::find(known.list.begin(), known.list.end(), secret) == known.list.end())
    known.list.push_back(secret);
}

std::string hide_secrets(const std::string& text) {
  std::string clean = text;
  std::vector<std::string> list = {env(EnvVar::hf_token)};
  {
    Secrets& known = secrets();
    const std::lock_guard lock(known.mutex);
    list.insert(list.end(), known.list.begin(), known.list.end());
  }
  for (const std::string& token : list) {
    if (token.size() < kLeastSecret) continue;
    for (size_t at = clean.find(token); at != std::string::npos; at = clean.find(token, at + 3)) {
      clean.replace(at, token.size(), "***");
    }
  }
  if (clean.find("hf_") == std::string::npos) return clean;
  static const std::regex hub_token("hf_[A-Za-z0-9]{16,}");
  return std::regex_replace(clean, hub_token, "***");
}

std::string without_controls(const std::string& text) {
  std::string clean;
  const auto byte = [&](size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  for (size_t i = 0; i < text.size(); ++i) {
    const bool low = (byte(i) < 0x20 && text[i] != '\n' && text[i] != '\t') || byte(i) == 0x7f;
    const bool high =
        byte(i) == 0xc2 && byte(i + 1) >= 0x80 && byte(i + 1) < 0xa0;  // U+0080 to U+009F in UTF-8
    if (!low && !high) {
      clean += text[i];
      continue;
    }
    char code[8];
    snprintf(code, sizeof code, "\\x%02x", byte(high ? ++i : i));
    clean += code;
  }
  return clean;
}

void log_line(LogLevel level, const std::string& text) {
  LogState& log = state();
  const std::lock_guard lock(log.mutex);
  if (level < log.level) return;
  const std::string clean = without_controls(hide_secrets(text));
  const std::string where = log.world > 1 ? str("rank ", log.rank, ": ") : std::string();
  const std::string mark = level >= LogLevel::warning ? str(level_name(level), ": ") : std::string();
  if (log.rank == 0 || level >= LogLevel::warning) {
    const std::string line = str(erase_live(log.live), where, mark, clean, "\n", log.live);
    fwrite(line.data(), 1, line.size(), stderr);
  }
  if (log.file.is_open())
    log.file << time_now() << ' ' << level_name(level) << ' ' << where << clean << std::endl;
}

void log_live(const std::string& block) {
  LogState& log = state();
  const std::lock_guard lock(log.mutex);
  if (block.empty() && log.live.empty()) return;
  const std::string text = erase_live(log.live) + block;
  fwrite(text.data(), 1, text.size(), stderr);
  log.live = block;
}

}  // namespace rushes
