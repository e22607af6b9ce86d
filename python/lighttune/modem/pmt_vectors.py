# SPDX-License-Identifier: GPL-3.0-or-later
"""numpy arrays to and from PMT uniform vectors through PMT's own serialisation.

``pmt.init_f32vector``, ``pmt.u8vector_elements`` and their kin convert element by element through Python
objects: 10 to 400 us for a packet. Writing the wire format (a tag, a type, the length, big-endian items) and
letting PMT parse it in C++, or the reverse, takes 1 to 20 us. The format is that of
gnuradio-runtime/lib/pmt/pmt_serialize.cc, stable since 3.6.
"""

from __future__ import annotations

import struct

import numpy as np
import pmt

_TAG = 0x0A  # PST_UNIFORM_VECTOR
_HEADER_BYTES = 8
_U8, _F32, _C32 = 0x00, 0x08, 0x0A  # UVI_U8, UVI_F32, UVI_C32


def _header(kind: int, length: int) -> bytes:
    return struct.pack(">BBIBB", _TAG, kind, length, 1, 0)  # one byte of padding follows


def u8vector(values: np.ndarray | bytes) -> pmt.pmt_base:
    """A u8vector of bytes or of a uint8 array, shape ``(n,)``."""
    data = bytes(values) if isinstance(values, bytes) else np.ascontiguousarray(values, np.uint8).tobytes()
    return pmt.deserialize_str(_header(_U8, len(data)) + data)


def f32vector(values: np.ndarray) -> pmt.pmt_base:
    """An f32vector of a real array, shape ``(n,)``."""
    return pmt.deserialize_str(_header(_F32, len(values)) + values.astype(">f4").tobytes())


def c32vector(values: np.ndarray) -> pmt.pmt_base:
    """A c32vector of a complex64 array, shape ``(n,)``."""
    parts = np.ascontiguousarray(values, np.complex64).view(np.float32).astype(">f4")
    return pmt.deserialize_str(_header(_C32, len(values)) + parts.tobytes())


def u8_array(vector: pmt.pmt_base) -> np.ndarray:
    """The content of a u8vector as uint8, shape ``(n,)``, read-only."""
    return np.frombuffer(pmt.serialize_str(vector), np.uint8, offset=_HEADER_BYTES)


def u8_bytes(vector: pmt.pmt_base) -> bytes:
    """The content of a u8vector."""
    return pmt.serialize_str(vector)[_HEADER_BYTES:]
