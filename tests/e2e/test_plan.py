#!/usr/bin/env python3
"""`rushes plan` on good and bad jobs: exit codes, every problem in one go with file, line, key and the nearest known word,
and nothing written."""
import json
import os
import pathlib
import subprocess
import sys

from oracle.support import Rng, binary, expect, run_cases
from oracle.test_wan_pipeline import random_pipeline, save_pipeline

GOOD = """\
job: generate
model: {model}
prompts: prompts.jsonl
output: out/{{job}}-{{model}}
sampling: {{height: 32, width: 48, num_frames: 5, num_inference_steps: 3, max_sequence_length: 16}}
device: cpu
"""
PROMPTS = [{"prompt": "a red circle", "id": "first"}, {"prompt": "a blue square", "seed": 7, "samples": 2}]


def plan(folder, *arguments):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([binary(), "plan", *arguments], cwd=folder, capture_output=True, text=True, timeout=300,
                          env=environment)
    return done.returncode, done.stdout, done.stderr


def listing(folder):
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*")}


def refused(folder, problems, arguments=("job.yaml",)):
    """Exit code 2 and, in order, a line that holds each of the texts; nothing else is wrong and nothing is written."""
    before = listing(folder)
    code, out, err = plan(folder, *arguments)
    lines = err.strip().splitlines()
    shown = "\n".join(lines)
    expect(code == 2, f"exit code {code}, should be 2:\n{out}{shown}")
    expect(len(lines) == len(problems), f"{len(lines)} lines, should be {len(problems)}:\n{shown}")
    for line, problem in zip(lines, problems):
        expect(problem in line, f"'{problem}' is not in:\n{shown}")
    expect(listing(folder) == before, "something was written")


def row_of(out, key):
    """[value, source] of a setting."""
    for line in out.splitlines():
        cells = [cell for cell in line.strip().split("  ") if cell.strip()]
        if cells and cells[0] == key:
            return [cell.strip() for cell in cells[1:]]
    raise AssertionError(f"no setting {key} in\n{out}")


def check_good(folder):
    before = listing(folder)
    code, out, err = plan(folder, "job.yaml", "--ranks", "3", "--set", "sampling.seed=9", "--set", "retries=0")
    expect(code == 0, f"exit code {code}:\n{out}{err}")
    expect(listing(folder) == before, "something was written")
    expect(out.startswith("job.yaml: 3 clips by WanPipeline into out/job-model\n"), out[:200])
    attention = "flash" if "avx2" in pathlib.Path("/proc/cpuinfo").read_text() else "sdpa"
    for key, row in {"sampling.height": ["32", "job.yaml:5"], "sampling.seed": ["9", "--set"], "retries": ["0", "--set"],
                     "sampling.guidance_scale": ["5.0", "default"], "device": ["cpu", "job.yaml:6"],
                     "precision.transformer": ["float32", "default (auto)"], "attention": [attention, "default (auto)"],
                     "output": ["out/job-model", "job.yaml:4"], "parallel.dp": ["auto", "default"]}.items():
        expect(row_of(out, key) == row, f"{key}: {row_of(out, key)}, should be {row}")
    for text in ("3 ranks = dp 3 x replica 1", "One clip of 48x32, 5 frames, 3 steps with guidance (3 clips)",
                 "text encoding", "denoising", "decoding", "weights", "activations", "The job: 3 clips"):
        expect(text in out, f"'{text}' is not in\n{out}")


def check_elsewhere(folder):
    code, out, err = plan(folder, "job.yaml", "--device", "h200")
    expect(code == 0, f"exit code {code}:\n{out}{err}")
    expect(row_of(out, "device") == ["cuda", "--device h200"], row_of(out, "device"))
    expect(row_of(out, "precision.transformer")[0] == "bfloat16", "cuda is not planned in bfloat16")
    expect(row_of(out, "precision.vae")[0] == "float32", "cuda's VAE is not planned in float32")


def check_command_line(folder):
    refused(folder, ["the job file is missing"], ())
    refused(folder, ["cannot read no.yaml: No such file"], ("no.yaml",))
    refused(folder, ["--ranks must be a number"], ("job.yaml", "--ranks", "0"))
    refused(folder, ["must be one of cpu, cuda, h200, h100, a100, l40s; did you mean 'h200'?"],
            ("job.yaml", "--device", "h20"))
    refused(folder, ["--set sampling.seed: must be key=value"], ("job.yaml", "--set", "sampling.seed"))
    refused(folder, ["--set: sampling.sed: unknown key; did you mean 'seed'?",
                     "--set: sampling.height: must be a whole number from 1 to 16384; found the text 'tall'",
                     "--set: nonsense: unknown key"],
            ("job.yaml", "--set", "sampling.sed=1", "--set", "sampling.height=tall", "--set", "nonsense=1"))
    refused(folder, ["--help lists the options"], ("job.yaml", "--ranks", "many"))
    refused(folder, ["--help lists the options"], ("job.yaml", "--no-such-option"))
    refused(folder, ["'other.yaml': one job file"], ("job.yaml", "other.yaml"))
    refused(folder, ["dp 4 x replica 1"], ("job.yaml", "--set", "parallel.dp=4", "--ranks", "3"))


