# SPDX-License-Identifier: GPL-3.0-or-later
"""`lighttune train --network`: train the recurrent network of `core.make_link`."""

from __future__ import annotations

import argparse
import shutil
from dataclasses import asdict
from pathlib import Path


def run(args: argparse.Namespace) -> int:
    """Train in rounds, write the model; returns the exit status."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from ..core.link_files import save_model
    from ..core.link_model import LinkModel
    from ..core.mcs import McsTable
    from ..training.rounds import QUICK, Plan, train_network

    if args.seed < 0:
        raise ValueError(f"--seed {args.seed}: give 0 or more")
    table, plan = McsTable.named(args.table), QUICK if args.quick else Plan()
    out = args.out or Path(__file__).resolve().parent.parent / "models/links" / f"{table.name}.safetensors"
    if args.quick and args.out is None:
        raise ValueError("--quick needs --out: a shipped network is not made in seconds")
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
        with Progress(*columns, console=console) as bar:
            task = bar.add_task("drawing links", total=1.0)

            def progress(what: str, share: float) -> None:
                bar.update(task, description=what, completed=share)

            net = train_network(table, args.seed, plan, work, progress)
            bar.update(task, completed=1.0)
    except KeyboardInterrupt:
        console.print(f"interrupted: the same command goes on from {work}")
        raise
    notes = {"seed": str(args.seed)} | {name: str(value) for name, value in asdict(plan).items()}
    save_model(LinkModel(table, net), out, notes)
    if args.work is None:
        shutil.rmtree(work)
    console.print(f"wrote {out} ({out.stat().st_size} bytes)")
    return 0
