#include "device/torch_error.h"

#include <c10/util/Exception.h>

#include <cstdio>
#include <cstdlib>
#include <new>

#include "base/error.h"

namespace rushes {
namespace {

/// LibTorch throws one type for everything but a GPU's allocator, and a file that cannot be mapped is a
/// UserError, so words have to tell: those of c10/core/impl/alloc_cpu.cpp, of CUDA's runtime and libraries,
/// and ENOMEM's.
constexpr const char* kShortages[] = {"DefaultCPUAllocator: ", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED",
                                      "CUDNN_STATUS_ALLOC_FAILED", "Cannot allocate memory"};

std::string size_text(double bytes) {
  const bool large = bytes >= 1 << 30;
  char text[48];
  std::snprintf(text, sizeof text, large ? "%.1f GiB" : "%.1f MiB", bytes / (large ? 1 << 30 : 1 << 20));
  return text;
}

/// "you tried to allocate 123 bytes" (CPU), "Tried to allocate 2.00 GiB." (CUDA)
std::string asked_for(const std::string& message) {
  const std::string words = "ried to allocate ";
  const size_t at = message.find(words);
  if (at == std::string::npos) return {};
  char* end = nullptr;
  const char* const number = message.c_str() + at + words.size();
  const double amount = std::strtod(number, &end);
  const std::string unit(end);
  if (end == number) return {};
  if (unit.starts_with(" bytes")) return size_text(amount);
  if (unit.starts_with(" KiB")) return size_text(amount * (1 << 10));
  if (unit.starts_with(" MiB")) return size_text(amount * (1 << 20));
  return unit.starts_with(" GiB") ? size_text(amount * (1 << 30)) : std::string();
}

}  // namespace

std::string message_of(const std::exception& error) {
  const auto* torch = dynamic_cast<const c10::Error*>(&error);
  return torch == nullptr ? error.what() : torch->what_without_backtrace();
}

std::optional<std::string> memory_shortage(const std::exception& error) {
  if (dynamic_cast<const std::bad_alloc*>(&error) != nullptr) return std::string();
  const bool ours = dynamic_cast<const UserError*>(&error) != nullptr;
  if (!ours && dynamic_cast<const c10::Error*>(&error) == nullptr) return std::nullopt;
  const std::string message = message_of(error);
  bool shortage = dynamic_cast<const c10::OutOfMemoryError*>(&error) != nullptr;
  for (const char* words : kShortages)
    shortage = shortage || message.find(words) != std::string::npos;
  return shortage ? std::optional(asked_for(message)) : std::nullopt;
}

}  // namespace rushes