def check_job_file(folder, good):
    def job(text, *problems):
        (folder / "bad.yaml").write_bytes(text.encode() if isinstance(text, str) else text)
        refused(folder, problems, ("bad.yaml",))

    job("", "bad.yaml: is empty")
    job("a: [1\n", "bad.yaml:2:")
    job(good.encode() + b"attention: \xff\n", "bad.yaml:7: is not UTF-8")
    job(good + "job: generate\n", "bad.yaml:7: job: this key stands already in line 1")
    job("job: generate\n", "model: missing", "output: missing", "prompts: missing")
    job(good.replace("job: generate", "job: regress"), "bad.yaml:1: job: regress is not there yet")
    job(good + "numerics: fastvideo\n", "bad.yaml:7: numerics: fastvideo is not there yet")
    job(good.replace("{job}", "{jbo}"), "bad.yaml:4: output: '{jbo}' is not filled in; {date}, {job} and {model} are; did you")
    job(good.replace("model: ", "model: no/"), "bad.yaml:2: model: no folder 'no/")
    job(good.replace("prompts.jsonl", "none.txt"), "cannot read none.txt: No such file")
    # Everything at every level in one go.
    job(good.replace("height: 32", "hieght: 32").replace("num_frames: 5", "num_frames: -5, guidance_scale: .nan") +
        "saev: [video]\nvideo: {crf: 52}\nparallel: {dp: zero}\nprecision: {vae: float8}\ntrain: 3\nheight: 2\n",
        "bad.yaml:12: height: unknown key; did you mean 'sampling.height'?",
        "bad.yaml:5: sampling.hieght: unknown key; did you mean 'height'?",
        "bad.yaml:5: sampling.num_frames: must be a whole number from 1 to 65536; found the number -5",
        "bad.yaml:5: sampling.guidance_scale: must be a number from 0 to 1000; found the number .nan",
        "bad.yaml:7: saev: unknown key; did you mean 'save'?",
        "bad.yaml:8: video.crf: must be a whole number from 0 to 51; found the number 52",
        "bad.yaml:9: parallel.dp: must be a whole number from 1 to 1048576, or auto; found the text 'zero'",
        "bad.yaml:10: precision.vae: must be one of auto, float32, bfloat16, float16; found the text 'float8'",
        "bad.yaml:11: train: must be a mapping")
    (folder / "bad.yaml").unlink()


def check_sizes_and_prompts(folder, good):
    (folder / "bad.yaml").write_text(good.replace("height: 32", "height: 33"))
    (folder / "prompts.jsonl").write_text(
        '{"prompt": "a", "id": "x"}\n{"prompt": "b", "id": "x"}\n{"prompt": "c", "image": "i.png"}\n{"prompt"\n'
        '{"prompt": "d", "id": "../x"}\n{"prompt": "e", "num_frames": 6, "height": 32}\n')
    refused(folder, ["prompts.jsonl:3: image: no stage of WanPipeline reads this key",
                     "prompts.jsonl:4:",
                     "prompts.jsonl:5: id: '../x' is no file name",
                     "prompts.jsonl:2: id: 'x' stands already in prompts.jsonl:1",
                     "bad.yaml:5: sampling.height is 33; this model needs a multiple of 16 (32 or 48)",
                     "bad.yaml:5: sampling.height is 33; H.264",
                     "prompts.jsonl:6: num_frames is 6"], ("bad.yaml",))
    (folder / "prompts.jsonl").write_text("")
    refused(folder, ["prompts.jsonl: prompts: there are none"])


def check_model(folder, model):
    index = model / "model_index.json"
    text = index.read_text()
    index.write_text(text.replace('"WanPipeline"', '"WanPipelin"'))
    refused(folder, ["did you mean 'WanPipeline'?"])
    index.write_text(text)
    config = model / "vae" / "config.json"
    text = config.read_text()
    config.write_text(json.dumps({**json.loads(text), "no_such_field": 1}))
    refused(folder, ["no_such_field"])
    config.write_text(text)


def case(rng: Rng, folder: pathlib.Path):
    model = save_pipeline(random_pipeline(rng), folder / "model")
    good = GOOD.format(model="model")
    (folder / "job.yaml").write_text(good)
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in PROMPTS))
    check_good(folder)
    check_elsewhere(folder)
    check_command_line(folder)
    check_job_file(folder, good)
    check_model(folder, model)
    check_sizes_and_prompts(folder, good)


if __name__ == "__main__":
    sys.exit(run_cases(case, count=1))
