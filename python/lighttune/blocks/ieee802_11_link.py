# SPDX-License-Identifier: GPL-3.0-or-later
"""The adapter to gr-ieee802-11: every frame at the rate that was decided for it, and what became of it."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

import pmt

from ..modem.pmt_vectors import u8_bytes
from . import _messages as m
from ._block import MessageBlock, handles
from ._header_tap import DATA_BITS, Header, HeaderTap, read_header
from ._reorder import NO_VERDICT

MAX_PAYLOAD = 1500
"""Bytes that gr-ieee802-11's `mac` takes at most; more is an exception that ends its thread."""

MAX_PSDU = MAX_PAYLOAD + 28
"""Bytes that its `mapper` takes at most."""

FCS_BYTES = 4
"""Frame check sequence: at the end of a PSDU, and gone on ``mac_out``."""

_BLOCKS = ("ieee802_11_mapper_0", "ieee802_11_frame_equalizer_0", "ieee802_11_decode_mac_0")
_TICK_S = 0.005
_IN = pmt.intern("in")
_MAC_OUT = pmt.intern("mac_out")
_DECODED = pmt.intern("lighttune: decode_mac is through with frame")


@dataclass
class _Frame:
    """A frame that waits or is in flight."""

    number: int
    link: int
    seq: int
    mcs: int
    message: pmt.pmt_base
    since_s: float = 0.0  # its time-out counts from here
    psdu: bytes | None = None  # once the MAC has made it
    header: Header | None = None  # once it is heard
    asked: bool = False  # whether decode_mac's last word is awaited


