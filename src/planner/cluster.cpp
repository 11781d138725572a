#include "planner/cluster.h"

#include <algorithm>
#include <cstdio>

#include "config/fields.h"

namespace rushes {
namespace {

constexpr NumberRange kRate{1, 1e20};
constexpr NumberRange kFraction{1e-4, 100};  // a peak is a product's: other layers may do better
constexpr NumberRange kSeconds{0, 10};

const Fields<ByDtype>& rate_fields() {
  static const Fields<ByDtype> fields = {
      number_field("float32", &ByDtype::float32, kRate, "operations a second"),
      number_field("bfloat16", &ByDtype::bfloat16, kRate, "operations a second"),
      number_field("float16", &ByDtype::float16, kRate, "operations a second")};
  return fields;
}

const Fields<ByDtype>& fraction_fields() {
  static const Fields<ByDtype> fields = {
      number_field("float32", &ByDtype::float32, kFraction, "fraction of the peak"),
      number_field("bfloat16", &ByDtype::bfloat16, kFraction, "fraction of the peak"),
      number_field("float16", &ByDtype::float16, kFraction, "fraction of the peak")};
  return fields;
}

const Fields<Link>& link_fields() {
  static const Fields<Link> fields = {
      number_field("bytes_per_second", &Link::bytes_per_second, kRate, "of one rank, one way"),
      number_field("latency_seconds", &Link::latency_seconds, kSeconds, "of one exchange")};
  return fields;
}

const Fields<Cluster>& cluster_fields() {
  static const Fields<Cluster> fields = {
      text_field("name", &Cluster::name, "the device"),
      choice_field("device", &Cluster::device, {{"cpu", DeviceKind::cpu}, {"cuda", DeviceKind::cuda}},
                   "cpu: figures are of a node, shared by its ranks"),
      whole_field("ranks_per_node", &Cluster::ranks_per_node, {1, 4096}, "devices of a node"),
      number_field("memory_bytes", &Cluster::memory_bytes, kRate, "of the device"),
      number_field("memory_bytes_per_second", &Cluster::memory_bytes_per_second, kRate, "read and written"),
      number_field("runtime_bytes", &Cluster::runtime_bytes, {0, 1e15}, "held before any weight"),
      number_field("host_load_bytes_per_second", &Cluster::host_load_bytes_per_second, kRate, "of a node"),
      number_field("call_seconds", &Cluster::call_seconds, kSeconds, "to start one operation"),
      number_field("step_seconds", &Cluster::step_seconds, kSeconds, "of a denoising step"),
      section_field("peak", &Cluster::peak, rate_fields, "dense products, operations a second"),
      section_field("matmul", &Cluster::matmul, fraction_fields, "of the peak, by dense layers"),
      section_field("attention", &Cluster::attention, fraction_fields, "of the peak, by attention"),
      section_field("convolution", &Cluster::convolution, fraction_fields, "of the peak, by the VAE"),
      section_field("node", &Cluster::node, link_fields, "between ranks of a node"),
      section_field("network", &Cluster::network, link_fields, "between nodes")};
  return fields;
}

/// Keys of the document, "a" and "a.b", that the file does not have, or has with nothing behind them (which
/// elsewhere leaves a default). From an example written out.
void note_missing(const Value& document, const nlohmann::ordered_json& wanted, const std::string& prefix,
                  const std::string& file, Problems& problems) {
  for (const auto& [key, value] : wanted.items()) {
    const Entry* entry = document.find(key);
    if (entry == nullptr || entry->value.kind == Value::Kind::nothing) {
      problems.add(file, ": ", prefix, key, ": missing");
    } else if (value.is_object() && entry->value.kind == Value::Kind::mapping) {
      note_missing(entry->value, value, prefix + key + ".", file, problems);
    }
  }
}

/// Six digits, as YAML reads them back.
std::string written(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.6g", value);
  return text;
}

}  // namespace

Cluster read_cluster(const Value& document, const std::string& file) {
  Problems problems;
  std::map<std::string, std::string> sources;
  Reading reading(file, problems, sources);
  Cluster cluster;
  if (document.kind == Value::Kind::nothing) fail(file, ": is empty; it needs the keys of configs/clusters");
  read_fields(cluster_fields(), cluster, document, "", reading);
  note_missing(document, get_fields(cluster_fields(), Cluster()), "", file, problems);
  problems.throw_if_any();
  cluster.source = file;
  return cluster;
}

std::string cluster_yaml(const Cluster& cluster, const std::string& comment) {
  std::string text;
  for (size_t at = 0; at < comment.size();) {
    const size_t end = std::min(comment.find('\n', at), comment.size());
    text += "# " + comment.substr(at, end - at) + "\n";
    at = end + 1;
  }
  const nlohmann::ordered_json tree = get_fields(cluster_fields(), cluster);
  for (const auto& [key, value] : tree.items()) {
    if (!value.is_object()) {
      text += str(key, ": ", value.is_number_float() ? written(value.get<double>()) : yaml_line(value), "\n");
      continue;
    }
    std::vector<std::string> cells;
    for (const auto& [name, number] : value.items())
      cells.push_back(str(name, ": ", written(number.get<double>())));
    text += str(key, ": {", join(cells, ", "), "}\n");
  }
  return text;
}

Cluster Cluster::for_ranks(int64_t ranks) const {
  Cluster result = *this;
  if (device != DeviceKind::cpu) return result;
  const auto share = static_cast<double>(std::min(ranks, ranks_per_node));
  result.memory_bytes /= share;
  result.memory_bytes_per_second /= share;
  result.peak = {peak.float32 / share, peak.bfloat16 / share, peak.float16 / share};
  return result;
}

}  // namespace rushes
