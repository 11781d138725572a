#!/usr/bin/env python3
"""Clips that do not fit into memory: real shortages, made by RLIMIT_DATA, on the demo's model."""
import pathlib
import sys
import threading
import time

from e2e.support import Launch, digests, events, expect, launch, main, records, run, write_job
from e2e.support.launch import binary

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEMO = ROOT / "datasets" / "shapes" / "checkpoint"
STEPS = 3
SMALL = {"id": "small", "prompt": "a red circle", "seed": 1, "height": 64, "width": 64}
LARGE = {"id": "large", "prompt": "a blue square", "seed": 2, "height": 512, "width": 512, "num_frames": 5}
MIB = 1 << 20


def job_of(folder, name, rows, **more):
    sampling = {"height": 64, "width": 64, "num_frames": 9, "fps": 8, "num_inference_steps": STEPS, "guidance_scale": 3.0,
                "max_sequence_length": 16}
    return write_job(folder, DEMO, rows=rows, name=name, output=name, sampling=sampling, **more)


def private_memory(pid):
    """Bytes that RLIMIT_DATA counts."""
    try:
        for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmData:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def peak_of(job, *options):
    """Runs the job alone and gives the most private memory that it was seen with."""
    started, peak = launch(job, *options, mpi=False), 0
    def watch():
        nonlocal peak
        while started.process.poll() is None:
            peak = max(peak, private_memory(started.pid))
            time.sleep(0.002)
    thread = threading.Thread(target=watch)
    thread.start()
    code = started.wait()
    thread.join()
    expect(code == 0, started.text())
    return peak


def limited(job, limit, *options, code=0):
    """Runs the job with no more private memory than `limit`; gives its output."""
    started = Launch(["prlimit", f"--data={limit}", binary(), "run", str(job), *options], job.parent / f"limited-{time.time_ns()}.txt")
    got = started.wait()
    expect(got == code, f"exit code {got}, should be {code}:\n{started.text()[-4000:]}")
    return started.text()


PEAKS = {}


def peaks(folder):
    """Of the small clip, of the large one in tiles, and of the large one whole; their outputs stay as references."""
    if not PEAKS:
        home = folder.parent / "peaks"
        home.mkdir()
        PEAKS["small"] = peak_of(job_of(home, "small", [SMALL]))
        PEAKS["tiles"] = peak_of(job_of(home, "tiles", [LARGE], vae_tiling="on"))
        PEAKS["whole"] = peak_of(job_of(home, "whole", [LARGE], vae_tiling="off"))
        PEAKS["home"] = home
        print("  private memory: " + ", ".join(f"{name} {PEAKS[name] // MIB} MiB" for name in ("small", "tiles", "whole")))
        # What is kept of freed tensors, a quarter at most, is given up before memory counts as used up.
        expect(PEAKS["whole"] * 0.8 > PEAKS["tiles"] * 1.1, "the large clip does not show what tiles spare")
    return PEAKS


def case_a_clip_that_decodes_in_tiles_only(folder, _):
    limit = (peaks(folder)["tiles"] * 1.1 + PEAKS["whole"] * 0.8) / 2
    job = job_of(folder, "out", [LARGE, SMALL])
    text = limited(job, int(limit))
    expect("large: out of memory in stage 'decoding'" in text and "blended tiles" in text, text)
    out = folder / "out"
    found = records(out)
    memory = found["large"]["memory"]
    print(f"  limit {int(limit) // MIB} MiB; {memory}")
    expect(memory["rung"] == "tiles" and memory["tiles"], memory)
    expect([one["stage"] for one in memory["tried"]] == ["decoding"], memory)
    expect(memory["tried"][0]["asked"], "how much was asked for is not said")
    expect(found["large"]["continued_from_step"] == STEPS, "the clip was denoised twice")
    expect("memory" not in found["small"], found["small"])
    told = events(out, "item_memory")
    expect([(row["id"], row["stage"], row["rung"]) for row in told] == [("large", "decoding", "tiles")], told)
    made = digests(out)
    for name, source in (("large", "tiles"), ("small", "small")):
        for path, digest in digests(PEAKS["home"] / source).items():
            if source == "tiles" and path.endswith(".mp4"):
                continue  # it names its request, which asks for tiles; the frames are compared
            expect(made[path] == digest, f"{path} is not what {source} alone makes")
    expect(made["frames/large/00000.png"] != digests(PEAKS["home"] / "whole")["frames/large/00000.png"], "tiles change nothing")
    text = run(out, "--references", str(folder / "references"), mpi=False, command=("bless",), code=2)
    expect("clip large was made in VAE tiles" in text and not (folder / "references").exists(), text)
    run(job, mpi=False)  # done is done
    expect(len(events(out, "item_started")) == 2, events(out, "item_started"))


