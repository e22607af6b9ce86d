# SPDX-License-Identifier: GPL-3.0-or-later
"""The reliability diagram of `lighttune train --from`."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import numpy as np
from matplotlib import pyplot as plt

from ..records.calibration import BINS
from ..records.retraining import Retrained

_COLOURS = {"before": "#d1781b", "after": "#1f5fa8"}


def plot(path: Path, result: Retrained) -> None:
    """Write it; the format follows the file's suffix."""
    figure, (diagram, counts) = plt.subplots(
        2, 1, figsize=(6, 7), sharex=True, layout="constrained", height_ratios=(3, 1)
    )
    diagram.plot([0, 1], [0, 1], color="#777777", lw=1, label="perfect")
    edges = np.linspace(0, 1, BINS + 1)
    for place, (name, colour) in enumerate(_COLOURS.items()):
        bins, scores = result.reliability[name], result.scores[name]
        some = bins.blocks > 0
        label = f"{name}: log loss {scores['log_loss']:.3f}, ECE {scores['ece']:.3f}"
        spread = np.maximum([(bins.observed - bins.low)[some], (bins.high - bins.observed)[some]], 0)
        diagram.errorbar(
            bins.predicted[some], bins.observed[some], spread,
            color=colour, marker="o", ms=4, lw=1.4, capsize=3, label=label,
        )  # fmt: skip
        counts.bar(edges[:-1] + (0.25 + 0.5 * place) / BINS, bins.blocks, 0.45 / BINS, color=colour)
    diagram.set(ylabel="share of blocks that failed", xlim=(0, 1), ylim=(-0.02, 1.02))
    diagram.set_title(f"{result.held_out} blocks of held-out sessions; bars: 95 % interval", fontsize=10)
    diagram.legend(loc="upper left", fontsize=9)
    counts.set(xlabel="predicted BLER", ylabel="blocks", yscale="log", ylim=(0.8, None))
    figure.savefig(path, dpi=110)
    plt.close(figure)
