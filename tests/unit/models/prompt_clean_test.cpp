// Cleaning without ICU. tests/oracle/test_prompt_clean.py holds it to ftfy, html and regex.

#include "models/tokenizers/prompt_clean.h"

#include <catch2/catch.hpp>

#include "base/error.h"
#include "models/tokenizers/html_unescape.h"

using namespace rushes;

TEST_CASE("prompt cleaning: everyday repairs") {
  const NormalizeNfc same = [](const std::string& text) { return text; };
  CHECK(clean_prompt("  “A  cat’s” \r\n ﬁlm\t&amp; ＬＯＵＤ… ", same) == "\"A cat's\" film & LOUD…");
  CHECK(clean_prompt("\x1B[31mred\x1B[0m\x07 \uFEFFx", same) == "red x");
  CHECK(clean_prompt("", same).empty());
  CHECK(clean_prompt(" \u3000\u2028\n", same).empty());
  CHECK_THROWS_AS(clean_prompt("\xC3", same), UserError);
}

TEST_CASE("prompt cleaning: a line that looks like HTML keeps its references for html.unescape alone") {
  CHECK(fix_text("&EACUTE; &eacute;", nullptr) == "É é");
  CHECK(fix_text("&eacute;\n<b>&eacute;\n&eacute;", nullptr) == "é\n<b>&eacute;\n&eacute;");
  CHECK(clean_prompt("<b>&eacute;", nullptr) == "<b>é");
}

TEST_CASE("prompt cleaning: without normalisation only plain text passes") {
  CHECK(clean_prompt("naïve Ñ", nullptr) == "naïve Ñ");
  CHECK_THROWS_AS(clean_prompt("e\u0301", nullptr), UserError);
  int calls = 0;
  CHECK(clean_prompt("猫", [&](const std::string& text) {
          ++calls;
          return text;
        }) == "猫");
  CHECK(calls > 0);
}

TEST_CASE("prompt cleaning: character references") {
  CHECK(html_unescape("&lt&gt;&notit;&ampx&#65;&#x42&#0;&#1;&#xD800;&#128;&;&#;&#x;&") ==
        "<>¬it;&xAB\uFFFD\uFFFD€&;&#;&#x;&");
  CHECK(html_unescape("&#99999999999999999999;&NotEqualTilde;&bne;") == "\uFFFD≂̸=⃥");
  CHECK(ftfy_unescape("&amp;lt; &lt &#12a; &#x3b; &copy;", false) == "&lt; &lt &#12a; &#x3b; ©");
  CHECK(ftfy_unescape("&amp;amp;lt;", true) == "<");
}
