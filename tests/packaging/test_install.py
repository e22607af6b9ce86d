# SPDX-License-Identifier: GPL-3.0-or-later
"""CMake puts the module where Python and GNU Radio Companion find it, and so does the source tree itself."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BLOCKS = ("ack_merge", "amc_rx", "amc_tx", "mcs_selector", "olla_selector", "tuner")


def run(*command, **env):
    words = [str(c) for c in command]
    done = subprocess.run(
        words, capture_output=True, text=True, timeout=120, env={**os.environ, **env}, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    base = tmp_path_factory.mktemp("install")
    run("cmake", "-S", ROOT, "-B", base / "build", f"-DCMAKE_INSTALL_PREFIX={base / 'p'}")
    run("cmake", "--install", base / "build")
    return base / "p"


def test_the_installed_package_is_imported_as_part_of_gnuradio(prefix):
    site = next(prefix.glob("lib/python3*/*-packages"))
    script = "from gnuradio import lighttune; print(lighttune.__file__); lighttune.mcs_selector(model='amc')"
    assert not list(prefix.rglob("__pycache__"))
    assert run(sys.executable, "-c", script, PYTHONPATH=str(site)).startswith(str(prefix))


def test_every_block_has_a_grc_definition_that_companion_reads(prefix, tmp_path):
    folder = prefix / "share/gnuradio/grc/blocks"
    assert {p.name for p in folder.glob("*.yml")} >= {f"lighttune_{b}.block.yml" for b in BLOCKS}
    example = next((prefix / "share/gnuradio/examples/lighttune").glob("loopback*.grc"))
    run("grcc", "-o", tmp_path, example, GRC_BLOCKS_PATH=str(folder))
    assert list(tmp_path.glob("*.py"))


def test_the_installed_command_runs(prefix):
    site = next(prefix.glob("lib/python3*/*-packages"))
    out = run(sys.executable, prefix / "bin/lighttune", "--help", PYTHONPATH=str(site))
    assert "demo" in out
    assert "train" in out


def test_the_source_tree_is_imported_without_installation(tmp_path):
    tree = tmp_path / "python"
    shutil.copytree(ROOT / "python", tree, ignore=shutil.ignore_patterns("__pycache__"))
    script = (
        f"import gnuradio; gnuradio.__path__.insert(0, {str(tree)!r}); "
        "from gnuradio import lighttune; print(lighttune.__file__); lighttune.ack_merge()"
    )
    assert run(sys.executable, "-c", script).startswith(str(tree))
