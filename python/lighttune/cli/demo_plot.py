# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo's picture: SNR, MCS, BLER predicted and observed, goodput, and when tuning went on."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import numpy as np
from matplotlib import pyplot as plt

from ..core.predictor import Predictor
from ..modem.framing import burst_samples
from .demo_figures import WINDOW, tuned_slots, untuned_bler, windowed
from .demo_link import PAYLOAD_BYTES, SAMP_RATE, Record, Scenario

_OLLA, _OURS, _GREY = "#d1781b", "#1f5fa8", "#777777"


def plot(path: Path, scenario: Scenario, records: dict[str, Record], predictor: Predictor) -> None:
    """Write the picture; the format follows the file's suffix."""
    olla, ours = records["olla"], records["lighttune"]
    figure, (snr, mcs, bler, goodput) = plt.subplots(
        4, 1, figsize=(10, 10.5), sharex=True, layout="constrained", height_ratios=(1, 1.1, 1.1, 1)
    )
    slots = np.arange(scenario.packets)
    middles = np.minimum(np.arange(0, scenario.packets, WINDOW) + WINDOW / 2, scenario.packets)

    snr.plot(slots, ours.snr_db, ".", ms=2, color=_GREY, label="reported (per packet)")
    snr.plot(slots, scenario.mean_snr_db, color="black", lw=1.5, label="mean of the channel")
    snr.set_ylabel("SNR [dB]")
    snr.legend(loc="lower left", ncols=2, fontsize=8)

    for record, colour, name in ((olla, _OLLA, "OLLA"), (ours, _OURS, "LightTune")):
        mcs.plot(slots, record.mcs, ".", ms=2, alpha=0.35, color=colour)
        mcs.plot(middles, windowed(record.mcs), color=colour, lw=1.8, label=f"{name} (mean of {WINDOW})")
        delivered = 8e-3 * PAYLOAD_BYTES * np.nan_to_num(record.ack)
        airtime_s = np.array([burst_samples(int(m), PAYLOAD_BYTES) for m in record.mcs]) / SAMP_RATE
        goodput.plot(middles, windowed(delivered) / windowed(airtime_s), color=colour, lw=1.8, label=name)
    mcs.set_ylabel("MCS")
    mcs.set_ylim(-0.5, 9.5)
    mcs.legend(loc="lower left", ncols=2, fontsize=8)

    observed, tuned_bler = windowed(1 - np.nan_to_num(ours.ack)), windowed(ours.bler)
    untuned = windowed(untuned_bler(ours, predictor))
    bler.plot(middles, observed, "o-", color="black", ms=3, lw=1, label="observed")
    bler.plot(middles, tuned_bler, color=_OURS, lw=1.8, label="predicted, tuned")
    bler.plot(middles, untuned, "--", color=_OURS, lw=1.2, label="predicted, un-tuned")
    tuned = np.flatnonzero(tuned_slots(ours))
    top = 1.3 * max(0.3, *(np.nanmax(curve) for curve in (untuned, tuned_bler, observed)))
    bler.vlines(tuned, 0.93 * top, top, color="#b3261e", lw=0.5, label="tuned since the last packet")
    bler.set_ylabel("BLER (LightTune)")
    bler.set_ylim(-0.02 * top, top)
    bler.legend(loc="upper left", ncols=4, fontsize=8, bbox_to_anchor=(0, 0.92))

    goodput.set_ylabel("goodput [kbit/s of airtime]")
    goodput.set_ylim(bottom=0)
    goodput.set_xlabel("packet")
    goodput.legend(loc="lower left", ncols=2, fontsize=8)

    for name, start, _ in scenario.phases:
        for axis in (snr, mcs, bler, goodput):
            axis.axvline(start, color=_GREY, lw=0.8, ls=":")
        snr.text(start + 5, 1.02, name, transform=snr.get_xaxis_transform(), fontsize=9)
    for axis in (snr, mcs, bler, goodput):
        axis.grid(alpha=0.25)
        axis.margins(x=0.01)
    figure.savefig(path, dpi=120)
    plt.close(figure)
