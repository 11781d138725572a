#!/usr/bin/env python3
"""events.jsonl is as CONTRIBUTING.md, "The event log", says: every line of runs that fail, stop, go on and compare, and
every event that the sources know."""
import json
import pathlib
import re
import signal
import sys

from e2e.support import events, expect, launch, main, poisoned, run, write_job

SOURCES = pathlib.Path(__file__).resolve().parents[2]
TYPES = {"text": lambda v: isinstance(v, str), "whole": lambda v: isinstance(v, int) and not isinstance(v, bool),
         "number": lambda v: isinstance(v, (int, float)) and not isinstance(v, bool), "yes or no": lambda v: isinstance(v, bool)}


OF_TROUBLE = {"rank_hangs", "stop_too_long", "item_memory"}  # test_hangs.py, test_out_of_memory.py


def table():
    """{event: {field: (type, needed)}} out of the document; the row `every line` holds what all have."""
    text = (SOURCES / "CONTRIBUTING.md").read_text()
    section = text.split("## The event log\n", 1)[1].split("\n## ", 1)[0]
    rows = {}
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("| ") or len(cells) != 3 or cells[0] == "event":
            continue
        fields = {}
        for entry in filter(None, cells[2].split("; ")):
            found = re.fullmatch(r"`(\w+)` (text|whole|number|yes or no)(, not always)?(?: \([^;|]*\))?", entry)
            expect(found, f"cannot read '{entry}' of {cells[0]}")
            fields[found[1]] = (found[2], found[3] is None)
        rows[cells[0].strip("`")] = fields
    return rows


def check(output):
    """Every line of the folder's log; gives the names of its events."""
    known = table()
    common = known.pop("every line")
    names = set()
    for line in (output / "events.jsonl").read_text().splitlines():
        event = json.loads(line)
        expect(event["event"] in known, f"no such event: {line}")
        fields = {**common, **known[event["event"]]}
        for name, value in event.items():
            expect(name in fields, f"no such field '{name}': {line}")
            expect(TYPES[fields[name][0]](value), f"'{name}' is no {fields[name][0]}: {line}")
        missing = {name for name, (_, needed) in fields.items() if needed} - set(event)
        expect(not missing, f"without {missing}: {line}")
        expect(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event["time"]), line)
        names.add(event["event"])
    return names


def case_every_line_is_as_documented(folder, model):
    seen = set()
    bad = poisoned(model, folder / "bad")
    rows = [{"id": f"clip-{i}", "prompt": "poison" if i == 1 else "x", "seed": i} for i in range(3)]
    run(write_job(folder, bad, rows=rows, name="failing", output="failing"), ranks=2, code=4)
    seen |= check(folder / "failing")
    starts = events(folder / "failing", "run_started")
    expect(len(starts) == 1 and starts[0]["schema"] == "rushes.events/1", f"{starts}")
    # Stopped in the middle of a clip, and gone on with.
    job = write_job(folder, model, rows=[{"id": "clip", "prompt": "x", "num_frames": 17}], name="stopped", output="stopped",
                    steps=10000, checkpoint_seconds=1)
    started = launch(job)
    log = folder / "stopped" / "events.jsonl"
    expect(started.wait_until(lambda: log.exists() and "checkpoint_kept" in log.read_text()), started.text())
    started.kill(started.ranks(), signal.SIGUSR1)
    expect(started.wait() == 75, started.text())
    seen |= check(folder / "stopped")
    # A night's comparison.
    night = ["--set", "job=regress", "--set", f"regression.references={folder / 'references'}"]
    plain = write_job(folder, model, count=1, name="plain", output="plain")
    run(plain, mpi=False)
    run(folder / "plain", "--references", str(folder / "references"), mpi=False, command=("bless",))
    run(plain, *night, "--set", f"output={folder / 'night'}", mpi=False)
    seen |= check(folder / "night")
    expect(seen == set(table()) - {"every line"} - OF_TROUBLE, f"never seen: {set(table()) - seen}")


def case_the_sources_know_no_others(folder, model):
    known = set(table()) - {"every line"}
    written = set()
    for path in (SOURCES / "src").rglob("*.cpp"):
        written |= set(re.findall(r"events_?(?:->|\.)add\(\s*\"(\w+)\"", path.read_text()))
    expect(written == known, f"without a row in the table: {written - known}; no longer there: {known - written}")


if __name__ == "__main__":
    sys.exit(main(__name__))
