# SPDX-License-Identifier: GPL-3.0-or-later
"""Every example compiles and runs for some seconds without an error, as GRC makes it and as Python has it."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from patience import HANG_S, WAIT_S
from wifi_real import missing

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
ENV = {
    **os.environ,
    "GRC_BLOCKS_PATH": os.pathsep.join([str(ROOT / "grc"), os.environ.get("GRC_BLOCKS_PATH", "")]),
    "PYTHONUNBUFFERED": "1",
    "QT_QPA_PLATFORM": "offscreen",  # tests/gui has a screen
}
SECONDS = (5, 60)  # the second where it has not come far in the first, for other work has the cores


def counts(text, name):
    """The last value of a counter in the printed status of a selector."""
    found = re.findall(rf"\({name} \. (\d+)\)", text)
    return int(found[-1]) if found else 0


def works(output):
    return counts(output, "decisions") > 20 and counts(output, "acks") > 10


def check(output):
    assert "Traceback" not in output
    assert "internal" not in output
    assert works(output)


def examples(suffix):
    wifi = pytest.mark.skipif(bool(missing()), reason=missing())
    # Those with a USRP are run in tests/usrp.
    found = sorted(p for p in EXAMPLES.glob(f"*{suffix}") if not p.stem.startswith("usrp_"))
    return [pytest.param(p, id=p.stem, marks=[wifi] * p.stem.startswith("wifi")) for p in found]


def test_examples_come_in_pairs():
    assert {p.stem for p in EXAMPLES.glob("*.grc")} == {p.stem for p in EXAMPLES.glob("*.py")}
    assert len(list(EXAMPLES.glob("*.grc"))) >= 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The examples as they are, but that they publish at a free port."""
    folder = tmp_path_factory.mktemp("examples")
    for path in EXAMPLES.glob("*.*"):
        text = path.read_text()
        (folder / path.name).write_text(re.sub(r"(?<=tcp://127\.0\.0\.1:)\d+", "*", text))
    return folder


@pytest.mark.parametrize("script", examples(".py"))
def test_a_python_example_runs(script, folder):
    for seconds in SECONDS:
        done = subprocess.run(
            [sys.executable, folder / script.name, "--seconds", str(seconds)],
            capture_output=True,
            text=True,
            timeout=HANG_S,
            env=ENV,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        if works(done.stdout + done.stderr):
            break
    check(done.stdout + done.stderr)


@pytest.mark.parametrize("flowgraph", examples(".grc"))
def test_a_grc_example_compiles_and_runs(flowgraph, folder, tmp_path):
    done = subprocess.run(
        ["grcc", "-o", tmp_path, folder / flowgraph.name],
        capture_output=True,
        text=True,
        timeout=HANG_S,
        env=ENV,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    script = tmp_path / f"{flowgraph.stem}.py"
    with (tmp_path / "log").open("w+") as log:
        process = subprocess.Popen(
            [sys.executable, script], cwd=tmp_path, stdout=log, stderr=subprocess.STDOUT, env=ENV
        )
        try:
            end_s = time.monotonic() + WAIT_S
            while counts((tmp_path / "log").read_text(), "decisions") == 0 and time.monotonic() < end_s:
                time.sleep(0.1)  # it imports
            time.sleep(SECONDS[0])
            while not works((tmp_path / "log").read_text()) and time.monotonic() < end_s:
                time.sleep(0.1)
            assert process.poll() is None, "the flowgraph ended by itself"
            process.send_signal(signal.SIGINT)
            assert process.wait(WAIT_S) == 0
        finally:
            process.kill()
        log.seek(0)
        check(log.read())
