#include "weights/node_memory.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <functional>
#include <new>
#include <random>
#include <sstream>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"

namespace rushes {
namespace {

constexpr size_t kShelves = 1024;
constexpr size_t kName = 64;  // characters of hash_bytes
constexpr int64_t kDims = 6;
// Memory is taken in chunks that double from a huge page to 64 MiB, so that small models stay small.
constexpr size_t kHugePage = size_t{2} << 20, kLargestChunk = size_t{64} << 20;
constexpr size_t kAlignment = 64;
constexpr size_t kReach = size_t{1} << 44;  // of the file, which has holes: 16 TiB

size_t round_up(size_t value, size_t unit) {
  return (value + unit - 1) / unit * unit;
}

/// Shared by processes, and given on by one that died (EOWNERDEAD).
void make_mutex(pthread_mutex_t& mutex) {
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
  pthread_mutex_init(&mutex, &attributes);
  pthread_mutexattr_destroy(&attributes);
}

void lock(pthread_mutex_t& mutex) {
  const int result = pthread_mutex_lock(&mutex);
  // What a dead process was filling was never finished, and the chunk counter only grows.
  if (result == EOWNERDEAD) pthread_mutex_consistent(&mutex);
  RUSHES_CHECK(result == 0 || result == EOWNERDEAD, "pthread_mutex_lock: ", std::strerror(result));
}

/// A part of the file in this process's memory.
class Chunk {
 public:
  /// Mapped at a multiple of a huge page, as it lies in the file.
  Chunk(int fd, size_t offset, size_t bytes, bool writable) : offset_(offset), bytes_(bytes) {
    void* const room =
        ::mmap(nullptr, bytes + kHugePage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (room == MAP_FAILED) throw std::bad_alloc();
    auto* const first = static_cast<std::byte*>(room);
    data_ = first + (round_up(reinterpret_cast<size_t>(room), kHugePage) - reinterpret_cast<size_t>(room));
    const size_t before = static_cast<size_t>(data_ - first);
    if (before > 0) ::munmap(first, before);
    if (kHugePage > before) ::munmap(data_ + bytes, kHugePage - before);
    const int rights = writable ? PROT_READ | PROT_WRITE : PROT_READ;
    if (::mmap(data_, bytes, rights, MAP_SHARED | MAP_FIXED, fd, static_cast<off_t>(offset)) == MAP_FAILED) {
      ::munmap(data_, bytes);
      throw std::bad_alloc();
    }
    ::madvise(data_, bytes, MADV_HUGEPAGE);
    if (writable) populate(fd);
  }
  ~Chunk() { ::munmap(data_, bytes_); }
  Chunk(const Chunk&) = delete;
  Chunk& operator=(const Chunk&) = delete;

  size_t offset() const { return offset_; }
  size_t bytes() const { return bytes_; }
  std::byte* data() const { return data_; }
  void protect() { ::mprotect(data_, bytes_, PROT_READ); }

 private:
  /// Now, where a lack of memory is an error: at the first write it would be SIGBUS.
  void populate(int fd) {
    constexpr int kPopulateWrite = 23;  // MADV_POPULATE_WRITE, Linux 5.14
    if (::madvise(data_, bytes_, kPopulateWrite) == 0) return;
    if (errno == EINVAL &&
        ::posix_fallocate(fd, static_cast<off_t>(offset_), static_cast<off_t>(bytes_)) == 0)
      return;
    ::munmap(data_, bytes_);
    throw std::bad_alloc();
  }

  size_t offset_, bytes_;
  std::byte* data_ = nullptr;
};

/// From the first element to the last, in bytes.
size_t extent(const at::Tensor& tensor) {
  int64_t last = 0;
  for (int64_t d = 0; d < tensor.dim(); ++d)
    last += (tensor.size(d) - 1) * tensor.stride(d);
  return tensor.numel() == 0 ? 0 : static_cast<size_t>(last + 1) * tensor.element_size();
}

enum class Progress : uint32_t { empty, filled };

struct Slot {
  pthread_mutex_t mutex;  // held while the shelf is filled
  char name[kName + 1];
  Progress progress;
  uint64_t chunk, chunk_bytes, table, entries;  // once filled: where in which chunk the entries lie
};

}  // namespace

struct NodeMemory::Header {
  uint64_t token;              // drawn by who made it: no other memory has it
  pthread_mutex_t mutex;       // of the slots' names
  std::atomic<uint64_t> next;  // where the next chunk begins
  Slot slots[kShelves];
};

struct Shelf::Entry {
  uint64_t name;  // a hash: the same code ran on both sides
  uint64_t chunk, chunk_bytes, offset;
  int64_t dims, sizes[kDims], strides[kDims];
  int32_t dtype;
  bool left_out;
};

struct Shelf::State {
  NodeMemory* memory = nullptr;
  Slot* slot = nullptr;
  bool filling = false;
  std::vector<Entry> entries;
  size_t at = 0;                               // of the next entry
  std::vector<std::shared_ptr<Chunk>> chunks;  // while filling, all of this shelf; else those in use
  size_t used = 0;                             // of the last chunk, while filling

