#include "device/kept_memory.h"

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <malloc.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <map>
#include <mutex>
#include <unordered_map>

namespace rushes {
namespace {

constexpr size_t kLeast = size_t{1} << 20;
constexpr size_t kPage = 4096;
// What fits exactly is seldom free at the fullest moment: with a quarter more, a VAE asks for half as many
// fresh pages as without.
constexpr size_t kSpareShare = 4;
// Blocks that all begin at the same place of a page make loads wait for stores of other tensors ("4K
// aliasing").
constexpr size_t kShift = 256, kShifts = 8;

// Marking a block costs as much as writing 1 MiB, and its first write afterwards again; a layer's tensors are
// wanted again by the next layer.
constexpr uint64_t kSoon = 64;

// What is left of a kept block goes on as a block of its own, but for crumbs.
constexpr size_t kCrumb = size_t{1} << 16;

// Addresses, not memory: of the 128 TiB that a process has.
constexpr size_t kRange = size_t{1} << 40;

struct Block {
  char* pages = nullptr;
  size_t bytes = 0;  // of pages
};

struct Kept {
  size_t bytes = 0;
  uint64_t freed = 0;    // when, counted in blocks that were freed
  bool offered = false;  // to the system, which may take it where memory runs short
};

size_t rounded(size_t bytes) {
  return (bytes + kShift * kShifts + kPage - 1) / kPage * kPage;
}

class KeptMemory final : public c10::Allocator {
 public:
  static KeptMemory& instance() {
    static auto* memory = new KeptMemory;  // never destroyed: tensors may outlive every static object
    return *memory;
  }

  c10::DataPtr allocate(size_t bytes) override {
    if (bytes < kLeast) return small_->allocate(bytes);
    const size_t wanted = rounded(bytes);
    const std::lock_guard<std::mutex> lock(mutex_);
    Block block = take(wanted);
    if (block.pages == nullptr) {
      const size_t most = std::max(most_, used_ + wanted);
      drop(most + most / kSpareShare - used_ - wanted);
      block = fresh(wanted);
      if (block.pages == nullptr) {
        drop(0);
        block = fresh(wanted);
      }
      if (block.pages == nullptr) return small_->allocate(bytes);  // which says that there is no memory left
      ++fresh_blocks_;
    }
    used_ += block.bytes;
    most_ = std::max(most_, used_);
    char* data = block.pages + next_shift_++ % kShifts * kShift;
    given_[data] = block;
    return {data, data, &KeptMemory::free, c10::Device(c10::DeviceType::CPU)};
  }

  /// oneDNN frees by address, large and small.
  c10::DeleterFnPtr raw_deleter() const override { return &KeptMemory::free_any; }

  void copy_data(void* to, const void* from, size_t bytes) const override {
    default_copy_data(to, from, bytes);
  }

  void forget() {
    const std::lock_guard<std::mutex> lock(mutex_);
    drop(0);
    most_ = used_;
  }

  int64_t fresh_blocks() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return fresh_blocks_;
  }

  int64_t kept() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return static_cast<int64_t>(kept_bytes_);
  }

 private:
  static void free(void* data) { instance().give_back(data); }
  static void free_any(void* data) {
    if (!instance().give_back(data)) instance().small_->raw_deallocate(data);
  }

