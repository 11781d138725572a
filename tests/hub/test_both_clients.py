#!/usr/bin/env python3
"""Rushes and huggingface_hub against the same server: the same cache, each uses what the other fetched."""
import json
import os
import subprocess
import sys

from e2e.support import expect, main
from hub.support import HubServer, Repo, environment, pipeline_files, pull, rushes, sha256, start
from hub.support.repos import NEEDED

NAME = "org/small-model"
COMMIT = "c0ffee" + "0" * 34

FETCH = """
import json, sys, warnings
import huggingface_hub
print(huggingface_hub.snapshot_download(sys.argv[1], revision=sys.argv[2] or None, allow_patterns=json.loads(sys.argv[3]),
                                        local_files_only=sys.argv[4] == "offline"))
"""
SCAN = """
import huggingface_hub
info = huggingface_hub.scan_cache_dir()
assert not info.warnings, info.warnings
for repo in sorted(info.repos, key=lambda repo: repo.repo_id):
    for revision in sorted(repo.revisions, key=lambda revision: revision.commit_hash):
        print(repo.repo_id, revision.commit_hash, sorted(revision.refs), len(revision.files), revision.size_on_disk)
"""


def python(code, *arguments, hub, cache, **more):
    ended = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True,
                           env=environment(hub, cache, HF_HUB_DISABLE_PROGRESS_BARS="1", **more))
    expect(ended.returncode == 0, f"huggingface_hub: {ended.stderr[-2000:]}")
    return ended.stdout


def fetch(hub, cache, revision="", mode="online", patterns=NEEDED, **more):
    return python(FETCH, NAME, revision, json.dumps(patterns), mode, hub=hub, cache=cache, **more).strip()


def scan(hub, cache):
    return python(SCAN, hub=hub, cache=cache)


def layout(cache):
    """Every path with what it is: a link's target, a file's hash, a folder. Lock files by name; Rushes has one more."""
    found = {}
    for path in cache.rglob("*"):
        name = str(path.relative_to(cache))
        if name.startswith(".locks") and path.name == f"{COMMIT}.lock":
            continue
        if path.is_symlink():
            found[name] = "-> " + os.readlink(path)
        elif path.is_dir():
            found[name] = "folder"
        elif "/trees/" in name:
            found[name] = json.loads(path.read_text())
        else:
            found[name] = sha256(path.read_bytes())
    return found


def case_the_same_cache(folder, _):
    ours, theirs = folder / "ours", folder / "theirs"
    repo = Repo(pipeline_files(), private=True)
    with HubServer({NAME: repo}, token="word-of-the-user") as hub:
        pull(NAME, hub, ours, HF_TOKEN="word-of-the-user")
        fetch(hub, theirs, HF_TOKEN="word-of-the-user")
        a, b = layout(ours), layout(theirs)
        expect(a == b, "\n".join(f"{n}: ours {a.get(n)}, theirs {b.get(n)}" for n in sorted({*a, *b}) if a.get(n) != b.get(n)))
        expect(scan(hub, ours) == scan(hub, theirs) != "", f"{scan(hub, ours)} and {scan(hub, theirs)}")
        modes = [{(p.stat().st_mode & 0o777) for p in cache.rglob("blobs/*")} for cache in (ours, theirs)]
        expect(modes[0] == modes[1], f"rights of blobs: {modes}")


def case_each_reads_what_the_other_fetched(folder, _):
    with HubServer({NAME: Repo(pipeline_files())}) as hub:
        fetch(hub, folder / "theirs")
        hub.forget()
        pull(NAME, hub, folder / "theirs")
        expect([r.path for r in hub.requests] == [f"/api/models/{NAME}/revision/main"], f"{[r.path for r in hub.requests]}")
        pull(NAME, hub, folder / "theirs", HF_HUB_OFFLINE="1")
        expect("13 files" in rushes("weights", "verify", NAME, hub=hub, cache=folder / "theirs"), "verify")
        pull(NAME, hub, folder / "ours")
        hub.forget()
        path = fetch(hub, folder / "ours")
        expect(not hub.bodies() and path.endswith(COMMIT), f"fetched {hub.bodies()}")
        expect(fetch(hub, folder / "ours", mode="offline") == path, "offline")
        expect(fetch("http://127.0.0.1:9", folder / "ours", HF_HUB_OFFLINE="1") == path, "offline by the variable")


