#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures the BLER curves of gr-ieee802-11's eight rates, its own transmitter and receiver in one flowgraph.

Frames of random bytes pass through its `mac`, its `wifi_phy_hier`, noise, and back. A frame that does not
come out of `mac_out` is an error, whether its detection, its SIGNAL field or its data failed. SNR is Es/N0 on
the occupied carriers. Needs gr-ieee802-11 and gr-foo: see docs/wifi.md. Two minutes.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pmt
from gnuradio import analog, blocks, gr
from gnuradio.lighttune.blocks._header_tap import Header, HeaderTap, n_symbols
from gnuradio.lighttune.cli.modem_point import Outcome
from gnuradio.lighttune.modem.numerology import N_DATA, noise_power
from gnuradio.lighttune.modem.pmt_vectors import u8vector
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import phy_curves
from phy_curves import Scheme

SCHEMES = tuple(
    Scheme(f"{name} {n}/{d}", bits, n / d)
    for name, bits, n, d in (
        ("BPSK", 1, 1, 2),
        ("BPSK", 1, 3, 4),
        ("QPSK", 2, 1, 2),
        ("QPSK", 2, 3, 4),
        ("16-QAM", 4, 1, 2),
        ("16-QAM", 4, 3, 4),
        ("64-QAM", 6, 2, 3),
        ("64-QAM", 6, 3, 4),
    )
)
"""The rates of IEEE 802.11-2020 clause 17, in the order of gr-ieee802-11's `Encoding`."""

REMEDY = "install gr-foo and gr-ieee802-11, and build its wifi_phy_hier.grc: see docs/wifi.md"
MAX_PAYLOAD, MAC_BYTES = 1500, 28  # what the MAC takes, and what it adds: header and frame check sequence
PAD_FRONT, PAD_TAIL = 500, 1000  # samples of noise around a frame; the tail flushes the receiver's filters
BUFFER_ITEMS = 96_000  # a padded frame must fit into the transmitter's buffer
STILL_S = 0.05  # nothing left and nothing new for this long: all is through
SLACK = 200  # samples that a stage may keep: it looks ahead by as many at most
TIMEOUT_S = 120.0


class Loopback(gr.top_block):
    """`mac` and `wifi_phy_hier` through noise of constant power; the signal's level makes the SNR."""

    def __init__(self, payload_bytes: int, seed: int) -> None:
        sys.path.append(os.environ.get("GRC_HIER_PATH", os.path.expanduser("~/.grc_gnuradio")))
        import foo
        import ieee802_11
        from wifi_phy_hier import wifi_phy_hier

        super().__init__("BLER of gr-ieee802-11")
        self.payload_bytes = payload_bytes
        self.rng = np.random.default_rng(seed)
        self.mac = ieee802_11.mac([0x23] * 6, [0x42] * 6, [0xFF] * 6)
        self.phy = wifi_phy_hier()
        self.pad = foo.packet_pad2(False, False, 0.001, PAD_FRONT, PAD_TAIL)
        self.pad.set_min_output_buffer(BUFFER_ITEMS)
        self.gain = blocks.multiply_const_cc(1.0)
        noise_seed = int(self.rng.integers(1, 2**31))
        self.noise = analog.noise_source_c(analog.GR_GAUSSIAN, math.sqrt(noise_power(0.0)), noise_seed)
        self.add = blocks.add_cc()
        self.heard = blocks.message_debug()
        self.headers: list[Header] = []
        self.tap = HeaderTap(self.headers.append)
        self.connect(self.phy, self.pad, self.gain, (self.add, 0))
        self.connect(self.noise, (self.add, 1))
        self.connect(self.add, self.phy)
        self.phy.connect(self.phy.ieee802_11_frame_equalizer_0, self.tap)
        self.msg_connect(self.mac, "phy out", self.phy, "mac_in")
        self.msg_connect(self.phy, "mac_out", self.heard, "store")

    def warm_up(self) -> None:
        """Have the longest frames decoded: the Viterbi decoder reads on behind a frame, in unset memory."""
        payload_bytes, self.payload_bytes = self.payload_bytes, MAX_PAYLOAD
        for mcs in (0, 1):  # without and with puncturing
            self.point(mcs, 40.0, 2)
        self.payload_bytes = payload_bytes

    def point(self, mcs: int, snr_db: float, frames: int) -> Outcome:
        """Send frames of random bytes, one after the other, at one encoding; nothing else is under way."""
        acks, samples = self.heard.num_messages(), self.pad.nitems_written(0)
        self.headers.clear()
        self.gain.set_k(10 ** (snr_db / 20))
        self.phy.ieee802_11_mapper_0.set_encoding(mcs)
        entry, port = self.mac.to_basic_block(), pmt.intern("app in")
        for _ in range(frames):
            entry._post(port, pmt.cons(pmt.make_dict(), u8vector(self.rng.bytes(self.payload_bytes))))
        self._settle(samples + frames * frame_samples(mcs, self.payload_bytes))
        acks = self.heard.num_messages() - acks
        sent = mcs, self.payload_bytes + MAC_BYTES
        headers = min(frames, sum((h.encoding, h.n_bytes) == sent for h in self.headers))
        return Outcome(frames, acks, headers - acks, frames - headers)

    def _settle(self, samples: int) -> None:
        """Wait until so many samples were sent, the receiver has taken them all, and it has come to rest."""
        start = still = time.monotonic()
        before = 0
        while time.monotonic() - still < STILL_S:
            time.sleep(0.005)
            now = self.heard.num_messages()
            if self.pad.nitems_written(0) < samples or now != before or self._behind():
                still = time.monotonic()
            before = now
            if still - start > TIMEOUT_S:
                raise TimeoutError(f"the frames were not through in {TIMEOUT_S:g} s: {self._behind()}")

    def _behind(self) -> dict[str, int]:
        """The receiver's stages that have not taken all that is there, with what is left, in samples."""
        phy = self.phy
        short, long = phy.sync_short, phy.sync_long
        equalizer, decode_mac = phy.ieee802_11_frame_equalizer_0, phy.ieee802_11_decode_mac_0
        left = {
            "sync_short": self.pad.nitems_written(0) - short.nitems_read(0),
            "sync_long": short.nitems_written(0) - long.nitems_read(0),
            "frame_equalizer": long.nitems_written(0) - 64 * equalizer.nitems_read(0),
            "decode_mac": 64 * (equalizer.nitems_written(0) - decode_mac.nitems_read(0)),
            "tap": 64 * (equalizer.nitems_written(0) - self.tap.nitems_read(0)),
        }
        return {stage: n for stage, n in left.items() if n > (0 if stage in ("decode_mac", "tap") else SLACK)}


