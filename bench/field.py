#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""What links do to an adapter in the field, situation by situation, over the measured MCS tables.

Every adapter faces the same SINRs, reports, losses and draws. The link under test is that of
`contestants.make_adapter`. Intervals are 95 % over seeds. Some ten minutes on one core.
"""

from concurrent.futures import Future, as_completed
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from gnuradio.lighttune.sim.campaign_summary import interval
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import common
import field_runs as runs
from contestants import ALONE_SETTINGS, OLLA_SETTINGS, TABLES, arguments, seeds_of
from field_results import SHARE, Results
from protocol import FIELD_TEST_SEEDS, FIELD_VALIDATION_SEEDS
from situations import MIXED, SITUATIONS

SLOTS, GRID_SLOTS, SHORT_SLOTS = 2000, 1500, 240
GRID_SEEDS = 2  # of those of the situations: a grid has some 25 links of each
ERRORS_DB = (0.0, -3.0, 3.0)
PLACES = range(len(SITUATIONS))


def measure(seeds: tuple[int, ...], slots: int, grid_slots: int, step_db: float, jobs: int) -> Results:
    """All runs, in ``jobs`` processes."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    pool = common.workers(jobs)
    with Progress(*columns) as bar:
        futures: dict[Future, tuple[str, tuple[str, Any], int]] = {}
        for at, seed in enumerate(seeds):
            for table in TABLES:
                for place in PLACES:
                    job = pool.submit(runs.situation, place, table, seed, slots)
                    futures[job] = "situation", (table, place), at
                futures[pool.submit(runs.jumps, table, seed, slots)] = "jumps", (table, 0), at
                for error_db in ERRORS_DB if at < GRID_SEEDS else ():
                    job = pool.submit(runs.grid, table, error_db, seed, grid_slots, step_db)
                    futures[job] = "grid", (table, error_db), at
        task = bar.add_task("situations x tables x seeds", total=len(futures))
        parts: dict[str, dict] = {"situation": {}, "grid": {}, "jumps": {}}
        for done in as_completed(futures):
            kind, key, at = futures[done]
            parts[kind].setdefault(key, {})[at] = done.result()
            bar.advance(task)
    in_order = {
        kind: {key: [by_seed[at] for at in sorted(by_seed)] for key, by_seed in part.items()}
        for kind, part in parts.items()
    }
    return Results(**in_order)


def ratio(values: list[float]) -> str:
    """``1.01 ± 0.02``."""
    middle, half = interval(values)
    return f"{middle:.2f}" + ("" if np.isnan(half) else f" ± {half:.2f}")


def rows(results: Results, table: str) -> list[list[str]]:
    """A line for each situation of one MCS table."""
    lines = []
    for place, what in enumerate(SITUATIONS):
        setting = OLLA_SETTINGS[results.setting(table, place)]
        lines.append([
            what.name,
            f"{results.mean(table, place, 'fixed'):.3f}",
            f"{results.mean(table, place, 'olla'):.3f} ({setting['target']:g}, {setting['delta_up_db']:g})",
            f"{results.mean(table, place, 'own'):.3f}",
            ratio(results.ratios(table, place)),
        ])  # fmt: skip
    return lines


def alone_rows(results: Results) -> list[list[str]]:
    """The situations in which nothing is reported, against the best of SALAD and three OLLAs."""
    names = ["SALAD", *(f"OLLA {s['target']:g}, {s['delta_up_db']:g} dB" for s in ALONE_SETTINGS)]
    lines = []
    for place in PLACES:
        if not SITUATIONS[place].reported:
            cells = []
            for table in TABLES:
                best, values = results.alone(table, place)
                cells.append(f"{ratio(values)} ({names[best]})")
            lines.append([SITUATIONS[place].name, *cells])
    return lines


