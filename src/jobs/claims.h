#pragma once
// Who works on which item, across ranks, worlds and hosts that share an output folder.
//
// A claim is `.rushes/claims/<id>`, a symbolic link to its owner's file: made in one atomic step that fails
// where there is one already, and never without its content. The claim of a dead owner is freed under the
// folder's lock, after reading it again there; a live one's never. So an item has at most one live owner.

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "jobs/output_folder.h"
#include "jobs/owner.h"

namespace rushes {

/// What is known of processes that died while they ran an item. Who is killed from outside (kill -9, a time
/// limit, a lost node, a full memory) says nothing of the item; a crash does.
struct Deaths {
  int64_t count = 0;    // crashes, and kills since it last got further
  int64_t crashes = 0;  // those that the item may be to blame for
  std::string how;      // the last crash: "by SIGSEGV", "with its device"
  std::string last_owner;
  std::string stage;  // of the last one
  int64_t step = 0;
  nlohmann::json memory;  // of tries that ran out of memory: see MemoryLadder; null: there were none
};

class Claims {
 public:
  /// `token` is this process's. `watch` must outlive the claims.
  Claims(const OutputFolder& folder, const WorkPlace& work, std::string token, OwnerWatch& watch);

  /// True if the item is this process's from now on; false if it has an owner already.
  /// Throws UserError where nothing can be written.
  bool take(const std::string& id);
  /// The owner's token, or nothing.
  std::optional<std::string> holder(const std::string& id) const;
  /// This process's.
  const std::string& token() const { return token_; }
  bool is_mine(const std::string& id) const { return holder(id) == token_; }
  /// Frees the claim if its owner is dead, and counts the death if the owner was running or writing this very
  /// item. True if the item has no owner now.
  bool free_if_dead(const std::string& id);
  /// Gives up a claim of this process; one that was taken over meanwhile is left alone.
  void release(const std::string& id);
  /// The same with the lock held already.
  void release_locked(const std::string& id);

  /// Gives up every claim of this process.
  void release_all();

  Deaths deaths(const std::string& id) const;
  /// Of every item that processes have died on: Deaths::count.
  std::map<std::string, int64_t> all_deaths() const;
  /// Counts a try of `owner`, who still lives, as a crash, and frees its claim; `how` ends a sentence ("by a
  /// hang"). Nothing where it has no claim on the item: another rank has noted it.
  void note_crash(const std::string& id, const std::string& owner, const std::string& how) const;
  /// Keeps beside the deaths what was tried of an item that ran out of memory, until they are forgotten.
  void note_memory(const std::string& id, const nlohmann::json& memory) const;
  void forget_deaths(const std::string& id) const;

  std::vector<std::string> all() const;
  /// Frees every claim of every dead owner and removes the dead's files; touches nothing of a live one.
  /// Gives the number of dead owners found.
  int64_t sweep();

 private:
  std::filesystem::path path(const std::string& id) const { return folder_.claims() / id; }
  void count_death(const std::string& id, const std::string& owner, std::string how) const;  // lock held
  std::string crash_of(const OwnerStatus& owner, const std::string& id) const;
  bool is_evidence(const std::string& token) const;
  void write_deaths(const std::string& id, const Deaths& deaths) const;

  OutputFolder folder_;
  const WorkPlace& work_;
  std::string token_;
  OwnerWatch& watch_;
};

}  // namespace rushes
