# SPDX-License-Identifier: GPL-3.0-or-later
"""`amc_rx`: the reference modem's receiver, samples in, PDUs, verdicts and SNR reports out."""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections import deque
from typing import NamedTuple

import numpy as np
import pmt
from gnuradio import blocks, gr

from ..modem import fec, framing
from ..modem.header import Header
from ..modem.pmt_vectors import c32vector, f32vector, u8_array, u8vector
from ..modem.receiver import Arrival, Event, Payload, Receiver
from ._block import STATUS_PERIOD_S, HierBlock, MessageBlock, handles
from ._messages import ACK, LINK, MCS, MISSED, SEQ, SNR_DB

_CFO_HZ = pmt.intern("cfo_hz")
_RX_TIME = pmt.intern("rx_time")
LOST_SAMPLES = "samples: lost by the radio"
_GAPS = 64
_TICKET = pmt.intern("ticket")
INTAKE = 1 << 17
"""Samples that may wait for the receiver."""
BACKLOG = INTAKE // 4  # from here on it matters whether they are taken fast enough
CHUNK = 1 << 13  # samples between two looks at the load
CONSTELLATION_POINTS = 512
"""Points of one packet that ``constellation`` shows at most."""
CONSTELLATION_PERIOD_S = 0.05
"""It shows a packet at most this often: as much as an eye can follow."""
_LOUDEST = 1e12  # a sample beyond it is no signal, and its square would overflow


