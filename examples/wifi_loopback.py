#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""LightTune on gr-ieee802-11: its MAC and PHY in a loop, over a channel whose SNR swings between 2 and 28 dB.

The same flowgraph as wifi_loopback.grc. Needs gr-ieee802-11 and gr-foo, and gr-ieee802-11's wifi_phy_hier.grc
built in GNU Radio Companion (see docs/wifi.md). Status goes to the terminal.
"""

import argparse
import math
import os
import sys
import time

from gnuradio import analog, blocks, gr, lighttune

# Where GNU Radio Companion puts the hier blocks that it builds.
sys.path.append(os.environ.get("GRC_HIER_PATH", os.path.expanduser("~/.grc_gnuradio")))

FRAME_BYTES = 505  # a length that all eight rates pad well: see docs/wifi.md
BUFFER_ITEMS = 96_000  # holds a frame with its padding
NOISE = math.sqrt(64 / 52)  # amplitude: 0 dB of SNR on the occupied carriers for a signal of power 1
DB = math.log(10) / 20


class wifi_loopback(gr.top_block):
    """One frame at a time, every 20 ms at most."""

    def __init__(self, selector: gr.basic_block | None = None) -> None:
        import foo
        import ieee802_11
        from wifi_phy_hier import wifi_phy_hier

        super().__init__("LightTune on gr-ieee802-11")
        self.packets = lighttune.packet_source(FRAME_BYTES, 0.02)
        self.turn = lighttune.stop_and_wait(timeout_s=0.6, queue_packets=1)
        self.selector = selector or lighttune.mcs_selector(model="", table="wifi")
        self.tuner = lighttune.tuner(model="", table="wifi")
        self.mac = ieee802_11.mac([0x23] * 6, [0x42] * 6, [0xFF] * 6)
        self.phy = wifi_phy_hier()
        self.link = lighttune.ieee802_11_link(self.phy)
        self.pad = foo.packet_pad2(False, False, 0.001, 500, 1000)
        self.pad.set_min_output_buffer(BUFFER_ITEMS)
        self.slow = analog.sig_source_f(1.0, analog.GR_SIN_WAVE, 1 / 600_000, 10 * DB, 15 * DB)
        self.fast = analog.sig_source_f(1.0, analog.GR_SIN_WAVE, 1 / 71_000, 3 * DB)
        self.level = blocks.add_ff()
        self.gain = blocks.transcendental("exp", "float")
        self.to_complex = blocks.float_to_complex()
        self.channel = blocks.multiply_cc()
        self.noise = analog.noise_source_c(analog.GR_GAUSSIAN, NOISE, 1)
        self.adder = blocks.add_cc()
        self.show = blocks.message_debug()

        self.connect(self.phy, self.pad, (self.channel, 0))
        self.connect(self.slow, (self.level, 0))
        self.connect(self.fast, (self.level, 1))
        self.connect(self.level, self.gain, self.to_complex, (self.channel, 1))
        self.connect(self.channel, (self.adder, 0))
        self.connect(self.noise, (self.adder, 1))
        self.connect(self.adder, self.phy)

        self.msg_connect(self.packets, "pdu_out", self.turn, "pdu_in")
        self.msg_connect(self.turn, "pdu_out", self.selector, "pdu_in")
        self.msg_connect(self.selector, "decision", self.turn, "decision")
        self.msg_connect(self.selector, "decision", self.tuner, "decision")
        self.msg_connect(self.selector, "pdu_out", self.link, "pdu_in")
        self.msg_connect(self.link, "pdu_out", self.mac, "app in")
        self.msg_connect(self.mac, "phy out", self.link, "psdu_in")
        self.msg_connect(self.link, "psdu_out", self.phy, "mac_in")
        self.msg_connect(self.phy, "mac_out", self.link, "mac_out")
        self.msg_connect(self.link, "csi", self.selector, "csi")
        for sink in (self.selector, self.tuner, self.turn):
            self.msg_connect(self.link, "feedback", sink, "feedback")
        self.msg_connect(self.tuner, "model", self.selector, "model")
        for block in (self.selector, self.link, self.tuner):
            self.msg_connect(block, "status", self.show, "print")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="how long to run (default: %(default)s)")
    args = parser.parse_args()
    try:
        flowgraph = wifi_loopback()
    except ImportError as error:
        sys.exit(
            f"{error}: install gr-foo and gr-ieee802-11, and build its wifi_phy_hier.grc: see docs/wifi.md"
        )
    flowgraph.start()
    time.sleep(args.seconds)
    flowgraph.stop()
    flowgraph.wait()


if __name__ == "__main__":
    main()
