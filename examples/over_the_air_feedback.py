#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Feedback over the air: verdicts and SNR reports come back through the modem, on a channel of their own.

The same flowgraph as over_the_air_feedback.grc. The reverse channel loses some of its frames: the status of
`pdu_to_feedback`, on the terminal, says how many, and that no verdict is missing.
"""

import argparse
import time

from gnuradio import analog, blocks, channels, gr, lighttune

SAMP_RATE = 1e6
NOISE = 0.1  # amplitude: 19 dB of SNR on the occupied carriers at the fading channel's mean
REVERSE_NOISE = 0.5  # 5 dB
DOPPLER_HZ = 8.0


class over_the_air_feedback(gr.top_block):
    """One packet of 128 random bytes every 20 ms."""

    def __init__(self) -> None:
        super().__init__("Feedback over the air")
        self.packets = lighttune.packet_source(128, 0.02)
        self.selector = lighttune.mcs_selector(model="amc")
        self.tuner = lighttune.tuner(model="amc")
        self.tx = lighttune.amc_tx(gap_samples=500)
        self.fading, self.noise = self.fading_model(1), analog.noise_source_c(analog.GR_GAUSSIAN, NOISE, 2)
        self.adder = blocks.add_cc()
        self.rx = lighttune.amc_rx()

        self.to_pdu = lighttune.feedback_to_pdu()
        self.reverse_tx = lighttune.amc_tx(gap_samples=500)
        self.reverse_fading = self.fading_model(3)
        self.reverse_noise = analog.noise_source_c(analog.GR_GAUSSIAN, REVERSE_NOISE, 4)
        self.reverse_adder = blocks.add_cc()
        self.reverse_rx = lighttune.amc_rx()
        self.from_pdu = lighttune.pdu_to_feedback()
        self.acks = lighttune.ack_merge(timeout_s=1.0, on_timeout="erasure")
        self.show = blocks.message_debug()

        self.connect(self.tx, self.fading, (self.adder, 0))
        self.connect(self.noise, (self.adder, 1))
        self.connect(self.adder, self.rx)
        self.connect(self.reverse_tx, self.reverse_fading, (self.reverse_adder, 0))
        self.connect(self.reverse_noise, (self.reverse_adder, 1))
        self.connect(self.reverse_adder, self.reverse_rx)

        self.msg_connect(self.packets, "pdu_out", self.selector, "pdu_in")
        self.msg_connect(self.selector, "pdu_out", self.tx, "pdu_in")
        self.msg_connect(self.selector, "decision", self.acks, "decision")
        self.msg_connect(self.tx, "sent", self.acks, "sent")
        self.msg_connect(self.tx, "erasure", self.acks, "erasure")
        self.msg_connect(self.selector, "decision", self.tuner, "decision")
        self.msg_connect(self.rx, "csi", self.to_pdu, "csi")
        self.msg_connect(self.rx, "feedback", self.to_pdu, "feedback")
        self.msg_connect(self.to_pdu, "pdu_out", self.reverse_tx, "pdu_in")
        self.msg_connect(self.reverse_rx, "pdu_out", self.from_pdu, "pdu_in")
        self.msg_connect(self.from_pdu, "csi", self.selector, "csi")
        self.msg_connect(self.from_pdu, "feedback", self.acks, "feedback")
        self.msg_connect(self.acks, "feedback", self.selector, "feedback")
        self.msg_connect(self.acks, "feedback", self.tuner, "feedback")
        self.msg_connect(self.tuner, "model", self.selector, "model")
        self.msg_connect(self.selector, "status", self.show, "print")
        self.msg_connect(self.from_pdu, "status", self.show, "print")

    def fading_model(self, seed: int) -> channels.selective_fading_model:
        """Three Rayleigh paths."""
        return channels.selective_fading_model(
            8, DOPPLER_HZ / SAMP_RATE, False, 4.0, seed, [0.0, 1.7, 3.4], [0.87, 0.44, 0.22], 8
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="how long to run (default: %(default)s)")
    args = parser.parse_args()
    flowgraph = over_the_air_feedback()
    flowgraph.start()
    time.sleep(args.seconds)
    flowgraph.stop()
    flowgraph.wait()


if __name__ == "__main__":
    main()
