# SPDX-License-Identifier: GPL-3.0-or-later
"""The feedback path over the air, at the receiver's end: messages in, PDUs for a reverse transmitter out."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pmt

from ..modem.pmt_vectors import u8vector
from ..net.feedback_writer import FeedbackWriter
from . import _messages as m
from ._block import JOIN_S
from ._feedback import FeedbackIn
from ._selector import check_max_links

_ROBUST_MCS = 0


class feedback_to_pdu(FeedbackIn):
    """Makes PDUs of ``csi`` and ``feedback``, to be sent back at the most robust MCS (`docs/feedback.md`).

    Connect ``pdu_out`` to an `amc_tx` in the reverse direction. Every PDU repeats the verdicts of the last
    ``window`` blocks and the last ``reports`` SNR reports, so that a lost one does no harm.

    On a channel of its own (FDD) a PDU goes out with every verdict, and what was told last is repeated a few
    times when nothing new comes. With ``turnaround_s`` (TDD) the block speaks only when it was spoken to: one
    PDU for each verdict, so long after it; the transmitter has turned around by then.

    Args:
        window: blocks whose verdicts a PDU carries, 8 to 128.
        reports: SNR reports that a PDU carries, 1 to 16.
        turnaround_s: 0 for FDD; for TDD the time from a verdict to its answer in seconds, up to 1.
        gaps: as `feedback_sender`'s.
        max_links: links that are told of at most, 1 to 65536.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        window: int = 32,
        reports: int = 4,
        turnaround_s: float = 0.0,
        gaps: str = "nack",
        max_links: int = 1024,
    ) -> None:
        check_max_links(max_links)
        if not 0 <= turnaround_s <= 1:
            raise ValueError(f"turnaround_s = {turnaround_s!r}: give 0 (FDD) to 1 s")
        self._turnaround_s = turnaround_s
        self._answers = _Later(self._flush) if turnaround_s else None
        writer = FeedbackWriter(window, reports, gaps, max_links)
        super().__init__("feedback_to_pdu", ("pdu_out",), writer)

    def news(self, link: int, verdict: bool) -> None:
        if not verdict:
            return  # the verdict on the same block follows
        if self._answers is None:
            self._flush()
        else:
            self._answers.call_in(self._turnaround_s)

    def tick(self) -> None:
        if self._answers is None:
            self.writer.repeat()
            self._flush()

    def start(self) -> bool:
        if self._answers is not None:
            self._answers.start()
        return super().start()

    def stop(self) -> bool:
        if self._answers is not None:
            self._answers.stop()
        return super().stop()

    def _flush(self) -> None:
        with self.guard("frame"):
            self.counters.add("frames", self.writer.flush(self._send))

    def _send(self, link: int, number: int, frame: bytes) -> bool:
        metadata = pmt.dict_add(pmt.make_dict(), m.LINK, pmt.from_long(link))
        metadata = pmt.dict_add(metadata, m.SEQ, pmt.from_long(number))
        metadata = pmt.dict_add(metadata, m.MCS, pmt.from_long(_ROBUST_MCS))
        self.publish("pdu_out", pmt.cons(metadata, u8vector(frame)))
        return True


class _Later:
    """Calls a function once, so long after it was last asked to, in a thread of its own."""

    def __init__(self, function: Callable[[], None]) -> None:
        self._function = function
        self._news = threading.Condition()
        self._due_s: float | None = None
        self._ending = False
        self._thread: threading.Thread | None = None

    def call_in(self, delay_s: float) -> None:
        with self._news:
            self._due_s = time.monotonic() + delay_s
            self._news.notify()

    def start(self) -> None:
        self.stop()
        self._ending, self._due_s = False, None
        self._thread = threading.Thread(target=self._run, name="feedback_to_pdu answers", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        if self._thread is not None:
            with self._news:
                self._ending = True
                self._news.notify()
            self._thread.join(JOIN_S)
            self._thread = None

    def _run(self) -> None:
        while True:
            with self._news:
                while not self._ending and (self._due_s is None or self._due_s > time.monotonic()):
                    self._news.wait(None if self._due_s is None else self._due_s - time.monotonic())
                if self._ending:
                    return
                self._due_s = None
            self._function()
