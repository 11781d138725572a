// Tokenizers made here by hand, so that each expected id can be told from the file. What the reference
// libraries make of random vocabularies and texts is held by tests/oracle/test_tokenizer.py.

// ATen before Catch: both have a macro CHECK, and the one wanted here is the later.
#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>
#include <random>

#include "base/error.h"
#include "base/timer.h"
#include "models/registry.h"
#include "models/tokenizers/charsmap.h"
#include "models/tokenizers/normalizers.h"
#include "models/tokenizers/sentencepiece_model.h"
#include "models/tokenizers/unicode.h"

using namespace rushes;
using nlohmann::json;
using Ids = std::vector<int64_t>;

namespace {

const std::string kMark = "\u2581";

json small_file() {
  const std::vector<std::pair<std::string, double>> pieces = {
      {"<pad>", 0.0}, {"</s>", 0.0},        {"<unk>", 0.0},      {kMark, -3.0},    {"a", -4.0},  {"b", -4.5},
      {"ab", -5.0},   {kMark + "ab", -6.0}, {kMark + "a", -3.5}, {"<0x63>", -9.0}, {"c c", -1.0}};
  json vocabulary = json::array();
  for (const auto& [text, score] : pieces)
    vocabulary.push_back(json::array({text, score}));
  return {{"version", "1.0"},
          {"added_tokens",
           {{{"id", 1},
             {"content", "</s>"},
             {"single_word", false},
             {"lstrip", false},
             {"rstrip", false},
             {"normalized", false},
             {"special", true}}}},
          {"normalizer", nullptr},
          {"pre_tokenizer",
           {{"type", "Metaspace"}, {"replacement", kMark}, {"prepend_scheme", "always"}, {"split", true}}},
          {"post_processor", nullptr},
          {"model", {{"type", "Unigram"}, {"unk_id", 2}, {"vocab", vocabulary}, {"byte_fallback", true}}}};
}

std::unique_ptr<Tokenizer> make(const json& file, const std::string& class_name = "T5TokenizerFast",
                                const json& config = {{"pad_token", "<pad>"}}) {
  TokenizerFiles files;
  files.tokenizer_json = file.dump();
  files.tokenizer_config = config.dump();
  return make_tokenizer(class_name, files, "here");
}

std::string varint(size_t n) {
  std::string out;
  for (; n >= 0x80; n >>= 7)
    out.push_back(static_cast<char>((n & 0x7F) | 0x80));
  out.push_back(static_cast<char>(n));
  return out;
}

// SentencePiece's message: text (1), score (2), kind (3); as the model's field 1.
std::string piece(const std::string& text, float score, char kind) {
  std::string body = "\x0A";
  body += varint(text.size());
  body += text;
  body += '\x15';
  body.append(reinterpret_cast<const char*>(&score), sizeof score);
  body += '\x18';
  body += kind;
  return "\x0A" + varint(body.size()).append(body);
}

std::string small_spiece() {
  return piece("<pad>", 0, 3) + piece("</s>", 0, 3) + piece("<unk>", 0, 2) + piece(kMark + "x", -1, 1) +
         piece("y", -2, 1) + piece("[TAG]", 0, 4);
}

}  // namespace

TEST_CASE("tokenizer: the best cut, unknown runs, the end token, padding and the mask") {
  const auto t5 = make(small_file());
  // "ab": one piece of -6 beats -3.5 - 4.5; "ba": the mark, b, a; "ccc" is one unknown run.
  const TokenIds ids = t5->encode("ab  ba accca", 12);
  CHECK(ids.input_ids == Ids{7, 3, 5, 4, 8, 2, 4, 1, 0, 0, 0, 0});
  CHECK(ids.attention_mask == Ids{1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0});
  CHECK_FALSE(ids.cut);
  CHECK(t5->encode("", 3).input_ids == Ids{1, 0, 0});
}

TEST_CASE("tokenizer: a text that is cut keeps its end token") {
  const auto t5 = make(small_file());
  const TokenIds cut = t5->encode("ab ba", 4);
  CHECK(cut.input_ids == Ids{7, 3, 5, 1});
  CHECK(cut.cut);
  CHECK_FALSE(t5->encode("ab ba", 5).cut);
  CHECK(t5->encode("ab ba", 1).input_ids == Ids{1});
  CHECK_THROWS_AS(t5->encode("ab", 0), UserError);
  const auto left =
      make(small_file(), "T5Tokenizer", {{"truncation_side", "left"}, {"padding_side", "left"}});
  CHECK(left->encode("ab ba", 3).input_ids == Ids{5, 4, 1});
  CHECK(left->encode("ab", 4).input_ids == Ids{0, 0, 7, 1});
  CHECK(left->encode("ab", 4).attention_mask == Ids{0, 0, 1, 1});
}

TEST_CASE("tokenizer: special text in a prompt is its token; sentinels follow the vocabulary") {
  const auto t5 = make(small_file());
  CHECK(t5->encode("a</s>b<extra_id_1>", 8).input_ids == Ids{8, 1, 3, 5, 12, 1, 0, 0});
  const auto split = make(small_file(), "T5Tokenizer", {{"split_special_tokens", true}});
  CHECK(split->encode("</s>", 4).input_ids == Ids{3, 1, 1, 0});  // the piece </s> of the model itself
}

TEST_CASE("tokenizer: T5 sets its own rules, the fast class follows the file") {
  json file = small_file();
  file["pre_tokenizer"] = nullptr;
  CHECK(make(file)->encode("ab c", 6).input_ids == Ids{7, 3, 2, 1, 0, 0});
  // No marks, no template; unknown 'c' becomes its byte, the unknown blank has no byte piece.
  const auto fast = make(file, "PreTrainedTokenizerFast");
  CHECK(fast->encode("abc", 4).input_ids == Ids{6, 9, 0, 0});
  CHECK(fast->encode("ab b", 4).input_ids == Ids{6, 2, 5, 0});
  CHECK(fast->encode("ac ca", 5).input_ids == Ids{4, 10, 4, 0, 0});
  file["model"]["unk_id"] = nullptr;
  CHECK_THROWS_WITH(make(file, "TokenizersBackend")->encode("z", 4),
                    Catch::Contains("unknown character 'z'"));
}

