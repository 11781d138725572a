#include "datasets/webdataset.h"

#include <archive.h>
#include <archive_entry.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"

namespace rushes {

struct WebDatasetWriter::State {
  std::filesystem::path path;
  archive* tar = nullptr;
  [[noreturn]] void trouble() const {
    const char* why = archive_error_string(tar);
    fail("cannot write ", path.string(), ": ", why == nullptr ? "unknown error" : why);
  }
};

WebDatasetWriter::WebDatasetWriter(const std::filesystem::path& path) : state_(std::make_unique<State>()) {
  state_->path = path;
  state_->tar = archive_write_new();
  if (state_->tar == nullptr) throw std::bad_alloc();
  // Plain ustar; what does not fit it (long names, large members) in pax headers.
  archive_write_set_format_pax_restricted(state_->tar);
  if (archive_write_open_filename(state_->tar, path.c_str()) != ARCHIVE_OK) {
    const std::string why = archive_error_string(state_->tar);
    archive_write_free(state_->tar);
    state_->tar = nullptr;
    fail("cannot write ", path.string(), ": ", why);
  }
}

WebDatasetWriter::~WebDatasetWriter() {
  if (state_->tar != nullptr) archive_write_free(state_->tar);
}

void WebDatasetWriter::member(const std::string& name, const std::string& bytes) {
  struct Free {
    void operator()(archive_entry* entry) const { archive_entry_free(entry); }
  };
  const std::unique_ptr<archive_entry, Free> entry(archive_entry_new());
  archive_entry_set_pathname_utf8(entry.get(), name.c_str());
  archive_entry_set_size(entry.get(), static_cast<int64_t>(bytes.size()));
  archive_entry_set_filetype(entry.get(), AE_IFREG);
  archive_entry_set_perm(entry.get(), 0644);
  archive_entry_set_mtime(entry.get(), 0, 0);
  if (archive_write_header(state_->tar, entry.get()) != ARCHIVE_OK) state_->trouble();
  for (size_t done = 0; done < bytes.size();) {
    const la_ssize_t wrote = archive_write_data(state_->tar, bytes.data() + done, bytes.size() - done);
    if (wrote <= 0) state_->trouble();
    done += static_cast<size_t>(wrote);
  }
  bytes_ += static_cast<int64_t>(bytes.size());
}

void WebDatasetWriter::add(const Sample& sample) {
  const std::string key = webdataset_key(sample.id);
  // Read and written again, so that both are one object.
  const auto parse = [](const std::string& text) {
    const auto value = nlohmann::ordered_json::parse(text, nullptr, /*allow_exceptions=*/false);
    return value.is_discarded() ? nlohmann::ordered_json(text) : value;
  };
  const nlohmann::ordered_json facts = {
      {"id", sample.id}, {"settings", parse(sample.settings)}, {"provenance", parse(sample.provenance)}};
  member(key + ".txt", sample.caption);
  member(key + ".json", facts.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
  for (const std::string& name : sample_parts()) {
    const auto part = sample.parts.find(name);
    if (part == sample.parts.end()) continue;
    if (name == kVideoPart) {
      const at::Tensor video = part->second.contiguous();
      member(key + ".mp4", std::string(reinterpret_cast<const char*>(video.const_data_ptr<uint8_t>()),
                                       static_cast<size_t>(video.numel())));
    } else {
      member(str(key, ".", name, ".npy"), npy_bytes(part->second));
    }
  }
}

void WebDatasetWriter::finish() {
  if (archive_write_close(state_->tar) != ARCHIVE_OK) state_->trouble();
  archive_write_free(state_->tar);
  state_->tar = nullptr;
  sync_path(state_->path);
}

std::string webdataset_key(const std::string& id) {
  if (id.find('.') == std::string::npos) return id;
  std::string key = id;
  std::replace(key.begin(), key.end(), '.', '_');
  return key + "-" + hash_bytes(id).substr(0, 8);
}

std::string npy_bytes(const at::Tensor& tensor) {
  // numpy/lib/format.py, version 1.0: magic, header length, a Python dict padded to a multiple of 64.
  RUSHES_CHECK(tensor.scalar_type() == at::kFloat || tensor.scalar_type() == at::kByte, tensor.toString());
  const at::Tensor own = tensor.contiguous();
  std::string shape = join(own.sizes().vec(), ", ");
  if (own.dim() == 1) shape += ",";
  std::string header = str("{'descr': '", own.scalar_type() == at::kFloat ? "<f4" : "|u1",
                           "', 'fortran_order': False, 'shape': (", shape, "), }");
  constexpr size_t kBefore = 10;
  header.append(63 - (kBefore + header.size()) % 64, ' ');
  header += '\n';
  std::string bytes("\x93NUMPY\x01\x00", 8);
  bytes += static_cast<char>(header.size() & 0xff);
  bytes += static_cast<char>(header.size() >> 8);
  bytes += header;
  if (own.numel() > 0) bytes.append(static_cast<const char*>(own.const_data_ptr()), own.nbytes());
  return bytes;
}

}  // namespace rushes
