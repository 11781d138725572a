#!/usr/bin/env python3
"""kill -9 at random moments: of one rank, all ranks, or mpirun. The same command run again must end with every item done,
byte-equal to an unbroken run, with no leftovers and no orphans.

KILL_SEED repeats a run's moments, KILL_COUNT chooses how many kills (default 10; with RUSHES_NIGHTLY=1 200).
"""
import os
import random
import sys
import time

from e2e.support import (assert_clean, digests, done_counts, events, expect, launch, main, no_processes, records, run,
                         write_job)

COUNT = 8
STEPS = 100
IDS = [f"clip-{i}" for i in range(COUNT)]


def strike(started, rng):
    """Kills one rank, all ranks, or the launcher: which, or None where that was not there."""
    ranks = started.ranks()
    kind = rng.choice(["rank", "ranks", "launcher"])
    if kind == "launcher":
        victims = [started.pid]
    else:
        victims = ranks if kind == "ranks" or not ranks else [rng.choice(ranks)]
    return kind if started.kill(victims) else None


def check_end(out, whole, kills):
    assert_clean(out, IDS)
    expect(digests(out) == whole, "other files than an unbroken run's")
    # The event follows the record, so a kill between the two loses it; none is ever written twice.
    counts = done_counts(out)
    expect(all(number == 1 for number in counts.values()), f"an item was done twice: {counts}")
    expect(len(counts) >= COUNT - kills, f"events of {len(counts)} items only")
    expect(all(record["attempts"] <= 1 + kills for record in records(out).values()), "too many attempts")


def case_killed_at_random_moments(folder, model):
    seed = int(os.environ.get("KILL_SEED") or int.from_bytes(os.urandom(4), "little"))
    total = int(os.environ.get("KILL_COUNT") or (200 if os.environ.get("RUSHES_NIGHTLY") else 10))
    print(f"  KILL_SEED={seed} KILL_COUNT={total}", flush=True)
    rng = random.Random(seed)
    unbroken = write_job(folder, model, count=COUNT, name="whole", output="whole", steps=STEPS)
    start = time.monotonic()
    run(unbroken, ranks=3)
    span = time.monotonic() - start
    whole = digests(folder / "whole")
    kills, trial = 0, 0
    while kills < total:
        trial += 1
        name = f"trial-{trial}"
        job = write_job(folder, model, count=COUNT, name=name, output=name, steps=STEPS)
        log = []
        for _ in range(rng.choice([1, 1, 2])):
            log += run_and_kill([launch(job, ranks=rng.choice([1, 2, 3])) for _ in range(rng.choice([1, 1, 2, 3]))], rng, span)
        kills += len(log)
        try:
            run(job, ranks=rng.choice([1, 3]))
            check_end(folder / name, whole, len(log))
        except AssertionError as error:
            raise AssertionError(f"trial {trial} ({log}; KILL_SEED={seed}): {error}") from None
        print(f"  trial {trial}: {', '.join(log) or 'was through before'}: ok", flush=True)


def run_and_kill(launches, rng, span):
    """Several runs over one folder, each struck at a moment of its own, if it lives then."""
    now, log = time.monotonic(), []
    for moment, started in sorted(((now + rng.uniform(0, span), started) for started in launches), key=lambda pair: pair[0]):
        started.wait_until(lambda: time.monotonic() > moment, timeout=300)
        if started.process.poll() is None:
            hit = strike(started, rng)
            if hit and started.wait(60) != 0:  # 0: it was through, but for its exit
                log.append(hit)
    for started in launches:
        started.wait(120)  # one that survived its strike finishes
    no_processes(*launches)
    return log


def case_two_runs_while_one_is_killed(folder, model):
    rng = random.Random(5)
    job = write_job(folder, model, count=COUNT, steps=STEPS)
    whole = write_job(folder, model, count=COUNT, name="whole", output="whole", steps=STEPS)
    run(whole, ranks=2)
    out = folder / "out"
    survivor, victim = launch(job, mpi=False), launch(job, ranks=2)
    expect(victim.wait_until(lambda: (out / "events.jsonl").exists() and len(events(out, "item_started")) >= 3), victim.text())
    expect(strike(victim, rng), "nobody was hit")
    victim.wait(60)
    expect(survivor.wait() == 0, survivor.text())  # it takes over what the dead ones left
    no_processes(survivor, victim)
    check_end(out, digests(folder / "whole"), kills=2)


if __name__ == "__main__":
    sys.exit(main(__name__))