def case_a_clip_that_fits_nowhere(folder, _):
    # Not too near to what the small one needs: oneDNN ends the process where it finds no memory for a kernel.
    limit = int(peaks(folder)["small"] * 0.65 + PEAKS["tiles"] * 0.35)
    expect(PEAKS["tiles"] > PEAKS["small"] + 120 * MIB, "the large clip is not large")
    job = job_of(folder, "out", [LARGE, SMALL])
    text = limited(job, limit, code=4)
    out = folder / "out"
    found = records(out)
    expect(found["small"]["status"] == "done", found["small"])
    error = found["large"]["error"]
    print(f"  limit {limit // MIB} MiB: {error}")
    for words in ("out of memory; tried: as any other clip", "blended tiles", "asking for", "num_frames", "--retry-failed"):
        expect(words in error, f"'{words}' is not in {error}")
    expect(len(found["large"]["memory"]["tried"]) == 3, found["large"])
    expect([row["rung"] for row in events(out, "item_memory")] == ["tiles", "offload", "quarantine"], text)
    limited(job, limit, code=4)
    expect(len(events(out, "item_started")) == 2, "a rerun tried it again")
    run(job, "--retry-failed", mpi=False)
    expect(records(out)["large"]["status"] == "done" and "memory" not in records(out)["large"], records(out)["large"])
    expect(digests(out)["videos/large.mp4"] == digests(PEAKS["home"] / "whole")["videos/large.mp4"], "other bytes")


def case_references_are_never_compared_with_tiles(folder, _):
    limit = int((peaks(folder)["tiles"] * 1.1 + PEAKS["whole"] * 0.8) / 2)
    references = folder / "references"
    run(PEAKS["home"] / "whole", "--references", str(references), mpi=False, command=("bless",))
    job = job_of(folder, "out", [LARGE], job="regress", regression={"references": str(references)})
    limited(job, limit, code=4)
    record = records(folder / "out")["large"]
    expect("tiles were not tried" in record["error"] and "references" in record["error"], record)
    expect([one["rung"] for one in record["memory"]["tried"]] == ["none", "offload"], record)


def case_one_rank_of_a_clip(folder, _):
    """The others cannot know: the world ends, and the next run begins one rung further."""
    peaks(folder)
    job = job_of(folder, "out", [LARGE], parallel={"dp": 1, "cfg": 1, "sp": 2, "dit_tp": 1, "vae": 2})
    out = folder / "out"
    def both(limit):
        mpirun = ["mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none"]
        command = [binary(), "run", str(job)]
        started = Launch([*mpirun, "-n", "1", *command, ":", "-n", "1", "prlimit", f"--data={limit}", *command],
                         folder / f"both-{time.time_ns()}.txt")
        return started.wait(), started.text()
    limit = int(PEAKS["tiles"])
    code, text = both(limit)
    expect(code != 0 and "large: out of memory in stage 'decoding'" in text, f"{code}: {text}")
    expect((out / ".rushes" / "deaths" / "large.json").exists(), text)
    code, text = both(limit)
    expect(code == 0, f"{code}: {text}")
    memory = records(out)["large"]["memory"]
    expect(memory["rung"] == "tiles" and memory["tried"][0]["stage"] == "decoding", memory)
    expect(not list((out / ".rushes" / "deaths").iterdir()), "the note stays behind")


if __name__ == "__main__":
    sys.exit(main(__name__, needs_model=False))
