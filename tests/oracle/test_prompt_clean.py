"""Cleaned prompts against what diffusers' WanPipeline does with ftfy, html and regex."""
import html
import sys
import unicodedata

import ftfy
import regex
from ftfy import badness, chardata

from oracle.support import run_cases
from oracle.text_cases import ASSIGNED, WORDS, random_text, run_driver

NAMES = list(html.entities.html5)
TEXTS = 6000
MOJIBAKE = 8000
# Everyday repairs, by hand.
CASES = {
    "“A cat’s whiskers” &amp; a ﬁne ﬂow…": "\"A cat's whiskers\" & a fine flow…",
    "ＬＯＵＤ　ＮＯＩＳＥＳ": "LOUD NOISES",
    "  a \r\n\t b \u2028 c ": "a b c",
    "P&EACUTE;REZ &eacute; &#233; &#xE9;": "PÉREZ é é é",
    "a &lt;b&gt; &amp;amp;lt;": "a <b> <",
    "<p>caf&eacute;</p>": "<p>café</p>",
    "\x1b[36;44mblue\x1b[0m": "blue",
    "e\u0301 \ufeffx\x07": "é x",
    "": "",
    "&#99999999999999999999999; &#xD800; &#128; &notit; &ampx": "\ufffd \ufffd € ¬it; &x",
    "sÃ³ voilÃ\xa0 Ã la mode": "só voilà à la mode",
    "âœ” No problems": "✔ No problems",
    "&macr;\\_(ã\x83\x84)_/&macr;": "¯\\_(ツ)_/¯",
    "l’humanitÃ©": "l'humanité",
    "Ð¿Ñ€Ð¸Ð²ÐµÑ‚ â€œ привет": "привет \" привет",
    "ÃƒÂ©tÃƒÂ©": "été",
    "вЂњtestвЂќ": "\"test\"",
    "â€œ like this â€\ufffd": "\" like this \ufffd",
    "\xed\xa0\xbd\xed\xb8\x8d": "😍",
    "À\x80x": "x",
    "CafÃ© naïve": "Café naïve",
    "Ruf 5 ÷ 3 × 2° Åse «à»": "Ruf 5 ÷ 3 × 2° Åse «à»",
}
# Text in many scripts, and the pieces that ftfy's patterns are made of.
SENTENCES = """Ça va être l’été — déjà vu à Málaga, señor?|Überstraße „schön“ 20 € ÷ 3|Příliš žluťoučký kůň úpěl ďábelské ódy
Zażółć gęślą jaźń|Iššūkis ąžuolas ēka ģimene|Şişli’de ığdır güneş|Я люблю “кошек” — № 5…|Їжак є ґречний|Καλημέρα Ελλάδα, ΐ
猫が走る、夜。|北京的秋天|한국어 영화 펭귄|ไทย สวัสดี|नमस्ते दुनिया|مرحبا بالعالم|שלום עולם|👍🏽 👨‍👩‍👧 😍🎉|café ½ ™ © ® ° ± µ
it’s “ok” … ‘yes’|à l’école às vezes àquele lugar|naïve\u00a0coöperation\u00ad|Tiếng Việt|plain text, nothing odd
Š š Ž ž Œ œ Ÿ ƒ ˆ ˜|\ufffd|\u0000""".replace("\n", "|").split("|")
CLUES = [regex.sub(r"(.)-(.)", lambda m: "".join(map(chr, range(ord(m[1]), ord(m[2]) + 1))), each)
         for each in [*badness.MOJIBAKE_CATEGORIES.values(), *chardata.UTF8_CLUES.values()]]
PIECES = list("ÂÃÎÐØÙåâàáéœŒвГВЂЃРСΒΓβ‚√≈×ðóđ°²µ€™š£ ?!.,aZ_\n\x1a\x7f\x81\x8d\x90\xa0\xad\ufffd") + [
    "Ã ", "Â ", " Ã quele", "Ã s ", "â€", "â€™", "ГўВЂВ", "ï»¿", "í\xa0½í¸\x8d", "í\xa0½í¸\n", "À\x80", "À\n",
    "ð\x9f ", "ã\x81?", "&nbsp;", "&amp;copy;", "&#38;amp;"]


def diffusers_clean(text):
    """basic_clean and whitespace_clean of diffusers/pipelines/wan/pipeline_wan.py."""
    text = html.unescape(html.unescape(ftfy.fix_text(text))).strip()
    return regex.sub(r"\s+", " ", text).strip()


def reference_piece(rng):
    name = rng.choice(NAMES)
    return rng.choice([
        "&" + name, "&" + name.rstrip(";"), "&" + name.upper(), "&amp;" * rng.randrange(1, 4) + name, "&" + name[:-2] + "q;",
        "&#%d;" % rng.choice([0, 9, 13, 38, 60, 127, 128, 133, 150, 157, 0x301, 0xD900, 0xFFFE, 0x1F600, 0x110000]),
        "&#x%X" % rng.randrange(0x3000), "&#%d" % rng.choice(ASSIGNED), "&#38;lt;", "＆lt;", "&#65286;amp;", "&", "&#", "&#;",
        "&#x;", "&;", "<", "&am\x01p;", "&" + "a" * rng.randrange(20, 40) + ";", "\x1b[%d;1m" % rng.randrange(99), "\x1b[",
        "\x1b[&#49;m", "\x1b[&amp;#49;m", "\x1b[٣m", chr(rng.randrange(0xFF01, 0xFFF0)), chr(rng.randrange(0x80, 0xA0))])


