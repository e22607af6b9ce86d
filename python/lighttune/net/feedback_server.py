# SPDX-License-Identifier: GPL-3.0-or-later
"""The feedback path over ZeroMQ at the transmitter's host."""

from __future__ import annotations

import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable

import zmq

from .curve import Gate, is_local
from .feedback_frame import Beat, Echo, Frame, FrameError, Report, decode, encode
from .feedback_reader import FeedbackReader, News
from .feedback_socket import BEAT_S, FRAMES, OPTIONS, SocketThread, log

MAX_PEERS = 64
"""Peers whose rates a server keeps; the one that was silent longest is forgotten beyond it."""


class FeedbackServer(SocketThread):
    """Receives frames, hands what is new in them on, and answers beats.

    Args:
        endpoint: to bind to, as ``tcp://*:5557``; with ``:*`` a free port is taken.
        reader: judges the frames.
        on_news: called with a link's number and `News`, in the server's thread.
        on_drop: called with a cause, in the server's thread.
        rate_hz: frames per second that are taken from one peer (a key, or else a connection), above 0; it may
            save up one second's.
        key: file with the server's secret key; empty for plain text, from anybody.
        allowed: folder with the public keys of those who may connect.

    Attributes:
        endpoint: where it really listens.

    Raises:
        OSError: the endpoint cannot be listened on, or a file not read.
        ValueError: a file is not a key, or there is a key without a list of who is allowed, or the reverse.
    """

    def __init__(
        self,
        endpoint: str,
        reader: FeedbackReader,
        on_news: Callable[[int, News], None],
        on_drop: Callable[[str], None],
        rate_hz: float = 5000.0,
        key: str = "",
        allowed: str = "",
    ) -> None:
        if bool(key) != bool(allowed):
            raise ValueError(
                f"key = {key!r}, allowed = {allowed!r}: give both of them, or none for plain text"
            )
        super().__init__("feedback server")
        self.endpoint = endpoint
        self._reader = reader
        self._on_news = on_news
        self._on_drop = on_drop
        self._rate_hz = rate_hz
        self._rates: OrderedDict[bytes, tuple[float, float]] = OrderedDict()  # frames it may send, as of when
        self._context = zmq.Context()
        try:
            self._gate = Gate(self._context, key, allowed) if key else None
            self._socket = (
                self._listen()
            )  # for good: whether it works must show here, not in a block's thread
        except Exception:
            self._context.destroy(linger=0)
            raise
        gate = [] if self._gate is None else [self._gate.socket]
        # Not at exit: the thread may still be at it then. It holds a reference, so this comes after its end.
        weakref.finalize(self, _close, self._context, [self._socket, *gate]).atexit = False
        if self._gate is None and not is_local(self.endpoint):
            log.warning(
                "%s: open to all: let only the receivers' hosts reach it, or give keys", self.endpoint
            )

    @property
    def refused(self) -> int:
        """Clients that were turned away: their keys are not on the list."""
        return 0 if self._gate is None else self._gate.refused

    def _listen(self) -> zmq.Socket:
        socket = self._context.socket(zmq.ROUTER)
        if self._gate is not None:
            self._gate.secure(socket)
        for option, value in (*OPTIONS, (zmq.HANDSHAKE_IVL, 5000)):
            socket.setsockopt(option, value)
        try:
            socket.bind(self.endpoint)
        except zmq.ZMQError as error:
            socket.close()
            raise OSError(
                f"cannot listen on {self.endpoint!r}: {error}; give a free endpoint such as tcp://*:5557"
            ) from error
        self.endpoint = socket.getsockopt_string(zmq.LAST_ENDPOINT)
        return socket

    def run(self, end: threading.Event) -> None:
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._wake, zmq.POLLIN)
        if self._gate is not None:
            poller.register(self._gate.socket, zmq.POLLIN)
        while not end.is_set():
            events = self.poll(poller, time.monotonic() + BEAT_S)
            if self._gate is not None and self._gate.socket in events:
                self._gate.answer()
            if self._socket in events:
                self._receive(self._socket)

    def _receive(self, socket: zmq.Socket) -> None:
        for _ in range(FRAMES):
            try:
                route, *parts = socket.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            now_s = time.monotonic()
            try:
                if not self._within_rate(self._peer(route, parts), now_s):
                    raise FrameError("over its peer's rate")
                if len(parts) != 1:
                    raise FrameError("malformed: not one part")
                self._take(socket, route.bytes, _decoded(parts[0].bytes), now_s)
            except FrameError as error:
                self._on_drop(str(error))

    def _take(self, socket: zmq.Socket, route: bytes, frame: Frame, now_s: float) -> None:
        match frame:
            case Report():
                self._on_news(frame.link, self._reader.take(frame, now_s))
            case Beat(epoch, number):
                self._reader.heard(epoch, now_s)
                try:
                    socket.send_multipart([route, encode(Echo(epoch, number))], zmq.NOBLOCK)
                except zmq.ZMQError:  # gone, or it does not read
                    self._on_drop("echo could not be sent")
            case Echo():
                raise FrameError("not for a transmitter")

    def _peer(self, route: zmq.Frame, parts: list[zmq.Frame]) -> bytes:
        """Who it is: by its key, if it has one; else its connection."""
        return parts[0]["User-Id"].encode() if self._gate is not None and parts else route.bytes

    def _within_rate(self, peer: bytes, now_s: float) -> bool:
        saved, at_s = self._rates.pop(peer, (self._rate_hz, now_s))
        saved = min(saved + self._rate_hz * (now_s - at_s), max(self._rate_hz, 1.0))
        within = saved >= 1.0
        self._rates[peer] = saved - within, now_s
        if len(self._rates) > MAX_PEERS:
            self._rates.popitem(last=False)
        return within


def _close(context: zmq.Context, sockets: list[zmq.Socket]) -> None:
    for socket in sockets:
        socket.close(linger=0)
    context.term()


def _decoded(data: bytes) -> Frame:
    try:
        return decode(data)
    except FrameError as error:
        raise FrameError(f"malformed: {error}") from None
