#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""LightTune in a loop, recorded: `lighttune report`, `replay` and `train --from` read the log.

The same flowgraph as recorded_link.grc. Status goes to the terminal.
"""

import argparse
import time

from gnuradio import analog, blocks, channels, gr, lighttune

SAMP_RATE = 1e6
NOISE = 0.1  # amplitude: 19 dB of SNR on the occupied carriers at the fading channel's mean
DOPPLER_HZ = 8.0


class recorded_link(gr.top_block):
    """One packet of 128 random bytes every ``period_ms`` (10 ms), and all that is said about it in a log."""

    def __init__(self, log: str = "out/recorded", period_ms: int = 10) -> None:
        super().__init__("Recorded link")
        self.packets = lighttune.packet_source(128, period_ms * 1e-3)
        self.selector = lighttune.mcs_selector(model="amc")
        self.tuner = lighttune.tuner(model="amc")
        self.tx = lighttune.amc_tx(gap_samples=500)
        self.fading = channels.selective_fading_model(
            8, DOPPLER_HZ / SAMP_RATE, False, 4.0, 1, [0.0, 1.7, 3.4], [0.87, 0.44, 0.22], 8
        )
        self.noise = analog.noise_source_c(analog.GR_GAUSSIAN, NOISE, 2)
        self.adder = blocks.add_cc()
        self.rx = lighttune.amc_rx()
        self.acks = lighttune.ack_merge(timeout_s=0.5)
        self.recorder = lighttune.recorder(directory=log, model="amc")
        self.show = blocks.message_debug()

        self.connect(self.tx, self.fading, (self.adder, 0))
        self.connect(self.noise, (self.adder, 1))
        self.connect(self.adder, self.rx)

        self.msg_connect(self.packets, "pdu_out", self.selector, "pdu_in")
        self.msg_connect(self.selector, "pdu_out", self.tx, "pdu_in")
        self.msg_connect(self.selector, "decision", self.acks, "decision")
        self.msg_connect(self.tx, "sent", self.acks, "sent")
        self.msg_connect(self.tx, "erasure", self.acks, "erasure")
        self.msg_connect(self.selector, "decision", self.tuner, "decision")
        self.msg_connect(self.rx, "csi", self.selector, "csi")
        self.msg_connect(self.rx, "feedback", self.acks, "feedback")
        self.msg_connect(self.acks, "feedback", self.selector, "feedback")
        self.msg_connect(self.acks, "feedback", self.tuner, "feedback")
        self.msg_connect(self.tuner, "model", self.selector, "model")
        self.msg_connect(self.selector, "status", self.show, "print")
        self.msg_connect(self.tuner, "status", self.show, "print")

        self.msg_connect(self.rx, "csi", self.recorder, "csi")
        self.msg_connect(self.selector, "decision", self.recorder, "decision")
        self.msg_connect(self.acks, "feedback", self.recorder, "feedback")
        self.msg_connect(self.tuner, "model", self.recorder, "model")
        for block in (self.selector, self.tuner, self.acks, self.rx, self.tx):
            self.msg_connect(block, "status", self.recorder, "status")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="how long to run (default: %(default)s)")
    parser.add_argument("--log", default="out/recorded", metavar="DIR", help="(default: %(default)s)")
    parser.add_argument("--period-ms", type=int, default=10, help="between packets (default: %(default)s)")
    args = parser.parse_args()
    flowgraph = recorded_link(args.log, args.period_ms)
    flowgraph.start()
    time.sleep(args.seconds)
    flowgraph.stop()
    flowgraph.wait()
    print(f"recorded into {flowgraph.recorder.session}")


if __name__ == "__main__":
    main()