def static(results: Results, error_db: float, tables: tuple[str, ...] = TABLES) -> tuple[float, float]:
    """Worst and mean over SINRs and tables of goodput over the best fixed MCS, of means over seeds."""
    of_snr = np.concatenate([np.mean(results.grid[table, error_db], axis=0) for table in tables])
    return float(of_snr.min()), float(of_snr.mean())


def static_rows(results: Results) -> list[list[str]]:
    """`static` of each table and error of the reports."""
    names = {0.0: "right", -3.0: "3 dB low, after 300 blocks", 3.0: "3 dB high, after 300 blocks"}
    return [
        [name, *(f"{w:.3f}, {m:.3f}" for w, m in (static(results, error, (table,)) for table in TABLES))]
        for error, name in names.items()
    ]


def jump_rows(results: Results) -> list[list[str]]:
    """Blocks until goodput is back after a jump of the reports."""
    return [
        [name, *(_blocks([seed[sign] for seed in results.jumps[table, 0]]) for table in TABLES)]
        for sign, name in ((1, "up by 4 dB"), (-1, "down by 4 dB"))
    ]


def _blocks(values: list[int]) -> str:
    middle, half = interval(values)
    return f"{middle:.0f}" + ("" if np.isnan(half) else f" ± {half:.0f}")


def length_rows(results: Results) -> list[list[str]]:
    """BLER that was told and that was true, by frame length."""
    place = next(p for p in PLACES if SITUATIONS[p].name == MIXED)
    lengths = sorted(results.situation[TABLES[0], place][0][0].bler)
    lines = []
    for bits in lengths:
        cells = []
        for table in TABLES:
            pairs = [link.bler[bits] for seed in results.situation[table, place] for link in seed]
            told, true = np.mean(pairs, axis=0)
            cells.append(f"{told:.3f}, {true:.3f}")
        lines.append([f"{bits // 8} bytes", *cells])
    return lines


def goals(results: Results) -> list[list[str]]:
    """The project's own bars, and what was measured."""
    each = {(t, p): interval(results.ratios(t, p))[0] for t in TABLES for p in PLACES}
    lowest = min(each, key=lambda key: each[key])
    short = sum(value < SHARE for value in each.values())
    alone = [
        (interval(results.alone(t, p)[1])[0], t, SITUATIONS[p].name)
        for t in TABLES for p in PLACES if not SITUATIONS[p].reported
    ]  # fmt: skip
    slowest = max(interval([s[sign] for s in results.jumps[t, 0]])[0] for t in TABLES for sign in (1, -1))
    pair = "{:.3f}, {:.3f}".format
    return [
        ["goodput over max(tuned OLLA, 0.97 best fixed MCS), each situation and table", "0.97",
         f"{each[lowest]:.2f} ({SITUATIONS[lowest[1]].name}; {lowest[0]}); {short} of {len(each)} below"],
        ["its mean", "1.0 (goal 1.03)", f"{np.mean(list(each.values())):.3f}"],
        ["static SINR over the best fixed MCS, worst and mean", "0.95, 0.98 (goal 0.97, 0.99)",
         pair(*static(results, 0.0))],
        ["the same with reports 3 dB too low, after 300 blocks", "0.95, 0.98 (goal 0.97, 0.99)",
         pair(*static(results, -3.0))],
        ["ACK/NACK only, over the best of SALAD and three OLLAs, each", "0.99 (goal 1.02)",
         "{:.2f} ({}; {}); mean {:.3f}".format(*_reordered(min(alone)), np.mean([a[0] for a in alone]))],
        ["blocks from a jump of the reports by 4 dB until goodput is back at 95 %, slowest", "40 (goal 20)",
         f"{slowest:.0f}"],
    ]  # fmt: skip


def _reordered(found: tuple[float, str, str]) -> tuple[float, str, str]:
    value, table, name = found
    return value, name, table


