#include "base/quote.h"

#include <nlohmann/json.hpp>

#include "base/str.h"

namespace rushes {

std::string quote_name(const std::string& name) {
  constexpr size_t kLongest = 160;
  constexpr size_t kEnd = 70;
  std::string text = name;
  if (name.size() > kLongest) {
    const std::string_view view = name;
    text = str(view.substr(0, kEnd), "...", view.substr(view.size() - kEnd), " (", view.size(), " bytes)");
  }
  std::string escaped = nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  escaped.front() = escaped.back() = '\'';
  return escaped;
}

}  // namespace rushes
