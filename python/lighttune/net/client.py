# SPDX-License-Identifier: GPL-3.0-or-later
"""A host's end of the tuner service: samples go out, models come in, in a thread of its own."""

from __future__ import annotations

import logging
import math
import os
import re
import secrets
import threading
import time
import weakref
from collections.abc import Callable

import numpy as np
import zmq

from ..core.link_model import LinkModel
from . import wire
from .backlog import Backlog
from .curve import ClientKeys

log = logging.getLogger("gnuradio.lighttune")

SILENCE_S = 2.0
"""A service that was not heard for so long is away."""

BEAT_S = 0.5
"""The service hears from its host this often at least."""

_FIRST_TRY_S, _LAST_TRY_S = 0.5, 5.0  # how long the first and the later attempts to be welcomed take
_BATCH = 2048  # samples in a message at most
_ENDPOINT = re.compile(r"tcp://(?:[\w.%-]+|\[[\w:.%]+\]):(?P<port>\d{1,5})|ipc://(?P<path>.{1,100})")
_BYE_MS = 100  # that a last word may take


class TunerClient:
    """Sends samples to a tuner service and hands on the models that it sends back.

    While the service is away, samples wait in a bounded queue; the client tries again and again, less and
    less often. The service limits how many samples may be under way (its window), so a slow one slows nobody
    down: the oldest samples are dropped here, and counted.

    Args:
        model: the selector's; the service must have the same.
        endpoint: the service's, as ``tcp://host:5555``.
        host: this host's name: the service keeps the links' states under it.
        on_models: called with `wire.Models` in the client's thread.
        on_drop: called with a cause and a count in any thread.
        queue_limit: samples that may wait, 1 or more; the oldest is dropped beyond it.
        keys: to encrypt with, and to be known by; None for plain text.

    Attributes:
        taken: samples that the service has confirmed so far: learnt, or dropped and counted there.
        heard_s: when it was last heard (`time.monotonic`).

    Raises:
        ValueError: the endpoint or the name is not allowed, or the limit is below 1.
    """

    def __init__(
        self,
        model: LinkModel,
        endpoint: str,
        host: str,
        on_models: Callable[[wire.Models], None],
        on_drop: Callable[[str, int], None],
        queue_limit: int = 16384,
        keys: ClientKeys | None = None,
    ) -> None:
        check_endpoint(endpoint)
        self.endpoint = endpoint
        self.heard_s = -math.inf
        self.taken = 0
        self._keys = keys
        self._hello = wire.Hello.of(model, host, secrets.randbits(64))
        self._on_models = on_models
        self._on_drop = on_drop
        self._backlog = Backlog(queue_limit)
        self._away: str | None = "not connected yet"
        self._told: tuple[str, int] | None = None  # why it is away, as logged last
        self._window = self._sent = self._taken = 0  # of the present connection, in samples
        self._end = threading.Event()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        weakref.finalize(self, os.close, self._wake)
        self._thread: threading.Thread | None = None

    @property
    def away(self) -> str | None:
        """None while the service is heard, else why it is not."""
        return self._away

    @property
    def waiting(self) -> int:
        """Samples that wait to be sent."""
        return len(self._backlog)

    @property
    def under_way(self) -> int:
        """Samples that were sent and are not confirmed yet."""
        return max(self._sent - self._taken, 0)

    def start(self) -> None:
        """Connect, and stay connected until `stop`."""
        self.stop()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(self._end,), name="tuner client", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = 2.0) -> None:
        """Say BYE and end the thread."""
        if self._thread is not None:
            self._end.set()
            os.eventfd_write(self._wake, 1)
            self._thread.join(timeout_s)
            self._thread = None

    def submit(self, records: np.ndarray) -> None:
        """Queue samples, a `wire.SAMPLE` array ``(n,)``, in order of time; returns at once."""
        excess = self._backlog.put(records)
        if excess:
            self._on_drop("service: queue overflow", excess)
        if self._away is None:
            os.eventfd_write(self._wake, 1)

    def _run(self, end: threading.Event) -> None:
        context, try_s = zmq.Context(), _FIRST_TRY_S
        try:
            while not end.is_set():
                welcomed = self._converse(context, end, try_s)
                try_s = _FIRST_TRY_S if welcomed else min(2.0 * try_s, _LAST_TRY_S)
        except Exception:
            self._lose("internal error")
            log.exception("tuner client: internal error, it gives up")
        finally:
            context.destroy(linger=_BYE_MS)

    def _converse(self, context: zmq.Context, end: threading.Event, try_s: float) -> bool:
        """Live with one socket until the service falls silent; whether it welcomed us."""
        socket = _open(context, self.endpoint, self._keys)
        poller = zmq.Poller()
        poller.register(self._wake, zmq.POLLIN)
        welcomed, beat_s = False, math.inf
        self._send(socket, self._hello)
        give_up_s = time.monotonic() + try_s
        while (now_s := time.monotonic()) < give_up_s and not end.is_set():
            if self._away is None and now_s >= beat_s:
                beat_s = now_s + BEAT_S
                self._send(socket, wire.Heartbeat())
            can_send = self._away is None and self.waiting and self.under_way < self._window
            poller.register(socket, zmq.POLLIN | (zmq.POLLOUT if can_send else 0))
            events = dict(poller.poll(math.ceil((min(give_up_s, beat_s) - now_s) * 1e3)))
            if self._wake in events:
                os.eventfd_read(self._wake)
            if events.get(socket, 0) & zmq.POLLIN:
                self._receive(socket)
                if self._away is None:
                    welcomed, give_up_s = True, self.heard_s + SILENCE_S
                    beat_s = min(beat_s, self.heard_s + BEAT_S)
            if events.get(socket, 0) & zmq.POLLOUT:
                self._send_samples(socket)
        if end.is_set():
            self._send(socket, wire.Bye())
            self._lose("stopped")
        elif welcomed:
            self._lose(f"not heard for {SILENCE_S:g} s")
        elif not (self._away or "").startswith("refused"):
            why = "no answer" if self._keys is None else "no answer: not there, or it does not allow this key"
            self._lose(why, logging.WARNING if try_s >= SILENCE_S else logging.INFO)
        socket.close(linger=_BYE_MS if end.is_set() else 0)
        return welcomed

    def _receive(self, socket: zmq.Socket) -> None:
        """Take all that has come."""
        while True:
            try:
                frames = socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            try:
                if len(frames) != 1:
                    raise wire.WireError("not one frame")
                self._take(socket, wire.decode(frames[0]))
            except wire.WireError as error:
                self._on_drop(f"service: message {error}", 1)

    def _take(self, socket: zmq.Socket, message: wire.Message) -> None:
        match message:
            case wire.Welcome(window):
                self._window, self._sent, self._taken = window, 0, 0
                self._away = None
                log.info("tuner service %s: connected", self.endpoint)
            case wire.Refused(wire.Refusal.UNKNOWN):
                if self._away is None:  # it started anew; what else was under way brings the same answer
                    self._lose("it started anew")
                    self._send(socket, self._hello)
            case wire.Refused(_, reason):
                self._lose(f"refused: {reason}")
            case wire.Models(_, _, weights):
                if weights.shape[1] != self._hello.n_weights:
                    raise wire.WireError("with weights of another model")
                self._on_models(message)
            case wire.Credit(taken):
                self.taken += max(taken - self._taken, 0)
                self._taken = max(taken, self._taken)
            case _:
                raise wire.WireError("not for a host")
        self.heard_s = time.monotonic()

    def _send_samples(self, socket: zmq.Socket) -> None:
        records = self._backlog.take(min(_BATCH, self._window - self.under_way))
        if len(records) and self._send(socket, wire.Samples(records)):
            self._sent += len(records)
        elif len(records):
            self._on_drop("service: could not be sent", len(records))

    def _lose(self, reason: str, level: int = logging.WARNING) -> None:
        """Note that the service is away, and what is lost with it."""
        if self.under_way:
            self._on_drop("service: unconfirmed when it was lost", self.under_way)
        self._window = self._sent = self._taken = 0
        if (reason, level) != self._told and not self._end.is_set():
            log.log(level, "tuner service %s is away: %s", self.endpoint, reason)
        self._away, self._told = reason, (reason, level)

    def _send(self, socket: zmq.Socket, message: wire.Message) -> bool:
        try:
            socket.send(wire.encode(message), zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True


def check_endpoint(endpoint: str) -> None:
    """Refuse what no client can connect to.

    Raises:
        ValueError: it is not ``tcp://HOST:PORT`` or ``ipc://PATH``.
    """
    match = _ENDPOINT.fullmatch(
        endpoint
    )  # by its looks: a socket that tries it would call at the server's door
    if match is None or not (match["path"] or 1 <= int(match["port"]) <= 65535):
        raise ValueError(f"endpoint = {endpoint!r}: no endpoint; give tcp://HOST:PORT or ipc://PATH")


def _open(context: zmq.Context, endpoint: str, keys: ClientKeys | None) -> zmq.Socket:
    socket = context.socket(zmq.DEALER)
    for option, value in (
        (zmq.SNDHWM, 16),
        (zmq.RCVHWM, 64),
        (zmq.MAXMSGSIZE, wire.MAX_FRAME),
        (zmq.RECONNECT_IVL, 100),
        (zmq.RECONNECT_IVL_MAX, 1000),
    ):
        socket.setsockopt(option, value)
    if keys is not None:
        keys.secure(socket)
    socket.connect(endpoint)
    return socket
