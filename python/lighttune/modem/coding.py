# SPDX-License-Identifier: GPL-3.0-or-later
"""The K = 7 convolutional code as GNU Radio has it, and puncturing and interleaving as cached index arrays.

GNU Radio's polynomials 79 and 109 are 171 and 133 (octal) with the oldest bit first, so the encoder's
outputs are 802.11's B, A, B, A, ... (IEEE 802.11-2020, 17.3.5.6).
"""

from __future__ import annotations

import functools
import operator
from functools import lru_cache

import numpy as np

from .mcs import MCS
from .numerology import N_DATA

CONSTRAINT = 7
POLYNOMIALS = (79, 109)
TAIL_BITS = CONSTRAINT - 1
TAPS = tuple(tuple(delay for delay in range(CONSTRAINT) if g >> delay & 1) for g in POLYNOMIALS)
"""Delays in bits whose sum modulo 2 is each output."""

# Which of (B, A) are sent at each step: 17.3.5.6 for 2/3 and 3/4, 19.3.11.6 for 5/6.
PUNCTURING: dict[tuple[int, int], np.ndarray] = {
    (1, 2): np.array([[1, 1]], bool),
    (2, 3): np.array([[1, 1], [0, 1]], bool),
    (3, 4): np.array([[1, 1], [0, 1], [1, 0]], bool),
    (5, 6): np.array([[1, 1], [0, 1], [1, 0], [0, 1], [1, 0]], bool),
}


def encode(info: int) -> tuple[int, int]:
    """The terminated rate-1/2 code in integers: every bit in a dozen shifts.

    Args:
        info: information bits, the first one highest.

    Returns:
        Both outputs, six bits longer, the first bit highest.
    """
    register = info << TAIL_BITS
    first, second = (functools.reduce(operator.xor, [register >> delay for delay in taps]) for taps in TAPS)
    return first, second


def convolve(bits: np.ndarray) -> np.ndarray:
    """The terminated rate-1/2 code.

    Args:
        bits: shape ``(n,)``, 0 or 1.

    Returns:
        Coded bits in GNU Radio's order, shape ``(2 * (n + 6),)``, uint8.
    """
    steps = len(bits) + TAIL_BITS
    info = int.from_bytes(np.packbits(bits).tobytes(), "big") >> -len(bits) % 8
    out = np.empty((steps, 2), np.uint8)
    for column, word in enumerate(encode(info)):
        octets = (word << -steps % 8).to_bytes(-(-steps // 8), "big")
        out[:, column] = np.unpackbits(np.frombuffer(octets, np.uint8), count=steps)
    return out.ravel()


@lru_cache(maxsize=128)
def punctured_positions(rate: tuple[int, int], info_bits: int) -> np.ndarray:
    """Indices of the mother code's bits that are sent, for ``info_bits`` plus the tail."""
    steps = info_bits + TAIL_BITS
    pattern = PUNCTURING[rate]
    mask = np.resize(pattern, (steps, 2)) if len(pattern) == 1 else pattern[np.arange(steps) % len(pattern)]
    positions = np.flatnonzero(mask.ravel())
    positions.setflags(write=False)
    return positions


@lru_cache(maxsize=8)
def interleaver(bits_per_symbol: int) -> np.ndarray:
    """Where each coded bit of one OFDM symbol goes (17.3.5.7), shape ``(48 * bits_per_symbol,)``.

    Adjacent coded bits land on carriers three apart, and on changing significance within a carrier.
    256-QAM uses the same formula with s = 4, as VHT does.
    """
    n = N_DATA * bits_per_symbol
    s = max(bits_per_symbol // 2, 1)
    k = np.arange(n)
    i = (n // 16) * (k % 16) + k // 16
    return s * (i // s) + (i + n - 16 * i // n) % s


@lru_cache(maxsize=128)
def layout(mcs: int, info_bits: int) -> tuple[np.ndarray, np.ndarray, int]:
    """How the mother code's bits lie in the payload's OFDM symbols.

    Args:
        mcs: 0..9.
        info_bits: bits into the encoder, tail not counted.

    Returns:
        ``(source, target, symbols)``: mother-code bit ``source[i]`` travels at position ``target[i]`` of
        the ``symbols * 48 * bits_per_symbol`` transmitted bits; the other positions are padding.
    """
    scheme = MCS[mcs]
    source = punctured_positions(scheme.rate, info_bits)
    per_symbol = N_DATA * scheme.bits_per_symbol
    symbols = -(-len(source) // per_symbol)
    order = interleaver(scheme.bits_per_symbol)
    n = np.arange(len(source))
    target = (n // per_symbol) * per_symbol + order[n % per_symbol]
    target.setflags(write=False)
    return source, target, symbols
