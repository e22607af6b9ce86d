# SPDX-License-Identifier: GPL-3.0-or-later
"""What both ends of the feedback path over ZeroMQ share: a thread that alone touches its socket."""

from __future__ import annotations

import logging
import math
import os
import threading
import time
import weakref

import zmq

log = logging.getLogger("gnuradio.lighttune")

BEAT_S = 0.25
"""A sender says so often at least that it lives, and repeats what might have been lost."""

FRAMES = 256
"""Frames that are received before the thread looks at anything else."""

OPTIONS = (
    (zmq.LINGER, 0),
    (zmq.MAXMSGSIZE, 1024),  # a frame has MAX_FRAME bytes at most, but a handshake with keys more than that
    (zmq.SNDHWM, 256),
    (zmq.RCVHWM, 256),
    (zmq.HEARTBEAT_IVL, 1000),  # of ZeroMQ: a peer whose machine is gone is noticed, and connected anew
    (zmq.HEARTBEAT_TIMEOUT, 3000),
)
_JOIN_S = 2.0


class SocketThread:
    """A thread that owns a socket and can be woken."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._end = threading.Event()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        weakref.finalize(self, os.close, self._wake).atexit = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start, or start anew."""
        self.stop()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._guarded, args=(self._end,), name=self._name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        if self._thread is not None:
            self._end.set()
            self.wake()
            self._thread.join(_JOIN_S)
            self._thread = None

    def wake(self) -> None:
        """Have the thread look at what there is to do."""
        os.eventfd_write(self._wake, 1)

    def _guarded(self, end: threading.Event) -> None:
        try:
            self.run(end)
        except Exception:
            log.exception("%s: internal error, it ends", self._name)

    def run(self, end: threading.Event) -> None:
        """What the thread does until ``end`` is set."""
        raise NotImplementedError

    def poll(self, poller: zmq.Poller, until_s: float) -> dict:
        """Wait until something is there to be done, or until that time; the poller's events."""
        events = dict(poller.poll(max(0, math.ceil((until_s - time.monotonic()) * 1e3))))
        if self._wake in events:
            os.eventfd_read(self._wake)
        return events
