#pragma once
// HDF5's C interface with owners and errors. The library knows no threads: one thread at a time.

#include <hdf5.h>

#include <string>
#include <utility>
#include <vector>

#include "base/error.h"

namespace rushes::h5 {

/// Throws UserError: `what`, and the library's own reason ("No space left on device" among them).
[[noreturn]] void fail_with(const std::string& what);

/// A handle that is closed with its scope.
class Handle {
 public:
  using Close = herr_t (*)(hid_t);
  Handle() = default;
  /// Throws UserError (`what` could not be done) for a negative id.
  Handle(hid_t id, Close close, const std::string& what) : id_(id), close_(close) {
    if (id < 0) fail_with(what);
  }
  ~Handle() { reset(); }
  Handle(Handle&& other) noexcept { swap(other); }
  Handle& operator=(Handle&& other) noexcept {
    swap(other);
    return *this;
  }
  operator hid_t() const { return id_; }  // NOLINT: as the library takes it
  /// Closes now. Throws UserError: what was written may not be there.
  void close(const std::string& what) {
    const hid_t id = std::exchange(id_, -1);
    if (id >= 0 && close_(id) < 0) fail_with(what);
  }

 private:
  void swap(Handle& other) {
    std::swap(id_, other.id_);
    std::swap(close_, other.close_);
  }
  void reset() {
    if (id_ >= 0) close_(id_);
    id_ = -1;
  }
  hid_t id_ = -1;
  Close close_ = nullptr;
};

inline void must(herr_t result, const std::string& what) {
  if (result < 0) fail_with(what);
}

Handle create_file(const std::string& path);
Handle open_file(const std::string& path);
Handle open_dataset(hid_t at, const std::string& name, const std::string& where);
/// Text of any length in UTF-8.
Handle text_type();
/// Bytes, any number of them.
Handle blob_type();

void write_attribute(hid_t at, const std::string& name, const std::string& text);
void write_attribute(hid_t at, const std::string& name, int64_t number);
std::string read_text_attribute(hid_t at, const std::string& name, const std::string& where);

std::vector<hsize_t> shape_of(hid_t dataset, const std::string& where);
/// Names of what lies in a group.
std::vector<std::string> names_in(hid_t group, const std::string& where);

/// Row `row` of a dataset of texts or of blobs.
std::string read_text(hid_t dataset, hsize_t row, const std::string& where);
void write_text(hid_t dataset, hsize_t row, const std::string& text, const std::string& where);
std::string read_blob(hid_t dataset, hsize_t row, const std::string& where);
void write_blob(hid_t dataset, hsize_t row, const void* data, size_t bytes, const std::string& where);
/// Row `row` of a dataset of numbers, in memory of `type`; the row's elements lie one after another.
void read_row(hid_t dataset, hsize_t row, hid_t type, void* data, const std::string& where);
void write_row(hid_t dataset, hsize_t row, hid_t type, const void* data, const std::string& where);

}  // namespace rushes::h5
