#!/usr/bin/env python3
"""The bundle where it is meant for: a bare Debian 12 with an Open MPI of its own, a user without rights, no network.

RUSHES_BUILD: the build to pack. BUNDLE_ROOT: a debootstrap root to use and keep; else one is made and removed."""
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("RUSHES_BUILD", ROOT / "build"))
SKIPPED = 77
# Without a network of its own Open MPI needs the loopback, which begins switched off.
LOOPBACK = """import fcntl, socket, struct
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    fcntl.ioctl(s, 0x8914, struct.pack("16sH14x", b"lo", 1))"""


def expect(condition, message):
    if not condition:
        raise AssertionError(message)


def why_not():
    if os.geteuid() != 0:
        return "only root can make another root"
    for program in ("debootstrap", "unshare", "chroot"):
        if shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin:/sbin") is None:
            return f"there is no {program} here (Debian's package of that name has it)"
    if subprocess.run(["unshare", "-n", "-m", "-p", "-f", "true"], capture_output=True).returncode != 0:
        return "unshare makes no name spaces here"
    return ""


def make_root(root):
    """Debian's smallest system, and the site's MPI."""
    if (root / "usr/bin/mpirun").exists():
        return ""
    made = subprocess.run(["debootstrap", "--variant=minbase", "bookworm", str(root)], capture_output=True, text=True,
                          env={**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"})
    if made.returncode != 0:
        return f"debootstrap: {(made.stdout + made.stderr)[-400:]}"
    for name in ("etc/resolv.conf", "etc/apt/apt.conf.d", "etc/ssl/certs/ca-certificates.crt"):
        source, target = pathlib.Path("/") / name, root / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
        elif source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
    install = "apt-get update && apt-get install -y --no-install-recommends openmpi-bin"
    made = subprocess.run(["chroot", str(root), "bash", "-c", install], capture_output=True, text=True,
                          env={**os.environ, "DEBIAN_FRONTEND": "noninteractive", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
    return "" if made.returncode == 0 else f"apt-get in the new root: {(made.stdout + made.stderr)[-400:]}"


def inside(root, command, code=0):
    """Runs it as nobody, without environment and network, with a /proc and /dev/shm of its own; gives what it says."""
    script = f"""set -e
python3 -c '{LOOPBACK}'
mount -t proc proc {root}/proc
mount --rbind /dev {root}/dev
exec chroot --userspec=nobody:nogroup {root} /usr/bin/env -i PATH=/usr/bin:/bin HOME=/home/user bash -c "$1"
"""
    done = subprocess.run(["unshare", "-n", "-m", "-p", "-f", "--kill-child", "bash", "-c", script, "bash", command],
                          capture_output=True, text=True, timeout=1500)
    text = done.stdout + done.stderr
    expect(done.returncode == code, f"exit code {done.returncode}, should be {code}, of: {command}\n{text[-4000:]}")
    return text


def digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (folder / "videos").iterdir()}


def check(root, work):
    home = root / "home/user"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    bundle = home / "rushes.tar.gz"
    subprocess.run([ROOT / "tools/bundle", bundle], check=True, env={**os.environ, "RUSHES_BUILD": str(BUILD)})
    shutil.chown(home, "nobody", "nogroup")
    inside(root, "cd && mkdir 'a place' && cd 'a place' && tar xzf ../rushes.tar.gz")
    folder = next((home / "a place").glob("rushes-*"))
    cd = f"cd '/home/user/a place/{folder.name}' && "
    text = inside(root, cd + "bin/rushes doctor && cd / && '/home/user/a place'/*/bin/rushes --version")
    expect("LibTorch" in text and "Open MPI" in text, text)
    libraries = inside(root, cd + "ldd lib/librushes.so")
    outside = [line for line in libraries.splitlines() if "=>" in line and "/a place/" not in line]
    print("  from the machine: " + ", ".join(sorted(line.split()[0] for line in outside)))
    expect("not found" not in libraries, libraries)
    expect(not [line for line in outside if "av" in line.split()[0] or "torch" in line], outside)

    inside(root, cd + "mpirun --oversubscribe -n 2 bin/rushes run jobs/demo.yaml")
    subprocess.run([BUILD / "rushes", "run", "jobs/demo.yaml", "--set", f"output={work}/outside"], check=True, cwd=ROOT,
                   capture_output=True)
    made, want = digests(folder / "runs/demo"), digests(work / "outside")
    expect(made == want and len(want) > 10, "videos differ from those made outside")
    print(f"  {len(made)} videos of 2 ranks are byte-equal to those made outside")

    library = next(path for path in (root / "usr/lib/x86_64-linux-gnu").glob("libmpi.so.40*") if path.is_symlink())
    library.rename(library.with_name("away"))
    try:
        text = inside(root, cd + "bin/rushes doctor", code=2)
    finally:
        library.with_name("away").rename(library)
    expect(len(text.strip().splitlines()) == 1 and "libmpi.so.40" in text and "Open MPI" in text, text)


def main():
    reason = why_not()
    keep = os.environ.get("BUNDLE_ROOT")
    with tempfile.TemporaryDirectory(prefix="rushes-bundle-") as temporary:
        root = pathlib.Path(keep or f"{temporary}/root")
        reason = reason or make_root(root)
        if reason:
            print(f"skipped: {reason}")
            return SKIPPED
        check(root, pathlib.Path(temporary))
    return 0


if __name__ == "__main__":
    sys.exit(main())
