# SPDX-License-Identifier: GPL-3.0-or-later
"""The report's figures."""

from __future__ import annotations

import io
from typing import Any

import matplotlib

matplotlib.use("Agg")

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..core.link_text import EXPERT_NAMES
from .calibration import reliability
from .summary import Summary, bler_over_time

_OBSERVED, _PREDICTED, _GREY, _ALERT = "#222222", "#1f5fa8", "#777777", "#b3261e"
_DPI = 110
_CURVES = 8  # links of which the beliefs are drawn: those with the most statuses


def png(figure: Figure) -> bytes:
    """A figure as PNG; it is closed."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=_DPI, format="png")
    plt.close(figure)
    return buffer.getvalue()


def timeline(summary: Summary) -> Figure:
    """SNR, MCS, BLER, goodput and states over time, one below the other."""
    figure, axes = plt.subplots(
        5, 1, figsize=(10.5, 11), sharex=True, layout="constrained", height_ratios=(1, 1.2, 1.2, 1, 0.7)
    )
    edges = summary.edges_s()
    for axis, draw in zip(axes, (_snr, _mcs, _bler, _goodput, _states), strict=True):
        draw(axis, summary, edges)
        for start in summary.starts_s[1:]:
            axis.axvline(start, color=_GREY, lw=0.8, ls=":")
    axes[-1].set_xlabel("time [s]" + (", sessions one behind the other" if len(summary.starts_s) > 1 else ""))
    axes[-1].set_xlim(0, edges[-1])
    figure.align_ylabels(axes)
    return figure


def beliefs(summary: Summary) -> Figure:
    """How far the reports of each link were held to be off, and how many packets to be lost at every MCS."""
    figure, (offset, loss) = plt.subplots(2, 1, figsize=(10.5, 5), sharex=True, layout="constrained")
    most = sorted(summary.beliefs.items(), key=lambda item: -len(item[1].time_s))[:_CURVES]
    for place, (link, held) in enumerate(sorted(most)):
        colour = f"C{place}"
        offset.fill_between(held.time_s, held.offset_db - held.width_db, held.offset_db + held.width_db,
                            color=colour, alpha=0.15, lw=0)  # fmt: skip
        offset.plot(held.time_s, held.offset_db, color=colour, lw=1.4, label=f"link {link}")
        loss.plot(held.time_s, 100 * held.loss, color=colour, lw=1.4)
    offset.axhline(0, color=_GREY, lw=0.8)
    offset.set_ylabel("SINR less the report [dB]")
    offset.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8)
    loss.set(ylabel="lost at every MCS [%]", ylim=(0, None), xlabel="time [s]")
    loss.set_xlim(0, max(summary.duration_s, 1e-3))
    for axis in (offset, loss):
        for start in summary.starts_s[1:]:
            axis.axvline(start, color=_GREY, lw=0.8, ls=":")
    figure.align_ylabels((offset, loss))
    return figure


def calibration(summary: Summary) -> Figure:
    """Reliability diagram of what was predicted, and how often."""
    bins = reliability(summary.blocks.bler[summary.blocks.ended], summary.nack)
    figure, (diagram, counts) = plt.subplots(
        2, 1, figsize=(5.2, 5.8), sharex=True, layout="constrained", height_ratios=(3, 1)
    )
    some = bins.blocks > 0
    spread = np.maximum([(bins.observed - bins.low)[some], (bins.high - bins.observed)[some]], 0)
    diagram.plot([0, 1], [0, 1], color=_GREY, lw=1, label="perfect prediction")
    diagram.errorbar(bins.predicted[some], bins.observed[some], spread, color=_PREDICTED, marker="o", ms=4,
                     lw=1.4, capsize=3, label="blocks by predicted BLER (95 % interval)")  # fmt: skip
    diagram.set(ylabel="share that failed", xlim=(0, 1), ylim=(-0.02, 1.02))
    diagram.legend(loc="upper left", fontsize=8)
    middles = (np.arange(len(bins.blocks)) + 0.5) / len(bins.blocks)
    counts.bar(middles, bins.blocks, 0.9 / len(bins.blocks), color=_PREDICTED)
    counts.set(xlabel="predicted BLER", ylabel="blocks", yscale="log", ylim=(0.8, None))
    return figure


def mcs_shares(summary: Summary) -> Figure:
    """How often each MCS was sent, and how often it failed."""
    blocks = summary.blocks
    n_mcs = int(blocks.mcs.max()) + 1 if summary.table is None and len(blocks) else len(summary.table or [0])
    sent = np.bincount(blocks.mcs, minlength=n_mcs)
    failed = np.bincount(blocks.mcs[blocks.ended], summary.nack, n_mcs)
    with np.errstate(invalid="ignore", divide="ignore"):
        rate = failed / np.bincount(blocks.mcs[blocks.ended], minlength=n_mcs)
    figure, (shares, rates) = plt.subplots(
        2, 1, figsize=(5.2, 5.8), sharex=True, layout="constrained", height_ratios=(1.6, 1)
    )
    shares.bar(np.arange(n_mcs), 100 * sent / max(len(blocks), 1), color=_PREDICTED)
    shares.set_ylabel("share of blocks [%]")
    rates.bar(np.arange(n_mcs), 100 * rate, color=_ALERT)
    rates.set(xlabel="MCS", ylabel="failed [%]", xlim=(-0.6, n_mcs - 0.4))
    return figure


def _windowed(time_s: np.ndarray, edges: np.ndarray) -> list[np.ndarray]:
    """Places of the values in each window; times may be in any order."""
    place = np.clip(np.searchsorted(edges, time_s, "right") - 1, 0, len(edges) - 2)
    order = np.argsort(place, kind="stable")
    return np.split(order, np.searchsorted(place[order], np.arange(1, len(edges) - 1)))


def _middles(edges: np.ndarray) -> np.ndarray:
    return (edges[1:] + edges[:-1]) / 2


def _snr(axis: Axes, summary: Summary, edges: np.ndarray) -> None:
    quantiles = np.full((3, len(edges) - 1), np.nan)
    for window, rows in enumerate(_windowed(summary.snr_time_s, edges)):
        if len(rows):
            quantiles[:, window] = np.quantile(summary.snr_db[rows], (0.1, 0.5, 0.9))
    axis.fill_between(_middles(edges), quantiles[0], quantiles[2], color=_GREY, alpha=0.3, lw=0,
                      label="middle 80 %")  # fmt: skip
    axis.plot(_middles(edges), quantiles[1], color=_OBSERVED, lw=1.4, label="median")
    axis.set_ylabel("reported SNR [dB]")
    axis.legend(loc="lower left", ncols=2, fontsize=8)


def _mcs(axis: Axes, summary: Summary, edges: np.ndarray) -> None:
    blocks = summary.blocks
    highest = len(summary.table) - 1 if summary.table else int(blocks.mcs.max(initial=0))
    bins: Any = (edges, np.arange(highest + 2) - 0.5)
    counts, _, _ = np.histogram2d(blocks.time_s, blocks.mcs, bins)
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = counts / counts.sum(axis=1, keepdims=True)
        mean = counts @ np.arange(highest + 1) / counts.sum(axis=1)
    mesh = axis.pcolormesh(edges, np.arange(highest + 2) - 0.5, 100 * shares.T, cmap="Blues", vmin=0)
    axis.figure.colorbar(mesh, ax=axis, label="share [%]", pad=0.01)
    axis.plot(_middles(edges), mean, color=_ALERT, lw=1.4, label="mean")
    axis.set(ylabel="MCS sent", ylim=(-0.5, highest + 0.5))
    axis.legend(loc="lower left", fontsize=8)


def _bler(axis: Axes, summary: Summary, edges: np.ndarray) -> None:
    window, middles = bler_over_time(summary), _middles(edges)
    axis.fill_between(middles, window.low, window.high, color=_OBSERVED, alpha=0.15, lw=0,
                      label="95 % interval")  # fmt: skip
    axis.plot(middles, window.observed, color=_OBSERVED, lw=1.4, label="observed")
    axis.plot(middles, window.predicted, color=_PREDICTED, lw=1.6, label="predicted")
    top = np.nanmax([0.2, *window.observed, *window.predicted])
    axis.set(ylabel="BLER", ylim=(0, 1.4 * top))
    axis.legend(loc="upper left", ncols=3, fontsize=8)


def _goodput(axis: Axes, summary: Summary, edges: np.ndarray) -> None:
    blocks = summary.blocks
    bits = np.histogram(blocks.time_s, edges, weights=summary.bits() * blocks.delivered)[0]
    axis.plot(_middles(edges), bits / np.diff(edges) / 1e3, color=_OBSERVED, lw=1.4, label="arrived")
    axis.set(ylabel="goodput [kbit/s]", ylim=(0, None))
    symbols = summary.symbols()
    if symbols is not None:
        cost = np.histogram(blocks.time_s, edges, weights=symbols)[0]
        right = axis.twinx()
        with np.errstate(invalid="ignore", divide="ignore"):
            right.plot(_middles(edges), bits / cost, color=_PREDICTED, lw=1.6)
        right.set(ylim=(0, None))
        right.set_ylabel("bit/symbol", color=_PREDICTED)
        axis.plot([], [], color=_PREDICTED, lw=1.6, label="per symbol of airtime")
    axis.legend(loc="lower left", ncols=2, fontsize=8)


def _states(axis: Axes, summary: Summary, edges: np.ndarray) -> None:
    """A row each for the tuner and the experts: the darker, the more links."""
    rows = [("tuned on", summary.tuning, _ALERT)]
    rows += [(f"by {EXPERT_NAMES[name]}", states, _PREDICTED)
             for name, states in summary.experts.items()]  # fmt: skip
    for place, (_, states, colour) in enumerate(rows):
        ends = [*states.time_s[1:], summary.duration_s][: len(states.time_s)]
        for begin, end, share in zip(states.time_s, ends, states.share, strict=True):
            if share > 0:
                axis.barh(place, max(end - begin, 0.0), left=begin, height=0.7, color=colour,
                          alpha=0.25 + 0.75 * share, lw=0)  # fmt: skip
    axis.set_yticks(range(len(rows)), [name for name, *_ in rows])
    axis.set_ylim(len(rows) - 0.5, -0.5)
