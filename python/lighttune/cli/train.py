# SPDX-License-Identifier: GPL-3.0-or-later
"""`lighttune train`: train a predictor offline on the simulator's family of channels."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from ..core import features as ft
from ..core.checkpoint import save_predictor
from ..core.guards import log_loss
from ..core.mcs import TABLES, McsTable, sigmoid

_HELP = """\
Train a BLER predictor for an MCS table and write it as a model file (safetensors).

The channels are drawn from a wide family: Doppler 1-200 Hz at 1 ms slots, mean SINR over the whole table,
delay spread, Rician and flat links, noisy, quantised and late reports, jittered waterfalls. The labels are
sampled ACK/NACKs. A held-out draw of the same family gives the log loss, beside that of looking the last
report up in the table. The same seed and sizes give the same file.
"""


def add_parser(commands: Any) -> None:
    """Add the sub-command."""
    parser = commands.add_parser(
        "train",
        help="train the BLER predictor offline",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--table", default="amc", help=f"{', '.join(TABLES)}, or a curves file, .json (default: %(default)s)")
    add("--out", type=Path, help="model file to write (default: the shipped models/TABLE.safetensors)")
    add("--seed", type=int, default=1, help="of the channels and the training (default: %(default)s)")
    add("--links", type=int, default=2000, help="links to train on (default: %(default)s)")
    add("--slots", type=int, default=256, help="slots of each link (default: %(default)s)")
    add("--epochs", type=int, default=30, help="epochs of the encoder (default: %(default)s)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train, report the held-out log loss, write the model; returns the exit status."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from ..core.training import Samples, TrainingPlan, train
    from ..sim.dataset import rollout
    from ..sim.family import training_batch

    for name, lowest in (("links", 1), ("slots", 32), ("epochs", 1), ("seed", 0)):
        if getattr(args, name) < lowest:
            raise ValueError(f"--{name} {getattr(args, name)}: give {lowest} or more")
    table = McsTable.named(args.table)
    out = args.out or Path(__file__).resolve().parent.parent / "models" / f"{table.name}.safetensors"
    if not out.resolve().parent.is_dir():
        raise FileNotFoundError(f"--out {out}: there is no folder {out.resolve().parent}")
    console = Console()
    seeds = np.random.SeedSequence(args.seed).spawn(2)
    train_rng, test_rng = (np.random.default_rng(seed) for seed in seeds)

    def draw(rng: np.random.Generator, links: int) -> Samples:
        return Samples(*rollout(training_batch(rng, links, args.slots, table), rng))

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("drawing channels", total=args.links)
        parts = []
        for start in range(0, args.links, 250):
            parts.append(draw(train_rng, min(250, args.links - start)))
            bar.update(task, completed=min(start + 250, args.links))
        samples = Samples(
            *(np.concatenate([getattr(part, name) for part in parts]) for name in ("features", "mcs", "nack"))
        )
        task = bar.add_task("training", total=1.0)

        def progress(stage: str, share: float, loss: float) -> None:
            bar.update(task, completed=share, description=f"training {stage}: log loss {loss:.4f}")

        plan = TrainingPlan(encoder_epochs=args.epochs)
        predictor = train(table, samples, args.seed, plan, progress=progress)
    held_out = draw(test_rng, max(50, args.links // 10))
    losses = held_out_losses(predictor, held_out)
    notes = {name: str(getattr(args, name)) for name in ("table", "seed", "links", "slots", "epochs")}
    save_predictor(predictor, out, notes | {name: f"{loss:.5f}" for name, loss in losses.items()})
    console.print(f"log loss on {len(held_out)} held-out blocks, nats:")
    for name, loss in losses.items():
        console.print(f"  {name:24s} {loss:.4f}")
    console.print(f"wrote {out} ({out.stat().st_size} bytes)")
    return 0


def held_out_losses(predictor: Any, samples: Any) -> dict[str, float]:
    """Mean log loss in nats of the predictor, and of the table at the last report."""
    table: McsTable = predictor.table
    offline = predictor.weights()
    parts = zip(np.array_split(samples.features, 64), np.array_split(samples.mcs, 64), strict=True)
    bler = np.concatenate([predictor.bler(offline, x, mcs[:, None])[:, 0] for x, mcs in parts])
    margin = table.threshold[samples.mcs] - ft.snr_db(samples.features)
    looked_up = sigmoid(margin / table.slope[samples.mcs])
    return {
        "predictor": float(log_loss(bler, samples.nack).mean()),
        "table at the last report": float(log_loss(looked_up, samples.nack).mean()),
    }
