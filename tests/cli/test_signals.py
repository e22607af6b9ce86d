# SPDX-License-Identifier: GPL-3.0-or-later
"""Ctrl-C and SIGTERM end a command in good order: what was done is kept and said, and nothing stays behind.

`lighttune serve`, which saves its state then, is in tests/net/test_service_process.py.
"""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from flowgraph import until
from patience import HANG_S

SPEC = """worlds: [nominal]
seeds: {first: 1, count: 400}
links: 4
slots: 400
adapters: {OLLA: {kind: olla}}
"""
STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143}


def begin(*arguments, cwd):
    return subprocess.Popen(
        [sys.executable, "-m", "gnuradio.lighttune.cli", *arguments], cwd=cwd, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def read(pid, name):
    """A file of each of the process's threads."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob(f"*/{name}"):
        with contextlib.suppress(OSError):  # it may end just now
            found.append(task.read_text())
    return found


def family(pid):
    """The process's children and theirs, by id."""
    found = []
    for children in read(pid, "children"):
        for child in children.split():
            found += [int(child), *family(int(child))]
    return found


def end(process, number):
    """Send the signal; output and exit status."""
    children = family(process.pid)
    process.send_signal(number)
    said, _ = process.communicate(timeout=HANG_S)
    until(lambda: not [pid for pid in children if Path(f"/proc/{pid}/exe").exists()], "children to end")
    return said, process.returncode


@pytest.mark.parametrize("number", STATUS)
def test_a_flowgraph_of_the_demo_ends_with_a_word(number, tmp_path):
    process = begin("demo", "--packets", "100000", cwd=tmp_path)
    until(lambda: any("amc_rx" in name for name in read(process.pid, "comm")), "the flowgraph")
    said, status = end(process, number)
    assert status == STATUS[number], said
    assert "lighttune: interrupted" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("number", STATUS)
def test_a_campaign_keeps_its_cells_and_leaves_no_worker_behind(number, tmp_path):
    pytest.importorskip("distributed")
    (tmp_path / "spec.yaml").write_text(SPEC)
    process = begin("campaign", "spec.yaml", "--workers", "1", "--out", "out", cwd=tmp_path)
    cells = tmp_path / "out" / "cells"
    until(lambda: len(list(cells.glob("*.parquet"))) > 2, "some cells")
    assert family(process.pid)
    said, status = end(process, number)
    assert status == STATUS[number], said
    kept = len(list(cells.glob("*.parquet")))
    assert f"{kept} of 400 cells are finished and kept in out" in " ".join(said.split())
    assert not list(cells.glob("*.part*"))
    assert "Traceback" not in said
