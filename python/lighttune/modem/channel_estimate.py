# SPDX-License-Identifier: GPL-3.0-or-later
"""Stage 3: channel and SNR from known symbols: the two long ones, then the six of the decoded header.

The raw estimate per carrier is smoothed by the linear minimum mean square error filter for a channel whose
delays are uniform over the cyclic prefix: the noise of the estimate drops by about 52 / 16.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .numerology import CP, FFT, LONG, N_USED, TIME_GAIN, USED, USED_BIN
from .preamble import LONG_CARRIERS

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
        return float(10 * np.log10(self.snr))


def carriers(x: np.ndarray, first: int, count: int, cfo: float, stride: int) -> np.ndarray:
    """FFT of ``count`` windows on the occupied carriers, CFO removed.

    Args:
        x: samples; index 0 is the phase reference of the CFO rotation.
        first: start of the first window.
        stride: samples from window to window.

    Returns:
        Shape ``(count, 52)``, complex64; unit power per carrier for a burst of unit sample power.
    """
    start = first + stride * np.arange(count)
    windows = np.lib.stride_tricks.sliding_window_view(x, FFT)[first : first + stride * count : stride]
    turn = np.exp(-2j * np.pi * cfo * np.arange(FFT)).astype(np.complex64)
    spectrum = np.fft.fft(windows * turn, axis=1)[:, USED_BIN]
    return (spectrum * (np.exp(-2j * np.pi * cfo * start) / TIME_GAIN)[:, None]).astype(np.complex64)


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
    return _smoother(int(np.clip(round(10 * np.log10(snr) / _STEP_DB), -3, 25))) @ raw


def _snr(signal_plus: float, noise: float, observations: float) -> float:
    """SNR from the power of a mean of ``observations`` symbols and the noise power of one."""
    low, high = (10 ** (s / 10) for s in SNR_RANGE_DB)
    noise = max(noise, 1e-30)
    return float(np.clip((signal_plus - noise / observations) / noise, low, high))


def from_long_training(x: np.ndarray, cfo: float) -> tuple[Channel, np.ndarray]:
    """Channel from the two long symbols.

    Args:
        x: samples from the first long symbol's window on, shape at least ``(128,)``.
        cfo: cycles per sample.

    Returns:
        The channel, and both symbols' raw estimates, shape ``(2, 52)``.
    """
    raw = carriers(x, 0, 2, cfo, FFT) * LONG_CARRIERS.astype(np.float32)
    mean = raw.mean(axis=0)
    noise = float(np.mean(np.abs(raw[0] - raw[1]) ** 2)) / 2
    snr = _snr(float(np.mean(np.abs(mean) ** 2)), noise, 2)
    return Channel(smooth(mean, 2 * snr), snr), raw


def refine(raw: np.ndarray) -> Channel:
    """Channel and SNR from several symbols whose content is known.

    Each symbol may have its own common phase; they are turned onto the first two.

    Args:
        raw: received over sent, per symbol and occupied carrier, shape ``(symbols, 52)``; the first two are
            the long training symbols.
    """
    symbols = len(raw)
    reference = raw[:2].mean(axis=0)
    phase = np.angle(raw @ np.conj(reference))
    aligned = raw * np.exp(-1j * phase)[:, None].astype(np.complex64)
    mean = aligned.mean(axis=0)
    # Real degrees of freedom of the residual: all, less the mean's, less one phase per further symbol.
    freedom = 2 * N_USED * (symbols - 1) - (symbols - 1)
    noise = 2 * float(np.sum(np.abs(aligned - mean) ** 2)) / freedom
    snr = _snr(float(np.mean(np.abs(mean) ** 2)), noise, symbols)
    return Channel(smooth(mean, symbols * snr), snr)


assert LONG >= 2 * FFT
