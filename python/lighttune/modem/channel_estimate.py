# SPDX-License-Identifier: GPL-3.0-or-later
"""Stage 3: channel and SNR from known symbols: the two long ones, then the six of the decoded header.

The raw estimate per carrier is smoothed by the linear minimum mean square error filter for a channel whose
delays are uniform over the cyclic prefix: the noise of the estimate drops by about 52 / 16.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .numerology import CP, FFT, N_USED, TIME_GAIN, USED, USED_BIN

SNR_RANGE_DB = (-10.0, 60.0)
"""The SNR estimate is kept inside: below, it has no meaning; above, rounding sets it."""

_DELAYS = (-2.0, CP + 1.0)  # samples after the window start, with room for sinc tails
_STEP_DB = 3.0  # the smoother is computed for SNRs this far apart


@dataclass(frozen=True, slots=True)
class Channel:
    """An estimate of the channel.

    Args:
        response: complex gain of each occupied carrier, shape ``(52,)``.
        snr: mean Es/N0 over the occupied carriers, linear.
    """

    response: np.ndarray
    snr: float

    @property
    def snr_db(self) -> float:
        """Mean Es/N0 over the occupied carriers in dB, within `SNR_RANGE_DB`."""
        return 10 * math.log10(self.snr)


_TURN = -2j * np.pi * np.arange(FFT)  # of one cycle per sample, within a window


def carriers(windows: np.ndarray, first: np.ndarray, cfo: float) -> np.ndarray:
    """OFDM symbols on the occupied carriers, CFO removed.

    Args:
        windows: samples of each symbol's FFT window, shape ``(count, 64)``.
        first: number of each window's first sample, from where the CFO's phase is 0, shape ``(count,)``.
        cfo: cycles per sample.

    Returns:
        Shape ``(count, 52)``, complex64; unit power per carrier for a burst of unit sample power.
    """
    spectrum = np.fft.fft(windows * np.exp(_TURN * cfo).astype(np.complex64)).take(USED_BIN, axis=1)
    spectrum *= np.exp(-2j * np.pi * cfo * first)[:, None] / TIME_GAIN
    return spectrum.astype(np.complex64)


def _power(values: np.ndarray) -> float:
    """Sum of the squared magnitudes."""
    flat = values.ravel()
    return float(np.vdot(flat, flat).real)


@lru_cache(maxsize=64)
def _smoother(step: int) -> np.ndarray:
    """Smoothing matrix for a raw estimate whose SNR is ``step * _STEP_DB``, shape ``(52, 52)``."""
    apart = (USED[:, None] - USED[None, :]) / FFT
    low, high = _DELAYS
    covariance = np.sinc(apart * (high - low)) * np.exp(-1j * np.pi * apart * (high + low))
    noise = 10 ** (-step * _STEP_DB / 10)
    return (covariance @ np.linalg.inv(covariance + noise * np.eye(N_USED))).astype(np.complex64)


def smooth(raw: np.ndarray, snr: float) -> np.ndarray:
    """Smooth a raw estimate, shape ``(52,)``, whose own SNR is ``snr`` (linear)."""
    return _smoother(min(max(round(10 * math.log10(snr) / _STEP_DB), -3), 25)) @ raw


def _snr(signal_plus: float, noise: float, observations: float) -> float:
    """SNR from the power of a mean of ``observations`` symbols and the noise power of one."""
    low, high = (10 ** (s / 10) for s in SNR_RANGE_DB)
    noise = max(noise, 1e-30)
    return min(max((signal_plus - noise / observations) / noise, low), high)


def from_long_training(raw: np.ndarray) -> Channel:
    """Channel from the two long symbols.

    Args:
        raw: received over sent, per symbol and occupied carrier, shape ``(2, 52)``.
    """
    mean = (raw[0] + raw[1]) / 2
    noise = _power(raw[0] - raw[1]) / (2 * N_USED)
    snr = _snr(_power(mean) / N_USED, noise, 2)
    return Channel(smooth(mean, 2 * snr), snr)


def refine(raw: np.ndarray) -> Channel:
    """Channel and SNR from several symbols whose content is known.

    Each symbol may have its own common phase; they are turned onto the first two.

    Args:
        raw: received over sent, per symbol and occupied carrier, shape ``(symbols, 52)``; the first two are
            the long training symbols.
    """
    symbols = len(raw)
    turn = raw @ np.conj(raw[0] + raw[1])
    aligned = raw * (np.conj(turn) / np.maximum(np.abs(turn), np.float32(1e-30)))[:, None]
    mean = np.add.reduce(aligned) / symbols
    # Real degrees of freedom of the residual: all, less the mean's, less one phase per further symbol.
    freedom = 2 * N_USED * (symbols - 1) - (symbols - 1)
    noise = 2 * _power(aligned - mean) / freedom
    snr = _snr(_power(mean) / N_USED, noise, symbols)
    return Channel(smooth(mean, symbols * snr), snr)
