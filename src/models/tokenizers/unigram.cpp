#include "models/tokenizers/unigram.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/quote.h"
#include "models/tokenizers/utf8.h"

namespace rushes {
namespace {

// How much worse than the worst piece an unknown character is (sentencepiece's kUnkPenalty).
constexpr double kUnknownPenalty = 10.0;

size_t power_of_two_above(size_t n) {
  size_t result = 1;
  while (result <= n) {
    result *= 2;
  }
  return result;
}

}  // namespace

/// The best cut so far, as Viterbi's algorithm finds it. Positions below `base_` are settled and given away.
class Unigram::Path {
 public:
  explicit Path(size_t longest)
      : scores_(power_of_two_above(longest)), mask_(scores_.size() - 1), steps_(1) {}

  double score(size_t position) const { return scores_[position & mask_]; }

  /// A piece from `begin` to `end` that makes the sum `score`; the first of equal sums stays.
  void offer(size_t begin, size_t end, double score, int32_t id) {
    if (end - base_ >= steps_.size()) steps_.resize(end - base_ + 1);
    Step& step = steps_[end - base_];
    if (step.length != 0 && score <= scores_[end & mask_]) return;
    step = {static_cast<uint32_t>(end - begin), id};
    scores_[end & mask_] = score;
  }

  /// Does every cut have a border at `position`?
  bool certain(size_t position) const { return position > base_ && base_ + steps_.size() == position + 1; }

  /// Tells the steps up to `position`, in order, and forgets them.
  template <class Tell>
  void settle(size_t position, Tell tell) {
    // Turn the links around: each step is moved to where its piece begins.
    size_t end = position - base_;
    Step carried = steps_[end];
    while (end > 0) {
      const size_t begin = end - carried.length;
      std::swap(carried, steps_[begin]);
      end = begin;
    }
    for (size_t begin = 0; begin < position - base_;) {
      const Step step = steps_[begin];
      tell(base_ + begin, step.length, step.id);
      begin += step.length;
    }
    steps_.assign(1, Step());
    base_ = position;
  }

 private:
  std::vector<double> scores_;  // of the positions that a piece can still reach, by position modulo its size
  size_t mask_;
  std::vector<Step> steps_;  // of the positions from base_ on
  size_t base_ = 0;
};

Unigram::Unigram(const UnigramSpec& spec, const std::string& where)
    : unknown_id_(spec.unknown_id.value_or(-1)),
      byte_fallback_(spec.byte_fallback),
      size_(static_cast<int64_t>(spec.pieces.size())),
      where_(where) {
  if (spec.pieces.size() > static_cast<size_t>(std::numeric_limits<int32_t>::max())) {
    fail(where, ": the vocabulary has ", spec.pieces.size(), " pieces");
  }
  if (unknown_id_ >= size_) {
    fail(where, ": unk_id is ", unknown_id_, " in a vocabulary of ", size_, " pieces");
  }
  std::vector<std::pair<std::string_view, int32_t>> entries;
  double least = std::numeric_limits<double>::infinity();
  for (const auto& [text, score] : spec.pieces) {
    if (!std::isfinite(score)) fail(where, ": the piece ", quote_name(text), " has the score ", score);
    least = std::min(least, score);
    entries.emplace_back(text, static_cast<int32_t>(entries.size()));
    scores_.push_back(score);
  }
  unknown_score_ = least - kUnknownPenalty;
  trie_ = ByteTrie(std::move(entries));
  for (int byte = 0; byte < 256; ++byte) {
    constexpr char kDigits[] = "0123456789ABCDEF";
    const char name[] = {'<', '0', 'x', kDigits[byte / 16], kDigits[byte % 16], '>'};
    byte_ids_[static_cast<size_t>(byte)] = trie_.find(std::string_view(name, sizeof name));
  }
}

void Unigram::encode(std::string_view word, TokenSink& sink) const {
  if (word.size() >= std::numeric_limits<uint32_t>::max())
    fail("a word of ", word.size(), " bytes is too long");
  Path path(std::max<size_t>(trie_.longest(), 4));
  size_t unknown_from = 0, unknown_to = 0;  // unknown neighbours are looked up together
  const auto tell = [&](size_t begin, size_t length, int32_t id) {
    if (id == unknown_id_) {
      if (unknown_from == unknown_to) unknown_from = begin;
      unknown_to = begin + length;
      return;
    }
    if (unknown_from != unknown_to) add_unknown(word.substr(unknown_from, unknown_to - unknown_from), sink);
    unknown_from = unknown_to = 0;
    sink.ids.push_back(id);
  };
  for (size_t begin = 0; begin < word.size(); begin += utf8_length(word[begin])) {
    if (path.certain(begin)) path.settle(begin, tell);
    if (sink.full()) return;
    const double so_far = path.score(begin);
    const size_t character_end = begin + utf8_length(word[begin]);
    bool single = false;
    ByteTrie::Node node = ByteTrie::kRoot;
    for (size_t end = begin; end < word.size();) {
      node = trie_.step(node, word[end++]);
      if (node == ByteTrie::kNone) break;
      const int32_t id = trie_.value(node);
      if (id < 0) continue;
      path.offer(begin, end, scores_[static_cast<size_t>(id)] + so_far, id);
      single = single || end == character_end;
    }
    if (single) continue;
    if (unknown_id_ < 0) {
      fail(where_, ": the text has the unknown character '", word.substr(begin, character_end - begin),
           "' and the model no unk_id");
    }
    path.offer(begin, character_end, unknown_score_ + so_far, unknown_id_);
  }
  if (!word.empty()) path.settle(word.size(), tell);
  if (unknown_from != unknown_to) add_unknown(word.substr(unknown_from, unknown_to - unknown_from), sink);
}

void Unigram::add_unknown(std::string_view text, TokenSink& sink) const {
  const int32_t known = trie_.find(text);
  const auto id_of = [&](char byte) { return byte_ids_[static_cast<unsigned char>(byte)]; };
  if (known >= 0) {
    sink.ids.push_back(known);
  } else if (byte_fallback_ && std::all_of(text.begin(), text.end(), [&](char b) { return id_of(b) >= 0; })) {
    for (const char byte : text) {
      sink.ids.push_back(id_of(byte));
    }
  } else {
    sink.ids.push_back(unknown_id_);
  }
}

}  // namespace rushes
