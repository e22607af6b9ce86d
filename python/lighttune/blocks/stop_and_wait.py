# SPDX-License-Identifier: GPL-3.0-or-later
"""One packet in flight: the next one goes out when the last one's verdict is in, or after a time-out."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Any

import pmt

from . import _messages as m
from ._block import MessageBlock, handles


class stop_and_wait(MessageBlock):
    """Holds every PDU until the one before it has its verdict, or ``timeout_s`` has passed.

    For a channel that both directions share in turns (TDD), and for a PHY that mixes up several packets in
    flight. It stands before the selector, so that the MCS is chosen when the last verdict is known:
    ``pdu_out`` to the selector's ``pdu_in``, the selector's ``decision`` to ``decision``, and the feedback,
    as the selector gets it, to ``feedback``.

    Args:
        timeout_s: seconds from a PDU until the next one goes without a verdict, 0.001 to 60.
        queue_packets: PDUs that may wait, 1 or more; further ones are dropped and counted.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(self, timeout_s: float = 0.1, queue_packets: int = 64) -> None:
        if not 0.001 <= timeout_s <= 60:
            raise ValueError(f"timeout_s = {timeout_s!r}: give 0.001 to 60 s")
        if not isinstance(queue_packets, int) or queue_packets < 1:
            raise ValueError(f"queue_packets = {queue_packets!r}: give an integer of 1 or more")
        self._timeout_s = timeout_s
        self._limit = queue_packets
        self._queue: deque[pmt.pmt_base] = deque()
        self._lock = threading.Lock()  # handlers and the time-out thread share all that follows
        self._until_s: float | None = None  # when the packet in flight is given up
        self._block: tuple[int, int] | None = None  # its link and number, once it is decided
        super().__init__("stop_and_wait", ("pdu_out",), tick_s=min(0.05, timeout_s / 8))

    @handles("pdu_in")
    def on_pdu_in(self, message: pmt.pmt_base) -> None:
        """Send a PDU on, or keep it until it is its turn."""
        m.read_pdu(message)
        with self._lock:
            if len(self._queue) >= self._limit:
                raise m.Refused("queue full")
            self._queue.append(message)
            if self._until_s is None:
                self._next()

    @handles("decision")
    def on_decision(self, message: pmt.pmt_base) -> None:
        """Note the number of the packet in flight."""
        m.need_dict(message)
        self._block = m.read_link(message), m.read_seq(message)

    @handles("feedback")
    def on_feedback(self, message: pmt.pmt_base) -> None:
        """If it is on the packet in flight, the next one may go."""
        link, seq, _, _ = m.read_feedback(message)
        with self._lock:
            if self._until_s is not None and self._block == (link, seq):
                self.counters.add("answered")
                self._next()

    def tick(self) -> None:
        with self._lock:
            if self._until_s is not None and time.monotonic() >= self._until_s:
                self.counters.add("timeouts")
                self._next()

    def start(self) -> bool:
        with self._lock:
            self._queue.clear()
            self._until_s = self._block = None
        return super().start()

    def details(self) -> dict[str, Any]:
        return {"waiting": len(self._queue), "in_flight": self._until_s is not None}

    def _next(self) -> None:
        self._until_s = self._block = None
        if self._queue:
            self._until_s = time.monotonic() + self._timeout_s
            self.publish("pdu_out", self._queue.popleft())
            self.counters.add("sent")
