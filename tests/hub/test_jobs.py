#!/usr/bin/env python3
"""`rushes run` with a model of the Hub: ranks that start with an empty cache, the commit in every record, reruns."""
import json
import pathlib
import signal
import subprocess
import sys

from e2e.support import assert_clean, digests, expect, launch, main, records, run, write_job
from hub.support import HubServer, Repo, environment, rushes

NAME = "org/tiny-wan"
COMMIT = "c0ffee" + "0" * 34


def files_of(model):
    return {str(path.relative_to(model)): path.read_bytes() for path in model.rglob("*") if path.is_file()}


def ffmpeg(program, *arguments):
    return subprocess.run([program, "-v", "error", *map(str, arguments)], check=True, capture_output=True, text=True).stdout


def pictures(output):
    """Hashes of the outputs, of videos without their tags: these name the model."""
    found = {path: digest for path, digest in digests(output).items() if not path.startswith("videos/")}
    for path in (output / "videos").iterdir():
        found[path.name] = ffmpeg("ffmpeg", "-i", path, "-map", "0:v", "-c", "copy", "-f", "md5", "-")
    return found


def job_of_hub(folder, name="hub", **more):
    return write_job(folder, NAME, name=name, output=name, count=2, **more)


def case_ranks_fetch_each_file_once(folder, model):
    files = files_of(model)
    run(write_job(folder, model, name="dir", output="dir", count=2), mpi=False)
    with HubServer({NAME: Repo({**files, "README.md": b"x"}, private=True)}, token="word-of-the-user") as hub:
        where = environment(hub, folder / "cache", HF_TOKEN="word-of-the-user")
        text = run(job_of_hub(folder), ranks=2, environment=where)
        expect(len(hub.bodies()) == len(set(hub.bodies())) == len(files), f"{len(files)} files, fetched {sorted(hub.bodies())}")
        expect(sum("/revision/" in r.path for r in hub.requests) == 1, "the revision was asked for by more than one rank")
        expect("word-of-the-user" not in text, "the token is told")
        hub.forget()
        run(job_of_hub(folder, name="again"), ranks=2, environment=where)
        expect(len(hub.requests) == 1, f"a second job asks for {[r.path for r in hub.requests]}")
    assert_clean(folder / "hub", ["clip-0", "clip-1"])
    expect(digests(folder / "hub") == digests(folder / "again"), "the same job made other clips")
    expect(pictures(folder / "hub") == pictures(folder / "dir"), "the clips differ from the folder's")
    for name in ("clip-0", "clip-1"):
        tags = json.loads(ffmpeg("ffprobe", "-of", "json", "-show_entries", "format_tags", folder / "hub" / "videos" / f"{name}.mp4"))
        seen = json.loads(tags["format"]["tags"]["comment"])
        expect((seen["model"], seen["revision"]) == (NAME, COMMIT), f"{seen}")
    there, here = records(folder / "hub"), records(folder / "dir")
    for name, record in there.items():
        expect(record["weights_revision"] == f"{NAME}@{COMMIT}", f"{record['weights_revision']}")
        expect(record["request_hash"] == here[name]["request_hash"], "the request depends on where the model is from")
    resolved = (folder / "hub" / "job.yaml").read_text()
    expect(f"model: {NAME}@{COMMIT}" in resolved, resolved)
    for path in folder.rglob("*"):
        expect(not path.is_file() or b"word-of-the-user" not in path.read_bytes(), f"the token lies in {path}")
    # The resolved job goes on offline, as the same request.
    offline = environment("http://127.0.0.1:9", folder / "cache", HF_HUB_OFFLINE="1")
    expect("0 to do" in run(folder / "hub" / "job.yaml", mpi=False, environment=offline), "the resolved job is another one")


def case_caches_of_their_own(folder, model):
    """Ranks whose caches are not shared, as on nodes with local disks: each cache is filled once."""
    files = files_of(model)
    with HubServer({NAME: Repo(files)}) as hub:
        job = job_of_hub(folder)
        ours = environment(hub, folder / "cache")
        script = f'HF_HUB_CACHE={folder}/cache-$((OMPI_COMM_WORLD_RANK % 2)) exec "$@"'
        wrapped = folder / "wrapped"
        wrapped.write_text(f"#!/bin/sh\n{script}\n")
        wrapped.chmod(0o755)
        started = launch_through(wrapped, job, ranks=4, environment=ours)
        expect(started.wait() == 0, started.text())
        counts = {body: hub.bodies().count(body) for body in hub.bodies()}
        expect(set(counts.values()) == {2} and len(counts) == len(files), f"{counts}")
    assert_clean(folder / "hub", ["clip-0", "clip-1"])


def launch_through(program, job, ranks, environment):
    """As launch(), each rank by way of `program`."""
    from e2e.support import Launch, binary
    command = ["mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-n", str(ranks), str(program),
               binary(), "run", str(job)]
    return Launch(command, pathlib.Path(job).parent / "log-through.txt", environment)


def case_what_is_wrong_is_told_once(folder, model):
    with HubServer({NAME: Repo(files_of(model))}) as hub:
        where = environment(hub, folder / "cache")
        job = write_job(folder, "org/none", name="none", count=1)
        text = run(job, ranks=2, environment=where, code=2)
        expect(text.count("error: ") == 1 and "model: no folder 'org/none' here, and on the Hub: the Hub has no model" in text, text)
        hub.forget()
        # Another mistake comes first: nothing is fetched for a job that cannot start.
        job = job_of_hub(folder, name="typo", retriess=3)
        text = run(job, mpi=False, environment=where, code=2)
        expect("retriess" in text and not hub.requests, text)
        text = run(job_of_hub(folder, name="offline"), mpi=False, environment={**where, "HF_HUB_OFFLINE": "1"}, code=2)
        expect("HF_HUB_OFFLINE" in text, text)
    expect(not (folder / "typo").exists() and not (folder / "offline").exists(), "an output folder was made")


def case_stopped_while_fetching(folder, model):
    with HubServer({NAME: Repo(files_of(model))}, chunk=1 << 10, delay=0.05) as hub:
        where = environment(hub, folder / "cache")
        job = job_of_hub(folder)
        started = launch(job, mpi=False, environment=where)
        expect(started.wait_until(lambda: list((folder / "cache").rglob("*.incomplete"))), started.text())
        started.kill(started.ranks(), signal.SIGTERM)
        expect(started.wait(20) == 75 and "run the same command again" in started.text(), f"{started.text()}")
        # Killed hard, again, under mpirun; then to the end.
        started = launch(job, ranks=2, environment=where)
        expect(started.wait_until(lambda: len(started.ranks()) == 2 and len(hub.requests) > 12), started.text())
        started.kill(started.group())
        started.wait()
        hub.delay = 0
        run(job, ranks=2, environment=where)
    assert_clean(folder / "hub", ["clip-0", "clip-1"])


def case_plan_and_the_name_in_output(folder, model):
    with HubServer({NAME: Repo(files_of(model), revisions=("main", "refs/pr/1"))}) as hub:
        job = write_job(folder, NAME + "@refs/pr/1", name="plan", output="{model}-clips", count=1)
        text = rushes("plan", str(job), hub=hub, cache=folder / "cache")
        expect(f"{folder}/tiny-wan-clips" in text and f"{NAME}@{COMMIT}" in text, text)


if __name__ == "__main__":
    sys.exit(main(__name__))
