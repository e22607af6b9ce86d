# SPDX-License-Identifier: GPL-3.0-or-later
"""Stage 4: phase tracking, equalisation and soft demapping of the symbols after the preamble."""

from __future__ import annotations

import cmath
from functools import lru_cache

import numpy as np

from .channel_estimate import Channel
from .coding import TAIL_BITS, layout
from .mapping import soft_demap
from .mcs import MCS
from .numerology import DATA_IN_USED, N_DATA, PILOT_IN_USED, PILOT_VALUE, pilot_polarity

# GNU Radio makes LLR x the byte 48 x + 127.5 and does not saturate: |x| must stay below 2.65.
LLR_CLIP = 2.6
_LOW = np.float32(-LLR_CLIP)
LLR_CLIP_NATS = 16.0
"""Log-likelihood ratio at which the clip sets in: 7 to 24 measure alike, 5 costs 0.2 dB at high rates."""

_COHERENCE = 0.4  # of the pilots' mean over what the channel estimate promises; noise alone gives about 0
_COHERENCE_BLOCK = 8  # symbols
_COHERENCE_ENERGY = 8.0  # symbols times SNR: the mean's standard deviation is then 1 / sqrt(8 * 8) = 0.125


def pilot_products(symbols: np.ndarray, channel: Channel, first: int) -> np.ndarray:
    """Pilots over what was sent, weighted for the best SNR and summed: the common phase of each symbol.

    Args:
        symbols: occupied carriers, shape ``(n, 52)``.
        first: number of the first symbol after the preamble.

    Returns:
        Shape ``(n,)``, complex.
    """
    weight = PILOT_VALUE * np.conj(channel.response[PILOT_IN_USED])
    return (symbols[:, PILOT_IN_USED] @ weight) * pilot_polarity(first, len(symbols))


@lru_cache(maxsize=256)
def _index(n: int) -> np.ndarray:
    """Numbers of ``n`` symbols as phases of one radian a symbol, turning back."""
    return -1j * np.arange(n)


@lru_cache(maxsize=256)
def _average(n: int, half: int) -> tuple[np.ndarray, np.ndarray]:
    """Bounds, in running sums, of a moving average over ``half`` symbols on each side."""
    index = np.arange(n)
    return np.maximum(index - half, 0), np.minimum(index + half + 1, n)


def phase_correction(products: np.ndarray, snr: float) -> np.ndarray:
    """What turns each symbol back: a line for the residual CFO, then a moving average about it.

    Args:
        products: one phasor per consecutive symbol, shape ``(n,)``; symbols with more known carriers may
            have longer phasors.
        snr: Es/N0, linear; it sets the average's length.

    Returns:
        Factors of magnitude 1, shape ``(n,)``, complex64.
    """
    n = len(products)
    slope, lag = 0.0, 1
    back, turned = np.ones(n), products
    while lag <= max(n // 2, 1) and n > 1:  # longer lags: finer, and unwrapped by what is known already
        slope += cmath.phase(np.vdot(turned[:-lag], turned[lag:])) / lag
        back = np.exp(_index(n) * slope)
        turned = products * back
        lag *= 3
    half = 12 if snr < 4 else 5 if snr < 25 else 2  # keeps the phase noise 20 dB under the receiver's
    sums = np.zeros(n + 1, complex)
    np.add.accumulate(turned, out=sums[1:])
    low, high = _average(n, half)
    average = sums[high] - sums[low]
    return (np.conjugate(average) / np.maximum(np.abs(average), 1e-30) * back).astype(np.complex64)


def coherent_symbols(products: np.ndarray, correction: np.ndarray, channel: Channel) -> int:
    """How many symbols, from the first on, carry this packet's pilots.

    A packet that ends before its header says (cut off, or a header that is wrong) leaves noise or another
    packet in the rest. Blocks of eight symbols or more are judged, a short rest joins the last one; where
    there is too little energy in all symbols to judge by, they pass.

    Args:
        products: `pilot_products`, shape ``(n,)``.
        correction: `phase_correction` of them.

    Returns:
        Number of symbols before the first block without pilots; n for a sound packet.
    """
    n = len(products)
    if n * channel.snr < _COHERENCE_ENERGY:
        return n
    block = max(_COHERENCE_BLOCK, int(np.ceil(_COHERENCE_ENERGY / channel.snr)))
    pilots = channel.response[PILOT_IN_USED]
    sound = float(np.vdot(pilots, pilots).real)  # mean product of a sound symbol
    sums = np.add.reduceat((products * correction).real, starts := range(0, max(n - block, 0) + 1, block))
    for start, total in zip(starts, sums.tolist(), strict=True):
        count = block if n - start >= 2 * block else n - start
        if total < _COHERENCE * sound * count:
            return start
    return n


def equalize(symbols: np.ndarray, channel: Channel, correction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Zero-forcing on the data carriers, with the SNR of each as weight.

    Args:
        symbols: occupied carriers, shape ``(n, 52)``.
        correction: `phase_correction` of each symbol, shape ``(n,)``.

    Returns:
        Points, shape ``(n, 48)``, complex64, and |H|^2 over its mean, times the SNR, shape ``(48,)``.
    """
    response = channel.response[DATA_IN_USED]
    conjugate = np.conjugate(response)
    power = (response * conjugate).real
    mean = max(float(np.add.reduce(power)) / N_DATA, 1e-30)
    inverse = conjugate / np.maximum(power, np.float32(1e-6 * mean))
    points = symbols[:, DATA_IN_USED] * inverse
    points *= correction[:, None]
    return points, power * np.float32(channel.snr / mean)


def decoder_input(points: np.ndarray, weight: np.ndarray, mcs: int, n_info: int) -> np.ndarray:
    """Soft bits of the mother code for GNU Radio's decoder: demapped, deinterleaved, depunctured, clipped.

    Args:
        points: equalised data carriers, shape ``(symbols, 48)``.
        weight: SNR of each carrier, shape ``(48,)``.
        n_info: bits into the encoder, tail not counted.

    Returns:
        Shape ``(2 * (n_info + 6),)``, float32, within +-`LLR_CLIP`; 0 where punctured; positive for bit 1.
    """
    llr = soft_demap(points, weight * (LLR_CLIP / LLR_CLIP_NATS), MCS[mcs].bits_per_symbol)
    source, target, _ = layout(mcs, n_info)
    sent = llr[target]
    np.minimum(np.maximum(sent, _LOW, out=sent), -_LOW, out=sent)
    mother = np.zeros(2 * (n_info + TAIL_BITS), np.float32)
    mother[source] = sent
    return mother
