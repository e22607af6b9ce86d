# SPDX-License-Identifier: GPL-3.0-or-later
"""A link whose feedback goes over the air: both directions as samples through the modem and fading channels.

FDD: each direction has a channel of its own. TDD: both share one, and who transmits hears nothing.
"""

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from gnuradio import analog, blocks, channels, gr, lighttune
from gnuradio.lighttune.modem.framing import burst_samples
from gnuradio.lighttune.modem.numerology import noise_power
from gnuradio.lighttune.net.feedback_frame import MAX_FRAME

from feedback_hosts import AHEAD, PAYLOAD_BYTES, SAMP_RATE, SLOT_SAMPLES, Pacer, Tally

REVERSE_SLOT = burst_samples(0, MAX_FRAME) + 200
PERIOD_S = 0.01  # FDD: from one packet to the next
TURNAROUND_S = 0.002
TURNS_RATE = 0.5e6  # samples per second in TDD, where silence costs as much work as a burst
TURN_S = 0.2  # TDD: after which the transmitter goes on without an answer; many times what a turn takes
TIMEOUT_S = 5.0  # after which a block without a verdict is erased: many turns


class Turns(gr.basic_block):
    """One channel for two ends that take turns: whoever transmits hears nothing.

    It keeps time: a sample takes 1 / `TURNS_RATE`, also while nobody transmits; while a receiver is behind,
    time stands still. Output 0 is what the end of input 1 hears, and output 1 what the end of input 0 hears.
    Noise is for others to add.

    Args:
        receivers: the two ends'.
    """

    CHUNK = 500  # samples: a burst begins up to so much later than it could
    AHEAD = 4 * CHUNK  # of the receivers

    def __init__(self, receivers: list[lighttune.amc_rx]) -> None:
        gr.basic_block.__init__(self, "turns", [np.complex64] * 2, [np.complex64] * 2)
        self._receivers = receivers
        self.collided = 0  # samples that both ends sent at once
        self._began_s: float | None = None
        self._sent = 0

    def forecast(self, noutput_items: int, ninputs: int) -> list[int]:
        """Silence needs no input."""
        return [0] * ninputs

    def general_work(self, input_items: list[np.ndarray], output_items: list[np.ndarray]) -> int:
        """The next stretch of time."""
        for _ in range(100):  # not for ever: a flowgraph that stops reads no more
            if all(self._sent - rx.demodulator.nitems_read(0) <= self.AHEAD for rx in self._receivers):
                break
            time.sleep(1e-3)
        n = min(self.CHUNK, len(output_items[0]))
        now_s = time.monotonic()
        if self._began_s is None or now_s > self._began_s + self._sent / TURNS_RATE + 0.01:
            self._began_s = now_s - self._sent / TURNS_RATE  # it was held up: time stood still
        time.sleep(max(self._began_s + self._sent / TURNS_RATE - now_s, 0.0))
        taken = [min(n, len(samples)) for samples in input_items]
        for heard, sender, deaf in zip(output_items, (0, 1), (1, 0), strict=True):
            heard[:n] = 0
            heard[taken[deaf] : taken[sender]] = input_items[sender][taken[deaf] : taken[sender]]
        self.collided += min(taken)
        for port, count in enumerate(taken):
            self.consume(port, count)
        self._sent += n
        return n


