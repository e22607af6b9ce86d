# SPDX-License-Identifier: GPL-3.0-or-later
"""The flowgraph of `lighttune usrp-gain`: packets over a USRP link, and how they arrive at each gain.

One packet is on its way at a time, and what it waits for is the radio's own time: a packet is lost only once
every sample that was received until its burst had ended is read. So a busy computer takes longer, but hears
what it would hear if idle; and what it does lose is told by the radio's counts of just that packet.
"""

from __future__ import annotations

import argparse
import math
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable

import numpy as np
import pmt
from gnuradio import blocks, gr

from ..blocks import UsrpError, amc_rx, amc_tx, usrp_rx, usrp_tx
from ..blocks.amc_rx import INTAKE, LOST_SAMPLES
from ..modem.pmt_vectors import u8vector
from .usrp_advice import Point

AMPLITUDE = 0.2  # as in the examples: the gains that are found are for this
MCS = 1  # QPSK 1/2: received at low SNR too
N_BYTES = 64  # of a packet
CLIP = 0.99  # of full scale: a converter's last code may lie a little below it
PIECE = 256  # samples whose mean power is one reading of the level
BURST_DB = 6  # a piece this close to the loudest is of a burst
SETTLE_S = 0.05  # samples received for so long after a change of gains are not looked at
STILL_S = 0.05  # without a new sample: time stands still, as in a simulation nothing is sent
NO_ACK_S = 0.5  # a radio that has told nothing for so long tells of no burst's end
START_S = 10.0  # for the first samples to come
STUCK_S = 5.0  # a computer that needs longer for a packet is no use
_POLL_S = 0.003
_GATHER_S = 0.005  # samples of the meter come together for so long
_LOWEST_DB, _HIGHEST_DB = -120, 10  # of the meter

_SEQ, _MCS, _SNR_DB, _ACK = (pmt.intern(key) for key in ("seq", "mcs", "snr_db", "ack"))
_FEEDBACK, _ALL_READ = pmt.intern("feedback"), pmt.intern("all read")


class _Sounding(gr.basic_block):
    """Sends packets and hears how they end."""

    def __init__(self) -> None:
        gr.basic_block.__init__(self, name="sounding", in_sig=None, out_sig=None)
        self.sent = 0
        self.snr_db: dict[int, float] = {}  # by sequence number
        self.acks: dict[int, bool] = {}
        self.marks = 0
        self._out = pmt.intern("pdu_out")
        self.message_port_register_out(self._out)
        self.message_port_register_in(_FEEDBACK)
        self.set_msg_handler(_FEEDBACK, self.on_feedback)

    def send(self, payload: bytes) -> int:
        """Send a packet; its number."""
        seq, self.sent = self.sent, self.sent + 1
        metadata = pmt.dict_add(pmt.make_dict(), _SEQ, pmt.from_long(seq))
        metadata = pmt.dict_add(metadata, _MCS, pmt.from_long(MCS))
        self.message_port_pub(self._out, pmt.cons(metadata, u8vector(payload)))
        return seq

    def mark(self) -> int:
        """A mark behind the verdicts that wait; it has come when `marks` is at least this number."""
        number = self.marks + 1
        self.to_basic_block()._post(_FEEDBACK, _ALL_READ)
        return number

    def on_feedback(self, message: pmt.pmt_base) -> None:
        """A packet's verdict, or a mark."""
        if pmt.eq(message, _ALL_READ):
            self.marks += 1
            return
        seq = pmt.to_long(pmt.dict_ref(message, _SEQ, pmt.from_long(-1)))
        self.snr_db[seq] = pmt.to_double(pmt.dict_ref(message, _SNR_DB, pmt.from_double(math.nan)))
        self.acks[seq] = pmt.to_bool(pmt.dict_ref(message, _ACK, pmt.PMT_F))


