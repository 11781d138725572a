#!/usr/bin/env python3
"""Clips that are stopped or killed in the middle go on where they were, byte-equal to unbroken ones."""
import json
import os
import random
import shutil
import signal
import sys
import time

import numpy as np
from safetensors.numpy import load_file

from e2e.support import assert_clean, digests, events, expect, launch, main, records, run, write_job

STEPS = 4000
# So many that a clip takes some seconds.
SLOW = {"sampling": {"height": 64, "width": 64, "num_frames": 17, "fps": 8, "num_inference_steps": STEPS, "guidance_scale": 3.0,
                     "max_sequence_length": 16}}
ONE = [{"id": "clip", "prompt": "a cat on grass", "seed": 7}]


def checkpoints(out):
    return sorted((out / ".rushes" / "checkpoints").glob("*.safetensors"))


def under_way(started, out, seconds, before=0):
    """Waits until the clip has been worked on for so long. `before`: how often an item was begun before."""
    expect(started.wait_until(lambda: (out / "events.jsonl").exists() and len(events(out, "item_started")) > before), started.text())
    def seen():
        for path in (out / ".rushes" / "owners").glob("*.json"):
            try:
                if json.loads(path.read_text()).get("step", 0) > 0:
                    return True
            except (OSError, ValueError):
                continue
        return False
    expect(started.wait_until(seen), started.text())
    time.sleep(seconds)


def stopped(job, out, *options, seconds=0.5, ranks=1):
    """Begins the only clip, and asks the run to stop."""
    before = len(events(out, "item_started")) if (out / "events.jsonl").exists() else 0
    started = launch(job, *options, ranks=ranks)
    under_way(started, out, seconds, before)
    started.kill(started.ranks(), signal.SIGUSR1)
    code = started.wait()
    expect(code == 75, f"exit code {code}:\n{started.text()}")
    expect(len(checkpoints(out)) == 1, f"{checkpoints(out)}\n{started.text()}")


def clip_of(out):
    return load_file(out / "latents" / "clip.safetensors")["latents"]


def case_stopped_and_continued(folder, model):
    run(write_job(folder, model, rows=ONE, name="whole", output="whole", **SLOW))
    job = write_job(folder, model, rows=ONE, **SLOW)
    out = folder / "out"
    stopped(job, out)
    stopped(job, out)
    text = run(job)
    expect("item clip goes on behind denoising step" in text, text)
    record = records(out)["clip"]
    print(f"  went on behind step {record['continued_from_step']} of {STEPS}")
    expect(record["continued_from_step"] > 0, record)
    legs = record["legs"]
    runs = [row["run"] for row in events(out, "run_started")]
    expect([leg["run"] for leg in legs] == runs[:2] and runs[2] == record["run"], f"{runs}: {legs}")
    steps = [leg["steps_done"] for leg in legs]
    expect(0 < steps[0] < steps[1] == record["continued_from_step"] and all(leg["seconds"] > 0 for leg in legs), f"{legs}")
    expect(digests(out) == digests(folder / "whole"), "other bytes than an unbroken run's")
    expect(not checkpoints(out), "a checkpoint stays behind")
    assert_clean(out, ["clip"])


def case_restarts_that_get_further_are_no_failure(folder, model):
    """A time limit shorter than a clip: as long as each start makes some steps, it is 75, time and again."""
    job = write_job(folder, model, rows=ONE, **SLOW)
    out = folder / "out"
    for _ in range(5):
        stopped(job, out, seconds=0.2)
    run(job)
    expect(records(out)["clip"]["continued_from_step"] > 0, records(out)["clip"])


def case_killed_and_continued(folder, model):
    """kill -9: the checkpoint is as old as checkpoint_seconds says."""
    run(write_job(folder, model, rows=ONE, name="whole", output="whole", **SLOW))
    rng = random.Random(os.environ.get("KILL_SEED") or 1)
    continued = 0
    for trial in range(20 if os.environ.get("RUSHES_NIGHTLY") else 3):
        name = f"trial-{trial}"
        job = write_job(folder, model, rows=ONE, name=name, output=name, **SLOW, checkpoint_seconds=1)
        out = folder / name
        started = launch(job)
        expect(started.wait_until(lambda: checkpoints(out)), started.text())
        time.sleep(rng.random())
        started.kill(started.group())
        started.wait()
        run(job)
        continued += records(out)["clip"].get("continued_from_step", 0) > 0
        expect(digests(out) == digests(folder / "whole"), f"trial {trial}: other bytes than an unbroken run's")
        assert_clean(out, ["clip"])
    expect(continued > 0, "no trial went on from a checkpoint")


