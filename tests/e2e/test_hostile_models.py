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

from e2e.support import expect, main
from e2e.support.hostile import accepted, directory, each, link, pipe, refused, variant

WEIGHTS = "transformer/diffusion_pytorch_model.safetensors"
SHAPES = pathlib.Path(__file__).resolve().parents[2] / "datasets" / "shapes" / "checkpoint"
DEEP = 100_000


LONGEST = 1000  # bytes of a line that quotes something of any length


def put_job(folder, model, changes):
    """job.yaml in `folder`, for this variant of the model."""
    variant(model, folder / "model", changes)
    (folder / "job.yaml").write_text("model: model\nprompts: [a cat]\noutput: out\ndevice: cpu\n"
                                     "sampling: {height: 32, width: 32, "
                                     "num_frames: 1, num_inference_steps: 1, max_sequence_length: 16}\n")


def check_model(folder, model, changes, *wanted, commands=("run",), **how):
    """A run of a job with this variant of the model is refused in these words, and makes no output folder."""
    put_job(folder, model, changes)
    for command in commands:
        ended = refused([command, "job.yaml"], wanted, folder, **how)
        longest = max(map(len, ended.text.splitlines()))
        expect(longest <= LONGEST, f"{command}: a line of {longest} bytes: {ended}")


def check_all(folder, model, table):
    """`run` refuses every row; the first one `plan` as well, which looks at a model in the same way."""
    first = table[0][0]
    each(table, lambda name, changes, *wanted: check_model(folder, model, changes, *wanted,
                                                           commands=("run", "plan") if name == first else ("run",)))


def edit(**fields):
    """Sets fields of a JSON file; ... takes one away."""
    def change(old):
        value = {**json.loads(old), **fields}
        return json.dumps({key: field for key, field in value.items() if field is not ...}).encode()
    return change


