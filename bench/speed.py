#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""How fast everything is, beside its peers in the same run: docs/results/speed.md in under ten minutes.

Times are medians and 99th percentiles; the machine's other work is in them, and in the peers' alike. A part
that cannot be measured here says why.
"""

import importlib
import os
import platform
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from rich.progress import Progress

import speed_blocks as blocks
import speed_core as core
from common import page, parser, plot_beside, table, write_page

SLOT_S = 0.5e-3
GOAL_SELECT_US, GOAL_BLOCK_US, GOAL_UPDATE_US, GOAL_SHARE, GOAL_P99 = 25.0, 120.0, 20.0, 1 / 30, 1.2
BATCHED = (64, 1000)  # links in one call between which the goal of an update holds
SECTIONS = {"speed_service": "Tuner service", "speed_modem": "Modem"}
"""Files of this folder with a function ``measure() -> list[str]`` that returns lines of markdown."""


@dataclass(frozen=True)
class Effort:
    """How much is measured."""

    decisions: tuple[int, int]
    sionna: int
    updates: tuple[int, ...]
    update_rounds: int
    blocks: tuple[int, int]
    links: int
    sections: bool


FULL = Effort((12, 500), 300, (1, 32, 64, 256, 1000, 4096), 4, (20, 200), 500, True)
SHORT = Effort((1, 40), 20, (1, 64), 1, (1, 20), 50, False)


@dataclass(frozen=True)
class Goal:
    """A row of the first table: what was asked for, what was measured, and whether that is met."""

    what: str
    goal: str
    measured: str
    met: bool

    def row(self) -> list[str]:
        return [self.what, self.goal, self.measured, "met" if self.met else "**not met**"]


def us(seconds: np.ndarray, percentile: float = 50) -> float:
    """A percentile in microseconds."""
    return float(np.percentile(seconds, percentile)) * 1e6


def p99_ratio(of: np.ndarray, over: np.ndarray) -> tuple[float, float]:
    """Ratio of the 99th percentiles, pooled; and the median of those of the turns (rows), one by one."""
    turns = np.percentile(of, 99, axis=1) / np.percentile(over, 99, axis=1)
    return us(of, 99) / us(over, 99), float(np.median(turns))


def decision_section(effort: Effort) -> tuple[list[str], list[Goal], core.Times]:
    """Decisions in `core`, and their peers'."""
    sionna = core.sionna(effort.sionna)
    select, whole = core.decisions(*effort.decisions)
    times = dict(select) if isinstance(sionna, str) else {**select, **sionna}
    reference = us(select[core.COMPILED])
    rows = []
    for name, taken in times.items():
        three = f"{us(whole[name]):.1f}" if name in whole else ""
        median = us(taken)
        rows.append([name, f"{median:.1f}", f"{us(taken, 99):.1f}", f"{median / reference:.2f}", three])
    lines = [
        "## A decision in `core`",
        "",
        "One link, 28 MCS (NR PDSCH table 2), a fresh report before every decision: the time of `select`,",
        "and of `report`, `select` and `feedback` together. *Before* is what decides where numba is",
        "missing.",
        "",
        *table(["", "median, us", "p99, us", "over compiled", "all three, median, us"], rows),
        "",
    ]
    stages = [
        [stage, f"{numpy * 1e6:.1f}", f"{compiled * 1e6:.1f}"]
        for stage, numpy, compiled in core.stages(sum(effort.decisions))
    ]
    lines += ["Where it goes, in a loop:", "", *table(["", "numpy, us", "compiled, us"], stages), ""]
    if isinstance(sionna, str):
        lines += [f"Sionna SYS: {sionna}.", ""]
    else:
        lines += [
            "Sionna SYS ran in its own environment, on its own MCS table (NR PDSCH table 1), on one thread.",
            "",
        ]
    before = us(select[core.NUMPY])
    met = reference <= GOAL_SELECT_US
    measured = f"{reference:.1f} us (before: {before:.0f})"
    return lines, [Goal("`select` in `core`, 28 MCS", f"{GOAL_SELECT_US:g} us median", measured, met)], times


