# SPDX-License-Identifier: GPL-3.0-or-later
"""The flowgraph of `lighttune usrp-gain`: packets over a USRP link, and how they arrive at each gain."""

from __future__ import annotations

import argparse
import math
import statistics
import threading
import time
from dataclasses import dataclass

import numpy as np
import pmt
from gnuradio import gr

from ..blocks import amc_rx, amc_tx, usrp_rx, usrp_tx
from ..modem.pmt_vectors import u8vector

AMPLITUDE = 0.2  # as in the examples: the gains that are found are for this
MCS = 1  # QPSK 1/2: received at low SNR too
CLIP = 0.99  # of full scale: a converter's last code may lie a little below it
PIECE = 256  # samples whose mean power is one reading of the level
SETTLE_S = 0.1  # samples taken at the last gain may be on their way for so long
PATIENCE_S = 0.6  # without another packet: the rest are lost
MAX_CLIPPED = 1e-4  # of the samples
MIN_RECEIVED = 0.9  # of the packets
FLAT_DB = 1.0  # an SNR this close to the best is as good

_SEQ, _MCS, _SNR_DB = (pmt.intern(key) for key in ("seq", "mcs", "snr_db"))


@dataclass(frozen=True)
class Point:
    """What a pair of gains gave: ``snr_db`` is the packets' median, ``level_dbfs`` the loudest piece."""

    tx_gain_db: float
    rx_gain_db: float
    sent: int
    received: int
    snr_db: float
    level_dbfs: float
    peak_dbfs: float
    clipped: float


def recommend(points: list[Point]) -> tuple[Point | None, str]:
    """The lowest gains (transmit gain first) within `FLAT_DB` of the best SNR of what neither clips nor loses
    packets, or None; and why, in a sentence."""
    heard = [p for p in points if p.received >= MIN_RECEIVED * p.sent]
    usable = [p for p in heard if p.clipped <= MAX_CLIPPED]
    if usable:
        top = max(p.snr_db for p in usable)
        best = min(
            (p for p in usable if p.snr_db >= top - FLAT_DB), key=lambda p: (p.tx_gain_db, p.rx_gain_db)
        )
        return best, (
            f"Use --tx-gain {best.tx_gain_db:g} --rx-gain {best.rx_gain_db:g}: SNR {best.snr_db:.1f} dB, "
            f"peaks {-best.peak_dbfs:.1f} dB below full scale."
        )
    if any(p.clipped > MAX_CLIPPED for p in points):
        return None, "Whatever is loud enough clips: lower the gains, or put more attenuation into the cable."
    return None, "Too few packets arrive: raise the gains, check cable, antenna ports and frequency."


class _Sounding(gr.basic_block):
    """Sends packets and hears which arrive."""

    def __init__(self) -> None:
        gr.basic_block.__init__(self, name="sounding", in_sig=None, out_sig=None)
        self.next = 0
        self.snr_db: dict[int, float] = {}  # by sequence number
        self.acks: set[int] = set()
        self._out = pmt.intern("pdu_out")
        self.message_port_register_out(self._out)
        for port, handler in (("csi", self.on_csi), ("pdu", self.on_pdu)):
            self.message_port_register_in(pmt.intern(port))
            self.set_msg_handler(pmt.intern(port), handler)

    def send(self, payload: bytes) -> int:
        """Send a packet; its number."""
        seq, self.next = self.next, self.next + 1
        metadata = pmt.dict_add(pmt.make_dict(), _SEQ, pmt.from_long(seq))
        metadata = pmt.dict_add(metadata, _MCS, pmt.from_long(MCS))
        self.message_port_pub(self._out, pmt.cons(metadata, u8vector(payload)))
        return seq

    def on_csi(self, message: pmt.pmt_base) -> None:
        """An SNR report."""
        seq = pmt.to_long(pmt.dict_ref(message, _SEQ, pmt.from_long(-1)))
        self.snr_db[seq] = pmt.to_double(pmt.dict_ref(message, _SNR_DB, pmt.from_double(math.nan)))

    def on_pdu(self, message: pmt.pmt_base) -> None:
        """A packet arrived whole."""
        self.acks.add(pmt.to_long(pmt.dict_ref(pmt.car(message), _SEQ, pmt.from_long(-1))))


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
            self.level, self.peak, self.clipped, self.samples = 0.0, 0.0, 0, 0

    def work(self, input_items: list[np.ndarray], output_items: list[np.ndarray]) -> int:
        """Look at whole pieces."""
        x = input_items[0]
        x = x[: len(x) // PIECE * PIECE]
        parts = np.abs(x.view(np.float32))
        power = np.mean(np.square(parts).reshape(-1, 2 * PIECE), axis=1) * 2
        with self._lock:
            self.level = max(self.level, float(power.max(initial=0.0)))
            self.peak = max(self.peak, float(parts.max(initial=0.0)))
            self.clipped += int(np.count_nonzero(parts.reshape(-1, 2).max(axis=1) >= CLIP))
            self.samples += len(x)
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
        self.sounding, self.meter = _Sounding(), _Meter()
        # Kept: GNU Radio does not hold the Python part of a block.
        self.modulator = modulator = amc_tx(amplitude=AMPLITUDE, gap_samples=200, length_tag="packet_len")
        self.demodulator = demodulator = amc_rx(samp_rate=args.samp_rate)
        self.connect(modulator, self.tx)
        self.connect(self.rx, demodulator)
        self.connect(self.rx, self.meter)
        self.msg_connect(self.sounding, "pdu_out", modulator, "pdu_in")
        self.msg_connect(demodulator, "csi", self.sounding, "csi")
        self.msg_connect(demodulator, "pdu_out", self.sounding, "pdu")
        self._rng = np.random.default_rng(1)

    def measure(self, tx_gain_db: float, rx_gain_db: float, packets: int) -> Point:
        """Send packets at these gains and wait for them."""
        self.tx.set_gain(tx_gain_db)
        self.rx.set_gain(rx_gain_db)
        time.sleep(SETTLE_S)
        self.meter.reset()
        numbers = {self.sounding.send(self._rng.bytes(64)) for _ in range(packets)}
        count, since_s = -1, time.monotonic()
        while count < packets and time.monotonic() - since_s < PATIENCE_S:
            if len(numbers & self.sounding.acks) != count:
                count, since_s = len(numbers & self.sounding.acks), time.monotonic()
            time.sleep(0.005)
        snr_db = [self.sounding.snr_db[seq] for seq in sorted(numbers) if seq in self.sounding.snr_db]
        meter = self.meter
        return Point(
            tx_gain_db, rx_gain_db, packets, count,
            statistics.median(snr_db) if snr_db else math.nan,
            _db(meter.level), 2 * _db(meter.peak), meter.clipped / max(1, meter.samples),
        )  # fmt: skip

    def losses(self) -> dict[str, int]:
        """Counts of lost samples."""
        tx, rx = self.tx.status(), self.rx.status()
        return {name: {**rx, **tx}[name] for name in ("underruns", "late", "sequence_errors", "overruns")}


def _db(power: float) -> float:
    return 10 * math.log10(max(power, 1e-12))
