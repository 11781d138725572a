"""Cleaned prompts against what diffusers' WanPipeline does with ftfy, html and regex.

ftfy is called with fix_encoding=False, because its guess at mojibake is not done here; random texts on which that guess
would have changed the result are counted, and equal all the same to ftfy without it.
"""
import html
import sys
import unicodedata

import ftfy
import regex

from oracle.support import run_cases
from oracle.text_cases import ASSIGNED, random_text, run_driver

NAMES = list(html.entities.html5)
TEXTS = 6000
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
}


def diffusers_clean(text, **ftfy_options):
    """basic_clean and whitespace_clean of diffusers/pipelines/wan/pipeline_wan.py."""
    text = html.unescape(html.unescape(ftfy.fix_text(text, **ftfy_options))).strip()
    return regex.sub(r"\s+", " ", text).strip()


def reference_piece(rng):
    name = rng.choice(NAMES)
    return rng.choice([
        "&" + name, "&" + name.rstrip(";"), "&" + name.upper(), "&amp;" * rng.randrange(1, 4) + name, "&" + name[:-2] + "q;",
        "&#%d;" % rng.choice([0, 9, 13, 38, 60, 127, 128, 133, 150, 157, 0x301, 0xD900, 0xFFFE, 0x1F600, 0x110000]),
        "&#x%X" % rng.randrange(0x3000), "&#%d" % rng.choice(ASSIGNED), "&#38;lt;", "＆lt;", "&#65286;amp;", "&", "&#", "&#;",
        "&#x;", "&;", "<", "&am\x01p;", "&" + "a" * rng.randrange(20, 40) + ";", "\x1b[%d;1m" % rng.randrange(99), "\x1b[",
        "\x1b[&#49;m", "\x1b[&amp;#49;m", "\x1b[٣m", chr(rng.randrange(0xFF01, 0xFFF0)), chr(rng.randrange(0x80, 0xA0))])


def case(rng, folder):
    texts = list(CASES)
    for _ in range(TEXTS):
        parts = [random_text(rng, most=4) if rng.random() < 0.5 else reference_piece(rng) for _ in range(rng.randrange(1, 9))]
        # Characters newer than this Python's tables may normalise otherwise.
        texts.append("".join(c for c in "".join(parts) if unicodedata.category(c) != "Cn"))
    texts += ["x" * 1_500_000 + "&amp;\n&lt;", "&" + "amp;" * 3000 + "lt;", "<\n&eacute;\n" * 3]
    guessed = 0
    for text, (fixed, cleaned) in zip(texts, run_driver("driver: clean", texts)):
        assert fixed == ftfy.fix_text(text, fix_encoding=False), f"fix_text of {text[:400]!r}: {fixed[:400]!r}"
        want = diffusers_clean(text, fix_encoding=False)
        assert cleaned == want, f"clean_prompt of {text[:400]!r}: {cleaned[:400]!r}, should be {want[:400]!r}"
        if text in CASES:
            assert cleaned == CASES[text], f"{text!r}: {cleaned!r}"
            assert cleaned == diffusers_clean(text), f"{text!r}: diffusers says {diffusers_clean(text)!r}"
        guessed += cleaned != diffusers_clean(text)
    print(f"{len(texts)} texts cleaned alike; ftfy's guess at mojibake would have changed {guessed} of them")


if __name__ == "__main__":
    sys.exit(run_cases(case, count=1))
