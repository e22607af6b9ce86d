# SPDX-License-Identifier: GPL-3.0-or-later
"""CMake puts the module where Python and GNU Radio Companion find it, and so does the source tree itself."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from gnuradio import gr, lighttune

ROOT = Path(__file__).resolve().parents[2]
BLOCKS = {p.name for p in (ROOT / "grc").glob("*.yml")}


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


def test_all_of_the_package_is_installed_its_models_and_its_training_too(prefix):
    source, installed = (
        ROOT / "python/lighttune",
        next(prefix.glob("lib/python3*/*-packages/gnuradio/lighttune")),
    )
    here, there = (
        {p.relative_to(base) for p in base.rglob("*") if p.is_file() and "__pycache__" not in p.parts}
        for base in (source, installed)
    )
    assert here == there
    assert {Path("training/rounds.py"), Path("models/links/amc.safetensors")} <= there


def test_every_block_has_a_grc_definition_that_companion_reads(prefix, tmp_path):
    folder = prefix / "share/gnuradio/grc/blocks"
    assert {p.name for p in folder.glob("*.yml")} == BLOCKS
    kinds = (gr.basic_block, gr.hier_block2)
    blocks = [name for name in lighttune.blocks.__all__ if issubclass(getattr(lighttune, name), kinds)]
    assert {f"lighttune_{name}.block.yml" for name in blocks} <= BLOCKS
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


def test_uninstalling_leaves_nothing_that_was_put_there_or_that_python_wrote_beside_it(tmp_path):
    prefix, build = tmp_path / "p", tmp_path / "build"
    other = prefix / "share/gnuradio/grc/blocks/other.block.yml"
    other.parent.mkdir(parents=True)
    other.touch()
    run("cmake", "-S", ROOT, "-B", build, f"-DCMAKE_INSTALL_PREFIX={prefix}")
    run("cmake", "--install", build)
    site = next(prefix.glob("lib/python3*/*-packages"))
    env = {"PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": ""}
    run(sys.executable, "-c", "from gnuradio import lighttune", **env)
    assert list(site.rglob("__pycache__"))
    run("cmake", "--build", build, "--target", "uninstall")
    assert [p for p in prefix.rglob("*") if not p.is_dir()] == [other]
    assert not list(prefix.rglob("*lighttune*"))
    words = ["cmake", "--build", build, "--target", "uninstall"]
    run(*words)  # what is gone is gone
    (build / "install_manifest.txt").unlink()
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "nothing was installed from this build folder" in done.stderr
