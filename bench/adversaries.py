#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""A search for whatever makes the link worse than OLLA at its defaults, family by family.

In each family a bounded, seeded search (random points, then steps from the worst) over short runs; the worst
few are run again at full length, and the worst of these once more on fresh seeds: that is what is reported.
The link under test is that of `contestants.make_adapter`. Some ten minutes on one core.
"""

from collections.abc import Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from gnuradio.lighttune.core.mcs import McsTable
from gnuradio.lighttune.sim.campaign_summary import interval
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import common
from adversary_search import KEPT, LEAST, Duel, Effort, Make, Point, adversary, duels
from attacks import FAMILIES, Attack, Draw, Family, jam_by_mcs, losses, pulses
from common import with_interval
from contestants import TABLES, arguments, seeds_of
from course import lossy
from protocol import ADVERSARY_TEST_SEEDS, ADVERSARY_VALIDATION_SEEDS

FULL = Effort(evaluations=48, slots=1500, runs=2, final_slots=5000)
SHORT = Effort(evaluations=6, slots=150, runs=1, final_slots=300)


def low_jammed(draw: Draw) -> Attack:
    """MCS 0 to 5 of ten are jammed 85 % of the time, at 19 dB."""
    return jam_by_mcs(draw, 19.0, lowest=0.0, width=5.5 / 9, loss=0.85)


def five_broken(draw: Draw) -> Attack:
    """Five of ten MCS never decode, at 12 dB."""
    course, _ = losses(draw, 12.0, 0.0)
    return lossy(course, np.isin(np.arange(len(draw[0])), (1, 2, 3, 8, 9))), None


def pulses_of_17(draw: Draw) -> Attack:
    """Pulses of period 17, at 19 dB."""
    return pulses(draw, 19.0, period=17, duty=0.2, loss=0.7)


KNOWN: dict[str, Make] = {
    "MCS 0 to 5 jammed 85 % of the time, 19 dB": low_jammed,
    "MCS 1, 2, 3, 8, 9 never decode, 12 dB": five_broken,
    "pulses: period 17, 20 %, 70 % lost, 19 dB": pulses_of_17,
}
"""What was worst for the learning core before this one, over the table ``amc``."""

LOSSES = {
    f"{100 * loss:.0f} % lost at {snr_db:g} dB": (snr_db, loss)
    for snr_db in (12.0, 20.0) for loss in (0.05, 0.1, 0.25)
}  # fmt: skip


def lost(name: str, table_name: str, slots: int, seeds: Sequence[int]) -> list[Duel]:
    """Duels at one of `LOSSES`."""
    return duels(table_name, lambda draw: losses(draw, *LOSSES[name]), slots, seeds)


def known(name: str, slots: int, seeds: Sequence[int]) -> list[Duel]:
    """Duels with one of `KNOWN`."""
    return duels("amc", KNOWN[name], slots, seeds)


@dataclass
class Results:
    """Of each family, its worst point and the fresh duels; of each loss and table, and of each known attack,
    the fresh duels."""

    families: dict[int, tuple[Point, list[Duel]]]
    losses: dict[tuple[str, str], list[Duel]]
    known: dict[str, list[Duel]]


def measure(seeds: tuple[int, ...], effort: Effort, jobs: int) -> Results:
    """Search and run all, in ``jobs`` processes."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    results, slots = Results({}, {}, {}), effort.final_slots
    pool = common.workers(jobs)
    with Progress(*columns) as bar:
        futures = {}
        for place in range(len(FAMILIES)):
            futures[pool.submit(adversary, place, seeds[0], effort, seeds)] = results.families, place
        for name in LOSSES:
            for table in TABLES:
                futures[pool.submit(lost, name, table, slots, seeds)] = results.losses, (name, table)
        for name in KNOWN:
            futures[pool.submit(known, name, slots, seeds)] = results.known, name
        task = bar.add_task("families, losses, known", total=len(futures))
        for done in as_completed(futures):
            part, key = futures[done]
            part[key] = done.result()
            bar.advance(task)
    return results


def gains(runs: list[Duel]) -> list[float]:
    """Seed by seed."""
    return [run.gain for run in runs]


def mean_gain(runs: list[Duel]) -> float:
    """In percent."""
    return float(np.mean(gains(runs)))


def words(family: Family, point: Point) -> str:
    """An adversary's parameters."""
    values = family.values(McsTable.named(point.table), point.at)
    return ", ".join(f"{name.replace('_db', '')} {value:.3g}" + " dB" * name.endswith("_db")
                     for name, value in values.items())  # fmt: skip


