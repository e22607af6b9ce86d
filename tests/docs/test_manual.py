# SPDX-License-Identifier: GPL-3.0-or-later
"""The manual builds without a warning, loads nothing from elsewhere, and says what the program does."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pmt
import pytest
import yaml
from gnuradio import gr, lighttune

from patience import HANG_S

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
MESSAGES = (DOCS / "messages.md").read_text()
BLOCKS = (DOCS / "blocks.md").read_text()
PACKAGE = ROOT / "python/lighttune"
NAMES = [
    n for n in lighttune.blocks.__all__ if issubclass(getattr(lighttune, n), (gr.basic_block, gr.hier_block2))
]
KATEX = Path("/usr/share/javascript/katex/katex.js")


@pytest.fixture(scope="module")
def manual(tmp_path_factory):
    if not KATEX.is_file():
        pytest.skip("needs KaTeX: apt-get install libjs-katex")
    site = tmp_path_factory.mktemp("manual")
    done = subprocess.run(
        [Path(sys.executable).with_name("mkdocs"), "build", "--strict", "--quiet", "--site-dir", site],
        cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True,
        timeout=HANG_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stderr
    return site


def test_the_manual_builds_without_a_warning_and_has_every_page(manual):
    for page in DOCS.rglob("*.md"):
        assert (manual / page.relative_to(DOCS).with_suffix(".html")).is_file(), page
    assert "<h3" in (manual / "api.html").read_text()


def test_a_reader_s_browser_fetches_nothing_from_elsewhere(manual):
    for page in manual.rglob("*.html"):
        for tag in re.findall(r"<(?:script|link|img|iframe)\b[^>]*>", page.read_text()):
            assert not re.search(r"(?:src|href)=[\"']?(?:https?:)?//", tag) or 'rel="canonical"' in tag, (
                page,
                tag,
            )
    for style in manual.rglob("*.css"):
        assert not re.search(r"url\([\"']?(?:https?:)?//", style.read_text()), style


def test_equations_find_what_sets_them(manual):
    page = (manual / "concepts.html").read_text()
    assert 'class="arithmatex"' in page
    for part in re.findall(r"(?:src|href)=\"([^\"]*(?:katex|equations)[^\"]*)\"", page):
        assert (manual / part).is_file(), part
    styles = (manual / "katex/katex.min.css").read_text()
    for font in set(re.findall(r"fonts/[\w-]+\.woff2", styles)):
        assert (manual / "katex" / font).is_file(), font


def test_the_pages_on_blocks_and_commands_are_the_program_s():
    done = subprocess.run(
        [sys.executable, ROOT / "tools/reference.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_every_block_is_in_the_reference(name):
    if (ROOT / f"grc/lighttune_{name}.block.yml").is_file():
        assert f"\n## {name}\n" in BLOCKS
    else:  # it cannot stand in Companion; then a page says how it is used
        assert any(f"lighttune.{name}(" in page.read_text() for page in DOCS.glob("*.md"))


@pytest.mark.parametrize("name", ["mcs_selector", "olla_selector", "tuner", "ack_merge"])
def test_the_reference_has_the_ports_that_the_block_registers(name):
    block = getattr(lighttune, name)()
    row = re.search(rf"^\| \[`{name}`\].*\| (.+?) → (.+?) \|$", BLOCKS, re.MULTILINE)
    for ports, told in ((block.message_ports_in(), row.group(1)), (block.message_ports_out(), row.group(2))):
        assert set(re.findall(r"`(\w+)`", told)) == set(pmt.to_python(ports)) - {"system"}
    section = BLOCKS.split(f"\n## {name}\n")[1].split("\n## ")[0]
    for key in block.status():
        assert re.search(rf"\b{key}\b", section), key


def test_every_key_that_is_read_or_written_is_in_the_tables():
    source = (PACKAGE / "blocks/_messages.py").read_text()
    keys = set(re.findall(r'^[A-Z]\w* = pmt\.intern\("(\w+)"\)$', source, re.MULTILINE))
    assert len(keys) > 15
    assert {key for key in keys if f"`{key}`" not in MESSAGES and f"{key}: true" not in MESSAGES} == set()


def refusals():
    """Causes that the sources of the blocks spell out."""
    for path in (PACKAGE / "blocks").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and node.args and ast.unparse(node.func).endswith("Refused"):
                for part in ast.walk(node.args[0]):
                    if isinstance(part, ast.Constant) and isinstance(part.value, str):
                        yield path.name, part.value.strip()


def test_every_cause_of_a_drop_is_explained():
    told = MESSAGES + BLOCKS
    told += "".join(page.read_text() for page in DOCS.glob("*.md"))
    missing = {(name, cause) for name, cause in refusals() if cause not in told}
    assert missing == set()


def test_the_20_lines_that_attach_a_phy_are_20_and_the_page_shows_them():
    source = (ROOT / "examples/own_phy.py").read_text()
    parts = re.findall(r"# attach: begin\n(.*?)\n\s*# attach: end", source, re.DOTALL)
    assert sum(bool(line.strip()) for part in parts for line in part.splitlines()) == 20
    page = (DOCS / "own-phy.md").read_text()
    for part in parts:
        assert f"```python\n{part.rstrip()}\n```" in page
    messages = subprocess.run(
        [sys.executable, ROOT / "examples/own_phy.py", "--seconds", "1"],
        capture_output=True, text=True, timeout=HANG_S, check=True,
    ).stdout  # fmt: skip
    assert int(re.findall(r"\(acks \. (\d+)\)", messages)[-1]) > 10


def test_the_navigation_has_every_page_once():
    def pages(entry):
        if isinstance(entry, str):
            yield entry
        for child in entry if isinstance(entry, list) else entry.values() if isinstance(entry, dict) else ():
            yield from pages(child)

    text = re.sub(r"!!\S+", "", (ROOT / "mkdocs.yml").read_text())
    listed = list(pages(yaml.safe_load(text)["nav"]))
    assert sorted(listed) == sorted(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md"))


def test_the_algorithm_s_origin_is_told_wherever_the_algorithm_is():
    for name in ("index.md", "concepts.md", "algorithm.md", "design.md"):
        text = " ".join((DOCS / name).read_text().split())
        assert "2604.12406" in text
        assert re.search(r"only\W+the abstract", text, re.IGNORECASE)
