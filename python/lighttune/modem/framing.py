# SPDX-License-Identifier: GPL-3.0-or-later
"""Payload framing: CRC-32, scrambling, and how long a packet lasts."""

from __future__ import annotations

import zlib
from functools import lru_cache

import numpy as np

from .coding import layout
from .numerology import PREAMBLE, SYMBOL, scrambler_sequence

CRC_BYTES = 4
MAX_PAYLOAD = 4095
"""Largest payload in bytes: the header's length field has 12 bits."""
MAX_INFO_BITS = 8 * (MAX_PAYLOAD + CRC_BYTES)
HEADER_SYMBOLS = 6
"""OFDM symbols of the header; see `header`."""

_SCRAMBLE = np.packbits(scrambler_sequence(8 * 127), bitorder="little")


@lru_cache(maxsize=64)
def _whitening(n_bytes: int) -> np.ndarray:
    return np.resize(_SCRAMBLE, n_bytes)


def info_bits(payload_bytes: int) -> int:
    """Bits that enter the encoder for a payload, its CRC-32 included."""
    return 8 * (payload_bytes + CRC_BYTES)


def payload_bits(payload: bytes) -> np.ndarray:
    """Append the CRC-32 (IEEE 802.3, little endian), scramble, unpack least significant bit first.

    The scrambler keeps long runs of equal bytes from making tones. Returns shape ``(8 * (n + 4),)``, uint8.
    """
    frame = payload + zlib.crc32(payload).to_bytes(CRC_BYTES, "little")
    return np.unpackbits(np.frombuffer(frame, np.uint8) ^ _whitening(len(frame)), bitorder="little")


def check_payload(bits: np.ndarray) -> bytes | None:
    """Undo `payload_bits`; None where the CRC-32 does not match."""
    frame = (np.packbits(bits, bitorder="little") ^ _whitening(len(bits) // 8)).tobytes()
    payload = frame[:-CRC_BYTES]
    return payload if zlib.crc32(payload).to_bytes(CRC_BYTES, "little") == frame[-CRC_BYTES:] else None


def payload_symbols(mcs: int, payload_bytes: int) -> int:
    """OFDM symbols that a payload takes, preamble and header not counted."""
    return layout(mcs, info_bits(payload_bytes))[2]


def burst_samples(mcs: int, payload_bytes: int) -> int:
    """Samples of a whole burst: preamble, header, payload."""
    return PREAMBLE + SYMBOL * (HEADER_SYMBOLS + payload_symbols(mcs, payload_bytes))
