#pragma once
// The references of a regression: one folder for all models and machines, made to be kept for years.
//
//   DIR/history.jsonl                         a line for every comparison (history.h)
//   DIR/<model>/model.json                    {"min_ssim": 0.97}: the model's own threshold, where it has one
//   DIR/<model>/<key>/clips/<id>.json         the reference of a clip: where its files lie, their checksums,
//   the
//                                             record of the run that made them
//   DIR/<model>/<key>/versions/<id>/<time>/   the files, and the same JSON again: old versions stay
//   DIR/<model>/<key>/blessings.jsonl         who replaced or dropped what, with numbers before and after
//
// <model>: the last two parts of the model's path, joined by "--" ("Wan-AI--Wan2.1-T2V-1.3B-Diffusers"), so
// that a folder and a repository of one name meet. <key>: device kind, number format of the transformer and
// attention backend ("cpu-float32-flash"). Layout, build and the weights' hash are in the records: what they
// change is what a regression is to find.

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "regression/clip_files.h"

namespace rushes {

struct ReferenceKey {
  std::string model;      // "shapes--checkpoint"
  std::string device;     // "cpu", "cuda"
  std::string dtype;      // "float32", ...
  std::string attention;  // "flash", ...

  std::string folder() const;  // "shapes--checkpoint/cpu-float32-flash"
};

/// "datasets/shapes/checkpoint" and "/models/shapes/checkpoint" -> "shapes--checkpoint".
std::string reference_model_name(const std::string& model);
/// Whose references a clip belongs to. Throws UserError where the record does not say it.
ReferenceKey key_of(const ClipFiles& clip);

struct Reference {
  ClipFiles clip;
  std::string blessed;  // when, UTC
};

/// A copy of a clip beside the versions of its reference. Goes with this object unless it was put in place.
class StagedReference {
 public:
  StagedReference(const std::filesystem::path& versions, const std::string& time,
                  std::filesystem::path pointer);
  ~StagedReference();
  StagedReference(const StagedReference&) = delete;
  StagedReference& operator=(const StagedReference&) = delete;

  /// Copies the files. Throws UserError.
  void fill(const ClipFiles& clip);
  /// Makes it the reference; the one before stays as an old version. Throws UserError.
  void put();

 private:
  std::string time_, text_;  // of the version; the JSON of the pointer
  std::filesystem::path staging_, version_, pointer_;
};

class ReferenceStore {
 public:
  explicit ReferenceStore(std::filesystem::path root) : root_(std::move(root)) {}

  const std::filesystem::path& root() const { return root_; }
  /// Ids with a reference, sorted; none where the folder is not there. Throws UserError where it cannot be
  /// read, or holds what is no reference.
  std::vector<std::string> ids(const ReferenceKey& key) const;
  /// Every "<model>/<key>" that has references. Throws UserError as `ids` does.
  std::vector<std::string> keys() const;
  /// Nothing where there is none. Throws UserError where it cannot be read.
  std::optional<Reference> find(const ReferenceKey& key, const std::string& id) const;
  std::optional<double> model_min_ssim(const std::string& model) const;
  void set_model_min_ssim(const std::string& model, double value) const;

  /// Copies the clip's video, frames and latents to where its reference is to be: whatever can fail fails
  /// here. `time` names the version. Throws UserError.
  std::unique_ptr<StagedReference> stage(const ReferenceKey& key, const ClipFiles& clip,
                                         const std::string& time) const;
  /// The clip has no reference any more; its versions stay.
  void drop(const ReferenceKey& key, const std::string& id) const;
  /// Throws UserError where something else lies where note_blessing() or (`threshold`) set_model_min_ssim()
  /// write.
  void require_places(const ReferenceKey& key, bool threshold) const;
  /// Appends a line to the key's blessings.jsonl, with "user" and "host".
  void note_blessing(const ReferenceKey& key, nlohmann::json line) const;

  /// The current references alone (no old versions, no history) as a folder that can be put on a hub and used
  /// as --references: with a README and the checksums. `target` must not exist yet. Appears whole or not at
  /// all. Throws UserError.
  void export_to(const std::filesystem::path& target) const;

 private:
  // `key`: ReferenceKey::folder().
  std::filesystem::path pointer(const std::string& key, const std::string& id) const;
  std::vector<std::string> ids(const std::string& key) const;
  Reference read(const std::string& key, const std::string& id) const;
  std::filesystem::path root_;
};

/// Where `export_to` puts its folder: "upload/" is "upload". Throws UserError where something is there
/// already.
std::filesystem::path export_target(const std::filesystem::path& target);

/// Appends `line` to a file of JSON lines by one write under the file's lock. Throws UserError.
void append_json_line(const std::filesystem::path& path, const nlohmann::json& line);

}  // namespace rushes