def misread(text, encoding):
    """UTF-8 (or CESU-8) read in another encoding."""
    return text.encode("utf-8").decode(encoding, errors="replace")


def cesu(text):
    """Surrogate pairs for what lies beyond U+FFFF, as Latin-1 shows them."""
    units = text.encode("utf-16-be", "surrogatepass")
    units = [int.from_bytes(units[i:i + 2], "big") for i in range(0, len(units), 2)]
    return "".join(map(chr, units)).encode("utf-8", "surrogatepass").decode("latin-1")


def damaged(rng, text):
    at = rng.randrange(len(text) + 1)
    kind = rng.randrange(6)
    if kind == 0:
        return text[:at] + text[at + 1:]
    if kind == 1:
        return text.replace("\xa0", " ")
    if kind == 2:
        return text[:at] + rng.choice("?\ufffd\x1a") + text[at + 1:]
    if kind == 3:
        return regex.sub(r"[\x80-\x9f]", lambda m: rng.choice(["?", "\ufffd", m[0]]), text)
    if kind == 4:
        return text[:at] + rng.choice(PIECES) + text[at:]
    return text[:at] + rng.choice(rng.choice(CLUES)) + text[at:]


def mojibake(rng):
    """Sentences misread up to three times, damaged, among clean ones; or what the patterns are made of at random."""
    if rng.random() < 0.4:
        return "".join(rng.choice(rng.choice(CLUES)) if rng.random() < 0.6 else rng.choice(PIECES)
                       for _ in range(rng.randrange(2, 9)))
    parts = []
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        text = rng.choice([rng.choice(SENTENCES), rng.choice(SENTENCES), rng.choice(WORDS), chr(rng.choice(ASSIGNED))])
        if rng.random() < 0.3:
            at = rng.randrange(len(text) + 1)
            text = text[at:at + rng.randrange(1, 8)]
        if rng.random() < 0.1:
            text = cesu(text)
        else:
            encoding = rng.choice(chardata.CHARMAP_ENCODINGS)
            for _ in range(rng.choice([0, 1, 1, 1, 1, 2, 2, 3])):
                text = misread(text, encoding)
                if rng.random() < 0.2:
                    encoding = rng.choice([*chardata.CHARMAP_ENCODINGS, "cp1252", "cp1251"])
        while rng.random() < 0.35:
            text = damaged(rng, text)
        if rng.random() < 0.1:
            text = text.upper() if rng.random() < 0.5 else html.escape(text).replace("é", "&eacute;")
        parts.append(text)
    return rng.choice(["", " ", " a ", "\n"]).join(parts)


def case(rng, folder):
    texts = list(CASES)
    for _ in range(TEXTS):
        parts = [random_text(rng, most=4) if rng.random() < 0.5 else reference_piece(rng) for _ in range(rng.randrange(1, 9))]
        # Characters newer than this Python's tables may normalise otherwise.
        texts.append("".join(c for c in "".join(parts) if unicodedata.category(c) != "Cn"))
    texts += ["x" * 1_500_000 + "&amp;\n&lt;", "&" + "amp;" * 3000 + "lt;", "<\n&eacute;\n" * 3]
    texts += ["é&" + "amp;" * 300 + "lt; &#38;#38;lt; œ&#38;amp;amp;amp;#97;&amp;amp;x; Ã&amp;amp;amp;copy;"]
    texts += ["Â" * 99 + "\xa0"]
    texts += [mojibake(rng).replace("\0", "") for _ in range(MOJIBAKE)]
    unknown = repaired = 0
    for text, (fixed, cleaned) in zip(texts, run_driver("driver: clean", texts)):
        want_fixed, want = ftfy.fix_text(text), diffusers_clean(text)
        # What mojibake stood for may be newer than this Python, too.
        if any(unicodedata.category(c) == "Cn" for c in want_fixed):
            unknown += 1
            continue
        assert fixed == want_fixed, f"fix_text of {text[:400]!r}: {fixed[:400]!r}, should be {want_fixed[:400]!r}"
        assert cleaned == want, f"clean_prompt of {text[:400]!r}: {cleaned[:400]!r}, should be {want[:400]!r}"
        if text in CASES:
            assert cleaned == CASES[text], f"{text!r}: {cleaned!r}"
        repaired += fixed != ftfy.fix_text(text, fix_encoding=False)
    assert repaired > MOJIBAKE / 4
    print(f"{len(texts) - unknown} texts cleaned alike, {repaired} of them with mojibake repaired")


if __name__ == "__main__":
    sys.exit(run_cases(case, count=1))