def case_model_index(folder, model):
    index, place = "model_index.json", "model_index.json"
    check_all(folder, model, [
        ("cut", {index: lambda old: old[:-3]}, (f"{place}:", "not valid JSON", "expected ']'")),
        ("empty", {index: b""}, (f"{place}:1:1: not valid JSON",)),
        ("list", {index: b"[]"}, (f"{place}: must be a JSON object, found array",)),
        ("bytes", {index: b"\xff\xfe{}"}, (f"{place}:1:1: not valid JSON", "invalid literal")),
        ("twice", {index: b'{"a": 1,\n"a": 2}'}, (f"{place}:2:", "the key 'a' is there twice")),
        ("deep", {index: b'{"a": ' + b"[" * DEEP}, (f"{place}:1:", "64 levels")),
        ("huge", {index: b" " * (17 << 20)}, (f"{place} has {17 << 20} bytes; at most {16 << 20} are read",)),
        ("lists", {index: b'{"a": [' + b"[]," * 5_000_000 + b"[]]}"}, (f"{place}:1:", "more than 5000000 values")),
        ("gone", {index: None}, ("model", "has no model_index.json")),
        ("pipe", {index: pipe}, (f"cannot read model/{place}: it is not a regular file",)),
        ("folder", {index: directory}, (f"cannot read model/{place}: it is not a regular file",)),
        ("device", {index: link("/dev/zero")}, (place, "leads out of the model folder, to /dev/zero", "put the file itself there")),
        ("out", {index: link(str(model / index))}, (place, f"leads out of the model folder, to {model / index}")),
        ("loop", {index: link(index)}, (f"cannot read model/{place}: Too many levels of symbolic links",)),
        ("entries",
         {index: edit(vae=["diffusers"], transformer=[1, 2], gone=["diffusers", "X"], **{"../up": ["a", "b"]},
                      boundary_ratio="x",
                                 _class_name=3)},
         (f"{place}: 'vae': needs [library, class], found 1 values",),
         (f"{place}: 'transformer': needs two texts [library, class], found [number, number]",),
         (f"{place}: component 'gone' ('X'): the folder model/gone is missing",),
         (f"{place}: '../up': a component's key must be the name of a folder",),
         (f"{place}: needs the pipeline's name as text in '_class_name'",)),
        ("parts gone", {"vae": None, "tokenizer": None, "scheduler": None}, *(
            (f"{place}: component '{key}'", f"the folder model/{key} is missing") for key in ("vae", "tokenizer", "scheduler"))),
        ("a part is a file", {"vae": b"x"}, (f"{place}: component 'vae': model/vae is not a folder",)),
        ("a part leads out", {"vae": link(str(model / "vae"))},
         (f"{place}: component 'vae': model/vae is a link that leads out of the model folder",)),
        ("no entry", {index: edit(vae=..., scheduler=[None, None])}, *(
            (f"{place}: has no component '{key}' (it has text_encoder, tokenizer, transformer)",) for key in ("vae", "scheduler"))),
        ("other classes",
         {index: edit(vae=["diffusers", "AutoencoderKL"], transformer=["diffusers", "WanTransformer3D"],
                      text_encoder=["transformers", "CLIPTextModel"], scheduler=["diffusers", "DDIMScheduler"],
                      tokenizer=["transformers", "T5TokenizerFats"])},
         (f"{place}: 'vae': 'AutoencoderKL' is no VAE", "can run AutoencoderKLWan)"),
         (f"{place}: 'transformer': 'WanTransformer3D' is no transformer", "did you mean 'WanTransformer3DModel'?"),
         (f"{place}: 'text_encoder': 'CLIPTextModel' is no text encoder", "UMT5EncoderModel)"),
         (f"{place}: 'scheduler': 'DDIMScheduler' is no scheduler", "UniPCMultistepScheduler)"),
         (f"{place}: 'tokenizer': 'T5TokenizerFats' is no tokenizer", "did you mean 'T5TokenizerFast'?")),
        ("no scheduler", {index: edit(scheduler=["diffusers", "Euler"])},
         (f"{place}: 'scheduler': 'Euler' is no scheduler", "FlowMatchEulerDiscreteScheduler")),
        ("pipeline", {index: edit(_class_name="WanPipelin")},
         (f"{place}: _class_name", "'WanPipelin' is no pipeline", "did you mean 'WanPipeline'?")),
        ("fields", {index: edit(expand_timesteps="yes", boundary_ratio="half", transformer_2=3)},
         (f'{place}: expand_timesteps: expected true or false, found "yes"',),
         (f'{place}: boundary_ratio: expected a number or null, found "half"',),
         (f"{place}: transformer_2: expected [library, class] or null, found number",)),
    ])


