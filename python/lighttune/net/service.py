# SPDX-License-Identifier: GPL-3.0-or-later
"""The tuner service: one tuner for many links of many hosts, behind a ZeroMQ ROUTER socket.

One loop in one thread receives, learns, and answers; only files are written by another. Samples of all hosts
are learnt in common batches, link by link in order. Each host has a queue of its own, which gives up its
oldest samples: a host that floods the service fills its own queue only. Who may connect, and speak for what,
is up to the `Gate`.
"""

from __future__ import annotations

import logging
import math
import os
import time
import weakref
from dataclasses import dataclass

import zmq

from ..core.link_tuner import LinkTuner
from . import wire
from .gate import Gate
from .hosts import Host, Hosts
from .journal import Seldom, say
from .learning import EVEN_S, Learning
from .metrics import Metrics
from .pool import LinkPool
from .rates import Rates
from .store import Saver, StateFile

BEAT_S = 0.5
"""Every host hears from the service this often at least."""

_HELLO_HZ, _HELLOS = 10.0, 50.0  # of one peer: each has all its links told anew
_FRAMES = 256  # that are received before the next batch is learnt
_PUBLISH_S, _PUBLISHED = 0.02, 256  # so many models so often at most: 50 a second of a link, some 30 MB/s
_WIDEST = 16 + 4096 * wire.SAMPLE.itemsize  # bytes of a message that is received at most


@dataclass(frozen=True)
class ServiceSettings:
    """What a service keeps to.

    Args:
        rate_hz: samples that are learnt per second at most, above 0.
        queue_limit: samples of each host that may wait, and be under way, 1 or more; the oldest goes first.
        max_hosts: 1 or more.
        save_s: seconds from one save of the state to the next, above 0.

    Raises:
        ValueError: a value is out of range.
    """

    rate_hz: float = math.inf
    queue_limit: int = 16384
    max_hosts: int = 256
    save_s: float = 30.0

    def __post_init__(self) -> None:
        if not self.rate_hz > 0:
            raise ValueError(f"rate_hz = {self.rate_hz!r}: give a number of samples per second above 0")
        if self.queue_limit < 1 or self.max_hosts < 1:
            raise ValueError(
                f"queue_limit = {self.queue_limit!r}, max_hosts = {self.max_hosts!r}: give 1 or more of each"
            )
        if not self.save_s > 0:
            raise ValueError(f"save_s = {self.save_s!r}: give a time in seconds above 0")


