#!/usr/bin/env python3
"""job: regress, `rushes compare` and `rushes bless` from outside: planted faults are caught, clean reruns never are."""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

from PIL import Image
from safetensors.torch import load_file, save_file

from e2e.support import binary, digests, done_counts, expect, listing, main, run

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEMO = ROOT / "datasets" / "shapes" / "checkpoint"
PROMPTS = {"green-square": "a green square moving left on a blue background",
           "purple-circle": "a purple circle moving up on a black background",
           "white-square": "a white square moving right on a gray background"}
CLEAN_RERUNS = 100 if os.environ.get("RUSHES_NIGHTLY") else 3


def job_file(folder, output, kind="regress", rows=None, model=DEMO, min_ssim=0.999, save=("video", "frames", "latents"),
             **sampling):
    rows = rows or [{"id": name, "prompt": prompt} for name, prompt in PROMPTS.items()]
    path = folder / f"{output.replace('/', '-')}-{kind}.yaml"
    path.write_text(json.dumps({
        "job": kind, "model": str(model), "prompts": rows, "output": str(folder / output), "save": list(save), "device": "cpu",
        "regression": {"references": str(folder / "references"), "min_ssim": min_ssim},
        "sampling": {"height": 64, "width": 64, "num_frames": 17, "fps": 8, "num_inference_steps": 8, "guidance_scale": 5.0,
                     "flow_shift": 3.0, "max_sequence_length": 64, "seed": 42, **sampling}}))
    return path


