# SPDX-License-Identifier: GPL-3.0-or-later
"""The search of `bench/adversaries.py`: duels of the link under test with OLLA, and the attacks that it
loses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from gnuradio.lighttune.baselines.olla import Olla
from gnuradio.lighttune.core.mcs import McsTable

from attacks import FAMILIES, Attack, Draw, Family
from contestants import TABLES, make_adapter
from drive import drive

LEAST = 0.02  # of the largest goodput: OLLA counts as carrying as much, where it carries next to nothing
SPREAD = 0.12  # standard deviation of a step of the search, in units of the cube
KEPT = 4  # of the worst points: steps begin at them, and they are run again
RANDOM_SHARE = 0.6  # of the points, before the steps begin


@dataclass(frozen=True)
class Effort:
    """How hard the search looks.

    Args:
        evaluations: points of each family.
        slots: of a run while it searches.
        runs: for each point.
        final_slots: of the runs that are reported.
    """

    evaluations: int
    slots: int
    runs: int
    final_slots: int


@dataclass(frozen=True)
class Duel:
    """Goodputs against the same attack with the same draws, in information bits per symbol."""

    own: float
    olla: float
    gain: float  # over OLLA, in percent


@dataclass(frozen=True)
class Point:
    """An adversary: MCS table, place in the family's unit cube, and the gain in percent that it left."""

    table: str
    at: np.ndarray
    gain: float


def duel(table_name: str, attack: Attack) -> Duel:
    """The link under test and OLLA at its defaults against one attack."""
    course, fresh = attack
    table = McsTable.named(table_name)
    own = drive(make_adapter(table_name), course, fresh and fresh()).goodput
    olla = drive(Olla(table), course, fresh and fresh()).goodput
    floor = LEAST * float(table.goodput_if_acked().max())
    return Duel(own, olla, 100 * (own - olla) / max(olla, floor))


Make = Callable[[Draw], Attack]


def duels(table_name: str, make: Make, slots: int, seeds: Sequence[int]) -> list[Duel]:
    """One duel for each seed."""
    table = McsTable.named(table_name)
    return [duel(table_name, make((table, np.random.default_rng(seed), slots))) for seed in seeds]


def at_point(family: Family, point: np.ndarray, draw: Draw) -> Attack:
    """The family's attack at that point."""
    return family.attack(*draw, point)


def search(place: int, seed: int, effort: Effort) -> list[Point]:
    """The points of one family that left least, the worst first.

    Args:
        place: in `attacks.FAMILIES`.
        seed: of the search, from which the seeds of its runs come too.
        effort: how hard.
    """
    family, rng = FAMILIES[place], np.random.default_rng((seed, place))
    seeds = rng.integers(2**31, size=effort.runs).tolist()
    worst: list[Point] = []
    for count in range(effort.evaluations):
        if count < RANDOM_SHARE * effort.evaluations:
            table, at = TABLES[count % len(TABLES)], rng.random(family.dimensions)
        else:
            start = worst[int(rng.integers(len(worst)))]
            table, at = start.table, start.at + SPREAD * rng.standard_normal(family.dimensions)
            at = np.clip(np.abs(at), 0, 1)
        found = duels(table, partial(at_point, family, at), effort.slots, seeds)
        worst.append(Point(table, at, float(np.mean([run.gain for run in found]))))
        worst = sorted(worst, key=lambda point: point.gain)[:KEPT]
    return worst


def adversary(place: int, seed: int, effort: Effort, seeds: tuple[int, ...]) -> tuple[Point, list[Duel]]:
    """The worst of one family, and its duels on fresh seeds."""
    family = FAMILIES[place]
    again = np.random.default_rng((seed, place, 1)).integers(2**31, size=1).tolist()

    def at_length(point: Point, of: Sequence[int]) -> list[Duel]:
        return duels(point.table, partial(at_point, family, point.at), effort.final_slots, of)

    worst = min(search(place, seed, effort), key=lambda point: at_length(point, again)[0].gain)
    return worst, at_length(worst, seeds)