class ieee802_11_link(MessageBlock):
    """Sends PDUs through gr-ieee802-11, one frame in flight, and tells how each ended.

    The rate is set on the PHY's `mapper` when the frame is on its way there and no other one is. How the
    frame ended is known from three sources: ``mac_out`` (its bytes: an ACK), the SIGNAL field that the
    `frame_equalizer` tags (heard, and `decode_mac` has taken all of the frame without a word: a NACK), and
    the time-out (not even a SIGNAL field: an erasure).

    Args:
        phy: gr-ieee802-11's `wifi_phy_hier`, or any flowgraph with its blocks ``ieee802_11_mapper_0``,
            ``ieee802_11_frame_equalizer_0`` and ``ieee802_11_decode_mac_0``. A tap is connected in it.
        timeout_s: seconds until a frame without a SIGNAL field is given up, counted from when the mapper took
            it; 0.01 to 60. More than the radio's round trip: what comes later is not recognised for certain.
        queue_limit: PDUs that may wait for their turn, 0 or more; further ones are dropped and counted. They
            keep the rate that was decided when they came, so few are better.

    Raises:
        ValueError: an argument is out of range, or ``phy`` lacks a block.
    """

    def __init__(self, phy: Any, timeout_s: float = 0.5, queue_limit: int = 8) -> None:
        if not 0.01 <= timeout_s <= 60:
            raise ValueError(f"timeout_s = {timeout_s!r}: give 0.01 to 60 s")
        if not isinstance(queue_limit, int) or queue_limit < 0:
            raise ValueError(f"queue_limit = {queue_limit!r}: give an integer of 0 or more")
        for name in _BLOCKS:
            if not hasattr(phy, name):
                raise ValueError(f"phy = {phy!r} has no {name}: give gr-ieee802-11's wifi_phy_hier")
        self._mapper, self._equalizer, self._decode_mac = (getattr(phy, name) for name in _BLOCKS)
        self._timeout_s = timeout_s
        self._queue_limit = queue_limit
        self._lock = threading.Lock()  # handlers, the tap's thread and the ticker share all that follows
        self._queue: deque[_Frame] = deque()
        self._flight: _Frame | None = None
        self._settled = 0  # headers before this item of the equalizer's stream are of frames that have ended
        self._other: Header | None = None  # of the last PSDU that was not of the frame in flight
        self._encoding: int | None = None
        self._number = 0
        super().__init__(
            "ieee802_11_link", ("pdu_out", "psdu_out", "feedback", "csi", "erasure"), tick_s=_TICK_S
        )
        self._tap = HeaderTap(self.on_header)
        phy.connect(self._equalizer, self._tap)

    @handles("pdu_in")
    def on_pdu_in(self, message: pmt.pmt_base) -> None:
        """A PDU with its decision: on its way, or kept until it is its turn."""
        metadata, n_bytes = m.read_pdu(message)
        link, seq = m.read_link(metadata), m.read_seq(metadata)
        try:
            self._take(link, seq, metadata, n_bytes, message)
        except m.Refused as refused:
            self.publish("erasure", m.erasure_message(link, seq, str(refused)))
            self.counters.add("erasures")
            raise

    def _take(self, link: int, seq: int, metadata: pmt.pmt_base, n_bytes: int, message: pmt.pmt_base) -> None:
        if not pmt.is_u8vector(pmt.cdr(message)):
            raise m.Refused("payload not a u8vector")
        if n_bytes > MAX_PAYLOAD:
            raise m.Refused(f"payload longer than the {MAX_PAYLOAD} bytes that the MAC takes")
        mcs = m.read_long(metadata, m.MCS, 0, len(DATA_BITS) - 1)
        with self._lock:
            if self._flight is not None and len(self._queue) >= self._queue_limit:
                raise m.Refused("queue full")
            self._number += 1
            self._queue.append(_Frame(self._number, link, seq, mcs, message))
            if self._flight is None:
                self._launch()

    @handles("psdu_in")
    def on_psdu_in(self, message: pmt.pmt_base) -> None:
        """What the MAC made of the PDU: the mapper is told its rate, then gets it."""
        psdu = _bytes_of(message)
        if not FCS_BYTES < len(psdu) <= MAX_PSDU:
            raise m.Refused("of a length that the PHY does not take")
        with self._lock:
            frame = self._flight
            if frame is None or frame.psdu is not None:
                raise m.Refused("no frame awaits it")
            payload = u8_bytes(pmt.cdr(frame.message))
            if not (psdu[:-FCS_BYTES].endswith(payload) or psdu == payload):
                raise m.Refused("not of the frame in flight")
            if frame.mcs != self._encoding:
                self._encoding = None  # should the PHY refuse
                self._mapper.set_encoding(frame.mcs)
                self._encoding = frame.mcs
            frame.psdu, frame.since_s = psdu, time.monotonic()
            self._settled = self._equalizer.nitems_written(0)
            self.publish("psdu_out", message)
            self.counters.add("sent")

    @handles("mac_out")
    def on_mac_out(self, message: pmt.pmt_base) -> None:
        """A frame that was received in good order, or `decode_mac`'s last word on one (see `tick`)."""
        if pmt.is_pair(message) and pmt.eq(pmt.car(message), _DECODED):
            self._decoded(pmt.cdr(message))
            return
        received, metadata = _bytes_of(message), pmt.car(message)
        with self._lock:
            header, frame = read_header(metadata), self._flight
            if frame is None or frame.psdu is None or received != frame.psdu[:-FCS_BYTES]:
                self._other = header  # decode_mac may be faster than the tap
                if header is not None and frame is not None and header.same_reception(frame.header):
                    frame.header, frame.asked = None, False  # it was not this frame's
                raise m.Refused("not of the frame in flight")
            if header is not None and header.encoding != frame.mcs:
                self.counters.add("misassigned")
                self._finish(frame, None, "sent at another rate")
                return
            if header is not None and frame.header is None:
                self._report(frame, header)
            self._finish(frame, True)

    def on_header(self, header: Header) -> None:
        """A SIGNAL field was received; the tap calls it in its own thread."""
        with self.guard("header"), self._lock:
            frame = self._flight
            if header.start < self._settled:
                return  # its frame was faster than the tap, and told all
            if frame is None or frame.psdu is None:
                raise m.Refused("no frame in flight")
            known = (header.encoding, header.n_bytes) == (frame.mcs, len(frame.psdu))
            if not known or header.same_reception(self._other):
                raise m.Refused("not of the frame in flight")
            if frame.header is not None:
                raise m.Refused("second of one frame")
            self._report(frame, header)

    def tick(self) -> None:
        """See whether the frame in flight has ended without a word."""
        with self._lock:
            frame = self._flight
            if frame is None:
                return
            now_s = time.monotonic()
            if frame.psdu is not None and self._mapper.nmsgs(_IN):
                frame.since_s = now_s  # the transmitter has not taken it yet; a new rate would be its rate
            elif frame.header is not None and not frame.asked and self._consumed() >= frame.header.end:
                # What it found good is in the queue of mac_out already; behind that comes this.
                frame.asked = True
                self.to_basic_block()._post(_MAC_OUT, pmt.cons(_DECODED, pmt.from_long(frame.number)))
            elif now_s - frame.since_s > self._timeout_s:
                self._give_up(frame)

    def start(self) -> bool:
        with self._lock:
            self._queue.clear()  # what was under way when the flowgraph stopped is gone
            self._flight = self._encoding = None
            self._settled = 0
        return super().start()

    def details(self) -> dict[str, Any]:
        return {"waiting": len(self._queue), "in_flight": self._flight is not None}

    def _consumed(self) -> int:
        return self._decode_mac.nitems_read(0)

    def _decoded(self, number: pmt.pmt_base) -> None:
        with self._lock:
            frame = self._flight
            if frame is None or not frame.asked or not pmt.eqv(number, pmt.from_long(frame.number)):
                return  # the frame was good: it has ended
            self._finish(frame, False)

    def _launch(self) -> None:
        self._flight = self._queue.popleft()
        self._flight.since_s = time.monotonic()
        self.publish("pdu_out", self._flight.message)

    def _report(self, frame: _Frame, header: Header) -> None:
        frame.header = header
        if m.SNR_RANGE_DB[0] <= header.snr_db <= m.SNR_RANGE_DB[1]:
            self.publish("csi", _csi(frame, header.snr_db))
            self.counters.add("headers")
        else:
            self.dropped.add("header: snr out of range")

    def _give_up(self, frame: _Frame) -> None:
        self.counters.add("timeouts")
        if frame.psdu is None:
            self.dropped.add("pdu_in: the MAC made no PSDU of it")
            self._finish(frame, None, "the MAC made no PSDU of it")
        elif frame.header is None:
            self._finish(frame, None, NO_VERDICT)
        elif self._consumed() < self._equalizer.nitems_written(0):
            self._finish(frame, None, "decoder behind")  # whether it is good is still to come
        else:
            self._finish(frame, False)

    def _finish(self, frame: _Frame, ack: bool | None, cause: str = "") -> None:
        """Tell how the frame in flight ended, None for an erasure of this cause, and launch the next one."""
        self._flight, self._settled = None, self._equalizer.nitems_written(0)
        if ack is None:
            self.publish("erasure", m.erasure_message(frame.link, frame.seq, cause))
            self.counters.add("erasures")
        else:
            feedback = m.feedback_message(frame.link, frame.seq, ack)
            self.publish("feedback", pmt.dict_add(feedback, m.MCS, pmt.from_long(frame.mcs)))
            self.counters.add("acks" if ack else "nacks")
        if self._queue:
            self._launch()


def _csi(frame: _Frame, snr_db: float) -> pmt.pmt_base:
    message = pmt.dict_add(pmt.make_dict(), m.LINK, pmt.from_long(frame.link))
    message = pmt.dict_add(message, m.SEQ, pmt.from_long(frame.seq))
    return pmt.dict_add(message, m.SNR_DB, pmt.from_double(snr_db))


def _bytes_of(message: pmt.pmt_base) -> bytes:
    m.read_pdu(message)
    if not pmt.is_u8vector(pmt.cdr(message)):
        raise m.Refused("payload not a u8vector")
    return u8_bytes(pmt.cdr(message))
