#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""The long run: ten million decisions of the adapter, and a flowgraph for as long as asked.

Writes docs/results/soak.md, with memory, descriptors and latency over time. The adapter reports, decides,
sends, is told how it ended, and tunes, on a channel whose reports are too high by a bias that comes and goes;
the flowgraph is `bench/soak_flowgraph.py`'s. Every block that was sent must be accounted for at the end. The
exit status is 1 if a counter has drifted, or if memory or descriptors grow.
"""

from __future__ import annotations

import argparse
import gc
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from gnuradio.lighttune.baselines import Olla
from gnuradio.lighttune.core.adapter import LightTune, Selector
from gnuradio.lighttune.core.checkpoint import load_model
from gnuradio.lighttune.core.messages import Csi
from gnuradio.lighttune.core.tuner import Tuner
from matplotlib.figure import Figure
from rich.progress import Progress

import soak_flowgraph
from common import page, plot_beside, resident_kib, table, write_page
from speed_blocks import FEEDBACK_DELAY, wander

PART = 5000
"""Decisions between two looks at the memory."""

DELAY = 3  # decisions until a block's end is known
LOST = 0.02  # share of blocks whose end is never told
REPEATED = 0.01  # and of those that are told twice
GROWTH_KIB = 64.0
"""Growth of the resident memory that passes for flat, KiB per million decisions and per minute."""


@dataclass
class Run:
    """What the adapter's run saw, a row for each `PART` decisions."""

    at_s: np.ndarray
    latency_us: np.ndarray  # median, p99 and largest
    resident_kib: np.ndarray
    descriptors: np.ndarray
    drift: dict[str, int] = field(default_factory=dict)

    @staticmethod
    def of(parts: int) -> Run:
        """All of it now, page by page: what is measured is not to grow by the measurement."""
        return Run(np.ones(parts), np.ones((parts, 3)), np.ones(parts), np.ones(parts, int))

    @property
    def growth(self) -> float:
        """Of the resident memory over the last half, KiB per million decisions."""
        late = self.resident_kib[len(self.resident_kib) // 2 :]
        if len(late) < 3:
            return float("nan")
        return float(np.polyfit(np.arange(len(late)) * PART / 1e6, late, 1)[0])


class Channel:
    """Wandering SNR, reports with a bias, and blocks that fail as the table's curves say."""

    def __init__(self, table, rng: np.random.Generator) -> None:
        self._table, self._rng, self._snr_db = table, rng, 12.0

    def step(self, at: int) -> float:
        """Move on; returns the report."""
        self._snr_db = wander(self._snr_db, self._rng)
        return self._snr_db + (2.0 if at // 20000 % 2 else 0.0)

    def acks(self, mcs: int) -> bool:
        """Whether a block passes."""
        slope, threshold = self._table.slope[mcs], self._table.threshold[mcs]
        return bool(self._rng.random() * (1 + np.exp((threshold - self._snr_db) / slope)) < 1)


def decide(decisions: int) -> Run:
    """Drive the adapter so many times."""
    predictor, rng, run = load_model("amc"), np.random.default_rng(1), Run.of(-(-decisions // PART))
    adapter = LightTune(Selector(predictor, Olla(predictor.table)), Tuner(predictor, max_links=1))
    channel, told = Channel(predictor.table, rng), {"told": 0, "twice": 0, "refused": 0, "never": 0}
    sent: dict[int, bool] = {}
    taken = np.zeros(PART)
    gc.collect()
    began = time.perf_counter()
    with Progress(transient=True) as progress:
        task = progress.add_task("adapter", total=decisions)
        for part, start in enumerate(range(0, decisions, PART)):
            for at in range(start, min(start + PART, decisions)):
                report = channel.step(at)
                chance = rng.random()
                since = time.perf_counter()
                adapter.report(Csi(report, seq=max(at - 1, 0)))
                decision = adapter.select(1024, at)
                ended = sent.pop(at - DELAY, None)
                if ended is not None and chance >= LOST:
                    told["told"] += adapter.feedback(at - DELAY, ended)
                taken[at - start] = time.perf_counter() - since
                if ended is not None and chance < LOST:
                    told["never"] += 1
                elif ended is not None and chance < LOST + REPEATED:
                    told["twice"] += 1
                    told["refused"] += not adapter.feedback(at - DELAY, ended)
                sent[at] = channel.acks(decision.mcs)
            run.latency_us[part] = 1e6 * np.percentile(taken, (50, 99, 100))
            run.at_s[part] = time.perf_counter() - began
            run.resident_kib[part] = resident_kib()
            run.descriptors[part] = _descriptors()
            progress.update(task, completed=start + PART)
    pending = adapter.selector.pending
    run.drift = {
        "sent - told - never told - under way": decisions - told["told"] - told["never"] - len(sent),
        "told twice - refused": told["twice"] - told["refused"],
        "never told + under way - waiting - expired": told["never"]
        + len(sent)
        - len(pending)
        - pending.expired,
    }
    return run


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def drift_of(chains: dict[str, soak_flowgraph.Chain]) -> dict[str, int]:
    """What the flowgraph's counters are off by."""
    found = {}
    for name, chain in chains.items():
        sent, block = chain._slot, chain.block
        told = max(sent - FEEDBACK_DELAY, 0)
        found[f"{name}: sent - decided"] = sent - block.counters["decisions"]
        refused = block.dropped["feedback: not pending (unknown, late or duplicate)"]
        found[f"{name}: told - taken"] = told - block.counters["acks"] - block.counters["nacks"] - refused
    return found


def report(
    run: Run,
    record: soak_flowgraph.Record,
    drift: dict[str, int],
    fds: tuple[int, int],
    plots: Sequence[Path],
) -> list[str]:
    """The page."""
    first, last = run.latency_us[len(run.latency_us) // 10], run.latency_us[-1]
    rows = [
        [name, f"{a:.1f}", f"{b:.1f}"]
        for name, a, b in zip(("median", "p99", "largest"), first, last, strict=True)
    ]
    off = {name: n for name, n in (run.drift | drift).items() if n}
    return [
        "# Soak",
        "",
        f"{len(run.latency_us) * PART:,} decisions of the adapter in {run.at_s[-1] / 60:.1f} minutes, each",
        f"with a report and a feedback, {100 * LOST:g} % of which never come and {100 * REPEATED:g} % twice;",
        "tuned where the trigger asks for it. Time of the three calls together, in parts of",
        f"{PART:,} decisions, us:",
        "",
        *table(["", "a tenth into the run", "at the end"], rows),
        "",
        f"Resident memory over the last half: {run.growth:+.1f} KiB per million decisions."
        f" Descriptors: {run.descriptors[0]} -> {run.descriptors[-1]}.",
        "",
        f"The flowgraph with three selectors (see [flowgraph](flowgraph.md)): memory {record.growth:+.1f} KiB"
        f" per minute over the last half, descriptors {fds[0]} before and {fds[1]} after.",
        "",
        "Counters against what was sent: "
        + ("no drift." if not off else ", ".join(f"{name}: {n}" for name, n in off.items()) + "."),
        "",
        *(
            f"![The {plot.stem}: latency and memory over time]({plot.parent.name}/{plot.name})"
            for plot in plots
        ),
    ]


def draw(path: Path, run: Run) -> None:
    """Latency and memory of the adapter over time."""
    figure = Figure(figsize=(7.5, 5), layout="constrained")
    above, below = figure.subplots(2, sharex=True)
    millions = (1 + np.arange(len(run.latency_us))) * PART / 1e6
    for values, label in zip(run.latency_us.T, ("median", "p99", "largest"), strict=True):
        above.plot(millions, values, label=label, linewidth=0.8)
    above.set(yscale="log", ylabel="latency, us")
    above.legend(fontsize=7, ncols=3)
    below.plot(millions, run.resident_kib / 1024)
    below.set(xlabel="decisions, millions", ylabel="resident, MiB")
    figure.savefig(path, dpi=130)


def main(arguments: Sequence[str] | None = None) -> int:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--out", type=Path, metavar="DIR", help="folder to write to (default: docs/results)")
    made.add_argument("--short", action="store_true", help="100,000 decisions and some seconds; needs --out")
    made.add_argument("--decisions", type=int, default=10**7, help="of the adapter (default: %(default)d)")
    made.add_argument("--minutes", type=float, default=30.0, help="of the flowgraph (default: %(default)g)")
    args = made.parse_args(arguments)
    if args.decisions < 3 * PART or not args.minutes > 0:
        raise SystemExit(f"give {3 * PART} decisions or more, and minutes above 0")
    path = page(args, "soak")
    run = decide(100_000 if args.short else args.decisions)
    before = _descriptors()
    record, chains = soak_flowgraph.soak(0.1 if args.short else args.minutes)
    drift = drift_of(chains)
    del chains
    gc.collect()
    fds = before, _descriptors()
    plots = plot_beside(path, "adapter.png"), plot_beside(path, "flowgraph.png")
    draw(plots[0], run)
    soak_flowgraph.draw(plots[1], record)
    write_page(path, "bench/soak.py", report(run, record, drift, fds, plots))
    grows = not args.short and (run.growth > GROWTH_KIB or record.growth > GROWTH_KIB)
    return int(grows or any((run.drift | drift).values()) or fds[1] > fds[0])


if __name__ == "__main__":
    raise SystemExit(main())
