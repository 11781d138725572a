#include "weights/tensor_store.h"

#include <sys/resource.h>
#include <sys/stat.h>

#include <catch2/catch.hpp>
#include <random>

#include "base/file.h"
#include "temp_files.h"
#include "weights/mapped_file.h"

using namespace rushes;
using Catch::Matchers::Contains;

namespace {

std::string entry(const std::string& dtype, const std::string& shape, size_t begin, size_t end) {
  return str(R"({"dtype":")", dtype, R"(","shape":)", shape, R"(,"data_offsets":[)", begin, ",", end, "]}");
}

std::string refused_header(const std::string& header, size_t data) {
  const TempFolder folder;
  const auto file = folder.write("x.safetensors", safetensors(header, data));
  return refusal([&] { TensorStore::open_file(file); });
}

long peak_kib() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss;
}

}  // namespace

TEST_CASE("A file written is the file read, for every type and for odd shapes") {
  const TempFolder folder;
  std::map<std::string, at::Tensor> tensors;
  for (const auto dtype : {at::kDouble, at::kFloat, at::kHalf, at::kBFloat16, at::kLong, at::kInt, at::kShort,
                           at::kChar, at::kByte, at::kBool}) {
    tensors[str("t.", c10::toString(dtype))] = at::randint(0, 2, {3, 5}, at::kLong).to(dtype);
    tensors[str("scalar.", c10::toString(dtype))] = at::ones({}, dtype);
  }
  tensors["empty"] = at::empty({0, 4});
  tensors["strided"] = at::randn({4, 6}).t();
  tensors["a name with \"quotes\", ünïcode and\nlines"] = at::randn({7});
  const auto file = folder.path() / "x.safetensors";
  write_safetensors(file, tensors, {{"format", "pt"}}, "test");
  const TensorStore store = TensorStore::open_file(file);
  REQUIRE(store.tensors().size() == tensors.size());
  CHECK(store.metadata().at("format") == "pt");
  for (const auto& [name, tensor] : tensors) {
    const StoredTensor* stored = store.find(name);
    REQUIRE(stored != nullptr);
    const at::Tensor back = as_tensor(*stored);
    CHECK(back.scalar_type() == tensor.scalar_type());
    CHECK(at::equal(back, tensor));
    CHECK(reinterpret_cast<uintptr_t>(stored->data) % std::max<size_t>(tensor.element_size(), 1) == 0);
  }
  CHECK(store.find("other") == nullptr);
}

TEST_CASE("Equal tensors give equal bytes and no leftover files") {
  const TempFolder folder;
  const std::map<std::string, at::Tensor> tensors = {{"b", at::ones({3})}, {"a", at::ones({5}, at::kHalf)}};
  write_safetensors(folder.path() / "1.safetensors", tensors, {{"k", "v"}}, "one");
  write_safetensors(folder.path() / "2.safetensors", tensors, {{"k", "v"}}, "two");
  CHECK(read_file(folder.path() / "1.safetensors") == read_file(folder.path() / "2.safetensors"));
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 2);
  CHECK_THAT(refusal([&] { write_safetensors(folder.path() / "no" / "x.safetensors", tensors, {}, "test"); }),
             Contains("No such file"));
}

TEST_CASE("A tensor is a view of the mapping, and keeps it") {
  const TempFolder folder;
  const auto file = folder.path() / "x.safetensors";
  write_safetensors(file, {{"x", at::arange(6, at::kFloat)}}, {}, "test");
  at::Tensor tensor;
  std::weak_ptr<const MappedFile> mapping;
  {
    const TensorStore store = TensorStore::open_file(file);
    tensor = as_tensor(store.tensors().at("x"));
    CHECK(tensor.const_data_ptr() == store.tensors().at("x").data);
    mapping = store.tensors().at("x").file;
  }
  std::filesystem::remove(file);
  CHECK_FALSE(mapping.expired());
  CHECK(at::equal(tensor, at::arange(6, at::kFloat)));
  tensor = at::Tensor();
  CHECK(mapping.expired());
}

TEST_CASE("Data that is not aligned for its type is copied") {
  const TempFolder folder;
  std::string header = str(R"({"a":)", entry("U8", "[3]", 0, 3), R"(,"b":)", entry("F32", "[2]", 3, 11), "}");
  header.append((8 - header.size() % 8) % 8, ' ');
  const auto file = folder.write("x.safetensors", safetensors(header, 11));
  const TensorStore store = TensorStore::open_file(file);
  const at::Tensor tensor = as_tensor(store.tensors().at("b"));
  CHECK(tensor.const_data_ptr() != store.tensors().at("b").data);
  CHECK(std::memcmp(tensor.const_data_ptr(), store.tensors().at("b").data, 8) == 0);
}

TEST_CASE("A BOOL tensor may hold 0 and 1 only") {
  const TempFolder folder;
  const auto file =
      folder.write("x.safetensors", safetensors(str(R"({"a":)", entry("BOOL", "[3]", 0, 3), "}"), 3));
  const TensorStore store = TensorStore::open_file(file);
  CHECK_THAT(refusal([&] { as_tensor(store.tensors().at("a")); }), Contains("other than 0 and 1"));
}

