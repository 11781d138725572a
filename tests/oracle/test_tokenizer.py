"""T5 tokenizers against transformers 5 and the tokenizers library, on small vocabularies trained here.

For each way in which a model folder can hold a tokenizer (tokenizer.json from the tokenizers library, spiece.model from
sentencepiece, saved by transformers, with hand-made settings) thousands of texts are tokenized by both; ids, masks and
cuts must be equal. Then files that are damaged or ask for what is not supported must give an error that says so.
"""
import io
import json
import os
import pathlib
import sys
import tempfile

os.environ.setdefault("OMP_NUM_THREADS", "1")

import sentencepiece
import tokenizers
from tokenizers import AddedToken, models, normalizers, pre_tokenizers, processors, trainers
import transformers

from oracle.support import run_cases
from oracle.text_cases import WORDS, random_text, run_driver

transformers.logging.set_verbosity_error()
TEXTS_EACH = 500
LENGTHS = (1, 2, 3, 8, 40, 512)


def corpus(rng, lines=400):
    return [" ".join(rng.choice(WORDS) for _ in range(rng.randrange(3, 20))) for _ in range(lines)]


def train_sentencepiece(rng, vocab_size, **options):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus(rng)), model_writer=model, vocab_size=vocab_size, model_type="unigram",
        hard_vocab_limit=False, pad_id=0, eos_id=1, unk_id=2, bos_id=-1, minloglevel=2, **options)
    return model.getvalue()


def train_json(rng, vocab_size, normalizer=None, pre_tokenizer=None, special=("<pad>", "</s>", "<unk>"), byte_pieces=False):
    tokenizer = tokenizers.Tokenizer(models.Unigram())
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer or pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    trainer = trainers.UnigramTrainer(vocab_size=vocab_size, special_tokens=list(special), unk_token="<unk>",
                                      show_progress=False)
    tokenizer.train_from_iterator(corpus(rng), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", tokenizer.token_to_id("</s>"))])
    description = json.loads(tokenizer.to_str())
    if byte_pieces:
        description["model"]["vocab"] += [[f"<0x{byte:02X}>", -20.0 - byte / 100] for byte in range(256)]
        description["model"]["byte_fallback"] = True
    return description


def write(folder, **files):
    for name, content in files.items():
        path = pathlib.Path(folder) / name.replace("__", ".")
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())


def charsmap_of(spiece):
    from sentencepiece import sentencepiece_model_pb2
    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(spiece)
    return proto.normalizer_spec.precompiled_charsmap


# ---- the ways; each fills a folder and names the class --------------------------------------------------------------

def t5_json(rng, folder):
    write(folder, tokenizer__json=train_json(rng, rng.choice([400, 600, 1500])))
    return "T5TokenizerFast"


def t5_json_charsmap(rng, folder):
    rules = normalizers.Sequence([normalizers.Precompiled(charsmap_of(train_sentencepiece(rng, 120))),
                                  normalizers.Strip(left=False), normalizers.Replace(tokenizers.Regex(" {2,}"), "▁")])
    write(folder, tokenizer__json=train_json(rng, 400, normalizer=rules))
    return "T5Tokenizer"


def t5_saved(rng, folder):
    with tempfile.TemporaryDirectory() as first:
        write(first, tokenizer__json=train_json(rng, 300))
        transformers.T5TokenizerFast.from_pretrained(first).save_pretrained(folder)
    return "T5TokenizerFast"


def t5_umt5_like(rng, folder):
    """Unknown text at id 3, byte fallback, Metaspace alone: what transformers' T5 class leaves aside."""
    description = train_json(rng, 500, pre_tokenizer=pre_tokenizers.Metaspace(), byte_pieces=True,
                             special=("<pad>", "</s>", "<s>", "<unk>"))
    names = ["<extra_id_%d>" % i for i in range(300)]
    size = len(description["model"]["vocab"])
    description["model"]["vocab"] += [[name, 0.0] for name in reversed(names)]
    added = {size + 299 - i: name for i, name in enumerate(names)} | {0: "<pad>", 1: "</s>", 2: "<s>", 3: "<unk>"}
    flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
    write(folder, tokenizer__json=description, tokenizer_config__json={
        "added_tokens_decoder": {str(i): {"content": name, **flags} for i, name in added.items()},
        "additional_special_tokens": names, "bos_token": "<s>", "eos_token": "</s>", "extra_ids": 300,
        "extra_special_tokens": {}, "pad_token": "<pad>", "unk_token": "<unk>", "tokenizer_class": "T5Tokenizer",
        "model_max_length": 1000000000000000019884624838656, "clean_up_tokenization_spaces": True, "sp_model_kwargs": {}})
    return "T5TokenizerFast"


