#!/usr/bin/env python3
"""Files and folders without the rights to them. Root is asked to give up its powers over rights; skipped where it cannot."""
import os
import shutil
import subprocess
import sys

from e2e.support import Skip, binary, main, write_job
from e2e.support.hostile import accepted, each, refused, variant


def powerless(folder):
    """The words before a command that make root keep to the rights of files."""
    if os.geteuid() != 0:
        return []
    words, locked = ["setpriv", "--inh-caps=-all", "--bounding-set=-all"], folder / "try"
    locked.touch(mode=0)
    able = shutil.which("setpriv") and subprocess.run([*words, binary(), "--version"], capture_output=True).returncode == 0
    if not able or subprocess.run([*words, "cat", str(locked)], capture_output=True).returncode == 0:
        raise Skip("root keeps its powers over rights here")
    return words


def case_no_right_to_read_or_write(folder, model):
    before = powerless(folder)
    variant(model, folder / "model", {})
    weights = "model/transformer/diffusion_pytorch_model.safetensors"
    for name in (weights, "model/vae/config.json", "model/model_index.json"):  # a hard link's rights are the other's too
        content = (folder / name).read_bytes()
        (folder / name).unlink()
        (folder / name).write_bytes(content)
    job = write_job(folder, "model", count=1)
    job.write_text(job.read_text().replace(str(folder) + "/", ""))
    (folder / "locked").mkdir(mode=0o555)
    accepted(["run", "job.yaml"], ["1 of 1 done"], folder, before=before)

    def check(name, mode, arguments, *wanted):
        path, kept = folder / name, (folder / name).stat().st_mode
        path.chmod(mode)
        try:
            refused(arguments, [wanted], folder, before=before)
        finally:
            path.chmod(kept)

    run, other = ["run", "job.yaml", "--fresh"], ["plan", "job.yaml"]
    denied = "Permission denied"
    parts = ["items", "videos", "latents", "frames", "logs", ".rushes", ".rushes/claims", ".rushes/owners", ".rushes/work"]
    each([
        ("locked", 0o555, [*run, "--set", "output=locked/a/b"], "output", "locked", denied),
        ("out", 0o555, run, "output", "out", denied),
        *((f"out/{part}", 0o555, run, "output", f"out/{part}", denied) for part in parts),
        ("out/job.yaml", 0, ["plan", "out/job.yaml"], "out/job.yaml", denied), ("job.yaml", 0, other, "job.yaml", denied),
        ("job.jsonl", 0, other, "job.jsonl", denied), ("model", 0, other, "model", denied),
        ("model/tokenizer", 0, other, "model/tokenizer", denied),
        ("model/model_index.json", 0, other, "model_index.json", denied),
        ("model/vae/config.json", 0, other, "vae/config.json", denied), (weights, 0, other, weights, denied),
        ("locked", 0o555, ["probe", "--model", "model", "--component", "tokenizer", "--text", "x", "--max-length", "8",
                           "--out", "locked/o"], "--out", denied),
        ("out", 0, ["status", "out"], "out", denied),
        ("out/.rushes/folder.json", 0, ["run", "job.yaml"], "folder.json", denied),
    ], check)


if __name__ == "__main__":
    sys.exit(main(__name__))
