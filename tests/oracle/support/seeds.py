"""Random cases that can be drawn again: one number names them all."""
import os
import pathlib
import random
import sys
import tempfile
import time
import traceback

import torch


class Rng(random.Random):
    """Python's random numbers and torch's, from one seed."""

    def __init__(self, seed):
        super().__init__(seed)
        self.torch = torch.Generator("cpu").manual_seed(self.getrandbits(62))

    def normal(self, *shape, std=1.0, mean=0.0):
        return torch.randn(*shape, generator=self.torch) * std + mean

    def uniform_tensor(self, *shape, low=0.0, high=1.0):
        return torch.rand(*shape, generator=self.torch) * (high - low) + low

    def integers(self, low, high, shape):
        """int64 tensor, low <= x <= high."""
        return torch.randint(low, high + 1, shape, generator=self.torch)

    def chance(self, probability):
        return self.random() < probability


def run_cases(case, count=None, name=None, seed=20251121, nightly=4):
    """Calls case(rng, folder) `count` times, each with random numbers and an empty folder of its own. `case` may be a
    list: each of them once, and the last one again where more are asked for.

    ORACLE_SEED chooses the cases (default: `seed`, the same each run, so that no change is judged by the draw), ORACLE_CASE
    runs one of them only, ORACLE_COUNT another number of them. With RUSHES_NIGHTLY the seed is new each run and there are
    `nightly` times as many cases. Returns the exit code: 1 if any failed, each named with what repeats it.
    """
    program = name or pathlib.Path(sys.argv[0]).name
    cases = case if isinstance(case, list) else [case]
    count = count or len(cases)
    if os.environ.get("RUSHES_NIGHTLY"):
        seed, count = int.from_bytes(os.urandom(4), "little"), nightly * count
    seed = int(os.environ.get("ORACLE_SEED") or seed)
    only = os.environ.get("ORACLE_CASE")
    numbers = [int(only)] if only else range(int(os.environ.get("ORACLE_COUNT") or count))
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or 2))
    print(f"{program}: ORACLE_SEED={seed}", flush=True)
    failed = []
    for number in numbers:
        this = cases[min(number, len(cases) - 1)]
        title = f"case {number} ({this.__name__})" if len(cases) > 1 else f"case {number}"
        start = time.monotonic()
        torch.manual_seed(seed)  # whatever draws without our generator is repeatable too
        try:
            with tempfile.TemporaryDirectory(prefix="rushes-oracle-") as folder:
                this(Rng(f"{seed}/{number}"), pathlib.Path(folder))
        except Exception:  # one failed case must not hide the others
            traceback.print_exc()
            failed.append(number)
        print(f"{title}: {'FAILED' if number in failed else 'ok'} ({time.monotonic() - start:.1f} s)", flush=True)
    for number in failed:
        print(f"FAILED; to repeat: ORACLE_SEED={seed} ORACLE_CASE={number} {program}", flush=True)
    return 1 if failed else 0
