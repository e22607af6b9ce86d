# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo's flowgraph: packets through the modem and a fading channel, an adapter in the loop."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import pmt
from gnuradio import analog, blocks, channels, gr

from ..blocks import ack_merge, amc_rx, amc_tx, mcs_selector, olla_selector, tuner
from ..core.link_files import load_model
from ..modem.framing import burst_samples
from ..modem.numerology import noise_power

SAMP_RATE = 1e6
PAYLOAD_BYTES = 128
SLOT_SAMPLES = burst_samples(0, PAYLOAD_BYTES) + 200  # the longest burst, and room for the channel's delay
TIMEOUT_S = 0.3  # of a packet whose header was lost: many times what a slot takes here

_SEQ, _LINK, _ACK, _SNR_DB = (pmt.intern(key) for key in ("seq", "link", "ack", "snr_db"))


@dataclass(frozen=True)
class Scenario:
    """What happens, slot by slot: one packet is sent in each. All arrays have shape ``(packets,)``.

    Args:
        mean_snr_db: mean SNR of the fading channel: a random walk.
        report_bias_db: what is added to every SNR report on its way back.
        image: amplitude, relative to the signal, of the image that the receiver's IQ imbalance adds:
            interference that follows the signal, unlike the noise that the model was trained with.
        phases: name, first and last slot of what happens.
        doppler_hz: maximum Doppler frequency.
        seed: of the walk, the fading, the noise and the payloads.
    """

    mean_snr_db: np.ndarray
    report_bias_db: np.ndarray
    image: np.ndarray
    phases: tuple[tuple[str, int, int], ...]
    doppler_hz: float
    seed: int

    @property
    def packets(self) -> int:
        """Number of packets, and of slots."""
        return len(self.mean_snr_db)


def make_scenario(packets: int, seed: int) -> Scenario:
    """The demo's three phases: nominal; SNR reports 4 dB too high; an impaired receiver.

    Raises:
        ValueError: fewer than 30 packets.
    """
    if packets < 30:
        raise ValueError(f"packets = {packets}: give 30 or more")
    rng = np.random.default_rng(seed)
    walk, level_db = np.empty(packets), 21.0
    for slot, step_db in enumerate(rng.normal(0, 0.6, packets)):
        level_db += step_db + 0.01 * (21.0 - level_db)  # reverts to 21 dB, spread 4.2 dB
        walk[slot] = level_db
    a, b = packets // 3, 2 * packets // 3
    slot = np.arange(packets)
    return Scenario(
        mean_snr_db=walk,
        report_bias_db=np.where((slot >= a) & (slot < b), 4.0, 0.0),
        image=np.where(slot >= b, 10 ** (-20 / 20), 0.0),
        phases=(("nominal", 0, a), ("reports +4 dB", a, b), ("IQ image -20 dB", b, packets)),
        doppler_hz=8.0,
        seed=seed,
    )


@dataclass
class Record:
    """What was seen of one run, by slot; nan where nothing was. All arrays have shape ``(packets,)``.

    ``beliefs``: what the selector's status said that it holds of the link, and the last packet before it.
    """

    packets: int
    mcs: np.ndarray = field(init=False)
    bler: np.ndarray = field(init=False)
    ack: np.ndarray = field(init=False)
    snr_db: np.ndarray = field(init=False)
    version: np.ndarray = field(init=False)
    latency_s: np.ndarray = field(init=False)
    beliefs: list[tuple[int, dict]] = field(default_factory=list)
    status: dict[str, dict] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("mcs", "bler", "ack", "snr_db", "version", "latency_s"):
            setattr(self, name, np.full(self.packets, np.nan))


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ctrl-C and SIGTERM wait: what they raise in a block's ``start`` would hang the flowgraph."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class StopAndWait(gr.basic_block):
    """Sends the next PDU when the last one's fate is known, and notes when each left.

    Args:
        payloads: one ``bytes`` for each packet.
    """

    def __init__(self, payloads: list[bytes]) -> None:
        gr.basic_block.__init__(self, name="stop_and_wait", in_sig=None, out_sig=None)
        self.sent_s = np.full(len(payloads), np.nan)
        self.acked = 0
        self.next = 0
        self._pdus = [
            pmt.cons(pmt.PMT_NIL, pmt.init_u8vector(len(payload), list(payload))) for payload in payloads
        ]
        self._out = pmt.intern("pdu_out")
        self.message_port_register_out(self._out)
        self.message_port_register_in(pmt.intern("fate"))
        self.set_msg_handler(pmt.intern("fate"), self.on_fate)

    def send(self) -> None:
        """Send the next packet, if there is one left."""
        if self.next == len(self._pdus):
            return
        seq, self.next = self.next, self.next + 1
        self.sent_s[seq] = time.perf_counter()
        self.message_port_pub(self._out, self._pdus[seq])

    def on_fate(self, message: pmt.pmt_base) -> None:
        """An ACK, a NACK or a time-out came back."""
        if pmt.to_long(pmt.dict_ref(message, _SEQ, pmt.from_long(-1))) == self.next - 1:
            self.acked += pmt.to_bool(pmt.dict_ref(message, _ACK, pmt.PMT_F))
            self.send()


