# SPDX-License-Identifier: GPL-3.0-or-later
"""`lighttune train --network`: train the recurrent network of `core.make_link`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

_MODELS = Path(__file__).resolve().parent.parent / "models/links"
_SPEED_S = 900.0  # of which the time remaining is told: a file takes up to a minute
_LOSSES = {
    "mixture": "all together, which decides",
    "network": "the network alone",
    "reports": "the belief that reads reports",
    "acks": "the belief that reads ACKs alone",
    "least": "what chance leaves open",
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `lighttune train` that this adds."""
    group = parser.add_argument_group(
        "training the recurrent network (of the options above it takes --table, --out and --seed)"
    )
    add = group.add_argument
    add("--network", action="store_true", help="train the recurrent network of core.make_link")
    add("--work", type=Path, metavar="DIR",
        help="where it keeps what it goes on from when it was interrupted, up to 2 GB"
        " (default: out/training-TABLE-SEED)")  # fmt: skip
    add("--keep", action="store_true", help="leave that there when it is done")
    add("--files", type=int, metavar="N",
        help="links of each of three rounds, in files of 256"
        " (default: 4; time and room grow with it)")  # fmt: skip
    add("--quick", action="store_true", help="take seconds, to see that it runs: a poor network")


def check_options(args: argparse.Namespace, sizes: Mapping[str, float]) -> None:
    """Raise `ValueError` for what cannot go together, before anything is started.

    Args:
        sizes: options that are the predictor's alone, by their defaults.
    """
    if not args.network:
        for name in ("work", "keep", "quick", "files"):
            if getattr(args, name):
                raise ValueError(f"--{name}: goes with --network alone")
        return
    if args.logs:
        raise ValueError("--from and --network: the network is trained on the simulator's links alone")
    if args.scheduler or args.workers != 1:
        raise ValueError("--network: it is trained in one process, without --workers and --scheduler")
    for name, default in sizes.items():
        if getattr(args, name) != default:
            raise ValueError(f"--{name.replace('_', '-')}: goes without --network; its plan is fixed")
    if args.seed < 0:
        raise ValueError(f"--seed {args.seed}: give 0 or more")
    if args.files is not None and (args.quick or not 1 <= args.files <= 64):
        raise ValueError(f"--files {args.files}: give 1 to 64, without --quick")
    if args.quick and args.out is None:
        raise ValueError("--quick needs --out: a shipped network is not made in seconds")


def run(args: argparse.Namespace) -> int:
    """Train in rounds, report the held-out log loss, write the model; returns the exit status."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from ..core.link_files import save_model
    from ..core.link_model import LinkModel
    from ..core.mcs import McsTable
    from ..training.held_out import held_out_losses
    from ..training.rounds import QUICK, Plan, clear, train_network

    table, plan = McsTable.named(args.table), QUICK if args.quick else Plan()
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
