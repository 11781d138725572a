#include "weights/safetensors_header.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "weights/words.h"

namespace rushes {
namespace {

using nlohmann::json;

constexpr size_t kMaxRank = 32;      // sides of one tensor
constexpr size_t kMaxProblems = 50;  // lines of one message

/// Reads the header as events, so that a hostile one builds no tree in memory. Depth 0: outside, 1: names,
/// 2: one tensor's (or the metadata's) fields, 3: the numbers of a shape or of offsets.
class HeaderReader : public nlohmann::json_sax<json> {
 public:
  HeaderReader(std::string where, uint64_t data_bytes) : where_(std::move(where)), data_bytes_(data_bytes) {}

  SafetensorsHeader take() {
    problems_.throw_if_any();
    return std::move(header_);
  }
  const std::string& error() const { return error_; }

  bool null() override { return misplaced("null"); }
  bool boolean(bool) override { return misplaced("a boolean"); }
  bool number_float(double, const std::string& text) override {
    return misplaced("the number " + quote_name(text));
  }
  bool number_integer(int64_t value) override { return misplaced(str("the negative number ", value)); }
  bool binary(json::binary_t&) override { return misplaced("binary data"); }

  bool number_unsigned(uint64_t value) override {
    if (depth_ != 3) return misplaced(str("the number ", value));
    if (numbers().size() >= (field_ == Field::shape ? kMaxRank : 2)) {
      return wrong(str("tensor ", quote_name(name_), ": ", field_name(), " has more than ",
                       field_ == Field::shape ? kMaxRank : 2, " numbers"));
    }
    numbers().push_back(value);
    return true;
  }

  bool string(std::string& value) override {
    if (depth_ == 2 && in_metadata_) {
      header_.metadata[metadata_key_] = std::move(value);
      return true;
    }
    if (depth_ != 2 || field_ != Field::dtype) return misplaced("the text " + quote_name(value));
    dtype_ = std::move(value);
    return true;
  }

  bool start_object(size_t) override {
    if (depth_ >= 2) return misplaced("an object");
    ++depth_;
    if (depth_ == 2) {
      seen_ = 0;
      shape_.clear();
      offsets_.clear();
      dtype_.clear();
    }
    return true;
  }

  bool key(std::string& value) override {
    if (depth_ == 1) return new_name(value);
    if (in_metadata_) {
      metadata_key_ = value;
      return header_.metadata.emplace(value, "").second ||
             wrong("__metadata__ has the key " + quote_name(value) + " twice");
    }
    if (value == "dtype") {
      field_ = Field::dtype;
    } else if (value == "shape") {
      field_ = Field::shape;
    } else if (value == "data_offsets") {
      field_ = Field::offsets;
    } else {
      return wrong(str("tensor ", quote_name(name_), " has the unknown field ", quote_name(value)));
    }
    const unsigned bit = 1U << static_cast<unsigned>(field_);
    if ((seen_ & bit) != 0)
      return wrong(str("tensor ", quote_name(name_), " has the field ", quote_name(value), " twice"));
    seen_ |= bit;
    return true;
  }

  bool end_object() override {
    if (--depth_ == 0 || in_metadata_) return true;
    const char* const names[] = {"dtype", "shape", "data_offsets"};
    for (unsigned i = 0; i < 3; ++i) {
      if ((seen_ & (1U << i)) == 0) return wrong(str("tensor ", quote_name(name_), " has no ", names[i]));
    }
    if (offsets_.size() != 2)
      return wrong(str("tensor ", quote_name(name_), ": data_offsets needs two numbers"));
    add_tensor();
    return true;
  }

  bool start_array(size_t) override {
    if (depth_ != 2 || in_metadata_ || field_ == Field::dtype) return misplaced("an array");
    ++depth_;
    return true;
  }
  bool end_array() override {
    --depth_;
    return true;
  }

  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception& error) override {
    const std::string text = error.what();
    const size_t start = text.find("syntax error");
    return wrong(str("not valid JSON at byte ", position, ": ",
                     start == std::string::npos ? text.substr(0, 200) : text.substr(start, 200)));
  }

 private:
  enum class Field : unsigned { dtype, shape, offsets };

  std::vector<uint64_t>& numbers() { return field_ == Field::shape ? shape_ : offsets_; }
  const char* field_name() const {
    return field_ == Field::dtype ? "dtype" : field_ == Field::shape ? "shape" : "data_offsets";
  }

  bool wrong(const std::string& what) {
    error_ = what;
    return false;
  }

  bool misplaced(const std::string& what) {
    if (depth_ == 0) return wrong("the header must be an object, found " + what);
    if (depth_ == 1) return wrong(quote_name(name_) + " must be an object, found " + what);
    if (in_metadata_)
      return wrong("__metadata__ must map text to text; " + quote_name(metadata_key_) + " is " + what);
    return wrong(str("tensor ", quote_name(name_), ": ", field_name(),
                     field_ == Field::dtype ? " must be a text" : " must be an array of whole numbers from 0",
                     ", found ", what));
  }

