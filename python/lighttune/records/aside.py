# SPDX-License-Identifier: GPL-3.0-or-later
"""Work that must not take Python's lock from a flowgraph: it gets a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_NICE = 10


def run_aside(module: str, path: Path) -> subprocess.Popen | None:
    """Start ``python -m ...records.MODULE PATH`` with low priority; None if that is not possible."""
    root = __name__.rpartition(".")[0]
    where = os.pathsep.join(entry for entry in sys.path if entry)  # where this process found the package
    try:
        return subprocess.Popen(
            ["nice", "-n", str(_NICE), sys.executable, "-m", f"{root}.{module}", str(path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": where, "OMP_NUM_THREADS": "1"},
            start_new_session=True,  # Ctrl-C is for the flowgraph
        )
    except OSError:
        return None


def wait_for(process: subprocess.Popen, timeout_s: float) -> None:
    """Wait for its end; what takes longer is killed."""
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
