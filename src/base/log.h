#pragma once
// The log: lines for people on stderr, the same lines with time and rank in a file. Thread-safe.
// One log a process, set up once by main; every line goes through log_line, which hides secrets (the value of
// HF_TOKEN, what log_secret was told, and anything shaped like a Hub token).

#include <string>

#include "base/str.h"

namespace rushes {

enum class LogLevel { debug, info, warning, error };

/// Without what would steer a terminal: control characters but line breaks and tabs as \\x1b. For names and
/// texts that come from files.
std::string without_controls(const std::string& text);

/// `rank` of `world` goes into each line when world > 1. Ranks other than 0 write to stderr only from
/// `warning` up.
void log_setup(int rank, int world, LogLevel level);
/// Every line from now on also goes to this file (appended, flushed line by line). Throws UserError if it
/// can't open.
void log_to_file(const std::string& path);
void log_line(LogLevel level, const std::string& text);

/// Lines that stay below the log on a terminal (live progress): each call replaces the last block, log lines
/// appear above it, "" takes it away. Lines must end in a newline and fit the terminal's width. Not logged.
void log_live(const std::string& block);

template <class... Values>
void log_debug(const Values&... values) {
  log_line(LogLevel::debug, str(values...));
}
template <class... Values>
void log_info(const Values&... values) {
  log_line(LogLevel::info, str(values...));
}
template <class... Values>
void log_warning(const Values&... values) {
  log_line(LogLevel::warning, str(values...));
}
template <class... Values>
void log_error(const Values&... values) {
  log_line(LogLevel::error, str(values...));
}

/// From now on this text too is a secret (one of less than 4 bytes is not: it would hide ordinary words).
void log_secret(const std::string& secret);

/// `text` with every secret replaced by "***".
std::string hide_secrets(const std::string& text);

}  // namespace rushes
