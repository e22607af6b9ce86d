# SPDX-License-Identifier: GPL-3.0-or-later
"""`lighttune train`: train a predictor offline on the simulator's family of channels."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..core import features as ft
from ..core.checkpoint import save_predictor
from ..core.mcs import TABLES, McsTable, sigmoid
from ..sim.family import FAMILY
from . import cluster, retrain, train_network

_HELP = """\
Train a BLER predictor for an MCS table and write it as a model file (safetensors).

The channels are drawn from a wide family: Doppler 1-200 Hz at 1 ms slots, mean SINR over the whole table,
delay spread, Rician and flat links, noisy, quantised and late reports, jittered waterfalls. The labels are
the simulator's block error rates. There are two rounds: in the first, blocks are sent around what the table
says; in the second, on as many links again, around what the first round's predictor says, so that it learns
from its own errors; the model is trained on both. A held-out draw of the same family gives the log loss,
beside that of looking the last report up in the table. The same seed and sizes give the same file, by however
many workers the channels are drawn (on processors and numpy builds that round alike).

With --from, an existing predictor is trained further on a testbed's own logs instead, and judged before and
after on sessions that were held out; the model is written only if it is better there:

    lighttune train --from logs/bench --out bench.safetensors --plot reliability.png

With --network, the recurrent network of core.make_link is trained instead, on links to which anything may
happen (training/family.py). In the first of three rounds the beliefs alone drive these links, in the others
the network so far does, so that it reads what it will read on the air. It takes half an hour to an hour of
one core. Interrupted, the same command goes on, and ends with the same file as a run that was not:

    lighttune train --network --table amc
    lighttune train --network --table mine.json --out mine.safetensors --seed 2
