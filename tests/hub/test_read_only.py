#!/usr/bin/env python3
"""A cache that can only be read: what is whole in it is used, without a lock. Skipped where none can be mounted."""
import sys

from e2e.support import expect, listing, main
from hub.support import Disk, HubServer, Repo, pipeline_files, pull, rushes

NAME = "org/small-model"
COMMIT = "c0ffee" + "0" * 34


def case_whole_ones_are_used(folder, _):
    disk = Disk(folder / "disk", "16m")
    with disk as cache, HubServer({NAME: Repo(pipeline_files())}) as hub:
        pull(NAME, hub, cache)
        # As other programs leave it: no locks, no word on which commit the branch is.
        for path in [*cache.rglob("*.lock"), cache / "models--org--small-model" / "refs" / "main"]:
            path.unlink()
        disk.read_only(True)
        before = listing(cache)
        hub.forget()
        for model in (NAME, f"{NAME}@{COMMIT}"):
            expect(f"snapshots/{COMMIT}" in pull(model, hub, cache), model)
        pull(f"{NAME}@{COMMIT}", hub, cache, HF_HUB_OFFLINE="1")
        expect("whole: 13 files" in rushes("weights", "list", hub=hub, cache=cache), "list")
        expect("13 files" in rushes("weights", "verify", f"{NAME}@{COMMIT}", hub=hub, cache=cache), "verify")
        expect(not hub.bodies() and listing(cache) == before, f"fetched {hub.bodies()}")


def case_without_a_list_of_files(folder, _):
    """Of an older program: the list is asked of the Hub and cannot be kept."""
    disk = Disk(folder / "disk", "16m")
    with disk as cache, HubServer({NAME: Repo(pipeline_files())}) as hub:
        pull(NAME, hub, cache)
        (cache / "models--org--small-model" / "trees" / f"{COMMIT}.json").unlink()
        disk.read_only(True)
        pull(NAME, hub, cache)
        pull(NAME, hub, cache, HF_HUB_OFFLINE="1")


def case_what_lacks_is_said(folder, _):
    disk = Disk(folder / "disk", "16m")
    with disk as cache, HubServer({NAME: Repo(pipeline_files())}) as hub:
        pull(NAME, hub, cache)
        (cache / "models--org--small-model" / "snapshots" / COMMIT / "vae" / "config.json").unlink()
        disk.read_only(True)
        text = pull(NAME, hub, cache, code=2)
        expect("Read-only file system" in text and "HF_HUB_CACHE" in text and "vae/config.json of" in text, text)
        expect("is missing" in text and text.count("error: ") == 1, text)
        text = pull("org/small-model@main", hub, cache, code=2, HF_HUB_OFFLINE="1")
        expect("vae/config.json is missing" in text and "rushes weights pull" in text, text)
        disk.read_only(False)
        pull(NAME, hub, cache)
        index = cache / "models--org--small-model" / "snapshots" / COMMIT / "model_index.json"
        index.write_bytes(bytes(index.stat().st_size))
        disk.read_only(True)
        text = pull(NAME, hub, cache, code=2)
        expect("model_index.json is damaged" in text and "Read-only file system" in text, text)


if __name__ == "__main__":
    sys.exit(main(__name__, needs_model=False))
