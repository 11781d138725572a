"""Runs a test program's cases, each in a folder of its own."""
import os
import pathlib
import sys
import tempfile
import time
import traceback

from .jobs import tiny_model


def cases_of(module):
    return [(name[5:], value) for name, value in vars(module).items() if name.startswith("case_")]


def main(module_name, needs_model=True):
    """Calls case_x(folder, model) for every function of that name; E2E_CASE=x runs one. Returns the exit code."""
    failed = []
    with tempfile.TemporaryDirectory(prefix="rushes-e2e-") as root:
        model = tiny_model(pathlib.Path(root) / "model") if needs_model else None
        for name, case in cases_of(sys.modules[module_name]):
            if os.environ.get("E2E_CASE") not in (None, "", name):
                continue
            folder = pathlib.Path(root) / name
            folder.mkdir()
            start = time.monotonic()
            try:
                case(folder, model)
            except Exception:  # one failed case must not hide the others
                traceback.print_exc()
                failed.append(name)
            print(f"{name}: {'FAILED' if name in failed else 'ok'} ({time.monotonic() - start:.1f} s)", flush=True)
    if failed:
        print(f"FAILED: {', '.join(failed)} (one alone: E2E_CASE={failed[0]})")
    return 1 if failed else 0