  bool new_name(std::string& value) {
    in_metadata_ = value == "__metadata__";
    if (in_metadata_ && metadata_seen_) return wrong("__metadata__ is there twice");
    if (!in_metadata_ && header_.tensors.count(value) != 0)
      return wrong("tensor " + quote_name(value) + " is there twice");
    metadata_seen_ = metadata_seen_ || in_metadata_;
    name_ = std::move(value);
    return true;
  }

  template <class... Values>
  void problem(const Values&... values) {
    if (problems_.list().size() < kMaxProblems) {
      problems_.add(where_, ": tensor ", quote_name(name_), ": ", values...);
    }
  }

  void add_tensor() {
    HeaderTensor tensor;
    for (const uint64_t side : shape_) {
      if (side > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
        return problem("a side of ", side, " is too large");
      }
      tensor.shape.push_back(static_cast<int64_t>(side));
    }
    const auto dtype = dtype_from_safetensors(dtype_);
    if (!dtype) {
      if (dtype_.starts_with("F8_")) {
        return problem("dtype ", dtype_,
                       " (8-bit floats) cannot be run yet: take a checkpoint in BF16, F16 or F32");
      }
      return problem("dtype ", quote_name(dtype_),
                     " is not known (F64 F32 F16 BF16 I64 I32 I16 I8 U8 BOOL are)");
    }
    tensor.dtype = *dtype;
    tensor.begin = offsets_[0];
    tensor.end = offsets_[1];
    const auto bytes = tensor_bytes(tensor.shape, tensor.dtype);
    if (!bytes) return problem("shape ", shape_text(tensor.shape), " has more elements than can be counted");
    if (tensor.begin > tensor.end || tensor.end > data_bytes_) {
      return problem("data_offsets [", tensor.begin, ", ", tensor.end, "] do not lie in the file's ",
                     data_bytes_, " bytes of data; is the file cut short?");
    }
    if (tensor.end - tensor.begin != *bytes) {
      return problem("shape ", shape_text(tensor.shape), " of ", dtype_, " takes ", *bytes,
                     " bytes, data_offsets [", tensor.begin, ", ", tensor.end, "] hold ",
                     tensor.end - tensor.begin);
    }
    header_.tensors.emplace(name_, std::move(tensor));
  }

  std::string where_;
  uint64_t data_bytes_;
  SafetensorsHeader header_;
  Problems problems_;
  std::string error_;
  int depth_ = 0;
  bool in_metadata_ = false;
  bool metadata_seen_ = false;
  std::string name_, metadata_key_, dtype_;
  Field field_ = Field::dtype;
  unsigned seen_ = 0;
  std::vector<uint64_t> shape_, offsets_;
};

/// The data must be covered from its first to its last byte, each byte by one tensor.
void check_coverage(const SafetensorsHeader& header, uint64_t data_bytes, const std::string& where) {
  std::vector<std::pair<const std::string*, const HeaderTensor*>> order;
  order.reserve(header.tensors.size());
  for (const auto& [name, tensor] : header.tensors)
    order.emplace_back(&name, &tensor);
  std::sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
    return std::pair(a.second->begin, a.second->end) < std::pair(b.second->begin, b.second->end);
  });
  uint64_t end = 0;
  const std::string* before = nullptr;
  for (const auto& [name, tensor] : order) {
    if (tensor->begin < end) {
      fail(where, ": tensors ", quote_name(*before), " and ", quote_name(*name),
           " overlap: one ends at byte ", end, " of the data, the other begins at ", tensor->begin);
    }
    if (tensor->begin > end) {
      fail(where, ": bytes ", end, " to ", tensor->begin, " of the data, before tensor ", quote_name(*name),
           ", belong to no tensor");
    }
    end = tensor->end;
    before = name;
  }
  if (end != data_bytes) {
    fail(where, ": the tensors end at byte ", end, " of the data, the file has ", data_bytes,
         " bytes of data: the rest belongs to no tensor");
  }
}

}  // namespace

std::optional<uint64_t> tensor_bytes(const std::vector<int64_t>& shape, at::ScalarType dtype) {
  int64_t extent = static_cast<int64_t>(c10::elementSize(dtype));
  bool empty = false;
  for (const int64_t side : shape) {
    empty = empty || side == 0;
    if (side < 0 || __builtin_mul_overflow(extent, std::max<int64_t>(side, 1), &extent)) return {};
  }
  return empty ? 0 : static_cast<uint64_t>(extent);
}

SafetensorsHeader parse_safetensors_header(std::string_view text, uint64_t data_bytes,
                                           const std::string& where) {
  if (text.empty() || text.front() != '{') fail(where, ": the header must begin with '{'");
  HeaderReader reader(where, data_bytes);
  if (!json::sax_parse(text.begin(), text.end(), &reader)) {
    fail(where, ": the header is unusable: ", reader.error());
  }
  SafetensorsHeader header = reader.take();
  check_coverage(header, data_bytes, where);
  return header;
}

}  // namespace rushes
