#pragma once
// What the ops' benches share: a run time that means something, a table for people, JSON for comparisons.

#include <ATen/ATen.h>

#include <array>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace rushes {

/// One measured case. Bytes are those that must move: each input read once, each output written once.
struct BenchRow {
  std::string name;    // "1 x 3120 x 1536 bfloat16"
  double bytes = 0;    // a call
  double seconds = 0;  // ours
  double aten_seconds = 0;
  double copy_seconds = 0;  // a copy that moves the same bytes: the ceiling
};

struct BenchOptions {
  at::Device device = at::kCPU;
  std::string json;  // a file to write, or ""
};

/// Reads `[--device cpu|cuda] [--threads N] [--json FILE]`. Anything else is a UserError.
BenchOptions bench_options(int count, char** words);
/// Times the three side by side (a sample of each in turn, so that what else the machine does hits all alike)
/// and gives the row with each one's median; on a GPU the queue is emptied around each sample. The copy moves
/// `bytes`. Calls should write to memory that is already there: fresh pages cost more than the op.
BenchRow bench_beside(at::Device device, const std::string& name, double bytes,
                      const std::function<void()>& ours, const std::function<void()>& aten);
/// Prints GB/s and the ratios to ATen and to the copy, and writes them as JSON where asked.
void bench_report(const std::string& op, const BenchOptions& options, const std::vector<BenchRow>& rows);
/// A UserError where `ours` is further from `definition` than the format explains: nothing wrong is timed.
void bench_check(const char* op, const at::Tensor& ours, const at::Tensor& definition);
/// What figures are worth nothing without: {"date", "device" as it is named, "threads", "versions"}.
nlohmann::json bench_origin(const BenchOptions& options);
/// A bench's main: runs `body`; an error is printed and gives 2 (user) or 1.
int bench_main(int count, char** words, const std::function<void(const BenchOptions&)>& body);

/// An op over [1, tokens, dim]: each format at the token counts of Wan (two latent frames of 480 x 832, and
/// 81 frames), `dims` being the width of 1.3B and, on a GPU, of 14B.
using TokensBench = BenchRow(at::Device device, at::ScalarType dtype, int64_t tokens, int64_t dim);
std::vector<BenchRow> bench_tokens(const BenchOptions& options, std::array<int64_t, 2> dims,
                                   TokensBench* measure);
/// The main of an op that is timed over tokens alone.
int bench_tokens_main(int count, char** words, const char* op, std::array<int64_t, 2> dims,
                      TokensBench* measure);

}  // namespace rushes
