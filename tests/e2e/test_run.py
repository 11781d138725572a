#!/usr/bin/env python3
"""`rushes run` from outside: outputs, exit codes, reruns, stops, bad jobs, failing items, shared folders."""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

from e2e.support import (assert_clean, binary, digests, done_counts, events, expect, launch, listing, main, no_processes,
                         poisoned, records, run, write_job)


def ids(count):
    return [f"clip-{i}" for i in range(count)]


def case_ranks_give_the_same_bytes(folder, model):
    one = write_job(folder, model, name="one", output="one")
    run(one, mpi=False)
    assert_clean(folder / "one", ids(6))
    three = write_job(folder, model, name="three", output="three")
    run(three, ranks=3)
    assert_clean(folder / "three", ids(6))
    expect(digests(folder / "one") == digests(folder / "three"), "1 and 3 ranks made different files")
    expect(len({row["rank"] for row in events(folder / "three", "item_done")}) > 1, "one rank did it all")
    expect(set(done_counts(folder / "three").values()) == {1}, "an item was done twice")
    record = records(folder / "three")["clip-0"]
    for key in ("prompt", "request", "request_hash", "sampling", "weights", "code", "layout", "times", "files"):
        expect(record.get(key), f"the record has no {key}")
    expect((folder / "three" / "job.yaml").exists() and not (folder / "three" / "failed.jsonl").exists(), "wrong files")
    # Longest first: more frames are more work.
    starts = [row["id"] for row in events(folder / "one", "item_started")]
    expect(starts == ["clip-2", "clip-5", "clip-1", "clip-4", "clip-0", "clip-3"], f"order {starts}")


def case_rerun_does_only_what_is_missing(folder, model):
    job = write_job(folder, model, count=3)
    out = folder / "out"
    run(job, mpi=False)
    before = digests(out)
    stamps = listing(out / "videos")
    expect("0 to do" in run(job, mpi=False), "the rerun found work")
    expect(listing(out / "videos") == stamps, "the rerun touched videos")
    (out / "videos" / "clip-1.mp4").unlink()
    (out / "latents" / "clip-2.safetensors").write_bytes(b"short")
    run(job, mpi=False)
    expect(digests(out) == before, "the repaired folder differs")
    expect(done_counts(out) == {"clip-0": 1, "clip-1": 2, "clip-2": 2}, f"made {done_counts(out)}")
    # Same size and time, other bytes: only --verify sees it.
    video = out / "videos" / "clip-0.mp4"
    info = video.stat()
    video.write_bytes(bytes(info.st_size))
    os.utime(video, ns=(info.st_atime_ns, info.st_mtime_ns))
    run(job, mpi=False)
    expect(done_counts(out)["clip-0"] == 1, "a plain rerun read every byte")
    run(job, "--verify", mpi=False)
    expect(digests(out) == before and done_counts(out)["clip-0"] == 2, "--verify did not repair")
    # A broken record counts as none; more prompts may be added.
    (out / "items" / "clip-0.json").write_text('{"status": "done"')
    run(write_job(folder, model, count=4), ranks=2)
    assert_clean(out, ids(4))
    expect(done_counts(out) == {"clip-0": 3, "clip-1": 2, "clip-2": 2, "clip-3": 1}, f"made {done_counts(out)}")
    copied = folder / "copy"
    shutil.copytree(out, copied, symlinks=True, copy_function=shutil.copyfile)  # new times, same bytes
    run(write_job(folder, model, count=4, output="copy"), mpi=False)
    expect(done_counts(copied) == done_counts(out), "a copied folder was made again")


