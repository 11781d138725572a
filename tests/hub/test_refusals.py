#!/usr/bin/env python3
"""What the Hub refuses, what is unreachable, and what a hostile server tries: words that say what to do, and no token."""
import json
import ssl
import subprocess
import sys

from e2e.support import expect, listing, main
from hub.support import Fault, HubServer, Repo, git_id, pipeline_files, pull, sha256

NAME = "org/small-model"
TOKEN = "word-of-the-user"
BIG = "transformer/diffusion_pytorch_model.safetensors"


def refused(model, hub, cache, *words, **how):
    text = pull(model, hub, cache, code=2, **how)
    line = [line for line in text.splitlines() if line.startswith("error: ")]
    expect(len(line) == 1 and all(word in line[0] for word in words), f"{model}: no line has {words}: {text}")
    expect(TOKEN not in text and "other-word" not in text, f"a token is told: {text}")
    blobs = [path for path in cache.rglob("blobs/*")] if cache.exists() else []
    expect(not blobs, f"{model}: blobs came: {blobs}")
    return line[0]


def case_the_hub_says_no(folder, _):
    cache = folder / "cache"
    repos = {NAME: Repo(pipeline_files()), "org/private": Repo(pipeline_files(), private=True),
             "org/gated": Repo(pipeline_files(), gated=True), "org/no-pipeline": Repo({"README.md": b"x"}),
             "org/pickles": Repo({k: v for k, v in pipeline_files().items() if not (k.startswith("vae") and "safe" in k)})}
    with HubServer(repos, token=TOKEN) as hub:
        refused("org/none", hub, cache, "no model org/none", "check the name", "HF_TOKEN")
        refused("org/none", hub, cache, "no model org/none", "token of HF_TOKEN may read", HF_TOKEN=TOKEN)
        refused("org/private", hub, cache, "no model org/private", "set HF_TOKEN")
        refused("org/private", hub, cache, "does not take the token of HF_TOKEN", "settings/tokens", HF_TOKEN="other-word")
        refused("org/gated", hub, cache, "is gated", f"{hub.url}/org/gated", "HF_TOKEN")
        refused("org/gated", hub, cache, "is gated", "ask for access", HF_TOKEN=TOKEN)
        refused(NAME + "@v9", hub, cache, "no revision 'v9'", "commits/main")
        refused("org/no-pipeline", hub, cache, "no model_index.json", "Diffusers")
        hub.faults = [Fault("resolve", "echo", 100)]
        refused(NAME, hub, cache, "403", "***", HF_TOKEN=TOKEN)
        hub.faults = []
    # The list is fetched first, then what it names is found to be pickles.
    with HubServer(repos, token=TOKEN) as hub:
        text = pull("org/pickles", hub, cache, code=2)
        expect("'vae' has its weights only as 'vae/diffusion_pytorch_model.bin'" in text, text)
        pull("org/private", hub, cache, HF_TOKEN=TOKEN)


def case_a_file_is_gone(folder, _):
    files = pipeline_files()
    with HubServer({NAME: Repo(files)}) as hub:
        hub.faults = [Fault("vae/config.json", 404, 9, {"X-Error-Code": "EntryNotFound"})]
        text = pull(NAME, hub, folder / "cache", code=2)
        expect("'vae/config.json' of org/small-model is not there" in text, text)


def case_the_store_refuses(folder, _):
    """What the Hub allowed and its store did not: one new link is asked for, then the store is named and not the Hub."""
    files = pipeline_files()
    big = sha256(files[BIG])
    for status in (401, 403, 404):
        with HubServer({NAME: Repo(files)}) as hub:
            hub.faults = [Fault(big, status, 100)]
            text = pull(NAME, hub, folder / str(status), code=2)
            host = hub.storage.split("//")[1]
            line = [line for line in text.splitlines() if line.startswith("error: ")]
            expect(len(line) == 1 and f"the file store {host}" in line[0] and f"answered {status}" in line[0], text)
            expect(BIG in line[0] and "the Hub itself had allowed it" in line[0], text)
            for wrong in ("gated", "no model", "check the name", "HF_TOKEN", "does not allow", "signature"):
                expect(wrong not in text, f"{status}: the Hub is blamed ({wrong}): {text}")
            links = [r for r in hub.requests if r.origin == "hub" and r.path.endswith(BIG)]
            asked = [r for r in hub.requests if r.origin == "storage" and big in r.path]
            expect(len(links) == 2 and len(asked) == 2, f"{status}: {len(links)} links, {len(asked)} times at the store")


def case_asked_to_come_back_tomorrow(folder, _):
    with HubServer({NAME: Repo(pipeline_files())}) as hub:
        hub.faults = [Fault("revision", 429, headers={"Retry-After": "86400"})]
        refused(NAME, hub, folder / "cache", "answered 429", "to be asked again in 86400 s")


def case_names_of_models(folder, _):
    for name, word in {"noslash": "org/name", "a/b/c": "org/name", "../x": "org/name", "a/..": "org/name", "a/b--c": "--",
                       "a/b@": "revision", "a/b@../../x": "revision", "a/b@/etc": "revision", "-a/b": "org/name"}.items():
        text = pull(name, "http://127.0.0.1:9", folder / "cache", code=2) if not name.startswith("-") else word
        expect(word in text, f"{name}: {text}")
    expect(not (folder / "cache").exists(), "something was written")


