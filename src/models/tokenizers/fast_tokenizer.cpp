#include "models/tokenizers/fast_tokenizer.h"

#include <algorithm>
#include <limits>

#include "base/error.h"
#include "base/file.h"

namespace rushes {
namespace {

constexpr int64_t kMostTokens = int64_t{1} << 24;

}  // namespace

TokenIds FastTokenizer::encode(const std::string& text, int64_t max_length) const {
  const auto special = static_cast<int64_t>(parts_.before.size() + parts_.after.size());
  if (max_length < std::max<int64_t>(special, 1)) {
    fail("a text cannot be cut to ", max_length, " tokens: ", special, " of them are the tokenizer's own");
  }
  if (max_length > kMostTokens)
    fail("a text of ", max_length, " tokens is too long (at most ", kMostTokens, ")");
  if (!is_utf8(text)) fail("the text is not UTF-8 (or holds a NUL)");
  if (text.size() > std::numeric_limits<uint32_t>::max() / 2)
    fail("a text of ", text.size(), " bytes is too long");

  // One id more than there is room for tells that the text is cut; what follows need not be looked at, unless
  // the end is what is kept.
  const auto room = static_cast<size_t>(max_length - special);
  std::vector<int64_t> ids;
  TokenSink sink{ids, parts_.truncation == Side::right ? room + 1 : std::numeric_limits<size_t>::max()};
  parts_.added->split(text, parts_.pre_tokenizers.needs_origin, [&](int64_t id, NormalizedText&& piece) {
    if (id >= 0) {
      ids.push_back(id);
      return !sink.full();
    }
    return pre_tokenize(parts_.pre_tokenizers, std::move(piece), [&](NormalizedText&& word) {
      parts_.model->encode(word.text, sink);
      return !sink.full();
    });
  });

  TokenIds result;
  result.cut = ids.size() > room;
  if (result.cut && parts_.truncation == Side::left) {
    ids.erase(ids.begin(), ids.end() - static_cast<std::ptrdiff_t>(room));
  }
  ids.resize(std::min(ids.size(), room));
  std::vector<int64_t>& out = result.input_ids;
  out = parts_.before;
  out.insert(out.end(), ids.begin(), ids.end());
  out.insert(out.end(), parts_.after.begin(), parts_.after.end());
  result.attention_mask.assign(out.size(), 1);
  const size_t padding = static_cast<size_t>(max_length) - out.size();
  const bool left = parts_.padding == Side::left;
  out.insert(left ? out.begin() : out.end(), padding, parts_.pad_id);
  result.attention_mask.insert(left ? result.attention_mask.begin() : result.attention_mask.end(), padding,
                               0);
  return result;
}

}  // namespace rushes
