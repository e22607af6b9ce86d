# SPDX-License-Identifier: GPL-3.0-or-later
"""`lighttune replay`: a log through any link adapter, offline."""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.link_files import find_model, load_model
from ..core.link_model import LinkModel

if TYPE_CHECKING:
    from ..core.mcs import McsTable
    from ..records.health import Health
    from ..records.log import Session
    from ..records.replay import Verdict

_HELP = """\
Feed a log's reports and outcomes through a link adapter, and say how well it would have predicted them.

    lighttune replay logs/bench --adapter olla --adapter untuned --adapter lighttune
    lighttune replay logs/bench --adapter lighttune --set policy.objective=target --set tuning.always=true

The log says how blocks ended at the MCS that was sent, and at no other. So predictions are judged on every
block, but goodput only where the adapter agrees with what was sent (no fair sample of all blocks), or between
two bounds that grant only this: what failed would have failed at a more efficient MCS too, and what arrived
would have arrived at a less efficient one. No outcome is made up.
"""


def add_parser(commands: Any) -> None:
    """Add the sub-command."""
    parser = commands.add_parser(
        "replay",
        help="feed a log through any link adapter, offline",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "log", metavar="LOG", type=Path, nargs="+", help="folder that was recorded into, or one session in it"
    )
    add("--adapter", metavar="NAME", action="append", default=[],
        help="olla, trend_olla, salad, thompson, untuned or lighttune; repeat it (default: untuned and"
        " lighttune)")  # fmt: skip
    add("--set", metavar="NAME=VALUE", action="append", default=[], dest="settings",
        help="a setting of the adapters that have it, as in `lighttune campaign`; repeat it")  # fmt: skip
    add("--model", default="", metavar="NAME",
        help="model to begin with, a name or a file (default: the shipped one for the table, or else none:"
        " the beliefs decide)")  # fmt: skip
    add("--seed", type=int, default=1, help="of the adapters that draw (default: %(default)s)")
    add("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Replay, show a table; returns the exit status."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from ..records.followers import follower_maker
    from ..records.log import sessions
    from ..records.replay import judge, replay

    found = sessions(args.log)
    model = of_log(found, args.model)
    names = args.adapter or ["untuned", "lighttune"]
    table = model.table
    given = _given(names, args.settings, table)
    console = Console()
    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:3.0f} %")
    verdicts = {}
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bar:
        for name in names:
            task = bar.add_task(name, total=len(found))
            parts = []
            for number, session in enumerate(found):

                def rng(link: int, number: int = number) -> np.random.Generator:
                    return np.random.default_rng([args.seed, number, link])

                def advance(share: float, number: int = number, task: Any = task) -> None:
                    bar.update(task, completed=number + share)

                make = follower_maker(name, given[name], model, rng)
                parts.append(replay(session, table, make, advance))
            verdicts[name] = judge(parts, table)
    _show(console, verdicts, len(found))
    show_broken(console, found)
    show_damage(console, found)
    if args.json:
        document = {name: _plain(asdict(verdict)) for name, verdict in verdicts.items()}
        args.json.write_text(json.dumps(document, indent=1) + "\n")
    return 0


