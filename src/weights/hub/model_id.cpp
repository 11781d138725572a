#include "weights/hub/model_id.h"

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "base/lower.h"
#include "weights/words.h"

namespace rushes::hub {
namespace {

constexpr size_t kMostNameBytes = 96;  // of "org/name", as the Hub and huggingface_hub have it
constexpr size_t kMostPartBytes = 200;
constexpr size_t kMostPathBytes = 1000;

bool is_word_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
         c == '.';
}

bool is_word(const std::string& text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), is_word_char);
}

/// One half of "org/name".
bool is_hub_word(const std::string& text) {
  const auto edge = [](char c) { return c == '-' || c == '.'; };
  return is_word(text) && !edge(text.front()) && !edge(text.back()) && text.find("--") == std::string::npos &&
         text.find("..") == std::string::npos;
}

}  // namespace

std::string ModelId::text() const {
  return revision == "main" ? name : name + "@" + revision;
}

bool looks_like_model_id(const std::string& text) {
  const std::string name = text.substr(0, text.find('@'));
  const size_t slash = name.find('/');
  return slash != std::string::npos && is_word(name.substr(0, slash)) && is_word(name.substr(slash + 1)) &&
         name[0] != '.';
}

ModelId parse_model_id(const std::string& text) {
  const size_t at = text.find('@');
  ModelId id;
  id.name = text.substr(0, at);
  const size_t slash = id.name.find('/');
  if (slash == std::string::npos || !is_hub_word(id.name.substr(0, slash)) ||
      !is_hub_word(id.name.substr(slash + 1)) || id.name.size() > kMostNameBytes) {
    fail(quote_name(text),
         " is no model of the Hub: it takes org/name or org/name@revision, of letters, digits, '-', '_' and "
         "'.' (no '--', no '..', neither first nor last '-' or '.'), at most ",
         kMostNameBytes, " bytes");
  }
  if (at == std::string::npos) return id;
  id.revision = text.substr(at + 1);
  if (const auto wrong = wrong_path(id.revision))
    fail(quote_name(text), ": the revision after '@' ", *wrong,
         "; give a branch, a tag or a commit's 40 digits");
  if (id.revision.size() == 40 && !is_commit(id.revision)) {
    const std::string plain = lower(id.revision);
    if (is_commit(plain)) id.revision = plain;
  }
  return id;
}

bool is_hex(const std::string& text, size_t digits) {
  return text.size() == digits && text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

bool is_commit(const std::string& text) {
  return is_hex(text, 40);
}

std::optional<std::string> wrong_path(const std::string& path) {
  if (path.empty()) return "is empty";
  if (path.size() > kMostPathBytes) return "is too long";
  if (!is_utf8(path)) return "is no UTF-8 text";
  for (const char c : path) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) return "holds a control character";
    if (c == '\\') return "holds a backslash";
  }
  if (path.front() == '/') return "is an absolute path";
  for (size_t start = 0; start <= path.size();) {
    const size_t end = std::min(path.find('/', start), path.size());
    const std::string part = path.substr(start, end - start);
    if (part.empty() || part == "." || part == "..") return "holds an empty name, '.' or '..'";
    if (part.size() > kMostPartBytes) return "holds a name that is too long";
    start = end + 1;
  }
  return {};
}

}  // namespace rushes::hub