def case_configs(folder, model):
    parts = {"transformer/config.json": "num_attention_heads", "vae/config.json": "z_dim",
             "text_encoder/config.json": "d_model",
             "scheduler/scheduler_config.json": "shift"}

    def everywhere(name, change, *words):
        return name, {file: change(field) if change else None for file, field in parts.items()}, *(
            (file, *(word.format(field) for word in words)) for file, field in parts.items())

    def numbers(file, **fields):
        return file, {file: edit(**fields)}, *((f"model/{file}: {key}: ",) for key in fields)

    check_all(folder, model, [
        everywhere("gone", None, "is missing"), everywhere("list", lambda _: b"[]", "must be a JSON object"),
        everywhere("deep", lambda _: b'{"a": ' + b"[" * DEEP, "64 levels"),
        everywhere("cut", lambda _: lambda old: old[:-3], "not valid JSON"),
        everywhere("unknown", lambda field: edit(colour=3), "unknown field 'colour'"),
        everywhere("misspelt", lambda field: lambda old: old.replace(f'"{field}"'.encode(), f'"{field}s"'.encode()),
                   "unknown field '{0}s'", "did you mean '{0}'?"),
        everywhere("text", lambda field: edit(**{field: "many"}), "{0}: needs a", 'found string "many"'),
        everywhere("[1]", lambda field: edit(**{field: [1]}), "{0}: needs a", "found array [1]"),
        everywhere("null", lambda field: edit(**{field: None}), "{0}: needs a", "found null"),
        everywhere("below 0", lambda field: edit(**{field: -1}), "{0}: must lie between", "is -1"),
        everywhere("zero", lambda field: edit(**{field: 0}), "{0}: must lie between", "is 0"),
        everywhere("beyond", lambda field: edit(**{field: 1 << 63}), "{0}: ", "22337203685477"),
        everywhere("1e999", lambda field: lambda old: old.replace(f'"{field}": '.encode(),
            f'"{field}": 1e999, "x": '.encode()), "not valid JSON", "number overflow parsing '1e999'"),
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
                         "vae/config.json": edit(num_res_blocks=1 << 40)},
         ("transformer/config.json: num_layers: must lie between", "1099511627776"),
         ("text_encoder/config.json: num_layers: must lie between", "4.611686018427388e+18"),
         ("vae/config.json: num_res_blocks: must lie between", "1099511627776")),
        ("wide", {"transformer/config.json": edit(ffn_dim=1 << 50), "text_encoder/config.json": edit(d_ff=1 << 61),
                  "vae/config.json": edit(base_dim=1 << 40)},
         ("transformer/config.json: ffn_dim: must lie between", "1.125899906842624e+15"),
         ("text_encoder/config.json: d_ff: must lie between", "2.305843009213694e+18"),
         ("vae/config.json: base_dim: must lie between", "1099511627776")),
        *(numbers("vae/config.json", latents_std=[value] * 8, latents_mean=[-value] * 8)
          for value in (1e300, 1e39, 1e12)),
        *((f"std {value}", {"vae/config.json": edit(latents_std=[1] * 7 + [value])},
           ("vae/config.json: latents_std: must lie between", f"is {value}")) for value in (1e-60, 1e-39, 0, -1)),
        ("many steps", {"scheduler/scheduler_config.json": edit(num_train_timesteps=1 << 50)},
         ("scheduler_config.json: num_train_timesteps: must lie between", "1.125899906842624e+15")),
        ("classes", {"vae/config.json": edit(_class_name="AutoencoderKL"), "transformer/config.json": edit(_class_name=3)},
         *(
            (f"model/{part}/config.json: is of class {found}, but model/model_index.json says that '{part}' is '{wanted}'",)
            for part, found, wanted in (("vae", "'AutoencoderKL'", "AutoencoderKLWan"),
                                        ("transformer", "number", "WanTransformer3DModel")))),
    ])


def case_config_of_another_model(folder, model):
    """A text encoder's config has no _class_name; it tells its kind by model_type and architectures."""
    file, place = "text_encoder/config.json", "model/text_encoder/config.json"
    index, t5 = "model_index.json", ["transformers", "T5EncoderModel"]
    said = ("model/model_index.json", "'text_encoder'")
    check_all(folder, model, [
        ("T5", {file: edit(model_type="t5", architectures=["T5EncoderModel"])},
         (f"{place}: model_type: is 't5'", *said, "'UMT5EncoderModel'", "needs 'umt5'"),
         (f"{place}: architectures: names 'T5EncoderModel'", *said, "'UMT5EncoderModel'", "begins with 'UMT5'")),
        ("CLIP", {file: json.dumps({"architectures": ["CLIPTextModel"], "model_type": "clip_text_model", "hidden_size": 64,
                                    "num_attention_heads": 4}).encode()},
         (f"{place}: model_type: is 'clip_text_model'", *said, "needs 'umt5'"),
         (f"{place}: architectures: names 'CLIPTextModel'", *said, "begins with 'UMT5'")),
        ("UMT5 for T5", {index: edit(text_encoder=t5)},
         (f"{place}: model_type: is 'umt5'", *said, "'T5EncoderModel'", "needs 't5'"),
         (f"{place}: architectures: names 'UMT5EncoderModel'", *said, "begins with 'T5'")),
        ("types", {file: edit(model_type=["umt5"], architectures="UMT5EncoderModel")},
         (f"{place}: model_type: must be a text", "array"), (f"{place}: architectures: must be a list of texts", "string")),
        ("entries", {file: edit(architectures=[3])}, (f"{place}: architectures: must be a list of texts", "number")),
    ])
    # diffusers goes by model_index.json where a config names no class, and so do whole models' configs for encoders.
    each([("whole model", {file: edit(architectures=["UMT5ForConditionalGeneration"])}),
          ("no class", {"transformer/config.json": edit(_class_name=...), "vae/config.json": edit(_class_name=...),
                        file: edit(model_type=..., architectures=...)}),
          ("null", {file: edit(architectures=None)})],
         lambda name, changes: (put_job(folder, model, changes), accepted(["plan", "job.yaml"], [], folder)))


