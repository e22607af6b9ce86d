# SPDX-License-Identifier: GPL-3.0-or-later
"""What a campaign's cells say together: gains over a reference, with 95 % intervals over seeds.

Gains are paired: adapters of one world and seed met the same channels and the same ACK draws.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

Row = dict[str, Any]
"""A finished cell: `campaign.run_cell`, and the adapter's label as ``adapter``."""

# Two-sided 95 % quantiles of Student's t for 1 to 30 degrees of freedom; the normal's beyond.
_T95 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip


def interval(values: Iterable[float]) -> tuple[float, float]:
    """Mean, and half the width of its 95 % interval (Student's t).

    The mean of nothing is NaN; so is the width for fewer than two values.
    """
    array = np.asarray(list(values), float)
    n = len(array)
    if n < 2:
        return (float(array[0]) if n else float("nan")), float("nan")
    quantile = _T95[n - 2] if n - 2 < len(_T95) else 1.96
    return float(array.mean()), float(quantile * array.std(ddof=1) / np.sqrt(n))


class Summary:
    """The finished cells of a campaign, by adapter, world and seed.

    Args:
        rows: finished cells.
        adapters, worlds: in the order in which they are shown.
        reference: the adapter that gains are counted from.
    """

    def __init__(
        self, rows: Iterable[Row], adapters: Sequence[str], worlds: Sequence[str], reference: str
    ) -> None:
        self.adapters, self.worlds, self.reference = tuple(adapters), tuple(worlds), reference
        self._cells: dict[tuple[str, str], dict[int, Row]] = {}
        self.kinds: dict[str, str] = {}
        for row in rows:
            self._cells.setdefault((row["adapter"], row["world"]), {})[row["seed"]] = row
            self.kinds[row["adapter"]] = row["kind"]

    def values(self, adapter: str, world: str, figure: str) -> list[float]:
        """A figure of every seed that finished; those that have none are left out."""
        cells = self._cells.get((adapter, world), {})
        return [cells[seed][figure] for seed in sorted(cells) if cells[seed][figure] is not None]

    def gains(self, adapter: str, world: str) -> dict[int, float]:
        """Goodput over the reference's in percent, of every seed at which both finished."""
        own, other = (self._cells.get((name, world), {}) for name in (adapter, self.reference))
        return {
            seed: 100.0 * (own[seed]["goodput"] / other[seed]["goodput"] - 1.0)
            for seed in sorted(own.keys() & other.keys())
            if other[seed]["goodput"] > 0
        }

    def mean_gains(self, adapter: str) -> list[float]:
        """Mean over the worlds of `gains`, of every seed that has all of them."""
        each = [self.gains(adapter, world) for world in self.worlds]
        common = set.intersection(*(set(gains) for gains in each))
        return [float(np.mean([gains[seed] for gains in each])) for seed in sorted(common)]

    def table(self, each_world: bool = True) -> tuple[list[str], list[list[str]]]:
        """Head and lines: each adapter's gain, mean and world by world, failures and prediction error."""
        mean = len(self.worlds) > 1
        shown_worlds = self.worlds if each_world or not mean else ()
        head = ["adapter", *(["mean of the worlds"] if mean else []), *shown_worlds]
        lines = []
        for adapter in self.adapters:
            gains = [list(self.gains(adapter, world).values()) for world in shown_worlds]
            if mean:
                gains.insert(0, self.mean_gains(adapter))
            shown = ["reference"] * len(gains) if adapter == self.reference else map(signed, gains)
            overall = [self._over_worlds(adapter, figure) for figure in ("residual_bler", "window_error")]
            if self.kinds.get(adapter) == "genie":
                overall[1] = ""  # it was told
            lines.append([adapter, *shown, *overall])
        return [*head, "residual BLER", "BLER prediction error"], lines

    def _over_worlds(self, adapter: str, figure: str) -> str:
        means = [interval(self.values(adapter, world, figure))[0] for world in self.worlds]
        return "" if np.isnan(means).any() else f"{np.mean(means):.3f}"


def signed(values: Iterable[float]) -> str:
    """``+6.0 ± 0.4``; without an interval where there is one value, empty where there is none."""
    middle, half = interval(values)
    if np.isnan(middle):
        return ""
    return f"{middle:+.1f}" + ("" if np.isnan(half) else f" ± {half:.1f}")


def markdown(head: Sequence[str], lines: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a table, the first column to the left and the others to the right."""
    rows = (head, *lines)
    cells = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return [cells[0], "|---|" + "---:|" * (len(head) - 1), *cells[1:]]
