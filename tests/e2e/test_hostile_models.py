#!/usr/bin/env python3
"""Broken and hostile model folders: told with file and reason, in time, with little memory, before anything is written."""
import base64
import itertools
import json
import pathlib
import struct
import sys

import numpy as np
from safetensors.numpy import load_file, save_file

from e2e.support import main
from e2e.support.hostile import accepted, directory, each, link, pipe, refused, variant

WEIGHTS = "transformer/diffusion_pytorch_model.safetensors"
SHAPES = pathlib.Path(__file__).resolve().parents[2] / "datasets" / "shapes" / "checkpoint"
DEEP = 100_000


def check_model(folder, model, changes, *wanted, command="plan", **how):
    """A job with this variant of the model is refused in these words."""
    variant(model, folder / "model", changes)
    (folder / "job.yaml").write_text("model: model\nprompts: [a cat]\noutput: out\ndevice: cpu\n"
                                     "sampling: {height: 32, width: 32, "
                                     "num_frames: 1, num_inference_steps: 1, max_sequence_length: 16}\n")
    return refused([command, "job.yaml"], wanted, folder, **how)


def check_all(folder, model, table):
    each(table, lambda name, changes, *wanted: check_model(folder, model, changes, *wanted))


def edit(**fields):
    """Sets fields of a JSON file; ... takes one away."""
    def change(old):
        value = {**json.loads(old), **fields}
        return json.dumps({key: field for key, field in value.items() if field is not ...}).encode()
    return change


def case_model_index(folder, model):
    index, place = "model_index.json", "model_index.json"
    check_all(folder, model, [
        ("cut", {index: lambda old: old[:-3]}, (f"{place}:", "not valid JSON")),
        ("empty", {index: b""}, (place, "not valid JSON")),
        ("list", {index: b"[]"}, (place, "must be a JSON object")),
        ("bytes", {index: b"\xff\xfe{}"}, (place, "not valid JSON")),
        ("twice", {index: b'{"a": 1,\n"a": 2}'}, (f"{place}:2:", "the key 'a' is there twice")),
        ("deep", {index: b'{"a": ' + b"[" * DEEP}, (f"{place}:1:", "64 levels")),
        ("huge", {index: b" " * (17 << 20)}, (place, "bytes")),
        ("lists", {index: b'{"a": [' + b"[]," * 5_000_000 + b"[]]}"}, (place,)),
        ("gone", {index: None}, ("model", "has no model_index.json")), ("pipe", {index: pipe}, (place, "regular file")),
        ("folder", {index: directory}, (place, "regular file")),
        ("device", {index: link("/dev/zero")}, (place, "leads out")),
        ("out", {index: link(str(model / index))}, (place, "leads out of the model folder")),
        ("loop", {index: link(index)}, (place,)),
        ("entries",
         {index: edit(vae=["diffusers"], transformer=[1, 2], gone=["diffusers", "X"], **{"../up": ["a", "b"]},
                      boundary_ratio="x",
                                 _class_name=3)},
         (place, "'vae'", "needs [library, class]"), (place, "'transformer'", "two texts"), (place, "'gone'", "is missing"),
         (place, "'../up'", "name of a folder"), (place, "_class_name")),
        ("parts gone", {"vae": None, "tokenizer": None, "scheduler": None}, ("'vae'", "is missing"),
         ("'tokenizer'", "is missing"),
         ("'scheduler'", "is missing")),
        ("a part is a file", {"vae": b"x"}, ("vae", "is not a folder")),
        ("a part leads out", {"vae": link(str(model / "vae"))}, ("vae", "leads out of the model folder")),
        ("no entry", {index: edit(vae=..., scheduler=[None, None])}, ("vae",), ("scheduler",)),
        ("other classes", {index: edit(vae=["diffusers", "AutoencoderKL"], transformer=["diffusers", "WanTransformer3D"])},
         ("'AutoencoderKL'",), ("'WanTransformer3D'", "WanTransformer3DModel")),
        ("fields", {index: edit(expand_timesteps="yes", boundary_ratio="half", transformer_2=3)},
         (place, "expand_timesteps"),
         (place, "boundary_ratio"), (place, "transformer_2")),
    ])


