# SPDX-License-Identifier: GPL-3.0-or-later
"""Every example compiles and runs for five seconds without an error, as GRC makes it and as Python has it."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
ENV = {**os.environ, "GRC_BLOCKS_PATH": str(ROOT / "grc"), "PYTHONUNBUFFERED": "1"}
SECONDS = 5


def counts(text, name):
    """The last value of a counter in the printed status of a selector."""
    found = re.findall(rf"\({name} \. (\d+)\)", text)
    return int(found[-1]) if found else 0


def check(output):
    assert "Traceback" not in output
    assert "internal" not in output
    assert counts(output, "decisions") > 20
    assert counts(output, "acks") > 10


def test_examples_come_in_pairs():
    assert {p.stem for p in EXAMPLES.glob("*.grc")} == {p.stem for p in EXAMPLES.glob("*.py")}
    assert len(list(EXAMPLES.glob("*.grc"))) >= 3


@pytest.mark.parametrize("script", sorted(EXAMPLES.glob("*.py")), ids=lambda p: p.stem)
def test_a_python_example_runs(script):
    done = subprocess.run(
        [sys.executable, script, "--seconds", str(SECONDS)],
        capture_output=True,
        text=True,
        timeout=90,
        env=ENV,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    check(done.stdout + done.stderr)


@pytest.mark.parametrize("flowgraph", sorted(EXAMPLES.glob("*.grc")), ids=lambda p: p.stem)
def test_a_grc_example_compiles_and_runs(flowgraph, tmp_path):
    done = subprocess.run(
        ["grcc", "-o", tmp_path, flowgraph], capture_output=True, text=True, timeout=90, env=ENV, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    script = tmp_path / f"{flowgraph.stem}.py"
    with (tmp_path / "log").open("w+") as log:
        process = subprocess.Popen(
            [sys.executable, script], cwd=tmp_path, stdout=log, stderr=subprocess.STDOUT, env=ENV
        )
        try:
            time.sleep(SECONDS + 3)  # three to import
            assert process.poll() is None, "the flowgraph ended by itself"
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0
        finally:
            process.kill()
        log.seek(0)
        check(log.read())
