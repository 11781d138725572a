#include "config/csv.h"

#include <algorithm>

namespace rushes {
namespace {

class CsvReader {
 public:
  CsvReader(std::string_view text, const std::string& name, Problems& problems)
      : text_(text), name_(name), problems_(problems) {}

  std::vector<CsvRow> read() {
    while (at_ < text_.size())
      read_row();
    return std::move(rows_);
  }

 private:
  bool at_line_end() const { return at_ == text_.size() || text_[at_] == '\n' || text_[at_] == '\r'; }

  void skip_line_end() {
    at_ = std::min(at_ + (text_.substr(at_, 2) == "\r\n" ? 2 : 1), text_.size());
    ++line_;
  }

  void read_row() {
    CsvRow row;
    row.line = line_;
    if (at_line_end()) return skip_line_end();
    while (true) {
      std::string cell;
      if (!(text_[at_] == '"' ? read_quoted(cell) : read_bare(cell))) {
        // Where the row ends can only be guessed now; the next line is the best guess.
        while (!at_line_end())
          ++at_;
        return skip_line_end();
      }
      row.cells.push_back(std::move(cell));
      if (at_line_end()) break;
      ++at_;  // the comma
      if (at_line_end()) {
        row.cells.emplace_back();
        break;
      }
    }
    skip_line_end();
    rows_.push_back(std::move(row));
  }

  bool read_bare(std::string& cell) {
    while (!at_line_end() && text_[at_] != ',') {
      if (text_[at_] == '"') {
        problems_.add(name_, ":", line_,
                      ": a quote inside a cell; put the whole cell in quotes and write it twice");
        return false;
      }
      cell += text_[at_++];
    }
    return true;
  }

  bool read_quoted(std::string& cell) {
    const int64_t opened = line_;
    for (++at_; at_ < text_.size(); ++at_) {
      if (text_[at_] == '\n' || (text_[at_] == '\r' && text_.substr(at_, 2) != "\r\n")) ++line_;
      if (text_[at_] != '"') {
        cell += text_[at_];
      } else if (text_.substr(at_, 2) == "\"\"") {
        cell += '"';
        ++at_;
      } else {
        ++at_;
        if (at_line_end() || text_[at_] == ',') return true;
        problems_.add(name_, ":", line_,
                      ": text behind the closing quote of a cell; only a comma may follow");
        return false;
      }
    }
    problems_.add(name_, ":", opened, ": a quote is opened here and never closed");
    return false;
  }

  std::string_view text_;
  const std::string& name_;
  Problems& problems_;
  std::vector<CsvRow> rows_;
  size_t at_ = 0;
  int64_t line_ = 1;
};

}  // namespace

std::vector<CsvRow> parse_csv(std::string_view text, const std::string& name, Problems& problems) {
  return CsvReader(text, name, problems).read();
}

}  // namespace rushes