  /// Room for `bytes` in the last chunk.
  std::byte* take(size_t bytes) {
    used = round_up(used, kAlignment);
    if (chunks.empty() || used + bytes > chunks.back()->bytes()) {
      const size_t usual = chunks.empty() ? kHugePage : std::min(kLargestChunk, chunks.back()->bytes() * 2);
      const size_t whole = round_up(std::max(bytes, usual), kHugePage);
      const uint64_t offset = memory->header_->next.fetch_add(whole);
      if (offset + whole > kReach) throw std::bad_alloc();
      chunks.push_back(std::make_shared<Chunk>(memory->fd_, offset, whole, /*writable=*/true));
      used = 0;
    }
    std::byte* const place = chunks.back()->data() + used;
    used += bytes;
    return place;
  }
  std::shared_ptr<Chunk> chunk_of(const Entry& entry) {
    for (const auto& chunk : chunks) {
      if (chunk->offset() == entry.chunk) return chunk;
    }
    chunks.push_back(std::make_shared<Chunk>(memory->fd_, entry.chunk, entry.chunk_bytes, false));
    return chunks.back();
  }
  static at::Tensor view(const Entry& entry, const std::shared_ptr<Chunk>& chunk) {
    const auto dims = static_cast<size_t>(entry.dims);
    return at::from_blob(
        chunk->data() + entry.offset, at::IntArrayRef(entry.sizes, dims),
        at::IntArrayRef(entry.strides, dims), [chunk](void*) {},
        at::TensorOptions().dtype(static_cast<at::ScalarType>(entry.dtype)));
  }
};

Shelf::Shelf(NodeMemory& memory, const std::string& name) : state_(std::make_unique<State>()) {
  const std::string known_as = hash_bytes(name);
  RUSHES_CHECK(known_as.size() <= kName, known_as);
  NodeMemory::Header& header = *memory.header_;
  state_->memory = &memory;
  lock(header.mutex);
  for (Slot& slot : header.slots) {
    if (slot.name[0] == '\0') std::memcpy(slot.name, known_as.c_str(), known_as.size() + 1);
    if (known_as != slot.name) continue;
    state_->slot = &slot;
    break;
  }
  pthread_mutex_unlock(&header.mutex);
  RUSHES_CHECK(state_->slot != nullptr, "no shelf left for ", name);
  Slot& slot = *state_->slot;
  lock(slot.mutex);
  state_->filling = slot.progress == Progress::empty;
  if (state_->filling) return;
  pthread_mutex_unlock(&slot.mutex);
  const Chunk chunk(state_->memory->fd_, slot.chunk, slot.chunk_bytes, /*writable=*/false);
  const auto* first = reinterpret_cast<const Entry*>(chunk.data() + slot.table);
  state_->entries.assign(first, first + slot.entries);
}

Shelf::~Shelf() {
  if (state_->filling) pthread_mutex_unlock(&state_->slot->mutex);
}

bool Shelf::filled() const {
  return !state_->filling;
}

at::Tensor Shelf::put(const std::string& name, const at::Tensor& tensor) {
  State& s = *state_;
  RUSHES_CHECK(s.filling && tensor.is_cpu() && tensor.dim() <= kDims, name, " ", tensor.sizes());
  const size_t bytes = extent(tensor);
  std::byte* const place = s.take(bytes);
  if (bytes > 0) std::memcpy(place, tensor.const_data_ptr(), bytes);
  const Chunk& chunk = *s.chunks.back();
  Entry entry{};
  entry.name = std::hash<std::string>()(name);
  entry.chunk = chunk.offset();
  entry.chunk_bytes = chunk.bytes();
  entry.offset = static_cast<uint64_t>(place - chunk.data());
  entry.dims = tensor.dim();
  std::copy(tensor.sizes().begin(), tensor.sizes().end(), entry.sizes);
  std::copy(tensor.strides().begin(), tensor.strides().end(), entry.strides);
  entry.dtype = static_cast<int32_t>(tensor.scalar_type());
  s.entries.push_back(entry);
  return State::view(entry, s.chunks.back());
}

void Shelf::leave_out(const std::string& name) {
  RUSHES_CHECK(state_->filling, name);
  Entry entry{};
  entry.name = std::hash<std::string>()(name);
  entry.left_out = true;
  state_->entries.push_back(entry);
}

at::Tensor Shelf::next(const std::string& name) {
  State& s = *state_;
  RUSHES_CHECK(
      !s.filling && s.at < s.entries.size() && s.entries[s.at].name == std::hash<std::string>()(name), name,
      " is not what was made ", s.at, "th of ", s.entries.size());
  const Entry& entry = s.entries[s.at++];
  return entry.left_out ? at::Tensor() : State::view(entry, s.chunk_of(entry));
}

void Shelf::finish() {
  State& s = *state_;
  if (!s.filling) {
    RUSHES_CHECK(s.at == s.entries.size(), s.at, " of ", s.entries.size());
    return;
  }
  Slot& slot = *s.slot;
  const size_t bytes = s.entries.size() * sizeof(Entry);
  std::byte* const table = s.take(bytes);
  if (bytes > 0) std::memcpy(table, s.entries.data(), bytes);
  for (const auto& chunk : s.chunks)
    chunk->protect();
  slot.chunk = s.chunks.back()->offset();
  slot.chunk_bytes = s.chunks.back()->bytes();
  slot.table = static_cast<uint64_t>(table - s.chunks.back()->data());
  slot.entries = s.entries.size();
  slot.progress = Progress::filled;
  s.filling = false;
  pthread_mutex_unlock(&slot.mutex);
}

NodeMemory::~NodeMemory() {
  ::munmap(header_, sizeof(Header));
  ::close(fd_);
}

std::unique_ptr<NodeMemory> NodeMemory::create(std::string& trouble) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur < kReach) {  // SIGXFSZ would end the process
    trouble = "files may not be large here: ulimit -f";
    return nullptr;
  }
  const int fd = ::memfd_create("rushes-weights", MFD_CLOEXEC);
  if (fd < 0) {
    trouble = str("memfd_create: ", std::strerror(errno));
    return nullptr;
  }
  void* header = MAP_FAILED;
  if (::ftruncate(fd, static_cast<off_t>(kReach)) == 0)
    header = ::mmap(nullptr, sizeof(Header), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (header == MAP_FAILED) {
    trouble = str("a file in memory: ", std::strerror(errno));
    ::close(fd);
    return nullptr;
  }
  auto* const made = new (header) Header();
  std::random_device random;
  made->token = uint64_t{random()} << 32 | random();
  make_mutex(made->mutex);
  for (Slot& slot : made->slots)
    make_mutex(slot.mutex);
  made->next = round_up(sizeof(Header), kHugePage);
  return std::unique_ptr<NodeMemory>(new NodeMemory(fd, made));
}

std::string NodeMemory::address() const {
  struct stat info {};
  RUSHES_CHECK(::fstat(fd_, &info) == 0, "fstat: ", std::strerror(errno));
  return str("/proc/", ::getpid(), "/fd/", fd_, " ", info.st_dev, " ", info.st_ino, " ", header_->token);
}

std::unique_ptr<NodeMemory> NodeMemory::open(const std::string& address, std::string& trouble) {
  std::istringstream words(address);
  std::string path;
  uint64_t device = 0, inode = 0, token = 0;
  words >> path >> device >> inode >> token;
  const auto refuse = [&](const std::string& why) {
    log_debug("the node's memory at ", address, " is not used: ", why);
    trouble = str(path, ": ", why);
    return nullptr;
  };
  const std::string other = "it is another file, as in another PID name space";
  struct stat info {};
  const auto is_it = [&] {
    return info.st_dev == device && info.st_ino == inode && info.st_size == static_cast<off_t>(kReach);
  };
  // Looked at first: to open somebody's device or pipe may do something.
  if (::stat(path.c_str(), &info) != 0) return refuse(std::strerror(errno));
  if (!is_it()) return refuse(other);
  const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0) return refuse(std::strerror(errno));
  const bool same = ::fstat(fd, &info) == 0 && is_it();
  void* const header =
      same ? ::mmap(nullptr, sizeof(Header), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;
  if (header == MAP_FAILED) {
    const std::string why = same ? std::strerror(errno) : other;
    ::close(fd);
    return refuse(why);
  }
  std::unique_ptr<NodeMemory> memory(new NodeMemory(fd, static_cast<Header*>(header)));
  if (memory->header_->token != token) return refuse(other);
  return memory;
}

std::unique_ptr<NodeMemory> NodeMemory::make(const Comm& node) {
  if (node.alone()) return nullptr;
  std::string address, trouble;
  std::unique_ptr<NodeMemory> memory;
  if (node.rank() == 0) {
    memory = create(trouble);
    if (memory) address = memory->address();
  }
  address = node.broadcast(address, 0);
  if (node.rank() != 0 && !address.empty()) memory = open(address, trouble);
  // Also: the first keeps its own open until all have theirs.
  const std::vector<int64_t> have = node.all_gather(memory ? 1 : 0);
  if (!trouble.empty()) {
    log_warning("ranks of this node cannot share memory (", trouble, "): each keeps weights of its own");
  }
  // The first alone would pay for sharing with none.
  if (std::count(have.begin(), have.end(), 1) <= 1) memory.reset();
  return memory;
}

}  // namespace rushes
