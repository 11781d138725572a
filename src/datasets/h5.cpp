#include "datasets/h5.h"

#include <cstdlib>
#include <cstring>

namespace rushes::h5 {
namespace {

/// The innermost entry of the error stack, which comes first, says why.
herr_t note_first(unsigned index, const H5E_error2_t* error, void* out) {
  if (index == 0 && error->desc != nullptr) *static_cast<std::string*>(out) = error->desc;
  return 0;
}

/// The library would print its error stacks. And at exit it would write once more what a full disk did not
/// take, and fall over it: files are closed by their owners, and what could not be is given up.
void tame_library() {
  static const bool tamed = [] {
    H5dont_atexit();
    H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
    return true;
  }();
  (void)tamed;
}

/// Of the system's errors the library tells every detail, on two lines: "... errno = 28, error message =
/// ...".
std::string system_error_in(const std::string& text) {
  const size_t at = text.find("errno = ");
  const int number = at == std::string::npos ? 0 : std::atoi(text.c_str() + at + std::strlen("errno = "));
  return number > 0 ? std::strerror(number) : text;
}

/// One row in the file's space, and a space of the same size in memory.
struct Row {
  Handle file, memory;
};
Row row_of(hid_t dataset, hsize_t row, const std::string& where) {
  Row result;
  result.file = Handle(H5Dget_space(dataset), H5Sclose, where);
  std::vector<hsize_t> shape = shape_of(dataset, where);
  if (shape.empty() || row >= shape[0]) fail(where, ": there is no row ", row);
  std::vector<hsize_t> start(shape.size(), 0), count = shape;
  start[0] = row;
  count[0] = 1;
  must(H5Sselect_hyperslab(result.file, H5S_SELECT_SET, start.data(), nullptr, count.data(), nullptr), where);
  result.memory =
      Handle(H5Screate_simple(static_cast<int>(count.size()), count.data(), nullptr), H5Sclose, where);
  return result;
}

}  // namespace

void fail_with(const std::string& what) {
  std::string why;
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, note_first, &why);
  H5Eclear2(H5E_DEFAULT);
  fail(what, why.empty() ? "" : ": ", system_error_in(why));
}

Handle create_file(const std::string& path) {
  tame_library();
  // As new as HDF5 1.10 reads; times of objects would make equal contents unequal files.
  Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose, path);
  must(H5Pset_libver_bounds(access, H5F_LIBVER_V110, H5F_LIBVER_V110), path);
  return {H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access), H5Fclose, "cannot write " + path};
}

Handle open_file(const std::string& path) {
  tame_library();
  return {H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT), H5Fclose, "cannot read " + path};
}

Handle open_dataset(hid_t at, const std::string& name, const std::string& where) {
  return {H5Dopen2(at, name.c_str(), H5P_DEFAULT), H5Dclose, where + " has no data set " + name};
}

Handle text_type() {
  Handle type(H5Tcopy(H5T_C_S1), H5Tclose, "a type of texts");
  must(H5Tset_size(type, H5T_VARIABLE), "a type of texts");
  must(H5Tset_cset(type, H5T_CSET_UTF8), "a type of texts");
  return type;
}

Handle blob_type() {
  return {H5Tvlen_create(H5T_NATIVE_UINT8), H5Tclose, "a type of bytes"};
}

void write_attribute(hid_t at, const std::string& name, const std::string& text) {
  const Handle space(H5Screate(H5S_SCALAR), H5Sclose, name), type = text_type();
  const Handle attribute(H5Acreate2(at, name.c_str(), type, space, H5P_DEFAULT, H5P_DEFAULT), H5Aclose, name);
  const char* const value = text.c_str();
  must(H5Awrite(attribute, type, &value), name);
}

void write_attribute(hid_t at, const std::string& name, int64_t number) {
  const Handle space(H5Screate(H5S_SCALAR), H5Sclose, name);
  const Handle attribute(H5Acreate2(at, name.c_str(), H5T_STD_I64LE, space, H5P_DEFAULT, H5P_DEFAULT),
                         H5Aclose, name);
  must(H5Awrite(attribute, H5T_NATIVE_INT64, &number), name);
}