def case_config_lacks_a_field(folder, model):
    """Shapes then disagree, since a default was taken: which, and where, is told beside the tensors."""
    def lacks(part, key, *more):
        file = f"{part}/config.json"
        return f"{part} {key}", {file: edit(**{key: ...})}, (f"model/{file} lacks", key, "default"), *more

    check_all(folder, model, [
        lacks("transformer", "ffn_dim", ("ffn.net.0.proj.weight", "the config asks for [13824")),
        lacks("transformer", "num_layers", ("'blocks.2.norm2.weight'", "is missing")),
        lacks("transformer", "text_dim", ("text_embedder", "the config asks for")),
        ("vae z_dim", {"vae/config.json": edit(z_dim=...)},
         ("model/vae/config.json: latents_mean: needs z_dim = 16 numbers, has 8", "16 is z_dim's default: the file lacks it")),
        lacks("vae", "base_dim", ("conv_in", "the config asks for")),
        lacks("text_encoder", "d_ff", ("DenseReluDense", "the config asks for")),
        lacks("text_encoder", "num_layers", ("'encoder.block.7.", "is missing")),
    ])
    # Where nothing is lacking, nothing is said of defaults.
    put_job(folder, model, {"transformer/config.json": edit(ffn_dim=40)})
    ended = refused(["run", "job.yaml"], [("ffn", "the config asks for [40")], folder)
    expect("lacks" not in ended.text or "ffn_dim" not in ended.text.split("lacks")[1], str(ended))


def case_long_words(folder, model):
    """What a file quotes at any length is told shortened."""
    word = "w" * 1_000_000
    cut = ("www...www", "1000000 bytes")
    index = "model_index.json"
    configs = ("transformer/config.json", "vae/config.json", "text_encoder/config.json", "scheduler/scheduler_config.json")
    long, fast = [word], edit(tokenizer=["transformers", "PreTrainedTokenizerFast"])
    check_all(folder, model, [
        ("keys", {file: edit(**{word: word}) for file in configs}, *((file, "unknown field", *cut) for file in configs)),
        ("texts", {"text_encoder/config.json": edit(feed_forward_proj=word, dense_act_fn=...),
                   "scheduler/scheduler_config.json": edit(time_shift_type=word)},
         ("text_encoder/config.json", "feed_forward_proj", *cut), ("scheduler_config.json", "time_shift_type", *cut)),
        ("dashes", {"text_encoder/config.json": edit(feed_forward_proj=word + "-", dense_act_fn=...)},
         ("text_encoder/config.json", "feed_forward_proj", "1000001 bytes")),
        ("model types", {"text_encoder/config.json": edit(model_type=word, architectures=long)},
         ("model_type", *cut), ("architectures", *cut)),
        ("own classes", {file: edit(_class_name=word) for file in configs[:2]}, *((file, *cut) for file in configs[:2])),
        ("classes", {index: edit(vae=["diffusers", word], scheduler=["diffusers", word], tokenizer=["transformers", word])},
         *((index, f"'{key}'", *cut) for key in ("vae", "scheduler", "tokenizer"))),
        ("pipeline", {index: edit(_class_name=word)}, (index, "_class_name", *cut)),
        ("components", {index: edit(**{word: ["diffusers", "X"]})}, (index, *cut)),
        ("settings", {index: edit(expand_timesteps=word, boundary_ratio=word)},
         (index, "expand_timesteps", "www..."), (index, "boundary_ratio", "www...")),
        ("tokenizer keys", {index: fast, "tokenizer/tokenizer.json": edit(**{word: 3})}, ("tokenizer.json", *cut)),
        ("tokenizer texts", {index: fast, "tokenizer/tokenizer.json": edit(normalizer={"type": word}, post_processor=None)},
         ("tokenizer.json", "normalizer", *cut)),
    ])


def stored(header, data=b"", length=None):
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def tensor(shape, begin, end, dtype="F32", **more):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end], **more}


