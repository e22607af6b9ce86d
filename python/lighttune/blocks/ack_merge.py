# SPDX-License-Identifier: GPL-3.0-or-later
"""The merger of verdicts: CRC results in, feedback in sequence order out, with time-outs."""

from __future__ import annotations

import threading
import time
from typing import Any

import pmt

from . import _messages as m
from ._block import MessageBlock, handles
from ._reorder import Fate, Reorder
from ._selector import check_max_links


class ack_merge(MessageBlock):
    """Turns CRC verdicts into one feedback message per block, in sequence order for each link.

    Connect ``decision`` wherever there is one: it says which blocks were sent and starts their time-outs.
    Without it, verdicts are put in order all the same, but nothing tells of a block that left no trace.

    Args:
        timeout_s: seconds from a block's decision until it is given up, and that an early verdict waits for
            those before it; 0.001 to 3600.
        on_timeout: ``"nack"``: a block that is given up is a NACK with ``timeout: true`` on ``feedback``;
            ``"erasure"``: it is told on ``erasure`` alone, and nothing learns from it.
        max_links: links that are kept at most, 1 to 65536.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(self, timeout_s: float = 0.5, on_timeout: str = "nack", max_links: int = 1024) -> None:
        if not 0.001 <= timeout_s <= 3600:
            raise ValueError(f"timeout_s = {timeout_s!r}: give 0.001 to 3600 s")
        if on_timeout not in ("nack", "erasure"):
            raise ValueError(f"on_timeout = {on_timeout!r}: give 'nack' or 'erasure'")
        check_max_links(max_links)
        self._timeout_s = timeout_s
        self._erase = on_timeout == "erasure"
        self._max_links = max_links
        self._links: dict[int, Reorder[pmt.pmt_base]] = {}
        self._lock = threading.Lock()  # handlers and the time-out thread share the links
        super().__init__("ack_merge", ("feedback", "erasure"), tick_s=min(0.05, timeout_s / 8))

    @handles("ok")
    def on_ok(self, message: pmt.pmt_base) -> None:
        """A block that passed its CRC."""
        self._checked(message, True)

    @handles("fail")
    def on_fail(self, message: pmt.pmt_base) -> None:
        """A block that failed its CRC."""
        self._checked(message, False)

    @handles("feedback")
    def on_feedback(self, message: pmt.pmt_base) -> None:
        """A verdict in a feedback message: passed on with all its keys, in its turn."""
        link, seq, _, attempt = m.read_feedback(message)
        if not m.has(message, m.LINK):
            message = pmt.dict_add(message, m.LINK, pmt.from_long(link))
        self._verdict(link, seq, attempt, message)

    @handles("decision")
    def on_decision(self, message: pmt.pmt_base) -> None:
        """A block that was sent."""
        m.need_dict(message)
        link, seq = m.read_link(message), m.read_seq(message)
        with self._lock:
            now_s = time.monotonic()
            reorder = self._link(link)
            if reorder.sent(seq, now_s) is Fate.DUPLICATE:
                raise m.Refused("already sent and without verdict")
            self._release(link, reorder, now_s)

    def _checked(self, message: pmt.pmt_base, ack: bool) -> None:
        metadata = m.metadata_of(message)
        link, seq = m.read_link(metadata), m.read_seq(metadata)
        attempt = m.read_long(metadata, m.ATTEMPT, 0, 255, default=0)
        self._verdict(link, seq, attempt, m.feedback_message(link, seq, ack, attempt))

    def _verdict(self, link: int, seq: int, attempt: int, feedback: pmt.pmt_base) -> None:
        if attempt > 0:  # retransmissions have an order of their own
            self.publish("feedback", feedback)
            self.counters.add("retransmissions")
            return
        with self._lock:
            now_s = time.monotonic()
            reorder = self._link(link)
            fate = reorder.verdict(seq, feedback, now_s)
            if fate is not Fate.TAKEN:
                raise m.Refused("duplicate" if fate is Fate.DUPLICATE else "late, duplicate or unknown")
            self._release(link, reorder, now_s)

    def _link(self, link: int) -> Reorder[pmt.pmt_base]:
        reorder = self._links.get(link)
        if reorder is None:
            if len(self._links) >= self._max_links:
                raise m.Refused("too many links")
            reorder = self._links[link] = Reorder(self._timeout_s)
        return reorder

    def _release(self, link: int, reorder: Reorder[pmt.pmt_base], now_s: float) -> None:
        for seq, feedback, known in reorder.due(now_s):
            if not known:
                self.dropped.add("verdict: unknown block")
            elif feedback is not None:
                self.publish("feedback", feedback)
                self.counters.add("verdicts")
            elif self._erase:
                self.publish("erasure", m.erasure_message(link, seq))
                self.counters.add("erasures")
            else:
                nack = m.feedback_message(link, seq, False)
                self.publish("feedback", pmt.dict_add(nack, m.TIMEOUT, pmt.PMT_T))
                self.counters.add("timeouts")

    def tick(self) -> None:
        """Give up what has waited too long."""
        with self._lock:
            now_s = time.monotonic()
            for link, reorder in self._links.items():
                self._release(link, reorder, now_s)

    def start(self) -> bool:
        with self._lock:
            self._links.clear()  # what was under way when the flowgraph stopped is gone
        return super().start()

    def details(self) -> dict[str, Any]:
        with self._lock:
            return {"links": len(self._links), "waiting": sum(map(len, self._links.values()))}
