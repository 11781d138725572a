#include "base/env.h"

#include <cstdlib>

#include "base/error.h"

namespace rushes {

const std::vector<EnvRow>& env_table() {
  static const std::vector<EnvRow> table = {
      {EnvVar::log_level, "RUSHES_LOG", "what the log shows: debug, info (default), warning, error"},
      {EnvVar::threads, "RUSHES_THREADS", "CPU threads of each rank (default: cores / ranks on this node)"},
      {EnvVar::cache, "RUSHES_CACHE",
       "folder of the text embedding cache (default: inside the output folder) and of calibrations", true},
      {EnvVar::rank_timeout, "RUSHES_RANK_TIMEOUT",
       "seconds that the ranks of a clip wait for one another before the run ends (default: 1800)"},
      {EnvVar::overlap, "RUSHES_OVERLAP",
       "pieces in which ranks of one sequence trade heads, 1 to 8 (default: 2 on GPUs, else 1)"},
      {EnvVar::home, "HOME", "calibrations lie in .cache/rushes there, where RUSHES_CACHE is not set"},
      {EnvVar::path, "PATH", "where submit looks for sbatch", true},
      {EnvVar::ld_library_path, "LD_LIBRARY_PATH", "where MPI's library is found", true},
      {EnvVar::slurm_conf, "SLURM_CONF", "Slurm's settings, where they are not in /etc", true},
      {EnvVar::attended, "RUSHES_ATTENDED",
       "1: slurm/attend counts the starts that make nothing (set by it)"},
      {EnvVar::site, "RUSHES_SITE",
       "the site whose settings submit takes where a job names none (default: default)", true},
      {EnvVar::end_time, "RUSHES_END_TIME",
       "when a time limit will end the run, in seconds since 1970 (set by slurm/attend)"},
      {EnvVar::grace, "RUSHES_GRACE",
       "seconds that a run has to end once it was asked to stop: then it leaves at its last checkpoint"},
      {EnvVar::hf_token, "HF_TOKEN", "access token of the Hugging Face Hub; never written to a log"},
      {EnvVar::hf_token_path, "HF_TOKEN_PATH", "file of the token (default: token in HF_HOME)"},
      {EnvVar::hf_home, "HF_HOME", "folder of the Hub's cache and token (default: ~/.cache/huggingface)",
       true},
      {EnvVar::hf_hub_cache, "HF_HUB_CACHE", "folder of models from the Hub (default: hub in HF_HOME)", true},
      {EnvVar::huggingface_hub_cache, "HUGGINGFACE_HUB_CACHE", "the same, by its older name"},
      {EnvVar::hf_endpoint, "HF_ENDPOINT", "address of the Hub (default: https://huggingface.co)"},
      {EnvVar::hf_hub_offline, "HF_HUB_OFFLINE", "1: ask no Hub, use what the cache holds"},
      {EnvVar::hf_hub_download_timeout, "HF_HUB_DOWNLOAD_TIMEOUT",
       "seconds without a byte from the Hub before it is asked again (default: 30)"},
      {EnvVar::hub_wait, "RUSHES_HUB_WAIT",
       "seconds to wait for another process's download that makes no headway (default: 600)"},
      {EnvVar::ssl_cert_file, "SSL_CERT_FILE", "certificates to trust, where the system's are not enough"},
      {EnvVar::xdg_cache_home, "XDG_CACHE_HOME", "folder of caches, where HF_HOME is not set"},
      {EnvVar::slurm_job_id, "SLURM_JOB_ID", "set by Slurm: kept in claims and item records"},
      {EnvVar::slurm_localid, "SLURM_LOCALID",
       "set by Slurm: the rank on its node, where MPI does not say it"},
      {EnvVar::slurm_nodeid, "SLURM_NODEID", "set by Slurm: the node's number in the job"},
      {EnvVar::slurm_step_tasks, "SLURM_STEP_TASKS_PER_NODE",
       "set by srun: tasks that share each node, where MPI does not say it"},
      {EnvVar::slurm_step_num_tasks, "SLURM_STEP_NUM_TASKS",
       "set by srun: tasks it started, to tell those that have no PMIx why they are alone"},
      {EnvVar::ompi_world_size, "OMPI_COMM_WORLD_SIZE", "set by mpirun: the process is a rank of a world"},
      {EnvVar::pmix_rank, "PMIX_RANK", "set by mpirun and srun --mpi=pmix: the same"},
      {EnvVar::terminal, "RUSHES_TERMINAL",
       "1: a person watches stderr, show live progress (set by tools/run, since mpirun hides the terminal)"},
      {EnvVar::columns, "COLUMNS", "width of the terminal for live progress"},
      {EnvVar::gomp_spincount, "GOMP_SPINCOUNT",
       "how long idle CPU threads spin (default: 1000 rounds, so that a busy neighbour costs little)"},
      {EnvVar::onednn_max_isa, "ONEDNN_MAX_CPU_ISA",
       "the best instructions that oneDNN may use, in its words"},
      {EnvVar::dnnl_max_isa, "DNNL_MAX_CPU_ISA", "the same, by its older name"},
      {EnvVar::omp_wait_policy, "OMP_WAIT_POLICY", "the same in OpenMP's words: active, passive"},
  };
  return table;
}

std::string env(EnvVar variable) {
  for (const EnvRow& row : env_table()) {
    if (row.variable != variable) continue;
    const char* value = std::getenv(row.name);
    return value == nullptr ? std::string() : std::string(value);
  }
  throw InternalError("an environment variable without a row in the table");
}

}  // namespace rushes
