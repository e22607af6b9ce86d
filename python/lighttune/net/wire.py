# SPDX-License-Identifier: GPL-3.0-or-later
"""The wire format between hosts and the tuner service: batched binary messages of one schema version.

A message is one ZeroMQ frame: a header and a body, all little endian.

    header    magic "LTun", schema u16, kind u16, count u32, width u32

    HELLO     to the service   session u64, n_features u16, n_mcs u16, n_weights u32, fingerprint 16 bytes,
                               host name 64 bytes, table name 64 bytes (UTF-8, padded with zeros)
    SAMPLES   to the service   ``count`` records: link u16, mcs u8, ack u8, seq u32, features f32[``width``]
    HEARTBEAT to the service   no body
    BYE       to the service   no body: the host leaves, and its name is free at once
    WELCOME   to the host      window u32: samples that may be under way at a time
    MODELS    to the host      ``count`` records: link u16, 0 u16, version u32, weights f32[``width``]
    CREDIT    to the host      taken u64: samples since WELCOME that were learnt or dropped; a heart-beat too
    REFUSED   to the host      ``count`` is the code (`Refusal`), the body is the reason in UTF-8

Nothing is ever unpickled or evaluated. `decode` raises `WireError` and nothing else, whatever the bytes; its
text is a cause from a fixed set, so that counters by cause stay few.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from ..core.link_files import fingerprint
from ..core.link_model import LinkModel
from ..core.tuning import N_FEATURES
from .identity import HOST_NAME, check_host

SCHEMA = 2
MAGIC = b"LTun"
MAX_FRAME = 4 * 2**20
"""Bytes of a message at most; ZeroMQ drops the connection of a peer that sends more."""

MAX_LINK = 65535
MAX_REASON = 512
_HEADER = struct.Struct("<4sHHII")
_HELLO = struct.Struct("<QHHI16s64s64s")
_WELCOME = struct.Struct("<I")
_CREDIT = struct.Struct("<Q")


class Kind(IntEnum):
    """What a message is."""

    HELLO = 1
    SAMPLES = 2
    HEARTBEAT = 3
    BYE = 4
    WELCOME = 5
    MODELS = 6
    CREDIT = 7
    REFUSED = 8


class Refusal(IntEnum):
    """Why a host is refused. `UNKNOWN` asks for another HELLO (the service started anew); the others last
    until somebody changes something."""

    UNKNOWN = 1
    SCHEMA = 2
    MODEL = 3
    NAME = 4
    FULL = 5


SAMPLE = np.dtype(
    [("link", "<u2"), ("mcs", "u1"), ("ack", "u1"), ("seq", "<u4"), ("features", "<f4", (N_FEATURES,))]
)
"""A sample on the wire: 8 + 4 ``N_FEATURES`` bytes."""


class WireError(ValueError):
    """Bytes that are no message of this schema; the text is the cause under which they are counted."""


class SchemaError(WireError):
    """A message of another schema version."""


@dataclass(frozen=True)
class Hello:
    """Who a host is, and which model its selectors use.

    Args:
        host: name, 1 to 64 of ``A-Z a-z 0-9 . _ -``; the service keeps the links' state under it.
        session: number that a host draws when it starts, 0 to 2^64 - 1: tells its reconnecting from another
            host of the same name.
        table: name of the model's MCS table, for messages.
        n_mcs, n_features, n_weights: sizes.
        fingerprint: of the model (`link_files.fingerprint`), 16 bytes.
    """

    host: str
    session: int
    table: str
    n_mcs: int
    n_features: int
    n_weights: int
    fingerprint: bytes

    @staticmethod
    def of(model: LinkModel, host: str, session: int = 0) -> Hello:
        """The HELLO of a host that decides with this model.

        Raises:
            ValueError: the host's name is not as above.
        """
        check_host(host)
        sizes = len(model.table), N_FEATURES, model.n_tuned
        return Hello(host, session, model.table.name[:64], *sizes, fingerprint(model))

    def difference(self, other: Hello) -> str | None:
        """How the other's model differs from this one's, or None."""
        for name, what in (("table", "MCS table"), ("n_mcs", "MCS"), ("n_features", "features"),
                           ("n_weights", "weights")):  # fmt: skip
            mine, others = getattr(self, name), getattr(other, name)
            if mine != others:
                return f"{what}: {others!r} there, {mine!r} here"
        if self.fingerprint != other.fingerprint:
            return f"model: fingerprint {other.fingerprint.hex()} there, {self.fingerprint.hex()} here"
        return None


@dataclass(frozen=True)
class Samples:
    """Joined samples: a `SAMPLE` array, link by link in order of time."""

    records: np.ndarray


@dataclass(frozen=True)
class Heartbeat:
    """The host lives."""


@dataclass(frozen=True)
class Bye:
    """The host leaves."""


@dataclass(frozen=True)
class Welcome:
    """The host was accepted and may have ``window`` samples under way."""

    window: int


@dataclass(frozen=True)
class Models:
    """Models of links: ``links (n,)``, ``versions (n,)``, ``weights`` float32 ``(n, n_weights)``: see
    `LinkTuner.model_of`."""

    links: np.ndarray
    versions: np.ndarray
    weights: np.ndarray


@dataclass(frozen=True)
class Credit:
    """So many samples since WELCOME were learnt or dropped (and counted) by the service."""

    taken: int


@dataclass(frozen=True)
class Refused:
    """The service has nothing to do with this host: a code and a sentence."""

    code: Refusal
    reason: str


Message = Hello | Samples | Heartbeat | Bye | Welcome | Models | Credit | Refused


def model_dtype(n_weights: int) -> np.dtype:
    """A model on the wire: 8 + 4 ``n_weights`` bytes."""
    return np.dtype(
        [
            ("link", "<u2"),
            ("zero", "<u2"),
            ("version", "<u4"),
            ("weights", "<f4", (n_weights,)),
        ]
    )


def encode(message: Message) -> bytes:
    """The bytes of a message.

    Raises:
        ValueError: it does not fit into `MAX_FRAME`.
    """
    match message:
        case Samples(records):
            return _frame(Kind.SAMPLES, records.tobytes(), len(records), N_FEATURES)
        case Models(links, versions, weights):
            records = np.zeros(len(links), model_dtype(weights.shape[1]))
            records["link"], records["version"], records["weights"] = links, versions, weights
            return _frame(Kind.MODELS, records.tobytes(), len(records), weights.shape[1])
        case Credit(taken):
            return _frame(Kind.CREDIT, _CREDIT.pack(taken))
        case Heartbeat():
            return _frame(Kind.HEARTBEAT)
        case Bye():
            return _frame(Kind.BYE)
        case Welcome(window):
            return _frame(Kind.WELCOME, _WELCOME.pack(window))
        case Refused(code, reason):
            return _frame(Kind.REFUSED, reason.encode()[:MAX_REASON], code)
        case Hello():
            body = _HELLO.pack(
                message.session, message.n_features, message.n_mcs, message.n_weights, message.fingerprint,
                message.host.encode(), message.table.encode()[:64],
            )  # fmt: skip
            return _frame(Kind.HELLO, body)


def decode(frame: bytes | memoryview) -> Message:
    """The message in these bytes.

    Raises:
        SchemaError: it is of another schema version.
        WireError: it is not a message; nothing else is raised, and no more memory is used than the frame has.
    """
    if len(frame) > MAX_FRAME:
        raise WireError("too long")
    if len(frame) < _HEADER.size:
        raise WireError("shorter than a header")
    magic, schema, kind, count, width = _HEADER.unpack_from(frame)
    if magic != MAGIC:
        raise WireError("no magic")
    if schema != SCHEMA:
        raise SchemaError("another schema")
    body = memoryview(frame)[_HEADER.size :]
    match kind:
        case Kind.SAMPLES:
            return Samples(_records(body, SAMPLE, count, width, N_FEATURES))
        case Kind.MODELS:
            return _models(body, count, width)
        case Kind.CREDIT:
            return Credit(*_fixed(body, _CREDIT))
        case Kind.HEARTBEAT | Kind.BYE:
            if len(body):
                raise WireError("of wrong length")
            return Heartbeat() if kind == Kind.HEARTBEAT else Bye()
        case Kind.HELLO:
            return _hello(body)
        case Kind.WELCOME:
            return Welcome(*_fixed(body, _WELCOME))
        case Kind.REFUSED:
            return _refused(body, count)
    raise WireError("unknown kind")


def _frame(kind: int, body: bytes = b"", count: int = 0, width: int = 0) -> bytes:
    if _HEADER.size + len(body) > MAX_FRAME:
        raise ValueError(f"a message of {len(body)} bytes: send at most {MAX_FRAME - _HEADER.size}")
    return _HEADER.pack(MAGIC, SCHEMA, kind, count, width) + body


def _fixed(body: memoryview, layout: struct.Struct) -> tuple:
    if len(body) != layout.size:
        raise WireError("of wrong length")
    return layout.unpack(body)


def _records(body: memoryview, dtype: np.dtype, count: int, width: int, wanted: int) -> np.ndarray:
    if width != wanted:
        raise WireError("of wrong width")
    if count * dtype.itemsize != len(body):
        raise WireError("of wrong length")
    return np.frombuffer(body, dtype)


def _models(body: memoryview, count: int, width: int) -> Models:
    if not 0 < width <= MAX_FRAME // 4:  # before a type of that width is made
        raise WireError("of wrong width")
    records = _records(body, model_dtype(width), count, width, width)
    return Models(records["link"], records["version"], records["weights"])


def _hello(body: memoryview) -> Hello:
    session, n_features, n_mcs, n_weights, digest, host, table = _fixed(body, _HELLO)
    name = _text(host)
    if not HOST_NAME.fullmatch(name):
        raise WireError("host name not allowed")
    return Hello(name, session, _text(table), n_mcs, n_features, n_weights, digest)


def _refused(body: memoryview, code: int) -> Refused:
    if len(body) > MAX_REASON:
        raise WireError("of wrong length")
    if code not in set(Refusal):
        raise WireError("unknown refusal")
    return Refused(Refusal(code), _text(bytes(body)))


def _text(raw: bytes) -> str:
    """Printable text from a zero-padded field: it goes into logs."""
    try:
        text = raw.rstrip(b"\0").decode()
    except UnicodeDecodeError:
        raise WireError("text not UTF-8") from None
    if not text.isprintable():
        raise WireError("text not printable")
    return text
