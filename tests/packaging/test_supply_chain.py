# SPDX-License-Identifier: GPL-3.0-or-later
"""Every package that is installed from a lock is pinned, hashed, and of a licence that goes with ours."""

import re
from pathlib import Path

import licences
import packages
import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]


each_lock = pytest.mark.parametrize("lock", licences.LOCKS, ids=lambda lock: lock.stem)


def _name(text):
    return re.sub(r"[-_.]+", "-", text).lower()


def _names(what):
    return {_name(Requirement(requirement).name) for requirement in packages.ranges(what)}


def test_there_is_a_lock_for_every_distribution_we_name():
    assert [lock.stem for lock in licences.LOCKS] == ["py311-numpy1", "py312-numpy1", "py313-numpy2"]


@each_lock
def test_a_lock_has_what_is_asked_for_at_a_version_that_is_asked_for(lock):
    locked = {_name(name): version for name, version in licences.versions(lock).items()}
    python, numpy = re.fullmatch(r"py3(\d+)-numpy(\d)", lock.stem).groups()
    there = {"python_version": f"3.{python}", "platform_machine": "x86_64"}
    for text in packages.ranges("full"):
        requirement = Requirement(text)
        if requirement.marker and not requirement.marker.evaluate(there):
            continue
        assert requirement.specifier.contains(locked[_name(requirement.name)]), f"{text}: run `make lock`"
    assert locked["numpy"].partition(".")[0] == numpy
    assert "torch" not in locked


@each_lock
def test_the_demo_s_part_of_a_lock_comes_first_and_has_no_tools_of_the_tests(lock):
    demo, divider, rest = lock.read_text().partition("# The rest is for the full set-up.\n")
    assert divider
    first, second = (
        {_name(name) for name in re.findall(r"^(\S+)==", part, re.MULTILINE)} for part in (demo, rest)
    )
    assert first >= _names("demo")
    assert first | second >= _names("full")
    assert not first & second
    assert second >= {"pytest", "mkdocs", "dask", "pyarrow"}


@each_lock
def test_every_locked_package_has_hashes_and_comes_from_an_index(lock):
    text = re.sub(r"^#.*\n", "", lock.read_text(), flags=re.MULTILINE)
    entries = [part for part in re.split(r"^(?=\S)", text, flags=re.MULTILINE) if part]
    assert len(entries) == len(licences.versions(lock)) > 50
    for entry in entries:
        assert re.fullmatch(r"\S+==\S+( ; [^\\\n]+)?( \\\n    --hash=sha256:[0-9a-f]{64})+\n", entry), entry[
            :200
        ]


def test_every_locked_package_is_listed_with_the_licence_that_it_declares():
    page = (ROOT / "docs" / "licences.md").read_text()
    rows = dict(re.findall(r"^\| ([^ ]+) \| ([^|]+) \| .+ \|$", page, re.MULTILINE))
    rows.pop("package", None)
    assert rows.pop("torch")
    assert rows == licences.locked(), "run `make licences`"


def test_every_licence_in_the_list_goes_with_gpl_3_or_later():
    page = (ROOT / "docs" / "licences.md").read_text()
    found = re.findall(r"^\| ([^ ]+) \| [^|]+ \| (.+) \|$", page, re.MULTILINE)
    for name, licence in found:
        assert name == "package" or licences.compatible(licence), f"{name}: {licence}"


@pytest.mark.parametrize("licence", ["GPL-2.0-only", "Proprietary", "MIT AND Proprietary", "SSPL-1.0", ""])
def test_licences_that_do_not_go_with_ours_are_seen(licence):
    assert not licences.compatible(licence)
    assert licences.compatible("MIT AND (Apache-2.0)")
    assert licences.compatible("SSPL-1.0 OR MIT")