def case_another_request_or_model_is_refused(folder, model):
    job = write_job(folder, model, count=2)
    out = folder / "out"
    run(job, mpi=False)
    before = listing(out)
    text = run(job, "--set", "sampling.num_inference_steps=3", mpi=False, code=2)
    for word in ("clip-0", "clip-1", "sampling.num_inference_steps", "4", "3", "--fresh"):
        expect(word in text, f"'{word}' is not in {text}")
    expect(listing(out) == before, "a refused run wrote something")
    other = folder / "other"
    shutil.copytree(model, other)
    config = json.loads((other / "scheduler" / "scheduler_config.json").read_text())
    config["_note"] = "another model"
    (other / "scheduler" / "scheduler_config.json").write_text(json.dumps(config))
    text = run(job, "--set", f"model={other}", "--fresh", mpi=False, code=2)
    expect("another model" in text, text)
    expect(listing(out) == before, "a refused run wrote something")
    old = digests(out)
    run(job, "--set", "sampling.num_inference_steps=3", "--fresh", ranks=2)
    assert_clean(out, ids(2))
    new = digests(out)
    expect(set(new) == set(old) and all(new[path] != old[path] for path in old if path.startswith("latents")),
           "--fresh left an old output")


def case_bad_jobs_end_with_2_and_write_nothing(folder, model):
    good = json.loads(write_job(folder, model, count=1).read_text())
    bad = {
        "unknown key": ({**good, "promts": "x"}, "promts"),
        "wrong size": ({**good, "sampling": {**good["sampling"], "height": 33}}, "33"),
        "no model": ({**good, "model": str(folder / "nothing")}, "nothing"),
        "no prompts": ({**good, "prompts": str(folder / "none.jsonl")}, "none.jsonl"),
        "layout": ({**good, "parallel": {"dp": 4}}, "dp 4"),
        "one clip on too many ranks": ({**good, "parallel": {"sp": 3}}, "sp 3"),
        "output is a file": ({**good, "output": str(folder / "job.yaml")}, "job.yaml"),
        "output below a file": ({**good, "output": str(folder / "job.yaml" / "x")}, "job.yaml"),
    }
    paths = {}
    for name, (job, _) in bad.items():
        paths[name] = folder / f"{name.replace(' ', '-')}.yaml"
        paths[name].write_text(json.dumps(job))
    (folder / "logs").mkdir()
    before = {path: state for path, state in listing(folder).items() if not path.startswith("log")}
    for name, (_, word) in bad.items():
        text = run(paths[name], ranks=2, code=2)
        expect(word in text, f"{name}: '{word}' is not in\n{text}")
        told = [line for line in text.splitlines() if "error:" in line]
        expect(len(told) == len(set(told)) and len(told) >= 1, f"{name}: told more than once:\n{text}")
    expect({path: state for path, state in listing(folder).items() if not path.startswith("log")} == before,
           "something was written")
    for arguments, word in ((["run"], "job file is missing"), (["run", "a", "b"], "'b'"), (["rum"], "'run'"),
                            (["run", "a", "--frsh"], "frsh"), (["run", "a", "--set", "x"], "key=value"),
                            (["status", str(folder)], "no output folder"), ([], "rushes run")):
        done = subprocess.run([binary(), *arguments], capture_output=True, text=True, timeout=60)
        expect(done.returncode == 2 and word in done.stderr, f"{arguments}: {done.returncode}: {done.stderr}")


def case_a_failing_item_is_recorded_and_the_rest_go_on(folder, model):
    rows = [{"id": f"clip-{i}", "prompt": "x", "seed": i, "num_frames": 1} for i in range(4)]
    rows[1]["prompt"] = "poison"
    model = poisoned(model, folder / "poisoned")
    job = write_job(folder, model, rows=rows)
    out = folder / "out"
    text = run(job, ranks=2, code=4)
    expect("clip-1" in text and "1 failed" in text, text)
    found = records(out)
    expect({name: record["status"] for name, record in found.items()} ==
           {"clip-0": "done", "clip-1": "failed", "clip-2": "done", "clip-3": "done"}, "wrong records")
    expect("NaN" in found["clip-1"]["error"] and found["clip-1"]["attempts"] == 1, f"{found['clip-1']}")
    lines = [json.loads(line) for line in (out / "failed.jsonl").read_text().splitlines()]
    expect(len(lines) == 1 and lines[0]["id"] == "clip-1" and lines[0]["prompt"] == "poison", f"{lines}")
    for attempts in (2, 3, 3):  # two retries, then it is left alone
        run(job, mpi=False, code=4)
        expect(records(out)["clip-1"]["attempts"] == attempts, f"{records(out)['clip-1']['attempts']} attempts")
    expect(len(events(out, "item_failed")) == 3, "tried another number of times")
    run(job, "--retry-failed", mpi=False, code=4)
    expect(len(events(out, "item_failed")) == 4, "--retry-failed did not try it")
    # failed.jsonl is a prompts file: mended, it gives the item that was missing.
    again = write_job(folder, model, name="again", output="again")
    data = json.loads(again.read_text())
    data["prompts"] = str(out / "failed.jsonl")
    again.write_text(json.dumps(data))
    run(again, mpi=False, code=4)
    expect(records(folder / "again")["clip-1"]["request_hash"] == found["clip-1"]["request_hash"], "another request")
    # A failed request may be replaced by a good one: nothing was made that could be lost.
    rows[1]["prompt"] = "a blue square"
    run(write_job(folder, model, rows=rows), mpi=False)
    assert_clean(out, [row["id"] for row in rows])
    expect(not (out / "failed.jsonl").exists(), "failed.jsonl stayed")