class OverTheAir(gr.top_block):
    """Source, selector and forward transmitter at one end, receiver and reverse transmitter at the other.

    Args:
        duplex: ``"fdd"`` or ``"tdd"``.
        adapter: ``"olla"`` or ``"lighttune"``.
        packets: to send.
        snr_db: mean SNR of the forward channel.
        reverse_snr_db: mean SNR of the reverse channel: its fading loses frames.
        doppler_hz: of both channels, in real time.
        seed: of channels, noise and payloads.
    """

    def __init__(
        self,
        duplex: str,
        adapter: str,
        packets: int,
        snr_db: float = 20.0,
        reverse_snr_db: float = 5.0,
        doppler_hz: float = 4.0,
        seed: int = 1,
    ) -> None:
        super().__init__(f"feedback over the air, {duplex}")
        self.packets = packets
        fdd = duplex == "fdd"
        self.pacer = Pacer(packets, PERIOD_S if fdd else 0.0, seed)
        self.hold = None if fdd else lighttune.stop_and_wait(TURN_S, queue_packets=packets)
        self.selector = lighttune.mcs_selector() if adapter == "lighttune" else lighttune.olla_selector()
        self.tuner = lighttune.tuner() if adapter == "lighttune" else None
        self.acks = lighttune.ack_merge(TIMEOUT_S, "erasure")
        self.tx = lighttune.amc_tx(slot_samples=SLOT_SAMPLES * fdd, queue_packets=packets)
        self.rx = lighttune.amc_rx(on_overload="wait")
        self.to_pdu = lighttune.feedback_to_pdu(turnaround_s=0.0 if fdd else TURNAROUND_S)
        self.reverse_tx = lighttune.amc_tx(slot_samples=REVERSE_SLOT * fdd, queue_packets=packets)
        self.reverse_rx = lighttune.amc_rx(on_overload="wait")
        self.from_pdu = lighttune.pdu_to_feedback()
        self.sent, self.heard = Tally(), Tally()  # at the transmitter, and what the receiver knows
        # In FDD a channel moves on with its samples alone, a slot for each packet.
        speed = PERIOD_S / SLOT_SAMPLES, PERIOD_S / REVERSE_SLOT
        doppler = [doppler_hz * s if fdd else doppler_hz / TURNS_RATE for s in speed]
        self.turns = None if fdd else Turns([self.rx, self.reverse_rx])
        for end, (sender, snr, receiver) in enumerate(
            ((self.tx, snr_db, self.rx), (self.reverse_tx, reverse_snr_db, self.reverse_rx))
        ):
            if self.turns is not None:
                self.connect(sender, (self.turns, end))
            source = sender if self.turns is None else (self.turns, end)
            self._connect_channel(source, snr, doppler[end], seed + 100 * end, receiver)
        self._connect_messages()

    def _connect_channel(
        self, source: Any, snr_db: float, doppler: float, seed: int, receiver: gr.basic_block
    ) -> None:
        taps = np.array([1.0, 0.5, 0.25])
        fading = channels.selective_fading_model(
            8, doppler, False, 4.0, seed, [0.0, 1.7, 3.4], (taps / np.linalg.norm(taps)).tolist(), 8
        )
        noise = analog.noise_source_c(analog.GR_GAUSSIAN, noise_power(snr_db) ** 0.5, seed)
        adder = blocks.add_cc()
        self.connect(source, fading, (adder, 0))
        self.connect(noise, (adder, 1))
        self.connect(adder, receiver)

    def _connect_messages(self) -> None:
        link = self.msg_connect
        if self.hold is None:
            link(self.pacer, "pdu_out", self.selector, "pdu_in")
        else:
            link(self.pacer, "pdu_out", self.hold, "pdu_in")
            link(self.hold, "pdu_out", self.selector, "pdu_in")
            link(self.selector, "decision", self.hold, "decision")
        link(self.selector, "pdu_out", self.tx, "pdu_in")
        link(self.selector, "decision", self.acks, "decision")
        link(self.selector, "decision", self.sent, "decision")
        for port in ("csi", "feedback"):
            link(self.rx, port, self.to_pdu, port)
        link(self.rx, "feedback", self.heard, "feedback")
        link(self.to_pdu, "pdu_out", self.reverse_tx, "pdu_in")
        link(self.reverse_rx, "pdu_out", self.from_pdu, "pdu_in")
        link(self.from_pdu, "csi", self.selector, "csi")
        link(self.from_pdu, "feedback", self.acks, "feedback")
        link(self.acks, "feedback", self.selector, "feedback")
        link(self.acks, "feedback", self.sent, "feedback")
        link(self.acks, "erasure", self.sent, "erasure")
        if self.tuner is not None:
            link(self.selector, "decision", self.tuner, "decision")
            link(self.acks, "feedback", self.tuner, "feedback")
            link(self.tuner, "model", self.selector, "model")
        if self.hold is not None:
            link(self.acks, "feedback", self.hold, "feedback")  # last: who learns from it has it by then

    def run_all(self, progress: Callable[[int], None] = lambda _: None, patience_s: float = 60.0) -> None:
        """Send all packets, and wait for the last one's fate.

        Raises:
            TimeoutError: nothing moved for ``patience_s``: a deadlock.
        """
        self.start()
        try:
            pacer = threading.Thread(target=self.pacer.run, args=(self._taken,))
            pacer.start()
            ended, moved_s = -1, time.monotonic()
            while ended < self.packets:
                now = len(self.sent.acks) + len(self.sent.erased)
                if now != ended:
                    ended, moved_s = now, time.monotonic()
                    progress(ended)
                if time.monotonic() - moved_s > patience_s:
                    raise TimeoutError(f"{ended} of {self.packets} packets ended, then nothing did")
                time.sleep(0.05)
            pacer.join()
        finally:
            self.stop()
            self.wait()

    def _taken(self, packets: int) -> bool:
        if self.turns is not None:
            return True
        waiting = self.reverse_tx.samples_sent - self.reverse_rx.demodulator.nitems_read(0)
        behind = self.rx.demodulator.nitems_read(0) < packets * SLOT_SAMPLES
        return not behind and waiting <= AHEAD * REVERSE_SLOT

    def result(self) -> dict[str, Any]:
        """What became of the packets, and what each block says."""
        airtime_s = sum(burst_samples(mcs, PAYLOAD_BYTES) for mcs in self.sent.mcs.values()) / SAMP_RATE
        blocks_ = (self.selector, self.acks, self.to_pdu, self.from_pdu, self.hold)
        return {
            "goodput_kbps": 8e-3 * PAYLOAD_BYTES * sum(self.heard.acks.values()) / airtime_s,
            "bler": 1 - sum(self.heard.acks.values()) / self.packets,
            "verdicts": len(self.sent.acks),
            "wrong": sum(ack != self.heard.acks.get(seq, False) for seq, ack in self.sent.acks.items()),
            "erased": len(self.sent.erased),
            "reverse_amc_tx_sent": self.reverse_tx.framer.status()["sent"],
            "collided": 0 if self.turns is None else self.turns.collided,
            "reverse": self.reverse_rx.decode_mac.status(),
            "forward": self.rx.decode_mac.status(),
            **{block.block_name: block.status() for block in blocks_ if block is not None},
        }