TEST_CASE("A file cut short anywhere is refused") {
  const TempFolder folder;
  const auto whole = folder.path() / "x.safetensors";
  write_safetensors(whole, {{"a", at::ones({3})}, {"b", at::ones({2, 2}, at::kLong)}}, {{"k", "v"}}, "test");
  const std::string bytes = read_file(whole);
  for (size_t length = 0; length < bytes.size(); ++length) {
    const auto file = folder.write("cut.safetensors", bytes.substr(0, length));
    INFO("cut to " << length << " of " << bytes.size());
    CHECK_THAT(refusal([&] { TensorStore::open_file(file); }), Contains("cut.safetensors"));
  }
  const auto longer = folder.write("long.safetensors", bytes + "x");
  CHECK_THAT(refusal([&] { TensorStore::open_file(longer); }), Contains("belongs to no tensor"));
}

TEST_CASE("Header lengths that lie are refused before anything is read") {
  const TempFolder folder;
  for (const uint64_t length :
       {uint64_t{3}, uint64_t{100'000'001}, uint64_t{1} << 40, ~uint64_t{0}, uint64_t{0}}) {
    const auto file = folder.write("x.safetensors", length_bytes(length) + "{}");
    INFO(length);
    CHECK_FALSE(refusal([&] { TensorStore::open_file(file); }).empty());
  }
  const auto empty = folder.write("empty.safetensors", safetensors("{}", 0));
  CHECK(TensorStore::open_file(empty).tensors().empty());
}

TEST_CASE("What a header says wrong is named") {
  const std::string good = entry("F32", "[2]", 0, 8);
  const auto [header, data, message] = GENERATE_COPY(table<std::string, size_t, std::string>({
      {"", 0, "must begin with '{'"},
      {" {}", 0, "must begin with '{'"},
      {"{", 0, "not valid JSON"},
      {"{}x", 0, "not valid JSON"},
      {"{\"\xff\":1}", 0, "not valid JSON"},
      {R"({"a":1})", 0, "'a' must be an object"},
      {R"({"a":[]})", 0, "'a' must be an object"},
      {R"({"a":{}})", 0, "has no dtype"},
      {R"({"a":{"dtype":"F32","shape":[2]}})", 8, "has no data_offsets"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0]}})", 8, "two numbers"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8,9]}})", 8, "more than 2 numbers"},
      {R"({"a":{"dtype":"F32","shape":2,"data_offsets":[0,8]}})", 8, "must be an array"},
      {R"({"a":{"dtype":4,"shape":[2],"data_offsets":[0,8]}})", 8, "must be a text"},
      {R"({"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})", 8, "negative number -2"},
      {R"({"a":{"dtype":"F32","shape":[2.0],"data_offsets":[0,8]}})", 8, "number '2.0'"},
      {R"({"a":{"dtype":"F32","shape":[[2]],"data_offsets":[0,8]}})", 8, "found an array"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"scale":1}})", 8, "unknown field 'scale'"},
      {R"({"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8, "'dtype' twice"},
      {str(R"({"a":)", good, R"(,"a":)", good, "}"), 8, "'a' is there twice"},
      {R"({"__metadata__":{"a":1}})", 0, "must map text to text"},
      {R"({"__metadata__":{"a":"1","a":"1"}})", 0, "key 'a' twice"},
      {R"({"__metadata__":{},"__metadata__":{}})", 0, "__metadata__ is there twice"},
      {R"({"__metadata__":"x"})", 0, "must be an object"},
      {str(R"({"a":)", entry("F8_E4M3", "[8]", 0, 8), "}"), 8, "8-bit floats"},
      {str(R"({"a":)", entry("C64", "[1]", 0, 8), "}"), 8, "'C64' is not known"},
      {str(R"({"a":)", entry("F32", "[3]", 0, 8), "}"), 8, "takes 12 bytes, data_offsets [0, 8] hold 8"},
      {str(R"({"a":)", entry("F32", "[2]", 0, 8), "}"), 7, "do not lie in the file's 7 bytes"},
      {str(R"({"a":)", entry("F32", "[2]", 8, 0), "}"), 8, "do not lie in the file's 8 bytes"},
      {str(R"({"a":)", entry("F32", "[2]", 0, 8), R"(,"b":)", entry("F32", "[2]", 4, 12), "}"), 12,
       "overlap"},
      {str(R"({"a":)", entry("F32", "[1]", 0, 4), R"(,"b":)", entry("F32", "[1]", 0, 4), "}"), 4, "overlap"},
      {str(R"({"a":)", entry("F32", "[1]", 0, 4), R"(,"b":)", entry("F32", "[1]", 8, 12), "}"), 12,
       "bytes 4 to 8 of the data"},
      {str(R"({"a":)", entry("F32", "[1]", 4, 8), "}"), 8, "bytes 0 to 4 of the data"},
      {str(R"({"a":)", entry("F32", "[1]", 0, 4), "}"), 8, "belongs to no tensor"},
      {str(R"({"a":)", entry("F32", "[9223372036854775807,9223372036854775807]", 0, 4), "}"), 4,
       "more elements than can be counted"},
      {str(R"({"a":)", entry("F32", "[4611686018427387904,4]", 0, 0), "}"), 0,
       "more elements than can be counted"},
      {str(R"({"a":)", entry("F32", "[0,9223372036854775807,2]", 0, 0), "}"), 0,
       "more elements than can be counted"},
      {str(R"({"a":)", entry("F32", "[18446744073709551615]", 0, 4), "}"), 4, "too large"},
      {str(R"({"a":)", entry("F32", "[18446744073709551616]", 0, 4), "}"), 4, "18446744073709551616"},
  }));
  INFO(header);
  CHECK_THAT(refused_header(header, data), Contains(message) && Contains("x.safetensors"));
}

