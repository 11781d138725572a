#pragma once
// Samples as tar files in the layout of WebDataset (github.com/webdataset/webdataset): members of one sample
// follow each other and share their name up to its first dot.

#include <filesystem>
#include <memory>
#include <string>

#include "datasets/sample.h"

namespace rushes {

/// Writes one tar: <key>.txt the caption, <key>.json settings and provenance, <key>.<part>.npy each array,
/// <key>.mp4 the video. Equal samples give equal bytes.
class WebDatasetWriter {
 public:
  /// Throws UserError where the file cannot be made.
  explicit WebDatasetWriter(const std::filesystem::path& path);
  ~WebDatasetWriter();
  WebDatasetWriter(const WebDatasetWriter&) = delete;
  WebDatasetWriter& operator=(const WebDatasetWriter&) = delete;

  void add(const Sample& sample);
  /// Ends the file, fsynced. Throws UserError (a full disk).
  void finish();
  int64_t bytes() const { return bytes_; }

 private:
  void member(const std::string& name, const std::string& bytes);
  struct State;
  std::unique_ptr<State> state_;
  int64_t bytes_ = 0;
};

/// The sample's name in the tar: its id, where that has no dot; else dots become '_', and digits of the id's
/// hash tell it from others.
std::string webdataset_key(const std::string& id);

/// As numpy.save writes it. float32 or uint8.
std::string npy_bytes(const at::Tensor& tensor);

}  // namespace rushes