"""


_SIZES = {"clean_reports": FAMILY.population.clean_share, "links": 6000, "slots": 256, "epochs": 15}


def add_parser(commands: Any) -> None:
    """Add the sub-command."""
    parser = commands.add_parser(
        "train",
        help="train the BLER predictor offline",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--table", default="", help=f"{', '.join(TABLES)}, or a curves file, .json (default: amc)")
    add("--out", type=Path,
        help="model file to write (default: the shipped models/TABLE.safetensors; with --network"
        " models/links/TABLE.safetensors)")  # fmt: skip
    add("--seed", type=int, default=1, help="of the channels and the training (default: %(default)s)")
    add(
        "--clean-reports",
        type=float,
        metavar="SHARE",
        help="share of links whose SINR reports are neither noisy nor rounded (default: %(default)s);"
        " give more where your receiver's reports are precise",
    )
    add("--links", type=int, help="links of each round (default: %(default)s)")
    add("--slots", type=int, help="slots of each link (default: %(default)s)")
    add("--epochs", type=int, help="epochs of the encoder in each round (default: %(default)s)")
    cluster.add_options(parser, 1, "processes that draw channels (default: this one, without Dask)")
    train_network.add_options(parser)
    retrain.add_options(parser)
    parser.set_defaults(run=run, **_SIZES)


def run(args: argparse.Namespace) -> int:
    """Train, report the held-out log loss, write the model; returns the exit status."""
    train_network.check_options(args, _SIZES)
    if args.logs:
        return retrain.run(args)
    args.table = args.table or "amc"
    if args.network:
        return train_network.run(args)
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from ..core.training import TrainingPlan, train
    from ..sim.dataset import batches

    cluster.check_options(args)
    for name, lowest in (("links", 1), ("slots", 32), ("epochs", 1), ("seed", 0)):
        if getattr(args, name) < lowest:
            raise ValueError(f"--{name} {getattr(args, name)}: give {lowest} or more")
    if not 0 <= args.clean_reports <= 1:
        raise ValueError(f"--clean-reports {args.clean_reports}: give a share from 0 to 1")
    population = replace(FAMILY.population, clean_share=args.clean_reports)
    recipe = replace(FAMILY, population=population)
    table = McsTable.named(args.table)
    out = args.out or Path(__file__).resolve().parent.parent / "models" / f"{table.name}.safetensors"
    if not out.resolve().parent.is_dir():
        raise FileNotFoundError(f"--out {out}: there is no folder {out.resolve().parent}")
    console = Console()
    *rounds, held_out = (
        batches(seed, links)
        for seed, links in zip(
            np.random.SeedSequence(args.seed).spawn(3),
            (args.links, args.links, max(50, args.links // 10)),
            strict=True,
        )
    )
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeRemainingColumn(),
    )
    predictor, parts = None, []
    with Progress(*columns, console=console) as bar, cluster.workers(args, len(rounds[0])) as each:
        shared: dict[str, Any] = {"n_slots": args.slots, "table": table, "recipe": recipe}
        for number, wanted in enumerate(rounds, 1):
            parts += _drawn(each, bar, f"round {number}", wanted, shared | {"predictor": predictor})
            training = bar.add_task(f"round {number}: training", total=1.0)

            def progress(
                stage: str, share: float, loss: float, number: int = number, task: Any = training
            ) -> None:
                text = f"round {number}: training {stage}, log loss {loss:.4f}"
                bar.update(task, completed=share, description=text)

            plan = TrainingPlan(encoder_epochs=args.epochs)
            predictor = train(table, _joined(parts), args.seed, plan, progress=progress)
        test = _joined(_drawn(each, bar, "held out", held_out, shared | {"predictor": predictor}))
    losses = held_out_losses(predictor, test)
    notes = {
        name: str(getattr(args, name))
        for name in ("table", "seed", "links", "slots", "epochs", "clean_reports")
    }
    save_predictor(predictor, out, notes | {name: f"{loss:.5f}" for name, loss in losses.items()})
    console.print(f"log loss on {len(test)} held-out blocks, nats:")
    for name, loss in losses.items():
        console.print(f"  {name:24s} {loss:.4f}")
    console.print(f"wrote {out} ({out.stat().st_size} bytes)")
    return 0


def _drawn(each: Any, bar: Any, name: str, wanted: Sequence[Any], shared: dict[str, Any]) -> list[Any]:
    """Samples of some batches, in their order, however they come in."""
    from ..core.training import Samples
    from ..sim.dataset import draw

    task = bar.add_task(f"{name}: drawing channels", total=len(wanted))
    samples = {}
    for place, what in each(draw, wanted, **shared):
        if isinstance(what, BaseException):
            raise what
        samples[place] = Samples(*what)
        bar.advance(task)
    return [samples[place] for place in range(len(wanted))]


def _joined(parts: list[Any]) -> Any:
    """Samples of several draws as one."""
    columns = ("features", "mcs", "nack")
    return type(parts[0])(*(np.concatenate([getattr(part, name) for part in parts]) for name in columns))


def held_out_losses(predictor: Any, samples: Any) -> dict[str, float]:
    """Mean log loss in nats of the predictor, of the table at the last report, and of the true BLERs."""
    table: McsTable = predictor.table
    offline = predictor.weights()
    parts = zip(np.array_split(samples.features, 64), np.array_split(samples.mcs, 64), strict=True)
    bler = np.concatenate([predictor.bler(offline, x, mcs[:, None])[:, 0] for x, mcs in parts])
    margin = table.threshold[samples.mcs] - ft.snr_db(samples.features)
    looked_up = sigmoid(margin / table.slope[samples.mcs])
    return {
        "predictor": _cross_entropy(bler, samples.nack),
        "table at the last report": _cross_entropy(looked_up, samples.nack),
        "what the labels leave open": _cross_entropy(np.clip(samples.nack, 1e-6, 1 - 1e-6), samples.nack),
    }


def _cross_entropy(bler: np.ndarray, true: np.ndarray) -> float:
    return float(-(true * np.log(bler) + (1.0 - true) * np.log(1.0 - bler)).mean())
