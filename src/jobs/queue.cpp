#include "jobs/queue.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <set>

#include "base/error.h"

namespace rushes {
namespace {

constexpr size_t kFrontBytes = 64;  // always the same, so that writing in place takes no new disk space
constexpr size_t kAskAgain = 8;     // items in a row that others have, before the hint is read again
constexpr size_t kFewItems = 256;   // so many are asked for one by one

}  // namespace

WorkOrder::WorkOrder(const std::vector<Item>& items, const std::vector<LedgerEntry>& ledger,
                     std::string digest)
    : items_(&items), ledger_(&ledger), digest_(std::move(digest)) {
  RUSHES_CHECK(ledger.size() == items.size(), ledger.size(), " entries, ", items.size(), " items");
  order_.resize(items.size());
  std::iota(order_.begin(), order_.end(), size_t{0});
  std::stable_sort(order_.begin(), order_.end(),
                   [&](size_t a, size_t b) { return items[a].flops > items[b].flops; });
  by_id_.reserve(items.size());
  for (size_t index = 0; index < items.size(); ++index)
    by_id_.emplace(items[index].id, index);
}

std::optional<size_t> WorkOrder::find(std::string_view id) const {
  const auto found = by_id_.find(id);
  if (found == by_id_.end()) return std::nullopt;
  return found->second;
}

Front::Front(const OutputFolder& folder, std::string digest)
    : path_(folder.hidden() / "front"), digest_(std::move(digest)) {}

size_t Front::read() const {
  char text[kFrontBytes + 1] = {};
  const int fd = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return 0;
  const ssize_t length = ::pread(fd, text, kFrontBytes, 0);
  ::close(fd);
  if (length <= 0) return 0;
  const std::string_view whole(text, static_cast<size_t>(length));
  if (!whole.starts_with(digest_) || whole.size() <= digest_.size()) return 0;
  return std::strtoull(text + digest_.size(), nullptr, 10);
}

void Front::write(size_t place) const {
  std::string text = str(digest_, " ", place);
  text.resize(std::max(text.size() + 1, kFrontBytes) - 1, ' ');
  text += '\n';
  const int fd = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0644);
  if (fd < 0) return;
  [[maybe_unused]] const ssize_t written = ::pwrite(fd, text.data(), text.size(), 0);
  ::close(fd);
}

void reset_front(const OutputFolder& folder, const WorkOrder& order, const Claims& claims) {
  const std::vector<std::string> names = claims.all();
  const std::set<std::string_view> claimed(names.begin(), names.end());
  size_t place = 0;
  while (place < order.size() && (order.ledger()[order.item(place)].state != ItemState::todo ||
                                  claimed.count(order.items()[order.item(place)].id) > 0))
    ++place;
  Front(folder, order.digest()).write(place);
}

Queue::Queue(const WorkOrder& order, const OutputFolder& folder, const Claims& claims)
    : order_(order),
      folder_(folder),
      claims_(claims),
      front_(folder, order.digest()),
      settled_(order.size(), false),
      believed_(order.size(), false),
      deadly_(order.size(), false) {
  for (size_t index = 0; index < order.size(); ++index)
    settled_[index] = order.ledger()[index].state != ItemState::todo;
}

std::optional<size_t> Queue::next() {
  if (!walking_) {
    walking_ = true;
    for (const auto& [id, count] : claims_.all_deaths()) {
      const auto index = order_.find(id);
      if (index && count > 0) deadly_[*index] = true;
    }
  }
  if (others_ % kAskAgain == 0) place_ = std::max(place_, std::min(front_.read(), order_.size()));
  while (place_ < order_.size()) {
    const size_t index = order_.item(place_++);
    if (!settled_[index] && !deadly_[index]) return index;
  }
  return std::nullopt;
}

void Queue::answered(bool taken) {
  others_ = taken ? 0 : others_ + 1;
  // One that lags behind does not take the hint back.
  if (taken && front_.read() < place_) front_.write(place_);
}

bool Queue::believe(size_t index) {
  if (!many_ || order_.ledger()[index].recorded) return false;
  believed_[index] = ::access(folder_.record(order_.items()[index].id).c_str(), F_OK) == 0;
  return believed_[index];
}

std::vector<size_t> Queue::doubted(size_t first, size_t count) {
  std::vector<size_t> mine;
  for (size_t place = first; place < order_.size(); place += count) {
    const size_t index = order_.item(place);
    if (believed_[index] && !settled_[index]) mine.push_back(index);
    believed_[index] = false;
  }
  return mine;
}

std::vector<size_t> Queue::rest() {
  many_ = static_cast<size_t>(std::count(settled_.begin(), settled_.end(), false)) > kFewItems;
  DIR* records = many_ ? ::opendir((folder_.root() / "items").c_str()) : nullptr;
  if (records != nullptr) {
    // A fixed view of the folder: an item that is finished meanwhile is asked for by name.
    while (const dirent* entry = ::readdir(records)) {
      const std::string_view name(entry->d_name);
      if (!name.ends_with(".json")) continue;
      const auto index = order_.find(name.substr(0, name.size() - 5));
      if (index && !settled_[*index] && !order_.ledger()[*index].recorded) believed_[*index] = true;
    }
    ::closedir(records);
  }
  std::vector<size_t> rest;
  for (size_t place = 0; place < order_.size(); ++place) {
    const size_t index = order_.item(place);
    if (!settled_[index] && !believed_[index]) rest.push_back(index);
  }
  const auto deaths = claims_.all_deaths();
  const auto of = [&](size_t index) {
    const auto found = deaths.find(order_.items()[index].id);
    return found == deaths.end() ? int64_t{0} : found->second;
  };
  if (!deaths.empty())
    std::stable_sort(rest.begin(), rest.end(), [&](size_t a, size_t b) { return of(a) < of(b); });
  return rest;
}

}  // namespace rushes