def frame_samples(mcs: int, payload_bytes: int) -> int:
    """What the transmitter makes of a frame: preamble, SIGNAL and data, one sample of roll-off, padding."""
    data = n_symbols(Header(mcs, payload_bytes + MAC_BYTES, 0.0, 0.0))
    return 320 + 80 * (1 + data) + 1 + PAD_FRONT + PAD_TAIL


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--frames", type=int, default=1000, help="per point (default: %(default)s)")
    add("--payload-bytes", type=int, default=505, help="of a frame, 1 to 1500 (default: %(default)s)")
    add("--seed", type=int, default=1, help="of payloads and noise (default: %(default)s)")
    add("--json", type=Path, help="curves file to write, for `lighttune train --table`")
    add("--table", type=Path, help="Markdown table to write")
    add("--plot", type=Path, help="picture to write")
    args = parser.parse_args()
    if not (1 <= args.payload_bytes <= MAX_PAYLOAD and args.frames >= 1):
        parser.error("give --payload-bytes from 1 to 1500 and --frames from 1")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        task = progress.add_task("points", total=len(SCHEMES) * len(phy_curves.OFFSETS_DB))
        try:
            top = Loopback(args.payload_bytes, args.seed)
        except ImportError as error:
            parser.error(f"{error}: {REMEDY}")
        top.start()
        try:
            top.warm_up()
            curves = phy_curves.measure(top.point, SCHEMES, args.frames, lambda: progress.advance(task))
        finally:
            top.stop()
            top.wait()
    result = phy_curves.document(SCHEMES, curves, _about(args.payload_bytes, args.seed))
    head = (
        "<!-- written by bench/wifi_curves.py; do not edit -->\n"
        f"gr-ieee802-11 in AWGN, {args.payload_bytes} bytes a frame, seed {args.seed}, "
        f"{args.frames} frames a point;\nSNR is Es/N0 on the occupied carriers."
    )
    table = phy_curves.markdown_table(result, head)
    print(table)
    for path, content in ((args.json, json.dumps(result, indent=1) + "\n"), (args.table, table)):
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
    if args.plot is not None:
        phy_curves.plot(
            result, args.plot, f"gr-ieee802-11, {args.payload_bytes} bytes: measured (dots), fit (lines)"
        )
    return 0


def _about(payload_bytes: int, seed: int) -> dict[str, Any]:
    return {
        "payload_bytes": payload_bytes,
        "seed": seed,
        "snr": "Es/N0 on the occupied carriers, AWGN",
        "phy": "gr-ieee802-11 maint-3.10, LS equalizer, sensitivity 0.56, no carrier offset",
        "overhead_symbols": N_DATA * (4 + 1),  # preamble, SIGNAL
    }


if __name__ == "__main__":
    raise SystemExit(main())
