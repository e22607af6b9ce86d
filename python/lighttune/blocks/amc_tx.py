# SPDX-License-Identifier: GPL-3.0-or-later
"""`amc_tx`: the reference modem's transmitter, PDUs in, bursts of samples out."""

from __future__ import annotations

import math
import threading
from collections import deque

import numpy as np
import pmt
from gnuradio import gr, pdu

from ..modem import fec, framing, transmitter
from ..modem.header import MAX_LINK, MAX_SEQ, Header
from ..modem.mcs import MCS as MCS_SET
from ..modem.pmt_vectors import c32vector, u8_array, u8_bytes, u8vector
from ._block import MessageBlock, handles
from ._messages import LINK, MCS, SEQ, Refused, read_long

_LENGTH = pmt.intern("length")


class amc_tx(gr.hier_block2):
    """OFDM burst transmitter that takes the MCS of every packet from its metadata.

    Ports: ``pdu_in`` (message, PDU of u8vector: payload of 1..4095 bytes; metadata ``seq`` long 0..2^32 - 1,
    ``mcs`` long 0..9 (default: the parameter), ``link`` long 0..65535 (default 0)), samples out (complex),
    ``status`` (message, see `MessageBlock.status`: ``sent``, ``queued_packets``, ``dropped`` by cause).

    The samples carry the tags ``tx_sob`` and ``tx_eob`` of GNU Radio's ``pdu_to_stream``, which UHD and Soapy
    sinks understand. Packets that follow without a pause share one pair; nothing is produced in a pause.

    Args:
        mcs: index 0..9 for packets whose metadata has none.
        amplitude: root mean square of a burst's samples, above 0; the largest peak is some 12 dB higher.
        gap_samples: zeros after each burst.
        slot_samples: 0, or the exact number of samples, zeros included, that each packet takes: packet n then
            starts at sample n * slot_samples. A burst with its gap that does not fit is dropped and counted.
        queue_packets: packets that may wait for the sample stream; more are dropped and counted.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        mcs: int = 0,
        amplitude: float = 1.0,
        gap_samples: int = 0,
        slot_samples: int = 0,
        queue_packets: int = 64,
    ) -> None:
        gr.hier_block2.__init__(
            self, "amc_tx", gr.io_signature(0, 0, 0), gr.io_signature(1, 1, gr.sizeof_gr_complex)
        )
        self.framer = _Framer(mcs, amplitude, gap_samples, slot_samples, queue_packets)
        self.encoder = fec.encoder()
        self.stream = pdu.pdu_to_stream_c(pdu.EARLY_BURST_APPEND, 2 * queue_packets + 64)
        self.framer.samples_out = self._samples_out

        self.message_port_register_hier_in("pdu_in")
        self.message_port_register_hier_out("status")
        self.msg_connect(self, "pdu_in", self.framer, "pdu_in")
        self.msg_connect(self.framer, "bits", self.encoder, "in")
        self.msg_connect(self.encoder, "out", self.framer, "coded")
        self.msg_connect(self.framer, "burst", self.stream, "pdus")
        self.msg_connect(self.framer, "status", self, "status")
        self.connect(self.stream, self)

    def _samples_out(self) -> int:
        try:
            return self.stream.nitems_written(0)
        except RuntimeError:  # the flowgraph has not been started
            return 0

    @property
    def samples_sent(self) -> int:
        """Samples of all bursts so far, zeros included; some may still wait for the sample stream."""
        return self.framer.samples_sent


class _Framer(MessageBlock):
    """Both message ends of the encoder: checks and frames PDUs, and builds bursts of what is encoded."""

    def __init__(
        self, mcs: int, amplitude: float, gap_samples: int, slot_samples: int, queue_packets: int
    ) -> None:
        if not isinstance(mcs, int) or not 0 <= mcs < len(MCS_SET):
            raise ValueError(f"mcs = {mcs!r}: give an index from 0 to {len(MCS_SET) - 1}")
        if not (math.isfinite(amplitude) and amplitude > 0):
            raise ValueError(f"amplitude = {amplitude!r}: give a finite number above 0")
        for name, value, low in (
            ("gap_samples", gap_samples, 0),
            ("slot_samples", slot_samples, 0),
            ("queue_packets", queue_packets, 1),
        ):
            if not isinstance(value, int) or value < low:
                raise ValueError(f"{name} = {value!r}: give an integer of {low} or more")
        shortest = framing.burst_samples(len(MCS_SET) - 1, 1) + gap_samples
        if 0 < slot_samples < shortest:
            raise ValueError(
                f"slot_samples = {slot_samples}: the shortest burst takes {shortest} with its gap; "
                "give more, or 0 for no slots"
            )
        super().__init__("amc_tx", outputs=("bits", "burst"))
        self.samples_out = lambda: 0
        self._mcs = mcs
        self._amplitude = amplitude
        self._gap = gap_samples
        self._slot = slot_samples
        self._limit = queue_packets
        self._lock = threading.Lock()
        self._encoding = 0
        self._waiting: deque[int] = deque()  # number of the sample after each packet that waits
        self._end = 0

    def start(self) -> bool:
        """Begin a new stream; GNU Radio calls it."""
        self._encoding, self._end = 0, 0
        self._waiting.clear()
        return super().start()

    def details(self) -> dict[str, int]:
        """Counts for the status."""
        return {"sent": self.counters["sent"], "queued_packets": self.queued()}

    def queued(self) -> int:
        """Packets between `pdu_in` and the last of their samples."""
        written = self.samples_out()
        with self._lock:
            while self._waiting and self._waiting[0] <= written:
                self._waiting.popleft()
            return self._encoding + len(self._waiting)

    @property
    def samples_sent(self) -> int:
        """Samples of all bursts so far, zeros included."""
        return self._end

    def _span(self, header: Header) -> int:
        """Samples that a packet takes, zeros included."""
        span = framing.burst_samples(header.mcs, header.length) + self._gap
        if self._slot and span > self._slot:
            raise Refused("burst longer than the slot")
        return self._slot or span

    @handles("pdu_in")
    def on_pdu(self, message: pmt.pmt_base) -> None:
        """Check a PDU and send its bits to the encoder."""
        header, payload = self._read(message)
        self._span(header)
        if self.queued() >= self._limit:
            raise Refused("queue full")
        bits = framing.payload_bits(payload)
        metadata = pmt.dict_add(pmt.make_dict(), LINK, pmt.from_long(header.link))
        metadata = pmt.dict_add(metadata, SEQ, pmt.from_long(header.seq))
        metadata = pmt.dict_add(metadata, MCS, pmt.from_long(header.mcs))
        metadata = pmt.dict_add(metadata, _LENGTH, pmt.from_long(header.length))
        self._encoding += 1
        self.publish("bits", pmt.cons(metadata, u8vector(bits)))

    def _read(self, message: pmt.pmt_base) -> tuple[Header, bytes]:
        if not pmt.is_pair(message) or pmt.is_dict(message) or not pmt.is_u8vector(pmt.cdr(message)):
            raise Refused("not a PDU of bytes")
        metadata = pmt.car(message)
        if not pmt.is_dict(metadata):
            raise Refused("metadata not a dict")
        length = pmt.length(pmt.cdr(message))
        if length == 0:
            raise Refused("payload is empty")
        if length > framing.MAX_PAYLOAD:
            raise Refused("payload over 4095 bytes")
        header = Header(
            link=read_long(metadata, LINK, 0, MAX_LINK, default=0),
            seq=read_long(metadata, SEQ, 0, MAX_SEQ),
            mcs=read_long(metadata, MCS, 0, len(MCS_SET) - 1, default=self._mcs),
            length=length,
        )
        return header, u8_bytes(pmt.cdr(message))

    @handles("coded")
    def on_coded(self, message: pmt.pmt_base) -> None:
        """Build the burst of a packet that the encoder returned."""
        self._encoding -= 1
        metadata = pmt.car(message)
        header = Header(*(pmt.to_long(pmt.dict_ref(metadata, key, pmt.PMT_NIL)) for key in _HEADER_KEYS))
        coded = u8_array(pmt.cdr(message))
        burst = transmitter.burst(header, coded, self._amplitude)
        samples = np.zeros(self._span(header), np.complex64)
        samples[: len(burst)] = burst
        with self._lock:
            self._end += len(samples)
            self._waiting.append(self._end)
        self.publish("burst", pmt.cons(pmt.make_dict(), c32vector(samples)))
        self.counters.add("sent")


_HEADER_KEYS = (LINK, SEQ, MCS, _LENGTH)