std::string read_text_attribute(hid_t at, const std::string& name, const std::string& where) {
  if (H5Aexists(at, name.c_str()) <= 0) fail(where, " has no attribute ", name);
  const Handle attribute(H5Aopen(at, name.c_str(), H5P_DEFAULT), H5Aclose, where), type = text_type();
  const Handle stored(H5Aget_type(attribute), H5Tclose, where);
  if (H5Tis_variable_str(stored) <= 0) fail(where, ": the attribute ", name, " is no text");
  char* value = nullptr;
  must(H5Aread(attribute, type, &value), where);
  std::string text = value == nullptr ? "" : value;
  H5free_memory(value);
  return text;
}

std::vector<hsize_t> shape_of(hid_t dataset, const std::string& where) {
  const Handle space(H5Dget_space(dataset), H5Sclose, where);
  const int dims = H5Sget_simple_extent_ndims(space);
  if (dims < 0) fail_with(where);
  std::vector<hsize_t> shape(static_cast<size_t>(dims));
  must(H5Sget_simple_extent_dims(space, shape.data(), nullptr), where);
  return shape;
}

std::vector<std::string> names_in(hid_t group, const std::string& where) {
  std::vector<std::string> names;
  const auto add = [](hid_t, const char* name, const H5L_info_t*, void* out) -> herr_t {
    static_cast<std::vector<std::string>*>(out)->emplace_back(name);
    return 0;
  };
  must(H5Literate(group, H5_INDEX_NAME, H5_ITER_INC, nullptr, add, &names), where);
  return names;
}

std::string read_text(hid_t dataset, hsize_t row, const std::string& where) {
  const Row at = row_of(dataset, row, where);
  const Handle type = text_type(), stored(H5Dget_type(dataset), H5Tclose, where);
  if (H5Tis_variable_str(stored) <= 0) fail(where, " holds no texts");
  char* value = nullptr;
  must(H5Dread(dataset, type, at.memory, at.file, H5P_DEFAULT, &value), where);
  std::string text = value == nullptr ? "" : value;
  H5free_memory(value);
  return text;
}

void write_text(hid_t dataset, hsize_t row, const std::string& text, const std::string& where) {
  const Row at = row_of(dataset, row, where);
  const Handle type = text_type();
  const char* const value = text.c_str();
  must(H5Dwrite(dataset, type, at.memory, at.file, H5P_DEFAULT, &value), where);
}

std::string read_blob(hid_t dataset, hsize_t row, const std::string& where) {
  const Row at = row_of(dataset, row, where);
  const Handle type = blob_type(), stored(H5Dget_type(dataset), H5Tclose, where);
  if (H5Tget_class(stored) != H5T_VLEN) fail(where, " holds no bytes");
  hvl_t value{};
  must(H5Dread(dataset, type, at.memory, at.file, H5P_DEFAULT, &value), where);
  std::string bytes(static_cast<const char*>(value.p), value.len);
  H5free_memory(value.p);
  return bytes;
}

void write_blob(hid_t dataset, hsize_t row, const void* data, size_t bytes, const std::string& where) {
  const Row at = row_of(dataset, row, where);
  const Handle type = blob_type();
  const hvl_t value{bytes, const_cast<void*>(data)};
  must(H5Dwrite(dataset, type, at.memory, at.file, H5P_DEFAULT, &value), where);
}

void read_row(hid_t dataset, hsize_t row, hid_t type, void* data, const std::string& where) {
  const Row at = row_of(dataset, row, where);
  must(H5Dread(dataset, type, at.memory, at.file, H5P_DEFAULT, data), where);
}

void write_row(hid_t dataset, hsize_t row, hid_t type, const void* data, const std::string& where) {
  const Row at = row_of(dataset, row, where);
  must(H5Dwrite(dataset, type, at.memory, at.file, H5P_DEFAULT, data), where);
}

}  // namespace rushes::h5
