#!/usr/bin/env python3
"""Batches on a real Slurm: `rushes submit`, launchers, arrays, and everything that can happen to a job."""
import os
import pathlib
import shutil
import subprocess
import sys
import time

from e2e.support import (SKIPPED, Skip, assert_clean, binary, digests, done_counts, events, expect, records, run, tiny_model,
                         write_job)
from slurm.support import ROOT, Cluster, done, log_text

IDS = [f"clip-{i}" for i in range(6)]
LONG = 3000  # steps of clips that take a second or more


class World:
    """What the cases share: the cluster, a model, and the clips of an unbroken run without Slurm."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.model = tiny_model(cluster.root / "model")
        self.whole = {}

    def job(self, name, steps=4, **more):
        folder = self.cluster.root / name
        folder.mkdir(exist_ok=True)
        return write_job(folder, self.model, steps=steps, **more), folder / "out"

    def same_as_unbroken(self, output, steps, ids=IDS):
        assert_clean(output, ids)
        expect(set(done_counts(output).values()) == {1}, f"done more than once: {done_counts(output)}")
        if steps not in self.whole:
            job, whole = self.job(f"whole-{steps}", steps)
            run(job)
            self.whole[steps] = digests(whole)
        expect(digests(output) == self.whole[steps], "other files than an unbroken run's")


def started(output):
    return (output / "events.jsonl").exists() and events(output, "item_started")


def case_mpirun_and_srun_over_three_nodes(world):
    jobs = []
    for launcher in ("mpirun", "srun"):
        job, output = world.job(f"over-{launcher}")
        jobs.append((world.cluster.submit(job, nodes=3, launcher=launcher), output))
    for number, output in jobs:
        world.cluster.ended(number, output)
        world.same_as_unbroken(output, 4)
        hosts = {record["host"] for record in records(output).values()}
        if world.cluster.mode == "hosts":
            expect(events(output, "run_started")[0]["world"] == 3 and len(hosts) > 1, f"all was made on {hosts}")
        log = log_text(output)
        expect(f"job-{number}.out" in {path.name for path in (output / "logs").iterdir()}, "no log by the job's name")
        expect("life 1 on n[1-3], 3 tasks" in log and "ended with 0" in log, log)
        expect("time limit in 7 min" in log, f"the time limit is not known:\n{log}")
        expect((output / "logs" / "rank-2.log").exists(), "no log of rank 2")


def case_one_clip_over_three_nodes(world):
    for launcher in ("mpirun", "srun"):
        job, output = world.job(f"ring-{launcher}", count=1, parallel={"sp": 3})
        world.cluster.ended(world.cluster.submit(job, nodes=3, launcher=launcher), output)
        assert_clean(output, IDS[:1])
        layout = records(output)["clip-0"]["layout"]
        expect("sp 3" in layout, layout)


def case_srun_without_pmi_shares_by_claims(world):
    job, output = world.job("alone")
    world.cluster.ended(world.cluster.submit(job, nodes=3, launcher="srun:none"), output)
    world.same_as_unbroken(output, 4)
    expect(len(events(output, "run_started")) == 3, "not three worlds of one rank")
    job, output = world.job("too-wide", parallel={"sp": 3})
    refused = world.cluster.call(binary(), "submit", job, "--set", "cluster.launcher=srun:none", code=None)
    expect(refused.returncode == 2 and "sp" in refused.stderr, f"{refused.returncode}: {refused.stderr}")
    # And by hand, as those do who know nothing of submit.
    by_hand = world.cluster.call("srun", "-N3", "--mpi=none", binary(), "run", job, code=None)
    expect(by_hand.returncode == 2 and "srun --mpi=pmix" in by_hand.stderr, f"{by_hand.returncode}: {by_hand.stderr}")


def case_an_array_shares_the_items(world):
    job, output = world.job("array", steps=150)
    number = world.cluster.submit(job, array=3)
    world.cluster.ended(number, output)
    world.same_as_unbroken(output, 150)
    makers = {record["batch_job"] for record in records(output).values()}
    expect(len(makers) > 1, f"one task made all: {makers}")
    names = {path.name for path in (output / "logs").iterdir()}
    expect({f"job-{number}_{task}.out" for task in range(3)} <= names, f"logs: {names}")


def case_requeued_it_goes_on(world):
    job, output = world.job("requeued", steps=LONG)
    number = world.cluster.submit(job, nodes=2)
    world.cluster.until("the first clip", lambda: len(done(output)) >= 1, log=output)
    world.cluster.call("scontrol", "requeue", number)
    row = world.cluster.ended(number, output)
    expect(int(row["Restarts"]) == 1 and "life 2" in log_text(output), f"{row['Restarts']} restarts:\n{log_text(output)}")
    world.same_as_unbroken(output, LONG)


def case_cancelled_it_stays_so_and_the_same_submit_continues(world):
    job, output = world.job("cancelled", steps=LONG)
    number = world.cluster.submit(job)
    world.cluster.until("the first clip", lambda: len(done(output)) >= 1, log=output)
    world.cluster.call("scancel", number)
    world.cluster.until("the end", lambda: world.cluster.state(number) == "CANCELLED", log=output)
    time.sleep(3)
    expect(world.cluster.state(number) == "CANCELLED", f"it is {world.cluster.state(number)} again")
    expect(len(done(output)) < len(IDS), "it was through before it was cancelled")
    world.cluster.ended(world.cluster.submit(job), output)
    world.same_as_unbroken(output, LONG)


def case_preempted_it_goes_on_later(world):
    job, output = world.job("preempted", steps=2 * LONG)
    number = world.cluster.submit(job, nodes=2, partition="low", warning_seconds=10)
    world.cluster.until("the first clip", lambda: len(done(output)) >= 1, log=output)
    # A node for which nothing else has to end: jobs of partition main are not preempted.
    node = next(node for node in world.cluster.nodes_of(number) if world.cluster.call("squeue", "-h", "-o", "%i", "-w", node).split() == [str(number)])
    high = int(world.cluster.call("sbatch", "--parsable", "-p", "high", "-w", node, "--exclusive", "-o", "/dev/null", "--wrap", "sleep 3"))
    world.cluster.until("preemption", lambda: world.cluster.state(high) in ("RUNNING", "COMPLETING", "COMPLETED"), log=output)
    row = world.cluster.ended(number, output)
    expect(int(row["Restarts"]) >= 1, "it was not preempted")
    world.same_as_unbroken(output, 2 * LONG)
    expect(events(output, "item_stopped"), f"no clip was stopped in order:\n{log_text(output)}")


def case_a_lost_node_costs_no_clip(world):
    if world.cluster.mode != "hosts":
        return
    job, output = world.job("lost", steps=LONG)
    number = world.cluster.submit(job, nodes=2)
    world.cluster.until("the first clip", lambda: len(done(output)) >= 1, log=output)
    nodes = world.cluster.nodes_of(number)
    world.cluster.node(nodes[-1], "off")
    try:
        row = world.cluster.ended(number, output, seconds=180)
        expect(int(row["Restarts"]) >= 1, "the job did not notice")
        for path in (output / ".rushes" / "owners").glob(f"{nodes[-1]}-*"):
            path.unlink()  # nobody can know yet that the node is gone for good
        for path in (output / ".rushes" / "work").glob(f"{nodes[-1]}-*"):
            shutil.rmtree(path)
        world.same_as_unbroken(output, LONG)
    finally:
        world.cluster.node(nodes[-1], "up")


def case_a_dead_slurmd_costs_no_clip(world):
    job, output = world.job("slurmd", steps=LONG)
    number = world.cluster.submit(job, nodes=2)
    world.cluster.until("the first clip", lambda: len(done(output)) >= 1, log=output)
    node = world.cluster.nodes_of(number)[0]
    world.cluster.node(node, "crash")
    try:
        world.cluster.until("its end", lambda: len(done(output)) == len(IDS), seconds=180, log=output)
    finally:
        world.cluster.node(node, "up")
    world.cluster.ended(number, output, seconds=180)
    world.same_as_unbroken(output, LONG)


def case_a_chain_waits_and_breaks(world):
    first_job, first = world.job("chain-first", steps=150)
    then_job, then = world.job("chain-then")
    number = world.cluster.submit(first_job)
    after = world.cluster.submit(then_job, after=f"afterok:{number}")
    world.cluster.ended(after, then)
    world.same_as_unbroken(then, 4)
    expect(events(first, "run_ended")[-1]["time"] <= events(then, "run_started")[0]["time"], "it did not wait")
    # One that fails: what waits for it is cancelled, not left in the queue for ever.
    broken_job, broken = world.job("chain-broken")
    job_text = broken_job.read_text().replace('"device": "cpu"', '"device": "cuda"')
    broken_job.write_text(job_text)
    number = world.cluster.submit(broken_job)
    after = world.cluster.submit(then_job, after=f"afterok:{number}")
    world.cluster.ended(number, broken, code=2)
    world.cluster.until("the chain to break", lambda: world.cluster.state(after) == "CANCELLED", log=then)


def case_the_time_limit_is_planned_with(world, early):
    """Submitted first and looked at last: the warning comes a minute before the end of two."""
    number, output = early
    row = world.cluster.ended(number, output, seconds=240)
    log = log_text(output)
    expect(int(row["Restarts"]) >= 1 and "back into the queue" in log, f"{row['Restarts']} restarts:\n{log}")
    assert_clean(output, [f"clip-{i}" for i in range(24)])
    expect(set(done_counts(output).values()) == {1}, f"done more than once: {done_counts(output)}")


def case_messages_tell_what_is_wrong(world):
    job, output = world.job("messages")
    wrong = [
        (["cluster.partition=mian"], ["no partition 'mian'", "did you mean 'main'"]),
        (["cluster.gpus_per_node=8", "cluster.device=h100"], ["gpus_per_node: 8 asked for", "has no GPUs"]),
        (["cluster.nodes=9"], ["nodes: 9 asked for", "at most 3"]),
        (["cluster.cpus_per_rank=64"], ["cpus_per_rank: 64 asked for", "at most 4"]),
        (["cluster.memory=900G"], ["memory: 921600 asked for"]),
        (["cluster.time=tomorrow"], ["'tomorrow' is no time as Slurm writes it"]),
        (["cluster.time=1"], ["too short for a warning of 120 seconds"]),
        (["cluster.site=nowhere"], ["no site 'nowhere'", "default"]),
        (["cluster.partion=main"], ["cluster.partion: unknown key", "did you mean 'partition'"]),
        (["cluster.account=a b"], ["cluster.account", "cannot stand in a line of #SBATCH"]),
        (["cluster.launcher=mpiexec"], ["cluster.launcher", "mpirun"]),
        (["parallel.sp=5"], ["sp"]),
        (["sampling.height=7008", "sampling.width=7008", "cluster.device=" + str(small_device(world))], ["fits", "GiB"]),
    ]
    for settings, words in wrong:
        options = [word for setting in settings for word in ("--set", setting)]
        got = world.cluster.call(binary(), "submit", job, *options, code=None)
        missing = [word for word in words if word not in got.stderr]
        expect(got.returncode == 2 and not missing, f"{settings}: {got.returncode}, without {missing}:\n{got.stderr}")
        expect(not output.exists() and "internal error" not in got.stderr, f"{settings}: {got.stderr}")
    (output / ".rushes").mkdir(parents=True)
    (output / ".rushes" / "folder.json").write_text('{"model": "other", "numerics": "diffusers", "format": 1}')
    got = world.cluster.call(binary(), "submit", job, code=None)
    expect(got.returncode == 2 and "holds the clips of another model" in got.stderr, f"{got.returncode}: {got.stderr}")
    expect([path.name for path in output.iterdir()] == [".rushes"], f"submit wrote {list(output.iterdir())}")
    got = world.cluster.call(binary(), "submit", job, "--nightly=", code=None)
    expect(got.returncode == 2 and "must be a time of day" in got.stderr, f"--nightly=: {got.returncode}: {got.stderr}")
    no_slurm = subprocess.run([binary(), "submit", job], env={**os.environ, "PATH": "/nowhere"}, capture_output=True, text=True)
    expect(no_slurm.returncode == 2 and "no Slurm here" in no_slurm.stderr, no_slurm.stderr)


def small_device(world):
    path = world.cluster.root / "small.yaml"
    text = (ROOT / "configs" / "clusters" / "cpu.yaml").read_text()
    lines = ["memory_bytes: 0.5e9" if line.startswith("memory_bytes:") else line for line in text.splitlines()]
    expect(lines != text.splitlines(), "the cluster file has no memory_bytes")
    path.write_text("\n".join(lines) + "\n")
    return path


def case_the_script_is_shown_and_sites_count(world):
    job, output = world.job("shown")
    site = world.cluster.root / "here.env"
    site.write_text("# of this test\nPARTITION=high\nNODES=2\nTIME=01:00:00   # an hour\nSETUP=export A=\"b # c\"\nSETUP=true\n")
    script = world.cluster.call(binary(), "submit", job, "--print", "--set", f"cluster.site={site}", "--set", "cluster.nodes=3")
    for line in ("#SBATCH --partition=high", "#SBATCH --nodes=3", "#SBATCH --time=01:00:00", 'export A="b # c"\ntrue',
                 "#SBATCH --signal=B:USR1@120", "#SBATCH --requeue", "--open-mode=append"):
        expect(line in script, f"no '{line}' in\n{script}")
    expect("--array" not in script and "@" not in script.replace("USR1@120", ""), f"left in the template:\n{script}")
    expect(not output.exists(), "--print has written something")
    nightly = world.cluster.call(binary(), "submit", job, "--nightly=03:30", "--set", "sampling.seed=5")
    expect("30 3 * * * cd " in nightly and "cluster.after=singleton" in nightly and "#SCRON" in nightly, nightly)
    # The line does what it says.
    command = next(line for line in nightly.splitlines() if line.startswith("30 3"))[len("30 3 * * * "):].replace("\\%", "%")
    number = world.cluster.call("bash", "-c", command, cwd="/").split()[-1]
    world.cluster.ended(int(number), output)
    expect({record["settings"]["seed"] if "settings" in record else 5 for record in records(output).values()} == {5}, "another seed")
    wrong = site.with_name("wrong.env")
    wrong.write_text("PARTITION=high\nNODES=two\nPARTITON=x\nno line\n")
    got = world.cluster.call(binary(), "submit", job, "--set", f"cluster.site={wrong}", code=None)
    expect(got.returncode == 2 and f"{wrong}:4" in got.stderr, got.stderr)
    wrong.write_text("PARTITION=high\nNODES=two\nPARTITON=x\n")
    got = world.cluster.call(binary(), "submit", job, "--set", f"cluster.site={wrong}", code=None)
    expect(got.returncode == 2 and f"{wrong}:2: cluster.nodes" in got.stderr and f"{wrong}:3" in got.stderr, got.stderr)


def case_the_job_counts_more_than_the_shell(world):
    job, output = world.job("stronger")
    world.cluster.environment.update(SBATCH_PARTITION="nowhere", SBATCH_JOB_NAME="another")
    try:
        row = world.cluster.ended(world.cluster.submit(job, partition="high"), output)
        expect(row["Partition"] == "high" and row["JobName"] == "job", f"{row}")
        got = world.cluster.call(binary(), "submit", job, code=None)
        expect(got.returncode == 2 and "invalid partition specified: nowhere" in got.stderr, got.stderr)
    finally:
        for name in ("SBATCH_PARTITION", "SBATCH_JOB_NAME"):
            del world.cluster.environment[name]


def case_a_job_in_the_queue_is_told_of(world):
    job, output = world.job("held")
    number = world.cluster.submit(job, options="--hold")
    shown = world.cluster.call(binary(), "status", output)
    expect(f"submitted as batch job {number}; no run has begun" in shown, shown)
    world.cluster.call("scontrol", "release", number)
    world.cluster.ended(number, output)
    shown = world.cluster.call(binary(), "status", output, "--watch")
    expect(f"{len(IDS)} done" in shown, shown)


def main():
    failed = []
    wanted = os.environ.get("E2E_CASE")
    with Cluster() as cluster:
        world = World(cluster)
        job, output = world.job("limited", steps=10000, count=24)
        early = None
        if wanted in (None, "", "the_time_limit_is_planned_with"):
            early = (cluster.submit(job, time="00:02:00", warning_seconds=60), output)
        cases = [(name[5:], value) for name, value in globals().items() if name.startswith("case_")]
        for name, case in sorted(cases, key=lambda pair: "time_limit" in pair[0]):
            if wanted not in (None, "", name):
                continue
            begun = time.monotonic()
            try:
                case(world, early) if "time_limit" in name else case(world)
                outcome = "ok"
            except Exception as error:  # one failed case must not hide the others
                print(f"{type(error).__name__}: {error}")
                failed.append(name)
                outcome = "FAILED"
            print(f"{name}: {outcome} ({time.monotonic() - begun:.1f} s)", flush=True)
    if failed:
        print(f"FAILED: {', '.join(failed)} (one alone: E2E_CASE={failed[0]})")
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Skip as reason:
        print(f"skipped: {reason}")
        sys.exit(SKIPPED)
