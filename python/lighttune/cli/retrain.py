# SPDX-License-Identifier: GPL-3.0-or-later
"""`lighttune train --from`: a network for a testbed from its own logs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.link_files import save_model
from ..core.mcs import McsTable

if TYPE_CHECKING:
    from ..records.retraining import Retrained

_ORDER = ("before", "after", "as recorded")


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `lighttune train` that this adds."""
    group = parser.add_argument_group("training on a testbed's own logs, instead of the simulator's channels")
    add = group.add_argument
    add("--from", dest="logs", metavar="LOG", nargs="+", default=[],
        help="logs of `lighttune record` or of a recorder block, two sessions or more in all")  # fmt: skip
    add("--model", default="", metavar="NAME",
        help="model to begin with, a name or a file (default: the shipped one for the table)")  # fmt: skip
    add("--held-out", action="append", default=[], metavar="SESSION",
        help="judge on this session; repeat it (default: the last fifth of the sessions)")  # fmt: skip
    add(
        "--include-broken",
        action="store_true",
        help="train and judge on sessions, too, whose outcomes are the hosts' (`lighttune report` says why)",
    )
    add("--plot", metavar="PNG", help="write the reliability diagram of the held-out sessions there")


def run(args: argparse.Namespace) -> int:
    """Train further, compare on held-out sessions, write what is better; returns the exit status."""
    from rich.console import Console
    from rich.progress import Progress

    from ..records.log import sessions
    from ..records.retraining import retrain_on, split
    from .replay import of_log, show_broken, show_damage

    if args.out is None:
        raise ValueError("--from wants --out FILE: the model file to write")
    if not args.out.resolve().parent.is_dir():
        raise FileNotFoundError(f"--out {args.out}: there is no folder {args.out.resolve().parent}")
    found = sessions(map(Path, args.logs))
    base = of_log(found, args.model)
    table = base.table
    if args.table and (wanted := McsTable.named(args.table)).digest != table.digest:
        raise ValueError(
            f"--table {args.table} ({wanted.digest}), but the logs are of {table.name!r} ({table.digest}):"
            " leave --table out, or give logs of that table"
        )
    console = Console()
    broken = show_broken(console, found)
    if broken and not args.include_broken:
        found = [session for session in found if session.name not in broken]
        if len(found) < 2:
            raise ValueError(
                f"sessions are broken ({', '.join(broken)}), and {len(found)} left: record anew on a host"
                " that keeps up, or give --include-broken"
            )
        console.print(f"[yellow]left out: {', '.join(broken)}[/yellow]", soft_wrap=True)
    train, held_out = split(found, args.held_out, 0.2)
    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task("reading", total=1.0)

        def progress(what: str, share: float) -> None:
            bar.update(task, completed=share, description=what)

        result = retrain_on(base, train, held_out, args.seed, progress)
    _show(console, result, len(train), len(held_out))
    show_damage(console, found)
    if args.plot:
        from .retrain_plot import plot

        plot(Path(args.plot), result)
        console.print(f"wrote {args.plot}")
    before, after = (result.scores[name]["log_loss"] for name in ("before", "after"))
    if not after < before:
        console.print(
            "not better on the held-out sessions: nothing written, go on with the model that you have"
        )
        return 1
    notes = {"from": ", ".join(s.name for s in train), "held out": ", ".join(s.name for s in held_out),
             "began with": args.model or "the shipped model", "seed": str(args.seed),
             "log loss before": f"{before:.5f}", "log loss after": f"{after:.5f}"}  # fmt: skip
    save_model(result.model, args.out, notes)
    console.print(f"wrote {args.out} ({args.out.stat().st_size} bytes)")
    return 0


def _show(console: Any, result: Retrained, n_train: int, n_held_out: int) -> None:
    from rich.table import Table

    console.print(f"trained on {result.training} blocks of {n_train} session(s)")
    table = Table(title=f"{result.held_out} blocks of {n_held_out} held-out session(s)", title_justify="left")
    for column in ("", "log loss", "Brier", "ECE", "predicted", "observed"):
        table.add_column(column, justify="left" if not column else "right")
    for name in _ORDER:
        figures = (result.scores[name][k] for k in ("log_loss", "brier", "ece", "predicted", "observed"))
        table.add_row(name, *(f"{figure:.4f}" for figure in figures))
    console.print(table)
