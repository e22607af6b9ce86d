# SPDX-License-Identifier: GPL-3.0-or-later
"""Stage 1: find a burst by the short training field's period of 16 samples.

The autocorrelation at lag 16 over 144 samples, normalised by the energy, is S / (S + N) on a burst (0.45 at
0 dB SNR) and exceeds ``THRESHOLD`` on noise alone with probability exp(-144 THRESHOLD^2), about 1e-3 per
independent window. False candidates only cost `sync_long` a look.
"""

from __future__ import annotations

import numpy as np

from .numerology import SHORT

LAG = 16
WINDOW = SHORT - LAG
THRESHOLD = 0.22
_SILENCE = 1e-10  # energy of a window over that of the chunk: below it the running sums are rounding noise


def autocorrelation(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Autocorrelation at lag 16 and whether it stands out, at every start of a 160-sample window.

    Args:
        x: samples, shape ``(n,)`` with n >= 160, complex64, finite.

    Returns:
        ``(p, crossed)``, both shape ``(n - 159,)``: the complex sum, and the test's outcome.
    """
    product = np.conj(x[:-LAG]) * x[LAG:]
    power = x.real**2 + x.imag**2
    sums = np.zeros(len(product) + 1, np.complex128)
    np.cumsum(product, dtype=np.complex128, out=sums[1:])
    energy = np.zeros(len(x) + 1)
    np.cumsum(power, dtype=np.float64, out=energy[1:])
    p = sums[WINDOW:] - sums[:-WINDOW]
    windows = energy[WINDOW:] - energy[:-WINDOW]
    level = 0.5 * (windows[:-LAG] + windows[LAG:])
    crossed = p.real**2 + p.imag**2 > (THRESHOLD * level) ** 2
    crossed &= level > _SILENCE * energy[-1]
    return p, crossed


def coarse_cfo(p: complex) -> float:
    """Carrier frequency offset in cycles per sample, unambiguous within +-1/32 (two carrier spacings)."""
    return float(np.angle(p)) / (2 * np.pi * LAG)
