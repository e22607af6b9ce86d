# SPDX-License-Identifier: GPL-3.0-or-later
"""What `telemetry` and `recorder` share: a tap on a link's messages, which only hands them over."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pmt

from ..core.tuning import N_FEATURES
from ..net.fields import MAX_MCS, MAX_TEXT, MAX_VECTOR, Fields, TelemetryError
from . import _messages as m
from ._block import MessageBlock, handles


class TapBlock(MessageBlock):
    """Takes the messages of a link, each kind on a port of its name, and hands them to a thread at once.

    A subclass implements `take`.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name, ())

    @handles("csi")
    def on_csi(self, message: pmt.pmt_base) -> None:
        """A receiver's report."""
        self._hand("csi", message)

    @handles("decision")
    def on_decision(self, message: pmt.pmt_base) -> None:
        """What a selector decided."""
        self._hand("decision", message)

    @handles("feedback")
    def on_feedback(self, message: pmt.pmt_base) -> None:
        """How a block ended."""
        self._hand("feedback", message)

    @handles("model")
    def on_model(self, message: pmt.pmt_base) -> None:
        """A tuner's weights or heart-beat."""
        self._hand("model", message)

    @handles("status")
    def on_status(self, message: pmt.pmt_base) -> None:
        """What a block says of itself."""
        self._hand("status", message)

    def take(self, kind: str, fields: Callable[[], Fields], time_s: float) -> None:
        """Hand a message over; ``fields`` reads it, in whatever thread has the time."""
        raise NotImplementedError

    def _hand(self, kind: str, message: pmt.pmt_base) -> None:
        self.take(kind, lambda: fields_of(kind, message), time.time())
        self.counters.add(kind)
        self.give_way()


def fields_of(kind: str, message: pmt.pmt_base) -> Fields:
    """A message as plain values, its defaults filled in; see `net.fields.check_fields`.

    Raises:
        TelemetryError: it is not one of this kind.
    """
    try:
        return _READERS[kind](m.need_dict(message))
    except m.Refused as error:
        raise TelemetryError(f"{kind}: {error}") from None


def _csi(message: pmt.pmt_base) -> Fields:
    fields: Fields = {"link": m.read_link(message), "snr_db": m.read_snr_db(message)}
    if m.has(message, m.SEQ):
        fields["seq"] = m.read_seq(message)
    if m.has(message, m.TIME):
        fields["time"] = m.read_real(message, m.TIME)
    return fields


def _decision(message: pmt.pmt_base) -> Fields:
    fields: Fields = {
        "link": m.read_link(message),
        "seq": m.read_seq(message),
        "mcs": m.read_long(message, m.MCS, 0, MAX_MCS),
        "bler": m.read_real(message, m.BLER, 0.0, 1.0),
        "features": m.read_floats(message, m.FEATURES, N_FEATURES, or_empty=True),
        "version": m.read_long(message, m.VERSION, low=-1, default=-1),
        "probe": m.read_bool(message, m.PROBE, default=False),
    }
    if m.has(message, m.BITS):
        fields["bits"] = m.read_long(message, m.BITS, 1)
    return fields


def _feedback(message: pmt.pmt_base) -> Fields:
    link, seq, ack, attempt = m.read_feedback(message)
    return {"link": link, "seq": seq, "ack": ack, "attempt": attempt}


def _model(message: pmt.pmt_base) -> Fields:
    if m.read_bool(message, m.HEARTBEAT, default=False):
        return {"heartbeat": True, "away": m.read_bool(message, m.AWAY, default=False)}
    weights = pmt.dict_ref(message, m.WEIGHTS, pmt.PMT_NIL)
    if not pmt.is_f32vector(weights) or pmt.length(weights) > MAX_VECTOR:
        raise m.Refused("weights not an f32vector, or too long")
    return {
        "link": m.read_link(message),
        "version": m.read_long(message, m.VERSION),
        "weights": np.array(pmt.f32vector_elements(weights), np.float32),
    }


def _status(message: pmt.pmt_base) -> Fields:
    try:
        return _plain(pmt.to_python(message))
    except (ValueError, TypeError, RecursionError):  # no plain values, symbols that are no text, or too deep
        raise m.Refused("not of plain values") from None


def _plain(value: Any) -> Any:
    """Values that travel: text keys, lists, None for a float that is not finite, long texts cut; ``()`` is a
    dict."""
    if value is None:
        return {}
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, str) and len(value) > MAX_TEXT:
        return value[: MAX_TEXT - 1] + "\u2026"
    return value.astype(np.float32) if isinstance(value, np.ndarray) else value


_READERS: dict[str, Callable[[pmt.pmt_base], Fields]] = {
    "csi": _csi, "decision": _decision, "feedback": _feedback, "model": _model, "status": _status
}  # fmt: skip
