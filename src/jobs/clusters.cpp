#include "jobs/clusters.h"

#include <unistd.h>

#include <algorithm>
#include <climits>
#include <map>

#include "base/env.h"
#include "base/file.h"
#include "base/log.h"
#include "base/lower.h"
#include "base/nearest.h"
#include "config/yaml/yaml.h"
#include "device/device.h"
#include "jobs/presets.h"
#include "kernels/common/brgemm.h"

namespace rushes {
namespace {

namespace fs = std::filesystem;

fs::path clusters_folder() {
  return configs_folder() / "clusters";
}

/// The file of configs/clusters, named as people know it wherever the checkout lies.
Cluster from_configs(const std::string& name) {
  const std::string shown = str("configs/clusters/", name, ".yaml");
  return read_cluster(parse_yaml(read_file(clusters_folder() / (name + ".yaml"), kMaxYamlBytes), shown),
                      shown);
}

}  // namespace

std::vector<std::string> cluster_names() {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& file : fs::directory_iterator(clusters_folder(), error)) {
    if (file.path().extension() == ".yaml") names.push_back(file.path().stem().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

fs::path calibration_file(DeviceKind device) {
  char host[HOST_NAME_MAX + 1] = "";
  gethostname(host, sizeof host - 1);
  const std::string cache = env(EnvVar::cache), home = env(EnvVar::home);
  const fs::path root =
      !cache.empty() ? fs::path(cache) : fs::path(home.empty() ? "." : home) / ".cache/rushes";
  return root / "clusters" / str(host, device == DeviceKind::cuda ? "-cuda" : "", ".yaml");
}

Cluster named_cluster(const std::string& name, const std::string& where) {
  if (name.find('/') != std::string::npos || name.ends_with(".yaml"))
    return read_cluster(read_yaml(name), name);
  const std::vector<std::string> known = cluster_names();
  if (std::find(known.begin(), known.end(), name) == known.end()) {
    fail(where, ": '", shortened(name, 60), "' must be one of ", join(known, ", "), ", cuda, or a file (",
         "a path with '/' or .yaml)", did_you_mean(name, known));
  }
  return from_configs(name);
}

Cluster local_cluster(DeviceKind device) {
  const fs::path measured = calibration_file(device);
  std::error_code error;
  if (fs::exists(measured, error)) return read_cluster(read_yaml(measured), measured.string());
  const DeviceInfo info = device_info();
  if (device == DeviceKind::cpu) {
    Cluster cluster = from_configs("cpu");
    const double cores = info.cores, assumed = static_cast<double>(cluster.ranks_per_node);
    // The file's figures are of its number of cores.
    for (double* rate : {&cluster.memory_bytes_per_second, &cluster.peak.float32, &cluster.peak.bfloat16,
                         &cluster.peak.float16})
      *rate *= cores / assumed;
    if (bfloat16_as_float()) {
      for (ByDtype* rates : {&cluster.peak, &cluster.matmul, &cluster.attention, &cluster.convolution})
        rates->bfloat16 = rates->float32;
    }
    cluster.ranks_per_node = info.cores;
    cluster.memory_bytes = static_cast<double>(info.memory_bytes);
    cluster.source += str(" with this machine's ", info.cores, " cores and memory");
    return cluster;
  }
  if (!info.cuda.empty()) {
    for (const std::string& name : cluster_names()) {
      if (lower(info.cuda[0].name).find(name) == std::string::npos) continue;
      Cluster cluster = from_configs(name);
      cluster.ranks_per_node = static_cast<int64_t>(info.cuda.size());
      cluster.memory_bytes = static_cast<double>(info.cuda[0].memory_bytes);
      return cluster;
    }
  }
  fail("no figures for ", info.cuda.empty() ? "a GPU, since this machine has none" : info.cuda[0].name,
       ": give --device with one of ", join(cluster_names(), ", "), " or a file, or measure them by `rushes ",
       "bench --calibrate --device cuda`");
}

std::string cost_key(const Sampling& s) {
  return str(s.height, "x", s.width, "x", s.num_frames, " ", s.num_inference_steps, " ", s.guidance_scale > 1,
             " ", s.max_sequence_length);
}

std::vector<ClipGroup> clip_groups(const std::vector<Item>& items) {
  std::map<std::string, size_t> index;
  std::vector<ClipGroup> groups;
  for (const Item& item : items) {
    const auto [found, is_new] = index.emplace(cost_key(item.sampling), groups.size());
    if (is_new) groups.push_back({item.sampling, 0});
    ++groups[found->second].count;
  }
  return groups;
}

Parallel chosen_layout(const ResolvedJob& job, int64_t world) {
  const auto numbers = [](const ParallelPlan& plan) {
    return Parallel{.dp = plan.dp(),
                    .cfg = plan.cfg(),
                    .sp = plan.sp(),
                    .ring = plan.ring(),
                    .dit_tp = plan.dit_tp(),
                    .tp = plan.tp(),
                    .vae = plan.vae()};
  };
  const Parallel otherwise = numbers(ParallelPlan::make(job.job.parallel, world));
  if (world == 1) return otherwise;
  try {
    const bool cuda = job.options.device.is_cuda();
    const PlanAnswer answer =
        choose_plan({.blueprint = *job.blueprint,
                     .options = job.options,
                     .clips = clip_groups(job.items),
                     .world = world,
                     .parallel = job.job.parallel,
                     .cluster = local_cluster(cuda ? DeviceKind::cuda : DeviceKind::cpu)});
    if (!answer.best.empty()) return numbers(answer.best[0].plan);
    log_warning("no layout is predicted to fit (", answer.why, "); trying ",
                ParallelPlan::make(otherwise, world).text());
  } catch (const UserError& error) {
    log_debug("no layout is predicted: ", error.what());
  }
  return otherwise;
}

}  // namespace rushes
