#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fits waterfalls to Sionna's block error rates of NR PDSCH MCS table 1 and writes them as a curves file.

Sionna's PHYAbstraction gives the transport block error rate of MCS 3 to 28 (it has no data below) at an
effective SINR and a number of allocated resource elements, without any chance in it. Each modulation order
gets one slope and each MCS a threshold, by least squares of the BLER where it lies within 0.01 and 0.99.

A slotted link sends as many resource elements (RE) whatever the MCS, so the file counts a block's length in
RE: its reference is 7488 "bits", one to each RE. Pass ``bits=N`` for a block of N RE.

Runs in the environment that `bench/setup_linkgym.sh` makes; takes seconds.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
from itertools import pairwise
from pathlib import Path

import numpy as np

FIRST_MCS, LAST_MCS = 3, 28
REFERENCE_RE = 7488  # 12 subcarriers x 52 PRB x 12 symbols: linkgym's allocation
OTHER_RE = (1000, 3744, 15000)  # allocations at which the length's logit is tried
CURVES = Path(__file__).resolve().parent.parent / "python/lighttune/models/nr_pdsch_1_sionna_curves.json"
SNR_DB = np.round(np.arange(-8.0, 30.0, 0.02), 2)
SLOPES_DB = np.round(np.arange(0.05, 0.8, 0.005), 3)
STEP_DB = 0.01  # of the thresholds that are tried
LEAST_GAP_DB = 0.05  # between neighbours of a ladder: two of Sionna's coarse curves cross


def transport_bler(mcs: int, num_re: int) -> np.ndarray:
    """Transport block error rate of one MCS at `SNR_DB`, shape ``(n_snr,)``."""
    import torch
    from linkgym.phy import transmit

    sinr = torch.tensor(10 ** (SNR_DB / 10), dtype=torch.float32)
    index = torch.full((len(sinr),), mcs, dtype=torch.int32)
    sent = transmit(sinr, index, torch.zeros(len(sinr)), num_allocated_re=num_re)
    return sent.tbler.double().numpy()


def rates() -> tuple[np.ndarray, np.ndarray]:
    """Modulation order and target code rate of MCS 3 to 28, shape ``(26,)`` each."""
    import torch
    from sionna.phy.nr.utils import MCSDecoderNR

    index = torch.arange(FIRST_MCS, LAST_MCS + 1, dtype=torch.int32)
    order, rate = MCSDecoderNR(device="cpu")(index, 1, 1)  # table 1, PDSCH
    return order.numpy().astype(int), rate.double().numpy()


def logistic(threshold_db: np.ndarray | float, slope_db: float, logit: float = 0.0) -> np.ndarray:
    """The waterfalls at `SNR_DB`, shape ``threshold_db.shape + (n_snr,)``."""
    z = (np.asarray(threshold_db)[..., None] - SNR_DB) / slope_db + logit
    return 1 / (1 + np.exp(-np.clip(z, -40, 40)))


def transition(bler: np.ndarray) -> np.ndarray:
    """Where a curve counts: from 1 dB before it leaves 0.99 to 1 dB after it reaches 0.01; bool ``(n_snr,)``.

    An error floor above 0.01 does not count beyond 1 dB after the curve has come within 0.01 of it.
    """
    end = max(0.01, float(bler.min()) + 0.01)
    falls = SNR_DB[(bler < 0.99) & (bler > end)]
    return np.abs(SNR_DB - (falls[0] + falls[-1]) / 2) <= (falls[-1] - falls[0]) / 2 + 1.0


def fit_threshold(bler: np.ndarray, slope_db: float) -> tuple[float, float]:
    """Threshold in dB that fits best with this slope, and its sum of squares."""
    within = transition(bler)
    half_db = float(SNR_DB[np.argmin(np.abs(bler - 0.5))])
    tried = np.round(half_db + np.arange(-1.5, 1.5, STEP_DB), 3)
    squares = ((logistic(tried, slope_db) - bler)[:, within] ** 2).sum(axis=1)
    best = int(np.argmin(squares))
    return float(tried[best]), float(squares[best])


