"""A real Slurm of three nodes on this machine (slurm/testbed), and jobs submitted to it by `rushes submit`."""
import json
import os
import pathlib
import re
import subprocess
import tempfile
import time

from e2e.support import Skip, binary, expect

ROOT = pathlib.Path(__file__).resolve().parents[2]
TESTBED = ROOT / "slurm" / "testbed"
ENDED = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE"}


class Cluster:
    """Started by `with`, gone after it. disk_mib: `disk` is a disk of its own, of that size (None where that takes root)."""

    def __init__(self, *options, disk_mib=None):
        self.options, self.disk_mib, self.disk = options, disk_mib, None

    def __enter__(self):
        self.scratch = tempfile.TemporaryDirectory(prefix="rushes-slurm-")
        self.root = pathlib.Path(self.scratch.name)
        self.root.chmod(0o755)  # munged wants that
        if self.disk_mib:  # before there are nodes, so that all of them see it
            self.disk = self.root / "disk"
            self.disk.mkdir()
            mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={self.disk_mib}m", "tmpfs", self.disk],
                                     capture_output=True)
            self.disk = self.disk if mounted.returncode == 0 else None
        started = subprocess.run([TESTBED, "start", self.root / "bed", *self.options], capture_output=True, text=True)
        if started.returncode != 0 and "is not here" in started.stderr:
            raise Skip(started.stderr)
        expect(started.returncode == 0, started.stderr)
        lines = re.findall(r"(\w+)=(\S+)", (self.root / "bed" / "env.sh").read_text())
        self.environment = {**os.environ, **dict(lines), "RUSHES_THREADS": "1", "OMP_NUM_THREADS": "1",
                            "RUSHES_RANK_TIMEOUT": "60"}
        self.mode = "hosts" if "mode hosts" in started.stdout else "ports"
        return self

    def __exit__(self, *_):
        subprocess.run([TESTBED, "stop", self.root / "bed"], check=False)
        if self.disk:
            subprocess.run(["umount", "-l", self.disk], check=False)
        self.scratch.cleanup()

    def call(self, *command, code=0, **how):
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=self.environment, timeout=120, **how)
        expect(code is None or done.returncode == code,
               f"{' '.join(map(str, command))}: exit code {done.returncode}, should be {code}:\n{done.stdout}{done.stderr}")
        return done.stdout if code is not None else done

    def node(self, name, what):
        self.call(TESTBED, "node", self.root / "bed", name, what)

    def submit(self, job, **cluster):
        """The batch job's id; `cluster`: keys of the job file's section."""
        settings = {"time": "00:10:00", **cluster}
        words = [word for key, value in settings.items() for word in ("--set", f"cluster.{key}={value}")]
        return int(self.call(binary(), "submit", job, "--parsable", *words))

    def look(self, job):
        """The fields of `scontrol show job`; of an array's job: a list of its tasks'."""
        rows = [dict(re.findall(r"(\S+?)=(\S*)", line)) for line in self.call("scontrol", "-o", "show", "job", job).splitlines()]
        return rows[0] if len(rows) == 1 else rows

    def state(self, job):
        rows = self.look(job)
        return [row["JobState"] for row in rows] if isinstance(rows, list) else rows["JobState"]

    def nodes_of(self, job):
        return self.call("scontrol", "show", "hostnames", self.look(job)["NodeList"]).split()

    def until(self, what, check, seconds=90, log=None):
        end = time.monotonic() + seconds
        while not (found := check()):
            if time.monotonic() > end:
                raise AssertionError(f"waited {seconds} s in vain for {what}\n{self.everything(log)}")
            time.sleep(0.2)
        return found

    def everything(self, output):
        """What a person would look at."""
        text = self.call("squeue", "-a", "--states=all", code=None).stdout
        for path in sorted((output / "logs").glob("*.out")) if output else []:
            text += f"--- {path.name}\n{path.read_text(errors='replace')[-3000:]}\n"
        return text

    def ended(self, job, output=None, seconds=120, code=0):
        """Waits for the end; the exit code is that of the last life."""
        def all_ended():
            states = self.state(job)
            return all(state in ENDED for state in ([states] if isinstance(states, str) else states))
        self.until(f"job {job} to end", all_ended, seconds, output)
        rows = self.look(job)
        for row in rows if isinstance(rows, list) else [rows]:
            got = int(row["ExitCode"].split(":")[0])
            expect(got == code, f"job {job} is {row['JobState']} with exit code {row['ExitCode']}, should be {code}\n"
                                f"{self.everything(output)}")
        return rows


def done(output):
    """Ids of the items with a record that says so."""
    found = []
    for path in (output / "items").glob("*.json") if (output / "items").is_dir() else []:
        try:
            if json.loads(path.read_text())["status"] == "done":
                found.append(path.stem)
        except (OSError, ValueError):
            pass
    return found


def log_text(output):
    return "".join(path.read_text(errors="replace") for path in sorted((output / "logs").glob("*.out")))