class BiasedReports(gr.basic_block):
    """Adds a bias to the SNR reports: a receiver whose estimator is off.

    Args:
        bias_db: by sequence number.
    """

    def __init__(self, bias_db: np.ndarray) -> None:
        gr.basic_block.__init__(self, name="biased_reports", in_sig=None, out_sig=None)
        self._bias_db = bias_db.tolist()
        self._out = pmt.intern("csi")
        self.message_port_register_out(self._out)
        self.message_port_register_in(self._out)
        self.set_msg_handler(self._out, self.on_csi)

    def on_csi(self, message: pmt.pmt_base) -> None:
        """Pass a report on, with its bias."""
        seq = pmt.to_long(pmt.dict_ref(message, _SEQ, pmt.from_long(0)))
        snr_db = pmt.to_double(pmt.dict_ref(message, _SNR_DB, pmt.PMT_NIL))
        biased = snr_db + self._bias_db[seq % len(self._bias_db)]
        self.message_port_pub(self._out, pmt.dict_add(message, _SNR_DB, pmt.from_double(biased)))


class Recorder(gr.basic_block):
    """Writes down what it hears; the radio does not depend on it."""

    def __init__(self, packets: int) -> None:
        gr.basic_block.__init__(self, name="recorder", in_sig=None, out_sig=None)
        self.record = Record(packets)
        self._decided = 0
        self.chosen_s = np.full(packets, np.nan)
        self.done = threading.Event()  # the last packet's fate is written down
        for port in ("pdu", "decision", "feedback", "csi", "status"):
            self.message_port_register_in(pmt.intern(port))
            self.set_msg_handler(pmt.intern(port), getattr(self, f"on_{port}"))

    def on_pdu(self, message: pmt.pmt_base) -> None:
        """A PDU left the selector."""
        now_s = time.perf_counter()
        self.chosen_s[pmt.to_long(pmt.dict_ref(pmt.car(message), _SEQ, pmt.PMT_NIL))] = now_s

    def on_decision(self, message: pmt.pmt_base) -> None:
        """The selector decided."""
        seen = pmt.to_python(message)
        seq = seen["seq"]
        self.record.mcs[seq], self.record.bler[seq] = seen["mcs"], seen["bler"]
        self.record.version[seq] = seen["version"]
        self._decided = seq

    def on_feedback(self, message: pmt.pmt_base) -> None:
        """A packet's fate is known."""
        seen = pmt.to_python(message)
        self.record.ack[seen["seq"]] = seen["ack"]
        if seen["seq"] == self.record.packets - 1:
            self.done.set()

    def on_csi(self, message: pmt.pmt_base) -> None:
        """A report arrived at the selector."""
        seen = pmt.to_python(message)
        self.record.snr_db[seen["seq"]] = seen["snr_db"]

    def on_status(self, message: pmt.pmt_base) -> None:
        """A block says how it is."""
        seen = pmt.to_python(message)
        self.record.status[seen["block"]] = seen
        if held := seen.get("beliefs"):
            self.record.beliefs.append((self._decided, held["0"]))


