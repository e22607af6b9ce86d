# SPDX-License-Identifier: GPL-3.0-or-later
"""The packet header: who sent what, how it is modulated, how long it is.

82 bits (version 2, link 16, seq 32, mcs 4, length 12, CRC-16) through the terminated K = 7 code give 176
bits, repeated cyclically to the 288 BPSK carriers of six OFDM symbols: rate 0.28, 2.1 dB more energy per bit
than a BPSK 1/2 payload, and a block 13 times shorter.
"""

from __future__ import annotations

import binascii
import functools
import operator
from dataclasses import dataclass

import numpy as np

from . import viterbi
from .coding import TAIL_BITS, TAPS, encode
from .framing import HEADER_SYMBOLS, MAX_PAYLOAD
from .mcs import MCS
from .numerology import N_DATA, scrambler_sequence

MAX_LINK = 2**16 - 1
MAX_SEQ = 2**32 - 1
_FIELDS = ((2, "version"), (16, "link"), (32, "seq"), (4, "mcs"), (12, "length"))
_PLAIN_BITS = 66
_INFO_BITS = 82
_CODED_BITS = 2 * (_INFO_BITS + 6)
_SENT_BITS = HEADER_SYMBOLS * N_DATA
_VERSION = 0
# Coded bit i % 176 travels at carrier position (67 i) % 288: 67 is coprime to 288 and puts neighbours, and
# the two copies of a bit, on carriers that fade apart.
_POSITION = 67 * np.arange(_SENT_BITS) % _SENT_BITS
_REPEATED = _SENT_BITS - _CODED_BITS  # the first coded bits travel twice
_WHITENING = scrambler_sequence(_SENT_BITS)  # a header of zeros must not be a peak in time
_WHITENING_SIGN = (1 - 2 * _WHITENING.astype(np.float32))[_POSITION]
_STEPS = _INFO_BITS + TAIL_BITS  # bits of each of the code's outputs
_SOURCE = np.argsort(_POSITION) % _CODED_BITS  # the coded bit on each carrier,
_SOURCE = _SOURCE % 2 * _STEPS + _SOURCE // 2  # with one output's bits after the other's


@dataclass(frozen=True, slots=True)
class Header:
    """What a packet says of itself.

    Args:
        link: 0..65535.
        seq: sequence number, 0..2**32 - 1.
        mcs: 0..9.
        length: payload bytes, 1..4095, CRC-32 not counted.
    """

    link: int
    seq: int
    mcs: int
    length: int

    def valid(self) -> bool:
        """Whether every field is in range."""
        return (
            0 <= self.link <= MAX_LINK
            and 0 <= self.seq <= MAX_SEQ
            and 0 <= self.mcs < len(MCS)
            and 1 <= self.length <= MAX_PAYLOAD
        )


def _crc16(number: int) -> int:
    return binascii.crc_hqx(number.to_bytes(9, "big"), 0xFFFF)


def header_bits(header: Header) -> np.ndarray:
    """The 288 bits on the header's carriers, shape ``(288,)``, uint8.

    Raises:
        ValueError: a field is out of range.
    """
    if not header.valid():
        raise ValueError(f"{header!r}: a field is out of range; see Header")
    number = _VERSION
    for width, name in _FIELDS[1:]:
        number = number << width | getattr(header, name)
    number = number << 16 | _crc16(number)
    return _spread(encode(number))


def _divide(word: int) -> int:
    """The information bits whose first output is the word, if there are any.

    The code multiplies by a polynomial g. Modulo 2, g(x)^128 = g(x^128), which is 1 in words of 88 bits; so
    1 / g is g^127, the product of g(x^1), g(x^2), g(x^4), ..., g(x^64).
    """
    for power in range(7):
        word = functools.reduce(operator.xor, [word >> (delay << power) for delay in TAPS[0]])
    return word >> TAIL_BITS


def _spread(words: tuple[int, int]) -> np.ndarray:
    """Repeat, interleave and whiten coded bits, shape ``(288,)``."""
    octets = b"".join(word.to_bytes(_STEPS // 8, "big") for word in words)
    return np.unpackbits(np.frombuffer(octets, np.uint8))[_SOURCE] ^ _WHITENING


def decode_header(llr: np.ndarray) -> tuple[Header | None, np.ndarray]:
    """Decode a header.

    Args:
        llr: positive for bit 1, in carrier order, shape ``(288,)``.

    Returns:
        The header, None where the CRC-16 or a range check fails; and the most likely 288 bits, which are
        mostly right even then and serve for a second channel estimate.
    """
    straight = llr[_POSITION] * _WHITENING_SIGN
    combined = straight[:_CODED_BITS]
    combined[:_REPEATED] += straight[_CODED_BITS:]
    hard = np.packbits((combined > 0).reshape(_STEPS, 2).T, axis=1)
    words = int.from_bytes(hard[0].tobytes(), "big"), int.from_bytes(hard[1].tobytes(), "big")
    info = _divide(words[0])
    if encode(info) != words:  # hard bits that are a codeword are the most likely one: no search needed
        info = int.from_bytes(np.packbits(viterbi.decode(combined)).tobytes(), "big") >> -_INFO_BITS % 8
        words = encode(info)
    return _parse(info), _spread(words)


def _parse(number: int) -> Header | None:
    plain, crc = number >> 16, number & 0xFFFF
    if crc != _crc16(plain) or plain >> (_PLAIN_BITS - 2) != _VERSION:
        return None
    header = Header(
        link=plain >> 48 & 0xFFFF, seq=plain >> 16 & 0xFFFFFFFF, mcs=plain >> 12 & 0xF, length=plain & 0xFFF
    )
    return header if header.valid() else None
