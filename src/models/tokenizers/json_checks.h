#pragma once
// Members of the objects in tokenizer.json, or UserError that names the file and what is wrong.

#include <initializer_list>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

namespace rushes {

/// object[key]; `object` must be an object that has it.
const nlohmann::json& member(const nlohmann::json& object, const std::string& key, const std::string& where);
std::string text_member(const nlohmann::json& object, const std::string& key, const std::string& where);
/// A missing (or null) one is `otherwise`, or an error where that is empty.
bool flag_member(const nlohmann::json& object, const std::string& key, std::optional<bool> otherwise,
                 const std::string& where);
/// A whole number in [0, 2^31).
int32_t count_member(const nlohmann::json& object, const std::string& key, const std::string& where);
/// The object has no key but these.
void only_keys(const nlohmann::json& object, std::initializer_list<const char*> keys,
               const std::string& where);
/// A value in a message: its text, cut.
std::string brief(const nlohmann::json& value);

}  // namespace rushes
