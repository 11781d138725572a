#include "models/tokenizers/pre_tokenizers.h"

#include <algorithm>

#include "base/error.h"
#include "base/quote.h"
#include "models/tokenizers/json_checks.h"
#include "models/tokenizers/unicode.h"
#include "models/tokenizers/utf8.h"

namespace rushes {
namespace {

using nlohmann::json;

enum class PrependScheme { always, first, never };

struct Metaspace {
  std::string replacement = "\u2581";
  PrependScheme prepend = PrependScheme::always;
  bool split = true;
};

/// Cuts where the kind of character changes and gives the pieces of kind > 0.
template <class Kind>
bool cut_by_kind(const NormalizedText& text, Kind kind, const TakeWord& take) {
  const std::string_view all = text.text;
  for (size_t at = 0; at < all.size();) {
    const int here = kind(code_point_at(all, at));
    size_t end = at;
    while (end < all.size() && kind(code_point_at(all, end)) == here) {
      end += utf8_length(all[end]);
    }
    if (here > 0 && !take(text.slice(at, end))) return false;
    at = end;
  }
  return true;
}

bool whitespace_split(NormalizedText&& text, const TakeWord& take) {
  return cut_by_kind(
      text, [](char32_t c) { return is_white_space(c) ? 0 : 1; }, take);
}

bool whitespace(NormalizedText&& text, const TakeWord& take) {
  return cut_by_kind(
      text, [](char32_t c) { return is_word_character(c) ? 1
                                    : is_white_space(c)  ? 0
                                                         : 2; }, take);
}

bool metaspace(const Metaspace& options, NormalizedText&& text, const TakeWord& take) {
  const std::string& mark = options.replacement;
  NormalizedText marked;
  marked.begin = text.begin;
  const auto put_mark = [&](size_t at) {
    marked.text += mark;
    if (text.has_origin()) marked.origin.insert(marked.origin.end(), mark.size(), text.origin[at]);
  };
  const bool start_wanted = options.prepend == PrependScheme::always ||
                            (options.prepend == PrependScheme::first && text.begin == 0);
  const bool starts_marked = text.text.starts_with(mark) || text.text.starts_with(' ');
  if (start_wanted && !starts_marked && !text.text.empty()) put_mark(0);
  for (size_t at = 0; at < text.text.size(); ++at) {
    if (text.text[at] == ' ') {
      put_mark(at);
    } else {
      marked.text.push_back(text.text[at]);
      if (text.has_origin()) marked.origin.push_back(text.origin[at]);
    }
  }
  if (!options.split) return take(std::move(marked));
  // Each mark begins a word.
  for (size_t at = 0; at < marked.text.size();) {
    const size_t next = std::min(marked.text.find(mark, at + 1), marked.text.size());
    if (at == 0 && next == marked.text.size() && !marked.has_origin()) return take(std::move(marked));
    if (!take(marked.slice(at, next))) return false;
    at = next;
  }
  return true;
}

Metaspace parse_metaspace(const json& description, const std::string& where) {
  only_keys(description, {"type", "replacement", "prepend_scheme", "split", "add_prefix_space", "str_rep"},
            where);
  Metaspace result;
  result.replacement = text_member(description, "replacement", where);
  if (result.replacement.empty() || utf8_length(result.replacement[0]) != result.replacement.size()) {
    fail(where, ": Metaspace's replacement must be one character, not ", quote_name(result.replacement));
  }
  const std::string scheme =
      description.contains("prepend_scheme") ? text_member(description, "prepend_scheme", where) : "always";
  if (scheme == "first") {
    result.prepend = PrependScheme::first;
  } else if (scheme == "never") {
    result.prepend = PrependScheme::never;
  } else if (scheme != "always") {
    fail(where, ": Metaspace's prepend_scheme is ", quote_name(scheme), ", not always, first or never");
  }
  if (!flag_member(description, "add_prefix_space", true, where) && result.prepend != PrependScheme::never) {
    fail(where, ": Metaspace's add_prefix_space is false, which contradicts prepend_scheme '", scheme, "'");
  }
  result.split = flag_member(description, "split", true, where);
  return result;
}

PreTokenizer as_step(const Metaspace& options) {
  return [options](NormalizedText&& text, const TakeWord& take) {
    return metaspace(options, std::move(text), take);
  };
}

void parse_into(const json& description, const std::string& where, int depth, PreTokenizers& result) {
  if (description.is_null()) return;
  const std::string type = text_member(description, "type", where);
  if (depth > 8) fail(where, ": pre-tokenizers are nested more than 8 deep");
  if (type == "Sequence") {
    only_keys(description, {"type", "pretokenizers"}, where);
    const json& list = member(description, "pretokenizers", where);
    if (!list.is_array()) fail(where, ": pretokenizers must be a list");
    for (const json& each : list) {
      parse_into(each, where, depth + 1, result);
    }
  } else if (type == "WhitespaceSplit" || type == "Whitespace") {
    only_keys(description, {"type"}, where);
    result.steps.emplace_back(type == "Whitespace" ? whitespace : whitespace_split);
  } else if (type == "Metaspace") {
    const Metaspace options = parse_metaspace(description, where);
    result.needs_origin = result.needs_origin || options.prepend == PrependScheme::first;
    result.steps.push_back(as_step(options));
  } else {
    fail(where, ": the pre-tokenizer ", quote_name(type),
         " is not supported (there are Sequence, WhitespaceSplit, Whitespace, Metaspace)");
  }
}

bool run_from(const std::vector<PreTokenizer>& steps, size_t step, NormalizedText&& text,
              const TakeWord& take) {
  if (text.text.empty()) return true;
  if (step == steps.size()) return take(std::move(text));
  return steps[step](std::move(text), [&](NormalizedText&& piece) {
    return run_from(steps, step + 1, std::move(piece), take);
  });
}

}  // namespace

PreTokenizers parse_pre_tokenizers(const json& description, const std::string& where) {
  PreTokenizers result;
  parse_into(description, where, 0, result);
  return result;
}

PreTokenizers t5_pre_tokenizers() {
  return {{whitespace_split, as_step(Metaspace())}, false};
}

bool pre_tokenize(const PreTokenizers& steps, NormalizedText&& text, const TakeWord& take) {
  return run_from(steps.steps, 0, std::move(text), take);
}

}  // namespace rushes
