#pragma once
// The name of a model on the Hugging Face Hub, and the checks that every name passes before a path is made of
// it.

#include <optional>
#include <string>

namespace rushes::hub {

struct ModelId {
  std::string name;               // "org/name"
  std::string revision = "main";  // branch, tag, "refs/pr/1", or a commit's 40 hex digits

  /// "org/name@revision", the revision left out where it is "main".
  std::string text() const;
};

/// Could `text` be meant as "org/name[@revision]", rather than as a folder? Two plain words with one '/'.
bool looks_like_model_id(const std::string& text);
/// Throws UserError that says what is wrong: by the Hub's rules a name holds letters, digits, '-', '_', '.',
/// no "--" and no "..", and neither begins nor ends with '-' or '.'; at most 96 bytes.
ModelId parse_model_id(const std::string& text);

/// 40 hex digits (lower case)?
bool is_commit(const std::string& text);
/// Hex digits in lower case, and so many?
bool is_hex(const std::string& text, size_t digits);

/// What is wrong with a path inside a repository that a server names, or nothing: it must be relative, of
/// names that are neither empty nor "." nor "..", without control characters or backslashes, each at most 200
/// bytes and all of it at most 1000.
std::optional<std::string> wrong_path(const std::string& path);

}  // namespace rushes::hub
