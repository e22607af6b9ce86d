# SPDX-License-Identifier: GPL-3.0-or-later
"""BLER curves of the modem: the grid to measure, the fit, and the document that ships in `models`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from . import framing, union_bound
from .coding import TAIL_BITS
from .mcs import MCS, Mcs
from .numerology import CP, FFT, N_DATA, PREAMBLE, SYMBOL

OFFSETS_DB = (-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0)
"""Where each MCS is measured, relative to its bound's 10 % point: from about 90 % to 0.1 % BLER."""

_MAX_NEWTON = 100


@dataclass(frozen=True)
class Curve:
    """One MCS's measured waterfall.

    Args:
        scheme: the MCS.
        snr_db: Es/N0 of each point.
        packets: packets sent at each point.
        errors: of them, packets without an ACK.
        bound_10pct_db: where the union bound is 10 %.
    """

    scheme: Mcs
    snr_db: tuple[float, ...]
    packets: tuple[int, ...]
    errors: tuple[int, ...]
    bound_10pct_db: float


def measure(
    indices: Sequence[int],
    packets: int,
    payload_bytes: int,
    seed: int,
    point: Callable[..., int],
    done: Callable[[], None] = lambda: None,
) -> list[Curve]:
    """Measure the curves of some MCS.

    Args:
        indices: of the MCS.
        packets: per point.
        point: ``point(mcs, snr_db, packets, payload_bytes, seed)`` returns the number of errors.
        done: called after each point.
    """
    curves = []
    info_bits = framing.info_bits(payload_bytes)
    for index in indices:
        bound = union_bound.snr_at_bler_db(MCS[index], 0.1, info_bits)
        grid = tuple(round(bound + offset, 2) for offset in OFFSETS_DB)
        errors = []
        for i, snr_db in enumerate(grid):
            point_seed = int(np.random.SeedSequence([seed, index, i]).generate_state(1)[0])
            errors.append(point(index, snr_db, packets, payload_bytes, point_seed))
            done()
        curves.append(Curve(MCS[index], grid, (packets,) * len(grid), tuple(errors), bound))
    return curves


def fit(curves: Sequence[Curve]) -> tuple[list[float], float]:
    """Maximum-likelihood logistic waterfalls with one slope: BLER = sigmoid((threshold - snr) / slope).

    The log likelihood is concave in ``(threshold_i / slope, 1 / slope)``; Newton's method finds its maximum.
    Half an error and half a success are added at both ends of each curve, so that it exists for any counts.

    Returns:
        The thresholds in dB, one per curve, and the common slope in dB.
    """
    which, snr, n, k = [], [], [], []
    for i, curve in enumerate(curves):
        which += [i] * len(curve.snr_db)
        snr += curve.snr_db
        n += [p + 0.5 * (j in (0, len(curve.snr_db) - 1)) for j, p in enumerate(curve.packets)]
        k += [e + 0.5 * (j == 0) for j, e in enumerate(curve.errors)]
    centre = float(np.mean(snr))
    design = np.zeros((len(snr), len(curves) + 1))
    design[np.arange(len(snr)), which] = 1
    design[:, -1] = centre - np.array(snr)
    trials, failures = np.array(n), np.array(k)
    start = [(np.mean(curve.snr_db) - centre) * 2.0 for curve in curves]
    weights = np.array([*start, 2.0])
    for _ in range(_MAX_NEWTON):
        p = 1 / (1 + np.exp(-np.clip(design @ weights, -30, 30)))
        gradient = design.T @ (failures - trials * p)
        hessian = (design * (trials * p * (1 - p))[:, None]).T @ design + 1e-9 * np.eye(len(weights))
        step = np.linalg.solve(hessian, gradient)
        weights += step * min(1.0, 2.0 / float(np.abs(step).max() + 1e-12))
        if np.abs(step).max() < 1e-9:
            break
    slope = 1 / weights[-1]
    return [float(centre + a * slope) for a in weights[:-1]], float(slope)


def document(curves: Sequence[Curve], payload_bytes: int, seed: int) -> dict:
    """The JSON document that `McsTable.from_curves` reads.

    Slopes are shared by the MCS of one modulation order, so that the curves of a ladder cannot cross.
    """
    fitted: dict[int, tuple[float, float]] = {}
    for order in sorted({c.scheme.bits_per_symbol for c in curves}):
        members = [c for c in curves if c.scheme.bits_per_symbol == order]
        thresholds, slope = fit(members)
        fitted |= {c.scheme.index: (t, slope) for c, t in zip(members, thresholds, strict=True)}
    return {
        "schema": 1,
        "payload_bytes": payload_bytes,
        "seed": seed,
        "snr": "Es/N0 on the occupied carriers, AWGN",
        "overhead_symbols": N_DATA * (PREAMBLE // SYMBOL + framing.HEADER_SYMBOLS),
        "airtime": {
            "formula": "samples = preamble_samples + symbol_samples * (header_symbols + payload_symbols); "
            "payload_symbols = ceil(ceil((8 * (payload_bytes + crc_bytes) + tail_bits) / code_rate) "
            "/ (data_carriers * modulation_order))",
            "preamble_samples": PREAMBLE,
            "symbol_samples": FFT + CP,
            "header_symbols": framing.HEADER_SYMBOLS,
            "data_carriers": N_DATA,
            "crc_bytes": framing.CRC_BYTES,
            "tail_bits": TAIL_BITS,
        },
        "mcs": [_row(curve, *fitted[curve.scheme.index]) for curve in curves],
    }


def _row(curve: Curve, threshold: float, slope: float) -> dict:
    at_10 = threshold + slope * math.log(9)
    return {
        "index": curve.scheme.index,
        "name": curve.scheme.name,
        "modulation_order": curve.scheme.bits_per_symbol,
        "code_rate": round(curve.scheme.code_rate, 6),
        "snr_db": list(curve.snr_db),
        "packets": list(curve.packets),
        "errors": list(curve.errors),
        "snr_at_10pct_db": round(at_10, 3),
        "bound_10pct_db": round(curve.bound_10pct_db, 3),
        "deviation_db": round(at_10 - curve.bound_10pct_db, 3),
        "threshold_db": round(threshold, 4),
        "slope_db": round(slope, 5),
    }


def markdown_table(result: dict) -> str:
    """The document as a table for `docs/results`."""
    lines = [
        "<!-- written by `lighttune modem-curves`; do not edit -->",
        f"Payload {result['payload_bytes']} bytes, seed {result['seed']}, "
        f"{result['mcs'][0]['packets'][0]} packets per point; SNR is Es/N0 on the occupied carriers.",
        "",
        "| MCS | name | 10 % BLER at (dB) | union bound (dB) | deviation (dB) | 50 % at (dB) | slope (dB) |",
        "|---:|---|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {r['index']} | {r['name']} | {r['snr_at_10pct_db']:.2f} | {r['bound_10pct_db']:.2f} "
        f"| {r['deviation_db']:+.2f} | {r['threshold_db']:.2f} | {r['slope_db']:.3f} |"
        for r in result["mcs"]
    ]
    return "\n".join(lines) + "\n"
