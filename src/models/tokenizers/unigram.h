#pragma once
// The Unigram model (Kudo, "Subword Regularization", arXiv 1804.10959): a word is cut into the pieces whose
// scores have the largest sum. Behaviour, ties and unknown characters included: the tokenizers library 0.23.

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "models/tokenizers/byte_trie.h"

namespace rushes {

struct UnigramSpec {
  std::vector<std::pair<std::string, double>> pieces;  // by id: text and score (a log probability)
  std::optional<int32_t> unknown_id;
  bool byte_fallback = false;  // unknown text becomes pieces <0x00> to <0xFF>, where all it needs are there
};

/// Takes ids; `full` when no more are wanted.
struct TokenSink {
  std::vector<int64_t>& ids;
  size_t limit;
  bool full() const { return ids.size() >= limit; }
};

class Unigram {
 public:
  /// Throws UserError with `where` for scores that are no numbers or an unknown_id that is no piece.
  Unigram(const UnigramSpec& spec, const std::string& where);

  /// Adds the ids of `word` (valid UTF-8), and stops early once the sink is full. Time is that of the word
  /// times the longest piece; memory that of the stretch over which no cut is certain, at most 8 bytes a
  /// byte. Throws UserError where there is an unknown character and no unknown_id.
  void encode(std::string_view word, TokenSink& sink) const;

  /// The id of exactly this piece, or -1.
  int32_t find(std::string_view piece) const { return trie_.find(piece); }
  int64_t size() const { return size_; }

 private:
  /// The last piece of the best cut up to a position: its length (0: not reached) and id.
  struct Step {
    uint32_t length = 0;
    int32_t id = 0;
  };
  class Path;
  void add_unknown(std::string_view text, TokenSink& sink) const;

  ByteTrie trie_;
  std::vector<double> scores_;
  std::array<int32_t, 256> byte_ids_{};
  double unknown_score_ = 0;
  int32_t unknown_id_ = -1;
  bool byte_fallback_ = false;
  int64_t size_ = 0;
  std::string where_;
};

}  // namespace rushes
