#include "base/error.h"

namespace rushes {

void fail_check(const char* condition, const std::string& message, const std::source_location& where) {
  std::string text = str(where.file_name(), ":", where.line(), " (", where.function_name(), "): ", condition);
  if (!message.empty()) text += ": " + message;
  throw InternalError(text);
}

}  // namespace rushes
