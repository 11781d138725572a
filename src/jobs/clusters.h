#pragma once
// Where descriptions of devices are found: configs/clusters, and what was measured on this machine.

#include <filesystem>
#include <string>
#include <vector>

#include "jobs/job.h"
#include "planner/planner.h"

namespace rushes {

/// Names of the files in configs/clusters, without ".yaml", in order: "a100", "cpu", ...
std::vector<std::string> cluster_names();

/// Where `rushes bench --calibrate` writes this host's figures for a device and `plan` looks for them:
/// $RUSHES_CACHE/clusters/<host>.yaml, without RUSHES_CACHE in ~/.cache/rushes; "<host>-cuda.yaml" for its
/// GPU.
std::filesystem::path calibration_file(DeviceKind device);

/// By a name of configs/clusters or a path ("/" in it, or ending in .yaml). `where` goes before what is
/// wrong.
Cluster named_cluster(const std::string& name, const std::string& where);

/// Of this machine: its calibration, or else configs/clusters/cpu.yaml with its own memory and cores, or the
/// file whose name its GPU's name has in it. UserError where a GPU is meant and none is known.
Cluster local_cluster(DeviceKind device);

/// The layout that a job is predicted to end first with, on this machine's devices: every axis a number.
/// Where nothing can be predicted, or nothing is predicted to fit, as ParallelPlan::make fills up what is
/// automatic.
Parallel chosen_layout(const ResolvedJob& job, int64_t world);

/// The same for clips that cost the same.
std::string cost_key(const Sampling& sampling);
/// Clips that cost the same together, in the order of the items.
std::vector<ClipGroup> clip_groups(const std::vector<Item>& items);

}  // namespace rushes
