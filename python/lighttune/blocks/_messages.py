# SPDX-License-Identifier: GPL-3.0-or-later
"""The messages of design section 3: interned keys, and readers that return a value or refuse with a cause.

Everything here uses ``pmt.dict_ref`` and typed conversions: ``pmt.to_python`` costs 20 times more. A cause is
a short text from a fixed set (a key and what is wrong with it, never a value), so that the counters stay few.
"""

from __future__ import annotations

import math

import numpy as np
import pmt

from ..core.messages import MAX_SEQ, SNR_RANGE_DB

MAX_LINK = 65535
"""Largest link number."""

LINK = pmt.intern("link")
SEQ = pmt.intern("seq")
MCS = pmt.intern("mcs")
BLER = pmt.intern("bler")
ACK = pmt.intern("ack")
ATTEMPT = pmt.intern("attempt")
SNR_DB = pmt.intern("snr_db")
TIME = pmt.intern("time")
FEATURES = pmt.intern("features")
VERSION = pmt.intern("version")
PROBE = pmt.intern("probe")
BITS = pmt.intern("bits")
WEIGHTS = pmt.intern("weights")
HEARTBEAT = pmt.intern("heartbeat")
AWAY = pmt.intern("away")
TIMEOUT = pmt.intern("timeout")
ERASURE = pmt.intern("erasure")
CAUSE = pmt.intern("cause")
MISSED = pmt.intern("missed")
START = pmt.intern("start")

_MAX_LONG = 2**63 - 1
_MAX_CAUSE = 64
_ABSENT = pmt.intern("lighttune: absent")  # tells a missing key from one whose value is ()


class Refused(Exception):
    """A message cannot be used; the text is the cause under which it is counted."""


def need_dict(message: pmt.pmt_base) -> pmt.pmt_base:
    """The message itself; refuses what is not a dict. ``()`` is an empty dict.

    Raises:
        Refused: it is not a dict.
    """
    if not pmt.is_dict(message):
        raise Refused("not a dict")
    return message


def read_pdu(message: pmt.pmt_base) -> tuple[pmt.pmt_base, int]:
    """Metadata (a dict) and payload length in bytes of a PDU ``(dict . uniform vector)``.

    Raises:
        Refused: it is not a PDU, or its payload is empty.
    """
    if not pmt.is_pair(message) or pmt.is_dict(message):
        raise Refused("not a PDU")
    metadata, payload = pmt.car(message), pmt.cdr(message)
    if not pmt.is_dict(metadata) or not pmt.is_uniform_vector(payload):
        raise Refused("not a PDU")
    n_bytes = pmt.length(payload) * pmt.uniform_vector_itemsize(payload)
    if n_bytes == 0:
        raise Refused("payload is empty")
    return (pmt.make_dict() if pmt.is_null(metadata) else metadata), n_bytes


def metadata_of(message: pmt.pmt_base) -> pmt.pmt_base:
    """The metadata of a PDU, or the message itself where it is a dict.

    Raises:
        Refused: it is neither.
    """
    if pmt.is_dict(message):
        return message
    if pmt.is_pair(message) and pmt.is_dict(pmt.car(message)):
        return pmt.car(message)
    raise Refused("neither a dict nor a PDU")


def has(message: pmt.pmt_base, key: pmt.pmt_base) -> bool:
    """The dict has this key."""
    return pmt.dict_has_key(message, key)


def read_long(
    message: pmt.pmt_base, key: pmt.pmt_base, low: int = 0, high: int = _MAX_LONG, default: int | None = None
) -> int:
    """An integer from ``low`` to ``high``; ``default``, if given, where it is missing. A bool is no integer.

    Raises:
        Refused: missing without a default, of another type, or out of range.
    """
    value = pmt.dict_ref(message, key, _ABSENT)
    if pmt.is_integer(value):
        number = pmt.to_long(value)
    elif pmt.is_uint64(value):
        number = pmt.to_uint64(value)
    elif default is not None and pmt.eq(value, _ABSENT):
        return default
    else:
        raise _wrong(key, value, "a long")
    if not low <= number <= high:
        raise Refused(f"{pmt.symbol_to_string(key)} out of range")
    return number


