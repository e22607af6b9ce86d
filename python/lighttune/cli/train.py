# SPDX-License-Identifier: GPL-3.0-or-later
"""`lighttune train`: train a link model's network offline, on the simulator's family of links."""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ..core.mcs import TABLES, McsTable
from . import retrain

_HELP = """\
Train the network for an MCS table, and write it as a model file (safetensors).

It is trained on links to which anything may happen (training/family.py): whatever channel, biased, sparse,
late or missing reports, interference, impaired receivers, lost and false feedback. In the first of three
rounds the beliefs alone drive these links, in the others the network so far does, so that it reads what it
will read on the air. Its log loss is told on links of the family that it was not trained on. It takes half an
hour to an hour of one core. Interrupted, the same command goes on, and ends with the same file as a run that
was not (on processors and builds that round alike):

    lighttune train --table amc
    lighttune train --table mine.json --out mine.safetensors --seed 2

With --from, a network is trained further on a testbed's own logs instead, and judged before and after on
sessions that were held out; the model is written only if it is better there:

    lighttune train --from logs/bench --out bench.safetensors --plot reliability.png
"""
_MODELS = Path(__file__).resolve().parent.parent / "models/links"
_SPEED_S = 900.0  # of which the time remaining is told: a file takes up to a minute
_LOSSES = {
    "mixture": "all together, which decides",
    "network": "the network alone",
    "reports": "the belief that reads reports",
    "acks": "the belief that reads ACKs alone",
    "least": "what chance leaves open",
}


def add_parser(commands: Any) -> None:
    """Add the sub-command."""
    parser = commands.add_parser(
        "train",
        help="train a network offline, for an MCS table or on a testbed's logs",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--table", default="", help=f"{', '.join(TABLES)}, or a curves file, .json (default: amc)")
    add("--out", type=Path, help="model file to write (default: the shipped models/links/TABLE.safetensors)")
    add("--seed", type=int, default=1, help="of the links and the training (default: %(default)s)")
    add("--work", type=Path, metavar="DIR",
        help="where it keeps what it goes on from when it was interrupted, up to 2 GB"
        " (default: out/training-TABLE-SEED)")  # fmt: skip
    add("--keep", action="store_true", help="leave that there when it is done")
    add("--files", type=int, metavar="N",
        help="links of each of three rounds, in files of 256"
        " (default: 4; time and room grow with it)")  # fmt: skip
    add("--quick", action="store_true", help="take seconds, to see that it runs: a poor network")
    add("--network", action="store_true", help=argparse.SUPPRESS)  # once told it from another training
    retrain.add_options(parser)
    parser.set_defaults(run=run)


def _check(args: argparse.Namespace) -> None:
    """Raise `ValueError` for what cannot go together, before anything is started."""
    if args.seed < 0:
        raise ValueError(f"--seed {args.seed}: give 0 or more")
    for name in ("work", "keep", "files", "quick"):
        if args.logs and getattr(args, name):
            raise ValueError(f"--{name}: goes without --from")
    for name in ("model", "held_out", "plot"):
        if not args.logs and getattr(args, name):
            raise ValueError(f"--{name.replace('_', '-')}: goes with --from alone")
    if args.files is not None and (args.quick or not 1 <= args.files <= 64):
        raise ValueError(f"--files {args.files}: give 1 to 64, without --quick")
    if args.quick and args.out is None:
        raise ValueError("--quick needs --out: a shipped network is not made in seconds")


def run(args: argparse.Namespace) -> int:
    """Train in rounds, report the held-out log loss, write the model; returns the exit status."""
    _check(args)
    if args.logs:
        return retrain.run(args)
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from ..core.link_files import save_model
    from ..core.link_model import LinkModel
    from ..training.held_out import held_out_losses
    from ..training.rounds import QUICK, Plan, clear, train_network

    table, plan = McsTable.named(args.table or "amc"), QUICK if args.quick else Plan()
    if args.files is not None:
        plan = replace(plan, files=args.files)
    out = args.out or _MODELS / f"{table.name}.safetensors"
    if not out.resolve().parent.is_dir():
        raise FileNotFoundError(f"--out {out}: there is no folder {out.resolve().parent}")
    work = args.work or Path("out") / f"training-{table.name}-{args.seed}{'-quick' * args.quick}"
    console = Console()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeRemainingColumn(),
    )
    try:
        with Progress(*columns, console=console, speed_estimate_period=_SPEED_S) as bar:
            task = bar.add_task("beginning", total=None)

            def progress(what: str, share: float) -> None:
                if bar.tasks[0].total is None:  # what an earlier run did says nothing about the speed
                    bar.reset(task, total=1.0, completed=share)
                bar.update(task, description=what, completed=share)

            model = LinkModel(table, train_network(table, args.seed, plan, work, progress))
            progress("held-out links", 1.0)
            losses = held_out_losses(model, args.seed, plan.groups, plan.blocks)
    except KeyboardInterrupt:
        console.print(f"the same command goes on from {work}", soft_wrap=True)
        raise
    notes = {"seed": str(args.seed)} | {name: str(value) for name, value in asdict(plan).items()}
    save_model(model, out, notes | {f"log loss, {name}": f"{loss:.5f}" for name, loss in losses.items()})
    if not args.keep:
        clear(work)
    console.print("log loss of the blocks sent over held-out links, nats:")
    for name, what in _LOSSES.items():
        console.print(f"  {what:34s} {losses[name]:.4f}")
    console.print(f"wrote {out} ({out.stat().st_size} bytes)", soft_wrap=True)
    return 0
