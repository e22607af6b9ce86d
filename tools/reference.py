#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes the manual's pages on blocks, from grc/*.yml, and on commands, from their --help.

.venv/bin/python tools/reference.py            write docs/blocks.md and docs/commands.md
.venv/bin/python tools/reference.py --check    exit status 1 if they are not what would be written
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
_KEYS = re.compile(r"[a-z_0-9]+(, [a-z_0-9]+)*: |Other ")
_TYPE = "long|double|bool|f32vector|symbol|string|dict|true|false|its|as|PDU|u8vector|c32vector"

BLOCKS = """\
# Blocks

Every block with its parameters, ports and messages, as GNU Radio Companion shows them; what is common to all
messages stands in [messages.md](messages.md). In Python a block is `lighttune.NAME(...)`, with the parameters
in the brackets below as keywords.

This page is made from `grc/*.yml` by `make reference`.
"""

COMMANDS = """\
# Commands

`lighttune --help` lists the commands, `lighttune COMMAND --help` explains one; that is what stands here.

This page is made from the commands by `make reference`.
"""


def blocks_page() -> str:
    """docs/blocks.md."""
    definitions = [yaml.safe_load(path.read_text()) for path in sorted((ROOT / "grc").glob("*.block.yml"))]
    rows = [f"| [`{_name(d)}`](#{_name(d)}) | {d['label']} | {_ports(d)} |" for d in definitions]
    table = ["| block | in Companion | ports: in → out |", "|---|---|---|", *rows, ""]
    return "\n".join([BLOCKS, *table, *(line for d in definitions for line in _block(d))])


def commands_page() -> str:
    """docs/commands.md."""
    names = re.findall(r"^    ([a-z][a-z-]*)\b", _help(), re.MULTILINE)
    parts = [COMMANDS]
    for name in names:
        parts.append(f"## lighttune {name}\n\n```text\n{_help(name).rstrip()}\n```\n")
    return "\n".join(parts)


def _help(*command: str) -> str:
    from gnuradio.lighttune.cli.main import main

    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        main([*command, "--help"])
    return re.sub(r"[ \t]+$", "", text.getvalue(), flags=re.MULTILINE)


def _name(definition: dict[str, Any]) -> str:
    return definition["id"].removeprefix("lighttune_")


def _ports(definition: dict[str, Any]) -> str:
    def side(key: str) -> str:
        ports = definition.get(key) or []
        return ", ".join(f"`{p['id']}`" if p["domain"] == "message" else "samples" for p in ports) or "none"

    return f"{side('inputs')} → {side('outputs')}"


def _block(definition: dict[str, Any]) -> Iterator[str]:
    yield from (f"## {_name(definition)}", "", f"*{definition['label']}* in Companion.", "")
    for title, body in _sections(definition["documentation"]):
        if not body:
            yield from (_escaped(title), "")
            continue
        section, _, note = title.partition(" (")
        yield from (f"**{section}**" + (f" ({note}" if note else ""), "")
        if section.startswith("Samples"):
            yield _escaped(" ".join(line.strip() for line in body))
        else:
            yield from _entries(body, definition["parameters"] if section == "Parameters" else [])
        yield ""


def _sections(text: str) -> Iterator[tuple[str, list[str]]]:
    """Paragraphs at the margin, each with the indented lines below it."""
    title: list[str] = []
    body: list[str] = []
    for line in [*text.splitlines(), ""]:
        if line.startswith(" "):
            body.append(line)
        elif line and not body:
            title.append(line)
        elif title:
            yield " ".join(title), body
            title, body = ([line] if line else []), []


def _entries(body: list[str], parameters: list[dict[str, Any]]) -> Iterator[str]:
    """A list, with a list of its own below each port; a line that is indented further goes on its entry."""
    entries: list[tuple[int, str]] = []
    for line in body:
        depth, text = len(line) - len(line.lstrip()), line.strip()
        if not entries or depth == 2 or (depth == 4 and not parameters and _KEYS.match(text)):
            entries.append((depth, text))
        else:
            entries[-1] = (entries[-1][0], f"{entries[-1][1]} {text}")
    for depth, text in entries:
        yield ("    " if depth > 2 else "") + "- " + (_parameter(text, parameters) or _key(text))


def _parameter(text: str, parameters: list[dict[str, Any]]) -> str:
    label, _, meaning = text.partition(": ")
    for parameter in parameters:
        if parameter["label"].partition(" (")[0] == label:
            default = str(parameter.get("default", "")) or "empty"
            return f"**{label}** (`{parameter['id']}`, default `{default}`): {_escaped(meaning)}"
    return f"**{label}**: {_escaped(meaning)}" if parameters and meaning else ""


def _key(text: str) -> str:
    names, colon, rest = text.partition(": ")
    if not colon or not re.fullmatch(r"[a-z_0-9]+(, [a-z_0-9]+)*", names):
        return _escaped(text)
    rest = re.sub(rf"(?<![\w`\"(])([a-z][a-z_]*): (?={_TYPE})", r"`\1`: ", _escaped(rest))
    return ", ".join(f"`{name}`" for name in names.split(", ")) + f": {rest}"


def _escaped(text: str) -> str:
    return text.replace("<", "&lt;").replace("*", "\\*")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; say whether the pages are right")
    check = parser.parse_args().check
    os.environ["COLUMNS"] = "100"  # of the commands' help, wherever this runs
    stale = []
    for name, page in (("blocks.md", blocks_page()), ("commands.md", commands_page())):
        path = ROOT / "docs" / name
        if not path.is_file() or path.read_text() != page:
            stale.append(name)
            if not check:
                path.write_text(page)
    if check and stale:
        print(f"docs: {', '.join(stale)} must be written anew: make reference", file=sys.stderr)
    return int(check and bool(stale))


if __name__ == "__main__":
    raise SystemExit(main())
