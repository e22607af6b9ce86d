# SPDX-License-Identifier: GPL-3.0-or-later
"""The runs of `bench/field.py`: one situation, one grid of static links, or jumps of the reports, for one MCS
table and one seed each."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from gnuradio.lighttune.core.mcs import McsTable

import course as c
from contestants import ALONE_SETTINGS, OLLA_SETTINGS, TABLES, make_adapter, salad, tuned_olla
from course import Course, link_at
from drive import Driven, drive
from situations import JUMPS, SITUATIONS, jumps_at, reports_jump

GRID_STEP_DB = 1.0
SETTLED = 300  # blocks after which wrong reports must have been learned
JUMP_DRAWS = 4  # of two links each: a mean over fewer is not back for chance alone
BACK = 20  # blocks over which goodput is back, if it is back
ENOUGH = 0.95  # of the goodput before


@dataclass(frozen=True)
class LinkFigures:
    """Goodputs of one link, in information bits per symbol.

    Args:
        fixed: best fixed MCS in hindsight.
        olla: of each of `contestants.OLLA_SETTINGS`.
        own: of the link under test.
        alone: SALAD, then OLLA at each of `contestants.ALONE_SETTINGS`; empty where something is reported.
        bler: by block length in bits: mean BLER that was told, and that was true of what was sent.
    """

    fixed: float
    olla: tuple[float, ...]
    own: float
    alone: tuple[float, ...] = ()
    bler: dict[int, tuple[float, float]] = field(default_factory=dict)


def stream(seed: int, table: McsTable, place: int) -> np.random.Generator:
    """Of one situation of one table: each has its own."""
    return np.random.default_rng((seed, TABLES.index(table.name), place))


def situation(place: int, table_name: str, seed: int, slots: int) -> list[LinkFigures]:
    """All links of the situation at that ``place`` of `situations.SITUATIONS`."""
    table, what = McsTable.named(table_name), SITUATIONS[place]
    return [
        _figures(course, what.reported, seed)
        for course in what.make(table, stream(seed, table, place), slots)
    ]


def _figures(course: Course, reported: bool, seed: int) -> LinkFigures:
    table = course.table
    olla = tuple(drive(tuned_olla(table, setting, reported), course).goodput for setting in OLLA_SETTINGS)
    alone: tuple[float, ...] = ()
    if not reported:
        three = (olla[OLLA_SETTINGS.index(setting)] for setting in ALONE_SETTINGS)
        alone = (drive(salad(table, seed), course).goodput, *three)
    own = drive(make_adapter(table.name), course)
    return LinkFigures(course.best_fixed()[1], olla, own.goodput, alone, _bler_by_length(own, course))


def _bler_by_length(own: Driven, course: Course) -> dict[int, tuple[float, float]]:
    if course.bits is None:
        return {}
    true = course.bler[0][np.arange(len(course)), own.mcs]
    return {
        int(bits): (float(own.told_bler[course.bits == bits].mean()), float(true[course.bits == bits].mean()))
        for bits in np.unique(course.bits)
    }


def grid_snr_db(table: McsTable, step_db: float = GRID_STEP_DB) -> np.ndarray:
    """SINRs from where the lowest MCS fails one time in ten to 4 dB above the highest threshold."""
    return np.arange(table.snr_at_bler_db(0.1).min(), table.threshold.max() + 4.0, step_db)


def grid(table_name: str, error_db: float, seed: int, slots: int, step_db: float) -> list[float]:
    """Goodput over the best fixed MCS of static links, one for each of `grid_snr_db`; with wrong reports from
    `SETTLED` blocks on."""
    table, ratios = McsTable.named(table_name), []
    rng = stream(seed, table, len(SITUATIONS))
    for snr_db in grid_snr_db(table, step_db):
        course = c.reports_off(link_at(table, rng, np.full(slots, snr_db)), error_db)
        if error_db:
            course = c.counted_only(course, np.arange(slots) >= min(SETTLED, slots // 2))
        ratios.append(drive(make_adapter(table_name), course).goodput / course.best_fixed()[1])
    return ratios


def jumps(table_name: str, seed: int, slots: int) -> dict[int, int]:
    """Blocks until goodput is back after the reports jumped up (1) and down (-1), as a mean over links."""
    table = McsTable.named(table_name)
    stretch = slots // len(JUMPS)
    before, after = stretch // 4, 3 * stretch // 4
    curves: dict[int, list[np.ndarray]] = {1: [], -1: []}
    rng = stream(seed, table, len(SITUATIONS) + 1)
    for course in (link for _ in range(JUMP_DRAWS) for link in reports_jump(table, rng, slots)):
        own = drive(make_adapter(table_name), course)
        worth = course.gain * (1 - course.bler[0])
        relative = worth[np.arange(slots), own.mcs] / worth.max(axis=1)
        for place, jump in enumerate(jumps_at(slots)):
            curves[1 if JUMPS[place + 1] > JUMPS[place] else -1].append(
                relative[jump - before : jump + after]
            )
    return {sign: back_after(np.mean(of_sign, axis=0), before) for sign, of_sign in curves.items()}


def back_after(curve: np.ndarray, before: int) -> int:
    """Blocks after slot ``before`` of a goodput curve until it holds `ENOUGH` of the mean before that slot,
    as a mean over the next `BACK` blocks; all there are, if it never does."""
    means = np.convolve(curve[before:], np.full(BACK, 1 / BACK), mode="valid")
    back = np.flatnonzero(means >= ENOUGH * curve[:before].mean())
    return int(back[0]) if back.size else len(curve) - before
