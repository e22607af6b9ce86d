# SPDX-License-Identifier: GPL-3.0-or-later
"""The measurement of training on a testbed's own logs runs in miniature."""

import os
import subprocess
import sys
from pathlib import Path

from helpers import needs_torch
from patience import HANG_S

ROOT = Path(__file__).resolve().parents[2]


@needs_torch
def test_it_compares_all_ways_on_every_testbed(tmp_path):
    done = subprocess.run(
        [sys.executable, "bench/retraining.py", "--short", "--out", str(tmp_path)],
        cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=HANG_S,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    page = (tmp_path / "retraining.md").read_text()
    assert page.startswith("<!-- written by `bench/")
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| ")][1:]
    assert len(rows) == 3 * 7
    for row in rows:
        assert all(0 <= float(figure.rstrip(" |")) < 10 for figure in row[3:])