  bool give_back(void* data) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = given_.find(data);
    if (found == given_.end()) return false;
    const Block block = found->second;
    given_.erase(found);
    used_ -= block.bytes;
    keep(block);
    offer_old();
    return true;
  }

  /// Blocks that touch become one, so that a small tensor in a large one's place does not use it up.
  void keep(Block block) {
    kept_bytes_ += block.bytes;
    auto after = kept_.lower_bound(block.pages);
    if (after != kept_.end() && after->first == block.pages + block.bytes) {
      block.bytes += after->second.bytes;
      after = kept_.erase(after);
    }
    if (after != kept_.begin()) {
      const auto before = std::prev(after);
      if (before->first + before->second.bytes == block.pages) {
        before->second = {before->second.bytes + block.bytes, ++freed_};
        return;
      }
    }
    kept_[block.pages] = {block.bytes, ++freed_};
  }

  /// What nothing has wanted for a while the system may take, if memory is short, as that of a cache.
  void offer_old() {
    for (auto& [pages, block] : kept_) {
      if (block.offered || freed_ - block.freed < kSoon) continue;
      ::madvise(pages, block.bytes, MADV_FREE);
      block.offered = true;
    }
  }

  /// The smallest kept block that holds so much, or that much of it; of equal ones the latest, whose pages
  /// may still lie in a cache.
  Block take(size_t wanted) {
    auto best = kept_.end();
    for (auto at = kept_.begin(); at != kept_.end(); ++at) {
      const Kept& block = at->second;
      if (block.bytes < wanted) continue;
      const bool better = best == kept_.end() || block.bytes < best->second.bytes ||
                          (block.bytes == best->second.bytes && block.freed > best->second.freed);
      if (better) best = at;
    }
    if (best == kept_.end()) return {};
    const Kept whole = best->second;
    char* const pages = best->first;
    const size_t bytes = whole.bytes - wanted < kCrumb ? whole.bytes : wanted;
    kept_.erase(best);
    if (bytes < whole.bytes) kept_[pages + bytes] = {whole.bytes - bytes, whole.freed, whole.offered};
    kept_bytes_ -= bytes;
    return {pages, bytes};
  }

  /// Gives the longest kept blocks back to the system until no more than `most` bytes are kept.
  void drop(size_t most) {
    while (kept_bytes_ > most) {
      const auto oldest = std::min_element(kept_.begin(), kept_.end(), [](const auto& a, const auto& b) {
        return a.second.freed < b.second.freed;
      });
      kept_bytes_ -= oldest->second.bytes;
      ::munmap(oldest->first, oldest->second.bytes);
      kept_.erase(oldest);
    }
  }

  /// Behind the one before, where the system has nothing there: what is free then joins, in every process
  /// alike.
  Block fresh(size_t bytes) {
    if (bytes <= kRange && next_ + bytes > end_) new_range();
    // The kernel takes the address as a wish; 0 is none.
    void* pages = ::mmap(reinterpret_cast<void*>(next_), bytes, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED) return {};
    const bool granted = reinterpret_cast<uintptr_t>(pages) == next_;
    next_ = granted ? next_ + bytes : end_;  // something else lies there: another range the next time
    ::madvise(pages, bytes, MADV_HUGEPAGE);  // a wish: one fault for 2 MiB instead of 512
    return {static_cast<char*>(pages), bytes};
  }

  /// kRange addresses that nothing has now; none where a process may not have so many.
  void new_range() {
    next_ = end_ = 0;
    void* range = ::mmap(nullptr, kRange, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (range == MAP_FAILED) return;
    ::munmap(range, kRange);
    next_ = reinterpret_cast<uintptr_t>(range);
    end_ = next_ + kRange;
  }

  std::mutex mutex_;
  c10::Allocator* small_ = c10::GetDefaultCPUAllocator();
  std::map<char*, Kept> kept_;
  std::unordered_map<void*, Block> given_;
  size_t kept_bytes_ = 0, used_ = 0, most_ = 0;
  size_t next_shift_ = 0;
  uintptr_t next_ = 0, end_ = 0;  // where the next fresh block comes, and the range's end
  uint64_t freed_ = 0;
  int64_t fresh_blocks_ = 0;
};

}  // namespace

void keep_cpu_memory() {
  constexpr uint8_t kPriority = 1;  // over the default's 0
  c10::SetCPUAllocator(&KeptMemory::instance(), kPriority);
}

void forget_kept_memory() {
  KeptMemory::instance().forget();
  ::malloc_trim(0);  // small blocks are malloc's
}

int64_t kept_cpu_memory() {
  return KeptMemory::instance().kept();
}

int64_t fresh_cpu_blocks() {
  return KeptMemory::instance().fresh_blocks();
}

}  // namespace rushes
