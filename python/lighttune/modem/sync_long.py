# SPDX-License-Identifier: GPL-3.0-or-later
"""Stage 2: confirm a burst, time it, and measure its CFO finely, on the two long training symbols.

The matched filter c[n] to one long symbol peaks at every path of both symbols. The products
conj(c[n]) c[n + 64] have the channel's power and all the same phase (the CFO), so their sum over the 16
samples of a cyclic prefix gathers every path and averages noise away.
"""

from __future__ import annotations

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

_CONJ_SPECTRUM_LENGTH = 512
_MATCHED = np.conj(np.fft.fft(long_symbol(), _CONJ_SPECTRUM_LENGTH))


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
        x: samples from ``SPAN[0]`` to ``SPAN[1]`` after the start that stage 1 found, complex64.
        cfo: coarse CFO in cycles per sample.

    Returns:
        Timing relative to ``x``; None where there are no long training symbols.
    """
    turned = x * np.exp(-2j * np.pi * cfo * np.arange(len(x)))
    starts = len(x) - FFT + 1
    c = np.fft.ifft(np.fft.fft(turned, _CONJ_SPECTRUM_LENGTH) * _MATCHED)[:starts]
    pair = np.conj(c[:-FFT]) * c[FFT:]
    sums = np.cumsum(np.concatenate([[0], pair]))
    gathered = sums[CP:] - sums[:-CP]
    strength = np.abs(gathered)
    best = int(strength.argmax())
    power = np.cumsum(np.concatenate([[0], turned.real**2 + turned.imag**2]))
    energy = power[best + 2 * FFT] - power[best]
    quality = float(strength[best] / (FFT * max(energy, 1e-30) / 2))
    if not quality > THRESHOLD:
        return None
    fine = float(np.angle(gathered[best])) / (2 * np.pi * FFT)
    return Timing(
        _window_start(np.maximum((pair * np.conj(gathered[best])).real, 0), best), cfo + fine, quality
    )


def _window_start(paths: np.ndarray, best: int) -> int:
    """FFT window start that keeps all paths inside the prefix, with a margin before the first.

    Args:
        paths: power delay profile around the first long symbol, shape ``(n,)``.
        best: start of the 16 samples with the most energy.
    """
    low, high = max(best - CP, 0), min(best + CP, len(paths) - CP)
    near = paths[low : high + CP]
    near = np.where(near > 0.02 * near.max(), near, 0)  # side lobes and noise are no paths
    sums = np.cumsum(np.concatenate([[0.0], near]))
    gathered = sums[CP:] - sums[:-CP]
    good = np.flatnonzero(gathered >= _PLATEAU * gathered.max())
    peak = good[np.abs(good - (best - low)).argmin()]
    first = last = int(peak)
    while first - 1 in good:
        first -= 1
    while last + 1 in good:
        last += 1
    return low + max(last - _MARGIN, (first + last) // 2)
