# SPDX-License-Identifier: GPL-3.0-or-later
"""The feedback path over ZeroMQ at the transmitter's host."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable

import zmq

from .curve import is_local
from .feedback_frame import Beat, Echo, Frame, FrameError, Report, decode, encode
from .feedback_reader import FeedbackReader, News
from .feedback_socket import BEAT_S, FRAMES, OPTIONS, SocketThread, log
from .gate import Gate
from .rates import Rates


class FeedbackServer(SocketThread):
    """Receives frames, hands what is new in them on, and answers beats.

    Args:
        endpoint: to bind to, as ``tcp://*:5557`` (with a key); with ``:*`` a free port is taken.
        reader: judges the frames.
        on_news: called with a link's number and `News`, in the server's thread.
        on_drop: called with a cause, in the server's thread.
        rate_hz: frames per second that are taken from one peer (a key, or else a connection), above 0; it may
            save up one second's.
        key: file with the server's secret key; empty for plain text, from anybody.
        allowed: who may connect, and for which links they may speak: see `gate`.
        insecure: plain text may go beyond this machine.

    Attributes:
        endpoint: where it really listens.

    Raises:
        OSError: the endpoint cannot be listened on, or a file not read.
        ValueError: as `Gate` and `Gate.bind`.
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
        insecure: bool = False,
    ) -> None:
        super().__init__("feedback server")
        self.endpoint = endpoint
        self._reader = reader
        self._on_news = on_news
        self._on_drop = on_drop
        self._rates = Rates(rate_hz, burst=rate_hz)
        self._context = zmq.Context()
        try:
            self._gate = Gate(self._context, key, allowed, insecure)
            self._socket = (
                self._listen()
            )  # for good: whether it works must show here, not in a block's thread
        except Exception:
            self._context.destroy(linger=0)
            raise
        # Not at exit: the thread may still be at it then. It holds a reference, so this comes after its end.
        weakref.finalize(self, _close, self._context, self._socket, self._gate).atexit = False
        if not key and not is_local(self.endpoint):
            log.warning(
                "%s: open to all: let only the receivers' hosts reach it, or give keys", self.endpoint
            )

    @property
    def refused(self) -> int:
        """Connections that were turned away: by somebody with no key, or one that is not on the list."""
        return self._gate.refused.total()

    def _listen(self) -> zmq.Socket:
        socket = self._context.socket(zmq.ROUTER)
        for option, value in (*OPTIONS, (zmq.HANDSHAKE_IVL, 5000)):
            socket.setsockopt(option, value)
        self.endpoint = self._gate.bind(socket, self.endpoint)
        return socket

    def run(self, end: threading.Event) -> None:
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._wake, zmq.POLLIN)
        with self._gate.watching(self._socket, poller):
            while not end.is_set():
                events = self.poll(poller, time.monotonic() + BEAT_S)
                self._gate.attend(events)
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
                peer = self._gate.peer(parts)
                if not self._rates.within(peer or route.bytes, now_s):
                    raise FrameError("over its peer's rate")
                if len(parts) != 1:
                    raise FrameError("malformed: not one part")
                self._take(socket, route.bytes, peer, _decoded(parts[0].bytes), now_s)
            except FrameError as error:
                self._on_drop(str(error))

    def _take(self, socket: zmq.Socket, route: bytes, peer: str, frame: Frame, now_s: float) -> None:
        match frame:
            case Report():
                if not self._gate.may_speak(peer, frame.link):
                    raise FrameError("link not allowed")
                self._on_news(frame.link, self._reader.take(frame, now_s))
            case Beat(epoch, number):
                self._reader.heard(epoch, now_s)
                try:
                    socket.send_multipart([route, encode(Echo(epoch, number))], zmq.NOBLOCK)
                except zmq.ZMQError:  # gone, or it does not read
                    self._on_drop("echo could not be sent")
            case Echo():
                raise FrameError("not for a transmitter")


def _close(context: zmq.Context, socket: zmq.Socket, gate: Gate) -> None:
    gate.close()
    socket.close(linger=0)
    context.term()


def _decoded(data: bytes) -> Frame:
    try:
        return decode(data)
    except FrameError as error:
        raise FrameError(f"malformed: {error}") from None
