# SPDX-License-Identifier: GPL-3.0-or-later
"""Stage 2: confirm a burst, time it, and measure its CFO finely, on the two long training symbols.

The matched filter c[n] to one long symbol peaks at every path of both symbols. The products
conj(c[n]) c[n + 64] have the channel's power and all the same phase (the CFO), so their sum over the 16
samples of a cyclic prefix gathers every path and averages noise away.
"""

from __future__ import annotations

import cmath
from dataclasses import dataclass

import numpy as np

from .numerology import CP, FFT, LONG, SHORT
from .preamble import long_symbol

SEARCH = 60
"""Timing error of stage 1, in samples, that this stage mends: +-60."""
FIRST = SHORT + LONG - 2 * FFT
"""Samples from the start of a burst to its first long symbol."""
SPAN = (FIRST - SEARCH, FIRST + SEARCH + CP + 2 * FFT)
"""Samples it looks at, counted from stage 1's start."""

THRESHOLD = 0.22
"""Of the normalised sum: S / (S + N) on a burst (0.45 at 0 dB); noise has standard deviation 0.06."""
_MARGIN = 4  # samples of prefix left before the first path: sinc tails of fractional delays
_PLATEAU = 0.97  # starts that gather this share of the best start's energy are as good

_LOOK = SPAN[1] - SPAN[0]
_STARTS = _LOOK - FFT + 1
_MATCHED = np.conj(np.fft.fft(long_symbol(), _LOOK))  # circular: the starts that wrap around are not used
_TURN = -2 * np.pi * np.arange(_LOOK, dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Timing:
    """Where a burst lies.

    Args:
        first_long: index of the first long symbol's FFT window in the given samples.
        cfo: carrier frequency offset in cycles per sample.
        quality: normalised correlation, about S / (S + N), 0..1.
    """

    first_long: int
    cfo: float
    quality: float


def sync_long(x: np.ndarray, cfo: float) -> Timing | None:
    """Find the long training symbols.

    Args:
        x: samples from ``SPAN[0]`` to ``SPAN[1]`` after stage 1's start, shape ``(264,)``, complex64.
        cfo: coarse CFO in cycles per sample.

    Returns:
        Timing relative to ``x``; None where there are no long training symbols.
    """
    turned = np.empty(_LOOK, np.complex64)
    angle = _TURN * np.float32(cfo)
    np.cos(angle, out=turned.real)
    np.sin(angle, out=turned.imag)
    turned *= x
    c = np.fft.ifft(np.fft.fft(turned) * _MATCHED)[:_STARTS]
    pair = np.conjugate(c[:-FFT]) * c[FFT:]
    sums = np.zeros(len(pair) + 1, complex)
    np.add.accumulate(pair, out=sums[1:])
    gathered = sums[CP:] - sums[:-CP]
    strength = np.abs(gathered)
    best = int(strength.argmax())
    seen = turned[best : best + 2 * FFT]
    energy = float(np.vdot(seen, seen).real)
    quality = float(strength[best]) / (FFT * max(energy, 1e-30) / 2)
    if not quality > THRESHOLD:
        return None
    sum_of_paths = complex(gathered[best])
    fine = cmath.phase(sum_of_paths) / (2 * np.pi * FFT)
    low, high = max(best - CP, 0), min(best + CP, len(pair) - CP)
    paths = (pair[low : high + CP] * sum_of_paths.conjugate()).real
    return Timing(low + _window_start(paths, best - low), cfo + fine, quality)


def _window_start(paths: np.ndarray, best: int) -> int:
    """FFT window start that keeps all paths inside the prefix, with a margin before the first.

    Args:
        paths: power delay profile about the first long symbol, shape ``(n,)``.
        best: start of the 16 samples with the most energy.
    """
    sums = np.zeros(len(paths) + 1)
    paths = np.where(paths > 0.02 * paths.max(), paths, 0)  # side lobes and noise are no paths
    np.add.accumulate(paths, out=sums[1:])
    gathered = sums[CP:] - sums[:-CP]
    good = gathered >= _PLATEAU * gathered.max()
    starts = np.flatnonzero(good)
    first = last = int(starts[np.abs(starts - best).argmin()])
    while first > 0 and good[first - 1]:
        first -= 1
    while last + 1 < len(good) and good[last + 1]:
        last += 1
    return max(last - _MARGIN, (first + last) // 2)
