#!/usr/bin/env python3
"""A soak: hundreds of the demo's clips over three nodes of a real Slurm, in which everything breaks at random.

    tests/slurm/soak.py [--clips 500] [--steps 150] [--seed 1] [--seconds 5] [--json FILE]

Ranks, launchers, daemons and nodes are killed, a node's network is cut, the disk is filled, the job is requeued and
preempted, about every --seconds. Each clip must be done once, with the bytes of an unbroken run. What ends with work left is
submitted again, as a person would. Prints what it cost: faults, lives of the job, seconds lost a fault.
"""
import argparse
import collections
import json
import math
import os
import pathlib
import random
import sys
import time

from e2e.support import SKIPPED, Skip, assert_clean, digests, done_counts, expect, run, write_job
from slurm.support import ENDED, ROOT, Cluster, done

MODEL = ROOT / "datasets" / "shapes" / "checkpoint"
COLOURS = ["red", "green", "blue", "yellow", "purple", "white"]
SHAPES = ["circle", "square", "triangle"]
SIDES = ["left", "right", "up", "down"]


def job_of(folder, clips, steps, output):
    rows = [{"id": f"clip-{i:03}", "seed": 1000 + i, "num_frames": 5 + 4 * (i % 3),
             "prompt": f"a {COLOURS[i % 6]} {SHAPES[i % 3]} moving {SIDES[i % 4]} on a black background"} for i in range(clips)]
    return write_job(folder, MODEL, rows=rows, steps=steps, save=("video",), name=pathlib.Path(output).name, output=output,
                     checkpoint_seconds=1)


class Faults:
    """Each method breaks something and, where it stays broken, mends it later."""

    def __init__(self, cluster, output, disk, dice):
        self.cluster, self.output, self.disk, self.dice = cluster, output, disk, dice
        self.counts = collections.Counter()
        self.mends = []  # (when, what)
        self.hurt = set()  # nodes

    def kinds(self):
        kinds = [self.a_rank, self.all_ranks, self.the_launcher, self.slurmd, self.slurmctld, self.requeue, self.preempt,
                 self.node_off]
        return kinds + ([self.network_cut] if self.cluster.mode == "hosts" else []) + ([self.disk_full] if self.disk else [])

    def strike(self, job):
        kind = self.dice.choice(self.kinds())
        if kind(job) is not False:
            self.counts[kind.__name__] += 1
            print(f"  {kind.__name__}: {len(done(self.output))} clips are done", flush=True)

    def mend(self, all_of_it=False):
        for when, what in list(self.mends):
            if all_of_it or time.monotonic() > when:
                self.mends.remove((when, what))
                what()

    def tend(self, job):
        """What an administrator does: Slurm drains a node, and holds a job, whose parts it has lost sight of."""
        for line in self.cluster.call("sinfo", "-N", "-h", "-p", "main", "-o", "%N %T", code=None).stdout.splitlines():
            node, state = line.split()
            if state in ("drained", "draining") and node not in self.hurt:
                self.cluster.call("scontrol", "update", f"NodeName={node}", "State=RESUME", code=None)
        if job and "held" in self.cluster.call("squeue", "-h", "-j", job, "-o", "%r", code=None).stdout:
            self.cluster.call("scontrol", "release", job, code=None)

    def later(self, seconds, what):
        self.mends.append((time.monotonic() + seconds, what))

    def broken(self):
        return bool(self.mends)

    def pids(self, name):
        """Of the batch's processes, on all nodes: their environment names the testbed."""
        found = []
        for folder in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                if (folder / "comm").read_text().strip() == name and str(self.cluster.root).encode() in (folder / "environ").read_bytes():
                    found.append(int(folder.name))
            except OSError:
                pass
        return sorted(found)

    def kill(self, pids):
        for pid in pids:
            try:
                os.kill(pid, 9)
            except ProcessLookupError:
                pass
        return bool(pids)

    def a_rank(self, _):
        ranks = self.pids("rushes")
        return self.kill([self.dice.choice(ranks)] if ranks else [])

    def all_ranks(self, _):
        return self.kill(self.pids("rushes"))

    def the_launcher(self, _):
        return self.kill(self.pids("mpirun"))

    def break_node(self, how, mended_by, seconds):
        """One that is whole, for a while."""
        whole = sorted({"n1", "n2", "n3"} - self.hurt)
        if not whole:
            return False
        node = self.dice.choice(whole)
        self.hurt.add(node)

        def mend():
            self.cluster.node(node, mended_by)
            self.hurt.discard(node)

        self.cluster.node(node, how)
        self.later(self.dice.uniform(1, seconds), mend)
        return True

    def slurmd(self, _):
        return self.break_node("crash", "up", 20)

    def slurmctld(self, _):
        if self.hurt:  # its start waits for all nodes
            return False
        pid = int((self.cluster.root / "bed" / "run" / "slurmctld.pid").read_text().split()[0])
        self.kill([pid])
        self.cluster.call(ROOT / "slurm" / "testbed", "start", self.cluster.root / "bed")

    def requeue(self, job):
        return self.cluster.call("scontrol", "requeue", job, code=None).returncode == 0

    def preempt(self, _):
        return self.cluster.call("sbatch", "-p", "high", "-N3", "--exclusive", "-t", "1", "-o", "/dev/null", "--wrap", "sleep 2",
                                 code=None).returncode == 0

    def node_off(self, _):
        return self.break_node("off", "up", 20)

    def network_cut(self, _):
        return self.break_node("cut", "join", 25)

    def disk_full(self, _):
        ballast = self.disk / "ballast"
        with open(ballast, "wb") as file:
            try:
                while True:
                    file.write(bytes(1 << 20))
            except OSError:
                pass
        self.later(self.dice.uniform(1, 8), lambda: ballast.unlink(missing_ok=True))


