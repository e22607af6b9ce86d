#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""LightTune over USRPs at two hosts: the receiver's.

The same flowgraph as usrp_rx_host.grc; the other host runs usrp_tx_host. Status goes to the terminal.
"""

import argparse
import contextlib
import time

from gnuradio import blocks, gr, lighttune


class usrp_rx_host(gr.top_block):
    """Receives packets; SNR reports and verdicts go back to the transmitter's host over the network."""

    def __init__(self, args: argparse.Namespace) -> None:
        super().__init__("LightTune over USRPs: receiver's host")
        self.usrp_rx = lighttune.usrp_rx(
            uhd_args=args.uhd_args,
            samp_rate=args.samp_rate,
            freq_hz=args.freq,
            gain_db=args.gain,
            antenna=args.antenna,
            channel=args.channel,
            clock_source=args.clock_source,
            loopback=args.loopback,
        )
        self.demodulator = lighttune.amc_rx(samp_rate=args.samp_rate)
        self.feedback = lighttune.feedback_sender(
            endpoint=args.feedback, key=args.key, server_key=args.server_key, insecure=args.insecure
        )
        self.show = blocks.message_debug()

        self.connect(self.usrp_rx, self.demodulator)

        self.msg_connect(self.demodulator, "csi", self.feedback, "csi")
        self.msg_connect(self.demodulator, "feedback", self.feedback, "feedback")
        for block in (self.usrp_rx, self.demodulator, self.feedback):
            self.msg_connect(block, "status", self.show, "print")


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--uhd-args", default="", help="the device, as serial=30AD123 (default: any)")
    add("--samp-rate", type=float, default=1e6, help="samples per second (default: %(default)g)")
    add("--freq", type=float, default=915e6, help="centre frequency in Hz (default: %(default)g)")
    add("--gain", type=float, default=0.0, help="in dB (default: %(default)g)")
    add("--antenna", default="", help="antenna port, as RX2 (default: the radio's)")
    add("--channel", type=int, default=0, help="which of the radio's channels (default: %(default)s)")
    add("--clock-source", default="", help="internal or external (default: as it is)")
    add("--feedback", default="tcp://127.0.0.1:5557", help="the transmitter's host (default: %(default)s)")
    add("--key", default="", help="this host's secret key file, of 'lighttune keys' (default: plain text)")
    add("--server-key", default="", help="the transmitter's host's public key file")
    add("--insecure", action="store_true", help="plain text between two hosts")
    add("--seconds", type=float, help="how long to run (default: until Ctrl-C)")
    add(
        "--loopback",
        nargs="?",
        const="tcp://127.0.0.1:5558",
        default="",
        metavar="ENDPOINT",
        help="dry run: the samples come from the other host over this, through a fading channel (%(const)s)",
    )
    return parser.parse_args(argv)


def main() -> None:
    args = arguments()
    flowgraph = usrp_rx_host(args)
    flowgraph.start()
    with contextlib.suppress(KeyboardInterrupt):
        time.sleep(args.seconds if args.seconds is not None else 1e9)
    flowgraph.stop()
    flowgraph.wait()


if __name__ == "__main__":
    main()
