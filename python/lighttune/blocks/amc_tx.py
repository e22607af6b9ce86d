# SPDX-License-Identifier: GPL-3.0-or-later
"""`amc_tx`: the reference modem's transmitter, PDUs in, bursts of samples out."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from dataclasses import dataclass

import numpy as np
import pmt
from gnuradio import blocks, gr

from ..modem import framing, transmitter
from ..modem.coding import convolve
from ..modem.header import MAX_LINK, MAX_SEQ, Header
from ..modem.mcs import MCS as MCS_SET
from ..modem.pmt_vectors import u8_bytes
from ._block import HierBlock, MessageBlock, handles
from ._messages import LINK, MCS, SEQ, Refused, erasure_message, read_long, sent_message

_SOB, _EOB = pmt.intern("tx_sob"), pmt.intern("tx_eob")
_BUFFER = 1 << 15  # samples: a radio must have most of a burst before it starts, or it underruns within
_LEAD = 1 << 12  # samples that may have left it, and wait for the next block: so much is `sent` early
_LOOK_S = 0.01  # how often it is looked at what has left
_IDLE_S = 0.02  # a pause is looked at this often, so that the flowgraph can stop


class amc_tx(HierBlock):
    """OFDM burst transmitter that takes the MCS of every packet from its metadata.

    Ports: ``pdu_in`` (message, PDU of u8vector: payload of 1..4095 bytes; metadata ``seq`` long 0..2^32 - 1,
    ``mcs`` long 0..9 (default: the parameter), ``link`` long 0..65535 (default 0)), samples out (complex),
    ``sent`` (message ``{link, seq, start, time}``: a packet has left; when its first and its last sample did,
    Unix time, to within 10 ms and 4096 samples that the next block has yet to take), ``erasure`` (message
    ``{link, seq, erasure, cause}``: a packet that will not be sent), ``status`` (message, see
    `MessageBlock.status`: ``sent``, ``queued_packets``, ``dropped`` by cause).

    The samples carry the tags ``tx_sob`` and ``tx_eob``, which UHD and Soapy sinks understand. Packets that
    follow without a pause share one pair; nothing is produced in a pause. With ``length_tag``, each packet is
    a burst of its own instead, and its first sample carries that tag with the number of its samples.

    Args:
        mcs: index 0..9 for packets whose metadata has none.
        amplitude: root mean square of a burst's samples, above 0; the largest peak is some 12 dB higher.
        gap_samples: zeros after each burst.
        slot_samples: 0, or the exact number of samples, zeros included, that each packet takes: packet n then
            starts at sample n * slot_samples. A burst with its gap that does not fit is dropped and counted.
        queue_packets: packets that may wait for the sample stream; more are dropped and counted.
        length_tag: name of the packet-length tag, the same as the radio sink's; empty for tx_sob and tx_eob.

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
        length_tag: str = "",
    ) -> None:
        super().__init__("amc_tx", gr.io_signature(0, 0, 0), gr.io_signature(1, 1, gr.sizeof_gr_complex))
        self.stream = _Stream(length_tag)
        # What it has taken has left: of a block's own output buffer GNU Radio does not say what waits there.
        self.outlet = blocks.copy(gr.sizeof_gr_complex)
        self.outlet.set_max_output_buffer(0, _LEAD)
        self.framer = _Framer(
            self.stream, self.outlet, mcs, amplitude, gap_samples, slot_samples, queue_packets
        )

        self.message_port_register_hier_in("pdu_in")
        self.msg_connect(self, "pdu_in", self.framer, "pdu_in")
        for port in ("sent", "erasure", "status"):
            self.message_port_register_hier_out(port)
            self.msg_connect(self.framer, port, self, port)
        self.msg_connect(self.framer, "status", self.stream, "status")
        self.connect(self.stream, self.outlet, self)

    @property
    def samples_sent(self) -> int:
        """Samples of all bursts since the start, zeros included; some may still wait for their turn."""
        return self.stream.samples


@dataclass(slots=True)
class _Burst:
    """A packet on its way out.

    Args:
        link, seq: its name.
        samples: shape ``(n,)``, complex64.
        end: number of the stream's first sample behind it, once its last one is in the buffer.
        start_s: Unix time at which it began to leave; 0 before.
    """

    link: int
    seq: int
    samples: np.ndarray
    end: int = 0
    start_s: float = 0.0


