// The file that shows many shards as one.

#include <algorithm>
#include <map>

#include "base/error.h"
#include "base/file.h"
#include "datasets/h5.h"
#include "datasets/shard.h"

namespace rushes {
namespace {

namespace fs = std::filesystem;
using h5::Handle;

/// A shard as one of many: where its rows come to lie.
struct Source {
  std::string file;
  std::vector<int64_t> rows;
  hsize_t first = 0;  // in the virtual array
};

struct Bucket {
  std::vector<Source> sources;
  hsize_t count = 0;
};

/// Runs of neighbouring rows: (first, count).
std::vector<std::pair<hsize_t, hsize_t>> runs_of(const std::vector<int64_t>& rows) {
  std::vector<std::pair<hsize_t, hsize_t>> runs;
  for (const int64_t row : rows) {
    const auto at = static_cast<hsize_t>(row);
    if (!runs.empty() && runs.back().first + runs.back().second == at) {
      ++runs.back().second;
    } else {
      runs.emplace_back(at, 1);
    }
  }
  return runs;
}

Handle some_rows(const std::vector<hsize_t>& shape, hsize_t first, hsize_t count, const std::string& where) {
  Handle space(H5Screate_simple(static_cast<int>(shape.size()), shape.data(), nullptr), H5Sclose, where);
  std::vector<hsize_t> start(shape.size(), 0), extent = shape;
  start[0] = first;
  extent[0] = count;
  h5::must(H5Sselect_hyperslab(space, H5S_SELECT_SET, start.data(), nullptr, extent.data(), nullptr), where);
  return space;
}

/// One array over all of a bucket's shards; `root`: the folder that the shards' names are relative to.
void write_array(hid_t group, const std::string& name, const Bucket& bucket, const fs::path& root,
                 const std::string& where) {
  const Handle layout(H5Pcreate(H5P_DATASET_CREATE), H5Pclose, where);
  h5::must(H5Pset_obj_track_times(layout, false), where);
  std::vector<hsize_t> whole;
  Handle type;
  for (const Source& source : bucket.sources) {
    const Handle shard = h5::open_file((root / source.file).string());
    const Handle array = h5::open_dataset(shard, name, source.file);
    const std::vector<hsize_t> shape = h5::shape_of(array, source.file);
    if (whole.empty()) {
      whole = shape;
      whole[0] = bucket.count;
      type = Handle(H5Dget_type(array), H5Tclose, source.file);
    }
    hsize_t at = source.first;
    for (const auto& [first, count] : runs_of(source.rows)) {
      const Handle to = some_rows(whole, at, count, where), from = some_rows(shape, first, count, where);
      h5::must(H5Pset_virtual(layout, to, source.file.c_str(), name.c_str(), from), where);
      at += count;
    }
  }
  const Handle space(H5Screate_simple(static_cast<int>(whole.size()), whole.data(), nullptr), H5Sclose,
                     where);
  Handle array(H5Dcreate2(group, name.c_str(), type, space, H5P_DEFAULT, layout, H5P_DEFAULT), H5Dclose,
               "cannot write " + where);
  array.close("cannot write " + where);
}

}  // namespace

void write_virtual_set(const fs::path& path, const fs::path& root, const std::vector<ShardRows>& shards) {
  std::map<std::string, Bucket> buckets;
  std::map<std::string, std::vector<std::string>> names;
  for (const ShardRows& rows : shards) {
    if (rows.rows.empty()) continue;
    const Shard shard(root / rows.file);
    Bucket& bucket = buckets[shard.bucket()];
    bucket.sources.push_back({rows.file, rows.rows, bucket.count});
    bucket.count += rows.rows.size();
    std::vector<std::string>& parts = names[shard.bucket()];
    if (!parts.empty()) continue;
    for (const ShardPart& part : shard.parts())
      parts.push_back(part.name);
  }
  const std::string where = path.string();
  Handle file = h5::create_file(where);
  h5::write_attribute(file, "format", "rushes data set");
  h5::write_attribute(file, "version", int64_t{1});
  for (const auto& [name, bucket] : buckets) {
    const Handle group(H5Gcreate2(file, name.c_str(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT), H5Gclose,
                       "cannot write " + where);
    for (const std::string& part : names[name]) {
      write_array(group, part, bucket, root, where);
      if (buckets.size() > 1) continue;
      h5::must(
          H5Lcreate_soft(("/" + name + "/" + part).c_str(), file, part.c_str(), H5P_DEFAULT, H5P_DEFAULT),
          where);
    }
  }
  file.close("cannot write " + where);
  sync_path(path);
}

}  // namespace rushes
