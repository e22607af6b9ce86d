# SPDX-License-Identifier: GPL-3.0-or-later
"""What all message blocks share: handlers that never raise, drops counted by cause, and a `status` port."""

from __future__ import annotations

import functools
import logging
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pmt
from gnuradio import gr

from ._messages import Refused

STATUS_PERIOD_S = 0.25
"""`status` is published at most this often, and when the flowgraph stops."""

JOIN_S = 2.0
"""How long `stop` waits for a thread to end."""

_GATHER_S, _AT_ONCE, _PAUSE_S = 0.004, 4, 1e-4  # see `MessageBlock.give_way`

log = logging.getLogger("gnuradio.lighttune")


class Counters:
    """Named counters; `add` may be called from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, int] = {}

    def add(self, name: str, n: int = 1) -> None:
        """Count ``n`` more."""
        with self._lock:
            self._counts[name] = self._counts.get(name, 0) + n

    def __getitem__(self, name: str) -> int:
        return self._counts.get(name, 0)

    def as_dict(self) -> dict[str, int]:
        """A copy."""
        with self._lock:
            return dict(self._counts)


def handles(port: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a method the handler of a message port: whatever it raises is counted and goes no further.

    An exception that escaped would end the block's thread while the flowgraph goes on.
    """

    def decorate(method: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(method)  # GNU Radio finds the handler by its name
        def guarded(self: MessageBlock, message: pmt.pmt_base) -> None:
            with self.guard(port):
                method(self, message)

        guarded.port = port
        return guarded

    return decorate


class HierBlock(gr.hier_block2):
    """A hierarchical block that can be freed.

    GNU Radio 3.10 never frees one with message ports, nor its buffers: the edges from and to its own ports
    hold it, and ``disconnect_all`` leaves them. They are cut when the Python object goes.
    """

    def __init__(self, name: str, inputs: gr.io_signature, outputs: gr.io_signature) -> None:
        gr.hier_block2.__init__(self, name, inputs, outputs)
        self._edges: list[tuple[Any, str, Any, str]] = []
        weakref.finalize(self, _cut, self._impl, self._edges).atexit = False

    def msg_connect(self, source: Any, output: str, sink: Any, port: str) -> None:
        """As GNU Radio's."""
        super().msg_connect(source, output, sink, port)
        self._edges.append((source.to_basic_block(), output, sink.to_basic_block(), port))


def _cut(hier: Any, edges: list[tuple[Any, str, Any, str]]) -> None:
    for edge in edges:
        with suppress(RuntimeError):  # once the edge is gone: nobody subscribes to a hierarchical port
            hier.primitive_msg_disconnect(*edge)
    hier.disconnect_all()


class MessageBlock(gr.basic_block):
    """A block without streams: message ports, counters, and a thread for time-outs and status.

    A subclass marks its handlers with `handles`, names its outputs, and may override `tick` (called every
    ``tick_s`` seconds while the flowgraph runs, in the thread that `start` and `stop` own) and `details`
    (its part of the status).
    """

    def __init__(self, name: str, outputs: tuple[str, ...], tick_s: float = STATUS_PERIOD_S) -> None:
        gr.basic_block.__init__(self, name=name, in_sig=None, out_sig=None)
        self.block_name = name
        self.counters = Counters()
        self.dropped = Counters()
        self._outputs = {port: pmt.intern(port) for port in (*outputs, "status")}
        self._tick_s = min(tick_s, STATUS_PERIOD_S)
        self._stopping = threading.Event()
        self._ticker: threading.Thread | None = None
        self._last_status: dict[str, Any] | None = None
        self._logged = False
        self._taken = 0  # messages since the last time that none waited
        for port in self._outputs.values():
            self.message_port_register_out(port)
        self._inputs: list[pmt.pmt_base] = []
        for attribute in dir(type(self)):
            handler = getattr(type(self), attribute)
            if callable(handler) and hasattr(handler, "port"):
                port = pmt.intern(handler.port)
                self._inputs.append(port)
                self.message_port_register_in(port)
                self.set_msg_handler(port, getattr(self, attribute))

    def publish(self, port: str, message: pmt.pmt_base) -> None:
        """Publish on one of the block's outputs; any thread may."""
        self.message_port_pub(self._outputs[port], message)

    def give_way(self) -> None:
        """Let messages gather for a moment once all that came are taken, and others run after a few of many;
        for the end of a handler in which nobody waits.

        Who posts to a thread that waits pays for waking it, some 50 us with Python's lock in hand; and the
        selector posts every decision right behind its PDU, which waits for that lock at the next block.
        """
        self._taken += 1
        if not any(self.nmsgs(port) for port in self._inputs):
            self._taken = 0
            time.sleep(_GATHER_S)
        elif self._taken % _AT_ONCE == 0:
            time.sleep(_PAUSE_S)

    def guard(self, where: str) -> _Guard:
        """Context in which a `Refused` is counted by its cause, and any other exception as ``internal``."""
        return _Guard(self, where)

    def tick(self) -> None:
        """What is due from time to time."""

    def details(self) -> dict[str, Any]:
        """The block's part of its status: plain values, or dicts of them."""
        return {}

    def status(self) -> dict[str, Any]:
        """What the block is doing, as published on ``status``: details, counters, ``dropped`` by cause."""
        return {
            "block": self.block_name,
            **self.details(),
            **self.counters.as_dict(),
            "dropped": self.dropped.as_dict(),
        }

    def start(self) -> bool:
        """Start the block's thread; GNU Radio calls it."""
        self._end_thread()
        self._stopping = threading.Event()
        self._ticker = threading.Thread(
            target=self._run, args=(self._stopping,), name=f"{self.block_name} ticker", daemon=True
        )
        self._ticker.start()
        return True

    def stop(self) -> bool:
        """End the block's thread and publish a last status; GNU Radio calls it."""
        self._end_thread()
        with self.guard("status"):
            self._publish_status(always=True)
        return True

    def _end_thread(self) -> None:
        self._stopping.set()
        if self._ticker is not None:
            self._ticker.join(JOIN_S)
            self._ticker = None

    def _run(self, stopping: threading.Event) -> None:
        ticks_per_status = max(1, round(STATUS_PERIOD_S / self._tick_s))
        due = 0
        while not stopping.wait(self._tick_s):
            with self.guard("tick"):
                self.tick()
            due = (due + 1) % ticks_per_status
            if due == 0:
                with self.guard("status"):
                    self._publish_status()

    def _publish_status(self, always: bool = False) -> None:
        status = self.status()
        if always or status != self._last_status:
            self._last_status = status
            self.publish("status", pmt.to_pmt(status))


class _Guard:
    """See `MessageBlock.guard`; a class, because a generator-based context costs 1 us more per message."""

    __slots__ = ("_block", "_where")

    def __init__(self, block: MessageBlock, where: str) -> None:
        self._block = block
        self._where = where

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> bool:
        if error is None:
            return False
        if isinstance(error, Refused):
            self._block.dropped.add(f"{self._where}: {error}")
            return True
        if not isinstance(error, Exception):
            return False  # SystemExit and its like end the thread, as they should
        self._block.dropped.add(f"{self._where}: internal")
        if not self._block._logged:
            self._block._logged = True
            log.error(
                "%s: internal error at %s, this and further ones are counted on status",
                self._block.block_name,
                self._where,
                exc_info=error,
            )
        return True
