#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

namespace rushes {

/// A thread's own memory, not filled, from a cache line's beginning on: what the micro-kernel reads
/// (brgemm.h) would else lie across two lines at each load.
template <class T>
class AlignedMemory {
 public:
  AlignedMemory() = default;
  explicit AlignedMemory(int64_t count)
      : memory_(static_cast<T*>(::operator new(static_cast<size_t>(count) * sizeof(T), kLine))) {}
  /// Null where there is none.
  T* get() const { return memory_.get(); }
  explicit operator bool() const { return memory_ != nullptr; }

 private:
  static constexpr std::align_val_t kLine{64};
  struct Free {
    void operator()(T* memory) const { ::operator delete(memory, kLine); }
  };
  std::unique_ptr<T, Free> memory_;
};

template <class T>
AlignedMemory<T> aligned_if(bool wanted, int64_t count) {
  return wanted ? AlignedMemory<T>(count) : AlignedMemory<T>();
}

}  // namespace rushes