def t5_added(rng, folder):
    """Added tokens with every flag, tokens unknown to the vocabulary, sides, the legacy map of special tokens."""
    description = train_json(rng, 300)
    size = len(description["model"]["vocab"])
    flags = lambda **on: {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False, **on}
    for i, (content, on) in enumerate([("[TAG]", dict(lstrip=True, rstrip=True)), ("word", dict(single_word=True)),
                                       ("two words", dict(normalized=True)), ("ﬁne", dict(normalized=True))]):
        description["added_tokens"].append({"id": size + i, "content": content, **flags(**on)})
    config = {"padding_side": rng.choice(["left", "right"]), "truncation_side": rng.choice(["left", "right"])}
    if rng.random() < 0.5:
        config["split_special_tokens"] = True
    write(folder, tokenizer__json=description, tokenizer_config__json=config, special_tokens_map__json={
        "eos_token": {"content": "</s>", "lstrip": True, "normalized": False, "rstrip": True, "single_word": False},
        "pad_token": "[PAD]", "sep_token": "<sep>"})
    return "T5TokenizerFast"


def t5_extra_settings(rng, folder):
    write(folder, tokenizer__json=train_json(rng, 350), tokenizer_config__json={
        "extra_ids": 5, "eos_token": {"__type": "AddedToken", "content": "<end>", "lstrip": False, "normalized": False,
                                      "rstrip": True, "single_word": False, "special": True},
        "additional_special_tokens": rng.choice([["[TAG]", "two words"], []])})
    return "T5Tokenizer"


def t5_spiece(rng, folder):
    write(folder, spiece__model=train_sentencepiece(rng, rng.choice([120, 500]), normalization_rule_name="nmt_nfkc"))
    return "T5Tokenizer"


def t5_spiece_symbols(rng, folder):
    write(folder, spiece__model=train_sentencepiece(
        rng, 900, normalization_rule_name=rng.choice(["identity", "nmt_nfkc_cf"]), byte_fallback=True,
        character_coverage=0.98, user_defined_symbols=["[TAG]", "two words"], control_symbols=["<ctrl>"]),
        tokenizer_config__json={"extra_ids": 20})
    return "T5TokenizerFast"


def fast_as_written(rng, folder):
    """A class that takes tokenizer.json whole: byte fallback and every supported part."""
    spiece = train_sentencepiece(rng, 120)
    rules = [normalizers.Precompiled(charsmap_of(spiece)), normalizers.Strip(left=rng.random() < 0.5),
             normalizers.Replace(tokenizers.Regex(rng.choice([" {2,}", r"\s+", "a{2}"])), rng.choice(["▁", " ", ""])),
             normalizers.Replace("ﬀ", "ff"), normalizers.Lowercase(), normalizers.Prepend("▁")]
    rng.shuffle(rules)
    cutters = [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Whitespace(),
               pre_tokenizers.Metaspace(prepend_scheme=rng.choice(["always", "first", "never"]), split=rng.random() < 0.7)]
    rng.shuffle(cutters)
    description = train_json(rng, rng.choice([350, 600]), byte_pieces=rng.random() < 0.6,
                             normalizer=normalizers.Sequence(rules[:rng.randrange(1, 7)]),
                             pre_tokenizer=pre_tokenizers.Sequence(cutters[:rng.randrange(1, 4)]))
    size = len(description["model"]["vocab"])
    for i, (content, normalized) in enumerate([("[TAG]", True), ("word", False), ("Two Words", True)]):
        description["added_tokens"].append({"id": size + i, "content": content, "single_word": False, "lstrip": False,
                                            "rstrip": False, "normalized": normalized, "special": False})
    write(folder, tokenizer__json=description, tokenizer_config__json={"pad_token": "<pad>", "eos_token": "</s>"})
    return rng.choice(["PreTrainedTokenizerFast", "TokenizersBackend"])


def fast_first(rng, folder):
    """prepend_scheme "first" knows where a piece began in the prompt, through every rewriting."""
    rules = [normalizers.Precompiled(charsmap_of(train_sentencepiece(rng, 120))), normalizers.Lowercase(),
             normalizers.Replace(tokenizers.Regex(r"\s+"), " "), normalizers.Strip()]
    rng.shuffle(rules)
    cutters = [pre_tokenizers.Metaspace(prepend_scheme="first")]
    if rng.random() < 0.5:
        cutters.insert(0, pre_tokenizers.WhitespaceSplit())
    description = train_json(rng, 300, normalizer=normalizers.Sequence(rules[:rng.randrange(5)]),
                             pre_tokenizer=pre_tokenizers.Sequence(cutters))
    write(folder, tokenizer__json=description, tokenizer_config__json={"pad_token": "<pad>"})
    return "PreTrainedTokenizerFast"


WAYS = [t5_json, t5_json_charsmap, t5_saved, t5_umt5_like, t5_added, t5_added, t5_extra_settings, t5_spiece,
        t5_spiece_symbols, fast_as_written, fast_as_written, fast_as_written, fast_as_written, fast_first, fast_first]


