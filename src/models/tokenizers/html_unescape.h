#pragma once
// HTML character references back into characters.

#include <string>
#include <string_view>

namespace rushes {

/// What Python's html.unescape gives (HTML5: "&amp;", "&amp", "&#38;", "&#x26;", longest known name): valid
/// UTF-8 in and out. Numbers beyond Unicode become U+FFFD, however long they are.
std::string html_unescape(std::string_view text);

/// ftfy's milder form: only references that end in a semicolon, and besides the names of some letters in
/// capitals
/// ("&EACUTE;"). With `to_the_end` a '&' that appears may begin the next reference at once, so that
/// "&amp;amp;lt;" takes one pass.
std::string ftfy_unescape(std::string_view text, bool to_the_end);

}  // namespace rushes
