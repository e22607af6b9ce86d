#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""LightTune over USRPs at two hosts: the transmitter's, where the decisions are made.

The same flowgraph as usrp_tx_host.grc; the other host runs usrp_rx_host. Read docs/usrp.md before you
transmit. Status goes to the terminal.
"""

import argparse
import time

from gnuradio import blocks, gr, lighttune

AMPLITUDE = 0.2  # of full scale, RMS: OFDM's peaks are 12 dB higher, and must not clip
TIMEOUT_S = 0.5  # a verdict that takes longer does not come


class usrp_tx_host(gr.top_block):
    """One packet of 128 random bytes every ``period_ms``; what became of it comes from the other host."""

    def __init__(self, args: argparse.Namespace) -> None:
        super().__init__("LightTune over USRPs: transmitter's host")
        self.traffic = lighttune.packet_source(128, args.period_ms * 1e-3, args.packets)
        self.selector = lighttune.mcs_selector(model="amc")
        self.tuner = lighttune.tuner(model="amc")
        self.modulator = lighttune.amc_tx(amplitude=AMPLITUDE, gap_samples=200, length_tag="packet_len")
        self.usrp_tx = lighttune.usrp_tx(
            uhd_args=args.uhd_args,
            samp_rate=args.samp_rate,
            freq_hz=args.freq,
            gain_db=args.gain,
            antenna=args.antenna,
            channel=args.channel,
            clock_source=args.clock_source,
            loopback=args.loopback,
        )
        self.feedback = lighttune.feedback_receiver(
            endpoint=args.feedback, key=args.key, allowed=args.allowed, insecure=args.insecure
        )
        # No verdict: it may be the feedback that was lost. Lost packets are told as NACKs by the other host.
        self.acks = lighttune.ack_merge(timeout_s=TIMEOUT_S, on_timeout="erasure")
        self.show = blocks.message_debug()

        self.connect(self.modulator, self.usrp_tx)

        self.msg_connect(self.traffic, "pdu_out", self.selector, "pdu_in")
        self.msg_connect(self.selector, "pdu_out", self.modulator, "pdu_in")
        self.msg_connect(self.selector, "decision", self.acks, "decision")
        self.msg_connect(self.modulator, "sent", self.acks, "sent")
        self.msg_connect(self.modulator, "erasure", self.acks, "erasure")
        self.msg_connect(self.usrp_tx, "erasure", self.acks, "erasure")
        self.msg_connect(self.selector, "decision", self.tuner, "decision")
        self.msg_connect(self.feedback, "csi", self.selector, "csi")
        self.msg_connect(self.feedback, "feedback", self.acks, "feedback")
        self.msg_connect(self.acks, "feedback", self.selector, "feedback")
        self.msg_connect(self.acks, "feedback", self.tuner, "feedback")
        self.msg_connect(self.tuner, "model", self.selector, "model")
        for block in (self.selector, self.tuner, self.acks, self.usrp_tx, self.feedback):
            self.msg_connect(block, "status", self.show, "print")


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--uhd-args", default="", help="the device, as serial=30AD123 (default: any)")
    add("--samp-rate", type=float, default=1e6, help="samples per second (default: %(default)g)")
    add("--freq", type=float, default=915e6, help="centre frequency in Hz (default: %(default)g)")
    add("--gain", type=float, default=0.0, help="in dB (default: %(default)g)")
    add("--antenna", default="", help="antenna port, as TX/RX (default: the radio's)")
    add("--channel", type=int, default=0, help="which of the radio's channels (default: %(default)s)")
    add("--clock-source", default="", help="internal or external (default: as it is)")
    add("--feedback", default="tcp://127.0.0.1:5557", help="listens here for the other host, as tcp://*:5557"
        " (default: %(default)s)")  # fmt: skip
    add("--key", default="", help="this host's secret key file, of 'lighttune keys' (default: plain text)")
    add("--allowed", default="", help="folder with the other host's public key file")
    add("--insecure", action="store_true", help="plain text between two hosts")
    add("--period-ms", type=float, default=10.0, help="one packet so often (default: %(default)s)")
    add("--seconds", type=float, default=5.0, help="how long to run (default: %(default)s)")
    add("--packets", type=int, default=0, help="or how many packets to send")
    add(
        "--loopback",
        nargs="?",
        const="tcp://*:5558",
        default="",
        metavar="ENDPOINT",
        help="dry run: the samples go to the other host over this, not to a radio (%(const)s)",
    )
    return parser.parse_args(argv)


def main() -> None:
    args = arguments()
    flowgraph = usrp_tx_host(args)
    flowgraph.start()
    if args.packets:
        while flowgraph.traffic.sent < args.packets:
            time.sleep(0.01)
        time.sleep(1.0)  # until the last verdicts are in
    else:
        time.sleep(args.seconds)
    flowgraph.stop()
    flowgraph.wait()


if __name__ == "__main__":
    main()