def case_configs(folder, model):
    parts = {"transformer/config.json": "num_attention_heads", "vae/config.json": "z_dim",
             "text_encoder/config.json": "d_model",
             "scheduler/scheduler_config.json": "shift"}

    def everywhere(name, change, *words):
        return name, {file: change(field) if change else None for file, field in parts.items()}, *(
            (file, *(word.format(field) for word in words)) for file, field in parts.items())

    def numbers(file, **fields):
        return file, {file: edit(**fields)}, *((file, key) for key in fields)

    check_all(folder, model, [
        everywhere("gone", None, "is missing"), everywhere("list", lambda _: b"[]", "must be a JSON object"),
        everywhere("deep", lambda _: b'{"a": ' + b"[" * DEEP, "64 levels"),
        everywhere("cut", lambda _: lambda old: old[:-3], "not valid JSON"),
        everywhere("unknown", lambda field: edit(colour=3), "unknown field 'colour'"),
        everywhere("misspelt", lambda field: lambda old: old.replace(f'"{field}"'.encode(), f'"{field}s"'.encode()),
                   "unknown field '{0}s'", "did you mean '{0}'?"),
        everywhere("text", lambda field: edit(**{field: "many"}), "{0}", "many"),
        everywhere("list", lambda field: edit(**{field: [1]}), "{0}"),
        everywhere("null", lambda field: edit(**{field: None}), "{0}"),
        everywhere("below 0", lambda field: edit(**{field: -1}), "{0}"),
        everywhere("zero", lambda field: edit(**{field: 0}), "{0}"),
        everywhere("beyond", lambda field: edit(**{field: 1 << 63}), "{0}"),
        everywhere("1e999", lambda field: lambda old: old.replace(f'"{field}": '.encode(),
            f'"{field}": 1e999, "x": '.encode()), "not valid JSON"),
        # Numbers by which somebody divides, multiplies or makes room.
        numbers("transformer/config.json", patch_size=[0, 2, -2], num_attention_heads=0, attention_head_dim=1 << 62,
                freq_dim=-2, ffn_dim=0, in_channels=0, text_dim=0, rope_max_seq_len=0, eps=-1),
        numbers("vae/config.json", base_dim=0, dim_mult=[], latents_mean=[0], latents_std=[0] * 8, num_res_blocks=-1,
                patch_size=0, scale_factor_spatial=0, scale_factor_temporal=-4, temperal_downsample=[1], in_channels=0),
        numbers("text_encoder/config.json", vocab_size=0, d_kv=0, d_ff=-1, num_heads=0, relative_attention_num_buckets=0,
                relative_attention_max_distance=0, layer_norm_epsilon=-1, dense_act_fn="x"),
        numbers("scheduler/scheduler_config.json", num_train_timesteps=0, shift_terminal=2, time_shift_type=3),
        ("many layers", {"transformer/config.json": edit(num_layers=1 << 40),
                         "text_encoder/config.json": edit(num_layers=1 << 62),
                         "vae/config.json": edit(num_res_blocks=1 << 40)}, ("transformer",), ("text_encoder",), ("vae",)),
        ("wide", {"transformer/config.json": edit(ffn_dim=1 << 50), "text_encoder/config.json": edit(d_ff=1 << 61),
                  "vae/config.json": edit(base_dim=1 << 40)}, ("transformer",), ("text_encoder",), ("vae",)),
        ("many steps", {"scheduler/scheduler_config.json": edit(num_train_timesteps=1 << 50)},
         ("scheduler_config.json", "num_train_timesteps")),
        ("classes", {"vae/config.json": edit(_class_name="AutoencoderKL"), "transformer/config.json": edit(_class_name=3)},
         ("vae/config.json", "'AutoencoderKL'", "'AutoencoderKLWan'"), ("transformer/config.json", "WanTransformer3DModel")),
    ])


def stored(header, data=b"", length=None):
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def tensor(shape, begin, end, dtype="F32", **more):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end], **more}


