# SPDX-License-Identifier: GPL-3.0-or-later
"""A throw-away copy of this machine's files, in which a test may install and remove whatever it likes.

The machine's root is seen through an overlay in a mount namespace of its own: what a script writes is gone
when it ends, and nobody else sees it; nor do its processes outlive it. Folders that are given stay shared. It
takes overlayfs, and root: one's own, or by a sudo that asks for no password.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

_ENTER = """
set -eu
base=$1; shift
if ! mount --make-rprivate / 2>/dev/null; then
    # A chroot whose root is no mount point: what is mounted in it might spread to the machine; not so below
    # a /proc that is made our own.
    mount --make-rprivate /proc
    base=/proc/sys
fi
"$PYTHON" -c "$LOOPBACK"
mount -t tmpfs tmpfs "$base"
mkdir "$base/upper" "$base/work" "$base/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$base/upper,workdir=$base/work" "$base/root"
mount -t proc proc "$base/root/proc"
for folder in /sys /dev "$@"; do
    mkdir -p "$base/root$folder"
    mount --rbind "$folder" "$base/root$folder"
done
mount --make-rprivate "$base/root"
exec /usr/sbin/chroot "$base/root" /bin/bash -c "$SCRIPT"
"""
# `ip link set lo up`, without a package for it: SIOCSIFFLAGS, IFF_UP.
_LOOPBACK = (
    "import fcntl, socket, struct; fcntl.ioctl(socket.socket(), 0x8914, struct.pack('16sh22x', b'lo', 1))"
)
_NAMESPACES = ("unshare", "--mount", "--propagation", "unchanged", "--pid", "--fork", "--kill-child")
_KILLED = (124, 128 + 9, -9)


def _as_root(path: str) -> tuple[str, ...]:
    """sudo keeps the environment, but for the path."""
    return () if os.geteuid() == 0 else ("sudo", "-n", "-E", "env", f"PATH={path}")


def run(
    script: str,
    base: Path,
    shared: tuple[Path, ...] = (),
    timeout_s: float = 600,
    network: bool = True,
    env: Mapping[str, str] = os.environ,
) -> subprocess.CompletedProcess[str]:
    """Run a bash script on the copy; standard error comes with the output.

    Args:
        base: an empty folder, used as a mount point.
        shared: folders that are the real ones.
        network: the machine's; else the script has a loopback of its own and nothing more, where no port is
            taken.
    """
    base.mkdir(parents=True, exist_ok=True)
    # Python cannot kill what sudo started, `timeout` can.
    limit = ("timeout", "--foreground", "--signal=KILL", str(timeout_s))
    net = () if network else ("--net",)
    enter = ("bash", "-c", _ENTER, "sandbox", base, *shared)
    done = subprocess.run(
        [*_as_root(env.get("PATH", os.defpath)), *limit, *_NAMESPACES, *net, *enter],
        env={**env, "SCRIPT": script, "LOOPBACK": _LOOPBACK, "PYTHON": sys.executable},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode in _KILLED:
        raise subprocess.TimeoutExpired(done.args, timeout_s, done.stdout)
    return done


def _sudo() -> bool:
    """Whether sudo asks for no password."""
    try:
        done = subprocess.run(
            ["sudo", "-n", "true"], stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
    except OSError:
        return False
    return done.returncode == 0


@functools.cache
def missing() -> str:
    """Why there can be no such copy here; empty if it works."""
    if os.geteuid() != 0 and not _sudo():
        return "needs root, or sudo without a password, for a throw-away copy of the machine's files"
    try:
        with tempfile.TemporaryDirectory() as base:
            done = run("true", Path(base), timeout_s=20)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"needs unshare and overlayfs ({error})"
    return "" if done.returncode == 0 else f"needs unshare and overlayfs ({done.stdout.strip()})"