def update_section(effort: Effort) -> tuple[list[str], list[Goal]]:
    """Tuning, and backpropagation on the same network."""
    measured = core.updates(effort.updates, effort.update_rounds)
    rows = []
    for name, by_size in measured.items():
        cells = [f"{us(taken):.1f} ({us(taken, 99):.1f})" for taken, _ in by_size.values()]
        rows.append([name, *cells])
    tuned = [f"{share:.0%}" for _, share in measured[core.TRIGGERED].values()]
    rows.append(["of whose samples tuned", *tuned])
    every, step = measured[core.EVERY], us(measured[core.SGD][1][0])
    sizes = [n for n in every if BATCHED[0] <= n <= BATCHED[1]]
    slowest = max(us(every[n][0]) for n in sizes)
    lines = [
        "## Tuning",
        "",
        "Microseconds per link and update, median (p99), for so many links in one call. Torch",
        "backpropagates through the very same network (zero the gradients, forward, backward, step); its",
        "time has no trigger and no guards in it, and the encoder was read for it. The tuner's has all of",
        "that.",
        "",
        *table(["links in one call", *(f"{n:,}" for n in effort.updates)], rows),
        "",
        "The tuner is compiled here for any number of links, as in the service. By itself a `Tuner` leaves"
        if core.tunes_compiled()
        else "Nothing compiled fits this rule, trigger and guards: numpy tunes. Otherwise a `Tuner` leaves",
        "calls of more than 32 samples to numpy (`compiled_up_to`), by which the simulations' results were",
        "made.",
        "",
    ]
    batched = f"{BATCHED[0]} to {BATCHED[1]:,}"
    goals = [
        Goal(
            f"update per link, {batched} links in a call", f"{GOAL_UPDATE_US:g} us",
            f"{slowest:.1f} us at most", slowest <= GOAL_UPDATE_US,
        ),
        Goal(
            "the same over a torch backpropagation step", "1/30",
            f"1/{step / slowest:.0f} ({step:.0f} us with SGD)", slowest <= step * GOAL_SHARE,
        ),
    ]  # fmt: skip
    return lines, goals


def block_section(effort: Effort, plot: Path) -> tuple[list[str], list[Goal]]:
    """The selector block in a flowgraph, with and without tuners."""
    paced, flat_out, models = blocks.measure(*effort.blocks)
    rows = []
    for name, slow in paced.items():
        fast, cells = flat_out[name], []
        for taken, alone in ((slow, paced[blocks.ALONE]), (fast, flat_out[blocks.ALONE])):
            pooled, by_turn = p99_ratio(taken, alone)
            cells += [f"{us(taken):.0f}", f"{us(taken, 99):.0f}", f"{pooled:.2f} ({by_turn:.2f})"]
        rows.append([name, *cells])
    n = paced[blocks.ALONE].size
    profile = blocks.profile(200 if n < 1000 else 3000)
    lines = [
        "## Through the block",
        "",
        "PDU in to PDU out of `mcs_selector`, from the post to a Python sink, all chains in one flowgraph",
        f"and driven in turns of {paced[blocks.ALONE].shape[1]}; {n:,} PDUs each. *Flat out*: report,",
        "feedback and PDU are posted together as soon as the last PDU is through. The ratio is that of the",
        "p99s to the selector's without a tuner: of all PDUs (median of the turns). The selector *once",
        "more* shows what the ratio is worth.",
        "",
        *table(
            ["", "500/s: median, us", "p99, us", "ratio", "flat out: median, us", "p99, us", "ratio"], rows
        ),
        "",
        f"Models that came from the tuners: {', '.join(f'{k}: {n:,}' for k, n in models.items() if n)}.",
        "",
        f"![Latencies]({plot.parent.name}/{plot.name})",
        "",
        "Flat out, the handlers of selector, tuner and sink and the tuner's worker take turns at Python's",
        "lock without a pause, so that a PDU waits for the rest of the last one's: what they take, called",
        "in a loop with everything in the caches, is the wall. What a block that only passes on takes is",
        "GNU Radio's and the system's hand-over between threads.",
        "",
        *table(
            ["", "median, us"],
            [
                *([what, f"{seconds * 1e6:.1f}"] for what, seconds in profile),
                [
                    "message in, message out of a block that only passes on, 500/s",
                    f"{us(paced[blocks.ECHO]):.1f}",
                ],
                ["the same, flat out", f"{us(flat_out[blocks.ECHO]):.1f}"],
            ],
        ),
        "",
    ]
    draw_latencies(plot, paced)
    median, fast = us(paced[blocks.ALONE]), us(flat_out[blocks.ALONE])
    goals = [
        Goal(
            "through the block, message in to message out", f"{GOAL_BLOCK_US:g} us median",
            f"{median:.0f} us at 500/s, {fast:.0f} us flat out", max(median, fast) <= GOAL_BLOCK_US,
        )
    ]  # fmt: skip
    for name in (blocks.THREAD, blocks.ALWAYS, blocks.PROCESS):
        if name not in paced:
            continue
        for pace, times in (("500/s", paced), ("flat out", flat_out)):
            pooled, by_turn = p99_ratio(times[name], times[blocks.ALONE])
            goals.append(
                Goal(
                    f"selector's p99 over its p99 without a tuner, {name}, {pace}", f"{GOAL_P99:g}",
                    f"{by_turn:.2f}, median of the turns ({pooled:.2f} of all PDUs)", by_turn <= GOAL_P99,
                )
            )  # fmt: skip
    return lines, goals