class amc_rx(HierBlock):
    """OFDM burst receiver: finds bursts anywhere in the stream and tells how each one ended.

    Ports: samples in (complex); messages out, in the order of arrival:

    - ``pdu_out``: PDU of each payload whose CRC-32 matches; metadata ``link``, ``seq``, ``mcs`` (long),
      ``snr_db``, ``cfo_hz`` (double).
    - ``feedback``: dict ``link``, ``seq``, ``mcs`` (long), ``ack`` (bool), ``snr_db`` (double), one for every
      packet whose header arrived: ACK or NACK. A lost header yields nothing; nor does a dropped burst, which
      says nothing of the channel: the next verdict tells how many there were, ``missed`` (long, where it is
      not 0), lest they be taken for lost headers.
    - ``csi``: dict ``link``, ``seq`` (long), ``snr_db`` (double, mean Es/N0 over the occupied carriers,
      -10..60), as soon as a header is decoded.
    - ``constellation``: PDU of equalised points (c32vector, unit mean power where the packet is sound,
      evenly picked, `CONSTELLATION_POINTS` at most); metadata ``link``, ``seq``, ``mcs``, ``snr_db``. Of one
      packet every `CONSTELLATION_PERIOD_S` at most, and only where something is connected to it.
    - ``status``: dict of counts, on change, at most every 0.25 s and when the flowgraph stops.

    Overload: a burst is dropped as a whole, before its header is read, and counted by cause, while

    - ``samples: receiver behind``: samples pile up because they are taken slower than ``samp_rate``, or
    - ``samples: decoder behind``: ``queue_packets`` packets wait for the decoder.

    Where the source tags ``rx_time`` anew, as UHD's does after an overrun, samples are missing. It counts as
    a dropped burst (``samples: lost by the radio``); a packet with such a gap in it gets no NACK.

    What waits is bounded: `INTAKE` samples and, but for the few that one chunk of samples adds, the packets.

    Args:
        samp_rate: samples per second; it scales ``cfo_hz``, and what is slower than it is no real time.
        queue_packets: packets that may wait for the decoder.
        on_overload: ``"drop"``, or ``"wait"`` for a simulation that must lose nothing: no burst is dropped,
            and while the decoder is behind no samples are taken (each time counted as ``overloads``).

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(self, samp_rate: float = 1e6, queue_packets: int = 64, on_overload: str = "drop") -> None:
        if not (math.isfinite(samp_rate) and samp_rate > 0):
            raise ValueError(f"samp_rate = {samp_rate!r}: give samples per second, above 0")
        if not isinstance(queue_packets, int) or queue_packets < 1:
            raise ValueError(f"queue_packets = {queue_packets!r}: give an integer of 1 or more")
        if on_overload not in ("drop", "wait"):
            raise ValueError(f'on_overload = {on_overload!r}: give "drop", or "wait" for a simulation')
        super().__init__("amc_rx", gr.io_signature(1, 1, gr.sizeof_gr_complex), gr.io_signature(0, 0, 0))
        self.decode_mac = _DecodeMac(samp_rate)
        pace = _Pace(samp_rate) if on_overload == "drop" else None
        self.demodulator = _Demodulator(self.decode_mac, queue_packets, pace)
        # Takes the radio's samples in C++ while Python is busy with a packet, or with another thread.
        self.intake = blocks.copy(gr.sizeof_gr_complex)
        self.intake.set_log_level("warn")  # the next line is not worth one on the screen
        self.intake.set_min_output_buffer(0, INTAKE)
        self.decoder = fec.decoder()

        for port in ("pdu_out", "feedback", "csi", "constellation", "status"):
            self.message_port_register_hier_out(port)
        self.connect(self, self.intake, self.demodulator)
        self.msg_connect(self.demodulator, "soft_bits", self.decoder, "in")
        self.msg_connect(self.decoder, "out", self.decode_mac, "bits")
        for port in ("csi", "constellation"):
            self.msg_connect(self.demodulator, port, self, port)
        for port in ("pdu_out", "feedback", "status"):
            self.msg_connect(self.decode_mac, port, self, port)

    def idle_after(self, samples: int) -> bool:
        """Whether ``samples`` samples are taken and every packet in them has its verdict."""
        return self.demodulator.nitems_read(0) >= samples and self.decode_mac.waiting == 0


class _Pace:
    """Whether samples pile up because they are taken slower than a radio delivers them.

    Where a simulation outruns the receiver samples pile up too, but are taken faster than in real time.
    """

    def __init__(self, samp_rate: float) -> None:
        self._samp_rate = samp_rate
        self._since: tuple[float, int] | None = None

    def behind(self, waiting: int, taken: int) -> bool:
        """Samples that wait now, and that were taken so far."""
        if waiting < BACKLOG:
            self._since = None
            return False
        now = time.monotonic()
        if self._since is None:
            self._since = now, taken
        start, before = self._since
        return taken - before < self._samp_rate * (now - start)


class _Demodulator(gr.sync_block):
    """Samples in, soft bits of whole packets out."""

    def __init__(self, verdicts: _DecodeMac, queue_packets: int, pace: _Pace | None) -> None:
        gr.sync_block.__init__(self, "amc_rx demodulator", in_sig=[np.complex64], out_sig=None)
        self._soft_bits, self._csi = pmt.intern("soft_bits"), pmt.intern("csi")
        self._constellation = pmt.intern("constellation")
        for port in (self._soft_bits, self._csi, self._constellation):
            self.message_port_register_out(port)
        self._shown_s = -math.inf
        self.constellations = 0  # that were published
        self._verdicts = verdicts
        self._limit = queue_packets
        self._pace = pace
        self._receiver = Receiver()
        self._held = False
        self._begun = False  # the first `rx_time` is that of the start
        self._gaps: deque[int] = deque(maxlen=_GAPS)  # first samples after those that were lost
        self._ahead: deque[int] = deque(maxlen=_GAPS)  # of these, the ones that no packet lies behind yet

    def start(self) -> bool:
        """Begin a new stream; GNU Radio calls it."""
        self._begun = False
        self._gaps.clear()
        self._ahead.clear()
        self._receiver = Receiver()
        self._verdicts.reset(self._receiver)
        return True

    def work(self, input_items: list[np.ndarray], output_items: list[np.ndarray]) -> int:
        """Take a chunk of samples; under overload, drop what begins in it or wait."""
        overload = self._overload(len(input_items[0]))
        if overload and self._pace is None:
            if not self._held:
                self._held = True
                self._verdicts.counters.add("overloads")
            time.sleep(2e-4)  # the decoder needs about 1e-4 s per packet
            return 0
        self._held = False
        samples = input_items[0][:CHUNK]
        with self._verdicts.guard("samples"):
            self._look_for_gaps(len(samples))
            for event in self._receive(samples, bool(overload)):
                if isinstance(event, Arrival):
                    self.message_port_pub(self._csi, _metadata(event))
                elif isinstance(event, Payload):
                    self._decode(event)
                    self._show(event)
                else:
                    self._verdicts.dropped.add(f"samples: {overload}")
                    self._verdicts.missed += 1
        return len(samples)

    def _look_for_gaps(self, n: int) -> None:
        for tag in self.get_tags_in_window(0, 0, n, _RX_TIME):
            if self._begun:
                self._gaps.append(tag.offset)
                self._ahead.append(tag.offset)
                self._verdicts.dropped.add(LOST_SAMPLES)
            self._begun = True

    def _overload(self, waiting: int) -> str:
        """Why bursts cannot be received now; empty where they can."""
        if self._verdicts.waiting >= self._limit:
            return "decoder behind"
        if self._pace is not None and self._pace.behind(waiting, self.nitems_read(0)):
            return "receiver behind"
        return ""

    def _receive(self, samples: np.ndarray, skip: bool) -> list[Event]:
        try:
            return self._receiver.push(self._finite(samples), skip)
        except Exception:
            self._receiver.restart()  # a fault must not come back with every call
            raise

    def _finite(self, samples: np.ndarray) -> np.ndarray:
        """The samples, with NaN, infinities and absurdly large ones replaced by 0 and counted."""
        if float(np.vdot(samples, samples).real) < _LOUDEST**2:  # false for NaN too
            return samples
        with np.errstate(all="ignore"):
            good = np.abs(samples) < _LOUDEST
        self._verdicts.counters.add("bad_samples", int(np.count_nonzero(~good)))
        return np.where(good, samples, np.complex64(0))

    def _decode(self, payload: Payload) -> None:
        arrival = payload.arrival
        end = arrival.start + framing.burst_samples(arrival.header.mcs, arrival.header.length)
        torn = any(arrival.start < gap < end for gap in self._gaps)
        while self._ahead and self._ahead[0] < end:
            self._ahead.popleft()
            self._verdicts.missed += 1
        ticket = pmt.from_long(self._verdicts.announce(arrival, torn))
        metadata = pmt.dict_add(pmt.make_dict(), _TICKET, ticket)
        self.message_port_pub(self._soft_bits, pmt.cons(metadata, f32vector(payload.llr)))

    def _show(self, payload: Payload) -> None:
        """Publish some of a packet's points, if it is time to and somebody looks."""
        now_s = time.monotonic()
        if now_s - self._shown_s < CONSTELLATION_PERIOD_S:
            return
        if pmt.is_null(self.to_basic_block().message_subscribers(self._constellation)):
            return
        self._shown_s = now_s
        self.constellations += 1
        every = -(-payload.points.size // CONSTELLATION_POINTS)
        points = payload.points.ravel()[::every]
        metadata = _metadata(payload.arrival)
        metadata = pmt.dict_add(metadata, MCS, pmt.from_long(payload.arrival.header.mcs))
        self.message_port_pub(self._constellation, pmt.cons(metadata, c32vector(points)))


class _Announced(NamedTuple):
    """A packet in the decoder; ``missed``: bursts that were lost here until its end."""

    ticket: int
    arrival: Arrival
    torn: bool
    missed: int


class _DecodeMac(MessageBlock):
    """Checks decoded payloads; what it knows of a packet waits here while the decoder works, in order."""

    def __init__(self, samp_rate: float) -> None:
        super().__init__("amc_rx", outputs=("pdu_out", "feedback"), tick_s=STATUS_PERIOD_S)
        self._samp_rate = samp_rate
        self._lock = threading.Lock()
        self._announced: deque[_Announced] = deque()
        self.missed = 0  # bursts that were, or may have been, lost here
        self._told_missed = 0  # of these, those that a verdict has told of
        self._tickets = itertools.count()
        self._receiver: Receiver | None = None

    @property
    def waiting(self) -> int:
        """Packets in the decoder."""
        return len(self._announced)

    def reset(self, receiver: Receiver) -> None:
        """Begin a new stream."""
        with self._lock:
            self._announced.clear()
            self.missed = self._told_missed = 0
            self._receiver = receiver

    def announce(self, arrival: Arrival, torn: bool) -> int:
        """A packet goes to the decoder; the ticket must come back with its bits.

        ``torn``: the radio lost some of its samples.
        """
        with self._lock:
            ticket = next(self._tickets)
            self._announced.append(_Announced(ticket, arrival, torn, self.missed))
        return ticket

    def details(self) -> dict[str, int]:
        """The receiver's counts."""
        return dict(self._receiver.counts) if self._receiver is not None else {}

    @handles("bits")
    def on_bits(self, message: pmt.pmt_base) -> None:
        """Judge a decoded payload; packets that the decoder left out are NACKs."""
        ticket = pmt.to_long(pmt.dict_ref(pmt.car(message), _TICKET, pmt.from_long(-1)))
        while self._announced and self._announced[0].ticket <= ticket:
            packet = self._announced[0]
            try:
                self._judge(packet, u8_array(pmt.cdr(message)) if packet.ticket == ticket else None)
            finally:
                with self._lock:
                    self._announced.popleft()

    def _judge(self, packet: _Announced, bits: np.ndarray | None) -> None:
        payload, arrival = None, packet.arrival
        if bits is not None:
            payload = framing.check_payload(bits[: framing.info_bits(arrival.header.length)])
        metadata = pmt.dict_add(_metadata(arrival), MCS, pmt.from_long(arrival.header.mcs))
        ack = payload is not None
        if packet.torn and not ack:
            return  # counted as missed already
        self.counters.add("acks" if ack else "nacks")
        if payload is not None:
            cfo_hz = pmt.from_double(arrival.cfo * self._samp_rate)
            self.publish(
                "pdu_out",
                pmt.cons(pmt.dict_add(metadata, _CFO_HZ, cfo_hz), u8vector(payload)),
            )
        missed, self._told_missed = packet.missed - self._told_missed, packet.missed
        if missed:
            metadata = pmt.dict_add(metadata, MISSED, pmt.from_long(missed))
        self.publish("feedback", pmt.dict_add(metadata, ACK, pmt.from_bool(ack)))


def _metadata(arrival: Arrival) -> pmt.pmt_base:
    """``link``, ``seq`` and ``snr_db`` of a packet."""
    header: Header = arrival.header
    metadata = pmt.dict_add(pmt.make_dict(), LINK, pmt.from_long(header.link))
    metadata = pmt.dict_add(metadata, SEQ, pmt.from_long(header.seq))
    return pmt.dict_add(metadata, SNR_DB, pmt.from_double(arrival.snr_db))
