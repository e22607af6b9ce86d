#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sends frames through gr-ieee802-11, adapted by our selector, and checks each one's rate.

The flowgraph is examples/wifi_loopback.py. Three witnesses that know nothing of the adapter: the selector's
PDUs; the tags that the PHY's mapper puts on every frame it makes; and the metadata of every frame that the
receiver found good, matched by payload. Needs gr-ieee802-11 and gr-foo: see docs/wifi.md. 500 frames take
half a minute.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pmt
from gnuradio import gr, lighttune
from gnuradio.lighttune.blocks._header_tap import Header, n_symbols
from gnuradio.lighttune.modem.pmt_vectors import u8_bytes

from wifi_curves import MAC_BYTES, REMEDY, SCHEMES

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "wifi_loopback.py"
MAC_HEADER = 24
STALL_S = 30.0


class _Hear(gr.basic_block):
    """Calls ``heard`` with every message."""

    def __init__(self, heard: Callable[[pmt.pmt_base], None]) -> None:
        gr.basic_block.__init__(self, name="hear", in_sig=None, out_sig=None)
        self.heard = heard
        self.message_port_register_in(pmt.intern("in"))
        self.set_msg_handler(pmt.intern("in"), self.take)

    def take(self, message: pmt.pmt_base) -> None:
        self.heard(message)


class _Rates(gr.sync_block):
    """The rates on a mapper's stream, one for each frame."""

    def __init__(self) -> None:
        gr.sync_block.__init__(self, "rates", in_sig=[np.uint8], out_sig=None)
        self.rates: list[int] = []

    def work(self, input_items: list[np.ndarray], output_items: list[np.ndarray]) -> int:
        n = len(input_items[0])
        self.rates += [pmt.to_long(t.value) for t in self.get_tags_in_window(0, 0, n, pmt.intern("encoding"))]
        return n


class Audit:
    """Listens to a `wifi_loopback` from outside.

    Args:
        top: the flowgraph, before it starts.
    """

    def __init__(self, top: gr.top_block) -> None:
        self.decided: dict[bytes, tuple[int, int]] = {}  # payload -> sequence number, MCS
        self.received: list[tuple[bytes, int]] = []  # payload, rate
        self.ends: dict[int, str] = {}  # sequence number -> how it ended
        self.snr_db: dict[int, float] = {}
        self.doubly = 0
        self._lock = threading.Lock()
        self._rates = _Rates()
        top.phy.connect(top.phy.ieee802_11_mapper_0, self._rates)
        self._listeners = [
            self._listen(top, top.selector, "pdu_out", self._on_decision),
            self._listen(top, top.phy, "mac_out", self._on_received),
            self._listen(top, top.link, "feedback", self._on_feedback),
            self._listen(top, top.link, "erasure", lambda d: self._end(d, "erasure")),
            self._listen(top, top.link, "csi", self._on_csi),
        ]

    @staticmethod
    def _listen(top: gr.top_block, block: gr.basic_block, port: str, heard: Callable) -> _Hear:
        listener = _Hear(heard)
        top.msg_connect(block, port, listener, "in")
        return listener

    def _on_decision(self, pdu: pmt.pmt_base) -> None:
        metadata = pmt.car(pdu)
        self.decided[u8_bytes(pmt.cdr(pdu))] = _long(metadata, "seq"), _long(metadata, "mcs")

    def _on_received(self, pdu: pmt.pmt_base) -> None:
        rate = pmt.to_uint64(pmt.dict_ref(pmt.car(pdu), pmt.intern("encoding"), pmt.PMT_NIL))
        self.received.append((u8_bytes(pmt.cdr(pdu))[MAC_HEADER:], rate))

    def _on_feedback(self, message: pmt.pmt_base) -> None:
        ack = pmt.to_bool(pmt.dict_ref(message, pmt.intern("ack"), pmt.PMT_F))
        self._end(message, "ack" if ack else "nack")

    def _on_csi(self, message: pmt.pmt_base) -> None:
        self.snr_db[_long(message, "seq")] = pmt.to_double(
            pmt.dict_ref(message, pmt.intern("snr_db"), pmt.from_double(0.0))
        )

    def _end(self, message: pmt.pmt_base, how: str) -> None:
        with self._lock:
            seq = _long(message, "seq")
            self.doubly += seq in self.ends
            self.ends[seq] = how

    def wait(self, frames: int) -> None:
        """Until so many frames have ended.

        Raises:
            TimeoutError: none ended for a while.
        """
        before, since = 0, time.monotonic()
        while len(self.ends) < frames:
            time.sleep(0.01)
            if len(self.ends) > before:
                before, since = len(self.ends), time.monotonic()
            if time.monotonic() - since > STALL_S:
                raise TimeoutError(f"no frame has ended for {STALL_S:g} s, after {before}")

    def wrong_on_air(self) -> int:
        """Frames that the mapper made at another rate than decided, in the order in which they were sent."""
        decided = [mcs for _, mcs in sorted(self.decided.values())]
        return sum(a != b for a, b in zip(self._rates.rates, decided, strict=False))

    def sent(self) -> int:
        """Frames that the mapper made."""
        return len(self._rates.rates)

    def wrong_received(self) -> int:
        """Good frames whose rate, as ``mac_out`` tells it, is not the one decided for their payload."""
        return sum(self.decided[payload][1] != rate for payload, rate in self.received)

    def goodput(self) -> float:
        """Payload bits of good frames per OFDM symbol on air, preambles and SIGNAL fields included."""
        bits = symbols = 0
        for payload, (seq, mcs) in self.decided.items():
            if seq in self.ends:
                header = Header(mcs, len(payload) + MAC_BYTES, 0.0, 0.0)
                symbols += 4 + 1 + n_symbols(header)
                bits += 8 * len(payload) * (self.ends[seq] == "ack")
        return bits / symbols

    def table(self) -> str:
        """How the frames ended, by MCS."""
        lines = ["| MCS | name | frames | ACK | NACK | erasure |", "|---:|---|---:|---:|---:|---:|"]
        ended = [(mcs, self.ends[seq]) for seq, mcs in self.decided.values() if seq in self.ends]
        for mcs, scheme in enumerate(SCHEMES):
            ends = [how for m, how in ended if m == mcs]
            counts = [ends.count(how) for how in ("ack", "nack", "erasure")]
            lines.append(f"| {mcs} | {scheme.name} | {len(ends)} | " + " | ".join(map(str, counts)) + " |")
        totals = [sum(how == h for _, h in ended) for how in ("ack", "nack", "erasure")]
        lines.append(f"| | all | {len(ended)} | " + " | ".join(map(str, totals)) + " |")
        return "\n".join(lines)