def start_section(effort: Effort) -> list[str]:
    """Start-up and memory."""
    with tempfile.TemporaryDirectory() as folder:
        starts = core.starts(Path(folder))
    per_link = core.memory(effort.links)
    rows = [
        [name, f"{imported:.2f}", f"{made:.2f}", f"{chosen * 1e6:.0f}", f"{resident:.0f}"]
        for name, (imported, made, chosen, resident) in starts.items()
    ]
    return [
        "## Start and memory",
        "",
        "A fresh process loads the model, makes a selector (this compiles, or reads the cache) and decides.",
        "",
        *table(["", "import, s", "first selector, s", "first decision, us", "resident, MiB"], rows),
        "",
        f"Memory of a further link: selector {per_link['selector']:.1f} KiB,"
        f" tuner {per_link['tuner']:.1f} KiB.",
        "",
    ]


def other_sections() -> list[str]:
    """What other files of this folder measure, where they can."""
    lines = []
    for name, title in SECTIONS.items():
        lines += [f"## {title}", ""]
        try:
            lines += [*importlib.import_module(name).measure(), ""]
        except Exception as error:  # its fault must not cost the other sections theirs
            lines += [f"Not measured: {type(error).__name__}: {error}.", ""]
    return lines


def draw_decisions(path: Path, times: core.Times) -> None:
    """Bars of the decision times, medians with a whisker to p99, on a logarithmic scale."""
    names = sorted(times, key=lambda name: us(times[name]))
    middle = np.array([us(times[name]) for name in names])
    high = np.array([us(times[name], 99) for name in names])
    figure = Figure(figsize=(7.5, 3.6), layout="constrained")
    axes = figure.subplots()
    colours = ["tab:orange" if name.startswith("LightTune") else "tab:blue" for name in names]
    axes.barh(
        names, middle, xerr=[np.zeros_like(middle), np.maximum(high - middle, 0)], color=colours, ecolor="0.5"
    )
    axes.axvline(SLOT_S * 1e6, color="black", linestyle="--", linewidth=1)
    axes.text(SLOT_S * 1e6 * 0.93, -0.35, "NR slot, 0.5 ms", ha="right", fontsize=8)
    axes.set(xscale="log", xlabel="time of one decision, us (median; line to p99)")
    figure.savefig(path, dpi=130)


def draw_latencies(path: Path, paced: dict[str, np.ndarray]) -> None:
    """Share of PDUs that took longer, over latency."""
    figure = Figure(figsize=(7.5, 4), layout="constrained")
    axes = figure.subplots()
    for name, taken in paced.items():
        if name == blocks.AGAIN:
            continue
        latency = np.sort(taken.ravel()) * 1e6
        axes.plot(latency, 1.0 - np.arange(len(latency)) / len(latency), label=name)
    axes.set(xscale="log", yscale="log", xlabel="latency, us", ylabel="share of PDUs that took longer")
    axes.axhline(0.01, color="0.7", linewidth=0.8)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=130)


def main(arguments: Sequence[str] | None = None) -> None:
    args = parser(__doc__).parse_args(arguments)
    effort, path = SHORT if args.short else FULL, page(args, "speed")
    bars, latencies = plot_beside(path, "decisions.png"), plot_beside(path, "latency.png")
    began = time.monotonic()
    with Progress(transient=True) as progress:
        task = progress.add_task("decisions", total=5)

        def done(following: str) -> None:
            progress.update(task, advance=1, description=following)

        decisions, goals, times = decision_section(effort)
        draw_decisions(bars, times)
        done("through the block")
        through, block_goals = block_section(effort, latencies)
        done("tuning")
        tuning, update_goals = update_section(effort)
        done("start and memory")
        start = start_section(effort)
        done("service and modem")
        others = other_sections() if effort.sections else []
    machine = f"{os.cpu_count()} cores, Python {platform.python_version()}"
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    lines = [
        "# Speed",
        "",
        f"{machine}; load averages when it ended: {load}."
        f" The run took {(time.monotonic() - began) / 60:.1f} minutes.",
        "",
        *table(["", "goal", "measured", ""], [goal.row() for goal in (*goals, *block_goals, *update_goals)]),
        "",
        f"![Times of a decision]({bars.parent.name}/{bars.name})",
        "",
        *decisions,
        *through,
        *tuning,
        *start,
        *others,
    ]
    write_page(path, "bench/speed.py", lines)


if __name__ == "__main__":
    main()