class _Stream(gr.sync_block):
    """Bursts one after the other as a stream of samples.

    GNU Radio's ``pdu_to_stream`` does the same, but any call of its methods from Python, such as for how much
    waits, takes 80 us with the interpreter locked; and a burst gets there as a message, copied three times.
    """

    def __init__(self, length_tag: str) -> None:
        gr.sync_block.__init__(self, "amc_tx stream", in_sig=None, out_sig=[np.complex64])
        self._length_tag = pmt.intern(length_tag) if length_tag else None
        self.set_log_level("warn")  # the next line is not worth one on the screen
        self.set_min_output_buffer(0, _BUFFER)
        # GNU Radio starts no block that is connected to the outside alone: the framer needs this port.
        self.message_port_register_in(pmt.intern("status"))
        self.set_msg_handler(pmt.intern("status"), self.ignore)
        self._news = threading.Condition()
        self._bursts: deque[_Burst] = deque()
        self._leaving: deque[_Burst] = deque()  # whose last sample is in the buffer
        self.stop()

    def stop(self) -> bool:
        """End the stream; GNU Radio calls it. (Its `start` may come after the first burst.)"""
        with self._news:
            self._bursts.clear()
            self.samples = 0
            self._begun = 0  # samples of the first burst that are out already
            self._contiguous = False  # the last sample's burst was not followed by a pause
        return True

    def ignore(self, message: pmt.pmt_base) -> None:
        """The framer's status is for the outside."""

    def put(self, burst: _Burst) -> None:
        """Append a burst."""
        with self._news:
            idle = not self._bursts
            self._bursts.append(burst)
            self.samples += len(burst.samples)
            self._news.notify()
        if idle:  # GNU Radio looks at a source that had nothing to give every 250 ms, or when a message comes
            self.to_basic_block()._post(pmt.intern("status"), pmt.PMT_NIL)

    def waiting(self) -> int:
        """Bursts whose last sample is not out yet."""
        return len(self._bursts)

    def left(self, taken: int) -> list[_Burst]:
        """The bursts that have left since the last call, now that so many samples were taken in all."""
        now_s, gone = time.time(), []
        while self._leaving:
            burst = self._leaving[0]
            if not burst.start_s and taken > burst.end - len(burst.samples):
                burst.start_s = now_s
            if taken < burst.end:
                break
            gone.append(self._leaving.popleft())
        return gone

    def forget(self) -> None:
        """A new stream begins, whose samples count from 0; before its first burst."""
        self._leaving.clear()

    def work(self, input_items: list[np.ndarray], output_items: list[np.ndarray]) -> int:
        """Fill the buffer with what there is."""
        out, done = output_items[0], 0
        with self._news:
            if not self._bursts:
                self._news.wait(_IDLE_S)
            while self._bursts and done < len(out):
                burst = self._bursts[0].samples
                n = min(len(burst) - self._begun, len(out) - done)
                out[done : done + n] = burst[self._begun : self._begun + n]
                self._tag_start(done, len(burst))
                done += n
                self._begun += n
                if self._begun == len(burst):
                    self._bursts[0].end = self.nitems_written(0) + done
                    self._leaving.append(self._bursts.popleft())
                    self._begun = 0
            if done and not self._bursts:
                self._tag_end(done - 1)
        return done

    def _tag_start(self, at: int, length: int) -> None:
        if self._length_tag is not None:
            if self._begun == 0:
                self._tag(at, self._length_tag, pmt.from_long(length))
        elif not self._contiguous:
            self._tag(at, _SOB, pmt.PMT_T)
        self._contiguous = True

    def _tag_end(self, at: int) -> None:
        if self._length_tag is None:
            self._tag(at, _EOB, pmt.PMT_T)
        self._contiguous = False

    def _tag(self, at: int, key: pmt.pmt_base, value: pmt.pmt_base) -> None:
        self.add_item_tag(0, self.nitems_written(0) + at, key, value)


class _Framer(MessageBlock):
    """Checks PDUs and makes bursts of them."""

    def __init__(
        self,
        stream: _Stream,
        outlet: gr.block,
        mcs: int,
        amplitude: float,
        gap_samples: int,
        slot_samples: int,
        queue_packets: int,
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
        super().__init__("amc_tx", outputs=("sent", "erasure"), tick_s=_LOOK_S)
        self._stream = stream
        self._outlet = outlet
        self._mcs = mcs
        self._amplitude = amplitude
        self._gap = gap_samples
        self._slot = slot_samples
        self._limit = queue_packets

    def details(self) -> dict[str, int]:
        """Counts for the status."""
        return {"sent": self.counters["sent"], "queued_packets": self.queued()}

    def queued(self) -> int:
        """Packets between `pdu_in` and the last of their samples."""
        return self._stream.waiting()

    def _span(self, header: Header) -> int:
        """Samples that a packet takes, zeros included."""
        span = framing.burst_samples(header.mcs, header.length) + self._gap
        if self._slot and span > self._slot:
            raise Refused("burst longer than the slot")
        return self._slot or span

    @handles("pdu_in")
    def on_pdu(self, message: pmt.pmt_base) -> None:
        """Check a PDU and send its burst to the sample stream."""
        if not pmt.is_pair(message) or pmt.is_dict(message) or not pmt.is_u8vector(pmt.cdr(message)):
            raise Refused("not a PDU of bytes")
        metadata = pmt.car(message)
        if not pmt.is_dict(metadata):
            raise Refused("metadata not a dict")
        link, seq = read_long(metadata, LINK, 0, MAX_LINK, default=0), read_long(metadata, SEQ, 0, MAX_SEQ)
        try:
            burst = self._burst(link, seq, message)
        except Refused as refused:
            self.publish("erasure", erasure_message(link, seq, str(refused)))
            raise
        self._stream.put(burst)
        self.counters.add("sent")

    def tick(self) -> None:
        """Tell what has left."""
        for burst in self._stream.left(self._outlet.nitems_read(0)):
            self.publish("sent", sent_message(burst.link, burst.seq, burst.start_s, time.time()))

    def start(self) -> bool:
        self._stream.forget()
        return super().start()

    def stop(self) -> bool:
        self._end_thread()
        with self.guard("stop"):
            self.tick()
        return super().stop()

    def _burst(self, link: int, seq: int, message: pmt.pmt_base) -> _Burst:
        length = pmt.length(pmt.cdr(message))
        if length == 0:
            raise Refused("payload is empty")
        if length > framing.MAX_PAYLOAD:
            raise Refused("payload over 4095 bytes")
        mcs = read_long(pmt.car(message), MCS, 0, len(MCS_SET) - 1, default=self._mcs)
        header = Header(link, seq, mcs, length)
        span = self._span(header)
        if self.queued() >= self._limit:
            raise Refused("queue full")
        coded = convolve(framing.payload_bits(u8_bytes(pmt.cdr(message))))
        return _Burst(link, seq, transmitter.burst(header, coded, self._amplitude, span))