def read_real(
    message: pmt.pmt_base, key: pmt.pmt_base, low: float = -math.inf, high: float = math.inf
) -> float:
    """A finite number from ``low`` to ``high``; a long will do for a double.

    Raises:
        Refused: missing, of another type, not finite, or out of range.
    """
    value = pmt.dict_ref(message, key, _ABSENT)
    if pmt.is_real(value):
        number = pmt.to_double(value)
    elif pmt.is_integer(value):
        number = float(pmt.to_long(value))
    else:
        raise _wrong(key, value, "a number")
    if not math.isfinite(number):
        raise Refused(f"{pmt.symbol_to_string(key)} not finite")
    if not low <= number <= high:
        raise Refused(f"{pmt.symbol_to_string(key)} out of range")
    return number


def read_bool(message: pmt.pmt_base, key: pmt.pmt_base, default: bool | None = None) -> bool:
    """A bool; ``default``, if given, where the key is missing.

    Raises:
        Refused: missing without a default, or of another type.
    """
    value = pmt.dict_ref(message, key, _ABSENT)
    if pmt.is_bool(value):
        return pmt.to_bool(value)
    if default is not None and pmt.eq(value, _ABSENT):
        return default
    raise _wrong(key, value, "a bool")


def read_floats(message: pmt.pmt_base, key: pmt.pmt_base, length: int, or_empty: bool = False) -> np.ndarray:
    """An f32vector of ``length`` elements as float32 ``(length,)``; elements may be anything, NaN too.

    ``or_empty`` lets an empty vector pass.

    Raises:
        Refused: missing, of another type, or of another length.
    """
    value = pmt.dict_ref(message, key, _ABSENT)
    if not pmt.is_f32vector(value):
        raise _wrong(key, value, "an f32vector")
    if pmt.length(value) != length and not (or_empty and pmt.length(value) == 0):
        raise Refused(f"{pmt.symbol_to_string(key)} of wrong length")
    return np.array(pmt.f32vector_elements(value), np.float32)


def read_cause(message: pmt.pmt_base) -> str:
    """``cause`` of an erasure: a symbol that is a short text; ``"not said"`` where it is missing.

    Raises:
        Refused: of another type, empty, too long or not printable.
    """
    value = pmt.dict_ref(message, CAUSE, _ABSENT)
    if pmt.eq(value, _ABSENT):
        return "not said"
    try:
        text = pmt.symbol_to_string(value) if pmt.is_symbol(value) else ""
    except UnicodeDecodeError:  # a symbol need not be text
        text = ""
    if not (0 < len(text) <= _MAX_CAUSE and text.isprintable()):
        raise Refused("cause not a short text")
    return text


def read_link(message: pmt.pmt_base) -> int:
    """``link``: 0 where it is missing, at most `MAX_LINK`.

    Raises:
        Refused: as `read_long`.
    """
    return read_long(message, LINK, 0, MAX_LINK, default=0)


def read_seq(message: pmt.pmt_base) -> int:
    """``seq``, 0 to 2^32 - 1.

    Raises:
        Refused: as `read_long`.
    """
    return read_long(message, SEQ, 0, MAX_SEQ)


def read_snr_db(message: pmt.pmt_base) -> float:
    """``snr_db``, finite and within `SNR_RANGE_DB`.

    Raises:
        Refused: as `read_real`.
    """
    return read_real(message, SNR_DB, *SNR_RANGE_DB)


