#pragma once
// The one table of environment variables that the program reads. Nothing else calls getenv.

#include <string>
#include <vector>

namespace rushes {

enum class EnvVar {
  log_level,                // RUSHES_LOG
  threads,                  // RUSHES_THREADS
  cache,                    // RUSHES_CACHE
  rank_timeout,             // RUSHES_RANK_TIMEOUT
  overlap,                  // RUSHES_OVERLAP
  home,                     // HOME
  path,                     // PATH
  end_time,                 // RUSHES_END_TIME
  grace,                    // RUSHES_GRACE
  attended,                 // RUSHES_ATTENDED
  ld_library_path,          // LD_LIBRARY_PATH
  slurm_conf,               // SLURM_CONF
  site,                     // RUSHES_SITE
  hf_token,                 // HF_TOKEN
  hf_token_path,            // HF_TOKEN_PATH
  hf_home,                  // HF_HOME
  hf_hub_cache,             // HF_HUB_CACHE
  huggingface_hub_cache,    // HUGGINGFACE_HUB_CACHE
  hf_endpoint,              // HF_ENDPOINT
  hf_hub_offline,           // HF_HUB_OFFLINE
  hf_hub_download_timeout,  // HF_HUB_DOWNLOAD_TIMEOUT
  hub_wait,                 // RUSHES_HUB_WAIT
  xdg_cache_home,           // XDG_CACHE_HOME
  ssl_cert_file,            // SSL_CERT_FILE
  slurm_job_id,             // SLURM_JOB_ID
  slurm_localid,            // SLURM_LOCALID
  slurm_nodeid,             // SLURM_NODEID
  slurm_step_tasks,         // SLURM_STEP_TASKS_PER_NODE
  slurm_step_num_tasks,     // SLURM_STEP_NUM_TASKS
  ompi_world_size,          // OMPI_COMM_WORLD_SIZE
  pmix_rank,                // PMIX_RANK
  terminal,                 // RUSHES_TERMINAL
  columns,                  // COLUMNS
  gomp_spincount,           // GOMP_SPINCOUNT
  omp_wait_policy,          // OMP_WAIT_POLICY
  onednn_max_isa,           // ONEDNN_MAX_CPU_ISA
  dnnl_max_isa,             // DNNL_MAX_CPU_ISA
};

struct EnvRow {
  EnvVar variable;
  const char* name;
  const char* meaning;
  bool for_cron = false;  // set again for what cron starts
};

/// Every variable with what it means; `doctor` and the README print it.
const std::vector<EnvRow>& env_table();
/// The variable's value, or "" where it is not set.
std::string env(EnvVar variable);

}  // namespace rushes