TEST_CASE("All misfits of a file are listed at once, names made harmless") {
  const std::string text = refused_header(
      str(R"({"a\u001b[31m":)", entry("F32", "[3]", 0, 8), R"(,"b":)", entry("F64", "[3]", 8, 16), "}"), 16);
  CHECK_THAT(text, Contains("'a\\u001b[31m'") && Contains("tensor 'b'"));
}

TEST_CASE("Zero-size tensors need no bytes and lie anywhere between") {
  const TempFolder folder;
  const std::string header =
      str(R"({"a":)", entry("F32", "[1]", 0, 4), R"(,"z":)", entry("F32", "[0,7]", 4, 4), R"(,"y":)",
          entry("F32", "[0]", 0, 0), R"(,"b":)", entry("F32", "[]", 4, 8), "}");
  const TensorStore store = TensorStore::open_file(folder.write("x.safetensors", safetensors(header, 8)));
  CHECK(as_tensor(store.tensors().at("z")).sizes() == at::IntArrayRef({0, 7}));
  CHECK(as_tensor(store.tensors().at("b")).dim() == 0);
}

TEST_CASE("Header bombs cost neither the stack nor memory") {
  const long before = peak_kib();
  CHECK_THAT(refused_header("{\"a\":" + std::string(20'000'000, '['), 0), Contains("must be an object"));
  CHECK_THAT(refused_header(std::string(20'000'000, '{'), 0), Contains("not valid JSON"));
  CHECK_THAT(refused_header(R"({"a":{"shape":[)" + std::string(20'000'000, '1') + "]}}", 0),
             Contains("number"));
  std::string wide = R"({"a":{"shape":[1)";
  for (int i = 0; i < 5'000'000; ++i)
    wide += ",1";
  CHECK_THAT(refused_header(wide + "]}}", 0), Contains("more than 32 numbers"));
#ifdef __SANITIZE_ADDRESS__
  constexpr long kMost = 1024 * 1024;  // freed memory stays in quarantine
#else
  constexpr long kMost = 400 * 1024;
#endif
  CHECK(peak_kib() - before < kMost);
}

TEST_CASE("Random damage to a file gives an error or a file whose tensors lie inside") {
  const TempFolder folder;
  const auto whole = folder.path() / "x.safetensors";
  write_safetensors(
      whole, {{"a", at::ones({3, 2})}, {"b", at::ones({2}, at::kLong)}, {"c", at::ones({5}, at::kByte)}},
      {{"k", "v"}}, "test");
  const std::string bytes = read_file(whole);
  const auto seed = static_cast<unsigned>(Catch::rngSeed());
  INFO("seed " << seed);
  std::mt19937 random(seed);
  int opened = 0;
  for (int i = 0; i < 600; ++i) {
    std::string damaged = bytes;
    for (unsigned k = 0, n = 1 + random() % 3; k < n; ++k)
      damaged[random() % damaged.size()] =
          static_cast<char>(random() % 4 == 0 ? random() : "0123456789{}[],:\""[random() % 17]);
    const auto file = folder.write("damaged.safetensors", damaged);
    CHECK_NOTHROW(refusal([&] {
      const TensorStore store = TensorStore::open_file(file);
      ++opened;
      for (const auto& [name, stored] : store.tensors()) {
        const auto begin = static_cast<size_t>(stored.data - stored.file->data());
        CHECK((begin >= 8 && begin + stored.bytes <= stored.file->size()));
        CHECK(static_cast<size_t>(as_tensor(stored).nbytes()) == stored.bytes);
      }
    }));
  }
  CHECK(opened > 0);
}

TEST_CASE("What is no file is refused without waiting") {
  const TempFolder folder;
  CHECK_THAT(refusal([&] { TensorStore::open_file(folder.path() / "none"); }), Contains("No such file"));
  CHECK_THAT(refusal([&] { TensorStore::open_file(folder.path()); }), Contains("not a regular file"));
  const auto pipe = folder.path() / "pipe";
  REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
  CHECK_THAT(refusal([&] { TensorStore::open_file(pipe); }), Contains("not a regular file"));
}
