#!/usr/bin/env python3
"""`rushes weights pull`: which files, where they lie, and how it gets on with servers that fail and processes that die."""
import os
import pathlib
import sys
import time

from e2e.support import expect, main
from hub.support import Fault, HubServer, Repo, pipeline_files, pull, rushes, sha256, start
from hub.support.repos import NEEDED, git_id

NAME = "org/small-model"
BIG = "transformer/diffusion_pytorch_model.safetensors"
COMMIT = "c0ffee" + "0" * 34


def folder_of(cache):
    return cache / "models--org--small-model"


def assert_whole(cache, files, commit=COMMIT):
    """The snapshot is the needed files, each a link to a blob that its content deserves; nothing else is there."""
    snapshot = folder_of(cache) / "snapshots" / commit
    there = sorted(str(path.relative_to(snapshot)) for path in snapshot.rglob("*") if not path.is_dir())
    expect(there == sorted(NEEDED), f"there is {there}")
    blobs = {path.name for path in (folder_of(cache) / "blobs").iterdir()}
    for name in NEEDED:
        link = snapshot / name
        expect(link.is_symlink() and link.read_bytes() == files[name], f"{name} is wrong")
        etag = os.path.basename(os.readlink(link))
        expect(etag in (sha256(files[name]), git_id(files[name])), f"{name} -> {etag}")
        expect(not os.path.isabs(os.readlink(link)), "an absolute link")
        blobs.discard(etag)
    expect(not blobs, f"blobs that nobody needs: {blobs}")


def case_only_what_a_pipeline_needs(folder, _):
    files = pipeline_files()
    with HubServer({NAME: Repo(files)}, page=4) as hub:
        out = pull(NAME, hub, folder / "cache")
        expect(str(folder_of(folder / "cache") / "snapshots" / COMMIT) in out.splitlines(), f"the folder is not named: {out}")
        assert_whole(folder / "cache", files)
        expect((folder_of(folder / "cache") / "refs" / "main").read_text() == COMMIT, "refs/main")
        expect(len(hub.bodies()) == len(NEEDED) == len(set(hub.bodies())), f"fetched {sorted(hub.bodies())}")
        expect(sum("/tree/" in r.path for r in hub.requests) > 3, "one page only")
        hub.forget()
        pull(NAME, hub, folder / "cache")
        expect([r.path for r in hub.requests] == [f"/api/models/{NAME}/revision/main"], "a second pull asks for more")
        hub.forget()
        pull(f"{NAME}@{COMMIT}", hub, folder / "cache")
        expect(not hub.requests, "a commit that is there needs nobody")
        pull(NAME, hub, folder / "cache", HF_HUB_OFFLINE="1")
        expect(not hub.requests, "offline asks")
    text = rushes("weights", "list", hub=hub, cache=folder / "cache")
    expect(f"{NAME}@{COMMIT} (main)" in text and "whole: 13 files" in text and "not whole" not in text, text)


def case_revisions_share_contents(folder, _):
    files = pipeline_files()
    newer = {**files, "vae/config.json": b'{"_class_name": "AutoencoderKLWan", "new": 1}'}
    repo = Repo(files)
    repo.push("d" * 40, newer, revision="refs/pr/1")
    repo.push("e" * 40, newer, revision="v1.0")
    with HubServer({NAME: repo}) as hub:
        pull(NAME, hub, folder / "cache")
        hub.forget()
        pull(f"{NAME}@refs/pr/1", hub, folder / "cache")
        expect(hub.bodies() == [f"/{NAME}/resolve/{'d' * 40}/vae/config.json"], f"fetched {hub.bodies()}")
        expect((folder_of(folder / "cache") / "refs" / "refs" / "pr" / "1").read_text() == "d" * 40, "the ref")
        hub.forget()
        pull(f"{NAME}@v1.0", hub, folder / "cache")
        expect(not hub.bodies(), "the same contents came again")