def case_signals_stop_after_the_step(folder, model):
    whole = write_job(folder, model, count=4, name="whole", output="whole", steps=2000)
    run(whole, mpi=False)
    for number, mpi in ((signal.SIGTERM, False), (signal.SIGINT, False), (signal.SIGUSR1, True)):
        name = f"stop-{number.name}"
        job = write_job(folder, model, count=4, name=name, output=name, steps=2000)
        out = folder / name
        started = launch(job, ranks=2, mpi=mpi)
        made = started.wait_until(lambda: (out / "events.jsonl").exists() and len(done_counts(out)) >= 1)
        expect(made, started.text())
        os.kill(started.pid, number)
        code = started.wait(60)
        no_processes(started)
        expect(code == 75, f"{name}: exit code {code}:\n{started.text()}")
        expect("run the same command again" in started.text(), started.text())
        expect(events(out)[-1]["event"] == "run_ended" and events(out, "run_stopped"), "no run_stopped event")
        done = [row["id"] for row in events(out, "item_done")]
        expect(0 < len(done) < 4, f"{name}: {len(done)} items were done")
        for place in ("claims", "owners", "work"):
            expect(not list((out / ".rushes" / place).iterdir()), f"{name}: something stayed in {place}")
        run(job, ranks=2, mpi=mpi)
        assert_clean(out, ids(4))
        expect(set(done_counts(out).values()) == {1}, f"{name}: {done_counts(out)}")
        expect(digests(out) == digests(folder / "whole"), f"{name}: other files than an unbroken run's")


def case_restarts_without_progress_end_with_4(folder, model):
    job = write_job(folder, model, count=2, steps=3000)
    out = folder / "out"
    (out / ".rushes").mkdir(parents=True)
    (out / ".rushes" / "checkpoints").write_text("in the way: nothing can be kept of a clip that is stopped")
    for code in (75, 75, 4):  # a start and two restarts
        started = launch(job, mpi=False)
        expect(started.wait_until(lambda: (out / "events.jsonl").exists() and events(out, "item_started")), started.text())
        time.sleep(0.2)
        os.kill(started.pid, signal.SIGTERM)
        got = started.wait(60)
        expect(got == code, f"exit code {got}, should be {code}:\n{started.text()}")
        (out / "events.jsonl").unlink()


