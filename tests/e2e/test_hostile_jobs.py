#!/usr/bin/env python3
"""Wrong job files and prompts: each mistake told with file, line, key and the nearest known one, all of them at once, in
time, with little memory, and before anything is written."""
import json
import os
import shutil
import sys

from e2e.support import expect, main, records
from e2e.support.hostile import accepted, each, refused

GOOD = """\
job: generate
model: {model}
prompts: prompts.jsonl
output: out
sampling: {{height: 32, width: 32, num_frames: 1, num_inference_steps: 1, max_sequence_length: 16, guidance_scale: 1}}
device: cpu
"""

# Lines of a job file, and what must be said of each (nothing: it is right).
MISTAKES = [
    ("job: generate", None),
    ("prompts: wrong.jsonl", None),
    ("output: out", None),
    ("saev: [video]", "saev: unknown key; did you mean 'save'?"),
    ("height: 3", "did you mean 'sampling.height'?"),
    ("nothing_like_it: 3", "nothing_like_it: unknown key; the keys here are job, model"),
    ("save: [vidoe]", ("save: must be one of video, latents, frames", "did you mean 'video'?")),
    ("video:", None),
    ("  codec: h265", "video.codec: must be h264; found the text 'h265'"),
    ("  crf: 1.5", "video.crf: must be a whole number from 0 to 51; found the number 1.5"),
    ("  container: 3", "video.container: must be mp4; found the number 3"),
    ("  contaner: mp4", "video.contaner: unknown key; did you mean 'container'?"),
    ("sampling:", None),
    ("  hieght: 32", "sampling.hieght: unknown key; did you mean 'height'?"),
    ("  height: 1000000", "sampling.height: must be a whole number from 1 to 16384; found the number 1000000"),
    ("  width: 0", "sampling.width: must be a whole number from 1 to 16384; found the number 0"),
    ("  num_frames: 99999999999999999999", "sampling.num_frames: must be a whole number from 1 to 65536"),
    ("  fps: -1", "sampling.fps: must be a whole number from 1 to 1000; found the number -1"),
    ("  num_inference_steps: 1e9", "sampling.num_inference_steps: must be a whole number"),
    ("  guidance_scale: .nan", "sampling.guidance_scale: must be a number from 0 to 1000; found the number .nan"),
    ("  negative_prompt: [a]", "sampling.negative_prompt: must be a text; found a list"),
    ("  flow_shift: -.inf", "sampling.flow_shift: must be a number from 0.001 to 1000, or null; found the number -.inf"),
    ("  max_sequence_length: 9223372036854775808", "sampling.max_sequence_length: must be a whole number"),
    ("  seed: -1", "sampling.seed: must be a whole number from 0 to 9223372036854775807; found the number -1"),
    ("  samples: 1e999", "sampling.samples: must be a whole number from 1 to 1000000"),
    ("override:", None),
    ("  seed: yes", "override.seed: must be a whole number from 0 to 9223372036854775807; found the text 'yes'"),
    ("  fsp: 1", "override.fsp: unknown key; did you mean 'fps'?"),
    ("parallel:", None),
    ("  dp: 0", "parallel.dp: must be a whole number from 1 to 1048576, or auto; found the number 0"),
    ("  cfg: 3", "parallel.cfg: must be a whole number from 1 to 2, or auto; found the number 3"),
    ("  sp: {a: 1}", "parallel.sp: must be a whole number from 1 to 1048576, or auto; found a mapping"),
    ("  rings: 1", "parallel.rings: unknown key; did you mean 'ring'?"),
    ("precision:", None),
    ("  vae: float8", "precision.vae: must be one of auto, float32, bfloat16, float16; found the text 'float8'"),
    ("  transfomer: float32", "precision.transfomer: unknown key; did you mean 'transformer'?"),
    ("attention: xformers", "attention: must be one of auto, flash, reference, sdpa; found the text 'xformers'"),
    ("device: gpu", "device: must be one of auto, cpu, cuda; found the text 'gpu'"),
    ("regression: {min_ssim: 2, reference: x}", "regression.min_ssim: must be a number from 0 to 1; found the number 2"),
    ("numerics: oficial", ("numerics: must be one of diffusers, official, fastvideo", "did you mean 'official'?")),
    ("retries: -1", "retries: must be a whole number from 0 to 1000; found the number -1"),
    ("reject: [blak]", ("reject: must be one of black, noise", "did you mean 'black'?")),
    ("metrics: [a]", "metrics: must be a text; found a list"),
    ("train: 3", "train: must be a mapping"),
    ("cluster:", None),
    ("  partion: gpu", "cluster.partion: unknown key; did you mean 'partition'?"),
    ("  nodes: .nan", "cluster.nodes: must be a whole number from 1 to 100000; found the number .nan"),
    ("  gpus_per_node: -1", "cluster.gpus_per_node: must be a whole number from 0 to 64; found the number -1"),
    ("  ranks_per_node: .inf", "cluster.ranks_per_node: must be a whole number from 1 to 4096, or auto"),
    ("  array: 1e9", "cluster.array: must be a whole number from 1 to 10000; found the number 1e9"),
    ("  warning_seconds: 99999999999999999999", "cluster.warning_seconds: must be a whole number from 10 to 65535"),
    ("  cpus_per_rank: 1.5", "cluster.cpus_per_rank: must be a whole number from 0 to 4096; found the number 1.5"),
    ("  launcher: srum", ("cluster.launcher: must be one of mpirun, srun, srun:none", "did you mean 'srun'?")),
    ("  requeue: yes", "cluster.requeue: must be one of on, off; found the text 'yes'"),
    ("partition: gpu", "partition: unknown key; did you mean 'cluster.partition'?"),
    ("dataset:", None),
    ("  shard_clip: 3", "dataset.shard_clip: unknown key; did you mean 'shard_clips'?"),
    ("  shard_clips: .nan", "dataset.shard_clips: must be a whole number from 1 to 100000; found the number .nan"),
    ("  compression: -1", "dataset.compression: must be a whole number from 0 to 9; found the number -1"),
    ("  pixels: vidoe", ("dataset.pixels: must be one of video, frames, none", "did you mean 'video'?")),
    ("preprocess: {shard_clips: 3}", "preprocess.shard_clips: unknown key; preprocess has none"),
    ("checkpoint_seconds: .nan", "checkpoint_seconds: must be a whole number from 0 to 1000000; found the number .nan"),
    ("model: no/such/model", "model: no folder 'no/such/model'"),
]

