# SPDX-License-Identifier: GPL-3.0-or-later
"""Telemetry: what a link's blocks say to each other, published for whoever listens (monitor, recorder).

One ZeroMQ PUB socket publishes, any number of SUB sockets listen, and none of them can hold the flowgraph up.
A message is one frame of MessagePack, an array of eight:

    ["LTel", schema, session, number, time_s, kind, source, fields]

``session`` is drawn when a publisher starts, ``number`` counts its messages from 0 (those that it had to
drop too, so that a listener sees every gap), ``time_s`` is the publisher's clock (Unix time), ``kind`` one of
`KINDS`, ``source`` the name of who said it, and ``fields`` a map with the keys of the GNU Radio message of
that kind. A vector is an extension of type 1: its elements as little-endian float32.

`decode` raises `TelemetryError` and nothing else, whatever the bytes; its text is a cause from a fixed set.
"""

from __future__ import annotations

import math
import secrets
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgpack
import numpy as np
import zmq

from .fields import (
    KINDS,
    MAX_ITEMS,
    MAX_LONG,
    MAX_TEXT,
    MAX_VECTOR,
    Fields,
    Message,
    TelemetryError,
    check_fields,
    is_name,
)
from .handover import HandOver

SCHEMA = 1
MAGIC = "LTel"
MAX_FRAME = 2**20
"""Bytes of a message at most; ZeroMQ drops the connection to a peer that sends more."""

_VECTOR = 1  # type of the extension
_LINGER_MS = 500


def encode(message: Message) -> bytes:
    """The bytes of a message.

    Raises:
        TelemetryError: it is not one that `decode` would take.
    """
    _check_head(message)
    check_fields(message.kind, message.fields)
    head = MAGIC, SCHEMA, message.session, message.number, message.time_s, message.kind, message.source
    frame = msgpack.packb([*head, message.fields], default=_pack_vector)
    if len(frame) > MAX_FRAME:
        raise TelemetryError("too long")
    return frame


def decode(frame: bytes) -> Message:
    """The message in these bytes.

    Raises:
        TelemetryError: it is not a message of this schema.
    """
    if len(frame) > MAX_FRAME:
        raise TelemetryError("too long")
    try:
        parts = msgpack.unpackb(
            frame,
            ext_hook=_unpack_vector,
            strict_map_key=True,
            max_str_len=4 * MAX_TEXT,  # bytes: of its characters, `check_fields` counts
            max_bin_len=0,
            max_array_len=MAX_ITEMS,
            max_map_len=MAX_ITEMS,
            max_ext_len=4 * MAX_VECTOR,
        )
    except TelemetryError:
        raise
    except Exception:  # msgpack raises a dozen types, also from the decoding of text
        raise TelemetryError("not MessagePack within bounds") from None
    if not isinstance(parts, list) or len(parts) < 2 or not isinstance(parts[0], str) or parts[0] != MAGIC:
        raise TelemetryError("no magic")
    if type(parts[1]) is not int or parts[1] != SCHEMA:
        raise TelemetryError("another schema")
    if len(parts) != 8:
        raise TelemetryError("of wrong length")
    _, _, session, number, time_s, kind, source, fields = parts
    message = Message(kind, source, time_s, number, fields, session)
    _check_head(message)
    check_fields(kind, fields)
    return message


def _check_head(message: Message) -> None:
    for name, limit in (("session", 2**64 - 1), ("number", MAX_LONG)):
        value = getattr(message, name)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= limit:
            raise TelemetryError(f"{name} out of range")
    if not isinstance(message.time_s, float) or not math.isfinite(message.time_s):
        raise TelemetryError("time not finite")
    if not isinstance(message.kind, str) or message.kind not in KINDS:
        raise TelemetryError("unknown kind")
    if not isinstance(message.source, str) or not is_name(message.source):
        raise TelemetryError("source not a name")


def _pack_vector(value: Any) -> msgpack.ExtType:
    return msgpack.ExtType(_VECTOR, value.astype("<f4").tobytes())  # all else was refused before


def _unpack_vector(code: int, data: bytes) -> np.ndarray:
    if code != _VECTOR or len(data) % 4:
        raise TelemetryError("unknown extension")
    return np.frombuffer(data, "<f4").astype(np.float32)


