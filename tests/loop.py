# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole loop for tests of what looks at it: selector, tuner, modem, noise, ACK merger."""

import numpy as np
import pmt
from gnuradio import analog, blocks, gr, lighttune
from gnuradio.lighttune.modem.numerology import noise_power

from flowgraph import pdu, post


class Loop(gr.top_block):
    """LightTune over a channel with noise only, at that SNR; packets come by `send`."""

    def __init__(self, snr_db: float) -> None:
        super().__init__()
        self.selector, self.tuner = lighttune.mcs_selector(), lighttune.tuner()
        self.tx, self.rx = lighttune.amc_tx(gap_samples=300), lighttune.amc_rx()
        self.acks = lighttune.ack_merge()
        noise = analog.noise_source_c(analog.GR_GAUSSIAN, float(np.sqrt(noise_power(snr_db))), 3)
        adder = blocks.add_cc()
        self.connect(self.tx, (adder, 0))
        self.connect(noise, (adder, 1))
        self.connect(adder, self.rx)
        for source, out, sink, port in (
            (self.selector, "pdu_out", self.tx, "pdu_in"),
            (self.selector, "decision", self.acks, "decision"),
            (self.selector, "decision", self.tuner, "decision"),
            (self.rx, "csi", self.selector, "csi"),
            (self.rx, "feedback", self.acks, "feedback"),
            (self.acks, "feedback", self.selector, "feedback"),
            (self.acks, "feedback", self.tuner, "feedback"),
            (self.tuner, "model", self.selector, "model"),
        ):
            self.msg_connect(source, out, sink, port)

    def watched_by(self, screen: gr.basic_block) -> None:
        """Connect a block that shows or publishes what happens."""
        self.msg_connect(self.rx, "csi", screen, "csi")
        self.msg_connect(self.selector, "decision", screen, "decision")
        self.msg_connect(self.acks, "feedback", screen, "feedback")
        for block in (self.selector, self.tuner, self.acks, self.rx, self.tx):
            self.msg_connect(block, "status", screen, "status")
        if "constellation" in pmt.to_python(screen.message_ports_in()):
            self.msg_connect(self.rx, "constellation", screen, "constellation")

    def send(self) -> int:
        """Send a packet of 128 bytes; returns how many were decided so far."""
        post(self.selector, "pdu_in", pdu(128))
        return self.selector.status().get("decisions", 0)