def case_killed_and_continued(folder, _):
    files = pipeline_files(size=3_000_000)
    cache = folder / "cache"
    incomplete = folder_of(cache) / "blobs" / (sha256(files[BIG]) + ".incomplete")
    with HubServer({NAME: Repo(files)}, delay=0.02) as hub:
        for part in range(3):
            least = 500_000 * (part + 1)
            process = start("weights", "pull", NAME, hub=hub, cache=cache)
            while not (incomplete.exists() and incomplete.stat().st_size > least):
                expect(process.poll() is None, f"part {part}: it ended with {process.returncode}")
                time.sleep(0.005)
            process.kill()
            process.communicate()
            blobs = {path.name: path for path in (folder_of(cache) / "blobs").iterdir()}
            for name, path in blobs.items():
                right = name.endswith(".incomplete") or name in (sha256(path.read_bytes()), git_id(path.read_bytes()))
                expect(right, f"a broken blob: {name}")
        hub.delay = 0
        hub.forget()
        have = incomplete.stat().st_size
        pull(NAME, hub, cache)
        assert_whole(cache, files)
        ranges = [r.headers.get("Range") for r in hub.requests if sha256(files[BIG]) in r.path]
        expect(ranges == [f"bytes={have}-"], f"continued by {ranges} from {have}")


def case_what_servers_do(folder, _):
    """Each of these is got over, and what arrives is right."""
    files = pipeline_files()
    big = sha256(files[BIG])
    table = {"cut": [Fault(big, "cut", 3)], "reset": [Fault(big, "reset"), Fault("revision", "reset"), Fault("tree", "reset")],
             "short": [Fault(big, "short", 2)], "wrong": [Fault(big, "wrong")], "long": [Fault(big, "long")],
             "5xx": [Fault(big, 503), Fault("tree", 502), Fault("revision", 500), Fault("vae/config.json", 504)],
             "no ranges": [Fault(big, "cut"), Fault(big, "no-range", 5)], "storage forbids": [Fault(big, 403)],
             "wrong in the middle": [Fault(big, "cut"), Fault(big, "wrong")]}
    for name, faults in table.items():
        with HubServer({NAME: Repo(files)}, chunk=1 << 12) as hub:
            hub.faults = faults
            try:
                pull(NAME, hub, folder / name)
                assert_whole(folder / name, files)
                expect(all(fault.left == 0 or fault.what == "no-range" for fault in faults), "the fault did not occur")
            except Exception as error:
                raise AssertionError(f"{name}: {error}") from error


def case_a_leftover_of_other_bytes(folder, _):
    files = pipeline_files()
    for name, left in {"other": bytes(1000), "too long": bytes(len(files[BIG]) + 1), "whole but wrong": bytes(len(files[BIG]))}.items():
        blobs = folder_of(folder / name) / "blobs"
        blobs.mkdir(parents=True)
        (blobs / (sha256(files[BIG]) + ".incomplete")).write_bytes(left)
        with HubServer({NAME: Repo(files)}) as hub:
            pull(NAME, hub, folder / name)
        assert_whole(folder / name, files)


def case_asked_to_wait(folder, _):
    with HubServer({NAME: Repo(pipeline_files())}) as hub:
        hub.faults = [Fault("revision", 429, headers={"Retry-After": "3"})]
        begin = time.monotonic()
        pull(NAME, hub, folder / "cache")
        expect(time.monotonic() - begin > 3, "it did not wait")
        hub.faults = [Fault("revision", 503, times=100)]
        text = pull(f"{NAME}@other", hub, folder / "cache", code=2)
        expect("503" in text, text)


def case_two_at_once(folder, _):
    files = pipeline_files(size=300_000)
    with HubServer({NAME: Repo(files)}, delay=0.01) as hub:
        processes = [start("weights", "pull", NAME, hub=hub, cache=folder / "cache") for _ in range(4)]
        for process in processes:
            text, _ = process.communicate(timeout=120)
            expect(process.returncode == 0, text)
        expect(len(hub.bodies()) == len(set(hub.bodies())) == len(NEEDED), f"fetched more than once: {sorted(hub.bodies())}")
        expect(sum("/tree/" in r.path and "cursor" not in r.path for r in hub.requests) == 1, "the list was asked for again")
    assert_whole(folder / "cache", files)