def _plain(value: Any) -> Any:
    """As JSON has it: lists, and null for NaN."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, np.ndarray | tuple):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def of_log(found: list[Session], model: str) -> LinkModel:
    """The model for some sessions: the named one, or what a link of their MCS table begins with.

    Raises:
        ValueError: they have no table or several, or the model is of another one.
    """
    table = tables_of(found)
    if not model:
        if table is None:
            raise ValueError(
                f"{found[0].folder} does not say which MCS table it was recorded with: give --model here, and"
                " when you record, or connect the selector's status"
            )
        return find_model("", table)
    named = load_model(model)
    if table is not None and table.digest != named.table.digest:
        raise ValueError(
            f"the log has the MCS table {table.name!r} ({table.digest}), the model that of"
            f" {named.table.name!r} ({named.table.digest}): give a --model of the log's table"
        )
    return named


def tables_of(found: list[Session]) -> McsTable | None:
    """The one MCS table of some sessions; None if none of them knows it.

    Raises:
        ValueError: they have several.
    """
    tables = {session.name: session.mcs_table for session in found}
    known = {
        table.digest: f"{name}: {table.name!r}, {table.digest}" for name, table in tables.items() if table
    }
    if len(known) > 1:
        raise ValueError(
            f"sessions of different MCS tables ({'; '.join(known.values())}): give one kind at a time"
        )
    return next((table for table in tables.values() if table), None)


def show_damage(console: Any, found: list[Session]) -> None:
    """Say what could not be read, and what the log says is missing."""
    for session in found:
        for cause, n in session.damage.items():
            console.print(f"[yellow]{session.name}: not read: {cause} ({n})[/yellow]", soft_wrap=True)
        losses = session.table("loss")
        for cause in sorted(set(losses["cause"])):
            n = sum(k for c, k in zip(losses["cause"], losses["lost"].tolist(), strict=True) if c == cause)
            console.print(f"[yellow]{session.name}: not recorded: {cause} ({n} messages)[/yellow]")


def show_broken(console: Any, found: list[Session], healths: list[Health] | None = None) -> list[str]:
    """Say which sessions are broken, and why; returns their names.

    Args:
        healths: of the sessions, where they are known already.
    """
    from ..records.health import health_of
    from ..records.log import blocks_of

    broken = []
    for session, health in zip(
        found, healths or [health_of(session, blocks_of(session)) for session in found], strict=True
    ):
        if health.broken:
            broken.append(session.name)
            console.print(f"[yellow]{session.name} is broken: {health}[/yellow]", soft_wrap=True)
    return broken


def _given(names: list[str], settings: list[str], table: McsTable) -> dict[str, dict[str, Any]]:
    """Settings by adapter: each goes to those that have it.

    Raises:
        ValueError: there is no such adapter, no adapter has the setting, or a value is out of range.
    """
    import yaml

    from ..records.followers import FOLLOWERS
    from ..sim.adapters import KINDS, complete

    values = {}
    for text in settings:
        name, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"--set {text!r}: give NAME=VALUE")
        values[name] = yaml.safe_load(value)
    given: dict[str, dict[str, Any]] = {}
    for name in names:
        if name not in FOLLOWERS:
            raise ValueError(f"--adapter {name!r}: give one of {', '.join(FOLLOWERS)}")
        has = KINDS[name].defaults
        given[name] = {k: v for k, v in values.items() if k in has}
        complete(name, given[name], table)
    for name in values:
        if not any(name in each for each in given.values()):
            raise ValueError(f"--set {name}: no such setting of {', '.join(names)}")
    return given


def _show(console: Any, verdicts: dict[str, Verdict], n_sessions: int) -> None:
    from rich.table import Table

    any_of = next(iter(verdicts.values()))
    console.print(
        f"{any_of.blocks} blocks of {n_sessions} session(s), {any_of.ended} with a known end; "
        f"goodput of what was sent: {any_of.goodput:.4f} bit/symbol"
    )
    predictions = Table(title="prediction of the BLER of what was sent", title_justify="left")
    for column in ("", "log loss", "Brier", "ECE", "predicted", "observed", "blocks"):
        predictions.add_column(column, justify="left" if not column else "right")
    for name, verdict in [("as recorded", None), *verdicts.items()]:
        scores = any_of.recorded if verdict is None else verdict.predicted
        figures = (scores[k] for k in ("log_loss", "brier", "ece", "predicted", "observed"))
        predictions.add_row(name, *(f"{f:.4f}" for f in figures), str(scores["blocks"]))
    choices = Table(title="choices, and what is known of their goodput [bit/symbol]", title_justify="left")
    for column in ("", "agrees", "sends more", "sends less", "where it agrees", "at least", "at most"):
        choices.add_column(column, justify="left" if not column else "right")
    for name, verdict in verdicts.items():
        shares = (f"{100 * s:.1f} %" for s in (verdict.agreement, verdict.higher, verdict.lower))
        estimate, half = verdict.matched
        matched = "-" if math.isnan(estimate) else f"{estimate:.4f} ± {half:.4f}"
        choices.add_row(name, *shares, matched, *(f"{b:.4f}" for b in verdict.bounds))
    console.print(predictions)
    console.print(choices)
