#!/usr/bin/env python3
"""Files that a crash or a full disk left empty or damaged are fetched again; `weights list` and `verify` say what is there."""
import os
import shutil
import sys

from e2e.support import expect, main
from hub.support import Fault, HubServer, Repo, git_id, pipeline_files, pull, rushes, sha256

NAME = "org/small-model"
COMMIT = "c0ffee" + "0" * 34
BIG = "transformer/diffusion_pytorch_model.safetensors"
SHARDS = "text_encoder/model.safetensors.index.json"


def folder_of(cache):
    return cache / "models--org--small-model"


def snapshot_of(cache):
    return folder_of(cache) / "snapshots" / COMMIT


def blob_of(cache, path):
    return folder_of(cache) / "blobs" / os.path.basename(os.readlink(snapshot_of(cache) / path))


def say(action, hub, cache, *names, code=0):
    return rushes("weights", action, *names, hub=hub, cache=cache, code=code)


def heals(name, hub, cache, files, path):
    """One file is fetched again, and all is well."""
    hub.forget()
    pull(NAME, hub, cache)
    expect([body.endswith((path, sha256(files[path]))) for body in hub.bodies()] == [True], f"{name}: fetched {hub.bodies()}")
    expect((snapshot_of(cache) / path).read_bytes() == files[path], f"{name}: other bytes")
    expect("13 files, every byte" in say("verify", hub, cache, NAME), name)


