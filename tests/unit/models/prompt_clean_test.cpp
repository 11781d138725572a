// Cleaning without ICU. tests/oracle/test_prompt_clean.py holds it to ftfy, html and regex.

#include "models/tokenizers/prompt_clean.h"

#include <catch2/catch.hpp>

#include "base/error.h"
#include "models/tokenizers/html_unescape.h"
#include "models/tokenizers/mojibake_codecs.h"

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
  CHECK(ftfy_unescape("&amp;lt; &lt &#12a; &#x3b; &copy;") == "&lt; &lt &#12a; &#x3b; ©");
}

TEST_CASE("prompt cleaning: references written many times over are passed over together") {
  CHECK(skip_nested_references("a&amp;amp;amp;amp;lt; &#38;#38;#38;x") == "a&amp;amp;amp;lt; &#38;#38;x");
  CHECK(skip_nested_references("&amp;#38;#38;amp;amp;x") == "&amp;#38;#38;amp;amp;x");
  // Something else is due first.
  CHECK(skip_nested_references("&amp;amp;amp;amp; &lt;") == "&amp;amp;amp;amp; &lt;");
  CHECK(skip_nested_references("&amp;amp;amp;amp; &amp;amp;") == "&amp;amp;amp;amp; &amp;amp;");
  CHECK(skip_nested_references("& plain &&").size() == 10);
  std::string deep = "é&";
  for (int i = 0; i < 100000; ++i) {
    deep += i % 2 == 0 ? "amp;" : "AMP;";
  }
  CHECK(fix_text(deep + "lt;", nullptr) == "é<");
}

TEST_CASE("prompt cleaning: mojibake") {
  CHECK(fix_text("sÃ³ voilÃ\u00A0 naïve Ã  la mode", nullptr) == "só voilà naïve à  la mode");
  CHECK(fix_text("ÃƒÂ©tÃƒÂ©", nullptr) == "été");
  CHECK(fix_text("CafÃ© naïve, 5 ÷ 3 × 2°", nullptr) == "Café naïve, 5 ÷ 3 × 2°");
  // Text that seems to be what it should stays.
  CHECK(fix_text("Überstraße «à» Åse 20 £", nullptr) == "Überstraße «à» Åse 20 £");
}

TEST_CASE("mojibake: encodings") {
  using namespace mojibake;
  CHECK(encode(Codec::sloppy_windows_1252, U"é\u0081\uFFFD€") == "\xE9\x81\x1A\x80");
  CHECK_FALSE(encode(Codec::latin_1, U"€"));
  CHECK_FALSE(encode(Codec::sloppy_windows_1252, U"\x1A"));
  CHECK(encode(Codec::macroman, U"\x1A\uF8FF") == "\x1A\xF0");
  CHECK(decode_utf8_variants("\xED\xA0\xBD\xED\xB8\x8D \xC0\x80 é") == std::u32string(U"😍 \0 é", 5));
  for (const char* bad :
       {"\x80", "\xC1\x81", "\xE0\x80\x80", "\xED\xB8\x8D", "\xF4\x90\x80\x80", "\xE2\x82", "\xC0x"}) {
    CHECK_FALSE(decode_utf8_variants(bad));
  }
  CHECK(restore_byte_a0("voil\xC3 la, \xC3 s \xC3 quele") == "voil\xC3\xA0 la, \xC3\xA0s \xC3\xA0quele");
  CHECK(replace_lossy_sequences("\xE2\x80\x1A \xE2?\x1A \xE2?? \x1A") == "\uFFFD \uFFFD \xE2?? \uFFFD");
}
