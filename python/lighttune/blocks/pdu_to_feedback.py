# SPDX-License-Identifier: GPL-3.0-or-later
"""The feedback path over the air, at the transmitter's end: PDUs of a reverse receiver in, messages out."""

from __future__ import annotations

import time

import pmt

from ..modem.pmt_vectors import u8_bytes
from ..net.feedback_frame import FrameError, Report, decode
from ..net.feedback_reader import FeedbackReader
from . import _messages as m
from ._block import handles
from ._feedback import FeedbackOut
from ._selector import check_max_links


class pdu_to_feedback(FeedbackOut):
    """Reads the PDUs of a `feedback_to_pdu` and publishes what is new in them as ``csi`` and ``feedback``.

    Connect the ``pdu_out`` of an `amc_rx` in the reverse direction to ``pdu_in``; other PDUs may come that
    way too: they are counted (``frame: malformed: no magic``) and left alone.

    Args:
        max_links: links that are listened to at most, 1 to 65536.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(self, max_links: int = 1024) -> None:
        check_max_links(max_links)
        super().__init__("pdu_to_feedback", FeedbackReader(max_links))

    @handles("pdu_in")
    def on_pdu_in(self, message: pmt.pmt_base) -> None:
        """Take a frame."""
        m.read_pdu(message)
        payload = pmt.cdr(message)
        if not pmt.is_u8vector(payload):
            raise m.Refused("not a PDU of bytes")
        try:
            frame = decode(u8_bytes(payload))
            if not isinstance(frame, Report):
                raise FrameError("not a report")
        except FrameError as error:
            self.refuse(f"malformed: {error}")
            return
        try:
            news = self.reader.take(frame, time.monotonic())
        except FrameError as error:
            self.refuse(str(error))
            return
        self.tell(frame.link, news)