# Lines of a .jsonl file, and what must be said of each.
LINES = [
    ('{"prompt": "good", "id": "good"}', None),
    ('{"prompt": "a", "id": "../x"}', "id: '../x' is no file name"),
    ('{"prompt": "a", "id": "a/b"}', "id: 'a/b' is no file name"),
    ('{"prompt": "a", "id": "/etc"}', "id: '/etc' is no file name"),
    ('{"prompt": "a", "id": ".."}', "id: '..' begins with a dot"),
    ('{"prompt": "a", "id": ""}', "id: an id cannot be empty"),
    ('{"prompt": "a", "id": "a\\u0000b"}', "id: holds a NUL"),
    ('{"prompt": "a", "id": "a\\nb"}', "id: holds a line break"),
    ('{"prompt": "a", "id": "' + "x" * 300 + '"}', "id: has 300 bytes; at most 200"),
    ('{"prompt": "a", "id": 3}', "id: must be a text (put it in quotes); found the number 3"),
    ('{"prompt": "a", "id": "ü"}', "id: 'ü' is no file name"),
    ('{"prompt": 3}', "prompt: must be a text (put it in quotes); found the number 3"),
    ('{"prompt": null}', "prompt: must be a text"),
    ('{"promt": "a"}', "promt: unknown key; did you mean 'prompt'?"),
    ('{"seed": 1}', "no prompt in this line"),
    ('{"prompt": "a", "prompt": "b"}', "the key 'prompt' is there twice"),
    ('{"prompt": "a", "hieght": 32}', "hieght: unknown key; did you mean 'height'?"),
    ('{"prompt": "a", "height": "32"}', "height: must be a whole number from 1 to 16384; found the text '32'"),
    ('{"prompt": "a", "num_frames": 0}', "num_frames: must be a whole number from 1 to 65536; found the number 0"),
    ('{"prompt": "a", "seed": 1e400}', ("not valid JSON", "1e400")),
    ('{"prompt": "a", "guidance_scale": NaN}', "not valid JSON"),
    ('{"prompt": "a", "negative_prompt": 5}', "negative_prompt: must be a text"),
    ('{"prompt": "a", "image": "i.png"}', "image: no stage of WanPipeline reads this key"),
    ('{"prompt": "a", "flow_shift": {"a": 1}}', "flow_shift: must be a number from 0.001 to 1000, or null; found a mapping"),
    ('{"prompt": "a", "seed": 9223372036854775807, "samples": 2}', "go beyond the largest seed"),
    ('{"prompt": "a"', "not valid JSON"),
    ('{"prompt": "a"} x', "not valid JSON"),
    ('["a"]', "must be an object like"),
    ('"a"', "must be an object like"),
    ('{"prompt": "\\ud800"}', "not valid JSON"),
    (b'{"prompt": "\xff"}', "is not UTF-8"),
    (b'{"prompt": "\x00"}', "holds a NUL byte"),
    ('{"prompt": ' + "[" * 100 + "]" * 100 + "}", "more than 64 levels"),
    ('{"prompt": "a", "id": "good"}', "id: 'good' stands already in"),
]