def case_files_of_a_crash(folder, _):
    files = pipeline_files()
    cache = folder / "cache"
    with HubServer({NAME: Repo(files)}) as hub:
        pull(NAME, hub, cache)
        for path in ("model_index.json", SHARDS, "vae/config.json", BIG):
            size = len(files[path])
            for what, left in {"empty": b"", "cut": files[path][:size // 2], "too long": files[path] + b"x"}.items():
                blob_of(cache, path).write_bytes(left)
                words = f"{path} has {len(left)}"
                text = pull(NAME, hub, cache, code=2, HF_HUB_OFFLINE="1")
                expect(words in text and "HF_HUB_OFFLINE" in text and "'rushes weights pull org/small-model'" in text, text)
                text = say("list", hub, cache)
                expect("not whole" in text and words in text and "'rushes weights pull org/small-model' fetches" in text, text)
                text = say("verify", hub, cache, NAME, code=2)
                expect(words in text and "fetches it" in text, text)
                heals(f"{path}, {what}", hub, cache, files, path)


def case_an_index_of_zeros(folder, _):
    """Of the right size, and no JSON: file systems leave such ones after a crash."""
    files = pipeline_files()
    cache = folder / "cache"
    with HubServer({NAME: Repo(files)}) as hub:
        pull(NAME, hub, cache)
        for path in ("model_index.json", SHARDS):
            blob_of(cache, path).write_bytes(bytes(len(files[path])))
            text = pull(NAME, hub, cache, code=2, HF_HUB_OFFLINE="1")
            expect(f"{path} is damaged" in text and "rushes weights pull" in text, text)
            text = say("list", hub, cache)
            expect("not whole" in text and f"{path} is damaged" in text, text)
            text = say("verify", hub, cache, NAME, code=2)
            expect(f"{path} is damaged" in text and "fetches it again" in text, text)
            heals(path, hub, cache, files, path)


def case_files_that_are_no_links(folder, _):
    """As programs make them where they cannot link."""
    files = pipeline_files()
    cache = folder / "cache"
    with HubServer({NAME: Repo(files)}) as hub:
        pull(NAME, hub, cache)
        file = snapshot_of(cache) / "vae/config.json"
        file.unlink()
        file.write_bytes(b"")
        pull(NAME, hub, cache)
        expect(file.is_symlink() and file.read_bytes() == files["vae/config.json"], "an empty file stays")
        file.unlink()
        file.write_bytes(b"somebody's own")
        text = pull(NAME, hub, cache, code=2)
        expect("vae/config.json is not what the Hub has" in text and "remove it" in text, text)
        expect(file.read_bytes() == b"somebody's own", "what is no link of ours was removed")


def case_an_empty_model_without_a_list(folder, _):
    """Older programs keep no list of a commit's files."""
    files = pipeline_files()
    cache = folder / "cache"
    with HubServer({NAME: Repo(files)}) as hub:
        pull(NAME, hub, cache)
        (folder_of(cache) / "trees" / f"{COMMIT}.json").unlink()
        pull(NAME, hub, cache, HF_HUB_OFFLINE="1")
        for path in ("model_index.json", SHARDS):
            blob = blob_of(cache, path)
            blob.write_bytes(b"")
            text = pull(NAME, hub, cache, code=2, HF_HUB_OFFLINE="1")
            expect(f"{path} is empty" in text and "rushes weights pull" in text, text)
            blob.write_bytes(files[path])
        (folder_of(cache) / "trees" / f"{COMMIT}.json").write_bytes(b"")  # the list itself, of a crash
        blob_of(cache, SHARDS).write_bytes(b"")
        heals("list and index", hub, cache, files, SHARDS)


def case_what_is_there_in_words(folder, _):
    files = pipeline_files()
    cache = folder / "cache"
    with HubServer({NAME: Repo(files)}) as hub:
        expect("no models" in say("list", hub, cache), "an empty cache")
        text = say("verify", hub, cache, NAME, code=2)
        expect("org/small-model is not in the cache" in text and "'rushes weights pull org/small-model' fetches it" in text, text)
        hub.faults = [Fault(sha256(files[BIG]), 404, 100)]
        pull(NAME, hub, cache, code=2)
        hub.faults = []
        pull(NAME, hub, cache)
        text = say("list", hub, cache)
        expect(f"{NAME}@{COMMIT} (main)  whole: 13 files" in text and "rushes weights pull" not in text, text)

        # A part is missing, another is a link to nothing.
        (snapshot_of(cache) / "vae/config.json").unlink()
        blob_of(cache, BIG).unlink()
        text = say("list", hub, cache)
        for words in ("(main)  not whole: 11 of 13 files are there", "vae/config.json is missing", f"{BIG} is a link to nothing",
                      "'rushes weights pull org/small-model' fetches what is missing"):
            expect(words in text, f"no '{words}': {text}")
        text = say("verify", hub, cache, NAME, code=2)
        expect("vae/config.json is missing: 'rushes" in text and f"{BIG} is a link to nothing: 'rushes" in text, text)
        (snapshot_of(cache) / "model_index.json").unlink()
        expect("not whole: 0 of at least 1 files" in say("list", hub, cache), "what names the files is missing")
        text = say("verify", hub, cache, NAME, code=2)
        expect("model_index.json is missing" in text and "and the files that it names" in text, text)
        pull(NAME, hub, cache)

        # Nobody knows here which commit the branch is; then, which files the commit has.
        shutil.rmtree(folder_of(cache) / "refs")
        text = say("list", hub, cache)
        expect(f"{NAME}@{COMMIT}  whole" in text, text)
        text = say("verify", hub, cache, NAME, code=2)
        expect("does not say which commit 'main'" in text and f"{NAME}@{COMMIT}" in text and "not in the cache" not in text, text)
        say("verify", hub, cache, f"{NAME}@{COMMIT}")
        shutil.rmtree(folder_of(cache) / "trees")
        text = say("list", hub, cache)
        expect("not known whether it is whole" in text and f"'rushes weights pull {NAME}@{COMMIT}' fetches the list" in text, text)
        text = say("verify", hub, cache, f"{NAME}@{COMMIT}", code=2)
        expect("without the list of its files" in text and "not in the cache" not in text, text)

        # No commit at all, only contents.
        shutil.rmtree(folder_of(cache) / "snapshots")
        text = say("list", hub, cache)
        expect("no commit is there, only" in text and "'rushes weights pull org/small-model' goes on" in text, text)
        hub.forget()
        pull(NAME, hub, cache)
        expect(not hub.bodies(), f"fetched again: {hub.bodies()}")


def case_no_pipeline(folder, _):
    """What other programs fetched is not called half a pipeline."""
    cache = folder / "cache"
    files = {"README.md": b"x"}
    with HubServer({NAME: Repo(files)}) as hub:
        text = pull(NAME, hub, cache, code=2)
        expect("no model_index.json" in text, text)
        text = say("list", hub, cache)
        expect("it cannot be used: org/small-model has no model_index.json" in text and git_id(b"x") not in text, text)


if __name__ == "__main__":
    sys.exit(main(__name__, needs_model=False))
