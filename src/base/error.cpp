#include "base/error.h"

namespace rushes {

void fail_check(const char* condition, const std::string& message, const char* file, int line,
                const char* function) {
  std::string text = str(file, ":", line, " (", function, "): ", condition);
  if (!message.empty()) text += ": " + message;
  throw InternalError(text);
}

}  // namespace rushes