def as_bytes(line):
    return line if isinstance(line, bytes) else line.encode()


def lined(file, table):
    """Writes the table's lines; what must be said, each with its file and line."""
    file.write_bytes(b"".join(as_bytes(line) + b"\n" for line, _ in table))
    return [(f"{file.name}:{number}:", *([said] if isinstance(said, str) else said))
            for number, (_, said) in enumerate(table, 1) if said]


def good_job(folder, model, text=GOOD):
    (folder / "job.yaml").write_text(text.format(model=model))
    (folder / "prompts.jsonl").write_text('{"prompt": "a cat", "id": "cat"}\n')
    return text.format(model=model)


def case_everything_wrong_at_every_level_is_told_at_once(folder, model):
    good_job(folder, model)
    said = lined(folder / "bad.yaml", MISTAKES) + [("bad.yaml:",
                                                    "regression.reference: unknown key; did you mean 'references'?")]
    said += [("wrong.jsonl:1:", "prompt")]
    (folder / "wrong.jsonl").write_text('{"promt": "a"}\n')
    sets = {"sampling.heigth=3": "sampling.heigth: unknown key; did you mean 'height'?",
            "a\nerror: b=3": "a?error: b: unknown key",
            "smapling.height=3": "smapling: unknown key; did you mean 'sampling'?",
            "sampling.seed=1e30": "sampling.seed: must be a whole number from 0 to 9223372036854775807; found the number 1e30",
            "sampling.width=": "sampling.width: must be a whole number from 1 to 16384; found nothing",
            "sampling.fps={a: 1": "sampling.fps", "video=3": "video: must be a mapping", "retries=\xff": "retries",
            "retries=.nan": "retries: must be a whole number from 0 to 1000; found the number .nan",
            "retries=1e30": "retries: must be a whole number from 0 to 1000; found the number 1e30",
            "checkpoint_seconds=-1": "checkpoint_seconds: must be a whole number from 0 to 1000000; found the number -1",
            "checkpoint_seconds=1e30": "checkpoint_seconds: must be a whole number from 0 to 1000000; found",
            "dataset.compression=.inf": "dataset.compression: must be a whole number from 0 to 9",
            "dataset.shard_clips=0": "dataset.shard_clips: must be a whole number from 1 to 100000; found the number 0",
            "cluster.nodes=-.inf": "cluster.nodes: must be a whole number", "cluster.arrray=1": "did you mean 'array'?"}
    for command in ("plan", "run"):
        refused([command, "bad.yaml", *(word for key in sets for word in ("--set", key))],
                [*said, *(("--set", words) for words in sets.values())], folder)


