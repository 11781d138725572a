"""Texts that break tokenizers and cleaners, at random, and the driver that runs our side over many of them."""
import json
import os
import pathlib
import subprocess
import tempfile
import unicodedata

WORDS = """a the red blue green circle square triangle moves slowly left right over sunny field cat dogs running camera
pans cinematic 4k golden hour, close-up; shot! snow's falling (wide) über naïve café Ñandú ﬁne ﬂow ½ ™ © 北京 猫が走る
привет мир مرحبا بالعالم שלום नमस्ते दुनिया 한국어 ไทย Ελλάδα İstanbul straße ŉ ǆ Ⅷ ２０２４ ｶﾞ ｱﾆﾒ 𝒜 𓀀""".split()
ODD = list("​‌‍ ‎‏  　  \t\n\r\x0b\x0c\x85\xa0\u1680\u2028\u2029\ufeff\u00ad\u2060") + [
    "\r\n", "  ", "     ", "\t\t", "▁", "▁▁", "e\u0301", "a\u0323\u0302", "\u0301", "①\u0301", "é\u0327", "क्ष", "ก็", "한",
    "\u1112\u1161\u11ab", "ﾊﾟ", "👍🏽", "👨‍👩‍👧‍👦", "🇩🇪🇫🇷🇬", "❤️", "©\u200d", "™\ufe0f", "\x01", "\x1b[31m", "\x7f", "\x9f", "\u0600a",
    "\ufffd", "\U000e0041", "\U0001f9ff", "ß", "ﬆ", "…", "“x”", "‘y’", "　", "％", "＆", "&amp;", "&lt;b&gt;", "<0x41>", "<0xE2>"]
SPECIAL = ["</s>", "<pad>", "<unk>", "<s>", "<extra_id_0>", "<extra_id_99>", "<extra_id_7", "</s></s>", " </s> ", "x</s>y",
           "</s", "[TAG]", "[tag]", "word", "sword", "two words"]
ASSIGNED = [c for c in range(1, 0x20000) if unicodedata.category(chr(c)) not in ("Cn", "Cs", "Co")]


def random_text(rng, special=SPECIAL, odd=ODD, most=30):
    parts = []
    for _ in range(rng.randrange(most)):
        kind = rng.random()
        if kind < 0.55:
            parts.append(rng.choice(WORDS))
        elif kind < 0.75:
            parts.append(rng.choice(odd))
        elif kind < 0.85:
            parts.append(rng.choice(special))
        elif kind < 0.95:
            parts.append("".join(chr(rng.choice(ASSIGNED)) for _ in range(rng.randrange(1, 6))))
        else:
            parts.append("".join(rng.choice("abcdefxyz") for _ in range(rng.randrange(1, 60))))
        if rng.random() < 0.7:
            parts.append(" ")
    return "".join(parts)


def run_driver(case, work):
    """Runs a hidden case of unit-text_icu over `work` and returns what it answers."""
    binary = pathlib.Path(os.environ["RUSHES_BUILD"]) / "unit-text_icu"
    with tempfile.TemporaryDirectory() as folder:
        source, target = f"{folder}/in.json", f"{folder}/out.json"
        pathlib.Path(source).write_text(json.dumps(work), encoding="utf-8")
        environment = dict(os.environ, RUSHES_TEXTS_IN=source, RUSHES_TEXTS_OUT=target)
        run = subprocess.run([binary, case], env=environment, capture_output=True, text=True)
        assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-4000:]
        return json.loads(pathlib.Path(target).read_text(encoding="utf-8"))
