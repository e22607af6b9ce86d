# SPDX-License-Identifier: GPL-3.0-or-later
"""The merger of verdicts: CRC results in, feedback in sequence order out, with time-outs."""

from __future__ import annotations

import math
import threading
import time
from typing import Any

import pmt

from . import _messages as m
from ._block import Counters, MessageBlock, handles
from ._host import LATE, HostWatch, in_words
from ._reorder import NO_VERDICT, Fate, Release, Reorder
from ._selector import check_max_links

MISSED = "receiver behind"
"""Cause of what a receiver says that it missed (``missed`` in its verdicts)."""

_REFUSED = {
    Fate.DUPLICATE: "duplicate",
    Fate.LATE: LATE,
    Fate.UNKNOWN: "duplicate or unknown",
}
_MAX_CAUSES = 64


class ack_merge(MessageBlock):
    """Turns CRC verdicts into one feedback message per block, in sequence order for each link.

    Connect ``decision`` wherever there is one: it says which blocks there are. Without it, verdicts are put
    in order all the same, but nothing tells of a block that left no trace. Connect the transmitter's ``sent``
    where it has one: the time-outs then count from when a packet left it, however long it waited there. And
    its ``erasure``: it says which packets never left.

    Only a verdict, or a lost header, says something of the channel. What the hosts at either end lost says
    nothing: it is told on ``erasure``, with its cause, and so is what still waits when the flowgraph stops.

    Args:
        timeout_s: seconds until a block is given up, from when its packet left the transmitter or, where that
            does not tell, from its decision; and that an early verdict waits for those before it; 0.001 to
            3600. More than any verdict takes: a late one is counted, and lost.
        on_timeout: what a block is that was given up although no host is known to have lost it. ``"gap"``: a
            NACK with ``timeout: true`` if its packet was ``sent`` and there is a verdict on a later one: a
            receiver that takes them in turn has lost its header. An erasure in all other cases. ``"nack"``: a
            NACK always, for a receiver that tells of good packets alone. ``"erasure"``: never; for a path
            that loses verdicts or brings them out of order.
        max_links: links that are kept at most, 1 to 65536.
        max_waiting: blocks of a link that may be under way at most, 1 to 1048576: the rate times the
            time-out, and some 300 bytes each while they are. The oldest is an erasure beyond it.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        timeout_s: float = 0.5,
        on_timeout: str = "gap",
        max_links: int = 1024,
        max_waiting: int = 65536,
    ) -> None:
        if not 0.001 <= timeout_s <= 3600:
            raise ValueError(f"timeout_s = {timeout_s!r}: give 0.001 to 3600 s")
        if on_timeout not in ("gap", "nack", "erasure"):
            raise ValueError(f"on_timeout = {on_timeout!r}: give 'gap', 'nack' or 'erasure'")
        check_max_links(max_links)
        if not isinstance(max_waiting, int) or not 1 <= max_waiting <= 2**20:
            raise ValueError(f"max_waiting = {max_waiting!r}: give 1 to {2**20} blocks of a link")
        self._timeout_s = timeout_s
        self._on_timeout = on_timeout
        self._max_links = max_links
        self._max_waiting = max_waiting
        self._links: dict[int, Reorder[pmt.pmt_base]] = {}
        self._doubt = (-math.inf, MISSED)  # until when the receiver missed packets
        self._erased = Counters()
        self._host = HostWatch()
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
        missed = m.read_long(message, m.MISSED, default=0)
        if not m.has(message, m.LINK):
            message = pmt.dict_add(message, m.LINK, pmt.from_long(link))
        self._verdict(link, seq, attempt, message, missed)

    @handles("decision")
    def on_decision(self, message: pmt.pmt_base) -> None:
        """A block that is to be sent."""
        m.need_dict(message)
        link, seq = m.read_link(message), m.read_seq(message)
        with self._lock:
            now_s = time.monotonic()
            reorder = self._link(link)
            if reorder.announce(seq, now_s) is Fate.DUPLICATE:
                raise m.Refused("already sent and without verdict")
            self._release(link, reorder, now_s)

    @handles("sent")
    def on_sent(self, message: pmt.pmt_base) -> None:
        """A packet that has left the transmitter."""
        m.need_dict(message)
        link, seq = m.read_link(message), m.read_seq(message)
        with self._lock:
            self._link(link).air(seq, time.monotonic())

    @handles("erasure")
    def on_erasure(self, message: pmt.pmt_base) -> None:
        """A block of which nothing will be known; without a number, one that has just left, of any link."""
        m.need_dict(message)
        cause = m.read_cause(message)
        with self._lock:
            now_s = time.monotonic()
            if not m.has(message, m.SEQ):
                for reorder in self._links.values():
                    reorder.spoil(cause, now_s)
                return
            link, seq = m.read_link(message), m.read_seq(message)
            reorder = self._link(link)
            if reorder.erase(seq, cause, now_s) is not Fate.TAKEN:
                raise m.Refused("duplicate or unknown")
            self._release(link, reorder, now_s)

    def _checked(self, message: pmt.pmt_base, ack: bool) -> None:
        metadata = m.metadata_of(message)
        link, seq = m.read_link(metadata), m.read_seq(metadata)
        attempt = m.read_long(metadata, m.ATTEMPT, 0, 255, default=0)
        self._verdict(link, seq, attempt, m.feedback_message(link, seq, ack, attempt))

    def _verdict(self, link: int, seq: int, attempt: int, feedback: pmt.pmt_base, missed: int = 0) -> None:
        with self._lock:
            now_s = time.monotonic()
            if missed:
                self._doubt = now_s, MISSED
            if attempt == 0:
                reorder = self._link(link)
                fate = reorder.verdict(seq, feedback, now_s)
                if fate is Fate.LATE:
                    self._host.late(now_s)
                if fate is not Fate.TAKEN:
                    raise m.Refused(_REFUSED[fate])
                self._release(link, reorder, now_s)
                return
        self.publish("feedback", feedback)  # retransmissions have an order of their own
        self.counters.add("retransmissions")

    def _link(self, link: int) -> Reorder[pmt.pmt_base]:
        reorder = self._links.get(link)
        if reorder is None:
            if len(self._links) >= self._max_links:
                raise m.Refused("too many links")
            reorder = self._links[link] = Reorder(self._timeout_s, self._max_waiting)
        return reorder

    def _release(self, link: int, reorder: Reorder[pmt.pmt_base], now_s: float) -> None:
        for block in reorder.due(now_s, self._doubt):
            self._tell(link, block, now_s)

    def _tell(self, link: int, block: Release[pmt.pmt_base], now_s: float) -> None:
        if not block.known:
            self.dropped.add("verdict: unknown block")
            return
        cause = block.cause
        if cause and self._erased[cause] == 0 and len(self._erased.as_dict()) >= _MAX_CAUSES:
            cause = "further causes"
        verdict = block.verdict
        if verdict is not None and cause and m.read_bool(verdict, m.ACK):
            cause = (
                ""  # it was received after all; a NACK may be a gap that the receiver took for the channel's
            )
        self._host.ended(now_s, cause)
        if verdict is not None and not cause:
            self.publish("feedback", verdict)
            self.counters.add("verdicts")
        elif cause == NO_VERDICT and (
            self._on_timeout == "nack" or (self._on_timeout == "gap" and block.passed)
        ):
            nack = m.feedback_message(link, block.seq, False)
            self.publish("feedback", pmt.dict_add(nack, m.TIMEOUT, pmt.PMT_T))
            self.counters.add("timeouts")
        else:
            self.publish("erasure", m.erasure_message(link, block.seq, block.cause))
            self.counters.add("erasures")
            if verdict is not None:
                self.counters.add("overruled")
            self._erased.add(cause)

    def tick(self) -> None:
        """Give up what has waited too long."""
        with self._lock:
            now_s = time.monotonic()
            for link, reorder in self._links.items():
                self._release(link, reorder, now_s)

    def start(self) -> bool:
        with self._lock:
            self._links.clear()
        return super().start()

    def stop(self) -> bool:
        with self.guard("stop"), self._lock:
            now_s = time.monotonic()
            for link, reorder in self._links.items():
                for block in reorder.drain():
                    self._tell(link, block, now_s)
        return super().stop()

    def details(self) -> dict[str, Any]:
        with self._lock:
            lost = self._host.lost(time.monotonic())
            return {
                "links": len(self._links),
                "waiting": sum(map(len, self._links.values())),
                "erased": self._erased.as_dict(),
                "host": in_words(lost),
                "lost_to_host": round(min(sum(lost.values()), 1.0), 4),
            }
