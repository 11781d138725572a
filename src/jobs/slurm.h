#pragma once
// What the Slurm of this machine offers, by its own commands.

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "config/settings.h"

namespace rushes {

struct SlurmPartition {
  std::string name;
  bool is_default = false;
  bool up = true;
  std::optional<int64_t> most_seconds;  // of a job; nothing: any time
  int64_t nodes = 0;
  int64_t cpus = 0;    // of the node that has most
  int64_t memory = 0;  // of the node that has most, MiB
  int64_t gpus = 0;    // of the node that has most
};

/// Lines of `sinfo -e -h -o %P|%a|%l|%D|%c|%m|%G`, one a kind of node; several of a partition become one.
std::vector<SlurmPartition> read_partitions(const std::string& text);
/// Asks Slurm. Throws UserError where there is none or it does not answer, with what to do.
std::vector<SlurmPartition> slurm_partitions();

/// "90" (minutes), "12:00:00", "90:00", "2-12", "2-12:30", "2-12:30:00", "UNLIMITED" (nothing in the second)
/// in seconds. False for any other text.
bool read_slurm_time(const std::string& text, std::optional<int64_t>& seconds);
/// "64G", "512M", "0" in MiB; nothing for any other text.
std::optional<int64_t> read_slurm_memory(const std::string& text);

/// Notes what no partition can give: an unknown one with the nearest known, more nodes, GPUs, CPUs, memory or
/// time than it has. `where(key)` says where a key of `cluster:` was set.
void check_submission(const Submission& wanted, const std::vector<SlurmPartition>& partitions,
                      const std::function<std::string(const std::string&)>& where, Problems& problems);

/// Gives the script to sbatch; the batch job's id. What a line of the script asks for counts, also where a
/// variable of the environment (SBATCH_PARTITION, ...) says otherwise, nor are the SLURM_ variables of
/// a job inherited that this runs in. Throws UserError with sbatch's words.
std::string submit_script(const std::filesystem::path& script);

}  // namespace rushes
