"""A small file system of a test's own."""
import subprocess

from e2e.support import Skip


class Disk:
    """`with Disk(path, "8m") as path`: Skip where none can be mounted."""

    def __init__(self, path, size):
        self.path = path
        path.mkdir()
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "rushes", str(path)], capture_output=True, text=True)
        if mounted.returncode != 0:
            raise Skip(f"no small file system can be mounted here ({mounted.stderr.strip()})")

    def __enter__(self):
        return self.path

    def __exit__(self, *_):
        subprocess.run(["umount", "-l", str(self.path)], check=False)

    def read_only(self, yes):
        mode = "ro" if yes else "rw"
        subprocess.run(["mount", "-o", f"remount,{mode}", str(self.path)], check=True, capture_output=True)