class Publisher:
    """Publishes messages; sending never waits, whoever listens, sleeps or is gone.

    Args:
        endpoint: to bind, as ``"tcp://127.0.0.1:5558"`` or ``"ipc:///run/link"``; port ``*`` for a free one.
        queue: messages that may wait for the publisher's thread, and for each listener's connection, 1 or
            more. A message beyond that is dropped: counted in ``dropped`` if it was the thread's, seen as
            ``Subscriber.missed`` in either case.

    Attributes:
        endpoint: that was bound, with its port number.

    Raises:
        OSError: the endpoint cannot be bound.
        ValueError: ``queue`` is below 1.
    """

    def __init__(self, endpoint: str, queue: int = 4096) -> None:
        if queue < 1:
            raise ValueError(f"queue = {queue!r}: give 1 or more messages that may wait")
        context = zmq.Context()
        socket = context.socket(zmq.PUB)
        socket.setsockopt(zmq.SNDHWM, queue)
        socket.setsockopt(zmq.LINGER, _LINGER_MS)
        try:
            socket.bind(endpoint)
        except zmq.ZMQError as error:
            context.destroy(linger=0)
            raise OSError(
                f"cannot publish on {endpoint!r}: {error}; give a free endpoint such as tcp://127.0.0.1:5558"
            ) from error
        self.endpoint = socket.getsockopt_string(zmq.LAST_ENDPOINT).rstrip("\0")
        self._number = 0
        self._lock = threading.Lock()
        self._sender = _Sender(socket)
        self._hand_over = HandOver(self._sender.send, queue, "telemetry publisher")
        # Neither of the two knows the publisher: it can be collected, and takes them along.
        self._close = weakref.finalize(self, _close, self._hand_over, context)

    @property
    def sent(self) -> int:
        """Messages that went out."""
        return self._sender.sent

    @property
    def refused(self) -> dict[str, int]:
        """Messages that were not fit to go out, by cause."""
        return dict(self._sender.refused)

    @property
    def dropped(self) -> int:
        """Messages that found the queue full."""
        return self._hand_over.dropped

    @property
    def queued(self) -> int:
        """Messages that wait."""
        return len(self._hand_over)

    def send(
        self,
        kind: str,
        source: str,
        fields: Fields | Callable[[], Fields],
        time_s: float | None = None,
    ) -> None:
        """Publish; any thread may, and none waits.

        Args:
            kind: one of `KINDS`.
            source: who says it, 1 to 64 printable characters.
            fields: see `check_fields`; or what makes them, called in the publisher's thread: a
                `TelemetryError` of its own is counted in ``refused``.
            time_s: Unix time in seconds; None for now.
        """
        time_s = time.time() if time_s is None else time_s
        with self._lock:  # numbers go out in their order
            self._hand_over.put((kind, source, fields, time_s, self._number))
            self._number += 1

    def flush(self, timeout_s: float = 1.0) -> bool:
        """Wait until what was sent so far has left the queue; False if that took longer."""
        return self._hand_over.flush(timeout_s)

    def close(self) -> None:
        """Send what waits and give the endpoint back. Harmless when repeated."""
        self._close()

    def __enter__(self) -> Publisher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Sender:
    """The publisher's part that its thread calls."""

    def __init__(self, socket: zmq.Socket) -> None:
        self.session = secrets.randbits(64)
        self.sent = 0
        self.refused: Counter[str] = Counter()
        self._socket = socket

    def send(self, item: tuple) -> None:
        kind, source, fields, time_s, number = item
        try:
            fields = fields() if callable(fields) else fields
            frame = encode(Message(kind, source, time_s, number, fields, self.session))
        except TelemetryError as error:
            self.refused[str(error)] += 1
            return
        self._socket.send(frame, zmq.NOBLOCK)  # of a PUB socket it drops for a listener that is slow
        self.sent += 1


def _close(hand_over: HandOver, context: zmq.Context) -> None:
    hand_over.close()
    context.destroy(linger=_LINGER_MS)


class Subscriber:
    """Listens to a publisher, which may come, go and come back. For one thread.

    Args:
        endpoint: to connect to, as ``"tcp://127.0.0.1:5558"``.
        queue: messages that may wait to be received, 1 or more; the publisher's side drops beyond it.

    Attributes:
        received: messages that `receive` returned.
        missed: messages that the publisher numbered and that never came, since the first one that did.
        restarts: times that another publisher was heard at the endpoint.
        malformed: frames that were no message, counted by cause.

    Raises:
        ValueError: ZeroMQ does not take the endpoint, or ``queue`` is below 1.
    """

    def __init__(self, endpoint: str, queue: int = 16384) -> None:
        if queue < 1:
            raise ValueError(f"queue = {queue!r}: give 1 or more messages that may wait")
        self.endpoint = endpoint
        self.received = self.missed = self.restarts = 0
        self.malformed: Counter[str] = Counter()
        self._session: int | None = None
        self._next = 0
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        for option, value in ((zmq.RCVHWM, queue), (zmq.MAXMSGSIZE, MAX_FRAME), (zmq.LINGER, 0)):
            self._socket.setsockopt(option, value)
        self._socket.setsockopt(zmq.SUBSCRIBE, b"")
        try:
            self._socket.connect(endpoint)
        except zmq.ZMQError as error:
            self.close()
            raise ValueError(
                f"endpoint = {endpoint!r}: {error}; give one such as tcp://127.0.0.1:5558"
            ) from error

    def receive(self, timeout_s: float) -> Message | None:
        """The next message, or None if none came within ``timeout_s`` seconds (0: look and return)."""
        end_s = time.monotonic() + timeout_s
        while True:
            left_s = max(end_s - time.monotonic(), 0.0)
            if not self._socket.poll(math.ceil(1000 * left_s)):
                return None
            parts = self._socket.recv_multipart()
            try:
                if len(parts) != 1:
                    raise TelemetryError("of several parts")
                message = decode(parts[0])
                self._follow(message)
            except TelemetryError as error:
                self.malformed[str(error)] += 1
                if time.monotonic() >= end_s:
                    return None  # a flood of rubbish must not keep us here
                continue
            self.received += 1
            return message

    def close(self) -> None:
        """Stop listening. Harmless when repeated."""
        self._context.destroy(linger=0)

    def _follow(self, message: Message) -> None:
        if message.session != self._session:
            self.restarts += self._session is not None
            self._session = message.session
        elif message.number < self._next:
            raise TelemetryError("number out of order")
        else:
            self.missed += message.number - self._next
        self._next = message.number + 1

    def __enter__(self) -> Subscriber:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
