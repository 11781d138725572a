#include "weights/node_memory.h"

#include <atomic>
#include <catch2/catch.hpp>
#include <stdexcept>
#include <thread>

#include "support/ranks.h"
#include "temp_files.h"
#include "weights/tensor_loader.h"

using namespace rushes;
using namespace rushes::test;

namespace {

/// Ranks are threads, in which Catch's own checks may not stand.
void hold(bool condition, const char* what) {
  if (!condition) throw std::runtime_error(what);
}
template <class Error, class Function>
bool throws(Function function) {
  try {
    function();
  } catch (const Error&) {
    return true;
  }
  return false;
}
#define HOLD(condition) hold(condition, #condition)

}  // namespace

TEST_CASE("One rank makes what all of a node are given, strides and types kept") {
  const at::Tensor big = at::randn({3, 70000}), last = at::randn({2, 8, 3, 4, 5}).to(at::kBFloat16);
  const at::Tensor strided = last.contiguous(at::MemoryFormat::ChannelsLast3d);
  std::atomic<int> made{0};
  run_ranks(3, [&](const Comm& node) {
    const auto memory = NodeMemory::make(node);
    HOLD(memory != nullptr);
    for (const std::string name : {"a", "b"}) {
      Shelf shelf(*memory, name);
      const bool filling = !shelf.filled();
      made += filling;
      const auto give = [&](const std::string& key, const at::Tensor& tensor) {
        return filling ? shelf.put(key, tensor) : shelf.next(key);
      };
      const at::Tensor x = give("x", big);
      if (filling) shelf.leave_out("own");
      HOLD(filling || !shelf.next("own").defined());
      const at::Tensor y = give("y", strided), none = give("none", at::empty({0, 4})),
                       one = give("one", at::ones({}));
      shelf.finish();
      HOLD(at::equal(x, big));
      HOLD(at::equal(y, strided));
      HOLD(y.strides() == strided.strides());
      HOLD(y.scalar_type() == at::kBFloat16);
      HOLD(none.sizes() == at::IntArrayRef({0, 4}));
      HOLD(one.item<float>() == 1);
      HOLD(reinterpret_cast<uintptr_t>(y.const_data_ptr()) % 64 == 0);
    }
  });
  CHECK(made == 2);
}

TEST_CASE("What was not finished is filled by the next") {
  run_ranks(2, [&](const Comm& node) {
    const auto memory = NodeMemory::make(node);
    if (node.rank() == 0) {
      Shelf shelf(*memory, "part");
      HOLD(!(shelf.filled()));
      shelf.put("x", at::ones({4}));
    }
    node.barrier();
    if (node.rank() == 1) {
      Shelf shelf(*memory, "part");
      HOLD(!(shelf.filled()));
      HOLD(shelf.put("x", at::full({4}, 2)).sum().item<float>() == 8);
      shelf.finish();
    }
    node.barrier();
    Shelf shelf(*memory, "part");
    HOLD(shelf.filled());
    HOLD(throws<InternalError>([&] { Shelf(*memory, "part").next("y"); }));
    HOLD(shelf.next("x").sum().item<float>() == 8);
  });
}

TEST_CASE("Who dies while filling a shelf leaves it to the next") {
  run_ranks(2, [&](const Comm& node) {
    const auto memory = NodeMemory::make(node);
    if (node.rank() == 0) {
      // To the mutex a thread that ends is as dead as a process.
      Shelf* left = nullptr;
      std::thread([&] { left = new Shelf(*memory, "part"); }).join();
      Shelf shelf(*memory, "part");
      HOLD(!shelf.filled());
      shelf.put("x", at::ones({3}));
      shelf.finish();
      delete left;  // which its process could not
    }
    node.barrier();
    HOLD(Shelf(*memory, "part").next("x").sum().item<float>() == 3);
  });
}

TEST_CASE("Memory is opened only where its address leads to it, and not to another process's file") {
  run_ranks(2, [](const Comm& node) {
    // `memory` for the others of its group, `foreign` for what another PID name space may have at its path.
    const auto memory = NodeMemory::make(node), foreign = NodeMemory::make(node);
    HOLD(memory != nullptr && foreign != nullptr);
    const std::string address = memory->address(), other = foreign->address();
    const auto path_of = [](const std::string& text) { return text.substr(0, text.find(' ')); };
    const std::string marks = address.substr(address.find(' '));
    std::string trouble;
    HOLD(NodeMemory::open(address, trouble) != nullptr && trouble.empty());
    // Another memory, with the very size; no memory at all, which must not be opened; a wrong token; nothing.
    HOLD(!NodeMemory::open(path_of(other) + marks, trouble));
    HOLD(trouble.find("another file") != std::string::npos);
    HOLD(!NodeMemory::open("/dev/null" + marks, trouble));
    const std::string without_token = address.substr(0, address.rfind(' '));
    HOLD(!NodeMemory::open(without_token + " 1", trouble));
    HOLD(!NodeMemory::open(without_token, trouble));
    HOLD(trouble.find("another file") != std::string::npos);
    HOLD(!NodeMemory::open("/proc/self/fd/1000000" + marks, trouble));
    HOLD(trouble.find("No such file") != std::string::npos);
    HOLD(!NodeMemory::open("", trouble));
    node.barrier();
  });
}

TEST_CASE("A rank alone keeps its weights itself") {
  CHECK_FALSE(NodeMemory::make(Comm()));
}

TEST_CASE("Loaders of a node give the same tensors, whoever reads them") {
  TempFolder folder;
  const auto file = folder.path() / "w.safetensors";
  const at::Tensor a = at::randn({40, 30}), b = at::randn({5}).to(at::kBFloat16);
  write_safetensors(file, {{"a", a}, {"b", b}, {"c", at::randn({7})}}, {}, "test");
  const TensorStore store = TensorStore::open_file(file);
  std::atomic<int> calls{0};
  run_ranks(3, [&](const Comm& node) {
    const auto memory = NodeMemory::make(node);
    for (int part = 0; part < 2; ++part) {  // once more: from the shelf for all
      TensorLoader loader(store, {.dtype = at::kFloat, .node_memory = memory.get()}, "part");
      const at::Tensor twice = loader.make({{"a", {40, 30}}, {"a", {40, 30}}}, [&](const auto& both) {
        ++calls;
        return at::cat(both);
      });
      HOLD(at::equal(twice, at::cat({a, a})));
      HOLD(at::equal(loader.take("b", {5}), b.to(at::kFloat)));
      HOLD(loader.take("c", {7}).const_data_ptr() == store.find("c")->data);  // the file is shared already
      loader.finish();
    }
    // Another type is another shelf, and what is wrong is told to each.
    for (int turn = 0; turn < 2; ++turn) {
      TensorLoader loader(store, {.dtype = at::kDouble, .node_memory = memory.get()}, "part");
      const bool made = loader.make({{"b", {6}}}, [](const auto& one) { return one[0]; }).defined();
      HOLD(!made);
      HOLD(loader.take("a", {40, 30}).scalar_type() == at::kDouble);
      HOLD(throws<UserError>([&] { loader.finish(); }));
    }
  });
  CHECK(calls == 1);
}