def case_numbers_and_words_of_the_command_line(folder, model):
    good_job(folder, model)
    wrong = ("x", "nan", "-1", "99999999999999999999")
    plan, run, bench = ["plan", "job.yaml"], ["run", "job.yaml"], ["bench", "--model", model]
    options = [(plan, "--ranks"), (run, "--noise-floor"), (run, "--simulate"), (bench, "--height"), (bench, "--repeat"),
               (["probe", "--model", model, "--component", "tokenizer", "--text", "x", "--out", "o"], "--max-length"),
               (["compare", "x", "--references", "y"], "--min-ssim"), (["bless", "x", "--references", "y"], "--min-ssim")]
    # --noise-floor goes with another kind of job, which must not be what is said here.
    table = [(f"{command[0]} {option}={value!r}", [*command, f"{option}={value}"],
              "number" if option == "--noise-floor" else option)
             for command, option in options for value in wrong]
    table += [(f"with {rule}", [*run, "--simulate", "2", "--with", rule], "--with")
              for rule in ("deaths=nan", "deaths=-1", "spread=1e999", "x=1", "deaths", "deaths=", "=1", "seed=1e30")]
    table += [(f"set {key}", [*plan, "--set", f"{key}=1"], f"--set {key}=1: must be key=value")
              for key in ("..", ".", ".a", "a.", "a..b", "")]
    table += [(f"bench {option}", [*bench, *more, option, place], (option, place, why))
              for place, why in (("none/x", "the folder none does not exist"), (".", "it is a folder"), ("job.yaml/x", "no folder"))
              for more, option in (([], "--json"), (["--calibrate"], "--out"))]
    table += [("calibrate", [*bench, "--calibrate"], ("--calibrate", "job.yaml is no folder", "--out", "RUSHES_CACHE"))]
    each(table, lambda name, arguments, wanted: refused(arguments, [wanted], folder, environment={"RUSHES_CACHE": "job.yaml"}))
    # A device that the job names is told at the job's key.
    (folder / "bad.yaml").write_text((folder / "job.yaml").read_text() + "cluster: {device: h1000}\n")
    refused(["submit", "bad.yaml", "--print"], [("bad.yaml:7: cluster.device: 'h1000'", "did you mean 'h100'?")], folder)


