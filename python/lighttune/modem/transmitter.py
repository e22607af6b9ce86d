# SPDX-License-Identifier: GPL-3.0-or-later
"""From coded bits to the samples of one burst."""

from __future__ import annotations

import numpy as np

from .coding import layout
from .framing import HEADER_SYMBOLS, info_bits
from .header import Header, header_bits
from .mapping import modulate
from .mcs import MCS
from .numerology import (
    CP,
    DATA_BIN,
    FFT,
    N_DATA,
    PILOT_BIN,
    PILOT_VALUE,
    TIME_GAIN,
    pilot_polarity,
    scrambler_sequence,
)
from .preamble import preamble

_PREAMBLE = preamble()
_WITH_PREFIX = np.r_[FFT - CP : FFT, 0:FFT]
_PADDING = scrambler_sequence(N_DATA * 8)


def interleave(coded: np.ndarray, mcs: int, n_info: int) -> np.ndarray:
    """Puncture, pad and interleave; shape ``(symbols * 48 * bits_per_symbol,)``, uint8.

    Args:
        coded: the terminated mother code's bits, shape ``(2 * (n_info + 6),)``.
    """
    source, target, symbols = layout(mcs, n_info)
    sent = np.resize(_PADDING, symbols * N_DATA * MCS[mcs].bits_per_symbol)
    sent[target] = coded[source]
    return sent


def ofdm_symbols(points: np.ndarray) -> np.ndarray:
    """OFDM symbols with pilots and cyclic prefix, unit mean power.

    Args:
        points: data carriers, shape ``(symbols, 48)``; symbol 0 is the first after the preamble.

    Returns:
        Samples, shape ``(symbols * 80,)``, complex64.
    """
    count = len(points)
    spectrum = np.zeros((count, FFT), np.complex64)
    spectrum[:, DATA_BIN] = points
    spectrum[:, PILOT_BIN] = pilot_polarity(0, count)[:, None] * PILOT_VALUE
    time = np.fft.ifft(spectrum, axis=1) * TIME_GAIN
    return time.astype(np.complex64)[:, _WITH_PREFIX].ravel()


def burst(header: Header, coded: np.ndarray, amplitude: float = 1.0) -> np.ndarray:
    """The whole burst.

    Args:
        header: fields in range.
        coded: mother code's bits of the payload with CRC-32, shape ``(2 * (8 * (length + 4) + 6),)``.
        amplitude: root mean square of the burst's samples.

    Returns:
        Samples, shape ``(burst_samples(mcs, length),)``, complex64.

    Raises:
        ValueError: a header field is out of range.
    """
    first = modulate(header_bits(header), 1).reshape(HEADER_SYMBOLS, N_DATA)
    sent = interleave(coded, header.mcs, info_bits(header.length))
    rest = modulate(sent, MCS[header.mcs].bits_per_symbol).reshape(-1, N_DATA)
    samples = np.concatenate([_PREAMBLE, ofdm_symbols(np.concatenate([first, rest]))])
    return samples * np.float32(amplitude)
