#!/usr/bin/env python3
"""The regression report in a browser (headless Chromium): nothing on the console, buttons work, fits a phone, prints."""
import html
import http.server
import json
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import threading

from e2e.support import Skip, expect, main, run
from e2e.test_regress import PROMPTS, blessed, job_file, report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

# Runs beside the page in a frame of a phone's or a desktop's width, does what a person would, and sends what it saw.
HARNESS = """<!doctype html><meta charset="utf-8"><title>harness</title>
<iframe id="page" width="%d" height="900" srcdoc="%s"></iframe>
<script>
async function look(seen) {
  const frame = document.getElementById("page"), page = frame.contentDocument;
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
}
addEventListener("load", async () => {
  const seen = {};
  try { await look(seen); } catch (error) { seen.error = String(error); }
  fetch("/seen", {method: "POST", body: JSON.stringify(seen)});
});
</script>"""


def chromium(*arguments):
    """Starts it in a process group of its own; what it logs comes through stderr."""
    if CHROMIUM is None:
        raise Skip("no chromium here")
    command = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr",
               *arguments]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True)


def serve(page, seen):
    """Serves the page at / and puts what it sends into the queue. The address to open, and what else was asked for."""
    others = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path not in ("/", "/favicon.ico"):
                others.append(self.path)
            self.answer(page.encode() if self.path == "/" else b"")

        def do_POST(self):
            seen.put(self.rfile.read(int(self.headers["Content-Length"])))
            self.answer(b"")

        def answer(self, body):
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, others


def look(page, width):
    """What the harness saw of the page, and the console's lines."""
    seen = queue.Queue()
    server, others = serve(HARNESS % (width, html.escape(page)), seen)
    browser = chromium("--window-size=1200,1000", f"http://127.0.0.1:{server.server_port}/")
    try:
        result = json.loads(seen.get(timeout=120))
    except queue.Empty:
        result = {"error": "it did not get to its end"}
    finally:
        os.killpg(browser.pid, signal.SIGTERM)
        logged = browser.communicate(timeout=60)[1]
        server.shutdown()
        server.server_close()
    expect("error" not in result, f"the page: {result}\n{logged[-2000:]}")
    expect(not others, f"the page wants the network: {others}")
    return result, [line for line in logged.splitlines() if "CONSOLE" in line]


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
        seen, console = look(page, width)
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
    _, console = look(page.replace('"use strict";', '"use strict"; console.error("planted");'), 390)
    expect(any("planted" in line for line in console), "a planted message on the console was not seen")
    printing = chromium(f"--print-to-pdf={folder}/report.pdf", f"file://{folder}/next/report/index.html")
    logged = printing.communicate(timeout=120)[1]
    expect(printing.returncode == 0, f"printing: {logged[-2000:]}")
    pdf = (folder / "report.pdf").read_bytes()
    expect(pdf.startswith(b"%PDF") and len(pdf) > 20_000, f"a PDF of {len(pdf)} bytes")
    keep = os.environ.get("RUSHES_KEEP_REPORT")  # a folder: for looking at it
    if keep:
        shutil.copytree(folder / "next/report", keep, dirs_exist_ok=True)


if __name__ == "__main__":
    sys.exit(main(__name__, needs_model=False))
