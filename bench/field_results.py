# SPDX-License-Identifier: GPL-3.0-or-later
"""What `bench/field.py` measured, and what it compares."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from field_runs import LinkFigures

SHARE = 0.97  # of the best fixed MCS, which nobody could know


@dataclass
class Results:
    """All figures, by MCS table (``grid``: and by the reports' error in dB), seed by seed.

    Args:
        situation: of the situation at a place: ``situation[table, place][seed]``.
        grid: goodput over the best fixed MCS, ``grid[table, error_db][seed]``: one for each SINR.
        jumps: blocks until goodput is back, ``jumps[table, 0][seed]``: by direction.
    """

    situation: dict[tuple[str, int], list[list[LinkFigures]]]
    grid: dict[tuple[str, float], list[list[float]]]
    jumps: dict[tuple[str, int], list[dict[int, int]]]

    def setting(self, table: str, place: int) -> int:
        """The OLLA setting that is best in hindsight, each link weighing the same."""
        links = [link for seed in self.situation[table, place] for link in seed]
        return int(np.argmax(np.mean([np.array(link.olla) / link.fixed for link in links], axis=0)))

    def ratios(self, table: str, place: int) -> list[float]:
        """Goodput over the larger of tuned OLLA and 0.97 of the best fixed MCS, seed by seed."""
        setting = self.setting(table, place)
        return [
            float(np.mean([link.own / max(link.olla[setting], SHARE * link.fixed) for link in seed]))
            for seed in self.situation[table, place]
        ]

    def alone(self, table: str, place: int) -> tuple[int, list[float]]:
        """The best of SALAD and three OLLAs (its place in `LinkFigures.alone`), and goodput over it."""
        seeds = self.situation[table, place]
        best = int(np.argmax(np.sum([link.alone for seed in seeds for link in seed], axis=0)))
        of_seed = [sum(link.own for link in s) / sum(link.alone[best] for link in s) for s in seeds]
        return best, of_seed

    def mean(self, table: str, place: int, figure: str) -> float:
        """Mean over links and seeds of a goodput: ``"fixed"``, ``"own"``, or ``"olla"`` for the tuned."""
        links = [link for seed in self.situation[table, place] for link in seed]
        if figure == "olla":
            return float(np.mean([link.olla[self.setting(table, place)] for link in links]))
        return float(np.mean([getattr(link, figure) for link in links]))
