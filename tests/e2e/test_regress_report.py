#!/usr/bin/env python3
"""The regression report in a browser (headless Chromium): nothing on the console, buttons work, fits a phone, prints."""
import html
import json
import os
import re
import shutil
import subprocess
import sys

from e2e.support import Skip, expect, main, run
from e2e.test_regress import PROMPTS, blessed, job_file, report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

# Runs beside the page in a frame of a phone's or a desktop's width, does what a person would, and says what it saw.
HARNESS = """<!doctype html><meta charset="utf-8"><title>harness</title>
<iframe id="page" width="%d" height="900" srcdoc="%s"></iframe><pre id="seen"></pre>
<script>
addEventListener("load", async () => {
  const frame = document.getElementById("page"), page = frame.contentDocument, seen = {};
  const wait = () => new Promise(resolve => setTimeout(resolve, 50));
  const shown = () => [...page.querySelectorAll(".clip")].filter(c => !c.hidden).map(c => c.dataset.id);
  const press = async show => { page.querySelector(`[data-show=${show}]`).click(); await wait(); return shown(); };
  seen.heading = page.querySelector("h1").textContent;
  seen.first = page.body.innerText.trim().split("\\n")[0];
  seen.wide = page.documentElement.scrollWidth - frame.clientWidth;
  for (const show of ["bad", "good", "equal", "changed", "all"]) seen[show] = await press(show);
  const order = page.querySelector("select");
  order.value = "id"; order.dispatchEvent(new Event("change")); await wait();
  seen.by_name = shown();
  order.value = "verdict"; order.dispatchEvent(new Event("change")); await wait();
  seen.by_verdict = shown();
  const search = page.querySelector("input");
  search.value = "PURPLE circle"; search.dispatchEvent(new Event("input")); await wait();
  seen.found = shown();
  search.value = "nothing like it"; search.dispatchEvent(new Event("input")); await wait();
  seen.none = [shown(), page.getElementById("none").hidden];
  search.value = ""; search.dispatchEvent(new Event("input")); await wait();
  const last = [...page.querySelectorAll(".clip")].at(-1), before = last.open;
  last.querySelector("summary").click(); await wait();
  seen.toggled = before !== last.open;
  for (const clip of page.querySelectorAll(".clip")) clip.open = true;
  const images = [...page.querySelectorAll("img")];
  for (const image of images) image.loading = "eager";
  await Promise.all(images.map(image => image.decode().catch(() => 0)));
  seen.images = images.length;
  seen.broken = images.filter(image => image.naturalWidth === 0).length;
  seen.wide_open = page.documentElement.scrollWidth - frame.clientWidth;
  seen.curves = page.querySelectorAll(".clip svg.curve").length;
  document.getElementById("seen").textContent = JSON.stringify(seen);
});
</script>"""


def chromium(*arguments):
    if CHROMIUM is None:
        raise Skip("no chromium here")
    command = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr",
               "--proxy-server=127.0.0.1:9", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


def look(folder, page, width):
    path = folder / f"harness-{width}.html"
    path.write_text(HARNESS % (width, html.escape(page)))
    done = chromium("--virtual-time-budget=20000", "--window-size=1200,1000", "--dump-dom", f"file://{path}")
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    seen = re.search(r'<pre id="seen">(.*?)</pre>', done.stdout, re.S)
    expect(seen and seen[1], f"the page did not get to its end:\n{done.stdout[-500:]}{done.stderr[-2000:]}")
    return json.loads(html.unescape(seen[1])), console


def case_report_in_a_browser(folder, model):
    blessed(folder)
    rows = [{"id": name, "prompt": prompt} for name, prompt in PROMPTS.items()]
    rows[0]["flow_shift"] = 3.3
    rows.append({"id": "new", "prompt": "<img src=x onerror=alert(1)> a red circle"})
    job = job_file(folder, "night", rows=rows)
    run(job, mpi=False, code=3)
    run(job_file(folder, "next", rows=rows), mpi=False, code=3)
    page = (folder / "next/report/index.html").read_text()
    outside = re.findall(r"""(?:src|href)=["'](?!data:)[^"']*|url\(|@import|https?://""", page)
    expect(not outside, f"the page wants the network: {outside}")
    expect({clip["id"]: clip["passed"] for clip in report(folder / "next")["clips"]} ==
           {"green-square": False, "purple-circle": True, "white-square": True, "new": False}, "not the clips of this test")
    for width in (390, 1100):
        seen, console = look(folder, page, width)
        expect(not console, f"on the console: {console}")
        print(f"  {width} pixels: {seen}")
        expect(seen["heading"] == seen["first"] == "Regression fell short", f"the verdict does not come first: {seen}")
        expect(seen["wide"] <= 0 and seen["wide_open"] <= 0, f"wider than {width} pixels: {seen}")
        expect(set(seen["bad"]) == {"green-square", "new"} and set(seen["good"]) == {"purple-circle", "white-square"} and
               set(seen["equal"]) == {"purple-circle", "white-square"} and seen["changed"] == ["green-square"] and
               len(seen["all"]) == 4, f"the buttons: {seen}")
        expect(seen["by_name"] == sorted(seen["by_name"]) and set(seen["by_verdict"][:2]) == {"green-square", "new"} and
               seen["found"] == ["purple-circle"] and seen["none"] == [[], False] and seen["toggled"], f"order: {seen}")
        expect(seen["images"] == 9 and seen["broken"] == 0 and seen["curves"] == 3, f"pictures: {seen}")
    _, console = look(folder, page.replace('"use strict";', '"use strict"; console.error("planted");'), 390)
    expect(any("planted" in line for line in console), "a planted message on the console was not seen")
    chromium(f"--print-to-pdf={folder}/report.pdf", f"file://{folder}/next/report/index.html")
    pdf = (folder / "report.pdf").read_bytes()
    expect(pdf.startswith(b"%PDF") and len(pdf) > 20_000, f"a PDF of {len(pdf)} bytes")
    keep = os.environ.get("RUSHES_KEEP_REPORT")  # a folder: for looking at it
    if keep:
        shutil.copytree(folder / "next/report", keep, dirs_exist_ok=True)


if __name__ == "__main__":
    sys.exit(main(__name__, needs_model=False))
