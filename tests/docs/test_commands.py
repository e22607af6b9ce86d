# SPDX-License-Identifier: GPL-3.0-or-later
"""Every command in the manual is run: each `sh` box in a copy of the tree, as a reader would type it.

A box marked `console` is not run: it needs a radio, a second machine, or more than a minute. The pages of
results, which name the commands that wrote them, are left out.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

import sandbox
from helpers import needs_torch

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md"))
HANG_S = 600
PROGRAM = re.compile(
    r"^\s*(\$ |[A-Z_]+=\S+ )*(sudo |\S*/)?(lighttune|make|python3?|cmake|grcc|apt-get|pip) ", re.M
)
KINDS = {"sh", "console", "python", "yaml", "text", ""}

# What a reader has: the tree's `lighttune` on the path, and nothing left over from other builds.
BEGIN = """
set -eu -o pipefail
cd "$TREE"
rm -rf out build
touch .venv/.ready .venv/.ready-demo
printf '#!/bin/sh\\nexec "$@"\\n' >/usr/local/bin/sudo
chmod +x /usr/local/bin/sudo
export PATH=$TREE/.venv/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin
"""


class Box(NamedTuple):
    page: str
    line: int
    kind: str
    text: str


def boxes():
    found = []
    for page in PAGES:
        text = page.read_text()
        for match in re.finditer(r"^```(\S*)[^\n]*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            line = text[: match.start()].count("\n") + 1
            found.append(Box(page.name, line, match.group(1), match.group(2)))
    return found


BOXES = boxes()
SHELL = [box for box in BOXES if box.kind == "sh"]
PYTHON = [box for box in BOXES if box.kind == "python" and box.text.startswith(("import ", "from "))]


@pytest.fixture(scope="module")
def environment():
    lost = ("MAKE", "MFLAGS", "PYTEST", "PYTHONPATH", "GRC", "VIRTUAL_ENV")
    return {k: v for k, v in os.environ.items() if not k.startswith(lost)} | {"TREE": str(ROOT)}


def run(script, tmp_path, environment):
    reason = sandbox.missing()
    network = "apt-get" in script  # the others get a loopback of their own: their ports are free
    if not reason:
        return sandbox.run(
            BEGIN + script, tmp_path / "root", timeout_s=HANG_S, network=network, env=environment
        )
    if re.search(r"^(sudo|make) ", script, re.MULTILINE):
        pytest.skip(reason)
    tree = tmp_path / "tree"
    left_out = shutil.ignore_patterns(
        ".git", ".venv*", "build", "out", "__pycache__", ".*_cache", ".hypothesis"
    )
    shutil.copytree(ROOT, tree, ignore=left_out)
    (tree / ".venv").symlink_to(ROOT / ".venv")
    begin = 'set -eu -o pipefail; cd "$TREE"; export PATH=$TREE/.venv/bin:$PATH\n'
    return subprocess.run(
        ["bash", "-c", begin + script], env=environment | {"TREE": str(tree)}, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=HANG_S, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    "box",
    [pytest.param(box, marks=needs_torch if "lighttune train " in box.text else ()) for box in SHELL],
    ids=[f"{box.page}:{box.line}" for box in SHELL],
)
def test_a_command_of_the_manual_does_what_it_should(box, tmp_path, environment):
    done = run(box.text, tmp_path, environment)
    assert done.returncode == 0, done.stdout
    assert "Traceback" not in done.stdout


@pytest.mark.parametrize("box", PYTHON, ids=lambda box: f"{box.page}:{box.line}")
def test_a_program_of_the_manual_runs(box, tmp_path, environment):
    done = run(f"python - <<'END OF PROGRAM'\n{box.text}\nEND OF PROGRAM\n", tmp_path, environment)
    assert done.returncode == 0, done.stdout


def test_no_command_hides_from_these_tests():
    assert {box.kind for box in BOXES} <= KINDS
    for page in PAGES:
        if page.name in ("commands.md", "blocks.md"):  # written from the program itself
            continue
        text = re.sub(r"^```(sh|console)\n.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
        other = [box.text for box in BOXES if box.page == page.name and box.kind not in ("sh", "console")]
        indented = re.findall(r"^    \S.*$", text, re.MULTILINE)
        found = PROGRAM.search("\n".join(other + indented))
        assert not found, f"{page.name}: put {found.group(0)!r} into a box marked sh, or console"


def test_no_box_runs_the_tests_again():
    for box in SHELL:
        assert not re.search(r"\bmake (test|lint)\b|\bpytest\b", box.text), box
