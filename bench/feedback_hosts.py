#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""A link between two hosts, each a process of its own, and a bad network between them.

    transmitter's host                  network                  receiver's host
    source -> selector -> amc_tx  ----- samples (air) ----->  fading, noise -> amc_rx
    feedback_receiver  <--- 10.77.2.0/24 --- relay <--- 10.77.1.0/24 ---  feedback_sender

Run as a program, this file is one of the two hosts, as `feedback_network` starts them; what it saw is written
as JSON on standard output.
"""

import argparse
import json
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pmt
import zmq
from gnuradio import analog, blocks, channels, gr, lighttune, zeromq
from gnuradio.lighttune.modem.framing import burst_samples
from gnuradio.lighttune.modem.numerology import noise_power

SAMP_RATE = 1e6
PAYLOAD_BYTES = 128
SLOT_SAMPLES = burst_samples(0, PAYLOAD_BYTES) + 200  # the longest burst, and room for the channel's delay
PERIOD_S = 0.01  # from one packet to the next
DOPPLER_HZ = 4.0
MEAN_SNR_DB = 20.0
AIR, FEEDBACK = "tcp://10.77.3.1:5600", "tcp://10.77.2.1:5557"
CLOCK = "tcp://10.77.3.2:5601"  # how many samples the receiver has taken, for the pacer
AHEAD = 3  # packets that the pacer may be ahead of the receiver
RELAY = "tcp://10.77.1.2:5557"


class Pacer(gr.basic_block):
    """Sends one PDU of random bytes every ``period_s``, ``packets`` in all.

    On a machine that is too slow for it time is stretched: the next one waits until the receiver is no more
    than `AHEAD` packets behind.
    """

    def __init__(self, packets: int, period_s: float, seed: int) -> None:
        gr.basic_block.__init__(self, name="pacer", in_sig=None, out_sig=None)
        self._packets, self._period_s = packets, period_s
        self._rng = np.random.default_rng(seed)
        self._out = pmt.intern("pdu_out")
        self.message_port_register_out(self._out)

    def run(self, taken: Callable[[int], bool] = lambda _: True, at: Sequence[int] = ()) -> None:
        """Send them all; returns when the last one is out.

        Args:
            taken: whether the receiver has taken the samples of so many packets.
            at: packets at which ``passed`` is printed.
        """
        due_s = time.monotonic()
        for packet in range(self._packets):
            while not taken(packet - AHEAD):
                time.sleep(1e-3)
                due_s = time.monotonic()
            if packet in at:
                print("passed", flush=True)
            payload = pmt.init_u8vector(PAYLOAD_BYTES, list(self._rng.bytes(PAYLOAD_BYTES)))
            self.message_port_pub(self._out, pmt.cons(pmt.make_dict(), payload))
            due_s += self._period_s
            time.sleep(max(due_s - time.monotonic(), 0.0))


class Tally(gr.basic_block):
    """Keeps the numbers, MCS and verdicts that pass by."""

    def __init__(self) -> None:
        gr.basic_block.__init__(self, name="tally", in_sig=None, out_sig=None)
        self.mcs: dict[int, int] = {}
        self.acks: dict[int, bool] = {}
        self.repeated = 0
        self.decided_s: dict[int, float] = {}
        self.delays_s: list[float] = []  # from a decision to its verdict
        self.erased: list[int] = []
        for port in ("decision", "feedback", "erasure"):
            self.message_port_register_in(pmt.intern(port))
            self.set_msg_handler(pmt.intern(port), getattr(self, f"on_{port}"))

    def on_decision(self, message: pmt.pmt_base) -> None:
        """A packet went out."""
        seen = pmt.to_python(message)
        self.mcs[seen["seq"]] = seen["mcs"]
        self.decided_s[seen["seq"]] = time.monotonic()

    def on_feedback(self, message: pmt.pmt_base) -> None:
        """A verdict came."""
        seen = pmt.to_python(message)
        self.repeated += seen["seq"] in self.acks
        self.acks[seen["seq"]] = seen["ack"]
        if seen["seq"] in self.decided_s:
            self.delays_s.append(time.monotonic() - self.decided_s[seen["seq"]])

    def on_erasure(self, message: pmt.pmt_base) -> None:
        """A packet was given up."""
        self.erased.append(pmt.to_python(message)["seq"])


class Transmitter(gr.top_block):
    """The transmitter's host: chooses MCS from what comes over the network."""

    def __init__(self, adapter: str, packets: int, on_timeout: str, timeout_s: float, seed: int) -> None:
        super().__init__("transmitter's host")
        self.pacer = Pacer(packets, PERIOD_S, seed)
        ours = adapter == "lighttune"
        self.selector = lighttune.mcs_selector() if ours else lighttune.olla_selector()
        self.feedback = lighttune.feedback_receiver(FEEDBACK, insecure=True)
        self.acks = lighttune.ack_merge(timeout_s, on_timeout)
        self.tally = Tally()
        self.tx = lighttune.amc_tx(slot_samples=SLOT_SAMPLES, queue_packets=1024)
        self.air = zeromq.push_sink(gr.sizeof_gr_complex, 1, AIR.replace("10.77.3.1", "*"), 100, False, -1)
        self.connect(self.tx, self.air)
        for source, out, sink, into in (
            (self.pacer, "pdu_out", self.selector, "pdu_in"),
            (self.selector, "pdu_out", self.tx, "pdu_in"),
            (self.selector, "decision", self.acks, "decision"),
            (self.selector, "decision", self.tally, "decision"),
            (self.feedback, "csi", self.selector, "csi"),
            (self.feedback, "feedback", self.acks, "feedback"),
            (self.acks, "feedback", self.selector, "feedback"),
            (self.acks, "feedback", self.tally, "feedback"),
            (self.acks, "erasure", self.tally, "erasure"),
        ):
            self.msg_connect(source, out, sink, into)
        if ours:
            self.tuner = lighttune.tuner()
            self.msg_connect(self.selector, "decision", self.tuner, "decision")
            self.msg_connect(self.acks, "feedback", self.tuner, "feedback")
            self.msg_connect(self.tuner, "model", self.selector, "model")

    def result(self) -> dict[str, Any]:
        """What was seen, to be written as JSON."""
        seen = self.tally
        return {
            "mcs": [seen.mcs[seq] for seq in sorted(seen.mcs)],
            "acks": {str(seq): ack for seq, ack in seen.acks.items()},
            "erased": seen.erased,
            "repeated": seen.repeated,
            "delay_ms": [1e3 * float(d) for d in np.percentile(seen.delays_s, (50, 99))],
            "selector": self.selector.status(),
            "feedback_receiver": self.feedback.status(),
            "ack_merge": self.acks.status(),
        }


