#pragma once
// What a forward pass needs to know beside its tensors; passed by reference through every model.

#include <ATen/ATen.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace rushes {

/// One line of `probe --trace`: a layer's output in figures, taken in float64 (std over the whole tensor,
/// divided by n; all zero for an empty one).
struct TraceRow {
  std::string layer;
  std::vector<int64_t> shape;
  std::string dtype;
  double mean = 0, std = 0, min = 0, max = 0, l2 = 0;
};

/// Collects per-layer summaries while a model runs; absent in ordinary runs.
class Trace {
 public:
  void add(const std::string& layer, const at::Tensor& output);
  const std::vector<TraceRow>& rows() const { return rows_; }

 private:
  std::vector<TraceRow> rows_;
};

/// Who computes attention: `reference` is a plain softmax in float32 (float64 for float64 inputs), `sdpa` is
/// ATen's scaled_dot_product_attention, `flash` our own kernel (CPU), `automatic` the fastest that can.
enum class AttentionBackend { automatic, reference, sdpa, flash };

/// What a model keeps from step to step of one clip: values made of conditions that stay the same (text,
/// image), by those very tensors. Whoever owns the memo leaves the tensors he passes unchanged while it
/// lives. Holds the last few values. For one thread.
class StepMemo {
 public:
  /// The value that `make` gave when `owner` (a model) first asked with these tensors.
  template <class Value, class Make>
  std::shared_ptr<const Value> get(const void* owner, const std::vector<at::Tensor>& of, const Make& make) {
    for (const Entry& entry : entries_) {
      const auto same = [](const at::Tensor& a, const at::Tensor& b) { return a.is_same(b); };
      if (entry.owner == owner && std::equal(of.begin(), of.end(), entry.of.begin(), entry.of.end(), same)) {
        return std::static_pointer_cast<const Value>(entry.value);
      }
    }
    if (entries_.size() == kMost) entries_.erase(entries_.begin());
    std::shared_ptr<const Value> made = std::make_shared<Value>(make());
    entries_.push_back({owner, of, made});
    return made;
  }

 private:
  static constexpr size_t kMost = 4;  // two models (Wan 2.2) with a prompt and a negative prompt each
  struct Entry {
    const void* owner;
    std::vector<at::Tensor> of;  // held, so that no other tensor can take their place in memory
    std::shared_ptr<const void> value;
  };
  std::vector<Entry> entries_;
};

class Comm;

/// The ranks that hold one sequence together, each a run of its tokens. Inside a Ulysses group ranks trade
/// tokens for heads; along a ring keys and values travel.
struct SequenceParallel {
  const Comm* ulysses = nullptr;
  const Comm* ring = nullptr;
  const Comm* all = nullptr;  // rank = ring rank * ulysses size + ulysses rank: the order of the tokens
  // Heads are traded in so many pieces, so that on a GPU one piece travels while another is attended to.
  int64_t pieces = 1;
};

struct StepContext {
  int64_t step = 0;  // denoising step, from 0
  AttentionBackend attention = AttentionBackend::automatic;
  Trace* trace = nullptr;
  StepMemo* memo = nullptr;  // of this clip; without one, models work everything out again each step
  const SequenceParallel* sp = nullptr;  // of a transformer's forward; nullptr: the whole sequence is here
  const Comm* vae = nullptr;             // ranks that code a video together; nullptr: this one alone
  bool vae_tiles = false;                // a VAE codes pictures in blended tiles, for less memory

  /// Records `output` if someone listens.
  void note(const std::string& layer, const at::Tensor& output) const {
    if (trace != nullptr) trace->add(layer, output);
  }
};

}  // namespace rushes