def reference(tokenizer, text, max_length):
    """Ids and mask, or None where the reference itself breaks down on this text."""
    try:
        out = tokenizer(text, padding="max_length", max_length=max_length, truncation=True, add_special_tokens=True)
        full = tokenizer(text, truncation=False, padding=False)
    except BaseException as error:  # a panic of the Rust library is a BaseException
        if type(error).__name__ not in ("PanicException", "Exception"):
            raise
        return None
    return {"input_ids": out.input_ids, "attention_mask": out.attention_mask, "cut": len(full.input_ids) > max_length}


def compare(rng):
    compared = skipped = 0
    for way in WAYS:
        with tempfile.TemporaryDirectory() as folder:
            class_name = way(rng, folder)
            expected_of = getattr(transformers, class_name).from_pretrained(folder)
            jobs, expected = [], []
            added_by_template = len(expected_of("").input_ids)
            for max_length in LENGTHS:
                if max_length < added_by_template:
                    continue
                texts = ["", " ", "\n", "a" * 3000 + " b"] + [
                    random_text(rng) for _ in range(TEXTS_EACH // len(LENGTHS))]
                jobs.append({"folder": folder, "class": class_name, "max_length": max_length, "texts": texts})
                expected.append([reference(expected_of, text, max_length) for text in texts])
            results = run_driver("driver: tokenize", jobs)
            for job, wanted, got in zip(jobs, expected, results):
                assert "error" not in got, f"{way.__name__}: {got}"
                for text, one, other in zip(job["texts"], wanted, got):
                    if one is None:
                        skipped += 1
                        continue
                    compared += 1
                    assert one == other, (f"{way.__name__}, max_length {job['max_length']}, text {text!r}:\n"
                                          f"expected {one}\ngot      {other}\n"
                                          f"tokens {expected_of.convert_ids_to_tokens(one['input_ids'])}\n"
                                          f"ours   {expected_of.convert_ids_to_tokens(other['input_ids'])}")
    print(f"{compared} texts tokenized alike in {len(WAYS)} set-ups ({skipped} on which the reference fails)")
    assert skipped < compared / 50


def refusals(rng):
    plain = train_json(rng, 400)
    cases = []  # (files, class, words in the error)

    def case(words, class_name="PreTrainedTokenizerFast", config=None, **changes):
        cases.append(({"tokenizer__json": {**plain, **changes},
                       "tokenizer_config__json": config or {"pad_token": "<pad>"}}, class_name, words))

    case("'BPE'", model={"type": "BPE", "vocab": {}, "merges": []})
    case("'NFKC'", normalizer={"type": "NFKC"})
    case("'BertNormalizer'", normalizer={"type": "Sequence", "normalizers": [{"type": "BertNormalizer"}]})
    case("regex", normalizer={"type": "Replace", "pattern": {"Regex": "(a|b)"}, "content": ""})
    case("'Split'", pre_tokenizer={"type": "Split", "pattern": {"String": "a"}, "behavior": "Removed", "invert": False})
    case("'BertProcessing'", post_processor={"type": "BertProcessing", "sep": ["</s>", 1], "cls": ["</s>", 1]})
    case("'novel'", novel=1)
    case("version", version="2.0")
    case("'dropout'", model={**plain["model"], "dropout": 0.1})
    case("character map", normalizer={"type": "Precompiled", "precompiled_charsmap": "AAAA"})
    case("base64", normalizer={"type": "Precompiled", "precompiled_charsmap": "A?=="})
    case("unk_id", model={**plain["model"], "unk_id": 10**6})
    case("entry 3", model={**plain["model"], "vocab": plain["model"]["vocab"][:3] + [["x"]]})
    case("pad_token", config={"eos_token": "</s>"})
    case("image_token", "T5Tokenizer", config={"image_token": "<img>"})
    case("left or right", "T5Tokenizer", config={"padding_side": "middle"})
    case("additional_special_tokens", "T5Tokenizer", config={"additional_special_tokens": "x"})
    spiece = train_sentencepiece(rng, 120)
    cases.append(({"spiece__model": spiece[:len(spiece) // 2]}, "T5Tokenizer", "SentencePiece"))
    cases.append(({"spiece__model": b"no protobuf"}, "T5Tokenizer", "SentencePiece"))
    cases.append(({"tokenizer_config__json": {}}, "T5Tokenizer", "neither"))
    with tempfile.TemporaryDirectory() as top:
        jobs = []
        for number, (files, class_name, _) in enumerate(cases):
            folder = pathlib.Path(top) / str(number)
            folder.mkdir()
            write(folder, **files)
            jobs.append({"folder": str(folder), "class": class_name, "max_length": 8, "texts": ["a"]})
        for (_, _, words), got in zip(cases, run_driver("driver: tokenize", jobs)):
            assert "error" in got and words in got["error"], f"{words}: {got}"
    print(f"{len(cases)} unusable tokenizers refused by name")


def case(rng, folder):
    compare(rng)
    refusals(rng)


if __name__ == "__main__":
    sys.exit(run_cases(case, count=1))
