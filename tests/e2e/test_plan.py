#!/usr/bin/env python3
"""`rushes plan` on good and bad jobs: exit codes, every problem in one go with file, line, key and the nearest known word,
and nothing written."""
import json
import os
import pathlib
import subprocess
import sys
import time

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
    # Without this machine's calibration, if it has one.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "RUSHES_CACHE": str(folder / "no-cache")}
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


def table_of(out):
    """The candidates: a row a layout, by the heading's words. The first is the chosen one."""
    lines = out[out.index("Prediction for"):].splitlines()[1:]
    split = lambda line: [cell.strip() for cell in line.strip().split("  ") if cell.strip()]
    heading, rows = split(lines[0]), []
    for line in lines[1:]:
        cells = [cell for cell in split(line) if cell != "*"]
        if len(cells) != len(heading):
            break
        rows.append(dict(zip(heading, cells)))
    return rows, lines


def check_prediction(folder):
    code, out, err = plan(folder, "job.yaml", "--ranks", "2", "--device", "h100")
    expect(code == 0, f"exit code {code}:\n{out}{err}")
    rows, lines = table_of(out)
    expect(2 <= len(rows) <= 8, f"{len(rows)} candidates:\n{out}")
    expect(lines[1].strip().startswith("*"), "the chosen layout is not marked")
    for key in ("dp", "cfg", "ulysses", "ring", "dit_tp", "tp", "vae", "s/clip", "clips/hour", "GiB a rank", "weights",
                "activations", "vae peak", "sent in node", "sent to others"):
        expect(key in rows[0], f"no column {key} in {rows[0]}")
    expect("NVIDIA H100 SXM (configs/clusters/h100.yaml)" in out, "the figures' source is not named")
    expect("chosen: dp " in out and "a clip on the chosen layout: text encoding" in out, out)
    for row in rows:
        expect(float(row["s/clip"]) >= 0 and float(row["GiB a rank"]) > 0, row)
    # A layout that was asked for is the one that is planned, whether or not `run` can do it yet.
    code, out, err = plan(folder, "job.yaml", "--ranks", "4", "--device", "h100", "--set", "parallel.sp=2", "--set",
                          "parallel.ring=2", "--set", "parallel.cfg=2")
    expect(code == 0, f"exit code {code}:\n{out}{err}")
    rows, _ = table_of(out)
    expect(all((row["cfg"], row["ulysses"], row["ring"], row["dp"]) == ("2", "1", "2", "1") for row in rows), rows)
    refused(folder, ["parallel.cfg: half of the ranks would idle"],
            ("job.yaml", "--ranks", "2", "--set", "parallel.cfg=2", "--set", "sampling.guidance_scale=1"))
    begin = time.monotonic()
    code, out, err = plan(folder, "job.yaml", "--ranks", "4096", "--device", "h200", "--set", "parallel.dit_tp=auto")
    seconds = time.monotonic() - begin
    expect(code == 0 and "idle: there are 3 clips" in out, f"exit code {code}:\n{out}{err}")
    expect(seconds < 5, f"4,096 ranks took {seconds:.1f} s")


def check_cluster_file(folder):
    text = (pathlib.Path(__file__).resolve().parent.parent.parent / "configs" / "clusters" / "h100.yaml").read_text()
    own = folder / "own.yaml"
    own.write_text(text)
    code, out, err = plan(folder, "job.yaml", "--device", "own.yaml")
    expect(code == 0 and "NVIDIA H100 SXM (own.yaml)" in out, f"exit code {code}:\n{out}{err}")
    expect(row_of(out, "device") == ["cuda", "--device own.yaml"], row_of(out, "device"))
    line = 1 + next(i for i, row in enumerate(text.splitlines()) if row.startswith("memory_bytes:"))
    own.write_text(text.replace("memory_bytes:", "memory_byts:", 1).replace("device: cuda", "device: gpu"))
    refused(folder, ["own.yaml:5: device: must be one of cpu, cuda; found the text 'gpu'",
                     f"own.yaml:{line}: memory_byts: unknown key; did you mean 'memory_bytes'?",
                     "own.yaml: memory_bytes: missing"], ("job.yaml", "--device", "own.yaml"))
    own.write_text(text.replace("memory_bytes: 85.0e9", "memory_bytes: 1.0e9"))
    code, out, err = plan(folder, "job.yaml", "--device", "own.yaml")
    expect(code == 2 and "no layout fits: a rank has 0.9 GiB" in err, f"exit code {code}:\n{out}{err}")
    expect("left out: memory" in out, out)
    own.unlink()


def check_command_line(folder):
    refused(folder, ["the job file is missing"], ())
    refused(folder, ["cannot read no.yaml: No such file"], ("no.yaml",))
    refused(folder, ["--ranks must be a number"], ("job.yaml", "--ranks", "0"))
    refused(folder, ["--device: 'h20' must be one of a100, cpu, h100, h200, l40s, cuda, or a file"],
            ("job.yaml", "--device", "h20"))
    refused(folder, ["; did you mean 'h200'?"], ("job.yaml", "--device", "h20"))
    refused(folder, ["cannot read no/such.yaml"], ("job.yaml", "--device", "no/such.yaml"))
    refused(folder, ["--set sampling.seed: must be key=value"], ("job.yaml", "--set", "sampling.seed"))
    refused(folder, ["--set: sampling.sed: unknown key; did you mean 'seed'?",
                     "--set: sampling.height: must be a whole number from 1 to 16384; found the text 'tall'",
                     "--set: nonsense: unknown key"],
            ("job.yaml", "--set", "sampling.sed=1", "--set", "sampling.height=tall", "--set", "nonsense=1"))
    refused(folder, ["--ranks many: needs a whole number"], ("job.yaml", "--ranks", "many"))
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
    job(good.replace("job: generate", "job: train"), "bad.yaml:1: job: train is not there yet")
    job(good.replace("job: generate", "job: regress"), "regression.references: missing")
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
    check_prediction(folder)
    check_cluster_file(folder)
    check_command_line(folder)
    check_job_file(folder, good)
    check_model(folder, model)
    check_sizes_and_prompts(folder, good)


if __name__ == "__main__":
    sys.exit(run_cases(case, count=1))
