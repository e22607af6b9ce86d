# SPDX-License-Identifier: GPL-3.0-or-later
"""`core`, `baselines` and `sim` work without GNU Radio and torch, and the blocks without Qt."""

import subprocess
import sys
from pathlib import Path

from patience import HANG_S

PACKAGES = Path(__file__).resolve().parent.parent / "python"

# The finders are wrapped, so that gnuradio looks as if it were not installed, however it is.
PROGRAM = """
import importlib, pkgutil, sys

class Without:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        return None if name.split(".")[0] == "gnuradio" else self.finder.find_spec(name, path, target)

sys.meta_path = [Without(finder) for finder in sys.meta_path]
try:
    import gnuradio
except ModuleNotFoundError:
    pass
else:
    raise SystemExit("gnuradio can still be imported: this test tests nothing")

sys.path.insert(0, sys.argv[1])
seen = []
for name in ("lighttune.core", "lighttune.baselines", "lighttune.sim"):
    package = importlib.import_module(name)
    for module in pkgutil.walk_packages(package.__path__, name + "."):
        if not module.name.endswith("training"):  # and retraining: what torch is for
            importlib.import_module(module.name)
            seen.append(module.name)
assert "torch" not in sys.modules, "torch was imported"
assert not any(name.startswith("gnuradio") for name in sys.modules)
print(*seen)
"""


def test_the_algorithm_the_baselines_and_the_simulator_import_without_gnu_radio_and_torch():
    command = [sys.executable, "-c", PROGRAM, str(PACKAGES)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANG_S, check=False)
    assert done.returncode == 0, done.stderr
    for module in ("core.adapter", "core.mcs", "baselines.olla", "sim.worlds", "sim.link"):
        assert f"lighttune.{module}" in done.stdout.split()


WITHOUT_A_SCREEN = """
import sys

from gnuradio import lighttune

lighttune.mcs_selector(), lighttune.amc_rx()
assert not any(name.startswith(("PyQt", "pyqtgraph")) for name in sys.modules), "Qt was imported"
try:
    lighttune.panel()
except RuntimeError as error:
    print(error)
"""


def test_the_blocks_need_no_qt_and_the_panel_says_what_it_needs():
    command = [sys.executable, "-c", WITHOUT_A_SCREEN]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANG_S, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("no QApplication: make one first")
