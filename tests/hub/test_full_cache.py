#!/usr/bin/env python3
"""A cache on a file system that is too small or fills up. Skipped where none can be mounted."""
import sys

from e2e.support import expect, main
from hub.support import Disk, HubServer, Repo, pipeline_files, pull, rushes, sha256, start

NAME = "org/small-model"


def case_too_small_is_known_before(folder, _):
    with Disk(folder / "disk", "2m") as disk, HubServer({NAME: Repo(pipeline_files(size=1_000_000))}) as hub:
        text = pull(NAME, hub, disk, code=2)
        expect("are still to come" in text and "has room for" in text and "HF_HUB_CACHE" in text, text)
        expect(not any(".safetensors" in body for body in hub.bodies()), "weights were fetched for nothing")


def case_filled_up_in_the_middle(folder, _):
    with Disk(folder / "disk", "8m") as disk, HubServer({NAME: Repo(pipeline_files(size=1_000_000))}, delay=0.02) as hub:
        process = start("weights", "pull", NAME, hub=hub, cache=disk)
        files = pipeline_files(size=1_000_000)
        big = sha256(files["transformer/diffusion_pytorch_model.safetensors"])
        part = disk / "models--org--small-model" / "blobs" / (big + ".incomplete")
        while not (part.exists() and part.stat().st_size > 200_000):
            expect(process.poll() is None, "it ended")
        filler = disk / "filler"
        with open(filler, "wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(1 << 16))
            except OSError:
                pass
        text, _ = process.communicate(timeout=120)
        expect(process.returncode == 2 and "no space left for" in text and "is kept and continued" in text, text)
        expect(not list(disk.glob("models--*/snapshots/*/transformer/*.safetensors")), "a link to half a file")
        filler.unlink()
        hub.delay = 0
        hub.forget()
        pull(NAME, hub, disk)
        expect(any("Range" in request.headers for request in hub.requests), "what had come was not continued")
        rushes("weights", "verify", NAME, hub=hub, cache=disk)


if __name__ == "__main__":
    sys.exit(main(__name__, needs_model=False))