TEST_CASE("tokenizer: spiece.model where there is no tokenizer.json") {
  TokenizerFiles files;
  files.sentencepiece = small_spiece();
  const auto t5 = make_tokenizer("T5Tokenizer", files, "here");
  CHECK(t5->encode("xy q[TAG]x", 9).input_ids == Ids{3, 4, 2, 5, 3, 1, 0, 0, 0});
  CHECK(t5->encode("<extra_id_0>", 2).input_ids == Ids{105, 1});
}

TEST_CASE("tokenizer: text that is not UTF-8 is refused") {
  const auto t5 = make(small_file());
  for (const std::string& bad :
       {std::string("a\xFF"), std::string("\xC3"), std::string("\xED\xA0\x80"), std::string("a\0b", 3)})
    CHECK_THROWS_AS(t5->encode(bad, 8), UserError);
}

TEST_CASE("tokenizer: replacements of replacements are refused before they fill the memory") {
  json file = small_file();
  json steps = json::array();
  for (int i = 0; i < 9; ++i)
    steps.push_back({{"type", "Replace"}, {"pattern", {{"String", "a"}}}, {"content", std::string(20, 'a')}});
  file["normalizer"] = {{"type", "Sequence"}, {"normalizers", steps}};
  const auto bomb = make(file, "PreTrainedTokenizerFast");
  CHECK_THROWS_WITH(bomb->encode("a", 8), Catch::Contains("normalizers make more than 1048608 bytes"));
  CHECK(bomb->encode("b", 2).input_ids.size() == 2);
  // Many times as long as it was is well where it stays small.
  file["normalizer"] = steps[0];
  CHECK(make(file, "PreTrainedTokenizerFast")->encode("aaaa", 200).attention_mask[79] == 1);
}

TEST_CASE("tokenizer: ten megabytes take seconds") {
  const auto left =
      make(small_file(), "T5Tokenizer", {{"truncation_side", "left"}});  // has to look at everything
  std::string words, one_word;
  while (words.size() < 10'000'000)
    words += "ab ba c\u00E9 ";
  while (one_word.size() < 10'000'000)
    one_word += "ab";
  for (const std::string& text : {words, one_word}) {
    const Timer timer;
    const TokenIds ids = left->encode(text, 512);
    CHECK(ids.cut);
    CHECK(ids.input_ids.size() == 512);
    CHECK(ids.input_ids.back() == 1);
    CHECK(timer.seconds() < 60);  // one or two where nothing else runs
  }
}

TEST_CASE("tokenizer: damaged files never do worse than an error") {
  std::mt19937 random(7);
  const std::string good_spiece = small_spiece(), good_json = small_file().dump();
  int refused = 0;
  for (int round = 0; round < 2000; ++round) {
    TokenizerFiles files;
    std::string& bytes = round % 2 == 0 ? files.sentencepiece : files.tokenizer_json;
    bytes = round % 2 == 0 ? good_spiece : good_json;
    for (int i = 0; i < 1 + round % 4; ++i)
      bytes[random() % bytes.size()] = static_cast<char>(random());
    if (round % 5 == 0) bytes.resize(random() % bytes.size() + 1);
    try {
      make_tokenizer("T5Tokenizer", files, "here")->encode("ab xy [TAG]</s>", 16);
    } catch (const UserError&) {
      ++refused;
    }
  }
  CHECK(refused > 500);
  // A character map of noise is refused, or looked up without leaving it.
  for (int round = 0; round < 2000; ++round) {
    std::string map(4 + 4 * (1 + random() % 300) + random() % 50, '\0');
    for (char& byte : map)
      byte = static_cast<char>(random() % 128);
    const auto units = static_cast<uint32_t>((map.size() - 4) / 8 * 4);
    map[0] = static_cast<char>(units), map[1] = static_cast<char>(units >> 8), map[2] = map[3] = 0;
    try {
      const Charsmap charsmap(map, "here");
      for (int i = 0; i < 50; ++i)
        charsmap.replacement(std::string(1 + i % 5, static_cast<char>(1 + random() % 127)));
    } catch (const UserError&) {
    }
  }
}

TEST_CASE("tokenizer: grapheme clusters") {
  const auto clusters = [](const std::string& text) {
    std::vector<std::string> result;
    for (size_t at = 0; at < text.size();) {
      const size_t end = grapheme_end(text, at);
      result.push_back(text.substr(at, end - at));
      at = end;
    }
    return result;
  };
  using Texts = std::vector<std::string>;
  CHECK(clusters("a\r\n\nb") == Texts{"a", "\r\n", "\n", "b"});
  CHECK(clusters("e\u0301x") == Texts{"e\u0301", "x"});
  CHECK(clusters("\u1112\u1161\u11AB\u1112") == Texts{"\u1112\u1161\u11AB", "\u1112"});
  CHECK(clusters("\U0001F468\u200D\U0001F469a") == Texts{"\U0001F468\u200D\U0001F469", "a"});
  CHECK(clusters("\U0001F1E9\U0001F1EA\U0001F1EB") == Texts{"\U0001F1E9\U0001F1EA", "\U0001F1EB"});
  CHECK(clusters("\u0915\u094D\u0937") == Texts{"\u0915\u094D\u0937"});
  CHECK(clusters("\u0600a") == Texts{"\u0600a"});
}