def case_no_headway_is_not_waited_for(folder, _):
    with HubServer({NAME: Repo(pipeline_files(size=1_000_000))}, delay=0.01) as hub:
        holder = start("weights", "pull", NAME, hub=hub, cache=folder / "cache")
        while not list((folder_of(folder / "cache") / "blobs").glob("*.incomplete")):
            time.sleep(0.01)
        holder.send_signal(19)  # SIGSTOP
        try:
            text = pull(NAME, hub, folder / "cache", code=2, RUSHES_HUB_WAIT="2")
            expect("without headway for 2 s" in text and "RUSHES_HUB_WAIT" in text, text)
        finally:
            holder.kill()
            holder.communicate()


def case_who_waits_for_the_server_is_waited_for(folder, _):
    """The one that downloads is asked to wait for longer than the others' patience: its lock shows that it goes on."""
    files = pipeline_files()
    for name, match in {"the list": "/tree/", "a file": sha256(files[BIG])}.items():
        cache = folder / name
        with HubServer({NAME: Repo(files)}) as hub:
            hub.faults = [Fault(match, 429, headers={"Retry-After": "8"})]
            first = start("weights", "pull", NAME, hub=hub, cache=cache)
            while not any(match in r.path for r in hub.requests):
                expect(first.poll() is None, f"{name}: it ended")
                time.sleep(0.01)
            time.sleep(0.5)
            begin = time.monotonic()
            pull(NAME, hub, cache, RUSHES_HUB_WAIT="3")
            waited = time.monotonic() - begin
            text, _ = first.communicate(timeout=60)
            expect(first.returncode == 0 and waited > 5, f"{name}: {waited} s: {text}")
            expect(len(hub.bodies()) == len(set(hub.bodies())) == len(NEEDED), f"{name}: fetched {sorted(hub.bodies())}")


def case_verify_reads_every_byte(folder, _):
    files = pipeline_files()
    with HubServer({NAME: Repo(files)}) as hub:
        pull(NAME, hub, folder / "cache")
        expect("13 files, every byte" in rushes("weights", "verify", NAME, hub=hub, cache=folder / "cache"), "verify")
        blob = folder_of(folder / "cache") / "blobs" / sha256(files[BIG])
        data = bytearray(blob.read_bytes())
        data[1000] ^= 1
        blob.write_bytes(data)
        (folder_of(folder / "cache") / "snapshots" / COMMIT / "vae" / "config.json").unlink()
        text = rushes("weights", "verify", NAME, hub=hub, cache=folder / "cache", code=2)
        expect(f"{BIG} is damaged" in text and "vae/config.json is missing" in text and text.count("error:") == 2, text)
        blob.unlink()
        expect("not whole" in rushes("weights", "list", hub=hub, cache=folder / "cache"), "list")
        pull(NAME, hub, folder / "cache")
        assert_whole(folder / "cache", files)
        blob.write_bytes(b"cut by a crash")
        pull(NAME, hub, folder / "cache")
        assert_whole(folder / "cache", files)


def case_through_a_proxy(folder, _):
    files = pipeline_files()
    with HubServer({NAME: Repo(files)}, token="word-of-the-user") as hub:
        repo_host = "http://hub.invalid"
        text = pull(NAME, repo_host, folder / "cache", http_proxy=hub.url, HF_TOKEN="word-of-the-user", no_proxy="127.0.0.1")
        assert_whole(folder / "cache", files)
        expect("word-of-the-user" not in text, text)


def case_progress_on_a_terminal(folder, _):
    with HubServer({NAME: Repo(pipeline_files(size=500_000))}, delay=0.02) as hub:
        text = pull(NAME, hub, folder / "cache", RUSHES_TERMINAL="1")
        expect("[####" in text and "MB of" in text and "files" in text, text)
        expect("13 files" in text.splitlines()[-3] or "13 files" in text, text)


if __name__ == "__main__":
    sys.exit(main(__name__, needs_model=False))
