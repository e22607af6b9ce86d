# SPDX-License-Identifier: GPL-3.0-or-later
"""BLER curves of any PHY: where to measure, the fit, and the file that `McsTable` and `lighttune train` read.

All that a PHY must bring is a function that sends blocks at one MCS and one SNR and counts what became of
them.
`bench/wifi_curves.py` has one for gr-ieee802-11.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gnuradio.lighttune.cli.modem_point import Outcome
from gnuradio.lighttune.core.mcs import McsTable
from gnuradio.lighttune.modem.curves import Curve, fit

OFFSETS_DB = (-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 2.5)
"""Where each MCS is measured, relative to its 50 % point."""

SEARCH_DB = (-10.0, 40.0)
"""Where a 50 % point is looked for."""

_RESOLUTION_DB = 0.3
_SEARCH_BLOCKS = 40

Point = Callable[[int, float, int], Outcome]
"""``point(mcs, snr_db, blocks)``: send the blocks and count."""


@dataclass(frozen=True)
class Scheme:
    """One MCS.

    Args:
        name: for people.
        bits_per_symbol: modulation order, 1 or more.
        code_rate: inside (0, 1].
    """

    name: str
    bits_per_symbol: int
    code_rate: float


def half_point_db(point: Point, mcs: int) -> float:
    """SNR at which about half of the blocks fail, by bisection over `SEARCH_DB`.

    Raises:
        ValueError: the failures do not cross one half in there.
    """
    low, high = SEARCH_DB

    def fails(snr_db: float) -> bool:
        outcome = point(mcs, snr_db, _SEARCH_BLOCKS)
        return 2 * outcome.errors > outcome.sent

    if not fails(low) or fails(high):
        raise ValueError(f"MCS {mcs}: its BLER does not cross 50 % between {low:g} and {high:g} dB")
    while high - low > _RESOLUTION_DB:
        middle = (low + high) / 2
        low, high = (middle, high) if fails(middle) else (low, middle)
    return round((low + high) / 2, 1)


def measure(
    point: Point,
    schemes: Sequence[Scheme],
    blocks: int,
    done: Callable[[], None] = lambda: None,
) -> list[list[tuple[float, Outcome]]]:
    """The points of every MCS, at `OFFSETS_DB`, of ``blocks`` blocks each; ``done`` is called after each."""
    curves = []
    for mcs in range(len(schemes)):
        middle = half_point_db(point, mcs)
        points = []
        for offset in OFFSETS_DB:
            snr_db = round(middle + offset, 2)
            points.append((snr_db, point(mcs, snr_db, blocks)))
            done()
        curves.append(points)
    return curves


def document(
    schemes: Sequence[Scheme], curves: Sequence[Sequence[tuple[float, Outcome]]], about: dict[str, Any]
) -> dict[str, Any]:
    """The document that `McsTable.from_curves` reads, with slopes shared by the MCS of one modulation order.

    Args:
        schemes: the MCS, in the order of their indices.
        curves: of each, its points.
        about: what holds for all: ``payload_bytes``, ``overhead_symbols``, and how it was measured.

    Raises:
        ValueError: the fitted curves are no table: see `McsTable`.
    """
    fitted: dict[int, tuple[float, float]] = {}
    for order in sorted({s.bits_per_symbol for s in schemes}):
        members = [i for i, s in enumerate(schemes) if s.bits_per_symbol == order]
        waterfalls = [
            Curve(
                schemes[i],
                tuple(snr_db for snr_db, _ in curves[i]),
                tuple(o.sent for _, o in curves[i]),
                tuple(o.errors for _, o in curves[i]),
                math.nan,
            )
            for i in members
        ]
        thresholds, slope = fit(waterfalls)
        fitted |= {i: (t, slope) for i, t in zip(members, thresholds, strict=True)}
    rows = [_row(i, s, curves[i], *fitted[i]) for i, s in enumerate(schemes)]
    result = {"schema": 1, **about, "mcs": rows}
    McsTable.from_curves("measured", result)  # a table that cannot be used shows here
    return result


def _row(
    index: int, scheme: Scheme, points: Sequence[tuple[float, Outcome]], threshold: float, slope: float
) -> dict[str, Any]:
    return {
        "index": index,
        "name": scheme.name,
        "modulation_order": scheme.bits_per_symbol,
        "code_rate": round(scheme.code_rate, 6),
        "snr_db": [snr_db for snr_db, _ in points],
        "packets": [o.sent for _, o in points],
        "errors": [o.errors for _, o in points],
        "lost": [o.lost for _, o in points],
        "snr_at_10pct_db": round(threshold + slope * math.log(9), 3),
        "threshold_db": round(threshold, 4),
        "slope_db": round(slope, 5),
    }


def markdown_table(result: dict[str, Any], head: str) -> str:
    """The document as a table, under the lines of ``head``."""
    lines = [
        head,
        "",
        "| MCS | name | 10 % BLER at (dB) | 50 % at (dB) | slope (dB) | without a header, of all lost |",
        "|---:|---|---:|---:|---:|---:|",
    ]
    for r in result["mcs"]:
        errors, lost = sum(r["errors"]), sum(r["lost"])
        lines.append(
            f"| {r['index']} | {r['name']} | {r['snr_at_10pct_db']:.2f} | {r['threshold_db']:.2f} "
            f"| {r['slope_db']:.3f} | {lost / max(1, errors):.0%} |"
        )
    return "\n".join(lines) + "\n"


def plot(result: dict[str, Any], path: Path, title: str) -> None:
    """Draw the measured points and the fits."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 5))
    colours = plt.cm.viridis(np.linspace(0, 0.9, len(result["mcs"])))
    for row, colour in zip(result["mcs"], colours, strict=True):
        snr = np.array(row["snr_db"])
        bler = np.array(row["errors"]) / np.array(row["packets"])
        fine = np.linspace(snr[0] - 0.5, snr[-1] + 0.5, 80)
        fitted = 1 / (1 + np.exp((fine - row["threshold_db"]) / row["slope_db"]))
        axes.plot(snr, np.where(bler > 0, bler, np.nan), "o", ms=3.5, color=colour)
        axes.plot(fine, fitted, "-", color=colour, label=row["name"])
    axes.set(yscale="log", ylim=(1e-3, 1.1), xlabel="Es/N0 on the occupied carriers (dB)", ylabel="BLER")
    axes.set_title(title)
    axes.grid(True, which="both", alpha=0.25)
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)