def case_prompt_lines_in_every_format(folder, model):
    good = good_job(folder, model)

    def check(name, content, *wanted):
        (folder / name).write_bytes(as_bytes(content))
        (folder / "bad.yaml").write_text(good.replace("prompts.jsonl", name))
        refused(["plan", "bad.yaml"], wanted, folder)

    said = lined(folder / "lines.jsonl", LINES)
    each([
        ("lines.jsonl", b"".join(as_bytes(line) + b"\n" for line, _ in LINES), *said),
        ("rows.csv", "prompt,id,hieght,seed\ngood,x,,\na,../x,,\na,y,32,\na,z,,-1\na\na,x,,\n\"a\nb\",q,,x\n\"open,c,,\n",
         ("rows.csv:3:", "'../x'"), ("rows.csv:4:", "hieght: unknown key; did you mean 'height'?"),
         ("rows.csv:5:", "seed: must be a whole number from 0 to 9223372036854775807; found the number -1"),
         ("rows.csv:6:", "1 cells; the header has 4"),
         ("rows.csv:7:", "'x' stands already in rows.csv:2"), ("rows.csv:8:", "seed: must be"),
         ("rows.csv:10:", "never closed")),
        ("none.csv", "promt,id\na,b\n", ("none.csv:1:", "no column 'prompt'")),
        ("twice.csv", "prompt,prompt\na,b\n", ("twice.csv:1:", "stands twice")),
        ("wide.csv", "prompt," + ",".join(f"k{i}" for i in range(100_000)) + "\na\n", ("wide.csv:2:", "1 cells")),
        ("bytes.csv", b"prompt\nok\n\xff\n\x00\n", ("bytes.csv:3:", "is not UTF-8"), ("bytes.csv:4:", "holds a NUL")),
        ("list.yaml", "- good\n- {prompt: a, id: ../x}\n- 3\n- {promt: a}\n- {prompt: a, seed: -1}\n- [a]\n- \"a\\0\"\n",
         ("list.yaml:2:", "'../x'"), ("list.yaml:3:", "must be a prompt in quotes"),
         ("list.yaml:4:", "did you mean 'prompt'?"),
         ("list.yaml:5:", "seed: must be"), ("list.yaml:6:", "found a list"), ("list.yaml:7:", "holds a NUL")),
        ("map.yaml", "prompt: a\n", ("map.yaml", "must be a list of prompts; found a mapping")),
        ("lines.txt", b"good\n\xff\nok\nNUL \x00\n", ("lines.txt:2:", "is not UTF-8"), ("lines.txt:4:", "holds a NUL")),
        ("empty.txt", "", ("empty.txt", "there are none")), ("blank.txt", " \r\n\n", ("blank.txt", "there are none")),
        ("cell.csv", "prompt,seed\n,1\n", ("cell.csv:2:", "prompt", "the cell is empty")),
        ("cells.csv", "prompt,seed\n,one\n", ("cells.csv:2: prompt: the cell is empty",), ("cells.csv:2: seed: must be",)),
        ("items.yaml", "- a\n-\n- b\n", ("items.yaml:2:", "found nothing")),
        ("macs.csv", "prompt,seed\ra,1\rb,-1\r", ("macs.csv:3:", "seed")),
        ("exponent.jsonl", '{"prompt": "a", "seed": 1e999}\n', ("exponent.jsonl:1:", "not valid JSON: number overflow")),
        ("empty.csv", "prompt\n", ("empty.csv", "there are none")), ("empty.yaml", "[]", ("empty.yaml", "there are none")),
        ("prompts.docx", "a", ("prompts.docx", ".txt, .csv, .jsonl and .yaml")),
        # What the model cannot take: the message says what it needs.
        ("sizes.jsonl", '{"prompt": "a", "height": 33}\n{"prompt": "a", "width": 8}\n{"prompt": "a", "num_frames": 6}\n'
         '{"prompt": "a", "width": 16384, "height": 16384, "num_frames": 65533}\n',
         ("sizes.jsonl:1:", "height is 33", "multiple of 16 (32 or 48)"),
         ("sizes.jsonl:2:", "width is 8", "multiple of 16 (16)"),
         ("sizes.jsonl:3:", "num_frames is 6", "4k + 1", "(5 or 9)"),
         ("sizes.jsonl:4:", "num_frames", "this model knows 1024")),
    ], check)


def case_byte_order_marks_and_crlf_are_accepted(folder, model):
    good_job(folder, model)
    mark = b"\xef\xbb\xbf"
    (folder / "job.yaml").write_bytes(mark + (folder / "job.yaml").read_bytes().replace(b"\n", b"\r\n"))
    files = {"cr.csv": b"prompt\ra cat\r", "cr.txt": b"a cat\r\r", "a.txt": b"a cat\r\n", "a.jsonl": b'{"prompt": "a cat"}\r\n', "a.csv": b"prompt\r\na cat\r\n",
             "a.yaml": b"- a cat\r\n"}
    for name, content in files.items():
        (folder / name).write_bytes(mark + content)
        accepted(["run", "job.yaml", "--set", f"prompts={name}"], [], folder)
    expect(len(records(folder / "out")) == 1, f"the same prompt was read differently: {list(records(folder / 'out'))}")