class DemoLink(gr.top_block):
    """One run: ``adapter`` ("olla" or "lighttune") in the loop over a scenario.

    Args:
        scenario: what happens.
        adapter: whose MCS goes out.
    """

    def __init__(self, scenario: Scenario, adapter: str) -> None:
        super().__init__(f"LightTune demo: {adapter}")
        rng = np.random.default_rng(scenario.seed)
        payloads = [rng.bytes(PAYLOAD_BYTES) for _ in range(scenario.packets)]
        self.source = StopAndWait(payloads)
        self.recorder = Recorder(scenario.packets)
        if adapter == "olla":
            self.selector = olla_selector("amc")
            self.tuner = None
        else:
            model = load_model("amc")
            self.selector = mcs_selector(model)
            self.tuner = tuner(model)
        self.tx = amc_tx(slot_samples=SLOT_SAMPLES)
        self.rx = amc_rx(on_overload="wait")
        self.merge = ack_merge(timeout_s=TIMEOUT_S, on_timeout="nack")  # one packet at a time: no gaps
        self.bias = BiasedReports(scenario.report_bias_db)
        self._connect_channel(scenario)
        self._connect_messages()

    def _connect_channel(self, scenario: Scenario) -> None:
        def by_slot(values: np.ndarray) -> blocks.repeat:
            source = blocks.vector_source_c(values.astype(complex).tolist())
            repeat = blocks.repeat(gr.sizeof_gr_complex, SLOT_SAMPLES)
            self.connect(source, repeat)
            return repeat

        # Mean SNR by a gain over constant noise: the noise is then the same for every adapter.
        gain, image = by_slot(10 ** (scenario.mean_snr_db / 20)), by_slot(scenario.image)
        taps = np.array([1.0, 0.5, 0.25])
        fading = channels.selective_fading_model(
            8, scenario.doppler_hz / SAMP_RATE, False, 4.0, scenario.seed, [0.0, 1.7, 3.4],
            (taps / np.linalg.norm(taps)).tolist(), 8,
        )  # fmt: skip
        noise = analog.noise_source_c(analog.GR_GAUSSIAN, noise_power(0.0) ** 0.5, scenario.seed)
        scaled, noisy, received = blocks.multiply_cc(), blocks.add_cc(), blocks.add_cc()
        mirror, mirrored = blocks.conjugate_cc(), blocks.multiply_cc()
        self.connect(self.tx, (scaled, 0))
        self.connect(gain, (scaled, 1))
        self.connect(scaled, fading, (noisy, 0))
        self.connect(noise, (noisy, 1))
        self.connect(noisy, mirror, (mirrored, 0))
        self.connect(image, (mirrored, 1))
        self.connect(noisy, (received, 0))
        self.connect(mirrored, (received, 1))
        self.connect(received, self.rx)

    def _connect_messages(self) -> None:
        def link(source: gr.basic_block, out: str, sink: gr.basic_block, into: str) -> None:
            self.msg_connect(source, out, sink, into)

        link(self.source, "pdu_out", self.selector, "pdu_in")
        link(self.selector, "pdu_out", self.recorder, "pdu")
        link(self.selector, "pdu_out", self.tx, "pdu_in")
        link(self.selector, "decision", self.merge, "decision")
        link(self.selector, "decision", self.recorder, "decision")
        link(self.tx, "sent", self.merge, "sent")
        link(self.rx, "csi", self.bias, "csi")
        link(self.bias, "csi", self.selector, "csi")
        link(self.bias, "csi", self.recorder, "csi")
        link(self.rx, "feedback", self.merge, "feedback")
        # The source comes last: whoever learns from the feedback has it before the next packet.
        link(self.merge, "feedback", self.selector, "feedback")
        if self.tuner is not None:
            link(self.selector, "decision", self.tuner, "decision")
            link(self.merge, "feedback", self.tuner, "feedback")
            link(self.tuner, "model", self.selector, "model")
            link(self.tuner, "status", self.recorder, "status")
        link(self.merge, "feedback", self.recorder, "feedback")
        link(self.merge, "feedback", self.source, "fate")
        for block in (self.selector, self.merge, self.tx, self.rx):
            link(block, "status", self.recorder, "status")

    @property
    def finished(self) -> threading.Event:
        """Set when the last packet's fate is known and recorded."""
        return self.recorder.done

    def begin(self) -> None:
        """Start the flowgraph and send the first packet."""
        with _uninterrupted():
            self.start()
        self.source.send()

    def end(self) -> Record:
        """Stop the flowgraph and hand over what was recorded."""
        self.stop()
        self.wait()
        record = self.recorder.record
        record.latency_s = self.recorder.chosen_s - self.source.sent_s
        if self.tuner is not None:
            record.status["tuner"] = self.tuner.status()
        return record