def row(name: str, runs: list[Duel]) -> list[str]:
    """Goodputs and gain."""
    own, olla = (float(np.mean([getattr(run, who) for run in runs])) for who in ("own", "olla"))
    return [name, f"{olla:.3f}", f"{own:.3f}", with_interval(gains(runs))]


def lines(results: Results, seeds: tuple[int, ...], effort: Effort, picture: Path) -> list[str]:
    """The page."""
    order = sorted(results.families, key=lambda place: mean_gain(results.families[place][1]))
    worst = results.families[order[0]][1]
    lowest = min(results.losses, key=lambda key: mean_gain(results.losses[key]))
    head = ("OLLA", "LightTune", "LightTune over OLLA, %")
    rows = []
    for place in order:
        (point, runs), family = results.families[place], FAMILIES[place]
        name, *cells = row(family.name, runs)
        rows.append([name, point.table, words(family, point), f"{point.gain:+.1f}", *cells])
    return [
        "# Adversaries",
        "",
        f"A search over {len(FAMILIES)} families of adversaries, {effort.evaluations} points of each, for",
        f"the lowest goodput over OLLA at its defaults ({effort.runs} runs of {effort.slots} blocks each).",
        f"The worst {KEPT} of a family ran again over {effort.final_slots} blocks, and the worst of these",
        f"over as many on the fresh seeds {seeds[0]} to {seeds[-1]}: these are the figures. Both adapters",
        "face the same channel and draws; reactive jammers see the MCS that is sent. Goodput in information",
        f"bits per symbol, expected over the draws; where OLLA carries less than {100 * LEAST:g} % of the",
        "largest goodput, that much stands in its place. Intervals: 95 % over seeds. Written by",
        "`bench/adversaries.py`.",
        "",
        *common.table(
            ("figure", "asked", "measured"),
            [
                ["worst adversary, over OLLA, %", "-10 (goal -5)",
                 f"{with_interval(gains(worst))} ({FAMILIES[order[0]].name})"],
                ["independent losses, over OLLA, %, each", "-1 (goal above 0)",
                 f"{with_interval(gains(results.losses[lowest]))} ({lowest[0]}; {lowest[1]})"],
            ],
        ),
        "",
        f"![The worst of each family](adversaries/{picture.name})",
        "",
        "## The worst of each family",
        "",
        *common.table(("family", "table", "parameters", "in the search, %", *head), rows),
        "",
        "## Independent losses at every MCS: over OLLA, %",
        "",
        *common.table(
            ("losses", *TABLES),
            [[name, *(with_interval(gains(results.losses[name, t])) for t in TABLES)] for name in LOSSES],
        ),
        "",
        "## What was worst for the learning core before this one (table amc)",
        "",
        *common.table(("attack", *head), [row(name, results.known[name]) for name in KNOWN]),
    ]  # fmt: skip


def plot(results: Results, path: Path) -> None:
    """The worst of each family, the worst on top."""
    order = sorted(results.families, key=lambda place: mean_gain(results.families[place][1]))
    figure, axes = plt.subplots(figsize=(8, 0.36 * len(order) + 1.2), layout="constrained")
    middle, half = np.array([interval(gains(results.families[place][1])) for place in order]).T
    axes.errorbar(middle, range(len(order)), xerr=np.nan_to_num(half), fmt="o", capsize=3, color="tab:blue")
    axes.axvline(0, color="black", lw=0.8)
    axes.axvline(-10, color="0.5", lw=0.8, ls=":")
    axes.set_yticks(range(len(order)),
                    [f"{FAMILIES[p].name} ({results.families[p][0].table})" for p in order])  # fmt: skip
    axes.set_ylim(len(order) - 0.5, -0.5)
    axes.set_xlim(-105, max(30.0, 10 + float((middle + np.nan_to_num(half)).max())))
    axes.grid(axis="x", alpha=0.3)
    axes.set_xlabel("goodput over OLLA at its defaults, % (dotted: -10)")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> None:
    args = arguments(__doc__)
    page = common.page(args, "adversaries")
    seeds = seeds_of(args, ADVERSARY_VALIDATION_SEEDS, ADVERSARY_TEST_SEEDS)
    effort = SHORT if args.short else FULL
    results = measure(seeds, effort, args.jobs)
    picture = common.plot_beside(page, "worst.png")
    plot(results, picture)
    common.write_page(page, "bench/adversaries.py", lines(results, seeds, effort, picture))


if __name__ == "__main__":
    main()
