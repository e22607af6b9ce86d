# SPDX-License-Identifier: GPL-3.0-or-later
"""Short and long training fields (IEEE 802.11-2020, 17.3.3)."""

from __future__ import annotations

import numpy as np

from .numerology import FFT, LONG, SHORT, TIME_GAIN, USED, USED_BIN

# Equation 17-6: twelve carriers, every fourth, each 1 + j or -1 - j times sqrt(13 / 6).
_SHORT_SIGN = {-24: 1, -20: -1, -16: 1, -12: -1, -8: -1, -4: 1, 4: -1, 8: -1, 12: 1, 16: 1, 20: 1, 24: 1}

# Equation 17-8, carriers -26..-1 and 1..26; "+" is 1, "-" is -1.
_LONG_SIGN = "++--++-+-++++++--++-+-++++" + "+--++-+-+-----++--+-+-++++"

LONG_CARRIERS = np.array([1.0 if sign == "+" else -1.0 for sign in _LONG_SIGN], np.float32)[
    np.argsort(np.argsort(USED))
]
"""The long training symbol on the occupied carriers, in the order of `USED`, +-1, shape (52,)."""


def _time(values: np.ndarray, bins: np.ndarray) -> np.ndarray:
    spectrum = np.zeros(FFT, complex)
    spectrum[bins] = values
    return np.fft.ifft(spectrum) * TIME_GAIN


def short_training() -> np.ndarray:
    """Ten repeats of a 16-sample pattern, unit mean power, shape ``(160,)``."""
    carriers = np.array(list(_SHORT_SIGN))
    values = np.sqrt(13 / 6) * (1 + 1j) * np.array(list(_SHORT_SIGN.values()))
    return np.resize(_time(values, carriers % FFT), SHORT)


def long_symbol() -> np.ndarray:
    """One long training symbol, unit mean power, shape ``(64,)``."""
    return _time(LONG_CARRIERS, USED_BIN)


def long_training() -> np.ndarray:
    """Guard interval of 32 samples and two long symbols, shape ``(160,)``."""
    symbol = long_symbol()
    return np.concatenate([symbol[-(LONG - 2 * FFT) :], symbol, symbol])


def preamble() -> np.ndarray:
    """The whole preamble, unit mean power, shape ``(320,)``, complex64."""
    return np.concatenate([short_training(), long_training()]).astype(np.complex64)


assert len(LONG_CARRIERS) == len(USED)
