# SPDX-License-Identifier: GPL-3.0-or-later
"""What a soft-decision Viterbi decoder should reach: the union bound for bit-interleaved coded modulation.

A decoding error is a path that leaves the sent path and rejoins it d coded bits later (in Hamming weight).
With a_d such paths per trellis step, N steps, and ideal interleaving,

    BLER <= min(1, N * sum_d a_d * PEP(d))

`distance_spectrum` counts a_d on the trellis of the punctured code. PEP(d) is the probability that d
independent bit log-likelihood ratios L (of the sent bits) sum to less than 0. With kappa(s) =
ln E[exp(-s L)], which is symmetric about its minimum at s = 1/2, the saddlepoint approximation is (Guillen i
Fabregas, Martinez, Caire, "Bit-Interleaved Coded Modulation", Foundations and Trends 2008)

    PEP(d) = 2 / sqrt(2 pi d kappa''(1/2)) * exp(d kappa(1/2)),

which for BPSK is the usual exponential approximation of Q(sqrt(2 d Es/N0)). The receiver is ideal: perfect
synchronisation and channel knowledge, unquantised and exact bit metrics.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from .coding import CONSTRAINT, POLYNOMIALS, PUNCTURING
from .mapping import axis_bits, pam_labels, scale
from .mcs import MCS, Mcs

_STATES = 1 << (CONSTRAINT - 1)
_TERMS = 10  # weights from the free distance on; later ones add less than 0.01 dB at 10 % BLER
_MAX_STEPS = 400


@lru_cache(maxsize=8)
def distance_spectrum(rate: tuple[int, int]) -> dict[int, float]:
    """Error paths of the punctured K = 7 code per trellis step, by Hamming weight.

    Args:
        rate: (1, 2), (2, 3), (3, 4) or (5, 6).

    Returns:
        ``{d: a_d}`` for the lowest ten weights from the free distance on; a_d is the mean over the phases of
        the puncturing pattern.
    """
    pattern = PUNCTURING[rate]
    limit = 10 // len(pattern) + 3 + _TERMS  # at least the free distance (10, 6, 5, 4) and ten more
    total = np.zeros(limit + 1)
    for phase in range(len(pattern)):
        total += _paths_from(pattern, phase, limit)
    free = int(np.flatnonzero(total)[0])
    return {d: total[d] / len(pattern) for d in range(free, min(free + _TERMS, limit + 1))}


def _paths_from(pattern: np.ndarray, phase: int, limit: int) -> np.ndarray:
    """Paths that leave state 0 at one phase of the pattern and return, by weight 0..limit."""
    register = (np.arange(_STATES)[:, None] << 1 | np.arange(2)).ravel()  # newest bit at 0
    parity = np.stack(
        [sum((register & g) >> i & 1 for i in range(CONSTRAINT)) & 1 for g in POLYNOMIALS], axis=1
    )
    origin, target = np.repeat(np.arange(_STATES), 2), register & _STATES - 1
    returned = np.zeros(limit + 1)
    count = np.zeros((_STATES, limit + 1))
    for step in range(_MAX_STEPS):
        weight = (parity & pattern[(phase + step) % len(pattern)]).sum(axis=1)
        following = np.zeros_like(count)
        for w in range(3):
            edge = weight == w
            if step == 0:
                edge &= register == 1  # the path leaves with an information bit of 1, and only now
            moved = np.eye(1, limit + 1) if step == 0 else count[origin[edge]]
            shifted = np.zeros((int(edge.sum()), limit + 1))
            shifted[:, w:] = moved[:, : limit + 1 - w]
            np.add.at(following, target[edge], shifted)
        returned += following[0]
        following[0] = 0
        count = following
        if not count.any():
            break
    return returned


def bit_metric(order: int, snr_db: float) -> tuple[float, float]:
    """kappa(1/2) and kappa''(1/2) of one coded bit's log-likelihood ratio in AWGN.

    Args:
        order: bits per symbol: 1, 2, 4, 6 or 8.
        snr_db: Es/N0.
    """
    bits = axis_bits(order)
    labels = pam_labels(bits)
    levels = (2.0 * np.arange(2**bits) - (2**bits - 1)) * scale(order)
    sigma = math.sqrt(10 ** (-snr_db / 10) / 2)
    y = np.linspace(levels[0] - 8 * sigma, levels[-1] + 8 * sigma, 8001)
    step = y[1] - y[0]
    density = np.exp(-((y[:, None] - levels) ** 2) / (2 * sigma**2)) / (sigma * math.sqrt(2 * math.pi))
    mean = curvature = 0.0
    for bit in range(bits):
        given = [density[:, labels[:, bit] == b].mean(axis=1) + 1e-300 for b in (0, 1)]
        overlap = np.sqrt(given[0] * given[1])
        mean += float(overlap.sum()) * step / bits
        curvature += float((overlap * np.log(given[0] / given[1]) ** 2).sum()) * step / bits
    return math.log(mean), curvature / mean


def bler_bound(scheme: Mcs, snr_db: float, info_bits: int) -> float:
    """Upper bound of the block error rate in AWGN, at most 1.

    Args:
        scheme: modulation and code rate.
        snr_db: Es/N0.
        info_bits: bits into the encoder, tail not counted.
    """
    kappa, curvature = bit_metric(scheme.bits_per_symbol, snr_db)
    pairs = distance_spectrum(scheme.rate).items()
    total = sum(a * math.exp(d * kappa) / math.sqrt(2 * math.pi * d * curvature) * 2 for d, a in pairs)
    return min(1.0, info_bits * total)


def snr_at_bler_db(scheme: Mcs, bler: float, info_bits: int) -> float:
    """Es/N0 in dB at which the bound is ``bler``; 0 < bler < 1."""
    low, high = -10.0, 50.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if bler_bound(scheme, middle, info_bits) > bler else (low, middle)
    return high


def table(info_bits: int, bler: float = 0.1) -> list[float]:
    """`snr_at_bler_db` of every MCS."""
    return [snr_at_bler_db(scheme, bler, info_bits) for scheme in MCS]