class Receiver(gr.top_block):
    """The receiver's host, with the channel before its receiver."""

    def __init__(self, seed: int) -> None:
        super().__init__("receiver's host")
        taps = np.array([1.0, 0.5, 0.25])
        self.air = zeromq.pull_source(gr.sizeof_gr_complex, 1, AIR, 100, False, -1)
        fading = channels.selective_fading_model(
            8, DOPPLER_HZ * PERIOD_S / SLOT_SAMPLES, False, 4.0, seed, [0.0, 1.7, 3.4],
            (taps / np.linalg.norm(taps)).tolist(), 8,
        )  # fmt: skip
        noise = analog.noise_source_c(analog.GR_GAUSSIAN, noise_power(MEAN_SNR_DB) ** 0.5, seed)
        adder = blocks.add_cc()
        self.rx = lighttune.amc_rx(on_overload="wait")
        self.feedback = lighttune.feedback_sender(RELAY, insecure=True)
        self.tally = Tally()
        self.connect(self.air, fading, (adder, 0))
        self.connect(noise, (adder, 1))
        self.connect(adder, self.rx)
        self.msg_connect(self.rx, "csi", self.feedback, "csi")
        self.msg_connect(self.rx, "feedback", self.feedback, "feedback")
        self.msg_connect(self.rx, "feedback", self.tally, "feedback")

    def result(self) -> dict[str, Any]:
        """What was seen, to be written as JSON."""
        return {
            "acks": {str(seq): ack for seq, ack in self.tally.acks.items()},
            "feedback_sender": self.feedback.status(),
            "amc_rx": self.rx.decode_mac.status(),
            "clock_s": time.monotonic(),
        }


def _ended() -> threading.Event:
    """Set by SIGTERM."""
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    return ended


def _taken(clock: zmq.Socket, samples: int) -> bool:
    return samples <= 0 or (clock.poll(100) > 0 and int.from_bytes(clock.recv(), "little") >= samples)


def _receive(seed: int) -> None:
    ended = _ended()
    top = Receiver(seed)
    top.start()
    with zmq.Context() as context, context.socket(zmq.PUB) as clock:
        clock.bind(CLOCK)
        while not ended.wait(2e-3):
            clock.send(top.rx.demodulator.nitems_read(0).to_bytes(8, "little"))
    top.stop()
    top.wait()
    print(json.dumps(top.result()), flush=True)


def _transmit(args: argparse.Namespace) -> None:
    ended = _ended()
    top = Transmitter(args.adapter, args.packets, args.on_timeout, args.timeout, args.seed)
    top.start()
    while not top.feedback.status()["senders_heard"]:  # the other host is there
        time.sleep(0.02)
    time.sleep(0.5)
    print("sending", flush=True)
    with zmq.Context() as context, context.socket(zmq.SUB) as clock:
        clock.conflate = 1
        clock.subscribe(b"")
        clock.connect(CLOCK)
        top.pacer.run(lambda n: _taken(clock, n * SLOT_SAMPLES), args.at)
    while top.acks.status()["waiting"]:
        time.sleep(0.05)
    print("sent", flush=True)
    ended.wait()
    top.stop()
    top.wait()
    print(json.dumps(top.result()), flush=True)


def main() -> None:
    """Be one of the hosts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("host", choices=("tx", "rx"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--adapter", choices=("olla", "lighttune"), default="lighttune")
    parser.add_argument("--packets", type=int, default=1000)
    parser.add_argument("--on-timeout", choices=("nack", "erasure"), default="erasure")
    parser.add_argument("--timeout", type=float, default=1.0)
    parser.add_argument("--at", type=int, nargs="*", default=[], help="say when so many packets are out")
    args = parser.parse_args()
    sys.setswitchinterval(0.5e-3)
    logging.getLogger("gnuradio.lighttune").setLevel(logging.ERROR)  # of ports that are open to all
    if args.host == "rx":
        _receive(args.seed)
    else:
        _transmit(args)


if __name__ == "__main__":
    main()
