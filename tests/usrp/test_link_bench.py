# SPDX-License-Identifier: GPL-3.0-or-later
"""The measurement over the stand-in radio runs, in miniature."""

import os
import subprocess
import sys

from usrp.conftest import ROOT


def test_a_short_run_writes_its_page(tmp_path):
    done = subprocess.run(
        [sys.executable, "bench/usrp_link.py", "--short", "--out", tmp_path],
        cwd=ROOT, capture_output=True, text=True, timeout=120, env=os.environ, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "usrp.md").read_text()
    assert "| LightTune |" in page
    assert "nan" not in page
