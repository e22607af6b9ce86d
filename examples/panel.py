#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""The LightTune loop with a panel: constellation, MCS, SNR, BLER, goodput, beliefs and tuner in a window.

The same flowgraph as panel.grc. Its telemetry is at tcp://127.0.0.1:5558: `lighttune monitor` shows that.
Without a screen, set QT_QPA_PLATFORM=offscreen; --screenshot keeps the last picture.
"""

import argparse
import signal
import sys

from gnuradio import analog, blocks, channels, gr, lighttune
from PyQt5 import QtCore, QtWidgets

SAMP_RATE = 1e6
NOISE = 0.1  # amplitude: 19 dB of SNR on the occupied carriers at the fading channel's mean
DOPPLER_HZ = 8.0


class panel(gr.top_block):
    """One packet of 128 random bytes every 10 ms."""

    def __init__(self) -> None:
        super().__init__("LightTune panel")
        self.packets = lighttune.packet_source(128, 0.01)
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
        self.panel = lighttune.panel(title="LightTune")
        self.telemetry = lighttune.telemetry(endpoint="tcp://127.0.0.1:5558")
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

        self.msg_connect(self.rx, "constellation", self.panel, "constellation")
        for screen in (self.panel, self.telemetry):
            self.msg_connect(self.rx, "csi", screen, "csi")
            self.msg_connect(self.selector, "decision", screen, "decision")
            self.msg_connect(self.acks, "feedback", screen, "feedback")
            for block in (self.selector, self.tuner, self.acks, self.rx, self.tx):
                self.msg_connect(block, "status", screen, "status")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, help="how long to run (default: until the window is closed)")
    parser.add_argument("--screenshot", metavar="PNG", help="write the last picture to this file")
    args = parser.parse_args()
    # Kept by the class, for no window may outlive it: at the end of this function it would go first.
    application = panel.application = QtWidgets.QApplication(sys.argv[:1])
    flowgraph = panel()
    window = flowgraph.panel.qwidget()
    if args.seconds:
        QtCore.QTimer.singleShot(round(1000 * args.seconds), application.quit)
    signal.signal(signal.SIGINT, lambda *_: application.quit())
    flowgraph.start()
    window.show()
    application.exec_()
    if args.screenshot and not window.grab().save(args.screenshot):
        sys.exit(f"cannot write {args.screenshot}: give a path that ends in .png, in a folder that exists")
    flowgraph.stop()
    flowgraph.wait()


if __name__ == "__main__":
    main()
