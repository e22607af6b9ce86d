# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages out of a fuzzer's bytes: whole ones, whole ones with something spoilt, and anything at all."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pmt
from gnuradio.lighttune.core.mcs import McsTable
from gnuradio.lighttune.core.tuning import N_FEATURES

from .reader import Choices

N_WEIGHTS = 2 * len(McsTable.amc())
_DEPTH = 4
_NAMES = (
    "link", "seq", "mcs", "bler", "ack", "attempt", "snr_db", "time", "features", "version", "probe", "bits",
    "weights", "missed", "cause", "heartbeat", "away", "timeout", "erasure", "block", "dropped", "mode",
    "event_code", "encoding", "frame bytes", "snr", "beta", "ticket", "",
)  # fmt: skip


def anything(choices: Choices, depth: int = _DEPTH) -> pmt.pmt_base:
    """Any PMT, nested ``depth`` deep at most."""
    return choices.pick(_LEAVES if depth == 0 else _LEAVES + _NESTED)(choices, depth)


def message(choices: Choices, whole: dict[str, Any]) -> pmt.pmt_base:
    """A dict with these keys and values; some of them may be spoilt or gone, and others added."""
    values = dict(whole)
    for _ in range(choices.below(4)):
        key = choices.pick((*values, *_NAMES))
        if choices.below(3) == 2:
            values.pop(key, None)
        else:
            values[key] = _likely(choices)
    result = pmt.make_dict()
    for key, value in values.items():
        value = value if isinstance(value, pmt.pmt_base) else pmt.to_pmt(value)
        result = pmt.dict_add(result, pmt.intern(key), value)
    return result


def vector(choices: Choices, depth: int = 0) -> pmt.pmt_base:
    """A uniform vector."""
    return choices.pick(_VECTORS)(choices)


def floats(values: Any) -> pmt.pmt_base:
    """An f32vector."""
    values = np.asarray(values, np.float32).tolist()
    return pmt.init_f32vector(len(values), values)


def octets(data: bytes) -> pmt.pmt_base:
    """A u8vector."""
    return pmt.init_u8vector(len(data), list(data))


def _likely(choices: Choices) -> pmt.pmt_base:
    """A value of a type that messages have, or anything."""
    kind = choices.below(6)
    if kind < 2:
        return pmt.from_long(choices.integer())
    if kind == 2:
        return pmt.from_double(choices.real())
    return vector(choices) if kind == 3 else anything(choices)


def _raw_symbol(choices: Choices, depth: int) -> pmt.pmt_base:
    """A symbol of bytes that need not be UTF-8: GNU Radio's network sources deliver such ones."""
    text = choices.take(choices.below(6))
    return pmt.deserialize_str(b"\x02" + struct.pack(">H", len(text)) + text)


def _f32(choices: Choices) -> pmt.pmt_base:
    n = choices.pick((N_FEATURES, N_WEIGHTS, 0, 1, 7))
    if choices.below(2):
        return floats(np.frombuffer(choices.take(4), np.float32).repeat(n))
    with np.errstate(over="ignore"):
        return floats([choices.real()] * n)


_VECTORS: tuple[Callable[[Choices], pmt.pmt_base], ...] = (
    lambda c: octets(c.take(1 + c.below(64))),
    _f32,
    lambda c: pmt.init_c32vector(2, [complex(c.real(), c.real())] * 2),
    lambda c: pmt.init_f64vector(1, [c.real()]),
    lambda c: pmt.init_s16vector(2, [c.below(256), -1]),
    lambda c: octets(b""),
    lambda c: octets(bytes(c.pick((1499, 1500, 1501, 4095, 4096)))),
)
_LEAVES: tuple[Callable[[Choices, int], pmt.pmt_base], ...] = (
    lambda c, d: pmt.PMT_NIL,
    lambda c, d: pmt.from_bool(c.below(2) == 0),
    lambda c, d: pmt.PMT_EOF,
    lambda c, d: pmt.from_long(c.integer()),
    lambda c, d: pmt.from_uint64(c.integer() % 2**64),
    lambda c, d: pmt.from_double(c.real()),
    lambda c, d: pmt.from_complex(complex(c.real(), c.real())),
    lambda c, d: pmt.intern(c.pick(_NAMES)),
    _raw_symbol,
    vector,
)
_NESTED: tuple[Callable[[Choices, int], pmt.pmt_base], ...] = (
    lambda c, d: pmt.cons(anything(c, d - 1), anything(c, d - 1)),
    lambda c, d: pmt.cons(message(c, {}), vector(c)),
    lambda c, d: pmt.make_tuple(*(anything(c, d - 1) for _ in range(c.below(3)))),
    lambda c, d: pmt.make_vector(c.below(4), anything(c, d - 1)),
    lambda c, d: pmt.list2(anything(c, d - 1), anything(c, d - 1)),
    lambda c, d: pmt.dict_add(pmt.make_dict(), anything(c, d - 1), anything(c, d - 1)),
    lambda c, d: pmt.dict_add(anything_dict(c), pmt.intern(c.pick(_NAMES)), anything(c, d - 1)),
)


def anything_dict(choices: Choices) -> pmt.pmt_base:
    """A dict with a few keys of those that messages have."""
    return message(choices, {})
