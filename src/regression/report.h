#pragma once
// What people and other programs get to see of a comparison:
//   report.json   everything in numbers; "schema" is "rushes.regression/1": keys are only ever added under it
//   junit.xml     one test case a clip, for CI systems
//   summary.txt   one line, for the subject of a mail
//   index.html    one page without network: verdict, pictures, curves, what changed, the nights before

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "regression/comparison.h"
#include "regression/history.h"

namespace rushes {

nlohmann::ordered_json report_json(const Comparison& comparison);
std::string report_junit(const Comparison& comparison);
/// `nights`: oldest first, this comparison the last of them.
std::string report_html(const Comparison& comparison, const std::vector<Night>& nights);

/// Makes `folder`. Throws UserError where it cannot be made, or where something is in the way of what is to
/// be written there.
void make_report_folder(const std::filesystem::path& folder);

/// Writes all of them into `folder`, each whole or not at all. Throws UserError.
void write_report(const std::filesystem::path& folder, const Comparison& comparison,
                  const std::vector<Night>& nights);

/// Text for HTML and XML: & < > " ' as entities, and control characters (which XML refuses) as spaces.
std::string escaped(const std::string& text);

/// `text` with every {{name}} replaced by the value of that name escaped, every {{{name}}} by the value as it
/// is. A name without a value is a bug.
std::string fill_template(const std::string& text,
                          const std::vector<std::pair<std::string, std::string>>& values);

}  // namespace rushes
