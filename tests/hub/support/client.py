"""`rushes weights` as a user starts it, with a cache of its own."""
import os
import subprocess

from e2e.support import binary, expect

HUB_NAMES = ("HF_", "HUGGINGFACE_", "http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")


def environment(hub, cache, **more):
    """The test's own Hub and cache, and nothing of the machine's."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(HUB_NAMES)}
    url = hub if isinstance(hub, str) else hub.url
    return {**clean, "HF_ENDPOINT": url, "HF_HUB_CACHE": str(cache), "HF_HOME": str(cache) + ".home",
            "HF_HUB_DOWNLOAD_TIMEOUT": "5", "HF_HUB_DISABLE_TELEMETRY": "1", **{k: v for k, v in more.items() if v is not None}}


def start(*arguments, hub, cache, **more):
    return subprocess.Popen([binary(), *arguments], env=environment(hub, cache, **more), stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True, errors="replace")


def rushes(*arguments, hub, cache, code=0, timeout=120, **more):
    """Runs to the end, checks the exit code, returns what was said."""
    process = start(*arguments, hub=hub, cache=cache, **more)
    try:
        text, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    expect(process.returncode == code, f"{arguments}: exit code {process.returncode}, should be {code}:\n{text[-3000:]}")
    expect("internal error" not in text, text)
    return text


def pull(model, hub, cache, code=0, **more):
    return rushes("weights", "pull", model, hub=hub, cache=cache, code=code, **more)
