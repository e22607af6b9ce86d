# SPDX-License-Identifier: GPL-3.0-or-later
"""A campaign's pictures: a panel for each world, a line for each adapter, a point with its interval."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import numpy as np
from matplotlib import pyplot as plt

from ..sim.campaign_summary import Summary, interval

_INK = "#1f5fa8"
_MOST_LINES = 200  # a picture of more is neither read nor drawn


def plot_gains(path: Path, summary: Summary) -> bool:
    """Goodput over the reference; whether it was drawn."""
    shown = [adapter for adapter in summary.adapters if adapter != summary.reference]
    return _panels(
        path,
        summary,
        shown,
        lambda adapter, world: summary.gains(adapter, world).values(),
        f"goodput over {summary.reference}, %",
    )


def plot_errors(path: Path, summary: Summary) -> bool:
    """Error of the predicted BLER as a rate over windows; whether it was drawn."""
    shown = [adapter for adapter in summary.adapters if summary.kinds.get(adapter, "genie") != "genie"]
    return _panels(
        path,
        summary,
        shown,
        lambda adapter, world: summary.values(adapter, world, "window_error"),
        "error of the predicted BLER, as a rate over 100 slots",
    )


def _panels(
    path: Path,
    summary: Summary,
    adapters: list[str],
    values: Callable[[str, str], Iterable[float]],
    label: str,
) -> bool:
    if not 1 <= len(adapters) <= _MOST_LINES:
        return False
    n, place = len(summary.worlds), np.arange(len(adapters))
    size = (2.2 + 1.9 * n, 1.3 + 0.26 * len(adapters))
    figure, axes = plt.subplots(
        1, n, figsize=size, sharex=True, sharey=True, squeeze=False, layout="constrained"
    )
    for axis, world in zip(axes[0], summary.worlds, strict=True):
        middle, half = np.array([interval(values(adapter, world)) for adapter in adapters]).T
        axis.errorbar(middle, place, xerr=np.nan_to_num(half), fmt="o", ms=4, capsize=2, lw=1, color=_INK)
        axis.axvline(0, color="black", lw=0.8)
        axis.grid(axis="x", alpha=0.25)
        axis.set_title(world, fontsize=10)
    axes[0, 0].set_yticks(place, adapters)
    axes[0, 0].set_ylim(len(adapters) - 0.5, -0.5)
    figure.supxlabel(label, fontsize=10)
    figure.savefig(path, dpi=130)
    plt.close(figure)
    return True
