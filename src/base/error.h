#pragma once
// The two roots of every failure: what the user, a file or the machine got wrong (UserError), and what we got
// wrong (InternalError). A third type is no failure: StoppedEarly, the answer to a signal or a time limit.

#include <stdexcept>
#include <string>
#include <vector>

#include "base/str.h"

namespace rushes {

/// Wrong input or environment. Each problem is one line that says what is wrong, where (file, line, key,
/// tensor, shape) and what to do. Found before any item starts it means exit code 2; inside an item it fails
/// that item only.
class UserError : public std::runtime_error {
 public:
  explicit UserError(std::vector<std::string> problems)
      : std::runtime_error(join(problems, "\n")), problems_(std::move(problems)) {}
  explicit UserError(const std::string& problem) : UserError(std::vector<std::string>{problem}) {}

  const std::vector<std::string>& problems() const { return problems_; }

 private:
  std::vector<std::string> problems_;
};

/// A bug of ours: exit code 1.
class InternalError : public std::logic_error {
 public:
  using std::logic_error::logic_error;
};

/// Work was stopped between two steps by a signal or a limit; nothing is wrong and the rest can be done
/// later.
class StoppedEarly : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Collects everything that is wrong, so that it can be listed at once. Beyond a thousand problems the rest
/// are only counted: a file of a million broken lines is one mistake.
class Problems {
 public:
  template <class... Values>
  void add(const Values&... values) {
    if (full()) {
      ++more_;
      return;
    }
    list_.push_back(::rushes::str(values...));  // qualified: c10 has a str for its own types
  }
  bool empty() const { return list_.empty(); }
  bool full() const { return list_.size() >= kMost; }
  const std::vector<std::string>& list() const { return list_; }
  /// Throws UserError with every problem, if there is one.
  void throw_if_any() const {
    if (list_.empty()) return;
    std::vector<std::string> all = list_;
    if (more_ > 0) all.push_back(::rushes::str("and ", more_, " problems more"));
    throw UserError(std::move(all));
  }

 private:
  static constexpr size_t kMost = 1000;
  std::vector<std::string> list_;
  size_t more_ = 0;
};

template <class... Values>
[[noreturn]] void fail(const Values&... values) {
  throw UserError(::rushes::str(values...));
}

[[noreturn]] void fail_check(const char* condition, const std::string& message, const char* file, int line,
                             const char* function);

}  // namespace rushes

/// Holds what only a bug can break; the values go into the message: RUSHES_CHECK(a == b, "a=", a, " b=", b).
#define RUSHES_CHECK(condition, ...)                                                              \
  do {                                                                                            \
    if (!(condition)) [[unlikely]] {                                                              \
      ::rushes::fail_check(#condition, ::rushes::str(__VA_ARGS__), __FILE__, __LINE__, __func__); \
    }                                                                                             \
  } while (false)
