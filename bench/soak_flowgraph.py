#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""A flowgraph at 500 decisions per second for ten minutes: writes docs/results/flowgraph.md.

Three selectors stand in one flowgraph: one alone, one with a tuner in a thread of its own, one with a tuner
in a process of its own; both tuners tune on every block. They are driven in turns of two seconds, so that
what else the machine does meets all alike. A decision is late that takes longer than its slot of 2 ms.
"""

import gc
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from gnuradio import gr
from gnuradio.lighttune.blocks import mcs_selector, tuner
from matplotlib.figure import Figure
from rich.progress import Progress

from common import page, parser, plot_beside, resident_kib, table, write_page
from speed_blocks import Chain

RATE_HZ = 500
SLOT_S = 1 / RATE_HZ
TURN_S = 2.0
ALONE, THREAD, PROCESS = "no tuner", "tuner, mode `thread`", "tuner, mode `process`"
WARM_S = 60.0  # before memory is looked at: caches, histories and the allocator's pools fill


@dataclass
class Record:
    """What a run saw: latencies in seconds by chain, a row for each turn; resident memory over time;
    collections of garbage."""

    latency_s: dict[str, np.ndarray]
    at_s: list[float] = field(default_factory=list)
    resident_kib: list[float] = field(default_factory=list)
    collected_s: list[float] = field(default_factory=list)

    @property
    def growth(self) -> float:
        """Slope of the resident memory over the last half, KiB per minute, by least squares."""
        at_s, resident_kib = (np.array(one[len(one) // 2 :]) for one in (self.at_s, self.resident_kib))
        if len(at_s) < 3:
            return float("nan")
        return float(np.polyfit(at_s / 60, resident_kib, 1)[0])


def soak(minutes: float) -> tuple[Record, dict[str, Chain]]:
    """Drive the three for so long altogether."""
    chains = {
        ALONE: Chain(mcs_selector()),
        THREAD: Chain(mcs_selector(), tuner(always=True)),
        PROCESS: Chain(mcs_selector(), tuner(always=True, mode="process")),
    }
    shape = int(60 * minutes / (TURN_S * len(chains))) + 1, round(TURN_S * RATE_HZ)
    # All of it now, page by page: what is measured is not to grow by the measurement.
    top, record = gr.top_block(), Record({name: np.full(shape, np.nan) for name in chains})
    for chain in chains.values():
        chain.connect(top)
    watch = _watch_garbage(record)
    top.start()
    gc.callbacks.append(watch)
    try:
        time.sleep(1.0)
        _turns(chains, record, minutes)
        time.sleep(1.5)  # the last feedback is learnt
    finally:
        gc.callbacks.remove(watch)
        top.stop()
        top.wait()
    return record, chains


def _turns(chains: dict[str, Chain], record: Record, minutes: float) -> None:
    began = time.monotonic()
    with Progress(transient=True) as progress:
        task = progress.add_task("flowgraph", total=len(record.latency_s[ALONE]))
        for turn in range(len(record.latency_s[ALONE])):
            for name, chain in chains.items():
                taken = record.latency_s[name][turn]
                taken[:] = chain.drive(len(taken), SLOT_S)
            now = time.monotonic() - began
            if now > min(WARM_S, 20 * minutes):
                record.at_s.append(now)
                record.resident_kib.append(resident_kib())
            progress.update(task, advance=1)


def _watch_garbage(record: Record) -> Callable[[str, dict], None]:
    began = [0.0]

    def watch(phase: str, _: dict) -> None:
        if phase == "start":
            began[0] = time.perf_counter()
        else:
            record.collected_s.append(time.perf_counter() - began[0])

    return watch


def report(record: Record, chains: dict[str, Chain], plot: Path) -> list[str]:
    """The page."""
    rows, late = [], {}
    for name, turns in record.latency_s.items():
        taken = turns.ravel()
        late[name] = (taken > SLOT_S).mean()
        figures = [f"{np.percentile(taken, q) * 1e6:.0f}" for q in (50, 99, 99.9, 100)]
        chain = chains[name]
        causes = chain.losses()
        lost = ", ".join(f"{cause}: {count}" for cause, count in causes.items()) or "none"
        rows.append(
            [name, f"{len(taken):,}", *figures, f"{np.sum(taken > SLOT_S)}", lost, f"{chain.models:,}"]
        )
    head = ["", "decisions", "median, us", "p99, us", "p99.9, us", "largest, us", "late", "dropped", "models"]
    seconds = sum(turns.size for turns in record.latency_s.values()) / RATE_HZ
    caused = {name: 1e6 * (late[name] - late[ALONE]) for name in (THREAD, PROCESS)}
    collected = np.array(record.collected_s or [0.0]) * 1e3
    growth = record.growth
    memory = "too short to tell" if np.isnan(growth) else f"{growth:+.1f} KiB per minute over the last half"
    return [
        "# A flowgraph at 500 decisions per second",
        "",
        f"{seconds / 60:.1f} minutes on {os.cpu_count()} cores, in turns of {TURN_S:g} s; the tuners tune",
        "on every block. A decision is late that takes longer than its slot of 2 ms, from the post of the",
        "PDU to its arrival at a Python sink. What is late without a tuner is the machine's; the difference",
        "is the tuner's.",
        "",
        *table(head, rows),
        "",
        "Late decisions per million over those without a tuner: "
        + ", ".join(f"{name} {value:+.0f}" for name, value in caused.items())
        + ".",
        f"Resident memory: {memory}. Collections of garbage: {len(record.collected_s)},"
        f" the longest {collected.max():.1f} ms.",
        "",
        f"![Latency of every turn, and memory]({plot.parent.name}/{plot.name})",
    ]


def draw(path: Path, record: Record) -> None:
    """Each turn's median and p99 over time, and the resident memory."""
    figure = Figure(figsize=(7.5, 5), layout="constrained")
    above, below = figure.subplots(2, sharex=True)
    for place, (name, turns) in enumerate(record.latency_s.items()):
        at_min = (np.arange(len(turns)) * len(record.latency_s) + place) * TURN_S / 60
        for q, style in ((50, "-"), (99, ":")):
            values = [np.percentile(turn, q) * 1e6 for turn in turns]
            label = f"{name}, {'median' if q == 50 else 'p99'}"
            above.plot(at_min, values, style, color=f"C{place}", label=label)
    above.axhline(SLOT_S * 1e6, color="black", linewidth=0.8, linestyle="--")
    above.set(yscale="log", ylabel="latency, us")
    above.legend(fontsize=7, ncols=3)
    below.plot(np.array(record.at_s) / 60, np.array(record.resident_kib) / 1024)
    below.set(xlabel="time, minutes", ylabel="resident, MiB")
    figure.savefig(path, dpi=130)


def main(arguments: Sequence[str] | None = None) -> None:
    made = parser(__doc__)
    made.add_argument("--minutes", type=float, default=10.0, help="altogether (default: %(default)g)")
    args = made.parse_args(arguments)
    if not args.minutes > 0:
        raise SystemExit(f"--minutes {args.minutes}: give a time above 0")
    path = page(args, "flowgraph")
    record, chains = soak(0.06 if args.short else args.minutes)
    plot = plot_beside(path, "latency.png")
    draw(plot, record)
    write_page(path, "bench/soak_flowgraph.py", report(record, chains, plot))


if __name__ == "__main__":
    main()
