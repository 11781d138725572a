"""Runs `rushes probe` on tensors."""
import json
import os
import pathlib
import subprocess
import tempfile

from safetensors.torch import load_file, save_file


def binary():
    """The program under test: RUSHES_BINARY, else build/rushes of this checkout."""
    return os.environ.get("RUSHES_BINARY") or str(pathlib.Path(__file__).resolve().parents[3] / "build" / "rushes")


def probe_process(arguments, timeout=900, ranks=None):
    """`rushes probe ARGUMENTS`, by `ranks` ranks where given, finished: .returncode, .stdout and .stderr as text."""
    environment = {"OMP_NUM_THREADS": "2", **os.environ}
    mpirun = [] if ranks is None else ["mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-n", str(ranks)]
    return subprocess.run([*mpirun, binary(), "probe", *map(str, arguments)], text=True, capture_output=True, env=environment,
                          timeout=timeout)


def _run(model, component, inputs, trace, options, folder):
    ranks = options.pop("ranks", None)
    out, arguments = folder / "out.safetensors", ["--model", model, "--component", component]
    if inputs is not None:
        save_file({name: tensor.detach().contiguous().clone() for name, tensor in inputs.items()},
                  folder / "in.safetensors")
        arguments += ["--in", folder / "in.safetensors"]
    if trace:
        arguments += ["--trace", folder / "trace.jsonl"]
    for name, value in options.items():
        if value is not None:
            arguments += ["--" + name.replace("_", "-"), value]
    return probe_process(arguments + ["--out", out], ranks=ranks), out


def run_probe(model, component, inputs=None, trace=False, **options):
    """The tensors that the component gives; with trace=True a pair of them and the list of trace rows.

    inputs: name -> tensor. options: method, text, max_length, steps, dtype ("float32", ...); ranks and
    parallel ("sp: 2, ring: 2"): by so many under mpirun.
    """
    with tempfile.TemporaryDirectory(prefix="rushes-probe-") as name:
        folder = pathlib.Path(name)
        done, out = _run(model, component, inputs, trace, options, folder)
        if done.returncode != 0:
            raise AssertionError(f"probe of {component} ended with {done.returncode}:\n{done.stderr.strip()}")
        tensors = load_file(out)
        if not trace:
            return tensors
        return tensors, [json.loads(line) for line in (folder / "trace.jsonl").read_text().splitlines()]


def refused_probe(model, component, inputs=None, **options):
    """The message with which the probe refuses; anything but exit code 2 and no output is a failure."""
    with tempfile.TemporaryDirectory(prefix="rushes-probe-") as name:
        done, out = _run(model, component, inputs, False, options, pathlib.Path(name))
        if done.returncode != 2 or out.exists():
            raise AssertionError(f"probe should refuse with 2, gave {done.returncode}"
                                 f"{' and an output' if out.exists() else ''}:\n{done.stderr.strip()}")
        return done.stderr
