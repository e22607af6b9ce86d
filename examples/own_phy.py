#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""LightTune around your own PHY: only mcs_selector and tuner, and a PHY block to replace by yours.

The same flowgraph as own_phy.grc, where the PHY is an embedded Python block. What a PHY must do:

- take a PDU whose metadata has `link`, `seq` and `mcs`, and send it at that MCS;
- say how it ended: a dict {link, seq, ack} on `feedback`;
- say how the channel looks: a dict {link, snr_db} on `csi`, best for each packet and with its `seq`.

That takes the 20 lines between the marks; `docs/own-phy.md` explains them.
"""

import argparse
import time

import numpy as np
import pmt
from gnuradio import blocks, gr, lighttune


class toy_phy(gr.basic_block):
    """Stands in for your PHY: a packet gets through where a walking SNR is above what its MCS needs."""

    NEEDS_DB = (1, 4, 7, 9, 13, 17, 18, 20, 24, 26)  # for half of the packets, by MCS

    def __init__(self, seed: int = 1) -> None:
        gr.basic_block.__init__(self, name="toy_phy", in_sig=None, out_sig=None)
        self.rng = np.random.default_rng(seed)
        self.snr_db = 15.0
        # attach: begin
        self.message_port_register_in(pmt.intern("pdu_in"))
        self.set_msg_handler(pmt.intern("pdu_in"), self.transmit)
        self.message_port_register_out(pmt.intern("csi"))
        self.message_port_register_out(pmt.intern("feedback"))

    def transmit(self, packet: pmt.pmt_base) -> None:
        meta = pmt.to_python(pmt.car(packet))
        ack, snr_db = self.send(pmt.cdr(packet), meta["mcs"])
        block = {"link": meta["link"], "seq": meta["seq"]}
        self.message_port_pub(pmt.intern("csi"), pmt.to_pmt(block | {"snr_db": snr_db}))
        self.message_port_pub(pmt.intern("feedback"), pmt.to_pmt(block | {"ack": ack}))

    # attach: end

    def send(self, payload: pmt.pmt_base, mcs: int) -> tuple[bool, float]:
        """Send a packet: whether it got through, and the SNR in dB at the receiver."""
        self.snr_db = float(np.clip(self.snr_db + self.rng.normal(0, 0.3), 5, 30))
        ack = self.rng.random() < 1 / (1 + np.exp((self.NEEDS_DB[mcs] - self.snr_db) / 0.4))
        return bool(ack), self.snr_db


class own_phy(gr.top_block):
    """One packet of 128 random bytes every 5 ms."""

    def __init__(self) -> None:
        super().__init__("LightTune around your own PHY")
        self.packets = lighttune.packet_source(128, 0.005)
        self.show = blocks.message_debug()

        # attach: begin
        self.phy = toy_phy(seed=1)
        self.selector = lighttune.mcs_selector(model="amc")
        self.tuner = lighttune.tuner(model="amc")
        self.msg_connect(self.packets, "pdu_out", self.selector, "pdu_in")
        self.msg_connect(self.selector, "pdu_out", self.phy, "pdu_in")
        self.msg_connect(self.selector, "decision", self.tuner, "decision")
        self.msg_connect(self.phy, "csi", self.selector, "csi")
        self.msg_connect(self.phy, "feedback", self.selector, "feedback")
        self.msg_connect(self.phy, "feedback", self.tuner, "feedback")
        self.msg_connect(self.tuner, "model", self.selector, "model")
        # attach: end
        self.msg_connect(self.selector, "status", self.show, "print")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="how long to run (default: %(default)s)")
    args = parser.parse_args()
    flowgraph = own_phy()
    flowgraph.start()
    time.sleep(args.seconds)
    flowgraph.stop()
    flowgraph.wait()


if __name__ == "__main__":
    main()
