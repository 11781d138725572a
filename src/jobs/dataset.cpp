#include "jobs/dataset.h"

#include <cstdio>
#include <functional>
#include <map>

#include "base/error.h"
#include "base/file.h"
#include "datasets/webdataset.h"

namespace rushes {
namespace {

namespace fs = std::filesystem;

std::string mib(double bytes) {
  char text[32];
  std::snprintf(text, sizeof text, bytes < 1e8 ? "%.2f" : "%.0f", bytes / (1 << 20));
  return str(text, " MiB");
}

/// What all shards of a bucket hold together.
struct Total {
  int64_t samples = 0, shards = 0;
  std::map<std::string, ShardPart> parts;
  std::vector<std::string> order;
};

std::string part_line(const ShardPart& part) {
  std::string line = str("  ", part.name, std::string(14 - std::min<size_t>(13, part.name.size()), ' '));
  if (part.type == "text" || part.type == "bytes") return str(line, part.type, " [", part.shape[0], "]\n");
  double bytes = part.type == "float32" ? 4 : 1;
  for (const int64_t extent : part.shape)
    bytes *= static_cast<double>(extent);
  return str(line, part.type, " [", join(part.shape, ", "), "], ", mib(bytes), " in ",
             mib(static_cast<double>(part.stored_bytes)), "\n");
}

/// A sample that was spooled; or, where a run has joined it to a shard since, from there.
Sample read_spooled(const OutputFolder& folder, const std::string& path) {
  try {
    return read_sample(folder.root() / path);
  } catch (const UserError&) {
    const std::string id = fs::path(path).stem().string();
    const auto now = sample_path(folder, id);
    if (!now || *now == path) throw;
    const Shard shard(folder.root() / *now);
    for (int64_t row = 0; row < shard.count(); ++row) {
      if (shard.id(row) == id) return shard.read(row);
    }
    throw;
  }
}

/// Calls `take` with every sample, shard after shard. Throws UserError before the first where some cannot be
/// read.
void each_sample(const OutputFolder& folder, const std::function<void(const Sample&)>& take) {
  const DatasetContents contents = dataset_contents(folder);
  Problems problems;
  for (const std::string& shard : contents.unreadable)
    problems.add(shard, "; run the job again with --verify to make its clips anew");
  problems.throw_if_any();
  for (const ShardRows& rows : contents.shards) {
    const Shard shard(folder.root() / rows.file);
    for (const int64_t row : rows.rows)
      take(shard.read(row));
  }
  for (const std::string& path : contents.spooled)
    take(read_spooled(folder, path));
}

}  // namespace

std::string dataset_text(const OutputFolder& folder, bool verify, FileHashes& hashes) {
  const DatasetContents contents = dataset_contents(folder, verify, hashes);
  std::map<std::string, Total> buckets;
  int64_t samples = 0;
  double bytes = 0;
  for (const ShardRows& rows : contents.shards) {
    const Shard shard(folder.root() / rows.file);
    Total& total = buckets[shard.bucket()];
    samples += static_cast<int64_t>(rows.rows.size());
    total.samples += static_cast<int64_t>(rows.rows.size());
    ++total.shards;
    bytes += static_cast<double>(fs::file_size(folder.root() / rows.file));
    for (const ShardPart& part : shard.parts()) {
      const auto [at, added] = total.parts.emplace(part.name, part);
      if (added) {
        total.order.push_back(part.name);
        continue;
      }
      at->second.shape[0] += part.shape[0];
      at->second.stored_bytes += part.stored_bytes;
    }
  }
  std::string text = str(folder.root().string(), ": ", samples, " samples in ", contents.shards.size(),
                         contents.shards.size() == 1 ? " shard" : " shards", ", ", mib(bytes));
  for (const std::string& shard : contents.unreadable)
    text += str("\ncannot be read: ", shard);
  if (!contents.spooled.empty()) text += str("; ", contents.spooled.size(), " more wait for a shard");
  text += "\n";
  for (const auto& [name, total] : buckets) {
    text += str(name, ": ", total.samples, " samples, ", total.shards,
                total.shards == 1 ? " shard" : " shards", "\n");
    for (const std::string& part : total.order)
      text += part_line(total.parts.at(part));
  }
  if (samples == 0 && contents.spooled.empty()) text += "no samples: a job with save: [hdf5] makes them\n";
  return text;
}

ExportCount export_webdataset(const OutputFolder& folder, const ExportOptions& options) {
  std::error_code error;
  // A run takes what lies in its own folders for its own.
  const fs::path inside =
      fs::weakly_canonical(options.to, error).lexically_relative(fs::weakly_canonical(folder.root(), error));
  const std::string part = inside.empty() ? ".." : inside.begin()->string();
  for (const char* own : {"videos", "latents", "frames", "items", "logs", "hdf5", "report", ".rushes"}) {
    if (part == own)
      fail("--to: ", options.to.string(), " lies in the run's own folder ", own, "; choose another");
  }
  fs::create_directories(options.to, error);
  if (error) fail("--to: cannot make the folder ", options.to.string(), ": ", error.message());
  for (const auto& entry : fs::directory_iterator(options.to)) {
    if (entry.path().extension() == ".tar")
      fail("--to: ", entry.path().string(), " is there already; choose an empty folder");
  }
  ExportCount count;
  std::unique_ptr<WebDatasetWriter> writer;
  fs::path beside, target;
  int64_t clips = 0;
  const auto finish = [&] {
    if (!writer) return;
    writer->finish();
    writer.reset();
    fs::rename(beside, target);
    sync_path(options.to);
    ++count.files;
  };
  each_sample(folder, [&](const Sample& sample) {
    if (writer && (clips >= options.most_clips || writer->bytes() >= options.most_bytes)) finish();
    if (!writer) {
      char name[32];
      std::snprintf(name, sizeof name, "samples-%06lld.tar", static_cast<long long>(count.files));
      target = options.to / name;
      beside = options.to / str(".", name, ".part");
      writer = std::make_unique<WebDatasetWriter>(beside);
      clips = 0;
    }
    writer->add(sample);
    ++clips;
    ++count.samples;
  });
  finish();
  return count;
}

}  // namespace rushes
