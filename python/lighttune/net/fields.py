# SPDX-License-Identifier: GPL-3.0-or-later
"""What a link's messages are as plain values: their kinds and fields, and what is refused."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.messages import MAX_SEQ, SNR_RANGE_DB

KINDS = ("csi", "decision", "feedback", "model", "status")
"""Kinds of messages, named after the ports that they come from."""

MAX_VECTOR = 65536
"""Elements of a vector at most."""

MAX_MCS = 255
MAX_LINK = 65535

MAX_LONG = 2**63 - 1
MAX_TEXT, MAX_ITEMS = 1024, 4096
_MAX_NAME, _MAX_DEPTH = 64, 4

Fields = dict[str, Any]
"""Values by name: bool, int, float (finite), str, None, float32 arrays, and lists and dicts of these."""


class TelemetryError(ValueError):
    """Not a message of this schema; the text is the cause under which it is counted."""


@dataclass(frozen=True)
class Message:
    """One message.

    Args:
        kind: one of `KINDS`.
        source: name of the flowgraph or program that said it.
        time_s: when, by the publisher's clock, Unix time in seconds.
        number: of the message, counted by the publisher from 0.
        fields: see `check_fields`.
        session: of the publisher, drawn when it started.
    """

    kind: str
    source: str
    time_s: float
    number: int
    fields: Fields
    session: int = 0


class _Number:
    """A number of a type within bounds, as a kind's fields need it."""

    def __init__(self, kind: type, low: float, high: float) -> None:
        self.whole = kind is int
        self.low, self.high = low, high

    def wrong(self, value: Any) -> str | None:
        """What is wrong with a value, or None."""
        if isinstance(value, bool) or not isinstance(value, int if self.whole else int | float):
            return "of wrong type"
        return None if self.low <= value <= self.high else "out of range"


class _Is:
    """A value of a type."""

    def __init__(self, kind: type) -> None:
        self.kind = kind

    def wrong(self, value: Any) -> str | None:
        """What is wrong with a value, or None."""
        return None if isinstance(value, self.kind) else "of wrong type"


_LINK, _SEQ = _Number(int, 0, MAX_LINK), _Number(int, 0, MAX_SEQ)
_BEAT = {"heartbeat": _Is(bool)}
_NEEDED: dict[str, dict[str, _Number | _Is]] = {
    "csi": {"link": _LINK, "snr_db": _Number(float, *SNR_RANGE_DB)},
    "decision": {
        "link": _LINK,
        "seq": _SEQ,
        "mcs": _Number(int, 0, MAX_MCS),
        "bler": _Number(float, 0, 1),
        "features": _Is(np.ndarray),
        "version": _Number(int, -1, MAX_LONG),
        "probe": _Is(bool),
    },
    "feedback": {"link": _LINK, "seq": _SEQ, "ack": _Is(bool), "attempt": _Number(int, 0, 255)},
    "model": {
        "link": _LINK,
        "version": _Number(int, 0, MAX_LONG),
        "weights": _Is(np.ndarray),
    },
    "status": {"block": _Is(str)},
}
_MAY: dict[str, dict[str, _Number | _Is]] = {
    "csi": {"seq": _SEQ, "time": _Number(float, -math.inf, math.inf)},
    "decision": {"bits": _Number(int, 1, MAX_LONG)},
    "feedback": {},
    "model": {},
    "status": {},
}


def check_fields(kind: str, fields: Any) -> None:
    """Refuse fields that are not those of this kind.

    ======== ====================================================================================
    csi      link, snr_db (dB); seq, time (s) where known
    decision link, seq, mcs, bler (0 to 1), features, version (-1 or more), probe; bits where known
    feedback link, seq, ack, attempt (0 to 255)
    model    link, version, weights; or heartbeat (true), and away (true) with it
    status   block, and whatever it says of itself
    ======== ====================================================================================

    Further keys may be there with plain values.

    Raises:
        TelemetryError: a field is missing, of another type, or out of range.
    """
    if kind not in KINDS:
        raise TelemetryError("unknown kind")
    if not isinstance(fields, dict):
        raise TelemetryError("fields not a map")
    _check_plain(fields, _MAX_DEPTH, [MAX_ITEMS])
    needed = _BEAT if kind == "model" and "heartbeat" in fields else _NEEDED[kind]
    for name, wanted in needed.items():
        if name not in fields:
            raise TelemetryError(f"{kind}: {name} missing")
        if wrong := wanted.wrong(fields[name]):
            raise TelemetryError(f"{kind}: {name} {wrong}")
    for name, wanted in _MAY[kind].items():
        if name in fields and (wrong := wanted.wrong(fields[name])):
            raise TelemetryError(f"{kind}: {name} {wrong}")


def is_name(text: str) -> bool:
    """Whether this may be a message's source."""
    return 0 < len(text) <= _MAX_NAME and text.isprintable()


def _check_plain(value: Any, depth: int, left: list[int]) -> None:
    """Plain values only, so deep and so many at most; ``left`` counts down."""
    left[0] -= 1
    if left[0] < 0 or depth < 0:
        raise TelemetryError("too many or too deep values")
    if value is None or isinstance(value, bool):
        return
    if isinstance(value, int):
        if not -MAX_LONG - 1 <= value <= MAX_LONG:
            raise TelemetryError("number out of range")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise TelemetryError("number not finite")
    elif isinstance(value, str):
        if len(value) > MAX_TEXT or not value.isprintable():
            raise TelemetryError("text not printable or too long")
    elif isinstance(value, np.ndarray):
        if value.ndim != 1 or value.dtype != np.float32 or len(value) > MAX_VECTOR:
            raise TelemetryError("vector of wrong type or length")
        if not np.isfinite(value).all():
            raise TelemetryError("vector not finite")
    elif isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str) or len(key) > MAX_TEXT or not key.isprintable():
                raise TelemetryError("key not a name")
            _check_plain(inner, depth - 1, left)
    elif isinstance(value, list):
        for inner in value:
            _check_plain(inner, depth - 1, left)
    else:
        raise TelemetryError("value of unknown type")
