#pragma once
// HTML character references back into characters.

#include <string>
#include <string_view>

namespace rushes {

/// What Python's html.unescape gives (HTML5: "&amp;", "&amp", "&#38;", "&#x26;", longest known name): valid
/// UTF-8 in and out. Numbers beyond Unicode become U+FFFD, however long they are.
std::string html_unescape(std::string_view text);

/// ftfy's milder form: only references that end in a semicolon, and besides the names of some letters in
/// capitals ("&EACUTE;").
std::string ftfy_unescape(std::string_view text);

/// Where nothing is left to unescape but '&'s written three and more times over ("&amp;amp;amp;lt;"): the
/// text after as many passes of ftfy_unescape as leave each of them twice over at least. Else the text
/// itself.
std::string skip_nested_references(std::string text);

}  // namespace rushes