def plot(results: Results, path: Path) -> None:
    """The ratio of every situation and table."""
    figure, axes = plt.subplots(figsize=(9, 0.31 * len(SITUATIONS) + 1.6), layout="constrained")
    for i, (table, marker) in enumerate(zip(TABLES, "osD", strict=True)):
        middle, half = np.array([interval(results.ratios(table, place)) for place in PLACES]).T
        axes.errorbar(
            middle, np.arange(len(PLACES)) + 0.22 * (i - 1), xerr=np.nan_to_num(half), fmt=marker, ms=4.5,
            lw=1, label=table,
        )  # fmt: skip
    axes.axvline(1.0, color="black", lw=0.8)
    axes.axvline(SHARE, color="0.5", lw=0.8, ls=":")
    axes.set_yticks(PLACES, [what.name for what in SITUATIONS], fontsize=9)
    axes.set_ylim(len(PLACES) - 0.4, -0.6)
    axes.set_xlim(-0.05, 1.3)
    axes.grid(axis="x", alpha=0.3)
    axes.set_xlabel("goodput over max(tuned OLLA, 0.97 of the best fixed MCS); dotted: 0.97")
    figure.legend(loc="outside upper center", ncols=3, fontsize=9, frameon=False)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> None:
    args = arguments(__doc__)
    page = common.page(args, "field")
    seeds = seeds_of(args, FIELD_VALIDATION_SEEDS, FIELD_TEST_SEEDS)
    slots, grid_slots, step_db = SLOTS, GRID_SLOTS, runs.GRID_STEP_DB
    if args.short:
        slots, grid_slots, step_db = SHORT_SLOTS, SHORT_SLOTS, 8.0
    results = measure(seeds, slots, grid_slots, step_db, args.jobs)
    picture = common.plot_beside(page, "ratios.png")
    plot(results, picture)
    common.write_page(page, "bench/field.py", lines(results, seeds, slots, picture))


def lines(results: Results, seeds: tuple[int, ...], slots: int, picture: Path) -> list[str]:
    """The page."""
    head = ("situation", "best fixed MCS", "tuned OLLA (target, step in dB)", "LightTune", "over the larger")
    page = [
        "# In the field",
        "",
        f"One link at a time, {slots} blocks, seeds {seeds[0]} to {seeds[-1]}, over the MCS tables with",
        "measured curves. All adapters face the same SINRs, reports, losses and draws; reports have 0.25 dB",
        "of noise where nothing else is said. Goodput is in information bits per symbol, expected over the",
        "draws.",
        "*Best fixed* is known in hindsight only. *Tuned OLLA* is the best of",
        f"{len(OLLA_SETTINGS)} settings in hindsight on these very runs, with offsets wide enough for any",
        "error of the reports and, where nothing is reported, a constant stand-in. *Over the larger*: over",
        "max(tuned OLLA, 0.97 of the best fixed MCS) of each link. Intervals: 95 % over seeds (Student's t).",
        "Written by `bench/field.py`.",
        "",
        "## What was asked, and what was measured",
        "",
        *common.table(("figure", "asked", "measured"), goals(results)),
        "",
        f"![Goodput over the larger of tuned OLLA and 0.97 of the best fixed MCS](field/{picture.name})",
        "",
    ]
    for table in TABLES:
        page += [f"## {table}", "", *common.table(head, rows(results, table)), ""]
    page += [
        "## ACK/NACK only, over the best of SALAD and three OLLAs",
        "",
        *common.table(("situation", *TABLES), alone_rows(results)),
        "",
        "## Static links over the best fixed MCS: worst and mean over SINRs 1 dB apart",
        "",
        *common.table(("reports", *TABLES), static_rows(results)),
        "",
        "## Blocks from a jump of the reports until goodput is back at 95 %",
        "",
        f"Mean over links and jumps, held over {runs.BACK} blocks.",
        "",
        *common.table(("reports jump", *TABLES), jump_rows(results)),
        "",
        "## Frames of 20 and 1,500 bytes: BLER told, and true",
        "",
        *common.table(("frames", *TABLES), length_rows(results)),
    ]
    return page


if __name__ == "__main__":
    main()