def case_prompts_of_10_megabytes_are_cut_with_a_warning(folder, model):
    good_job(folder, model)
    texts = {"words": "a cat " * 1_700_000, "one-word": "x" * 10_000_000, "entities": "&amp;" * 2_000_000,
             "unknown": "一" * 3_300_000, "spaces": " " * 10_000_000 + "x" * 40, "mojibake": "â€œ " * 1_000_000}
    (folder / "prompts.jsonl").write_text("".join(json.dumps({"prompt": text, "id": name}, ensure_ascii=False) + "\n"
                                                  for name, text in texts.items()))
    ended = accepted(["run", "job.yaml"], [(name, "cut to 16 tokens") for name in texts], folder, seconds=60)
    expect(len(ended.text) < 100_000, "the prompts are in the log")
    expect(set(records(folder / "out")) == set(texts), "not all were made")


def bombs(good):
    """name, the job file's text, what is said."""
    deep = 100_000
    return [
        ("aliases", "a: &a [x,x,x]\nb: &b [*a,*a,*a]\n<<: *b\n", ("bad.yaml:1:", "anchors and aliases"),
         ("bad.yaml:3:", "anchors and aliases")),
        ("merge", good + "<<: {retries: 1}\n", ("bad.yaml:7:", "<<")),
        ("twice", good + "device: cpu\n", ("bad.yaml:7:", "device", "line 6")),
        ("tags", good + "retries: !!python/object 3\n", ("bad.yaml:7:", "the tag", "is not read")),
        ("documents", good + "---\n" + good, ("bad.yaml:7:", "second document")),
        ("flow_lists", "a: " + "[" * deep, ("bad.yaml:1:",)),
        ("flow_maps", "a: " + "{a: " * deep, ("bad.yaml:1:", "64 levels")),
        ("closed_lists", "a: " + "[" * deep + "]" * deep, ("bad.yaml:1:", "64 levels")),
        ("dashes", "- " * deep, ("bad.yaml:1:", "64 levels")),
        ("questions", "? " * deep, ("bad.yaml:1:",)), ("indented", "".join(" " * i + "a:\n" for i in range(2000)),
                                                       ("bad.yaml:65:", "64 levels")),
        ("keys", "".join(f"k{i}: 1\n" for i in range(1_000_000)), ("bad.yaml:500000:", "more than 1000000 keys")),
        ("keys that fit", "".join(f"k{i}: 1\n" for i in range(400_000)), ("bad.yaml:1:", "k0: unknown key"),
         ("bad.yaml", "problems more")),
        ("lists", "save: [" + "[]," * 5_000_000 + "]", ("bad.yaml:1:", "more than 1000000 keys and values")),
        ("long_key", "k" * 10_000_000 + ": 1\n", ("bad.yaml:1:",)),
        ("long_value", good + "attention: " + "v" * 10_000_000, ("bad.yaml:7:", "attention")),
        ("long_line", "a" * 15_000_000, ("bad.yaml", "must be a mapping")),
        ("scalar", "just a text", ("bad.yaml:1:", "must be a mapping")),
        ("bytes", good.encode() + b"attention: \xff\n\x00\n", ("bad.yaml:7:", "is not UTF-8"),
         ("bad.yaml:8:", "holds a NUL")),
        ("open_quote", good + 'attention: "auto\n', ("bad.yaml:", "not YAML")),
        ("tab", good + "\tattention: auto\n", ("bad.yaml:7:", "not YAML")),
        ("too_large", b"#" + b" " * (17 << 20), ("bad.yaml", "bytes")), ("empty", "", ("bad.yaml", "is empty")),
    ]


def case_yaml_bombs(folder, model):
    good = good_job(folder, model)

    def check(name, text, *wanted):
        (folder / "bad.yaml").write_bytes(as_bytes(text))
        refused(["plan", "bad.yaml"], wanted, folder)

    each(bombs(good), check)


