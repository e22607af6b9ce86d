# SPDX-License-Identifier: GPL-3.0-or-later
"""From coded bits to the samples of one burst."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from .coding import layout
from .framing import HEADER_SYMBOLS, info_bits
from .header import Header, header_bits
from .mapping import modulate
from .mcs import MCS
from .numerology import (
    CP,
    DATA_IN_USED,
    FFT,
    N_DATA,
    N_USED,
    PILOT_IN_USED,
    PREAMBLE,
    SYMBOL,
    TIME_GAIN,
    USED_BIN,
    pilots,
    scrambler_sequence,
)
from .preamble import preamble

_PREAMBLE = preamble()


@lru_cache(maxsize=128)
def _padding(bits: int) -> np.ndarray:
    return np.resize(scrambler_sequence(N_DATA * 8), bits)


def interleave(coded: np.ndarray, mcs: int, n_info: int) -> np.ndarray:
    """Puncture, pad and interleave; shape ``(symbols * 48 * bits_per_symbol,)``, uint8.

    Args:
        coded: the terminated mother code's bits, shape ``(2 * (n_info + 6),)``.
    """
    source, target, symbols = layout(mcs, n_info)
    sent = _padding(symbols * N_DATA * MCS[mcs].bits_per_symbol).copy()
    sent[target] = coded[source]
    return sent


def ofdm_symbols(carriers: np.ndarray, out: np.ndarray) -> None:
    """OFDM symbols with cyclic prefix, unit sample power for unit power on every carrier.

    Args:
        carriers: occupied carriers, shape ``(symbols, 52)``.
        out: where the samples go, shape ``(symbols * 80,)``, complex64.
    """
    spectrum = np.zeros((len(carriers), FFT), np.complex64)
    spectrum[:, USED_BIN] = carriers
    symbols = out.reshape(-1, SYMBOL)
    np.multiply(np.fft.ifft(spectrum), TIME_GAIN, out=symbols[:, CP:], casting="same_kind")
    symbols[:, :CP] = symbols[:, FFT:]


def burst(header: Header, coded: np.ndarray, amplitude: float = 1.0, span: int = 0) -> np.ndarray:
    """The whole burst.

    Args:
        header: fields in range.
        coded: mother code's bits of the payload with CRC-32, shape ``(2 * (8 * (length + 4) + 6),)``.
        amplitude: root mean square of the burst's samples.
        span: samples to return; zeros follow the burst. 0 for the burst alone.

    Returns:
        Samples, shape ``(burst_samples(mcs, length),)`` or ``(span,)``, complex64.

    Raises:
        ValueError: a header field is out of range, or ``span`` is shorter than the burst.
    """
    sent = interleave(coded, header.mcs, info_bits(header.length))
    points = modulate(sent, MCS[header.mcs].bits_per_symbol).reshape(-1, N_DATA)
    count = HEADER_SYMBOLS + len(points)
    length = PREAMBLE + count * SYMBOL
    if span and span < length:
        raise ValueError(f"span = {span}: the burst takes {length} samples; give as many, or 0")
    carriers = np.empty((count, N_USED), np.complex64)
    carriers[:HEADER_SYMBOLS, DATA_IN_USED] = modulate(header_bits(header), 1).reshape(HEADER_SYMBOLS, N_DATA)
    carriers[HEADER_SYMBOLS:, DATA_IN_USED] = points
    carriers[:, PILOT_IN_USED] = pilots(0, count)
    samples = np.empty(span or length, np.complex64)
    samples[:PREAMBLE] = _PREAMBLE
    ofdm_symbols(carriers, samples[PREAMBLE:length])
    if amplitude != 1:
        samples[:length] *= np.float32(amplitude)
    samples[length:] = 0
    return samples
