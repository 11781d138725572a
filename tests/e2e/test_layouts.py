#!/usr/bin/env python3
"""Clips by replicas of several ranks: the same videos on any layout, failures, stops, deaths and hangs of one of the ranks."""
import os
import signal
import sys
import time

import numpy
from safetensors.numpy import load_file

from e2e.support import (assert_clean, done_counts, events, expect, launch, main, no_processes, poisoned, records, run,
                         write_job)

IDS = [f"clip-{i}" for i in range(4)]
BOTH = {"cfg": 2, "sp": 2, "ring": 2}


def furthest(folder, one, other, ids=IDS):
    """The largest difference of latents, as a share of 1e-4 + 1e-4 |x|."""
    worst = 0.0
    for name in ids:
        a, b = (load_file(folder / where / "latents" / f"{name}.safetensors")["latents"] for where in (one, other))
        worst = max(worst, float((numpy.abs(a - b) / (1e-4 + 1e-4 * numpy.abs(a))).max()))
    return worst


def case_any_layout_makes_the_same_clips(folder, model):
    run(write_job(folder, model, count=4, name="one", output="one"), mpi=False)
    layouts = [(2, {"sp": 2}), (3, {"dit_tp": 3}), (3, {"sp": 3, "ring": 3, "vae": 2}), (4, {"sp": 2, "dp": 2}), (5, BOTH),
               (4, {"cfg": 2, "dit_tp": 2, "tp": 3, "vae": 4}), (5, {"sp": 5})]
    for ranks, parallel in layouts:
        name = "-".join(f"{key}{value}" for key, value in parallel.items())
        job = write_job(folder, model, count=4, name=name, output=name, parallel=parallel)
        text = run(job, ranks=ranks)
        assert_clean(folder / name, IDS)
        expect(set(done_counts(folder / name).values()) == {1}, "an item was done twice")
        worst = furthest(folder, "one", name)
        print(f"  {ranks} ranks, {parallel}: {worst:.3f} of what is allowed", flush=True)
        expect(worst <= 1, f"{parallel}: latents are off")
        expect(("idle" in text) == (ranks == 5 and parallel == BOTH), text)
        layout = records(folder / name)["clip-0"]["layout"]
        expect(f"{ranks} ranks = dp" in layout, layout)
        if "dp" in parallel:
            expect(len({row["rank"] for row in events(folder / name, "item_done")}) == 2, "one replica did it all")
    # A rerun on another layout finds everything done.
    expect("0 to do" in run(write_job(folder, model, count=4, output="sp2", parallel={"dit_tp": 2}), ranks=2), "made again")


def case_a_failing_clip_fails_alone(folder, model):
    bad = poisoned(model, folder / "bad")
    rows = [{"id": f"clip-{i}", "prompt": "poison" if i == 1 else "a red circle"} for i in range(4)]
    job = write_job(folder, bad, rows=rows, parallel={"cfg": 2, "sp": 2})
    run(job, ranks=4, code=4)
    found = records(folder / "out")
    expect([found[name]["status"] for name in IDS] == ["done", "failed", "done", "done"], f"{found}")
    expect("NaN" in found["clip-1"]["error"], found["clip-1"]["error"])


def long_job(folder, model, parallel, name="job", steps=3000):
    return write_job(folder, model, count=4, name=name, steps=steps, parallel=parallel)


def started(folder, count=1):
    path = folder / "out" / "events.jsonl"
    return path.exists() and len(events(folder / "out", "item_started")) >= count


def case_one_rank_is_asked_to_stop(folder, model):
    for place in (0, 2):  # the one that leads, and one that follows
        job = long_job(folder, model, {"sp": 3})
        running = launch(job, ranks=3)
        expect(running.wait_until(lambda: started(folder, place + 1)), running.text())
        os.kill(running.ranks()[place], signal.SIGUSR1)
        code = running.wait(60)
        expect(code == 75, f"exit code {code}:\n{running.text()}")
        no_processes(running)
        expect(not list((folder / "out" / ".rushes" / "claims").iterdir()), "a claim is left")
    run(long_job(folder, model, {"dit_tp": 2}), ranks=2)
    assert_clean(folder / "out", IDS)


def case_a_rank_of_a_clip_dies(folder, model):
    for place in (0, 1, 2):
        job = long_job(folder, model, {"sp": 3})
        running = launch(job, ranks=3)
        expect(running.wait_until(lambda: started(folder, place + 1)), running.text())
        os.kill(running.ranks()[place], signal.SIGKILL)
        expect(running.wait(60) != 0, running.text())
        no_processes(running)
    run(job, ranks=3)
    assert_clean(folder / "out", IDS)


def case_a_rank_that_hangs_is_named(folder, model):
    job = long_job(folder, model, {"sp": 2, "ring": 2})
    running = launch(job, ranks=2, environment={"RUSHES_RANK_TIMEOUT": "2"})
    expect(running.wait_until(lambda: started(folder)), running.text())
    time.sleep(1)  # until it is among the steps
    stopped = running.ranks()[1]
    os.kill(stopped, signal.SIGSTOP)
    code = running.wait(60)
    text = running.text()
    running.kill([stopped])
    expect(code == 75, f"exit code {code}:\n{text}")
    for words in ("waited 2 s for rank 1", "denoising", "run the same command again"):
        expect(words in text, f"'{words}' is not in {text}")
    run(long_job(folder, model, {}), ranks=2)  # another layout finishes it
    assert_clean(folder / "out", IDS)


def case_layouts_that_cannot_be(folder, model):
    for parallel, words in (({"cfg": 2}, "guidance"), ({"sp": 3}, "needs 3 ranks"), ({"tp": 2}, "tp 2 is more"),
                            ({"sp": 2, "ring": 3}, "does not divide")):
        job = write_job(folder, model, parallel=parallel, rows=[{"prompt": "x", "guidance_scale": 1.0}])
        text = run(job, ranks=2, code=2)
        expect(words in text, f"{parallel}: {text}")
    expect(not (folder / "out").exists(), "something was written")


if __name__ == "__main__":
    sys.exit(main(__name__))
