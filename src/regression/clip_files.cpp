#include "regression/clip_files.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/file.h"
#include "config/file_names.h"
#include "config/value.h"
#include "weights/tensor_store.h"

namespace rushes {
namespace {

namespace fs = std::filesystem;

at::Tensor latents_of(const ClipFiles& clip) {
  const std::vector<ClipFile> files = files_of_kind(clip, "latents");
  if (files.empty()) fail("clip ", clip.id, " has no latents");
  const fs::path path = clip.root / files.front().path;
  const TensorStore store = TensorStore::open_file(path);
  const StoredTensor* stored = store.find("latents");
  if (stored == nullptr) fail(path.string(), " holds no tensor 'latents'");
  return as_tensor(*stored).clone();
}

}  // namespace

bool is_reference_kind(const std::string& kind) {
  return kind == "video" || kind == "frames" || kind == "latents";
}

std::vector<ClipFile> files_of_kind(const ClipFiles& clip, const std::string& kind) {
  std::vector<ClipFile> files;
  std::copy_if(clip.files.begin(), clip.files.end(), std::back_inserter(files),
               [&](const ClipFile& file) { return file.kind == kind; });
  // Frames are numbered with zeros in front.
  std::sort(files.begin(), files.end(), [](const ClipFile& a, const ClipFile& b) {
    return a.path.size() != b.path.size() ? a.path.size() < b.path.size() : a.path < b.path;
  });
  return files;
}

bool ClipFiles::has(const std::string& kind) const {
  return std::any_of(files.begin(), files.end(), [&](const ClipFile& file) { return file.kind == kind; });
}

std::string ClipFiles::text(const char* key) const {
  if (!record.is_object()) return {};
  const auto at = record.find(key);
  return at != record.end() && at->is_string() ? at->get<std::string>() : std::string();
}

std::string damage(const ClipFiles& clip, const std::string& kind) {
  for (const ClipFile& file : files_of_kind(clip, kind)) {
    try {
      if (hash_file(clip.root / file.path) != file.hash)
        return (clip.root / file.path).string() + " has other bytes than recorded";
    } catch (const UserError& error) {
      return error.what();
    }
  }
  return {};
}

bool same_bytes(const ClipFiles& a, const ClipFiles& b, const std::string& kind) {
  const std::vector<ClipFile> left = files_of_kind(a, kind), right = files_of_kind(b, kind);
  if (left.size() != right.size()) return false;
  for (size_t i = 0; i < left.size(); ++i) {
    if (hash_file(a.root / left[i].path) != hash_file(b.root / right[i].path)) return false;
  }
  return true;
}

LatentsBeside compare_latents(const ClipFiles& a, const ClipFiles& b) {
  const at::Tensor left = latents_of(a), right = latents_of(b);
  if (left.sizes() != right.sizes())
    fail("latents of clip ", a.id, " are ", left.sizes(), ", those of the reference ", right.sizes());
  const at::Tensor p = left.to(at::kDouble).flatten(), q = right.to(at::kDouble).flatten();
  const double norms = std::sqrt(p.dot(p).item<double>() * q.dot(q).item<double>());
  const bool equal = left.scalar_type() == right.scalar_type() && left.equal(right);
  const double distance = equal || p.numel() == 0 ? 0 : (p - q).abs().max().item<double>();
  return {equal ? 1 : norms == 0 ? 0 : p.dot(q).item<double>() / norms, equal, distance};
}

std::vector<ClipFile> files_of(const nlohmann::json& record, const std::string& where) {
  std::vector<ClipFile> files;
  try {
    for (const nlohmann::json& entry : record.at("files")) {
      if (!entry.at("bytes").is_number_unsigned())
        fail(where, ": files: bytes must be a whole number from 0; found ", entry.at("bytes").dump());
      ClipFile file{entry.at("kind").get<std::string>(), entry.at("path").get<std::string>(),
                    entry.at("bytes").get<uint64_t>(), entry.at("hash").get<std::string>()};
      if (const std::string problem = inner_path_problem(file.path); !problem.empty())
        fail(where, ": ", problem);
      files.push_back(std::move(file));
    }
  } catch (const nlohmann::json::exception& error) {
    fail(where, ": files: ", json_problem(error));
  }
  return files;
}

}  // namespace rushes