def read_feedback(message: pmt.pmt_base) -> tuple[int, int, bool, int]:
    """``link, seq, ack, attempt`` of a feedback message; optional ``snr_db`` and ``time`` are only checked.

    Raises:
        Refused: a key is missing, of another type, or out of range.
    """
    need_dict(message)
    link, seq, ack = read_link(message), read_seq(message), read_bool(message, ACK)
    attempt = read_long(message, ATTEMPT, 0, 255, default=0)
    if has(message, SNR_DB):
        read_snr_db(message)
    if has(message, TIME):
        read_real(message, TIME)
    return link, seq, ack, attempt


def feedback_message(link: int, seq: int, ack: bool, attempt: int = 0) -> pmt.pmt_base:
    """A feedback message; ``attempt`` is left out where it is 0."""
    message = _with_block(link, seq)
    message = pmt.dict_add(message, ACK, pmt.from_bool(ack))
    return pmt.dict_add(message, ATTEMPT, pmt.from_long(attempt)) if attempt else message


def erasure_message(link: int, seq: int, cause: str = "") -> pmt.pmt_base:
    """``{link, seq, erasure: true, cause}``; ``cause`` is left out where it is empty."""
    message = pmt.dict_add(_with_block(link, seq), ERASURE, pmt.PMT_T)
    return pmt.dict_add(message, CAUSE, pmt.intern(cause)) if cause else message


def spoilt_message(cause: str) -> pmt.pmt_base:
    """``{erasure: true, cause}``: a packet that has just left was spoilt; which one is not known."""
    return pmt.dict_add(pmt.dict_add(pmt.make_dict(), ERASURE, pmt.PMT_T), CAUSE, pmt.intern(cause))


def sent_message(link: int, seq: int, start_s: float, end_s: float) -> pmt.pmt_base:
    """``{link, seq, start, time}``: when the packet's first and last sample went out, Unix time."""
    message = pmt.dict_add(_with_block(link, seq), START, pmt.from_double(start_s))
    return pmt.dict_add(message, TIME, pmt.from_double(end_s))


def decision_message(
    link: int, seq: int, mcs: int, bler: float, features: np.ndarray, version: int, probe: bool, bits: int
) -> pmt.pmt_base:
    """A decision message."""
    message = _with_block(link, seq)
    message = pmt.dict_add(message, MCS, pmt.from_long(mcs))
    message = pmt.dict_add(message, BLER, pmt.from_double(bler))
    message = pmt.dict_add(message, FEATURES, _f32vector(features))
    message = pmt.dict_add(message, VERSION, pmt.from_long(version))
    message = pmt.dict_add(message, PROBE, pmt.from_bool(probe))
    return pmt.dict_add(message, BITS, pmt.from_long(bits))


def model_message(link: int, version: int, weights: np.ndarray) -> pmt.pmt_base:
    """A model message."""
    message = pmt.dict_add(pmt.make_dict(), LINK, pmt.from_long(link))
    message = pmt.dict_add(message, VERSION, pmt.from_long(version))
    return pmt.dict_add(message, WEIGHTS, _f32vector(weights))


def heartbeat_message(away: bool = False) -> pmt.pmt_base:
    """``{heartbeat: true}``: the tuner's worker lives; with ``away: true``, its process or service does
    not."""
    message = pmt.dict_add(pmt.make_dict(), HEARTBEAT, pmt.PMT_T)
    return pmt.dict_add(message, AWAY, pmt.PMT_T) if away else message


def _with_block(link: int, seq: int) -> pmt.pmt_base:
    message = pmt.dict_add(pmt.make_dict(), LINK, pmt.from_long(link))
    return pmt.dict_add(message, SEQ, pmt.from_long(seq))


def _f32vector(values: np.ndarray) -> pmt.pmt_base:
    return pmt.init_f32vector(len(values), values.tolist())  # from a list: half the time of from an array


def _wrong(key: pmt.pmt_base, value: pmt.pmt_base, wanted: str) -> Refused:
    name = pmt.symbol_to_string(key)
    return Refused(f"{name} missing" if pmt.eq(value, _ABSENT) else f"{name} not {wanted}")
