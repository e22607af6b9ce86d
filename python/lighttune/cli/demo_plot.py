# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo's picture: what happened to the link, what both adapters made of it, and the shifts enlarged."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from .demo_figures import WINDOW, airtime_s, delivered_kbit, windowed
from .demo_link import Record, Scenario

_COLOURS = {"olla": "#D55E00", "lighttune": "#0072B2"}  # of Okabe and Ito: colour-blind people see them apart
_NAMES = {"olla": "OLLA", "lighttune": "LightTune"}
_GREY = "#777777"
_ENLARGED = 150  # packets after a shift, and a fifth of that before it
_SMOOTH = 15  # packets of the running mean there


def plot(path: Path, scenario: Scenario, records: dict[str, Record]) -> None:
    """Write the picture; the format follows the file's suffix."""
    whole = ("snr", "off", "mcs", "goodput", "gain", "bler", "olla", "lighttune")
    shifts = scenario.phases[1:]
    rows = [[name] * len(shifts) for name in whole]
    rows += [[f"{name} {i}" for i in range(len(shifts))] for name in ("mcs", "lost", "since")]
    figure, axes = plt.subplot_mosaic(
        rows, figsize=(11.5, 20), layout="constrained", height_ratios=(1,) * len(whole) + (1.1,) * 3
    )
    _channel(axes["snr"], scenario, records["lighttune"])
    _offset(axes["off"], scenario, records["lighttune"])
    _choices(axes["mcs"], records)
    _goodput(axes["goodput"], axes["gain"], records)
    _bler(axes["bler"], records)
    for name, record in records.items():
        _prediction(axes[name], record, name)
    for place, (name, start, end) in enumerate(shifts):
        shown = [axes[f"{row} {place}"] for row in ("mcs", "lost", "since")]
        _enlarge(shown, records, start, end)
        shown[0].set_title(f"the shift to: {name}", fontsize=10)
    for name in whole:
        axis = axes[name]
        axis.set_xlim(0, scenario.packets)
        axis.tick_params(labelbottom=name == whole[-1])
        for _, start, _ in scenario.phases:
            axis.axvline(start, color=_GREY, lw=0.8, ls=":")
        axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8, frameon=False)
    for name, start, _ in scenario.phases:
        axes["snr"].text(start, 1.03, f" {name}", transform=axes["snr"].get_xaxis_transform(), fontsize=9)
    axes[whole[-1]].set_xlabel("packet")
    for axis in axes.values():
        axis.grid(alpha=0.25)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _middles(packets: int) -> np.ndarray:
    return np.minimum(np.arange(0, packets, WINDOW) + WINDOW / 2, packets)


def _lost(record: Record) -> np.ndarray:
    return 1 - np.nan_to_num(record.ack)


def _channel(axis: Axes, scenario: Scenario, record: Record) -> None:
    axis.plot(record.snr_db, ".", ms=2, color=_GREY, label="reported")
    axis.plot(scenario.mean_snr_db, color="black", lw=1.5, label="mean of the channel")
    axis.set_ylabel("SNR [dB]")


def _offset(axis: Axes, scenario: Scenario, record: Record) -> None:
    """What LightTune holds the reports to be off by, beside what was done to them."""
    axis.plot(scenario.report_bias_db, color="black", lw=1.5, label="added to the reports")
    known = [(packet, held) for packet, held in record.beliefs if "offset_db" in held]
    packets = [packet for packet, _ in known]
    off, width = (np.array([held[key] for _, held in known]) for key in ("offset_db", "width_db"))
    axis.plot(packets, -off, color=_COLOURS["lighttune"], lw=1.6, label="as LightTune holds")
    axis.fill_between(packets, -off - width, -off + width, color=_COLOURS["lighttune"], alpha=0.2, lw=0,
                      label="one standard deviation")  # fmt: skip
    axis.set_ylabel("reports too high\nby [dB]")


def _choices(axis: Axes, records: dict[str, Record]) -> None:
    for name, record in records.items():
        axis.plot(_middles(record.packets), windowed(record.mcs), color=_COLOURS[name], lw=1.8,
                  label=_NAMES[name])  # fmt: skip
    axis.set_ylabel(f"MCS\n(mean of {WINDOW})")


def _goodput(axis: Axes, gain: Axes, records: dict[str, Record]) -> None:
    so_far = {}
    for name, record in records.items():
        bits, time_s = delivered_kbit(record), airtime_s(record)
        so_far[name] = np.cumsum(bits) / np.cumsum(time_s)
        axis.plot(_middles(record.packets), windowed(bits) / windowed(time_s), color=_COLOURS[name], lw=1.8,
                  label=_NAMES[name])  # fmt: skip
    axis.set(ylabel="goodput\n[kbit/s of airtime]", ylim=(0, None))
    with np.errstate(divide="ignore", invalid="ignore"):
        more = 100 * (so_far["lighttune"] / so_far["olla"] - 1)
    settled = np.arange(WINDOW - 1, len(more))  # before, it is of a few packets
    gain.axhline(0, color=_COLOURS["olla"], lw=1.2, label="OLLA")
    gain.plot(settled, more[settled], color=_COLOURS["lighttune"], lw=1.8, label="LightTune")
    gain.set_ylabel("goodput so far,\nagainst OLLA [%]")


def _bler(axis: Axes, records: dict[str, Record]) -> None:
    for name, record in records.items():
        axis.plot(_middles(record.packets), 100 * windowed(_lost(record)), "o-", ms=3, lw=1.6,
                  color=_COLOURS[name], label=_NAMES[name])  # fmt: skip
    axis.set(ylabel=f"packets lost [%]\n(of {WINDOW})", ylim=(0, None))


def _prediction(axis: Axes, record: Record, name: str) -> None:
    middles = _middles(record.packets)
    axis.plot(middles, 100 * windowed(_lost(record)), "o-", ms=3, lw=1, color="black", label="observed")
    axis.plot(middles, 100 * windowed(record.bler), "--", lw=1.8, color=_COLOURS[name], label="predicted")
    axis.set(ylabel=f"BLER [%],\n{_NAMES[name]}", ylim=(0, None))


def _enlarge(axes: list[Axes], records: dict[str, Record], start: int, end: int) -> None:
    """A shift: running mean of the MCS, packets lost since, goodput since."""
    mcs, lost, since = axes
    stop, before = min(start + _ENLARGED, end), max(0, start - _ENLARGED // 5)
    around, after = np.arange(before, stop), np.arange(start, stop)
    for run, record in records.items():
        look = {"color": _COLOURS[run], "lw": 1.8, "label": _NAMES[run]}
        mean = [np.nanmean(record.mcs[max(0, k - _SMOOTH + 1) : k + 1]) for k in around]
        mcs.plot(around - start, mean, **look)
        lost.step(after - start, np.cumsum(_lost(record)[after]), where="post", **look)
        goodput = np.cumsum(delivered_kbit(record)[after]) / np.cumsum(airtime_s(record)[after])
        since.plot(after - start, goodput, **look)
    for axis in axes:
        axis.axvline(0, color=_GREY, lw=0.8, ls=":")
        axis.set_xlim(before - start, stop - start)
    mcs.set_ylabel(f"MCS\n(mean of the last {_SMOOTH})")
    lost.set_ylabel("packets lost\nsince the shift")
    since.set(xlabel="packets after the shift", ylabel="goodput since\nthe shift [kbit/s]", ylim=(0, None))
    since.legend(loc="upper center", bbox_to_anchor=(0.5, -0.3), ncols=2, fontsize=8, frameon=False)