def tool(*arguments, code=0):
    done = subprocess.run([binary(), *map(str, arguments)], capture_output=True, text=True)
    expect(done.returncode == code, f"{arguments}: exit code {done.returncode}, should be {code}: {done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def blessed(folder, **how):
    """References of a generate run in <folder>/first; gives that output folder."""
    run(job_file(folder, "first", kind="generate", **how), mpi=False)
    tool("bless", folder / "first", "--references", folder / "references")
    return folder / "first"


def report(output):
    return json.loads((output / "report" / "report.json").read_text())


def verdicts(output):
    return {clip["id"]: clip["verdict"] for clip in report(output)["clips"]}


def altered(folder, alter):
    """A copy of the blessed output with changed frames, compared: the report, which must not pass."""
    output = folder / "altered"
    shutil.copytree(folder / "first", output, symlinks=True)
    alter(output)
    tool("compare", output, "--references", folder / "references", code=3)
    return report(output)


def repaint(frames, change):
    for path in frames.iterdir():
        Image.open(path).point(change).save(path)


def case_clean_reruns_pass(folder, model):
    blessed(folder)
    for night in range(CLEAN_RERUNS):
        output = folder / f"nights/{night}"
        text = run(job_file(folder, f"nights/{night}"), ranks=1 + night % 2)
        expect("regression passed" in text, text)
        for clip in report(output)["clips"]:
            expect(clip["verdict"] == "passed" and clip["pictures_equal"] and clip["latents_equal"] and
                   clip["video_bytes_equal"] and clip["lossless"] and clip["metrics"]["ssim"]["worst"] == 1 and
                   clip["metrics"]["psnr"]["mean"] is None, f"night {night}: {clip}")
    history = [json.loads(line) for line in (folder / "references/history.jsonl").read_text().splitlines()]
    expect(len(history) == CLEAN_RERUNS and all(line["passed"] for line in history), "the history is not that of the nights")
    shutil.rmtree(folder / "nights")
    run(job_file(folder, "again"), mpi=False)
    page = (folder / "again/report/index.html").read_text()
    nights = min(CLEAN_RERUNS + 1, 90)  # as many as the report shows
    expect(page.count(": worst SSIM 1.000000") >= nights, "the trend forgot nights whose folders are gone")


def case_one_changed_weight_is_caught(folder, model):
    blessed(folder)
    changed = folder / "other" / DEMO.parent.name / DEMO.name
    shutil.copytree(DEMO, changed)
    path = changed / "transformer" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    tensors["blocks.0.attn1.to_out.0.weight"][0, 0] += 2
    save_file(tensors, path)
    text = run(job_file(folder, "night", model=changed), mpi=False, code=3)
    expect("regression FELL SHORT" in text, text)
    expect("fell short" in verdicts(folder / "night").values(), text)
    keys = {change["key"] for clip in report(folder / "night")["clips"] for change in clip["changed"]}
    expect("weights" in keys, f"the report does not say that the weights changed: {keys}")


def case_a_wrong_flow_shift_is_caught(folder, model):
    blessed(folder)
    text = run(job_file(folder, "night", flow_shift=3.3), mpi=False, code=3)
    line = [line for line in text.splitlines() if "regression FELL SHORT" in line]
    expect(len(line) == 1 and "SSIM" in line[0] and "0.999" in line[0], text)
    for clip in report(folder / "night")["clips"]:
        expect({"key": "sampling.flow_shift", "before": "3.0", "now": "3.3"} in clip["changed"], f"{clip['changed']}")


def case_a_wrong_sigma_is_caught(folder, model):
    """The scheduler's own shift, where the job gives none."""
    blessed(folder, flow_shift=None)
    changed = folder / "other" / DEMO.parent.name / DEMO.name
    shutil.copytree(DEMO, changed)
    path = changed / "scheduler" / "scheduler_config.json"
    config = json.loads(path.read_text())
    expect("flow_shift" in config, f"{config}")
    config["flow_shift"] *= 1.1
    path.write_text(json.dumps(config))
    run(job_file(folder, "night", model=changed, flow_shift=None), mpi=False, code=3)
    expect("fell short" in verdicts(folder / "night").values(), f"{verdicts(folder / 'night')}")


def case_swapped_frames_are_caught(folder, model):
    blessed(folder)

    def swap(output):
        frames = output / "frames" / "green-square"
        (frames / "00003.png").rename(frames / "x")
        (frames / "00004.png").rename(frames / "00003.png")
        (frames / "x").rename(frames / "00004.png")

    clips = {clip["id"]: clip for clip in altered(folder, swap)["clips"]}
    expect({name: clip["verdict"] for name, clip in clips.items()} ==
           {"green-square": "fell short", "purple-circle": "passed", "white-square": "passed"}, f"{clips}")
    low = [i for i, value in enumerate(clips["green-square"]["metrics"]["frames"]["ssim"]) if value < 1]
    expect(low == [3, 4] and clips["green-square"]["metrics"]["worst_frame"] in low, f"frames {low}")


def case_a_dropped_last_frame_is_caught(folder, model):
    blessed(folder)

    def drop(output):
        path = output / "items" / "white-square.json"
        record = json.loads(path.read_text())
        record["files"] = [file for file in record["files"] if not file["path"].endswith("/00016.png")]
        path.write_text(json.dumps(record))

    clips = {clip["id"]: clip for clip in altered(folder, drop)["clips"]}
    expect(clips["white-square"]["verdict"] == "other length" and "16 frames" in clips["white-square"]["reason"] and
           "17" in clips["white-square"]["reason"], f"{clips['white-square']}")
    # The same by a real run.
    run(job_file(folder, "night", num_frames=13), mpi=False, code=3)
    expect(set(verdicts(folder / "night").values()) == {"other length"}, f"{verdicts(folder / 'night')}")


def case_a_colour_range_off_is_caught(folder, model):
    blessed(folder)
    for name, change in (("squeezed", lambda v: 16 + v * 219 / 255), ("stretched", lambda v: (v - 16) * 255 / 219)):
        clips = altered(folder, lambda output: [repaint(frames, change) for frames in (output / "frames").iterdir()])["clips"]
        expect(all(clip["verdict"] == "fell short" for clip in clips), f"{name}: {[clip['verdict'] for clip in clips]}")
        shutil.rmtree(folder / "altered")


def case_other_sizes_missing_and_extra_clips_fail_by_name(folder, model):
    blessed(folder)
    rows = [{"id": "green-square", "prompt": PROMPTS["green-square"], "height": 32},
            {"id": "new", "prompt": "a red circle"}, {"id": "white-square", "prompt": PROMPTS["white-square"]}]
    run(job_file(folder, "night", rows=rows), mpi=False, code=3)
    expect(verdicts(folder / "night") == {"green-square": "other size", "new": "no reference", "white-square": "passed",
                                          "purple-circle": "missing"}, f"{verdicts(folder / 'night')}")
    suite = ElementTree.parse(folder / "night/report/junit.xml").getroot().find("testsuite")
    failed = {case.get("name") for case in suite.findall("testcase") if case.find("failure") is not None}
    expect(failed == {"green-square", "new", "purple-circle"} and suite.get("failures") == "3" and suite.get("tests") == "4",
           f"junit.xml: {failed}")
    summary = (folder / "night/report/summary.txt").read_text()
    expect(summary.count("\n") == 1 and "3" not in summary.split("of 4")[0] and "1 missing" in summary, summary)


def case_last_nights_clips_fool_nobody(folder, model):
    """A folder with another build's finished clips: they are made again; with this build's, they are not."""
    blessed(folder)
    job = job_file(folder, "night")
    run(job, mpi=False)
    before = done_counts(folder / "night")
    run(job, mpi=False)
    expect(done_counts(folder / "night") == before, "the same build made its clips again")
    for path in (folder / "night/items").iterdir():
        record = json.loads(path.read_text())
        expect(record["request"]["build"], "the request does not hold the build")
        record["request"]["build"] = "of last night"
        record["request_hash"] = "0" * 32
        path.write_text(json.dumps(record))
    text = run(job, mpi=False)
    expect(done_counts(folder / "night") == {name: 2 for name in PROMPTS} and "another build" in text,
           f"made {done_counts(folder / 'night')}\n{text}")


def case_thresholds_by_item_model_and_default(folder, model):
    blessed(folder)
    references = folder / "references"
    rows = [{"id": name, "prompt": prompt} for name, prompt in PROMPTS.items()]
    rows[0]["min_ssim"] = 0.5
    run(job_file(folder, "night", rows=rows, flow_shift=3.3), mpi=False, code=3)
    clips = {clip["id"]: clip for clip in report(folder / "night")["clips"]}
    expect(clips["green-square"]["verdict"] == "passed" and clips["green-square"]["min_ssim"] == 0.5, f"{clips}")
    expect(clips["white-square"]["min_ssim"] == 0.999 and "job" in clips["white-square"]["min_ssim_from"], f"{clips}")
    tool("compare", folder / "night", "--references", references, "--min-ssim", "0.2")
    expect({clip["min_ssim"] for clip in report(folder / "night")["clips"]} == {0.2}, "--min-ssim does not count most")
    (references / "shapes--checkpoint" / "model.json").write_text('{"min_ssim": 0.4}')
    tool("compare", folder / "night", "--references", references)
    expect({clip["id"]: clip["min_ssim"] for clip in report(folder / "night")["clips"]} ==
           {"green-square": 0.5, "purple-circle": 0.4, "white-square": 0.4}, "the model's threshold does not count")


def case_a_threshold_that_nobody_knows_is_not_passed(folder, model):
    output = blessed(folder)
    references = folder / "references"
    job = (output / "job.yaml").read_text()
    (output / "job.yaml").write_text(job[:job.index("regression:")] + "regression: {min_ssim: [")
    said = tool("compare", output, "--references", references, code=2)
    expect("job.yaml" in said and "--min-ssim" in said, said)
    expect(not (output / "report").exists(), "a comparison without a threshold has a report")
    tool("compare", output, "--references", references, "--min-ssim", "1")
    (output / "job.yaml").unlink()
    said = tool("compare", output, "--references", references)
    expect("warning" in said and "job.yaml" in said and "0.98" in said, said)
    own = references / "shapes--checkpoint" / "model.json"
    own.write_text("{")
    said = tool("compare", output, "--references", references, code=3)
    expect(set(verdicts(output).values()) == {"unreadable"} and str(own) in said, f"{verdicts(output)} {said}")
    own.unlink()
    path = output / "items" / "white-square.json"
    record = json.loads(path.read_text())
    del record["request"]["attention"]
    path.write_text(json.dumps(record))
    tool("compare", output, "--references", references, code=3)
    expect(verdicts(output) == {"green-square": "passed", "purple-circle": "passed", "white-square": "unreadable"},
           f"{verdicts(output)}")


def case_bless_keeps_the_old_and_says_what_changed(folder, model):
    output = blessed(folder)
    references = folder / "references"
    before = listing(references)
    expect("unchanged" in tool("bless", output, "--references", references), "an equal clip was blessed again")
    expect(listing(references) == before, "bless wrote what was there already")
    run(job_file(folder, "night", flow_shift=3.3), mpi=False, code=3)
    said = tool("bless", folder / "night", "--references", references, "--only", "white-square",
                "--upload", f"{folder / 'upload'}/")
    for word in ("white-square: replaced", "SSIM to the old one 0.", "PSNR", "sampling.flow_shift: 3.0, now 3.3"):
        expect(word in said, f"'{word}' is not in {said}")
    key = references / "shapes--checkpoint" / "cpu-float32-flash"
    if not key.exists():
        key = next((references / "shapes--checkpoint").iterdir())
    expect(len(list((key / "versions/white-square").iterdir())) == 2, "the old version is gone")
    expect(len(list((key / "versions/green-square").iterdir())) == 1, "--only blessed others too")
    notes = [json.loads(line) for line in (key / "blessings.jsonl").read_text().splitlines()]
    expect(0 < notes[-1]["before"]["worst_ssim"] < 0.999, f"{notes[-1]}")
    expect(all(note["user"] and note["host"] for note in notes), f"{notes}")
    expect([path.name for path in folder.iterdir() if path.name.startswith(".")] == [], "the upload left something beside")
    expect(all(not path.name.startswith(".") for path in (folder / "upload").rglob("*")), "hidden files are uploaded")
    tool("compare", folder / "night", "--references", references, code=3)
    expect(verdicts(folder / "night")["white-square"] == "passed", "the new reference does not count")
    tool("compare", folder / "night", "--references", folder / "upload", code=3)
    expect(verdicts(folder / "night")["white-square"] == "passed", "the folder to upload is no references")
    before = listing(references)
    said = tool("bless", output, "--references", references, "--upload", folder / "upload", code=2)
    expect("--upload" in said and listing(references) == before, f"bless began before it knew of the upload: {said}")
    # A damaged reference is no measure.
    frame = next((key / "versions/green-square").glob("*/frames/00002.png"))
    Image.new("RGB", (64, 64)).save(frame)
    tool("compare", output, "--references", references, code=3)
    expect(verdicts(output)["green-square"] == "unreadable", f"{verdicts(output)}")


def case_videos_alone_are_decoded_and_the_report_says_so(folder, model):
    blessed(folder, save=("video",))
    run(job_file(folder, "night", save=("video",)), mpi=False)
    for clip in report(folder / "night")["clips"]:
        expect(not clip["lossless"] and "decoded" in clip["compared"] and clip["video_bytes_equal"], f"{clip}")


def case_what_cannot_be_compared_is_said_before_anything_runs(folder, model):
    text = run(job_file(folder, "night"), mpi=False, code=2)
    expect("regression.references" in text and "rushes bless" in text, text)
    expect(not (folder / "night").exists(), "something was made")
    blessed(folder)
    for arguments in (["compare", folder / "first"], ["compare", folder / "none", "--references", folder / "references"],
                      ["compare", folder / "first", "--references", folder / "none"],
                      ["compare", folder / "first", "--references", folder / "references", "--min-ssim", "x"],
                      ["compare", folder / "first", "--references", ""], ["bless", folder / "first", "--references", ""],
                      ["bless", folder / "first"], ["bless", folder / "first", "--references", folder / "r", "--only", "x"]):
        tool(*arguments, code=2)
    expect(not (folder / "r").exists() and not (folder / "none").exists(), "a refused command wrote something")
    # A report that cannot be written is told before clips are made or the night is noted.
    def there():
        return {str(path): path.read_bytes() for part in ("first", "references", "night")
                for path in (folder / part).rglob("*") if path.is_file()}
    for part in ("first", "night"):
        (folder / part).mkdir(exist_ok=True)
        (folder / part / "report").write_text("in the way")
    before = there()
    tool("compare", folder / "first", "--references", folder / "references", code=2)
    text = run(job_file(folder, "night"), mpi=False, code=2)
    expect("report is in the way" in text, text)
    expect(there() == before, "something was written")


def case_noise_floor(folder, model):
    blessed(folder)
    text = run(job_file(folder, "night"), "--noise-floor", "2", mpi=False)
    expect("noise floor: 2 reruns, 6 of 6 clips bit-equal" in text and "any min_ssim" in text, text)
    outputs = [folder / "night/noise-floor" / str(i) for i in range(3)]
    expect(digests(outputs[0]) == digests(outputs[2]) and len(digests(outputs[0])) > 0, "the reruns differ")
    expect(set(done_counts(outputs[1]).values()) == {1}, "a rerun made nothing")


def case_hostile_prompts_stay_text(folder, model):
    prompt = '<script>alert(1)</script> & "x" \'y\' ]]> {{title}} {{{clips}}}'
    rows = [{"id": "odd", "prompt": prompt}]
    blessed(folder, rows=rows)
    run(job_file(folder, "night", rows=rows, flow_shift=3.5), mpi=False, code=3)
    page = (folder / "night/report/index.html").read_text()
    expect("<script>alert" not in page and "&lt;script&gt;alert(1)" in page and "{{title}}" in page, "a prompt became HTML")
    ElementTree.parse(folder / "night/report/junit.xml")


if __name__ == "__main__":
    sys.exit(main(__name__, needs_model=False))
