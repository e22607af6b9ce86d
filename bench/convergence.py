#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure the regret of the tuner's convex parts (`regret`) over several horizons: a table and a plot.

What is stated and proved stands in docs/convergence.md. Takes about two minutes; with --short, seconds.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from gnuradio.lighttune.core.checkpoint import load_model
from gnuradio.lighttune.core.predictor import Predictor
from rich.progress import Progress

from regret import (
    GAP,
    HORIZONS,
    STREAMS,
    Part,
    bound,
    diminishing,
    exponent,
    gradient_bound,
    make_world,
    play,
    regrets,
)


@dataclass(frozen=True)
class Measured:
    """Regret of a part on a stream, ``(n, len(horizons))``, its bound, and what was suffered, in nats."""

    part: Part
    stream: str
    regret: np.ndarray
    bound: np.ndarray
    suffered: np.ndarray


def row(m: Measured, horizons: tuple[int, ...]) -> str:
    """A line of the table."""
    mean, largest = m.regret.mean(axis=0), m.regret.max(axis=0)
    late = tuple(horizons[-3:])
    return (
        f"| {m.part.name} | {m.stream} | {mean[0]:.0f}, {mean[-1]:.0f} | {largest[0]:.0f}, {largest[-1]:.0f} "
        f"| {m.bound[0]:.0f}, {m.bound[-1]:.0f} | {m.suffered[-1]:.0f} | {exponent(mean, horizons):.2f} "
        f"| {exponent(largest, horizons):.2f} | {exponent(largest[-3:], late):.2f} |"
    )


def plot(measured: list[Measured], horizons: tuple[int, ...], path: Path) -> None:
    """Regret against the horizon: a panel for each part and stream."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    parts = list(dict.fromkeys(m.part for m in measured))
    figure, axes = plt.subplots(2, len(parts), figsize=(4 * len(parts), 7), sharex=True, sharey=True)
    for m in measured:
        axis = axes[STREAMS.index(m.stream), parts.index(m.part)]
        axis.loglog(horizons, m.bound, "k--", label="bound, √2 D G √T")
        axis.loglog(horizons, m.suffered, ":", color="tab:gray", label="total loss of the tuned part")
        for name, regret, style in (
            ("max", m.regret.max(axis=0), "o-"),
            ("mean", m.regret.mean(axis=0), "s-"),
        ):
            label = f"{name} over seeds, T^{exponent(regret, horizons):.2f}"
            axis.loglog(horizons, np.maximum(regret, 1.0), style, label=label)
        axis.set_title(f"{m.part.name}, {m.stream}")
        axis.legend(fontsize=8)
        axis.grid(alpha=0.3)
    for axis in axes[-1]:
        axis.set_xlabel("blocks T")
    for axis in axes[:, 0]:
        axis.set_ylabel("regret (nats)")
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def measure(predictor: Predictor, seeds: int, horizons: tuple[int, ...]) -> list[Measured]:
    """Run every part of the predictor on both streams."""
    parts = [Part(layer) for layer in range(-1, predictor.shape.layers)]
    measured, worlds = [], []
    with Progress() as bar:
        task = bar.add_task("worlds", total=seeds)
        for seed in range(seeds):
            worlds.append(make_world(predictor, seed, horizons[-1]))
            bar.advance(task)
        task = bar.add_task("runs", total=len(parts) * len(STREAMS) * (horizons[-1] // 100))
        for part in parts:
            domain = part.domain(predictor)
            largest = [gradient_bound(predictor, world, part) for world in worlds]
            rates = np.stack([diminishing(domain.diameter, g, horizons[-1]) for g in largest])
            limit = bound(domain, max(largest), horizons)
            for stream in STREAMS:
                bar.update(task, description=f"{part.name}, {stream}")
                adaptive = stream == "adaptive"
                trace = play(predictor, worlds, part, adaptive, rates, lambda: bar.advance(task))
                suffered = trace.loss.mean(axis=0).cumsum()[np.array(horizons) - 1]
                lost = regrets(trace, domain, horizons)
                measured.append(Measured(part, stream, lost, limit, suffered))
    return measured


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--seeds", type=int, default=10, help="runs of each part (default: %(default)s)")
    add("--horizon", type=int, default=32000, help="the longest (default: %(default)s)")
    add("--short", action="store_true", help="two seeds up to T = 1000, to see that it runs (some seconds)")
    add("--out", type=Path, default=Path("docs/results"), help="folder to write to (default: %(default)s)")
    args = parser.parse_args()
    seeds, longest = (2, 1000) if args.short else (args.seeds, args.horizon)
    horizons = tuple(h for h in (*HORIZONS, 16000, 32000, 64000) if h <= longest)
    if seeds < 1 or len(horizons) < 3:
        parser.error("give one seed or more, and a horizon of 1000 or more")
    measured = measure(load_model("amc"), seeds, horizons)
    command = f"bench/convergence.py --seeds {seeds} --horizon {longest}"
    ends = f"{horizons[0]}, {horizons[-1]}"
    lines = [
        f"<!-- written by `{command}`; do not edit -->",
        "# Regret against the best fixed value",
        "",
        f"Shipped model, reports 3 dB too high, {seeds} seeds, T = {', '.join(map(str, horizons))}.",
        f"Written by `{command}`. What is proved, and what is not, stands",
        "in [convergence.md](../convergence.md). Sets are bounded as by the shipped guards. Regret is in",
        f"nats, against a comparator that is provably within {GAP} nats of the best; two figures are for",
        f"T = {ends}. The loss is the mean over seeds of all nats that were suffered over the longest T.",
        "Exponents are slopes of log regret over log T: of the mean and of the largest over the seeds, and",
        "(late) of the largest over the last three T.",
        "",
        "| part | stream | mean regret | largest regret | bound | loss | exponent, mean | largest | late |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
        *(row(m, horizons) for m in measured),
        "",
        "![regret against T](convergence/regret.png)",
    ]
    (args.out / "convergence").mkdir(parents=True, exist_ok=True)
    plot(measured, horizons, args.out / "convergence" / "regret.png")
    (args.out / "convergence.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
