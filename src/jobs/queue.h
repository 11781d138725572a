#pragma once
// In which order a rank takes a job's items, so that many ranks over one folder seldom ask for the same one.
//
// All ranks walk the same list, longest first. `.rushes/front` says how far the walk is: a rank goes on from
// there instead of asking for every item that others have. It is a hint that anybody may write at any time:
// the claims decide, and what the walk left out (too far a hint, a dead owner's, a released one) is found at
// its end, by one look at which records and claims there are.

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "jobs/claims.h"
#include "jobs/ledger.h"

namespace rushes {

/// The items of a job, longest first; the same on every rank of every world that runs the job.
class WorkOrder {
 public:
  /// Both must outlive it; `ledger` as it was when the run began. `digest` names the job's items.
  WorkOrder(const std::vector<Item>& items, const std::vector<LedgerEntry>& ledger, std::string digest);

  size_t size() const { return order_.size(); }
  /// The item (an index into the job's) at a place of the walk.
  size_t item(size_t place) const { return order_[place]; }
  const std::vector<Item>& items() const { return *items_; }
  const std::vector<LedgerEntry>& ledger() const { return *ledger_; }
  const std::string& digest() const { return digest_; }
  /// The index of an id; nothing for any other name.
  std::optional<size_t> find(std::string_view id) const;

 private:
  const std::vector<Item>* items_;
  const std::vector<LedgerEntry>* ledger_;
  std::string digest_;
  std::vector<size_t> order_;
  std::unordered_map<std::string_view, size_t> by_id_;
};

/// How far the walk is, for whoever claims next.
class Front {
 public:
  Front(const OutputFolder& folder, std::string digest);
  /// 0 where nobody has told, or of another job.
  size_t read() const;
  /// A failure to write is nobody's trouble.
  void write(size_t place) const;

 private:
  std::filesystem::path path_;
  std::string digest_;
};

/// A run begins: the walk goes back to the first item that is to do and that nobody has.
void reset_front(const OutputFolder& folder, const WorkOrder& order, const Claims& claims);

/// What one rank knows of the items and asks for next.
class Queue {
 public:
  Queue(const WorkOrder& order, const OutputFolder& folder, const Claims& claims);

  /// The next item of the walk; nothing at its end. What processes have died on is left for the end, so that
  /// it holds nothing else up.
  std::optional<size_t> next();
  /// The item that next() gave is this rank's from now on, or was somebody else's.
  void answered(bool taken);
  /// Nothing more is to do about an item.
  void settle(size_t index) { settled_[index] = true; }

  /// Everything that is not settled as far as this rank can see, in the order of the walk, what processes
  /// have died on last. Where that is much, items that had no record when the run began and have one now are
  /// believed to be settled without a look into it.
  std::vector<size_t> rest();
  /// Believes an item of rest() to be settled if it has got a record meanwhile.
  bool believe(size_t index);
  /// Every `count`-th of the items that were believed, from the `first` on, which this rank is to look at: so
  /// each record is read once, by one of `count` ranks. They are believed no more.
  std::vector<size_t> doubted(size_t first, size_t count);

 private:
  const WorkOrder& order_;
  OutputFolder folder_;
  const Claims& claims_;
  Front front_;
  std::vector<bool> settled_;   // by index
  std::vector<bool> believed_;  // by index: has a record that nobody of this run has read
  std::vector<bool> deadly_;    // by index: processes had died on it when the walk began
  size_t place_ = 0;            // the next of the walk
  size_t others_ = 0;           // items in a row that were somebody else's
  bool walking_ = false;
  bool many_ = false;  // rest() was much
};

}  // namespace rushes
