"""`rushes run` as a user starts it: alone, or under mpirun, in a process group that can be looked at and killed."""
import os
import pathlib
import signal
import subprocess
import time


def binary():
    return os.environ.get("RUSHES_BINARY") or str(pathlib.Path(__file__).resolve().parents[3] / "build" / "rushes")


def _children(pid):
    try:
        text = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(word) for word in text.split()]


def _name(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


class Launch:
    """One command that is running."""

    def __init__(self, command, log, environment=None):
        self.log = log
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "RUSHES_THREADS": "1", **(environment or {})}
        with open(log, "w") as out:
            self.process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                            env=environment, start_new_session=True)

    @property
    def pid(self):
        return self.process.pid

    def ranks(self):
        """Pids of the rushes processes below (or at) the command."""
        found, queue = [], [self.pid]
        while queue:
            pid = queue.pop()
            if _name(pid) == "rushes":
                found.append(pid)
            queue += _children(pid)
        return sorted(found)

    def group(self):
        """Every live process that the command started (mpirun gives each rank a group of its own; the session stays)."""
        pids = []
        for entry in pathlib.Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if fields[0] not in "ZX" and int(fields[3]) == self.pid:
                pids.append(int(entry.name))
        return pids

    def kill(self, pids, number=signal.SIGKILL):
        """How many it reached."""
        reached = 0
        for pid in pids:
            try:
                os.kill(pid, number)
                reached += 1
            except ProcessLookupError:
                pass
        return reached

    def wait(self, timeout=300):
        """The exit code; everything is killed and an error raised where it takes longer."""
        end, stuck = time.monotonic() + timeout, 0
        while True:
            try:
                return self.process.wait(min(2, max(0, end - time.monotonic())))
            except subprocess.TimeoutExpired:
                stuck = stuck + 1 if self._mpirun_is_stuck() else 0
            if stuck == 5:
                print("  mpirun hung though its ranks had gone; it was killed", flush=True)
                self.kill([self.pid])
            elif time.monotonic() > end:
                self.kill(self.group())
                raise AssertionError(f"still running after {timeout} s; its log ends with\n{self.text()[-3000:]}")

    def _mpirun_is_stuck(self):
        """Open MPI 4.1's mpirun may wait for a lock of its own for ever where a rank was killed while it connected to it
        (tools/launch, watch_mpirun); no process of the project runs then."""
        try:
            waits_for = pathlib.Path(f"/proc/{self.pid}/wchan").read_text()
        except OSError:
            return False
        return _name(self.pid) == "mpirun" and "futex" in waits_for and self.group() == [self.pid]

    def text(self):
        return pathlib.Path(self.log).read_text(errors="replace")

    def wait_until(self, ready, timeout=60):
        """Waits until ready() holds; False where the command ended first."""
        end = time.monotonic() + timeout
        while not ready():
            if self.process.poll() is not None:
                return False
            if time.monotonic() > end:
                self.kill(self.group())
                raise AssertionError(f"waited {timeout} s in vain; the log ends with\n{self.text()[-3000:]}")
            time.sleep(0.005)
        return True


_counter = 0


def launch(job, *options, ranks=1, environment=None, mpi=True, command=("run",)):
    """Starts `mpirun -n ranks rushes run job options`; mpi=False (one rank): without mpirun. `command`: another that runs jobs."""
    global _counter
    _counter += 1
    command = [binary(), *command, str(job), *options]
    if mpi:
        command = ["mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-n", str(ranks), *command]
    log = pathlib.Path(job).parent / f"log-{_counter}.txt"
    return Launch(command, log, environment)


def rushes(*arguments, code=0):
    """The command, ended with `code`: all that it printed."""
    done = subprocess.run([binary(), *map(str, arguments)], capture_output=True, text=True, timeout=60)
    if done.returncode != code:
        raise AssertionError(f"{arguments}: exit code {done.returncode}, should be {code}: {done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def run(job, *options, code=0, **how):
    """Runs to the end, checks the exit code, returns the output."""
    started = launch(job, *options, **how)
    got = started.wait()
    if got != code:
        raise AssertionError(f"exit code {got}, should be {code}:\n{started.text()[-4000:]}")
    return started.text()
