#pragma once
// CSV by RFC 4180: commas, cells in double quotes ("" is one quote) that may hold commas and line breaks,
// lines ended by LF or CRLF.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace rushes {

struct CsvRow {
  std::vector<std::string> cells;
  int64_t line = 0;  // where the row begins, from 1
};

/// Every row that can be read; blank lines are skipped. What is wrong is noted as "<name>:<line>: ...".
std::vector<CsvRow> parse_csv(std::string_view text, const std::string& name, Problems& problems);

}  // namespace rushes