def weight_files(file):
    """Rows of broken files of weights."""
    four = bytes(4)

    def cut(length, *words):
        return f"cut to {length}", lambda old: old[:length], words

    def header(old):
        return 8 + struct.unpack("<Q", old[:8])[0]

    rows = [
        cut(0, "is empty (0 bytes)"), cut(1, "has 1 bytes and is no safetensors file"),
        cut(7, "has 7 bytes and is no safetensors file"), cut(8, "only 0 follow: the file is cut short"),
        cut(9, "only 1 follow: the file is cut short"), cut(-1, "do not lie in the file's", "is the file cut short?"),
        ("header alone", lambda old: old[:header(old)], ("do not lie in the file's 0 bytes of data",)),
        ("half a header", lambda old: old[:header(old) - 1], ("cut short",)),
        ("longer", lambda old: old + b"\0", ("belongs to no tensor",)),
        ("text", b"not tensors at all", ("no safetensors file",)),
        ("length 2^64", struct.pack("<Q", (1 << 64) - 1) + b"{}", ("format allows",)),
        ("length 2^63", struct.pack("<Q", 1 << 63) + b"{}", ("format allows",)),
        ("length 99 MB", struct.pack("<Q", 99_000_000) + b"{}", ("cut short",)),
        ("depth", stored(b'{"a":' * DEEP), ("unusable",)),
        ("lists", stored(b'{"a":{"shape":' + b"[" * DEEP), ("unusable",)), ("list", stored(b"[]"), ("must begin with",)),
        ("open", stored(b'{"a": {'), ("not valid JSON",)), ("bytes", stored(b'{"\xff": {}}'), ("not valid JSON",)),
        ("overlap", stored({"a": tensor([1], 0, 4), "b": tensor([1], 2, 6)}, bytes(6)), ("overlap",)),
        ("gap", stored({"a": tensor([1], 0, 4), "b": tensor([1], 8, 12)}, bytes(12)), ("belong to no tensor",)),
        ("outside", stored({"a": tensor([2], 0, 8)}, four), ("'a'", "do not lie in")),
        ("backwards", stored({"a": tensor([1], 4, 0)}, four), ("do not lie in",)),
        ("negative", stored({"a": tensor([1], -4, 0)}, four), ("'a'", "negative number")),
        ("half", stored({"a": tensor([1], 0.5, 4)}, four), ("'a'", "data_offsets must be", "found the number '0.5'")),
        ("beyond", stored({"a": tensor([1], 0, 1 << 64)}, four), ("'a'", "data_offsets must be", "18446744073709551616")),
        ("three", stored({"a": {**tensor([1], 0, 4), "data_offsets": [0, 4, 4]}}, four),
         ("'a'", "data_offsets has more than 2 numbers")),
        ("twice", stored(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{}}', four), ("'a'", "twice")),
        ("product", stored({"a": tensor([1 << 32, 1 << 32], 0, 4)}, four), ("more elements than can be counted",)),
        ("product 0", stored({"a": tensor([1 << 62, 1 << 62, 0], 0, 0)}), ("more elements than can be counted",)),
        ("side", stored({"a": tensor([-1], 0, 4)}, four), ("'a'", "negative number")),
        ("side 2^63", stored({"a": tensor([1 << 63], 0, 4)}, four), ("too large",)),
        ("sides", stored({"a": tensor([1] * 100, 0, 4)}, four), ("more than 32",)),
        ("size", stored({"a": tensor([2], 0, 4)}, four), ("'a'", "takes 8 bytes, data_offsets [0, 4] hold 4")),
        ("dtype", stored({"a": tensor([1], 0, 4, "F33")}, four), ("'F33'",)),
        ("F8", stored({"a": tensor([4], 0, 4, "F8_E4M3")}, four), ("'a'", "F8_E4M3", "take a checkpoint in BF16, F16 or F32")),
        ("no dtype", stored({"a": {"shape": [1], "data_offsets": [0, 4]}}, four), ("'a' has no dtype",)),
        ("field", stored({"a": tensor([1], 0, 4, x=1)}, four), ("'a' has the unknown field 'x'",)),
        ("metadata", stored({"__metadata__": {"a": 1}}), ("__metadata__ must map text to text", "'a' is the number 1")),
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
        changed("all at once", (f"'{names[0]}'", WEIGHTS, "has shape [3, 1], the config asks for [24]"),
                (f"'{names[1]}'", WEIGHTS, "is stored as I32, the model needs floating-point numbers"),
                ("'stray' of shape [2]", WEIGHTS, "is not a part of the model"),
                **{names[0]: np.ones((3, 1), np.float32), names[1]: tensors[names[1]].astype(np.int32),
                   "stray": np.ones(2, np.float32)}),
        ("nothing", {WEIGHTS: stored({})}, ("transformer (model/transformer): tensor 'proj_out.weight' of shape", "is missing")),
        ("gone", {WEIGHTS: None, "transformer/model.bin": b"x"},
         ("model/transformer holds no weights", "there is model.bin: convert or rename it")),
        ("many", {WEIGHTS: stored({str(i): tensor([0], 0, 0) for i in range(500_000)})},
         ("tensor 'proj_out.weight' of shape", "is missing"), ("'0' of shape [0]", WEIGHTS, "is not a part of the model")),
        ("much metadata",
         {WEIGHTS: stored(b'{"__metadata__":{' + b",".join(b'"%d":""' % i for i in range(3_000_000)) + b"}}")},
         ("transformer (model/transformer): tensor 'proj_out.weight' of shape", "is missing")),
        ("long name", {WEIGHTS: stored(b'{"' + b"n" * 50_000_000 + b'":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}')},
         ("transformer", "tensor 'nnn", "(50000000 bytes)' of shape [0]", "is not a part of the model")),
        ("two sets", {"transformer/model.safetensors": b"x"},
         ("model/transformer holds two sets of weights, diffusion_pytorch_model.safetensors and model.safetensors",)),
        changed("booleans", (f"'{names[2]}'", WEIGHTS, "is stored as BOOL, the model needs floating-point numbers"),
                **{names[2]: tensors[names[2]] > 0}),
    ])
    path = folder / "wide.safetensors"
    save_file({name: value.astype(np.float64) for name, value in tensors.items()}, path)
    put_job(folder, model, {WEIGHTS: path.read_bytes()})
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
        index("cut", b'{"weight_map": {', (place, "not valid JSON")), index("list", b"[]", (place, "needs an object 'weight_map'")),
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
        index("cut shard", where, ("two.safetensors has 1 bytes and is no safetensors file",), two=b"\x10"),
        index("out", where, ("one.safetensors", "leads out"), one=link("/etc/passwd")),
        index("pipe", where, ("two.safetensors", "regular file"), two=pipe),
        index("index as shard", {first: place}, (place, "format allows", "no safetensors file")),
        index("many", b'{"weight_map": {' + b",".join(b'"%d":"%d"' % (i, i) for i in range(1_000_000)) + b"}}",
              (place, "the shard '0' is missing in model/transformer"), (place, "and 999980 missing shards more")),
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
        ("list", {file: b"[]"}, (file, "must be an object, not {0 items}")),
        ("empty", {file: b""}, ("model/tokenizer: has neither tokenizer.json nor spiece.model",)),
        ("gone", {file: None}, ("model/tokenizer: has neither tokenizer.json nor spiece.model",)),
        ("pipe", {file: pipe}, (file, "regular file")),
        ("out", {file: link("/etc/passwd")}, (file, "leads out")),
        ("lists", {file: b'{"added_tokens": [' + b"[]," * 10_000_000 + b"[]]}"}, (file, "more than 5000000 values")),
        ("config", {"tokenizer/tokenizer_config.json": b"[1"}, ("tokenizer_config.json", "not valid JSON")),
        ("config deep", {"tokenizer/tokenizer_config.json": b"[" * DEEP}, ("tokenizer_config.json", "64 levels")),
        inside("no vocabulary", ("model", "vocab"), [], "in a vocabulary of 0 pieces"),
        inside("vocabulary", ("model", "vocab"), {"a": 1}, "vocab must be a list of [piece, score]"),
        inside("entry", ("model", "vocab", 0), ["a"], 'vocab: entry 0 is no [piece, score]: ["a"]'),
        inside("score", ("model", "vocab", 0), ["a", "b"], 'vocab: entry 0 is no [piece, score]: ["a","b"]'),
        inside("type", ("model", "type"), "BPE", "the model 'BPE' is not supported"),
        inside("unk", ("model", "unk_id"), 1 << 40, "unk_id must be a whole number", "1099511627776"),
        inside("unk -1", ("model", "unk_id"), -1, "unk_id must be a whole number from 0 on, not -1"),
        inside("unk beyond", ("model", "unk_id"), 1000, "unk_id is 1000 in a vocabulary of"),
        inside("field", ("model", "dropout"), 0.1, "'dropout' (0.1) is not supported here; known are type"),
        inside("model", ("model",), 3, "there is 3 where an object with 'vocab' belongs"),
        inside("version", ("version",), "2.0", 'version is "2.0", not "1.0"'),
        inside("tokens", ("added_tokens",), {}, "added_tokens must be a list"),
        inside("token", ("added_tokens",), [3], "there is 3 where an object with id, content"),
        inside("token id", ("added_tokens", 0, "id"), -1, "id must be a whole number from 0 on, not -1"),
        inside("token id beyond", ("added_tokens", 0, "id"), 1 << 62,
               "id must be a whole number from 0 on, not 4611686018427387904"),
        inside("content", ("added_tokens", 0, "content"), 3, "content must be text, not 3"),
        inside("normalizer", ("normalizer",), {"type": "Magic"}, "the normalizer 'Magic' is not supported", "Precompiled"),
        inside("normalizer 3", ("normalizer",), 3, "there is 3 where an object with 'type' belongs"),
        inside("charsmap", ("normalizer",), {**charsmap, "precompiled_charsmap": 3}, "precompiled_charsmap must be text, not 3"),
        inside("base64", ("normalizer",), {**charsmap, "precompiled_charsmap": "?!"}, "character map is not base64"),
        inside("short", ("normalizer",), {**charsmap, "precompiled_charsmap": "AA=="}, "character map of 1 bytes is damaged"),
        inside("size", ("normalizer",), {**charsmap, "precompiled_charsmap": base64.b64encode(b"\xff" * 64).decode()},
               "character map of 64 bytes is damaged"),
        inside("pre_tokenizer", ("pre_tokenizer",), {"type": "Split", "pattern": {"Regex": "(a+)+$"}},
               "the pre-tokenizer 'Split' is not supported", "Metaspace"),
        inside("template", ("post_processor",), {"type": "X"}, "the post-processor 'X' is not supported"),
        inside("template single", ("post_processor", "single"), 3, "there is 3 where an object with 'SpecialToken' belongs"),
        inside("template ids", ("post_processor", "special_tokens"), {}, "'</s>' is missing"),
        inside("nested", ("normalizer",), {"type": "Sequence",
                                           "normalizers": [{"type": "Sequence", "normalizers": []}] * 50 + [3]},
               "there is 3 where an object with 'type' belongs"),
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
    no_field, past = "field number 0 or too large", "a field goes past the end"
    table = [("garbage", bytes(range(256)) * 40, no_field), ("zeros", bytes(4096), no_field), ("wide", wide, past),
             ("number", b"\x08" + b"\xff" * 20, "a number is too long"), ("no pieces", b"\x12\x00", "it has no pieces"),
             *((f"cut to {size}", whole[:size], why) for size, why in
               ((1, "cut off"), (100, "cut off"), (len(whole) // 2, past), (len(whole) - 1, past)))]
    each(table, lambda name, content, why: check_model(folder, SHAPES, {"tokenizer/tokenizer.json": None, file: content},
                                                       (f"model/{file}: no SentencePiece model ({why})",)))
    check_model(folder, SHAPES, {"tokenizer/tokenizer.json": None, file: b""},
                ("model/tokenizer: has neither tokenizer.json nor spiece.model",))
    check_model(folder, SHAPES, {"tokenizer/tokenizer.json": None, file: pipe}, ("spiece.model", "regular file"))


if __name__ == "__main__":
    sys.exit(main(__name__))