def case_on_another_layout(folder, model):
    """Began on one layout, went on with another: as near to the one-rank clip as that other layout is."""
    run(write_job(folder, model, rows=ONE, name="whole", output="whole", **SLOW))
    wanted = clip_of(folder / "whole")
    one, two, three = {"cfg": 1, "sp": 1, "dit_tp": 1}, {"cfg": 2}, {"sp": 3}
    for number, (first, first_ranks, then, then_ranks) in enumerate(((one, 1, two, 2), (two, 2, one, 1), (one, 1, three, 3),
                                                                    (three, 3, two, 2))):
        name = f"layout-{number}"
        job = write_job(folder, model, rows=ONE, name=name, output=name, **SLOW, parallel=first)
        out = folder / name
        stopped(job, out, ranks=first_ranks)
        job = write_job(folder, model, rows=ONE, name=name, output=name, **SLOW, parallel=then)
        run(job, ranks=then_ranks)
        record = records(out)["clip"]
        expect(record["continued_from_step"] > 0, record)
        began = events(out, "run_started")[0]["layout"]
        expect([leg["layout"] for leg in record["legs"]] == [began] and record["layout"] != began, record)
        off = np.abs(clip_of(out) - wanted)
        print(f"  {first} then {then}: within {off.max():.1e}")
        expect((off <= 1e-4 + 1e-4 * np.abs(wanted)).all(), f"{first} then {then}: {off.max()}")


def case_what_must_not_be_used(folder, model):
    whole = write_job(folder, model, rows=ONE, name="whole", output="whole", **SLOW)
    run(whole)
    kept = folder / "kept"
    job = write_job(folder, model, rows=ONE, **SLOW)
    out = folder / "out"
    stopped(job, out)
    shutil.copy(checkpoints(out)[0], kept)

    def begins_anew(text, want=digests(folder / "whole")):
        expect("goes on behind" not in text and "continued_from_step" not in records(out)["clip"], text)
        expect(want is None or digests(out) == want, "other bytes than an unbroken run's")

    place = out / ".rushes" / "checkpoints" / "clip.safetensors"
    for number, damage in enumerate((lambda data: data[:len(data) // 2], lambda data: b"", lambda data: b"{}" * 500,
                                     lambda data: data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])):
        place.write_bytes(damage(kept.read_bytes()))
        text = run(job)
        begins_anew(text)
        expect("begins anew, its checkpoint cannot be used" in text, f"damage {number}:\n{text}")
        shutil.rmtree(out)
        stopped(job, out)
    # Another request by the same id; then --fresh of the very same one.
    other = write_job(folder, model, rows=[dict(ONE[0], seed=8)], name="other", **SLOW)
    begins_anew(run(other), want=None)
    place.parent.mkdir(exist_ok=True)
    shutil.copy(kept, place)
    begins_anew(run(job, "--fresh"))
    # A --fresh run that was stopped goes on with what it made itself.
    stopped(job, out, "--fresh")
    text = run(job, "--fresh")
    expect("goes on behind" in text and digests(out) == digests(folder / "whole"), text)
    expect(len(records(out)["clip"]["legs"]) == 1, records(out)["clip"])


def case_no_room_for_it(folder, model):
    """What cannot be kept is told, and costs nothing but the steps."""
    job = write_job(folder, model, rows=ONE, **SLOW)
    out = folder / "out"
    out.mkdir()
    (out / ".rushes").mkdir()
    (out / ".rushes" / "checkpoints").write_text("no folder")
    started = launch(job)
    under_way(started, out, 0.3)
    started.kill(started.ranks(), signal.SIGUSR1)
    expect(started.wait() == 75 and started.text().count("no checkpoint can be kept") == 1, started.text())
    (out / ".rushes" / "checkpoints").unlink()
    run(job)
    assert_clean(out, ["clip"])
    expect(len(events(out, "item_done")) == 1, events(out))


if __name__ == "__main__":
    sys.exit(main(__name__))
