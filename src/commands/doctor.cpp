#include <torch/headeronly/version.h>

#include <cxxopts.hpp>
#include <iostream>

#include "base/env.h"
#include "base/log.h"
#include "base/version.h"
#include "commands/commands.h"
#include "commands/doctor_command.h"
#include "device/device.h"
#include "dist/mpi/mpi_world.h"
#include "jobs/run_job.h"
#include "media/ffmpeg/av.h"
#include "models/registry.h"

namespace rushes {
namespace {

void row(const std::string& name, const std::string& value) {
  std::cout << "  " << name << std::string(name.size() < 16 ? 16 - name.size() : 1, ' ') << value << "\n";
}

std::string gib(int64_t bytes) {
  char text[32];
  snprintf(text, sizeof text, "%.1f GiB", static_cast<double>(bytes) / (1 << 30));
  return text;
}

std::string threads_text(const Place& place) {
  try {
    return str(threads_of(place), " a rank, with one rank here");
  } catch (const UserError& error) {
    return error.what();
  }
}

std::string ffmpeg_text() {
  const AVCodec* x264 = avcodec_find_encoder_by_name("libx264");
  return str(av_version_info(),
             x264 == nullptr ? ", without libx264: no video can be written" : ", H.264 by libx264 (GPL)");
}

void print_devices(const DeviceInfo& device) {
  row("processor", str(device.cpu_model, ", ", device.cores, " cores for this process"));
  row("instructions",
      device.cpu_level + (device.cpu_flags.empty() ? "" : " (" + join(device.cpu_flags, " ") + ")"));
  row("memory", gib(device.memory_bytes));
  for (const CudaDevice& gpu : device.cuda) {
    row(str("GPU ", gpu.index), str(gpu.name, ", ", gib(gpu.memory_bytes), " (", gib(free_memory(gpu)),
                                    " free), sm_", gpu.capability_major, gpu.capability_minor,
                                    gpu.has_kernels ? "" : ", for which no kernels were compiled"));
  }
  if (device.cuda.empty()) row("GPU", "none: " + device.why_no_cuda);
}

}  // namespace

int doctor_command(int argc, char** argv) {
  return answer_errors("doctor", [&] {
    cxxopts::Options options("rushes doctor", "Shows what this machine offers.");
    options.add_options()("help", "show this");
    const cxxopts::ParseResult parsed = options.parse(argc, argv);
    if (parsed.count("help") > 0) {
      std::cout << options.help() << "\n";
      return static_cast<int>(kExitDone);
    }
    refuse_words(parsed.unmatched(), "doctor");
    const Place place = make_single_world()->place();
    std::cout << "rushes " << version_text() << " on " << place.host << "\n";
    print_devices(device_info());
    row("threads", threads_text(place));
    row("LibTorch", TORCH_VERSION);
    row("MPI", mpi_version().substr(0, mpi_version().find(',')));
    row("started by",
        started_by_mpi() ? "an MPI launcher" : "hand: a world of one rank (mpirun -n N for more)");
    row("FFmpeg", ffmpeg_text());
    const std::string slurm = env(EnvVar::slurm_job_id);
    row("Slurm", slurm.empty() ? "not inside a job" : "job " + slurm);
    for (const char* kind : {"transformer", "vae", "text_encoder", "tokenizer", "scheduler"}) {
      row(kind, join(known_classes(kind), ", "));
    }
    std::cout << "\nenvironment variables that are read:\n";
    for (const EnvRow& variable : env_table()) {
      const std::string value = env(variable.variable);
      const bool secret = variable.variable == EnvVar::hf_token;
      std::cout << "  " << variable.name
                << (value.empty() ? ""
                    : secret      ? "=***"
                                  : "=" + hide_secrets(value))
                << "\n      " << variable.meaning << "\n";
    }
    return static_cast<int>(kExitDone);
  });
}

}  // namespace rushes