def weight_files(file):
    """Rows of broken files of weights."""
    four = bytes(4)

    def cut(length):
        return f"cut to {length}", lambda old: old[:length], ()

    def header(old):
        return 8 + struct.unpack("<Q", old[:8])[0]

    rows = [
        *map(cut, (0, 1, 7, 8, 9, -1)), ("header alone", lambda old: old[:header(old)], ()),
        ("half a header", lambda old: old[:header(old) - 1], ("cut short",)),
        ("longer", lambda old: old + b"\0", ("belongs to no tensor",)),
        ("text", b"not tensors at all", ("no safetensors file",)),
        ("length 2^64", struct.pack("<Q", (1 << 64) - 1) + b"{}", ("format allows",)),
        ("length 2^63", struct.pack("<Q", 1 << 63) + b"{}", ()),
        ("length 99 MB", struct.pack("<Q", 99_000_000) + b"{}", ("cut short",)),
        ("depth", stored(b'{"a":' * DEEP), ("unusable",)),
        ("lists", stored(b'{"a":{"shape":' + b"[" * DEEP), ("unusable",)), ("list", stored(b"[]"), ("must begin with",)),
        ("open", stored(b'{"a": {'), ("not valid JSON",)), ("bytes", stored(b'{"\xff": {}}'), ("not valid JSON",)),
        ("overlap", stored({"a": tensor([1], 0, 4), "b": tensor([1], 2, 6)}, bytes(6)), ("overlap",)),
        ("gap", stored({"a": tensor([1], 0, 4), "b": tensor([1], 8, 12)}, bytes(12)), ("belong to no tensor",)),
        ("outside", stored({"a": tensor([2], 0, 8)}, four), ("'a'", "do not lie in")),
        ("backwards", stored({"a": tensor([1], 4, 0)}, four), ("do not lie in",)),
        ("negative", stored({"a": tensor([1], -4, 0)}, four), ("'a'", "negative number")),
        ("half", stored({"a": tensor([1], 0.5, 4)}, four), ("0.5",)),
        ("beyond", stored({"a": tensor([1], 0, 1 << 64)}, four), ("'a'",)),
        ("three", stored({"a": {**tensor([1], 0, 4), "data_offsets": [0, 4, 4]}}, four), ("'a'",)),
        ("twice", stored(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{}}', four), ("'a'", "twice")),
        ("product", stored({"a": tensor([1 << 32, 1 << 32], 0, 4)}, four), ("more elements than can be counted",)),
        ("product 0", stored({"a": tensor([1 << 62, 1 << 62, 0], 0, 0)}), ("more elements than can be counted",)),
        ("side", stored({"a": tensor([-1], 0, 4)}, four), ("'a'", "negative number")),
        ("side 2^63", stored({"a": tensor([1 << 63], 0, 4)}, four), ("too large",)),
        ("sides", stored({"a": tensor([1] * 100, 0, 4)}, four), ("more than 32",)),
        ("size", stored({"a": tensor([2], 0, 4)}, four), ("takes 8",)),
        ("dtype", stored({"a": tensor([1], 0, 4, "F33")}, four), ("'F33'",)),
        ("F8", stored({"a": tensor([4], 0, 4, "F8_E4M3")}, four), ("F8_E4M3",)),
        ("no dtype", stored({"a": {"shape": [1], "data_offsets": [0, 4]}}, four), ("dtype",)),
        ("field", stored({"a": tensor([1], 0, 4, x=1)}, four), ("'x'",)),
        ("metadata", stored({"__metadata__": {"a": 1}}), ("__metadata__",)),
        ("pipe", pipe, ("regular file",)), ("folder", directory, ("regular file",)),
        ("out", link("/etc/passwd"), ("leads out of the model folder",)),
        ("device", link("/dev/zero"), ("leads out",)),
    ]
    return [(name, {file: content}, (file, *words)) for name, content, words in rows]


def case_tensors(folder, model):
    tensors = load_file(model / WEIGHTS)
    names = sorted(tensors)[:3]

    def changed(name, *wanted, **new):
        path = folder / "changed.safetensors"
        save_file({**tensors, **new}, path)
        return name, {WEIGHTS: path.read_bytes()}, *wanted

    check_all(folder, model, [
        changed("all at once", (names[0], "has shape [3, 1]"), (names[1], "I32"), ("'stray'", "not a part of the model"),
                **{names[0]: np.ones((3, 1), np.float32), names[1]: tensors[names[1]].astype(np.int32),
                   "stray": np.ones(2, np.float32)}),
        ("nothing", {WEIGHTS: stored({})}, ("transformer", "'proj_out.weight'", "is missing")),
        ("gone", {WEIGHTS: None, "transformer/model.bin": b"x"}, ("holds no weights", "model.bin")),
        ("many", {WEIGHTS: stored({str(i): tensor([0], 0, 0) for i in range(500_000)})}, ("transformer", "is missing")),
        ("much metadata",
         {WEIGHTS: stored(b'{"__metadata__":{' + b",".join(b'"%d":""' % i for i in range(3_000_000)) + b"}}")},
         ("transformer", "is missing")),
        ("long name", {WEIGHTS: stored(b'{"' + b"n" * 50_000_000 + b'":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}')},
         ("transformer", "nnn", "(50000000 bytes)")),
        ("two sets", {"transformer/model.safetensors": b"x"}, ("transformer", "two sets of weights")),
        changed("booleans", (names[2], "BOOL"), **{names[2]: tensors[names[2]] > 0}),
    ])
    path = folder / "wide.safetensors"
    save_file({name: value.astype(np.float64) for name, value in tensors.items()}, path)
    variant(model, folder / "model", {WEIGHTS: path.read_bytes()})
    accepted(["plan", "job.yaml"], [], folder)  # 64 bits are one more way to store the numbers


def shards(folder, model):
    """Rows of broken indices of a transformer in two shards."""
    tensors = load_file(model / WEIGHTS)
    names = sorted(tensors)
    half, parts, place = len(names) // 2, {}, "diffusion_pytorch_model.safetensors.index.json"
    for shard, part in (("one", names[:half]), ("two", names[half:])):
        save_file({name: tensors[name] for name in part}, folder / shard)
        parts[f"transformer/{shard}.safetensors"] = (folder / shard).read_bytes()
    where = {name: "one.safetensors" if name in names[:half] else "two.safetensors" for name in names}
    base = {**parts, WEIGHTS: None}

    def index(name, value, *wanted, **more):
        content = value if isinstance(value, bytes) else json.dumps({"weight_map": value}).encode()
        return name, {**base, f"transformer/{place}": content,
                      **{f"transformer/{key}.safetensors": new for key, new in more.items()}}, *wanted

    first, last = names[0], names[-1]
    return [
        index("cut", b'{"weight_map": {', (place, "not valid JSON")), index("list", b"[]", (place, "weight_map")),
        index("empty", {}, (place, "is empty")),
        index("number", {first: 3}, (place, first, "must be a text")),
        index("deep", b'{"weight_map": ' + b"[" * DEEP, (place, "64 levels")),
        index("paths", {**where, first: "../one.safetensors", last: "/etc/passwd", "x": "", "y": "..", "z": "a\0b",
                        "w": "sub/one.safetensors"},
              (place, "'../one.safetensors'"), (place, "'/etc/passwd'"), (place, "''"), (place, "'..'"), (place, "\\u0000"),
              (place, "'sub/one")),
        index("missing shard", {**where, first: "three.safetensors"}, (place, "'three.safetensors'", "is missing")),
        index("missing tensor", {**where, "ghost": "one.safetensors"}, ("one.safetensors", "'ghost'")),
        index("other shard", {**where, first: "two.safetensors"}, (first, "should be in 'two.safetensors'"),
              ("two.safetensors", first)),
        index("not named", {name: shard for name, shard in where.items() if name != first},
              ("one.safetensors", first, "not named")),
        index("lost shard", where, (place, "'one.safetensors'", "is missing"), one=None),
        index("cut shard", where, ("two.safetensors",), two=b"\x10"),
        index("out", where, ("one.safetensors", "leads out"), one=link("/etc/passwd")),
        index("pipe", where, ("two.safetensors", "regular file"), two=pipe),
        index("index as shard", {first: place}, (place,)),
        index("many", b'{"weight_map": {' + b",".join(b'"%d":"%d"' % (i, i) for i in range(1_000_000)) + b"}}", (place,)),
    ]


def tokenizers():
    """Rows of broken tokenizers; the class takes over the whole tokenizer.json."""
    file = "tokenizer/tokenizer.json"

    def inside(name, key, value, *words):
        """Sets the value at a path of keys."""
        def change(old):
            root = at_key = json.loads(old)
            for step in key[:-1]:
                at_key = at_key[step]
            at_key[key[-1]] = value
            return json.dumps(root).encode()
        fast = edit(tokenizer=["transformers", "PreTrainedTokenizerFast"])
        return name, {file: change, "model_index.json": fast}, (file, *words)

    charsmap = {"type": "Precompiled"}
    return [
        ("cut", {file: lambda old: old[:-9]}, (file, "not valid JSON")), ("deep", {file: b"[" * DEEP}, (file, "64 levels")),
        ("list", {file: b"[]"}, (file,)),
        ("empty", {file: b""}, ("tokenizer",)), ("gone", {file: None}, ("tokenizer", "tokenizer.json")),
        ("pipe", {file: pipe}, (file, "regular file")),
        ("out", {file: link("/etc/passwd")}, (file, "leads out")),
        ("lists", {file: b'{"added_tokens": [' + b"[]," * 10_000_000 + b"[]]}"}, (file,)),
        ("config", {"tokenizer/tokenizer_config.json": b"[1"}, ("tokenizer_config.json", "not valid JSON")),
        ("config deep", {"tokenizer/tokenizer_config.json": b"[" * DEEP}, ("tokenizer_config.json", "64 levels")),
        inside("no vocabulary", ("model", "vocab"), [], "vocab"),
        inside("vocabulary", ("model", "vocab"), {"a": 1}, "vocab"),
        inside("entry", ("model", "vocab", 0), ["a"], "vocab"), inside("score", ("model", "vocab", 0), ["a", "b"], "vocab"),
        inside("type", ("model", "type"), "BPE", "BPE"), inside("unk", ("model", "unk_id"), 1 << 40, "unk_id"),
        inside("unk -1", ("model", "unk_id"), -1, "unk_id"),
        inside("unk beyond", ("model", "unk_id"), 1000, "unk_id"), inside("field", ("model", "dropout"), 0.1, "dropout"),
        inside("model", ("model",), 3),
        inside("version", ("version",), "2.0", "version"), inside("tokens", ("added_tokens",), {}, "added_tokens"),
        inside("token", ("added_tokens",), [3]),
        inside("token id", ("added_tokens", 0, "id"), -1), inside("token id beyond", ("added_tokens", 0, "id"), 1 << 62),
        inside("content", ("added_tokens", 0, "content"), 3),
        inside("normalizer", ("normalizer",), {"type": "Magic"}, "Magic"), inside("normalizer 3", ("normalizer",), 3),
        inside("charsmap", ("normalizer",), {**charsmap, "precompiled_charsmap": 3}),
        inside("base64", ("normalizer",), {**charsmap, "precompiled_charsmap": "?!"}),
        inside("short", ("normalizer",), {**charsmap, "precompiled_charsmap": "AA=="}),
        inside("size", ("normalizer",), {**charsmap, "precompiled_charsmap": base64.b64encode(b"\xff" * 64).decode()}),
        inside("pre_tokenizer", ("pre_tokenizer",), {"type": "Split", "pattern": {"Regex": "(a+)+$"}}, "Split"),
        inside("template", ("post_processor",), {"type": "X"}, "'X'"),
        inside("template single", ("post_processor", "single"), 3),
        inside("template ids", ("post_processor", "special_tokens"), {}),
        inside("nested", ("normalizer",), {"type": "Sequence",
                                           "normalizers": [{"type": "Sequence", "normalizers": []}] * 50 + [3]}),
    ]


def case_weights_shards_and_tokenizers(folder, model):
    """One broken part of each kind at a time: all of them are told."""
    weights = [weight_files(file) for file in ("vae/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors")]
    columns = [shards(folder, model), weights[0][::2], weights[1][1::2], tokenizers()]
    table = []
    for rows in itertools.zip_longest(*columns):
        rows = [row for row in rows if row]
        changes = {path: change for row in rows for path, change in row[1].items()}
        table.append((" + ".join(row[0] for row in rows), changes, *(wanted for row in rows for wanted in row[2:])))
    check_all(folder, model, table)


def case_spiece_model(folder, model):
    file, whole = "tokenizer/spiece.model", (SHAPES / "tokenizer" / "spiece.model").read_bytes()
    wide = b"\x0a" + b"\xff" * 4 + b"\x0f" + bytes(9)  # a piece of 4 GB
    table = [("empty", b""), ("garbage", bytes(range(256)) * 40), ("zeros", bytes(4096)), ("wide", wide),
             ("number", b"\x08" + b"\xff" * 20), ("no pieces", b"\x12\x00"),
             *((f"cut to {size}", whole[:size]) for size in (1, 100, len(whole) // 2, len(whole) - 1))]
    each(table, lambda name, content: check_model(folder, SHAPES, {"tokenizer/tokenizer.json": None, file: content},
                                                  ("tokenizer",)))
    check_model(folder, SHAPES, {"tokenizer/tokenizer.json": None, file: pipe}, ("spiece.model", "regular file"))


if __name__ == "__main__":
    sys.exit(main(__name__))
