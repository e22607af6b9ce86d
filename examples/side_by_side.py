#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""OLLA and LightTune side by side: the same packets through two links over equal channels.

The same flowgraph as side_by_side.grc. The selectors' status goes to the terminal: compare acks and nacks.
"""

import argparse
import time

from gnuradio import analog, blocks, channels, gr, lighttune

SAMP_RATE = 1e6
NOISE = 0.1  # amplitude: 19 dB of SNR on the occupied carriers at the fading channel's mean
DOPPLER_HZ = 8.0
SLOT_SAMPLES = 4600  # every packet takes a slot, so that both links meet the channel in the same states


class side_by_side(gr.top_block):
    """One packet of 128 random bytes every 25 ms, on both links."""

    def __init__(self) -> None:
        super().__init__("OLLA and LightTune side by side")
        self.packets = lighttune.packet_source(128, 0.025)
        self.show = blocks.message_debug()

        self.olla = lighttune.olla_selector(table="amc")
        self.olla_tx = lighttune.amc_tx(slot_samples=SLOT_SAMPLES)
        self.olla_fading, self.olla_noise = self.fading_model(), self.noise_source()
        self.olla_sum = blocks.add_cc()
        self.olla_rx = lighttune.amc_rx()
        self.olla_acks = lighttune.ack_merge(timeout_s=0.5)

        self.ours = lighttune.mcs_selector(model="amc")
        self.tuner = lighttune.tuner(model="amc")
        self.ours_tx = lighttune.amc_tx(slot_samples=SLOT_SAMPLES)
        self.ours_fading, self.ours_noise = self.fading_model(), self.noise_source()
        self.ours_sum = blocks.add_cc()
        self.ours_rx = lighttune.amc_rx()
        self.ours_acks = lighttune.ack_merge(timeout_s=0.5)

        self.connect(self.olla_tx, self.olla_fading, (self.olla_sum, 0))
        self.connect(self.olla_noise, (self.olla_sum, 1))
        self.connect(self.olla_sum, self.olla_rx)
        self.connect(self.ours_tx, self.ours_fading, (self.ours_sum, 0))
        self.connect(self.ours_noise, (self.ours_sum, 1))
        self.connect(self.ours_sum, self.ours_rx)


        self.msg_connect(self.packets, "pdu_out", self.olla, "pdu_in")
        self.msg_connect(self.olla, "pdu_out", self.olla_tx, "pdu_in")
        self.msg_connect(self.olla, "decision", self.olla_acks, "decision")
        self.msg_connect(self.olla_tx, "sent", self.olla_acks, "sent")
        self.msg_connect(self.olla_tx, "erasure", self.olla_acks, "erasure")
        self.msg_connect(self.olla_rx, "csi", self.olla, "csi")
        self.msg_connect(self.olla_rx, "feedback", self.olla_acks, "feedback")
        self.msg_connect(self.olla_acks, "feedback", self.olla, "feedback")
        self.msg_connect(self.olla, "status", self.show, "print")

        self.msg_connect(self.packets, "pdu_out", self.ours, "pdu_in")
        self.msg_connect(self.ours, "pdu_out", self.ours_tx, "pdu_in")
        self.msg_connect(self.ours, "decision", self.ours_acks, "decision")
        self.msg_connect(self.ours_tx, "sent", self.ours_acks, "sent")
        self.msg_connect(self.ours_tx, "erasure", self.ours_acks, "erasure")
        self.msg_connect(self.ours, "decision", self.tuner, "decision")
        self.msg_connect(self.ours_rx, "csi", self.ours, "csi")
        self.msg_connect(self.ours_rx, "feedback", self.ours_acks, "feedback")
        self.msg_connect(self.ours_acks, "feedback", self.ours, "feedback")
        self.msg_connect(self.ours_acks, "feedback", self.tuner, "feedback")
        self.msg_connect(self.tuner, "model", self.ours, "model")
        self.msg_connect(self.ours, "status", self.show, "print")

    def fading_model(self) -> channels.selective_fading_model:
        """Three Rayleigh paths; equal seeds make equal channels."""
        return channels.selective_fading_model(
            8, DOPPLER_HZ / SAMP_RATE, False, 4.0, 1, [0.0, 1.7, 3.4], [0.87, 0.44, 0.22], 8
        )

    def noise_source(self) -> analog.noise_source_c:
        """Gaussian noise; equal seeds make equal noise."""
        return analog.noise_source_c(analog.GR_GAUSSIAN, NOISE, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="how long to run (default: %(default)s)")
    args = parser.parse_args()
    flowgraph = side_by_side()
    flowgraph.start()
    time.sleep(args.seconds)
    flowgraph.stop()
    flowgraph.wait()


if __name__ == "__main__":
    main()