def soak(options):
    dice = random.Random(options.seed)
    with Cluster("--cpus", "2", disk_mib=100 + options.clips // 4) as cluster:
        return soak_on(cluster, dice, options)


def soak_on(cluster, dice, options):
    output = (cluster.disk or cluster.root) / "out"
    faults = Faults(cluster, output, cluster.disk, dice)
    job = job_of(cluster.root, options.clips, options.steps, output.relative_to(cluster.root))
    begun = time.monotonic()
    number, submitted, lives, next_fault = None, 0, 0, begun + options.seconds
    most = 300 + options.clips * 10
    while len(done(output)) < options.clips or number is not None:
        expect(time.monotonic() - begun < most, f"not through after {most} s:\n{cluster.everything(output)}")
        faults.mend()
        faults.tend(number)
        if number is None:
            try:
                number = cluster.submit(job, nodes=3 if not faults.broken() else 1, partition="low", warning_seconds=10)
                submitted += 1
            except AssertionError as error:  # slurmctld is away, the disk is full
                print(f"  submit: {str(error).splitlines()[-1]}", flush=True)
        elif time.monotonic() > next_fault and len(done(output)) < options.clips * 0.95:  # the last may wait for a lost owner
            faults.strike(number)
            next_fault = time.monotonic() + dice.uniform(0.3, 1.7) * options.seconds
        time.sleep(0.5)
        shown = cluster.call("scontrol", "-o", "show", "job", number, code=None) if number else None
        fields = dict(word.split("=", 1) for word in shown.stdout.split() if "=" in word) if shown else {}
        if shown and "Invalid job id" in shown.stderr:  # slurmctld was killed before it had written it down
            print(f"  job {number}: Slurm knows it no more", flush=True)
            number = None
        if fields.get("JobState") in ENDED:
            lives += int(fields["Restarts"]) + 1
            print(f"  job {number}: {fields['JobState']} {fields['ExitCode']} after {fields['Restarts']} restarts", flush=True)
            number = None
    faults.mend(all_of_it=True)
    took = time.monotonic() - begun
    unbroken = time.monotonic()
    run(job_of(cluster.root, options.clips, options.steps, "whole"), ranks=3)
    unbroken = time.monotonic() - unbroken
    # Owners on a lost node are known to be dead once they were watched for half a minute: more clips are made meanwhile.
    every = options.clips + math.ceil(60 * options.clips / unbroken)
    run(job_of(cluster.root, every, options.steps, output.relative_to(cluster.root)), ranks=2)
    run(job_of(cluster.root, every, options.steps, "whole"), ranks=3)
    assert_clean(output, [f"clip-{i:03}" for i in range(every)])
    twice = {key: count for key, count in done_counts(output).items() if count > 1}
    expect(not twice, f"done more than once: {twice}")
    expect(digests(output) == digests(cluster.root / "whole"), "other files than an unbroken run's")
    count = sum(faults.counts.values())
    figures = {"clips": options.clips, "steps": options.steps, "seed": options.seed, "faults": dict(faults.counts), "jobs": submitted, "lives": lives,
               "seconds": round(took, 1), "unbroken_seconds": round(unbroken, 1),
               "lost_per_fault": round((took - unbroken) / max(1, count), 1), "mode": cluster.mode}
    print(json.dumps(figures))
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(figures, indent=1) + "\n")
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=500)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--json")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    try:
        return soak(options)
    except Skip as reason:
        print(f"skipped: {reason}")
        return SKIPPED


if __name__ == "__main__":
    sys.exit(main())