def loopback(selector: gr.basic_block | None = None) -> gr.top_block:
    """The example's flowgraph.

    Raises:
        ImportError: gr-ieee802-11, gr-foo or the built wifi_phy_hier is missing.
    """
    spec = importlib.util.spec_from_file_location("wifi_loopback", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.wifi_loopback(selector)


def run(frames: int, selector: gr.basic_block | None = None) -> tuple[gr.top_block, Audit]:
    """Send so many frames, or a few more."""
    top = loopback(selector)
    for block in (top.selector, top.link, top.tuner):
        top.msg_disconnect(block, "status", top.show, "print")
    audit = Audit(top)
    top.start()
    try:
        audit.wait(frames)
    finally:
        top.stop()
        top.wait()
    return top, audit


def _long(message: pmt.pmt_base, key: str) -> int:
    return pmt.to_long(pmt.dict_ref(message, pmt.intern(key), pmt.PMT_NIL))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=500, help="how many (default: %(default)s)")
    parser.add_argument("--olla", action="store_true", help="adapt by OLLA instead of by the model")
    parser.add_argument("--out", type=Path, help="Markdown file to write")
    args = parser.parse_args()
    try:
        top, audit = run(args.frames, lighttune.olla_selector("wifi") if args.olla else None)
    except ImportError as error:
        parser.error(f"{error}: {REMEDY}")
    snr, wrong = list(audit.snr_db.values()), "at another rate than decided"
    text = "\n".join(
        [
            "<!-- written by bench/wifi_frames.py; do not edit -->",
            audit.table(),
            "",
            f"- Selector: `{top.selector.name()}`; reported SNR from {min(snr):.1f} to {max(snr):.1f} dB.",
            f"- Payload bits received per OFDM symbol on air: {audit.goodput():.1f}.",
            f"- Frames that the mapper made: {audit.sent()}; {wrong}: {audit.wrong_on_air()}.",
            f"- Frames on `mac_out`: {len(audit.received)}; {wrong}: {audit.wrong_received()}.",
            f"- Frames that ended twice: {audit.doubly}.",
            f"- Dropped by the adapter: {top.link.status()['dropped'] or 'nothing'}.",
            "",
        ]
    )
    print(text)
    if args.out is not None:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(text)
    return int(audit.wrong_on_air() + audit.wrong_received() + audit.doubly > 0)


if __name__ == "__main__":
    sys.exit(main())
