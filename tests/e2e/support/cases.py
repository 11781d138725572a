"""Runs a test program's cases, each in a folder of its own."""
import os
import pathlib
import sys
import tempfile
import time
import traceback

from .jobs import tiny_model


SKIPPED = 77  # what CTest takes for "skipped"


class Skip(Exception):
    """Raised by a case that cannot run here. Then none of its program may, or the program would pass without it."""


def cases_of(module):
    return [(name[5:], value) for name, value in vars(module).items() if name.startswith("case_")]


def main(module_name, needs_model=True):
    """Calls case_x(folder, model) for every function of that name; E2E_CASE=x runs one. Returns the exit code."""
    failed, skipped, passed = [], [], []
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
                passed.append(name)
            except Skip as reason:
                print(f"skipped: {reason}")
                skipped.append(name)
            except Exception:  # one failed case must not hide the others
                traceback.print_exc()
                failed.append(name)
            outcome = "ok" if name in passed else "skipped" if name in skipped else "FAILED"
            print(f"{name}: {outcome} ({time.monotonic() - start:.1f} s)", flush=True)
    if skipped and passed:
        failed += skipped
    if failed:
        print(f"FAILED: {', '.join(failed)} (one alone: E2E_CASE={failed[0]})")
        return 1
    return SKIPPED if skipped else 0
