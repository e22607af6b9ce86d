# SPDX-License-Identifier: GPL-3.0-or-later
"""Every package that is installed is pinned, hashed, and of a licence that goes with ours."""

import importlib.util
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "requirements.lock").read_text()


def _tool(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


licences = _tool("licences")


def _name(text):
    return re.sub(r"[-_.]+", "-", text).lower()


def test_every_pin_but_torch_is_locked_at_its_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = [
        *project["dependencies"],
        *(pin for pins in project["optional-dependencies"].values() for pin in pins),
    ]
    locked = {_name(name): version for name, version in licences.locked().items()}
    for pin in pins:
        name, _, version = pin.partition("==")
        assert version, f"{pin} is not pinned"
        assert name == "torch" or locked.get(_name(name)) == version, f"{pin}: run `make lock`"


def test_every_locked_package_has_hashes_and_comes_from_an_index():
    packages = [part for part in re.split(r"^(?=\S)", LOCK, flags=re.MULTILINE) if part and part[0] != "#"]
    assert len(packages) == len(licences.locked()) > 50
    for package in packages:
        assert re.fullmatch(r"\S+==\S+( ; [^\\\n]+)?( \\\n    --hash=sha256:[0-9a-f]{64})+\n", package), (
            package[:200]
        )


def test_every_locked_package_is_listed_with_the_licence_that_it_declares():
    page = (ROOT / "docs" / "licences.md").read_text()
    rows = dict(re.findall(r"^\| ([^ ]+) \| ([^ ]+) \| .+ \|$", page, re.MULTILINE))
    rows.pop("package", None)
    assert rows.pop("torch")
    assert rows == licences.locked(), "run `make licences`"


def test_every_licence_in_the_list_goes_with_gpl_3_or_later():
    page = (ROOT / "docs" / "licences.md").read_text()
    found = re.findall(r"^\| ([^ ]+) \| [^ ]+ \| (.+) \|$", page, re.MULTILINE)
    for name, licence in found:
        assert name == "package" or licences.compatible(licence), f"{name}: {licence}"


@pytest.mark.parametrize("licence", ["GPL-2.0-only", "Proprietary", "MIT AND Proprietary", "SSPL-1.0", ""])
def test_licences_that_do_not_go_with_ours_are_seen(licence):
    assert not licences.compatible(licence)
    assert licences.compatible("MIT AND (Apache-2.0)")
    assert licences.compatible("SSPL-1.0 OR MIT")
