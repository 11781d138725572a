"""What an output folder must look like."""
import collections
import hashlib
import json
import time

from .jobs import expect

KINDS = ("videos", "latents", "frames")
# What may stay in .rushes after a clean end.
KEPT = {"lock", "front", "folder.json", "manifest.json", "restarts.json", "claims", "owners", "work", "deaths", "embeddings"}


def digests(output):
    """Relative path -> hash of each finished file."""
    return {str(path.relative_to(output)): hashlib.sha256(path.read_bytes()).hexdigest()
            for kind in KINDS for path in (output / kind).rglob("*") if path.is_file()}


def records(output):
    return {path.stem: json.loads(path.read_text()) for path in (output / "items").iterdir()}


def events(output, name=None):
    rows = [json.loads(line) for line in (output / "events.jsonl").read_text().splitlines()]
    return [row for row in rows if name is None or row["event"] == name]


def done_counts(output):
    return collections.Counter(row["id"] for row in events(output, "item_done"))


def listing(folder):
    return {str(path.relative_to(folder)): (path.lstat().st_mtime_ns, path.lstat().st_size) for path in folder.rglob("*")}


def assert_clean(output, ids):
    """Every item done, nothing half, nothing of a dead process."""
    found = records(output)
    expect(set(found) == set(ids), f"records of {sorted(found)}, should be {sorted(ids)}")
    listed = set()
    for name, record in found.items():
        expect(record["status"] == "done", f"{name} is {record['status']}: {record.get('error')}")
        for file in record["files"]:
            expect((output / file["path"]).stat().st_size == file["bytes"], f"{file['path']} is not as recorded")
            listed.add(file["path"])
    there = set(digests(output))
    expect(there == listed, f"files without a record: {sorted(there - listed)}; missing: {sorted(listed - there)}")
    hidden = output / ".rushes"
    extra = {path.name for path in hidden.iterdir()} - KEPT - {"checkpoints"}
    expect(not extra, f"left in .rushes: {extra}")
    for name in ("claims", "owners", "work", "deaths", "checkpoints"):
        left = [path.name for path in (hidden / name).iterdir()] if (hidden / name).is_dir() else []
        expect(not left, f"left in .rushes/{name}: {left}")
    halves = [str(path) for path in output.rglob("*") if ".tmp" in path.name]
    expect(not halves, f"half-written files: {halves}")


def no_processes(*launches):
    """Nothing that a launch started runs any more (a killed one may need a moment to go)."""
    end = time.monotonic() + 20
    while any(started.group() for started in launches):
        expect(time.monotonic() < end, f"orphans: {[started.group() for started in launches]}")
        time.sleep(0.02)
