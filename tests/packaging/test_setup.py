# SPDX-License-Identifier: GPL-3.0-or-later
"""What a machine lacks is said in one line, before anything is installed or built that would be of no use.

All that is taken away is taken from a throw-away copy of the machine's files (`sandbox`).
"""

import os
from pathlib import Path

import packages
import pytest

import sandbox

ROOT = Path(__file__).resolve().parents[2]

# Programs of the machine that only write down how they were called.
BEGIN = """
cd "$TREE"
touch /tmp/calls
pretend() { rm -f "$1"; printf '#!/bin/sh\\necho "$0 $*" >>/tmp/calls\\n%s\\n' "$2" >"$1"; chmod +x "$1"; }
"""
NO_SETUP = BEGIN + "rm -f .venv/.ready*; pretend tools/setup.sh 'exit 9'\n"


@pytest.fixture
def run(tmp_path):
    if reason := sandbox.missing():
        pytest.skip(reason)
    lost = ("MAKE", "MFLAGS", "PYTHON", "TORCH", "VIRTUAL_ENV")
    env = {k: v for k, v in os.environ.items() if not k.startswith(lost)}
    env |= {"TREE": str(ROOT), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}

    def run(script):
        """The status, what was said, and which of the pretended programs were called."""
        done = sandbox.run(
            f"({script}); status=$?; echo '== calls'; cat /tmp/calls; exit $status", tmp_path, env=env
        )
        said, _, calls = done.stdout.partition("== calls\n")
        return done.returncode, said, calls

    return run


def test_a_python_that_is_too_old_is_told_before_apt_is_asked(run):
    status, said, calls = run(
        BEGIN + "pretend /usr/bin/python3 'echo 3.10'; pretend /usr/bin/apt-get; tools/setup.sh"
    )
    assert status == 1
    assert said == "setup: /usr/bin/python3 is Python 3.10: 3.11 or later is needed (Debian 12 has it)\n"
    assert "apt-get" not in calls


@pytest.mark.parametrize(
    ("candidate", "fits"),
    [("3.9.2-3", 0), ("3.11.2-1+b1", 1), ("3.12.3-0ubuntu2", 1), ("3.13.5-1", 1), ("(none)", 0)],
)
def test_where_there_is_no_python_the_one_that_apt_would_install_is_looked_at(run, candidate, fits):
    script = f"""
        rm /usr/bin/python3
        pretend /usr/bin/apt-get
        pretend /usr/bin/apt-cache 'printf "python3:\\n  Installed: (none)\\n  Candidate: {candidate}\\n"'
        tools/setup.sh
    """
    status, said, calls = run(BEGIN + script)
    assert status == 1
    assert "apt-get update" in calls
    assert ("apt-get install" in calls) == fits
    assert ("3.11 or later is needed" in said) == (not fits)


# pip only writes down what it was asked for; all else is real.
NO_PIP = """
    pip=$("$TREE/.venv/bin/python" -c 'import pip; print(pip.__path__[0])')
    printf 'import sys\nprint("pip", *sys.argv[1:], file=open("/tmp/calls", "a"))\n' >$pip/__main__.py
"""


@pytest.mark.parametrize(("what", "torch"), [("demo", False), ("full", True), ("TORCH=no full", False)])
def test_a_machine_gets_the_packages_of_its_lock(run, what, torch):
    *environment, what = what.split()
    status, said, calls = run(
        BEGIN
        + NO_PIP
        + f"""
        rm -f .venv/.ready*
        {" ".join(environment)} tools/setup.sh {what}
        cat build/packages.lock >>/tmp/calls
        test {"! " if what == "demo" else ""}-e .venv/.ready && test -e .venv/.ready-demo
    """
    )
    assert status == 0, said
    lock = packages.choose(packages.look()).lock
    assert f"setup: install the packages of {lock.relative_to(ROOT)}\n" in said
    assert "--require-hashes -r build/packages.lock" in calls
    assert ("\npytest==" in calls) == (what == "full")
    assert "\nnumba==" in calls
    assert ("torch==" in calls) == torch


def test_without_a_lock_the_ranges_are_taken_and_one_line_says_so(run):
    status, said, calls = run(BEGIN + NO_PIP + "rm requirements/*.lock; tools/setup.sh demo")
    assert status == 0, said
    (line,) = [line for line in said.splitlines() if "no lock" in line]
    assert line.endswith("packages by the ranges of pyproject.toml")
    assert "--require-hashes" not in calls
    assert "numba>=" in calls


@pytest.mark.parametrize(
    ("broken", "line"),
    [
        (
            "mkdir -p $local/numpy; echo '__version__ = \"9.9.0\"' >$local/numpy/__init__.py",
            "and cannot work with 9.9.0: remove that NumPy again",
        ),
        ("rm -r $dist/numpy", "apt-get install --reinstall python3-numpy'"),
        (
            "echo 'raise ImportError(\"half of it\")' >$dist/gnuradio/gr/__init__.py",
            "no GNU Radio here (half of it): 'apt-get install --reinstall gnuradio'",
        ),
        (
            "rm .venv/bin/python; cp /bin/false .venv/bin/python",
            ".venv is broken, or was made from another Python",
        ),
    ],
)
def test_what_is_broken_is_told_in_a_line_with_the_remedy(run, broken, line):
    local = "local=$(/usr/bin/python3 -c \"import sysconfig; print(sysconfig.get_path('purelib'))\")\n"
    local += "dist=/usr/lib/python3/dist-packages\n"
    status, said, calls = run(BEGIN + "pretend /usr/bin/apt-get\n" + local + broken + "\ntools/setup.sh demo")
    assert status == 1
    assert len(said.splitlines()) == 1, said
    assert line in said
    assert calls == ""


@pytest.mark.parametrize(
    ("command", "gone", "line"),
    [
        ("make deb", "/usr/share/doc/build-essential", "deb: build-essential missing here"),
        ("make deb", "/usr/bin/dh /usr/bin/dh_python3", "deb: debhelper dh-python missing here"),
        ("make install", "/usr/bin/cmake", "install: cmake missing here"),
        ("make install", "/usr/lib/python3/dist-packages/gnuradio", "install: gnuradio missing here"),
    ],
)
def test_installing_says_what_it_needs_and_calls_for_no_set_up(run, command, gone, line):
    status, said, calls = run(NO_SETUP + f"rm -rf {gone}; {command} PREFIX=/tmp/prefix")
    assert status == 2  # make's
    packages = line.partition(": ")[2].removesuffix(" missing here")
    remedy = f"'sudo apt-get install --no-install-recommends {packages}'"
    lines = [text for text in said.splitlines() if not text.startswith(("make", "tools/"))]
    assert lines == [f"{line}: {remedy}"]
    assert calls == ""


def test_installing_needs_no_set_up(run):
    status, said, calls = run(NO_SETUP + "make install PREFIX=/tmp/prefix; test -x /tmp/prefix/bin/lighttune")
    assert status == 0, said
    assert calls == ""