class Service:
    """Tunes the links of all hosts that say HELLO with its own model.

    Args:
        tuner: a fresh one.
        bind: ZeroMQ endpoint, as ``tcp://127.0.0.1:5555`` or ``ipc:///run/lighttune``; port ``*`` for a free
            one.
        state: file that keeps the links' states; None keeps none.
        settings: None for the defaults.
        watch_fd: a file descriptor whose end of file ends the service.
        key: file with the service's secret key; empty for plain text, from anybody.
        allowed: which hosts may connect, and for which links they may speak: see `gate`. A host's name must
            then be that of its key, or that with a dot and more behind it.
        insecure: plain text may go beyond this machine.

    Attributes:
        endpoint: where it really listens, once made.
        metrics: what it counts.

    Raises:
        OSError: the endpoint or the file cannot be used (``zmq.ZMQError`` is one).
        ValueError: the state is of another model; or as `Gate` and `Gate.bind`.
    """

    def __init__(
        self,
        tuner: LinkTuner,
        bind: str,
        state: str | os.PathLike | None = None,
        settings: ServiceSettings | None = None,
        watch_fd: int | None = None,
        key: str | os.PathLike = "",
        allowed: str | os.PathLike = "",
        insecure: bool = False,
    ) -> None:
        self.settings = settings or ServiceSettings()
        self.metrics = Metrics()
        self.pool = LinkPool(tuner, archive_limit=4 * tuner.max_links)
        model = wire.Hello.of(tuner.model, "service")
        self._context = zmq.Context()
        self._gate = Gate(self._context, key, allowed, insecure)
        self._rates = Rates(_HELLO_HZ, _HELLOS)
        share = max(1, self.settings.max_hosts // max(1, len(self._gate.names)))
        self.hosts = Hosts(model, self.settings.max_hosts, self.settings.queue_limit, share)
        self._learning = Learning(self.pool, self.hosts, self.metrics, self.settings.rate_hz, self._drop)
        self._saver: Saver | None = None
        if state is not None:
            limit = self.pool.archive_limit + tuner.max_links
            self._saver = Saver(StateFile(state, model.fingerprint, tuner.record, limit), self.metrics)
            self._restore(self._saver.file)
        self._seldom = Seldom()
        self._ending = False
        self._socket = _socket(self._context)
        try:
            self.endpoint = self._gate.bind(self._socket, bind)
        except Exception:
            self._context.destroy(linger=0)
            raise
        self._poller = zmq.Poller()
        self._poller.register(self._socket, zmq.POLLIN)
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        weakref.finalize(self, os.close, self._wake)
        self._poller.register(self._wake, zmq.POLLIN)
        self._watch_fd = watch_fd
        if watch_fd is not None:
            self._poller.register(watch_fd, zmq.POLLIN)
        self.orphaned = False
        about = {"model": model.table, "fingerprint": model.fingerprint.hex()}
        say(logging.INFO, "listening", endpoint=self.endpoint, max_links=tuner.max_links, **about)

    def stop(self) -> None:
        """End `run` soon; any thread and any signal handler may call it."""
        self._ending = True
        os.eventfd_write(self._wake, 1)

    def run(self) -> None:
        """Serve until `stop`; then save the state."""
        try:
            self._serve()
        finally:
            self._close()

    def _serve(self) -> None:
        beat_s = publish_s = learn_s = time.monotonic()
        save_s = beat_s + self.settings.save_s
        with self._gate.watching(self._socket, self._poller):
            while not self._ending:
                waiting = self.hosts.waiting()
                due_s = min(beat_s, publish_s, learn_s if waiting else math.inf)
                self._receive(max(0.0, due_s - time.monotonic()))
                now_s = time.monotonic()
                if now_s >= learn_s:
                    learn_s = max(learn_s, now_s - EVEN_S) + self._learn() / self.settings.rate_hz
                if now_s >= publish_s:
                    publish_s = now_s + _PUBLISH_S if self._publish() else math.inf
                elif publish_s == math.inf and self.pool.any_marked():
                    publish_s = now_s
                if now_s >= beat_s:
                    beat_s = now_s + BEAT_S
                    self._beat(now_s)
                if now_s >= save_s and self._saver is not None:
                    save_s = now_s + self.settings.save_s
                    if self._learning.unsaved:
                        self._learning.unsaved = False
                        self._saver.begin(*self.pool.snapshot())

    def _receive(self, timeout_s: float) -> None:
        """Take what has come, waiting for it if need be."""
        events = dict(self._poller.poll(math.ceil(timeout_s * 1e3)))
        if self._watch_fd in events and not os.read(self._watch_fd, 1024):
            say(logging.WARNING, "parent gone")
            self.orphaned = self._ending = True
        for cause, n in self._gate.attend(events).items():
            self.metrics.refused.labels("key").inc(n)
            self._seldom.add("host refused", cause, n)
        for _ in range(_FRAMES if self._socket in events else 0):
            try:
                origin, *frames = self._socket.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                break
            route = origin.bytes
            try:
                if len(frames) != 1:
                    raise wire.WireError("not one frame")
                self._take(route, self._gate.peer(frames), wire.decode(frames[0].bytes))
            except wire.WireError as error:
                self._drop("malformed message", f"wire: {error}")
                if isinstance(error, wire.SchemaError):
                    self._refuse(route, wire.Refusal.SCHEMA, f"this service speaks schema {wire.SCHEMA}")

    def _take(self, route: bytes, peer: str, message: wire.Message) -> None:
        now_s = time.monotonic()
        if isinstance(message, wire.Hello):
            self._hello(route, peer, message, now_s)
            return
        host = self.hosts.at(route, peer)
        if host is None:
            self._refuse(route, wire.Refusal.UNKNOWN, "say HELLO first: this service does not know you")
            return
        host.heard_s = now_s
        match message:
            case wire.Samples(records):
                self._learning.queue(host, records, self._gate.may_speak(peer, records["link"]))
            case wire.Bye():
                self.hosts.leave(host)
            case wire.Heartbeat():
                pass
            case _:
                self._drop("malformed message", "wire: not for a service")

    def _hello(self, route: bytes, peer: str, hello: wire.Hello, now_s: float) -> None:
        if not self._rates.within(peer or route, now_s):
            self._drop("overload", "hello: over its peer's rate")
            return
        if self._gate.may_be_called(peer, hello.host):
            answer = self.hosts.hello(route, hello, now_s, peer)
        else:
            words = f"this key is called {peer} here: call the host so, or {peer}.SOMETHING"
            answer = wire.Refused(wire.Refusal.NAME, words)
        if isinstance(answer, wire.Refused):
            self._refuse(route, answer.code, answer.reason, hello.host)
            return
        self._send(route, answer)
        self.pool.mark(self.pool.rows_of_host(hello.host))  # it may have started anew, knowing nothing

    def _learn(self) -> int:
        """Learn one batch of what waits; returns its size."""
        learnt = self._learning.learn()
        for host, _ in learnt:
            self._credit(host)
        return sum(n for _, n in learnt)

    def _publish(self) -> bool:
        """Send changed models, those that wait longest; whether there were any."""
        marked = self.pool.marked(_PUBLISHED)
        per_frame = max(1, (wire.MAX_FRAME - 16) // wire.model_dtype(self.hosts.model.n_weights).itemsize)
        for name, rows in marked:
            host = self.hosts.named(name)
            if host is None or host.route is None:
                self.pool.told(rows)  # when it comes back it is told everything
                continue
            for start in range(0, len(rows), per_frame):
                part = rows[start : start + per_frame]
                links, versions, weights = self.pool.models(part)
                if not self._send(host.route, wire.Models(links, versions, weights)):
                    self.pool.put_off(rows[start:])  # it reads too slowly: newer ones may replace these
                    break
                self.pool.told(part)
                self.metrics.models.inc(len(part))
        return bool(marked)

    def _credit(self, host: Host) -> None:
        if host.route is not None:
            self._send(host.route, wire.Credit(max(host.taken, 0)))

    def _beat(self, now_s: float) -> None:
        for host in self.hosts.present():
            self._credit(host)
        self.hosts.lose_silent(now_s)
        for name in self.hosts.long_gone(now_s):
            say(logging.INFO, "host forgotten", host=name, archived=self.pool.drop_host(name))
        forgotten, self.pool.forgotten = self.pool.forgotten, 0
        self._drop("links forgotten", "archive: full, a link's state", forgotten)
        self.metrics.queued.set(self.hosts.waiting())
        self.metrics.links.set(len(self.pool))
        self.metrics.archived.set(self.pool.in_archive)
        self.metrics.hosts.set(len(self.hosts))
        self._seldom.flush(now_s)

    def _drop(self, event: str, cause: str, n: int = 1) -> None:
        if n:
            self.metrics.dropped.labels(cause).inc(n)
            self._seldom.add(event, cause, n)

    def _refuse(self, route: bytes, code: wire.Refusal, reason: str, host: str = "") -> None:
        self._send(route, wire.Refused(code, reason))
        self.metrics.refused.labels(code.name.lower()).inc()
        if code is not wire.Refusal.UNKNOWN:  # that one is part of every restart
            self._seldom.add("host refused", f"{host}: {reason}" if host else reason)

    def _send(self, route: bytes, message: wire.Message) -> bool:
        """Send, if that is possible at once."""
        try:
            self._socket.send_multipart([route, wire.encode(message)], zmq.NOBLOCK)
        except zmq.ZMQError:  # gone, or its queue is full
            return False
        return True

    def _restore(self, file: StateFile) -> None:
        begin_s = time.perf_counter()
        keys, records, warnings = file.load()
        for warning in warnings:
            say(logging.WARNING, "state not read", reason=warning)
        if keys:
            self.pool.fill(keys, records)
            say(logging.INFO, "restored", file=str(file.path), links=len(keys),
                seconds=round(time.perf_counter() - begin_s, 3))  # fmt: skip

    def _close(self) -> None:
        if self._saver is not None and not self.orphaned:
            self._saver.finish(*self.pool.snapshot())
        self._seldom.flush(math.inf)
        say(logging.INFO, "stopped", links=len(self.pool))
        self._context.destroy(linger=0)


def _socket(context: zmq.Context) -> zmq.Socket:
    socket = context.socket(zmq.ROUTER)
    for option, value in (
        (zmq.LINGER, 0),
        (zmq.ROUTER_MANDATORY, 1),  # a host that is gone or slow is an error here, not a silent loss
        (zmq.MAXMSGSIZE, _WIDEST),
        (zmq.RCVHWM, 64),
        (zmq.SNDHWM, 16),
        (zmq.HEARTBEAT_IVL, 2000),  # of ZeroMQ: it notices hosts whose machine is gone
        (zmq.HEARTBEAT_TIMEOUT, 6000),
        (zmq.HANDSHAKE_IVL, 5000),
    ):
        socket.setsockopt(option, value)
    return socket
