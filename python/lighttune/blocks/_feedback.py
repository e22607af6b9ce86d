# SPDX-License-Identifier: GPL-3.0-or-later
"""What the blocks at both ends of the feedback path share: messages into a writer, news out as messages."""

from __future__ import annotations

import time
from typing import Any

import pmt

from ..net.feedback_frame import FrameError
from ..net.feedback_reader import FeedbackReader, News
from ..net.feedback_writer import FeedbackWriter
from . import _messages as m
from ._block import MessageBlock, handles


class FeedbackIn(MessageBlock):
    """The receiver's end: ``csi`` and ``feedback`` messages go into a writer's frames.

    A subclass implements `news`, which is called when there is something to send.

    Args:
        name: of the block.
        outputs: message ports besides ``status``.
        writer: makes the frames.
    """

    def __init__(self, name: str, outputs: tuple[str, ...], writer: FeedbackWriter) -> None:
        self.writer = writer
        super().__init__(name, outputs)

    @handles("csi")
    def on_csi(self, message: pmt.pmt_base) -> None:
        """Take an SNR report."""
        m.need_dict(message)
        link, snr_db = m.read_link(message), m.read_snr_db(message)
        seq = m.read_seq(message) if m.has(message, m.SEQ) else None
        try:
            self.writer.csi(link, seq, snr_db)
        except FrameError as error:
            raise m.Refused(str(error)) from None
        self.counters.add("reports")
        self.news(link, verdict=False)

    @handles("feedback")
    def on_feedback(self, message: pmt.pmt_base) -> None:
        """Take a verdict."""
        link, seq, ack, attempt = m.read_feedback(message)
        missed = m.read_long(message, m.MISSED, default=0) > 0
        try:
            self.writer.verdict(link, seq, ack, attempt, missed)
        except FrameError as error:
            raise m.Refused(str(error)) from None
        self.counters.add("verdicts")
        self.news(link, verdict=True)

    def news(self, link: int, verdict: bool) -> None:
        """There is a new report or verdict of this link."""
        raise NotImplementedError

    def details(self) -> dict[str, Any]:
        writer = self.writer
        return {"links": len(writer), "missed": writer.missed, "outrun": writer.outrun}


class FeedbackOut(MessageBlock):
    """The transmitter's end: what is new in frames comes out as ``csi`` and ``feedback`` messages."""

    def __init__(self, name: str, reader: FeedbackReader) -> None:
        self.reader = reader
        super().__init__(name, ("csi", "feedback"))

    def tell(self, link: int, news: News) -> None:
        """Publish what is new: reports first, each kind in the order of block numbers."""
        for seq, snr_db in news.csi:
            self.publish("csi", csi_message(link, seq, snr_db))
        for seq, ack in news.verdicts:
            self.publish("feedback", m.feedback_message(link, seq, ack))
        for seq, attempt, ack in news.retries:
            self.publish("feedback", m.feedback_message(link, seq, ack, attempt))
        self.counters.add("reports", len(news.csi))
        self.counters.add("verdicts", len(news.verdicts) + len(news.retries))

    def refuse(self, cause: str) -> None:
        """Count a frame that was refused."""
        self.dropped.add(f"frame: {cause}")

    def details(self) -> dict[str, Any]:
        heard, silent = self.reader.senders(time.monotonic())
        counts = dict(self.reader.counts)
        return {
            "links": len(self.reader),
            "senders_heard": heard,
            "senders_silent": silent,
            "frames": counts.pop("frames", 0),
            "lost": self.reader.lost,
            **counts,
        }


def csi_message(link: int, seq: int, snr_db: float) -> pmt.pmt_base:
    """A ``csi`` message. It has no ``time``: that of another host's clock would mean nothing here."""
    message = pmt.dict_add(pmt.make_dict(), m.LINK, pmt.from_long(link))
    message = pmt.dict_add(message, m.SEQ, pmt.from_long(seq))
    return pmt.dict_add(message, m.SNR_DB, pmt.from_double(snr_db))