class _Meter(gr.sync_block):
    """Level, peak and clipping of the samples since `reset`."""

    def __init__(self) -> None:
        gr.sync_block.__init__(self, name="level meter", in_sig=[np.complex64], out_sig=None)
        self.set_output_multiple(PIECE)
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        """Begin anew."""
        with self._lock:
            self.level, self.peak = 0.0, 0.0
            # By the pieces' level in dB: their number, and the samples that clip in them.
            self._pieces = np.zeros(_HIGHEST_DB - _LOWEST_DB + 1, np.int64)
            self._clips = np.zeros_like(self._pieces)

    @property
    def clipped(self) -> float:
        """Share of the bursts' samples that clip; bursts are the pieces within `BURST_DB` of the loudest."""
        with self._lock:
            heard = np.flatnonzero(self._pieces)
            if not heard.size:
                return 0.0
            low = max(0, heard[-1] - BURST_DB)
            return float(self._clips[low:].sum() / (PIECE * self._pieces[low:].sum()))

    def work(self, input_items: list[np.ndarray], output_items: list[np.ndarray]) -> int:
        """Look at whole pieces."""
        x = input_items[0]
        x = x[: len(x) // PIECE * PIECE]
        parts = np.abs(x.view(np.float32)).reshape(-1, 2 * PIECE)
        power = np.mean(np.square(parts), axis=1) * 2
        peaks = parts.max(axis=1)
        loud = np.flatnonzero(peaks >= CLIP)
        clips = np.count_nonzero(parts[loud].reshape(len(loud), PIECE, 2).max(axis=2) >= CLIP, axis=1)
        level_db = np.rint(10 * np.log10(np.maximum(power, 1e-30))) - _LOWEST_DB
        bins = np.clip(level_db, 0, len(self._pieces) - 1).astype(np.int64)
        with self._lock:
            self.level = max(self.level, float(power.max(initial=0.0)))
            self.peak = max(self.peak, float(peaks.max(initial=0.0)))
            self._pieces += np.bincount(bins, minlength=len(self._pieces))
            np.add.at(self._clips, bins[loud], clips)
        if len(x) < INTAKE // 4:
            time.sleep(_GATHER_S)  # or a thousand calls a second would leave the receiver no Python
        return len(x)


class Sounder(gr.top_block):
    """Transmitter and receiver of the link, as ``args`` of the command say."""

    def __init__(self, args: argparse.Namespace, tx_gain_db: float, rx_gain_db: float) -> None:
        super().__init__("LightTune: gains of a USRP link")
        common = {"samp_rate": args.samp_rate, "freq_hz": args.freq, "clock_source": args.clock_source}
        self.tx = usrp_tx(
            args.uhd_args, gain_db=tx_gain_db, antenna=args.tx_antenna, channel=args.tx_channel, **common
        )
        self.rx = usrp_rx(
            args.rx_uhd_args or args.uhd_args, gain_db=rx_gain_db, antenna=args.rx_antenna,
            channel=args.rx_channel, **common,
        )  # fmt: skip
        self.samp_rate = args.samp_rate
        self.sounding, self.meter = _Sounding(), _Meter()
        # Kept: GNU Radio does not hold the Python part of a block.
        self.modulator = modulator = amc_tx(amplitude=AMPLITUDE, gap_samples=200, length_tag="packet_len")
        # Overload: nothing is dropped here. Samples wait, and what does not fit is an overrun of the radio's.
        self.demodulator = demodulator = amc_rx(samp_rate=args.samp_rate, on_overload="wait")
        self.intake = blocks.copy(gr.sizeof_gr_complex)  # of the meter, which must not hold up the receiver
        self.intake.set_log_level("warn")  # the next line is not worth one on the screen
        self.intake.set_min_output_buffer(0, INTAKE)
        self.connect(modulator, self.tx)
        self.connect(self.rx, demodulator)
        self.connect(self.rx, self.intake, self.meter)
        self.msg_connect(self.sounding, "pdu_out", modulator, "pdu_in")
        self.msg_connect(demodulator, "feedback", self.sounding, "feedback")
        self._rng = np.random.default_rng(1)
        self._unacknowledged = 0  # bursts of whose end the radio did not tell

    def begin(self) -> None:
        """Start, and wait for samples. A packet that does not count makes all blocks do all they do once: the
        first time takes longest, and in a simulation time moves only while something is sent.

        Raises:
            UsrpError: none come.
        """
        self.start()
        self._send()
        if not _until(lambda: self.rx.gaps.time_s(0) is not None, START_S):
            raise UsrpError(f"the radio receives no samples within {START_S:g} s of the start")

    def measure(self, tx_gain_db: float, rx_gain_db: float, packets: int) -> Point:
        """Send packets at these gains, one after the other, until so many tell of the link because this
        computer did not lose them; twice as many at most."""
        self.tx.set_gain(tx_gain_db)
        self.rx.set_gain(rx_gain_db)
        self._settle()
        self.meter.reset()
        first = self.sounding.sent
        received, judged, lost = 0, 0, Counter[str]()
        while judged < packets and self.sounding.sent - first < 2 * packets:
            arrived, cause = self._try()
            received += arrived
            judged += not cause
            lost.update([cause] if cause else [])
            if cause in ("receiver behind", "not sent"):
                break  # it took seconds, and would again
        self._all_read()
        # By now: a verdict of this pair's last packet that comes later is none.
        last = self.sounding.sent
        snr_db = [snr for seq, snr in tuple(self.sounding.snr_db.items()) if first <= seq < last]
        meter = self.meter
        return Point(
            tx_gain_db, rx_gain_db, last - first, received,
            statistics.median(snr_db) if snr_db else math.nan,
            _db(meter.level), 2 * _db(meter.peak), meter.clipped, dict(lost),
        )  # fmt: skip

    def _send(self) -> int:
        return self.sounding.send(self._rng.bytes(N_BYTES))

    def _settle(self) -> None:
        """Wait until what was received at the last gains is read, and what came while they changed."""
        now_s = self.rx.now_s()
        _until(lambda: self._read_s() >= now_s, STUCK_S)
        _until(lambda: self._read_s() >= now_s + SETTLE_S, STUCK_S, self._still())

    def _still(self) -> Callable[[], bool]:
        """Whether no new samples came for `STILL_S`."""
        seen = [-1, 0.0]

        def still() -> bool:
            taken, now_s = self.rx.gaps.nitems_read(0), time.monotonic()
            if taken != seen[0]:
                seen[:] = taken, now_s
            return now_s - seen[1] >= STILL_S

        return still

    def _read_s(self) -> float:
        """The radio's time up to which all who listen have taken its samples, to within two of them."""
        numbers = (
            self.demodulator.demodulator.nitems_read(0),
            self.meter.nitems_read(0) + PIECE,  # it takes whole pieces
            self.rx.gaps.nitems_read(0),
        )
        time_s = self.rx.gaps.time_s(min(numbers) + 2)
        return -math.inf if time_s is None else time_s

    def _all_read(self) -> bool:
        """Wait until all that is received by now is read, and its verdicts are here; False: it takes long."""
        now_s = self.rx.now_s()
        decoder = self.demodulator.decode_mac
        if not _until(lambda: self._read_s() >= now_s and decoder.waiting == 0, STUCK_S):
            return False
        mark = self.sounding.mark()
        return _until(lambda: self.sounding.marks >= mark, STUCK_S)

    def _try(self) -> tuple[bool, str]:
        """Send a packet: whether it arrived; if not, for which reason of the host's own, or none."""
        before, begun_s = self._losses(), self.rx.now_s()
        seq, acks = self._send(), self.sounding.acks
        over = self._burst_over()
        on_air = _until(lambda: over() or acks.get(seq, False), STUCK_S)
        if acks.get(seq, False):
            return True, ""
        read = on_air and self._all_read()
        if acks.get(seq, False):
            return True, ""
        losses = self._losses()
        for cause, count in losses.items():
            if count > before[cause]:
                return False, cause
        if self.rx.gaps.since(begun_s):  # where samples are missing that were due since
            return False, "overruns"
        if not on_air:
            return False, "not sent"
        return False, "" if read else "receiver behind"

    def _burst_over(self) -> Callable[[], bool]:
        """Whether the radio has told of the end of every burst that was sent; if it does not tell, whether it
        took the samples `NO_ACK_S` ago."""
        taken_s: list[float] = []

        def over() -> bool:
            ended = self.tx.watch.counters["bursts"] + self.tx.watch.counters["late"]
            if ended + self._unacknowledged >= self.sounding.sent:
                return True
            samples = self.modulator.samples_sent
            if self.modulator.framer.counters["sent"] < self.sounding.sent or (
                self.tx.sink.nitems_read(0) < samples
            ):
                return False
            taken_s.append(time.monotonic())
            del taken_s[1:]
            if time.monotonic() - taken_s[0] < NO_ACK_S:
                return False
            self._unacknowledged = self.sounding.sent - ended
            return True

        return over

    def _losses(self) -> dict[str, int]:
        """What was counted as lost on the way out, and dropped, so far."""
        tx = self.tx.watch.counters
        blocks = self.modulator.framer, self.demodulator.decode_mac
        return {
            "underruns": tx["underruns"],
            "late": tx["late"],
            "sequence errors": tx["sequence_errors"],
            # Samples that the radio lost have a cause of their own: `gaps` tells when they were due.
            "dropped": sum(
                n for block in blocks for cause, n in block.dropped.as_dict().items() if cause != LOST_SAMPLES
            ),
        }


def _until(condition: Callable[[], bool], limit_s: float, enough: Callable[[], bool] | None = None) -> bool:
    """Wait for the condition; False once ``limit_s`` have passed, or it is enough."""
    end_s = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() >= end_s or (enough is not None and enough()):
            return False
        time.sleep(_POLL_S)
    return True


def _db(power: float) -> float:
    return 10 * math.log10(max(power, 1e-12))