def case_files_that_are_none(folder, model):
    good_job(folder, model)
    os.mkfifo(folder / "pipe")
    os.mkfifo(folder / "pipe.jsonl")
    (folder / "folder.jsonl").mkdir()
    (folder / "zero.jsonl").symlink_to("/dev/zero")
    (folder / "loop.jsonl").symlink_to("loop.jsonl")
    for name, size in {"huge": 2 << 30, "huge.jsonl": 2 << 30, "nul.jsonl": 900 << 20, "nul.yaml": 2 << 30}.items():
        with open(folder / name, "wb") as file:
            file.truncate(size)
    (folder / "lists.jsonl").write_text('{"prompt": [' + "[]," * 10_000_000 + "[]]}\n")
    (folder / "keys.jsonl").write_text("{" + ",".join(f'"k{i}": 1' for i in range(1_000_000)) + "}\n")
    (folder / "lines.jsonl").write_text("{\n" * 3_000_000)
    (folder / "many.jsonl").write_text('{"prompt": "a", "samples": 1000000}\n' * 1000)
    jobs = [(name, ["plan", name], (name,)) for name in ("pipe", "huge", "folder.jsonl", "/dev/zero", "loop.jsonl", "none")]
    prompts = [("prompts " + name, ["plan", "job.yaml", "--set", f"prompts={name}"], (name,))
               for name in ("pipe.jsonl", "folder.jsonl", "zero.jsonl", "/dev/zero", "loop.jsonl", "none.jsonl",
                            "huge.jsonl",
                            "nul.jsonl", "nul.yaml", "lists.jsonl", "keys.jsonl", "lines.jsonl", "many.jsonl",
                            "x" * 5000 + ".jsonl")]
    paths = [("long model", ["plan", "job.yaml", "--set", "model=" + "m" * 5000], ("model",)),
             ("file as model", ["plan", "job.yaml", "--set", "model=job.yaml"], ("model", "job.yaml", "folder")),
             ("model below a file", ["plan", "job.yaml", "--set", "model=job.yaml/x"], ("model", "job.yaml/x")),
             ("long output", ["run", "job.yaml", "--set", "output=" + "o" * 5000], ("output",)),
             ("output below a file", ["run", "job.yaml", "--set", "output=job.yaml/x"], ("output", "job.yaml")),
             ("output is a file", ["run", "job.yaml", "--set", "output=job.yaml"], ("output", "job.yaml")),
             ("output is a device", ["run", "job.yaml", "--set", "output=/dev/null"], ("output", "/dev/null")),
             ("output is a pipe", ["run", "job.yaml", "--set", "output=pipe"], ("output", "pipe")),
             ("output in /proc", ["run", "job.yaml", "--set", "output=/proc/rushes"], ("output", "/proc")),
             ("job with a slash", ["run", "job.yaml/"], ("job.yaml",))]
    each(jobs + prompts + paths, lambda name, arguments, wanted: refused(arguments, [wanted], folder))


def case_an_impossible_output_is_told_by_run_and_plan(folder, model):
    good = good_job(folder, "model")
    shutil.copytree(model, folder / "model")
    os.mkfifo(folder / "pipe")
    (folder / "a file").write_text("dear")
    for place in ("part/videos", "result/items/cat.json/x", "foreign/videos/cat.mp4", "foreign/frames/cat/00000.png"):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_text("dear")
    rows = [("below a file", "a file/out", "a file", "is no folder"), ("a file", "a file", "a file", "is no folder"),
            ("a pipe", "pipe", "pipe", "is no folder"),
            ("a part is a file", "part", "part/videos", "is in the way"),
            ("a result is a folder", "result", "result/items/cat.json", "move it away"),
            ("results of nobody's run", "foreign", "foreign/videos/cat.mp4 (and 1 more)", "--fresh"),
            ("the model's folder", "model", "model", "give one beside it"),
            ("in the model's folder", "model/transformer/out", "model", "give one beside it")]

    def check(name, output, *words):
        (folder / "bad.yaml").write_text(good.replace("output: out", "output: " + output))
        for command in ("plan", "run"):
            refused([command, "bad.yaml"], [("bad.yaml:4: output: ", *words)], folder)
            refused([command, "job.yaml", "--set", "output=" + output], [("--set: output: ", *words)], folder)

    each(rows, check)
    # Of another machine's disks nobody knows here.
    accepted(["plan", "job.yaml", "--set", "output=a file/out", "--device", "h100"], [], folder)


if __name__ == "__main__":
    sys.exit(main(__name__))
