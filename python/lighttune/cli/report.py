# SPDX-License-Identifier: GPL-3.0-or-later
"""`lighttune report`: a log as one HTML file with plots."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

_HELP = """\
Write what a log says into one HTML file that needs nothing else: figures, plots over time, reliability of the
prediction, links, and what was dropped or lost. It can be sent to a colleague as it is.

    lighttune report logs/bench --out bench.html
"""


def add_parser(commands: Any) -> None:
    """Add the sub-command."""
    parser = commands.add_parser(
        "report",
        help="write a log's report as one HTML file",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "log", metavar="LOG", type=Path, nargs="+", help="folder that was recorded into, or one session in it"
    )
    add("--out", type=Path, default=Path("report.html"), metavar="FILE", help="(default: %(default)s)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Read, plot, write; returns the exit status."""
    from rich.console import Console

    from ..records.log import sessions
    from ..records.report import html
    from ..records.summary import summarise
    from .replay import show_broken, tables_of

    if not args.out.resolve().parent.is_dir():
        raise FileNotFoundError(f"--out {args.out}: there is no folder {args.out.resolve().parent}")
    found = sessions(args.log)
    table = tables_of(found)
    with Console(stderr=True).status(f"reading {len(found)} session(s)"):
        summary = summarise(found, table)
        args.out.write_text(html(summary), encoding="utf-8")
    show_broken(Console(), found, summary.health)
    print(f"wrote {args.out} ({args.out.stat().st_size / 1e3:.0f} kB)")
    return 0