def case_the_token_stays_with_the_hub(folder, _):
    files = pipeline_files()
    for name, how in {"variable": {"HF_TOKEN": TOKEN}, "file": {"HF_TOKEN_PATH": str(folder / "token")}, "home": {}}.items():
        cache = folder / name
        (folder / "token").write_text(TOKEN + "\n")
        (folder / "home.home").mkdir(exist_ok=True)
        (folder / "home.home" / "token").write_text(TOKEN)
        with HubServer({NAME: Repo(files, private=True)}, token=TOKEN) as hub:
            hub.faults = [Fault("signature", 500), Fault("signature", "cut")]
            text = pull(NAME, hub, cache, RUSHES_LOG="debug", **how)
            hub_saw = {r.headers.get("Authorization") for r in hub.requests if r.origin == "hub"}
            storage_saw = {r.headers.get("Authorization") for r in hub.requests if r.origin == "storage"}
        expect(hub_saw == {f"Bearer {TOKEN}"}, f"{name}: the Hub saw {hub_saw}")
        expect(storage_saw == {None}, f"{name}: the storage saw {storage_saw}")
        expect(TOKEN not in text and "signature" not in text, text)
        written = [path for path in cache.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]
        expect(not written, f"the token lies in {written}")
    text = pull(NAME, "http://127.0.0.1:9", folder / "x", code=2, HF_TOKEN="two words")
    expect("HF_TOKEN" in text and "two words" not in text, text)


def case_nobody_there(folder, _):
    cache = folder / "cache"
    refused(NAME, "http://no-such-host.invalid", cache, "no-such-host.invalid is not known here", "DNS")
    refused(NAME, "http://127.0.0.1:9", cache, "connection to 127.0.0.1 failed")
    refused(NAME, "http://127.0.0.1:9", cache, "HF_HUB_OFFLINE", "rushes weights pull", HF_HUB_OFFLINE="1")
    refused(NAME, "ftp://x", cache, "HF_ENDPOINT")
    with HubServer({NAME: Repo(pipeline_files())}) as hub:
        pull(NAME, hub, cache)
    for url in ("http://no-such-host.invalid", hub.url):
        text = pull(NAME, url, cache)
        expect("going on with" in text, text)


def case_a_certificate_of_nobody(folder, _):
    key, certificate = folder / "key.pem", folder / "cert.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, "-days", "2",
                    "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with HubServer({NAME: Repo(pipeline_files())}, tls=context) as hub:
        refused(NAME, hub, folder / "cache", "no secure connection", "SSL_CERT_FILE")
        pull(NAME, hub, folder / "cache", SSL_CERT_FILE=str(certificate))


def case_wrong_bytes_for_good(folder, _):
    files = pipeline_files()
    for what, word in {"wrong": "do not hash to", "long": "more came than"}.items():
        with HubServer({NAME: Repo(files)}) as hub:
            hub.faults = [Fault(sha256(files[BIG]), what, 100)]
            text = pull(NAME, hub, folder / what, code=2)
            expect(word in text and "proxy" in text, text)
        blobs = [path.name for path in (folder / what).rglob("blobs/*")]
        expect(sha256(files[BIG]) not in blobs, "a broken blob")


def hostile(folder, name, repo, word):
    cache = folder / name / "inner" / "cache"
    before = listing(folder)
    with HubServer({NAME: repo}) as hub:
        text = pull(NAME, hub, cache, code=2)
    expect(word in text, f"{name}: no line has '{word}': {text}")
    expect("\x1b" not in text and "\0" not in text, f"{name}: control characters")
    new = [path for path in set(listing(folder)) - set(before) if not path.startswith(f"{name}/inner")]
    expect(set(new) <= {name}, f"{name}: written outside of the cache: {new}")
    blobs = {path.name for path in cache.rglob("blobs/*")}
    expect(not any(".." in blob or "evil" in blob for blob in blobs), f"{name}: {blobs}")


def case_a_hostile_server(folder, _):
    files = pipeline_files()

    def row(path, **more):
        return {"type": "file", "oid": git_id(b"evil"), "size": 4, "path": path, **more}

    def index(**more):
        return {**files, "model_index.json": json.dumps({**json.loads(files["model_index.json"]), **more}).encode()}

    for name, path in {"up": "../../../evil", "up inside": "vae/../../evil", "absolute": "/tmp/evil", "nul": "vae/ev\0il",
                       "long": "vae/" + "x" * 300, "empty": "vae//evil", "control": "vae/\x1b[2Jevil", "dot": "./evil"}.items():
        hostile(folder, name, Repo(files, rows=[row(path)]), "cannot be used")
    hostile(folder, "hash", Repo(files, rows=[row("vae/x.json", oid="../../../../evil")]), "git id")
    hostile(folder, "sha256", Repo(files, rows=[row("vae/x", lfs={"oid": "../" * 20 + "evil", "size": 4})]), "sha256")
    hostile(folder, "size", Repo(files, rows=[row("vae/x.json", size=-1)]), "of org/small-model")
    hostile(folder, "no list", Repo(files, rows=["evil"]), "cannot be used")
    hostile(folder, "commit", Repo(files, commit="../../../evil"), "without one")
    hostile(folder, "component", Repo(index(**{"../../evil": ["diffusers", "X"]})), "no name of a component")
    shards = {**files, "text_encoder/model.safetensors.index.json": b'{"weight_map": {"a": "../../../../evil"}}'}
    hostile(folder, "shard", Repo(shards), "must be the name of a file beside the index")
    missing = {**files, "text_encoder/model.safetensors.index.json": b'{"weight_map": {"a": "evil.safetensors"}}'}
    hostile(folder, "no shard", Repo(missing), "has no file")
    hostile(folder, "deep", Repo({**files, "model_index.json": b"[" * 100000}), "model_index.json")


if __name__ == "__main__":
    sys.exit(main(__name__, needs_model=False))
