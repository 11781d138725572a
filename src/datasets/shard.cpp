#include "datasets/shard.h"

#include <algorithm>
#include <array>

#include "base/error.h"
#include "base/file.h"
#include "datasets/h5.h"

namespace rushes {
namespace {

namespace fs = std::filesystem;
using h5::Handle;

constexpr const char* kFormat = "rushes samples";
constexpr int64_t kVersion = 1;
constexpr std::array<const char*, 4> kTexts = {"id", "caption", "settings", "provenance"};
constexpr hsize_t kChunkBytes = hsize_t{16} << 20;  // at most, of one sample
constexpr hsize_t kFramesBytes = hsize_t{1}
                                 << 20;  // a chunk of frames: one at least, so that one is read alone

const std::string& text_of(const Sample& sample, size_t index) {
  const std::array<const std::string*, 4> texts = {&sample.id, &sample.caption, &sample.settings,
                                                   &sample.provenance};
  return *texts[index];
}

hid_t memory_type(at::ScalarType dtype) {
  return dtype == at::kFloat ? H5T_NATIVE_FLOAT : H5T_NATIVE_UINT8;
}

/// A chunk is one sample, so that one sample is read alone; large ones are cut along their first dims.
/// Figures: tests/bench/README.md.
Handle layout_of(const std::vector<hsize_t>& shape, hsize_t element, const ShardOptions& options,
                 bool frames = false) {
  Handle layout(H5Pcreate(H5P_DATASET_CREATE), H5Pclose, "a data set's layout");
  h5::must(H5Pset_obj_track_times(layout, false), "a data set's layout");
  std::vector<hsize_t> chunk = shape;
  chunk[0] = 1;
  if (frames)
    chunk[1] = std::clamp<hsize_t>(kFramesBytes / std::max<hsize_t>(1, shape[2] * shape[3] * shape[4]), 1,
                                   std::max<hsize_t>(1, shape[1]));
  hsize_t bytes = element;
  for (const hsize_t extent : chunk)
    bytes *= std::max<hsize_t>(1, extent);
  for (size_t d = 1; d < chunk.size() && bytes > kChunkBytes; ++d) {
    const hsize_t rest = bytes / chunk[d];
    chunk[d] = std::max<hsize_t>(1, kChunkBytes / rest);
    bytes = rest * chunk[d];
  }
  for (hsize_t& extent : chunk)
    extent = std::max<hsize_t>(1, extent);
  h5::must(H5Pset_chunk(layout, static_cast<int>(chunk.size()), chunk.data()), "a data set's chunks");
  if (options.compression == 0) return layout;
  if (element > 1) h5::must(H5Pset_shuffle(layout), "a data set's layout");
  h5::must(H5Pset_deflate(layout, static_cast<unsigned>(options.compression)), "a data set's compression");
  return layout;
}

Handle make_array(hid_t file, const std::string& name, hid_t type, const std::vector<hsize_t>& shape,
                  hid_t layout, const std::string& where) {
  const Handle space(H5Screate_simple(static_cast<int>(shape.size()), shape.data(), nullptr), H5Sclose,
                     where);
  return {H5Dcreate2(file, name.c_str(), type, space, H5P_DEFAULT, layout, H5P_DEFAULT), H5Dclose,
          "cannot write " + where};
}

/// The arrays of a new shard.
struct Arrays {
  std::vector<Handle> texts;
  std::vector<std::pair<std::string, Handle>> parts;
};

Arrays make_arrays(hid_t file, const Sample& first, hsize_t count, const ShardOptions& options,
                   const std::string& where) {
  Arrays arrays;
  const Handle text = h5::text_type(), blob = h5::blob_type();
  for (const char* name : kTexts)
    arrays.texts.push_back(make_array(file, name, text, {count}, layout_of({count}, 1, {}), where));
  for (const std::string& name : sample_parts()) {
    const auto part = first.parts.find(name);
    if (part == first.parts.end()) continue;
    if (name == kVideoPart) {
      arrays.parts.emplace_back(name,
                                make_array(file, name, blob, {count}, layout_of({count}, 1, {}), where));
      continue;
    }
    std::vector<hsize_t> shape = {count};
    shape.insert(shape.end(), part->second.sizes().begin(), part->second.sizes().end());
    const bool wide = part->second.scalar_type() == at::kFloat;
    const Handle layout = layout_of(shape, part->second.element_size(), options, name == "frames");
    arrays.parts.emplace_back(
        name, make_array(file, name, wide ? H5T_IEEE_F32LE : H5T_STD_U8LE, shape, layout, where));
  }
  return arrays;
}

void write_row(const Arrays& arrays, hsize_t row, const Sample& sample, const std::string& where) {
  for (size_t i = 0; i < kTexts.size(); ++i)
    h5::write_text(arrays.texts[i], row, text_of(sample, i), where);
  for (const auto& [name, array] : arrays.parts) {
    const at::Tensor part = sample.parts.at(name).contiguous();
    if (name == kVideoPart) {
      h5::write_blob(array, row, part.const_data_ptr(), part.nbytes(), where);
    } else if (part.numel() > 0) {
      h5::write_row(array, row, memory_type(part.scalar_type()), part.const_data_ptr(), where);
    }
  }
}

std::vector<int64_t> as_sizes(const std::vector<hsize_t>& shape) {
  return {shape.begin(), shape.end()};
}

/// Elements of a sample's part: a 4K clip of a minute has 4e10.
constexpr int64_t kMostElements = int64_t{1} << 36;

void check_size(const std::vector<int64_t>& shape, const std::string& where) {
  int64_t left = kMostElements;
  for (const int64_t extent : shape) {
    if (extent < 0 || extent > left) fail(where, " is too large: ", join(shape, "x"));
    left /= std::max<int64_t>(1, extent);
  }
}

std::string type_name(hid_t dataset, const std::string& where) {
  const Handle type(H5Dget_type(dataset), H5Tclose, where);
  if (H5Tis_variable_str(type) > 0) return "text";
  if (H5Tget_class(type) == H5T_VLEN) return "bytes";
  if (H5Tequal(type, H5T_IEEE_F32LE) > 0) return "float32";
  if (H5Tequal(type, H5T_STD_U8LE) > 0) return "uint8";
  return "other";
}

}  // namespace

void write_shard(const fs::path& path, const std::vector<fs::path>& samples, const ShardOptions& options) {
  RUSHES_CHECK(!samples.empty(), path.string());
  const std::string where = path.string();
  Handle file = h5::create_file(where);
  Arrays arrays;
  std::string bucket;
  for (size_t row = 0; row < samples.size(); ++row) {
    const Sample sample = read_sample(samples[row]);
    if (row == 0) {
      bucket = bucket_of(sample);
      arrays = make_arrays(file, sample, samples.size(), options, where);
    } else if (bucket_of(sample) != bucket) {
      fail(samples[row].string(), " is of the bucket ", bucket_of(sample), ", the shard of ", bucket);
    }
    write_row(arrays, row, sample, where);
  }
  h5::write_attribute(file, "format", kFormat);
  h5::write_attribute(file, "version", kVersion);
  h5::write_attribute(file, "bucket", bucket);
  for (Handle& text : arrays.texts)
    text.close("cannot write " + where);
  for (auto& [name, array] : arrays.parts)
    array.close("cannot write " + where);
  file.close("cannot write " + where);
  sync_path(path);
}

struct Shard::State {
  std::string where;
  Handle file;
  std::string bucket;
  std::array<Handle, 4> texts;
  std::vector<std::pair<std::string, Handle>> parts;
  int64_t count = 0;
};

Shard::Shard(const fs::path& path) : state_(std::make_unique<State>()) {
  State& s = *state_;
  s.where = path.string();
  s.file = h5::open_file(s.where);
  if (h5::read_text_attribute(s.file, "format", s.where) != kFormat) fail(s.where, " is no shard of samples");
  s.bucket = h5::read_text_attribute(s.file, "bucket", s.where);
  for (size_t i = 0; i < kTexts.size(); ++i) {
    s.texts[i] = h5::open_dataset(s.file, kTexts[i], s.where);
    const std::vector<hsize_t> shape = h5::shape_of(s.texts[i], s.where);
    if (shape.size() != 1 || type_name(s.texts[i], s.where) != "text")
      fail(s.where, ": ", kTexts[i], " is no list of texts");
    if (i == 0) s.count = static_cast<int64_t>(shape[0]);
    if (shape[0] != static_cast<hsize_t>(s.count)) fail(s.where, ": ", kTexts[i], " has ", shape[0], " rows");
  }
  for (const std::string& name : sample_parts()) {
    if (H5Lexists(s.file, name.c_str(), H5P_DEFAULT) <= 0) continue;
    Handle array = h5::open_dataset(s.file, name, s.where);
    const std::vector<hsize_t> shape = h5::shape_of(array, s.where);
    const std::string type = type_name(array, s.where);
    const bool known = name == kVideoPart ? type == "bytes" : type == "float32" || type == "uint8";
    if (!known || shape.empty() || shape[0] != static_cast<hsize_t>(s.count))
      fail(s.where, ": ", name, " is not an array of the shard's samples");
    s.parts.emplace_back(name, std::move(array));
  }
}

Shard::~Shard() = default;
Shard::Shard(Shard&&) noexcept = default;

int64_t Shard::count() const {
  return state_->count;
}

const std::string& Shard::bucket() const {
  return state_->bucket;
}

std::string Shard::id(int64_t row) const {
  return h5::read_text(state_->texts[0], static_cast<hsize_t>(row), state_->where);
}

std::vector<ShardPart> Shard::parts() const {
  std::vector<ShardPart> parts;
  const auto add = [&](const std::string& name, hid_t array) {
    parts.push_back({name, type_name(array, state_->where), as_sizes(h5::shape_of(array, state_->where)),
                     static_cast<int64_t>(H5Dget_storage_size(array))});
  };
  for (size_t i = 0; i < kTexts.size(); ++i)
    add(kTexts[i], state_->texts[i]);
  for (const auto& [name, array] : state_->parts)
    add(name, array);
  return parts;
}

Sample Shard::read(int64_t row) const {
  const State& s = *state_;
  const auto at = static_cast<hsize_t>(row);
  const auto text = [&](size_t i) { return h5::read_text(s.texts[i], at, s.where); };
  Sample sample{text(0), text(1), text(2), text(3), {}};
  for (const auto& [name, array] : s.parts) {
    if (name == kVideoPart) {
      const std::string bytes = h5::read_blob(array, at, s.where);
      sample.parts[name] =
          at::from_blob(const_cast<char*>(bytes.data()), {static_cast<int64_t>(bytes.size())}, at::kByte)
              .clone();
      continue;
    }
    std::vector<int64_t> shape = as_sizes(h5::shape_of(array, s.where));
    shape.erase(shape.begin());
    const auto dtype = type_name(array, s.where) == "float32" ? at::kFloat : at::kByte;
    check_size(shape, str(s.where, ": ", name));
    at::Tensor part = at::empty(shape, dtype);
    if (part.numel() > 0) h5::read_row(array, at, memory_type(dtype), part.mutable_data_ptr(), s.where);
    sample.parts[name] = part;
  }
  return sample;
}

}  // namespace rushes