def case_two_runs_share_one_folder(folder, model):
    alone = write_job(folder, model, count=8, name="alone", output="alone", steps=1000)
    run(alone, mpi=False)
    job = write_job(folder, model, count=8, steps=1000)
    out = folder / "out"
    # The first one stands still until the second has an item too, else it may be through before that has started.
    first = launch(job, mpi=False)
    begun = lambda count: (out / "events.jsonl").exists() and len(events(out, "item_started")) >= count
    expect(first.wait_until(lambda: begun(1)), first.text())
    first.kill(first.ranks(), signal.SIGSTOP)
    so_far, end = len(events(out, "item_started")), time.monotonic() + 20  # it may hold the folder's lock: not for ever
    second = launch(job, ranks=2)
    second.wait_until(lambda: begun(so_far + 1) or time.monotonic() > end)
    first.kill(first.ranks(), signal.SIGCONT)
    runs = [first, second]
    codes = [started.wait() for started in runs]
    expect(codes == [0, 0], f"exit codes {codes}:\n" + "\n".join(started.text() for started in runs))
    assert_clean(out, ids(8))
    expect(set(done_counts(out).values()) == {1}, f"{done_counts(out)}")
    expect(digests(out) == digests(folder / "alone"), "other files than a single run's")
    expect(len({row["run"] for row in events(out, "item_done")}) == 2, "one of the runs did it all")
    for row in events(out, "run_ended"):
        expect(row["code"] == 0 and row["done"] == 8, f"untruthful end: {row}")


def case_fresh_goes_on_after_a_stop(folder, model):
    job = write_job(folder, model, count=4, steps=1200)
    out = folder / "out"
    run(job, mpi=False)
    before = digests(out)
    started = launch(job, "--fresh", mpi=False)
    expect(started.wait_until(lambda: len(events(out, "item_done")) >= 5), started.text())
    os.kill(started.pid, signal.SIGTERM)
    expect(started.wait() == 75, started.text())
    again = len(events(out, "item_done")) - 4
    expect(1 <= again < 4, f"{again} items were made again")
    run(job, "--fresh", mpi=False)
    assert_clean(out, ids(4))
    expect(done_counts(out) == {name: 2 for name in ids(4)}, f"{done_counts(out)}")
    expect(digests(out) == before, "made again differently")
    run(job, "--fresh", mpi=False)
    expect(done_counts(out) == {name: 3 for name in ids(4)}, "a second --fresh made nothing")


def case_status_reads_it_from_outside(folder, model):
    rows = [{"id": name, "prompt": "x", "seed": 1, "height": 128, "width": 128, "num_frames": 17} for name in ids(3)]
    job = write_job(folder, model, rows=rows, steps=1000)
    out = folder / "out"
    started = launch(job, ranks=2)
    seen = []

    def status():
        done = subprocess.run([binary(), "status", str(out)], capture_output=True, text=True, timeout=60)
        if done.returncode == 0:
            seen.append(done.stdout)
        return done.returncode == 0 and "denoising" in done.stdout and "/1000" in done.stdout
    expect(started.wait_until(status), f"never seen running:\n{''.join(seen[-3:])}")
    expect("3 items" in seen[-1] and "rank " in seen[-1] and "clip-" in seen[-1] and "denoising" in seen[-1], seen[-1])
    watch = subprocess.run([binary(), "status", str(out), "--watch"], capture_output=True, text=True, timeout=120)
    expect(watch.returncode == 0, watch.stderr)
    expect(started.wait() == 0, started.text())
    after = subprocess.run([binary(), "status", str(out)], capture_output=True, text=True, timeout=60).stdout
    expect("3 done, 0 failed, 0 running, 0 to do" in after and "exit code 0" in after, after)


def case_embeddings_are_kept_and_may_be_spoilt(folder, model):
    job = write_job(folder, model, count=4)
    out = folder / "out"
    run(job, mpi=False)
    store = out / ".rushes" / "embeddings"
    files = sorted(store.iterdir())
    expect(files, "no text embedding was kept")
    stamps = listing(store)
    run(job, "--fresh", mpi=False)
    expect(listing(store) == stamps, "embeddings were made again")
    before = digests(out)
    for file in files:
        file.write_bytes(file.read_bytes()[:-3])
    text = run(job, "--fresh", mpi=False)
    expect("made again" in text, text)
    expect(digests(out) == before, "spoilt embeddings changed the clips")
    run(job, "--fresh", mpi=False, environment={"RUSHES_CACHE": str(folder / "cache")})
    expect(len(list((folder / "cache" / "embeddings").iterdir())) == len(files), "RUSHES_CACHE was not used")


if __name__ == "__main__":
    sys.exit(main(__name__))
