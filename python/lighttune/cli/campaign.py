# SPDX-License-Identifier: GPL-3.0-or-later
"""``lighttune campaign``: run a grid of simulations on Dask, resumable, into Parquet, tables and plots."""

from __future__ import annotations

import argparse
import time
import traceback
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.link_files import shipped_models
from ..core.mcs import TABLES
from ..sim.adapters import KINDS
from ..sim.campaign import Cell, describe, run_cell
from ..sim.campaign_spec import Campaign, read_spec
from ..sim.campaign_summary import Summary, markdown
from ..sim.worlds import WORLDS
from . import cluster

if TYPE_CHECKING:
    from rich.console import Console

    from .campaign_store import Store

_DESCRIPTION = """\
Run a grid of simulations: worlds x adapters x settings x seeds. Each combination is a cell, which runs by
itself on one worker of a Dask cluster: of this machine's cores by default, or an existing one's.

A cell's result is kept as soon as it has ended. After an interruption, however rude, the same command goes on
where it was: finished cells are not run again, and after changing the spec only those that are new.
"""

_SHOWN_SETTINGS = 5
_TRIAL_LINKS, _TRIAL_SLOTS = 200, 60


def add_parser(commands: Any) -> None:
    """Add the sub-command."""
    parser = commands.add_parser(
        "campaign",
        help="run a grid of simulations on Dask",
        description=_DESCRIPTION,
        epilog=_epilog(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("spec", type=Path, metavar="SPEC", help="YAML file, see below")
    add("--out", type=Path, metavar="DIR", help="folder of the results (default: out/NAME of NAME.yaml)")
    add("--dry-run", action="store_true", help="only check the spec, show its cells and estimate the time")
    cluster.add_options(parser)
    parser.set_defaults(run=run)


def _epilog() -> str:
    return f"""\
the spec, a YAML file (examples/campaign.yaml runs in a minute):

  model: amc                      shipped ({", ".join(shipped_models())}), or a file beside the spec;
                                  or, instead, `table`: {", ".join(TABLES)}, or a curves
                                  file; the beliefs alone decide where no network ships for it
  worlds: [nominal, mixture]      some of {", ".join(WORLDS)}
  seeds: [2001, 2002, 2003]       or {{first: 2001, count: 3}}
  links: 20                       of every cell
  slots: 6000                     of every link
  feedback_delay_slots: 1         may be left out
  reference: OLLA                 gains are counted from it; may be left out: the first adapter
  adapters:
    OLLA:                         a name of your own
      kind: olla                  one of those below
    tried:
      kind: olla
      settings: {{target: 0.2}}     what is not given is at its default
      grid:                       lists of values: every combination is an adapter of its own,
        delta_up_db: [0.2, 0.5]   here "tried (delta_up_db 0.2)" and "tried (delta_up_db 0.5)"
    LightTune:
      kind: lighttune
      settings: {{tuning.on: 12, policy.objective: target, pool: true}}

kinds of adapters, and some of their settings (a wrong name is answered with the whole list):

{_kinds()}

what is written to the folder --out:

  cells/ID.parquet     one for each cell that has ended; ID is a hash of all that its result depends on
  results.parquet      all cells of the spec in one table, with seeds, versions, host, time and duration
  summary.md           goodput over the reference with 95 % intervals over seeds, BLER, prediction error
  goodput.png, errors.png

exit status: 0 all cells finished, 1 some failed (listed; they run again the next time), 130 and 143 ended by
SIGINT and SIGTERM
"""


def _kinds() -> str:
    lines = []
    for name, kind in KINDS.items():
        settings = list(kind.defaults)
        if name == "lighttune":
            settings = ["policy.*", "tuning.*", "pool"]
        more = ", ..." if len(settings) > _SHOWN_SETTINGS + 1 else ""
        shown = ", ".join(settings[: _SHOWN_SETTINGS + 1]) + more
        lines.append(f"  {name:12s} {kind.about}" + (f"\n{'':15s}{shown}" if shown else ""))
    return "\n".join(lines)


def run(args: argparse.Namespace) -> int:
    """Run what is not finished yet, then write table, summary and plots; returns the exit status."""
    from rich.console import Console

    cluster.check_options(args)
    campaign = read_spec(args.spec)
    out = args.out or Path("out") / args.spec.stem
    console = Console()
    try:
        from .campaign_store import Store
    except ImportError as error:
        raise ValueError(
            f"{error.name} is not installed: see the extra 'campaign' in pyproject.toml"
        ) from error
    if args.dry_run and not out.is_dir():
        return _dry_run(console, campaign, {}, args.workers)
    with Store(out) as store:
        cells = campaign.cells()
        rows = _finished(store, cells)
        for path in store.garbled:
            console.print(f"{path} cannot be read: its cell runs again", soft_wrap=True)
        if args.dry_run:
            return _dry_run(console, campaign, rows, args.workers)
        waiting = [cell for cell in cells if cell.id not in rows]
        console.print(f"{len(cells)} cells, {len(cells) - len(waiting)} of them finished before")
        if waiting:
            try:
                _run_cells(console, args, campaign, waiting, store, rows)
            except (KeyboardInterrupt, ConnectionError):
                console.print(
                    f"{len(_finished(store, cells))} of {len(cells)} cells are finished and kept in {out}:"
                    " the same command goes on from there",
                    soft_wrap=True,
                )
                raise
        return _finish(console, campaign, cells, rows, store)


def _finished(store: Store, cells: Sequence[Cell]) -> dict[str, dict[str, Any]]:
    """Rows of the cells that need not run again, by id."""
    rows = store.read(cell.id for cell in cells)
    return {cell: row for cell, row in rows.items() if row["status"] == "finished"}


def _run_cells(
    console: Console,
    args: argparse.Namespace,
    campaign: Campaign,
    waiting: Sequence[Cell],
    store: Store,
    rows: dict[str, dict[str, Any]],
) -> None:
    """Run cells, and keep the row of each as it ends, in the store and in ``rows``."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    failed = 0
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("starting workers", total=len(waiting))
        with cluster.connect(args, len(waiting)) as client:
            bar.update(task, description="cells")
            for place, row in cluster.completed(client, run_cell, waiting, model=campaign.model):
                if isinstance(row, BaseException):  # the worker could not even try, or died again and again
                    row = _unsent(waiting[place], row)
                store.write(row)
                rows[row["id"]] = row
                failed += row["status"] == "failed"
                bar.update(task, advance=1, description=f"cells, {failed} failed" if failed else "cells")


def _unsent(cell: Cell, error: BaseException) -> dict[str, Any]:
    text = "".join(traceback.format_exception(error))
    return describe(cell) | {"status": "failed", "traceback": text}


def _finish(
    console: Console, campaign: Campaign, cells: Sequence[Cell], rows: dict[str, dict[str, Any]], store: Store
) -> int:
    """Write and show what came of all cells."""
    from .campaign_plot import plot_errors, plot_gains

    labelled = [{"adapter": cell.variant.label} | rows[cell.id] for cell in cells]
    finished = [row for row in labelled if row["status"] == "finished"]
    failures = [row for row in labelled if row["status"] == "failed"]
    labels = [variant.label for variant in campaign.variants]
    summary = Summary(finished, labels, campaign.worlds, campaign.reference)
    written = [store.merge(labelled), store.folder / "summary.md"]
    head, lines = summary.table()
    written[-1].write_text("\n".join(_page(campaign, head, lines, finished, failures)) + "\n")
    for name, draw in (("goodput.png", plot_gains), ("errors.png", plot_errors)):
        path = store.folder / name
        if draw(path, summary):
            written.append(path)
    _show(console, summary)
    for path in written:
        console.print(f"wrote {path}", soft_wrap=True)
    for row in failures:
        console.print(
            f"failed: {_name(row)}: {_last_line(row)}", markup=False, highlight=False, soft_wrap=True
        )
    if failures:
        console.print(
            f"{len(failures)} of {len(cells)} cells failed: tracebacks are in {store.folder}/results.parquet"
        )
    return 1 if failures else 0


def _name(row: dict[str, Any]) -> str:
    return f"{row['adapter']}, {row['world']}, seed {row['seed']}"


def _last_line(row: dict[str, Any]) -> str:
    return (row["traceback"].strip().splitlines() or ["unknown"])[-1]


def _page(
    campaign: Campaign,
    head: Sequence[str],
    lines: Sequence[Sequence[str]],
    finished: Sequence[dict[str, Any]],
    failures: Sequence[dict[str, Any]],
) -> list[str]:
    versions = ", ".join(
        sorted({f"gr-lighttune {row['version']} (numpy {row['numpy']})" for row in finished})
    )
    seeds = ", ".join(map(str, campaign.seeds))
    page = [
        "# Campaign",
        "",
        f"Model {campaign.named}; {campaign.links} links of {campaign.slots} slots in each cell;",
        f"seeds {seeds}.",
        f"{len(finished)} cells by {versions or 'nobody'}, {len(failures)} failed.",
        "",
        f"Goodput over that of {campaign.reference} in percent, on the same channels and the same ACK draws;",
        "95 % intervals over seeds (Student's t). Residual BLER and the error of the predicted BLER (as a",
        "rate over windows of 100 slots) are means of the worlds.",
        "",
        *markdown(head, lines),
    ]
    if failures:
        rows = [[_name(row), f"`{_last_line(row)}`"] for row in failures]
        page += ["", "## Failed", "", *markdown(("cell", "error"), rows)]
    return page


def _show(console: Console, summary: Summary) -> None:
    from rich.table import Table

    head, lines = summary.table(each_world=False)
    table = Table(title=f"goodput over {summary.reference}, %")
    for place, name in enumerate(head):
        table.add_column(name, justify="right" if place else "left")
    for line in lines:
        table.add_row(*line)
    console.print(table)


def _dry_run(
    console: Console, campaign: Campaign, rows: dict[str, dict[str, Any]], workers: int | None
) -> int:
    """Show the cells, and how long those that wait would take."""
    cells = campaign.cells()
    for cell in cells:
        state = "finished" if cell.id in rows else "to run"
        name = f"{cell.world}, seed {cell.seed}, {cell.variant.label}"
        console.print(f"{cell.id}  {state:8s}  {name}", markup=False, highlight=False, soft_wrap=True)
    waiting = [cell for cell in cells if cell.id not in rows]
    console.print(f"{len(cells)} cells, {len(waiting)} of them to run")
    if waiting:
        seconds = estimate_s(campaign, waiting)
        spread = f", some {seconds / workers:.0f} s on {workers} workers" if workers else ""
        console.print(
            f"estimate, from short trials here: {seconds:.0f} s of one core's time{spread}", soft_wrap=True
        )
    return 0


def estimate_s(campaign: Campaign, cells: Sequence[Cell]) -> float:
    """Seconds that one core would take, from a short trial of each kind of adapter in the first world."""
    seconds: dict[str, float] = {}
    for cell in cells:
        if cell.variant.kind in seconds:
            continue
        trial = replace(cell, links=min(cell.links, _TRIAL_LINKS), slots=min(cell.slots, _TRIAL_SLOTS))
        run_cell(trial, campaign.model)  # what is only done once, such as imports
        began = time.perf_counter()
        run_cell(replace(trial, seed=trial.seed + 1), campaign.model)
        size = max(cell.links / trial.links, 1.0) * cell.slots / trial.slots
        seconds[cell.variant.kind] = (time.perf_counter() - began) * size
    return float(np.sum([seconds[cell.variant.kind] for cell in cells]))
