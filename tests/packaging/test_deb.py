# SPDX-License-Identifier: GPL-3.0-or-later
"""The Debian package: built, installed with Debian's packages alone, used from outside the tree, and removed.

All that is installed goes to a throw-away copy of the machine's files (`sandbox`).
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from gnuradio.lighttune import __version__

import sandbox

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ("dpkg-buildpackage", "dh", "dh_python3")

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, TOOLS)), reason=f"needs {', '.join(TOOLS)}: apt-get install debhelper dh-python"
)


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    folder = tmp_path_factory.mktemp("deb")
    done = subprocess.run(
        [ROOT / "tools/deb.sh", folder], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder / f"gr-lighttune_{__version__}_all.deb"


def test_nothing_but_the_package_is_in_the_package(package):
    listing = subprocess.run(["dpkg-deb", "-c", package], capture_output=True, text=True, check=True).stdout
    files = [line.split()[5] for line in listing.splitlines() if not line.startswith("d")]
    ours = (
        "./usr/lib/python3/dist-packages/gnuradio/lighttune/", "./usr/share/gnuradio/grc/blocks/lighttune_",
        "./usr/share/gnuradio/examples/lighttune/", "./usr/share/doc/gr-lighttune/", "./usr/bin/lighttune",
        "./usr/share/man/man1/lighttune.1", "./usr/share/gr-lighttune/",
    )  # fmt: skip
    assert [file for file in files if not file.startswith(ours)] == []
    for start in ours:
        assert any(file.startswith(start) for file in files), start
    assert not any("__pycache__" in file for file in files)


@pytest.mark.skipif(not shutil.which("lintian"), reason="needs lintian: apt-get install lintian")
def test_lintian_has_nothing_to_say(package):
    changes = next(package.parent.glob("*.changes"))
    command = [
        "lintian",
        "--allow-root",
        "--fail-on",
        "error,warning,info",
        "--info",
        "--display-info",
        changes,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


# As a user of Debian would: no tree, no virtual environment, and only Debian's packages, without the merely
# recommended ones, whatever this machine has.
INSTALLED = """
set -e
export DEBIAN_FRONTEND=noninteractive
cd /
install() { apt-get install -y -q --no-install-recommends "$PACKAGE" >/tmp/apt.log 2>&1; }
install || { apt-get update -q >/tmp/apt.log 2>&1; install; } || { cat /tmp/apt.log; exit 1; }

folder() {
    /usr/bin/python3 -c "import importlib.util as u; print(u.find_spec('$1').submodule_search_locations[0])"
}
for module in $RECOMMENDED; do
    while where=$(folder "$module" 2>/dev/null); do rm -r "$where"; done
done

/usr/bin/python3 -c 'import gnuradio.lighttune as module; print("imported", module.__file__)'
lighttune --version
/usr/bin/python3 /usr/share/gnuradio/examples/lighttune/own_phy.py --seconds 2
grcc -o /tmp /usr/share/gnuradio/examples/lighttune/own_phy.grc >/dev/null && echo "companion reads it"
lighttune demo --packets 60 --plot /tmp/x.png || echo "no plot"
test -s /usr/share/man/man1/lighttune.1.gz && echo "manual page"
"$TREE/.venv/bin/python" -c 'from gnuradio import gr, lighttune; print("tree", lighttune.__file__)'

apt-get purge -y -q gr-lighttune >/tmp/apt.log 2>&1 || { cat /tmp/apt.log; exit 1; }
find /usr /etc -xdev -path '*lighttune*' -printf 'left %p\\n'
/usr/bin/python3 -c 'import gnuradio.lighttune' 2>&1 | tail -n 1
/usr/bin/python3 -c 'from gnuradio import gr; print("GNU Radio", gr.version())'
"""


@pytest.fixture(scope="module")
def session(package, tmp_path_factory):
    reason = sandbox.missing()
    if reason:
        pytest.skip(reason)
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "GRC", "VIRTUAL_ENV"))}
    env |= {"PACKAGE": str(package), "TREE": str(ROOT), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    (recommended,) = re.findall(r"^Recommends: (.+)$", (ROOT / "debian/control").read_text(), re.MULTILINE)
    env["RECOMMENDED"] = recommended.replace("python3-", "").replace(",", "")
    done = sandbox.run(INSTALLED, tmp_path_factory.mktemp("sandbox"), (package.parent,), env=env)
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_the_installed_package_works_with_debian_s_packages_alone(session):
    assert "imported /usr/lib/python3/dist-packages/gnuradio/lighttune/__init__.py" in session
    assert f"gr-lighttune {__version__}\n" in session
    assert "decisions" in session  # the example's status
    for said in ("companion reads it", "no plot", "residual BLER", "manual page"):
        assert said in session
    assert "internal" not in session
    assert "Traceback" not in session


def test_a_module_that_debian_only_recommends_is_asked_for_in_one_line(session):
    assert "lighttune: this needs the Python module matplotlib" in session


def test_the_tree_s_own_environment_still_imports_the_tree(session):
    assert f"tree {ROOT}/.venv/" in session


def test_a_purge_leaves_nothing_and_gnu_radio_as_it_was(session):
    assert "left " not in session
    assert "ModuleNotFoundError: No module named 'gnuradio.lighttune'" in session
    assert "GNU Radio 3.10" in session
