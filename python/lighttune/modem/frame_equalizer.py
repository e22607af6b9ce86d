# SPDX-License-Identifier: GPL-3.0-or-later
"""Stage 4: phase tracking, equalisation and soft demapping of the symbols after the preamble."""

from __future__ import annotations

import numpy as np

from .channel_estimate import Channel
from .coding import TAIL_BITS, layout
from .mapping import soft_demap
from .mcs import MCS
from .numerology import DATA_IN_USED, PILOT_IN_USED, PILOT_VALUE, pilot_polarity

# GNU Radio makes LLR x the byte 48 x + 127.5 and does not saturate: |x| must stay below 2.65.
LLR_CLIP = 2.6
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


def common_phase(products: np.ndarray, snr: float) -> np.ndarray:
    """Phase of each symbol from noisy phasors: a line for the residual CFO, then a moving average about it.

    Args:
        products: one phasor per consecutive symbol, shape ``(n,)``; symbols with more known carriers may
            have longer phasors.
        snr: Es/N0, linear; it sets the average's length.

    Returns:
        Radians, shape ``(n,)``.
    """
    n = len(products)
    index = np.arange(n)
    slope, lag = 0.0, 1
    while lag <= max(n // 2, 1) and n > 1:  # longer lags: finer, and unwrapped by what is known already
        turned = products * np.exp(-1j * slope * index)
        slope += float(np.angle(np.vdot(turned[:-lag], turned[lag:]))) / lag
        lag *= 3
    turned = products * np.exp(-1j * slope * index)
    half = 12 if snr < 4 else 5 if snr < 25 else 2  # keeps the phase noise 20 dB under the receiver's
    sums = np.concatenate([[0], np.cumsum(turned)])
    average = sums[np.minimum(index + half + 1, n)] - sums[np.maximum(index - half, 0)]
    return np.angle(average) + slope * index


def coherent_symbols(products: np.ndarray, phase: np.ndarray, channel: Channel) -> int:
    """How many symbols, from the first on, carry this packet's pilots.

    A packet that ends before its header says (cut off, or a header that is wrong) leaves noise or another
    packet in the rest. Blocks of eight symbols or more are judged, a short rest joins the last one; where
    there is too little energy in all symbols to judge by, they pass.

    Args:
        products: `pilot_products`, shape ``(n,)``.
        phase: `common_phase` of them.

    Returns:
        Number of symbols before the first block without pilots; n for a sound packet.
    """
    n = len(products)
    if n * channel.snr < _COHERENCE_ENERGY:
        return n
    block = max(_COHERENCE_BLOCK, int(np.ceil(_COHERENCE_ENERGY / channel.snr)))
    sound = float(np.sum(np.abs(channel.response[PILOT_IN_USED]) ** 2))  # mean product of a sound symbol
    turned = (products * np.exp(-1j * phase)).real
    for start in range(0, max(n - block, 0) + 1, block):
        stop = start + block if n - start >= 2 * block else n
        if turned[start:stop].mean() < _COHERENCE * sound:
            return start
    return n


def equalize(symbols: np.ndarray, channel: Channel, phase: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Zero-forcing on the data carriers, with the SNR of each as weight.

    Args:
        symbols: occupied carriers, shape ``(n, 52)``.
        phase: common phase of each symbol in radians, shape ``(n,)``.

    Returns:
        Points, shape ``(n, 48)``, and |H|^2 over its mean, times the SNR, shape ``(48,)``.
    """
    response = channel.response[DATA_IN_USED]
    power = np.abs(response) ** 2
    mean = max(float(power.mean()), 1e-30)
    inverse = np.conj(response) / np.maximum(power, 1e-6 * mean)
    points = symbols[:, DATA_IN_USED] * inverse * np.exp(-1j * phase)[:, None].astype(np.complex64)
    return points, power / mean * channel.snr


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
    np.clip(sent, -LLR_CLIP, LLR_CLIP, out=sent)
    mother = np.zeros(2 * (n_info + TAIL_BITS), np.float32)
    mother[source] = sent
    return mother