def fit_order(curves: np.ndarray) -> tuple[np.ndarray, float]:
    """Thresholds ``(n,)`` and the common slope in dB of a ladder's curves ``(n, n_snr)``, rates rising."""
    costs = [sum(fit_threshold(curve, slope)[1] for curve in curves) for slope in SLOPES_DB]
    slope = float(SLOPES_DB[int(np.argmin(costs))])
    threshold = np.array([fit_threshold(curve, slope)[0] for curve in curves])
    for low, high in pairwise(range(len(threshold))):  # curves that cross: part them, half to either side
        short = LEAST_GAP_DB - (threshold[high] - threshold[low])
        if short > 0:
            threshold[[low, high]] += -short / 2, short / 2
    if (np.diff(threshold) <= 0).any():
        raise RuntimeError(f"thresholds do not rise with the code rate: {threshold}")
    return np.round(threshold, 3), slope


def length_errors(order: np.ndarray, threshold: np.ndarray, slope: np.ndarray) -> dict[str, dict[str, float]]:
    """How the 10 % point moves with the length, in dB, beside what ``ln(num_re / REFERENCE_RE)`` says."""
    at_10 = {
        n: np.array([SNR_DB[transport_bler(m, n) >= 0.1][-1] for m in range(FIRST_MCS, LAST_MCS + 1)])
        for n in (REFERENCE_RE, *OTHER_RE)
    }
    errors = {}
    for n in OTHER_RE:
        moved = at_10[n] - at_10[REFERENCE_RE]
        modelled = slope * np.log(n / REFERENCE_RE)
        errors[str(n)] = {
            "mean_shift_db": round(float(moved.mean()), 3),
            "modelled_shift_db": round(float(modelled.mean()), 3),
            "rms_error_db": round(float(np.sqrt(np.mean((moved - modelled) ** 2))), 3),
            "rms_error_without_db": round(float(np.sqrt(np.mean(moved**2))), 3),
        }
    return errors


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=CURVES, help="file to write (default: the shipped one)")
    args = parser.parse_args()
    order, rate = rates()
    curves = np.array([transport_bler(m, REFERENCE_RE) for m in range(FIRST_MCS, LAST_MCS + 1)])
    threshold, slope = np.empty(len(order)), np.empty(len(order))
    for q in np.unique(order):
        ladder = np.flatnonzero(order == q)  # indices rise with the code rate
        threshold[ladder], slope[ladder] = fit_order(curves[ladder])
    rows = []
    print("MCS  threshold  slope  residual: max   rms   10 % point off by   floor")
    for i, curve in enumerate(curves):
        residual = (logistic(threshold[i], slope[i]) - curve)[transition(curve)]
        off_db = threshold[i] + slope[i] * np.log(9) - SNR_DB[curve >= 0.1][-1]
        row = {
            "index": FIRST_MCS + i,
            "modulation_order": int(order[i]),
            "code_rate": float(rate[i]),
            "threshold_db": float(threshold[i]),
            "slope_db": float(slope[i]),
            "residual_max": round(float(np.abs(residual).max()), 3),
            "residual_rms": round(float(np.sqrt((residual**2).mean())), 3),
            "deviation_10pct_db": round(float(off_db), 3),
            "floor": round(float(curve.min()), 4),
        }
        rows.append(row)
        print(
            f"{row['index']:3d} {row['threshold_db']:9.2f} {row['slope_db']:7.3f} {row['residual_max']:14.3f}"
            f" {row['residual_rms']:6.3f} {row['deviation_10pct_db']:+12.2f} dB {row['floor']:12.4f}"
        )
    version = importlib.metadata.version("sionna-no-rt")
    document = {
        "schema": 1,
        "source": f"Sionna {version} PHYAbstraction, NR PDSCH MCS table 1, {REFERENCE_RE} resource elements, "
        "fitted by bench/sionna_curves.py",
        "payload_bytes": REFERENCE_RE // 8,
        "payload": "a block's length is counted in resource elements, one bit to each",
        "overhead_symbols": 0,
        "length_logit": length_errors(order, threshold, slope),
        "mcs": rows,
    }
    print(json.dumps(document["length_logit"], indent=1))
    args.out.write_text(json.dumps(document, indent=1) + "\n")
    print(f"wrote {args.out}")


if __name__ == "__main__":
    main()
