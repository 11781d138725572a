#!/usr/bin/env python3
"""A rank that hangs is named and ends the run; a stop that takes too long leaves at the last checkpoint; a time limit is kept."""
import math
import signal
import sys
import time

from e2e.support import assert_clean, digests, done_counts, events, expect, launch, main, no_processes, run, rushes, write_job
from e2e.test_events import check

IDS = [f"clip-{i}" for i in range(4)]


def started(output):
    return (output / "events.jsonl").exists() and events(output, "item_started")


def case_a_rank_that_stands_still_ends_the_run(folder, model):
    job, out = write_job(folder, model, count=4, steps=3000), folder / "out"
    going = launch(job, ranks=2, environment={"RUSHES_RANK_TIMEOUT": "2"})
    expect(going.wait_until(lambda: len(started(out) or []) >= 2), going.text())
    stopped = going.ranks()[1:]
    going.kill(stopped, signal.SIGSTOP)
    try:
        code = going.wait(90)
    finally:
        going.kill(stopped, signal.SIGCONT)
    expect(code == 75, f"exit code {code}:\n{going.text()}")
    expect("has not been heard of" in going.text() and "the same command continues" in going.text(), going.text())
    check(out)
    hangs = events(out, "rank_hangs")
    expect(hangs and hangs[0]["silent"] and hangs[0]["stage"] and hangs[0]["id"] in IDS, f"{hangs}")
    no_processes(going)
    run(job, ranks=2)
    assert_clean(out, IDS)
    expect(set(done_counts(out).values()) == {1}, f"{done_counts(out)}")
    run(write_job(folder, model, count=4, steps=3000, name="whole", output="whole"))
    expect(digests(out) == digests(folder / "whole"), "other files than an unbroken run's")


def case_ranks_that_work_are_left_alone(folder, model):
    job = write_job(folder, model, count=4, steps=6000)
    text = run(job, ranks=3, environment={"RUSHES_RANK_TIMEOUT": "1"})
    expect("got no further" not in text and not events(folder / "out", "rank_hangs"), text)


def case_a_stop_that_takes_too_long_leaves_at_the_checkpoint(folder, model):
    # One step of this clip takes longer than the second that there is.
    rows = [{"id": "slow", "prompt": "x", "seed": 1, "height": 512, "width": 512, "num_frames": 33, "num_inference_steps": 4}]
    job, out = write_job(folder, model, rows=rows, save=("latents",)), folder / "out"
    going = launch(job, environment={"RUSHES_GRACE": "1"})
    expect(going.wait_until(lambda: started(out)), going.text())
    time.sleep(0.5)
    begun = time.monotonic()
    going.kill(going.ranks(), signal.SIGUSR1)
    code = going.wait(60)
    took = time.monotonic() - begun
    expect(code == 75, f"exit code {code}:\n{going.text()}")
    ended_in_order = bool(events(out, "run_stopped"))
    expect(ended_in_order or "was asked to stop" in going.text() and events(out, "stop_too_long"), going.text())
    expect(took < 10, f"it took {took:.1f} s to leave")
    run(job)
    assert_clean(out, ["slow"])


def case_a_time_limit_is_kept(folder, model):
    begun = time.monotonic()
    run(write_job(folder, model, count=6, steps=2000, name="whole", output="whole"), ranks=2)
    # Some 15 s of work here and now, for lives of 5 s.
    wanted, most = 2000 * 15 / (time.monotonic() - begun), 10000  # steps of a clip
    count, steps = 6 * math.ceil(wanted / most), int(min(max(2000, wanted), most))
    job, out = write_job(folder, model, count=count, steps=steps), folder / "out"
    going = launch(job, ranks=2, environment={"RUSHES_END_TIME": str(int(time.time()) + 600)})
    expect(going.wait_until(lambda: started(out), 60), going.text())
    shown = rushes("status", out)
    going.kill(going.ranks(), signal.SIGUSR1)
    expect(going.wait(60) == 75 and "time limit in 9 min" in shown, shown + going.text())
    lives = 0
    while lives < 20:
        going = launch(job, ranks=2, environment={"RUSHES_END_TIME": str(int(time.time()) + 5)})
        code = going.wait(60)
        lives += 1
        expect(code in (0, 75), f"exit code {code}:\n{going.text()}")
        expect("time limit in" in going.text(), going.text())
        if code == 0:
            break
        expect("time limit" in events(out, "run_stopped")[-1]["why"], f"{events(out, 'run_stopped')[-1]}")
    expect(code == 0 and lives > 1, f"exit code {code} after {lives} lives")
    assert_clean(out, [f"clip-{i}" for i in range(count)])
    expect(set(done_counts(out).values()) == {1}, f"{done_counts(out)}")
    wrong = launch(job, environment={"RUSHES_END_TIME": "tomorrow"})
    expect(wrong.wait(60) == 2 and "RUSHES_END_TIME is 'tomorrow'" in wrong.text(), wrong.text())
    wrong = launch(job, environment={"RUSHES_GRACE": "0"})
    expect(wrong.wait(60) == 2 and "RUSHES_GRACE is '0'" in wrong.text(), wrong.text())


if __name__ == "__main__":
    sys.exit(main(__name__))
