# SPDX-License-Identifier: GPL-3.0-or-later
"""The OFDM numerology: IEEE 802.11-2020 clause 17 with 64 carriers, at any sample rate.

SNR everywhere in the modem is Es/N0 on the occupied carriers: mean received power of one occupied carrier
over the noise power in its bin. A burst of mean sample power P has its power on 52 of 64 bins, noise is on
all of them, so the noise power per complex sample is

    sigma^2 = P * (64 / 52) / 10^(snr_db / 10)
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

FFT = 64
CP = 16
SYMBOL = FFT + CP
N_DATA = 48
N_USED = 52

SHORT = 160
"""Samples of the short training field: ten repeats of 16."""
LONG = 160
"""Samples of the long training field: a double guard interval of 32 and two symbols of 64."""
PREAMBLE = SHORT + LONG

PILOTS = np.array([-21, -7, 7, 21])
"""Pilot carriers (IEEE 802.11-2020, 17.3.5.9)."""
DATA = np.array([k for k in range(-26, 27) if k != 0 and k not in PILOTS])
"""Data carriers, shape (48,)."""
USED = np.concatenate([DATA, PILOTS])
"""Occupied carriers, data first, so that both kinds are slices; shape (52,)."""

USED_BIN = USED % FFT
DATA_IN_USED = slice(0, N_DATA)
PILOT_IN_USED = slice(N_DATA, N_USED)

PILOT_VALUE = np.array([1.0, 1.0, 1.0, -1.0], np.float32)
"""Pilot signs before the polarity sequence (17.3.5.10)."""

TIME_GAIN = FFT / np.sqrt(N_USED)
"""Factor on numpy's ifft that gives unit mean sample power for unit power on every occupied carrier."""


def noise_power(snr_db: float, burst_power: float = 1.0) -> float:
    """Noise power per complex sample for an Es/N0 of ``snr_db`` on the occupied carriers.

    Args:
        snr_db: Es/N0 in dB.
        burst_power: mean sample power of the burst (square of the transmitter's ``amplitude``).
    """
    return burst_power * FFT / N_USED / 10 ** (snr_db / 10)


def scrambler_sequence(length: int, seed: int = 0x7F) -> np.ndarray:
    """Bits of the scrambler x^7 + x^4 + 1 (17.3.5.5), shape ``(length,)``, uint8.

    Args:
        length: number of bits; the sequence repeats every 127.
        seed: initial state, 1..127, bit 6 is the oldest.
    """
    state = [(seed >> i) & 1 for i in range(7)]
    period = np.empty(127, np.uint8)
    for i in range(127):
        period[i] = state[6] ^ state[3]
        state = [int(period[i]), *state[:6]]
    return np.resize(period, length)


@lru_cache(maxsize=256)
def pilot_polarity(first: int, count: int) -> np.ndarray:
    """Pilot polarity of OFDM symbols ``first .. first + count - 1`` after the preamble.

    Returns:
        +-1, shape ``(count,)``, float32, read-only.
    """
    polarity = 1 - 2 * scrambler_sequence(first + count)[first:].astype(np.float32)
    polarity.setflags(write=False)
    return polarity


@lru_cache(maxsize=256)
def pilots(first: int, count: int) -> np.ndarray:
    """What the pilots of those symbols carry, +-1, shape ``(count, 4)``, float32, read-only."""
    values = pilot_polarity(first, count)[:, None] * PILOT_VALUE
    values.setflags(write=False)
    return values
