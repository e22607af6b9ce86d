# SPDX-License-Identifier: GPL-3.0-or-later
"""The feedback path over ZeroMQ at the receiver's host.

Nothing waits for the network: what cannot be sent at once is counted, and told again by the next frame.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, OrderedDict

import zmq

from ..core.messages import MAX_SEQ
from .client import check_endpoint
from .curve import ClientKeys
from .feedback_frame import Beat, Echo, FrameError, decode, encode
from .feedback_reader import SILENCE_S
from .feedback_socket import BEAT_S, FRAMES, OPTIONS, SocketThread
from .feedback_writer import FeedbackWriter


class FeedbackClient(SocketThread):
    """Sends the frames of a `FeedbackWriter` to a `FeedbackServer`, as soon as there are any.

    It connects by itself, as often as it takes. While there is no connection nothing queues up: the writer
    keeps the last blocks' verdicts, and they go out with the first frame thereafter.

    Args:
        endpoint: the server's, as ``tcp://tx-host:5557``.
        writer: whose frames are sent.
        keys: to encrypt with, and to be known by; None for plain text.

    Attributes:
        counts: ``frames`` sent, ``frames_unsent`` (no connection, or its queue was full), ``beats``.
        rtt_s: how long the last beat and its echo took; None before the first.

    Raises:
        ValueError: the endpoint is not allowed.
    """

    def __init__(self, endpoint: str, writer: FeedbackWriter, keys: ClientKeys | None = None) -> None:
        check_endpoint(endpoint)
        super().__init__("feedback client")
        self.endpoint = endpoint
        self.counts: Counter[str] = Counter()
        self.rtt_s: float | None = None
        self._writer = writer
        self._keys = keys
        self._heard_s = -math.inf
        self._beat = 0
        self._beaten_s: OrderedDict[int, float] = OrderedDict()

    @property
    def silent(self) -> bool:
        """The server was not heard for `SILENCE_S`."""
        return time.monotonic() - self._heard_s > SILENCE_S

    def run(self, end: threading.Event) -> None:
        with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
            for option, value in (
                *OPTIONS,
                (zmq.IMMEDIATE, 1),  # no connection, no queue: stale frames help nobody
                (zmq.RECONNECT_IVL, 50),
                (zmq.RECONNECT_IVL_MAX, 1000),
            ):
                socket.setsockopt(option, value)
            if self._keys is not None:
                self._keys.secure(socket)
            socket.connect(self.endpoint)
            poller = zmq.Poller()
            poller.register(socket, zmq.POLLIN)
            poller.register(self._wake, zmq.POLLIN)
            beat_s = time.monotonic()
            while not end.is_set():
                if socket in self.poll(poller, beat_s):
                    self._receive(socket)
                now_s = time.monotonic()
                if now_s >= beat_s:
                    beat_s = now_s + BEAT_S
                    self._send_beat(socket, now_s)
                    self._writer.repeat()
                self.counts["frames"] += self._writer.flush(lambda _link, _number, f: self._report(socket, f))

    def _send_beat(self, socket: zmq.Socket, now_s: float) -> None:
        if not self._send(socket, encode(Beat(self._writer.epoch, self._beat))):
            return
        self.counts["beats"] += 1
        self._beaten_s[self._beat] = now_s
        if len(self._beaten_s) > 64:
            self._beaten_s.popitem(last=False)
        self._beat = (self._beat + 1) & MAX_SEQ

    def _report(self, socket: zmq.Socket, frame: bytes) -> bool:
        sent = self._send(socket, frame)
        self.counts["frames_unsent"] += not sent
        return sent

    @staticmethod
    def _send(socket: zmq.Socket, frame: bytes) -> bool:
        try:
            socket.send(frame, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def _receive(self, socket: zmq.Socket) -> None:
        for _ in range(FRAMES):
            try:
                frames = socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            try:
                echo = decode(frames[0]) if len(frames) == 1 else None
            except FrameError:
                echo = None
            if isinstance(echo, Echo) and echo.epoch == self._writer.epoch:
                self._heard_s = time.monotonic()
                sent_s = self._beaten_s.pop(echo.number, None)
                if sent_s is not None:
                    self.rtt_s = self._heard_s - sent_s
            else:
                self.counts["bad_echoes"] += 1