def case_each_goes_on_where_the_other_stopped(folder, _):
    """A part by one, the rest by the other."""
    with HubServer({NAME: Repo(pipeline_files())}) as hub:
        fetch(hub, folder / "a", patterns=["transformer/*", "*.json"])
        have = len(list((folder / "a").rglob("blobs/*")))
        hub.forget()
        pull(NAME, hub, folder / "a")
        expect(len(hub.bodies()) == len(set(hub.bodies())) < len(NEEDED) and have > 3, f"fetched {hub.bodies()}")
        hub.forget()
        fetch(hub, folder / "a", patterns=None)
        again = [body for body in hub.bodies() if any(body.endswith(name) for name in NEEDED)]
        expect(not again, f"fetched again: {again}")
        scan(hub, folder / "a")
        # With everything there, what a pipeline needs is still the same.
        expect("13 files" in rushes("weights", "verify", NAME, hub=hub, cache=folder / "a"), "verify")


def case_both_at_once(folder, _):
    with HubServer({NAME: Repo(pipeline_files(size=300_000))}, delay=0.01) as hub:
        processes = [start("weights", "pull", NAME, hub=hub, cache=folder / "cache"),
                     subprocess.Popen([sys.executable, "-c", FETCH, NAME, "", json.dumps(NEEDED), "online"],
                                      env=environment(hub, folder / "cache", HF_HUB_DISABLE_PROGRESS_BARS="1"),
                                      stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True),
                     start("weights", "pull", NAME, hub=hub, cache=folder / "cache")]
        for process in processes:
            text, _ = process.communicate(timeout=120)
            expect(process.returncode == 0, text)
        large = [body for body in hub.bodies() if "/resolve/" not in body]
        expect(len(large) == len(set(large)), f"large files were fetched more than once: {sorted(large)}")
        scan(hub, folder / "cache")
        rushes("weights", "verify", NAME, hub=hub, cache=folder / "cache")


PUBLISH = """
import pathlib, sys
from huggingface_hub.utils._shared_blobs import publish_blob_to_shared_store
blob = pathlib.Path(sys.argv[1])
assert publish_blob_to_shared_store(blob_path=str(blob), xet_hash="ab" + "1" * 62, cache_dir=sys.argv[2],
                                    expected_size=blob.stat().st_size)
assert blob.is_symlink()
"""


def case_the_store_that_repositories_share(folder, _):
    """huggingface_hub with hf_xet moves contents into a store beside the repositories, with links to them."""
    files = pipeline_files()
    cache = folder / "cache"
    with HubServer({NAME: Repo(files)}) as hub:
        pull(NAME, hub, cache)
        blob = cache / "models--org--small-model" / "blobs" / sha256(files["vae/diffusion_pytorch_model.safetensors"])
        python(PUBLISH, str(blob), str(cache), hub=hub, cache=cache)
        hub.forget()
        pull(NAME, hub, cache)
        expect(not hub.bodies(), f"fetched {hub.bodies()}")
        expect("13 files" in rushes("weights", "verify", NAME, hub=hub, cache=cache), "verify")
        expect(rushes("weights", "list", hub=hub, cache=cache).count("13 files") == 1, "list")


def case_a_branch_that_moved(folder, _):
    files = pipeline_files()
    repo = Repo(files)
    with HubServer({NAME: repo}) as hub:
        pull(NAME, hub, folder / "cache")
        repo.push("d" * 40, {**files, "vae/config.json": b"{}"})
        pull(NAME, hub, folder / "cache")
        text = scan(hub, folder / "cache")
        expect(f"{'d' * 40} ['main']" in text and f"{COMMIT} []" in text, text)
        expect(fetch(hub, folder / "cache", mode="offline").endswith("d" * 40), "the ref")


if __name__ == "__main__":
    sys.exit(main(__name__, needs_model=False))
