# SPDX-License-Identifier: GPL-3.0-or-later
"""Stage 1: find a burst by the short training field's period of 16 samples.

The autocorrelation at lag 16 over 144 samples, normalised by the energy, is S / (S + N) on a burst (0.45 at
0 dB SNR) and exceeds ``THRESHOLD`` on noise alone with probability exp(-144 THRESHOLD^2), about 1e-3 per
independent window. False candidates only cost `sync_long` a look.
"""

from __future__ import annotations

import cmath

import numpy as np

from .numerology import SHORT

LAG = 16
WINDOW = SHORT - LAG
THRESHOLD = 0.22
_SILENCE = 1e-10  # energy of a window over that of the chunk: below it the running sums are rounding noise


def autocorrelation(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Autocorrelation at lag 16 and whether it stands out, at every start of a 160-sample window.

    Args:
        x: samples, shape ``(n,)`` with n >= 160, complex64, finite.

    Returns:
        ``(p, strength, crossed)``, all of shape ``(n - 159,)``: the complex sum, its squared magnitude, and
        the test's outcome.
    """
    conjugate = np.conjugate(x)
    sums = np.zeros(len(x) - LAG + 1, np.complex128)
    np.add.accumulate(conjugate[:-LAG] * x[LAG:], dtype=np.complex128, out=sums[1:])
    energy = np.zeros(len(x) + 1)
    np.add.accumulate((conjugate * x).real, dtype=np.float64, out=energy[1:])
    p = sums[WINDOW:] - sums[:-WINDOW]
    strength = p.real**2 + p.imag**2
    windows = energy[WINDOW:] - energy[:-WINDOW]
    level = windows[:-LAG] + windows[LAG:]  # twice the mean
    crossed = strength > (THRESHOLD / 2 * level) ** 2
    crossed &= level > 2 * _SILENCE * energy[-1]
    return p, strength, crossed


def coarse_cfo(p: complex) -> float:
    """Carrier frequency offset in cycles per sample, unambiguous within +-1/32 (two carrier spacings)."""
    return cmath.phase(p) / (2 * np.pi * LAG)
