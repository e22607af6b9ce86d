#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""The USRP flowgraph on the stand-in radio: writes docs/results/usrp.md. Needs `make radio`.

How many packets a second it carries in real time at 1 Msps, and what OLLA and LightTune make of the same
fading channel: in virtual time and with slots of one length, a slot has the same fading and noise for both.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pmt
from gnuradio import gr, lighttune
from gnuradio.lighttune.modem.framing import burst_samples
from rich.progress import track

from common import page, parser, table, with_interval, write_page

ROOT = Path(__file__).resolve().parents[1]
RADIO = "type=soapy,driver=lighttune_loopback,noise_dbfs=-38,doppler=8,paths=3,cfo=2000"
BYTES, AMPLITUDE, RATE = 128, 0.2, 1e6
SLOT = burst_samples(0, BYTES) + 200
PERIODS_MS = (10.0, 5.0, 3.0, 2.0, 1.0)
SEEDS = range(3000, 3008)
PACKETS = 1500
ROUNDS = 5


class Log(gr.basic_block):
    """What was decided, and how it ended, by sequence number."""

    def __init__(self) -> None:
        gr.basic_block.__init__(self, name="log", in_sig=None, out_sig=None)
        self.mcs: dict[int, int] = {}
        self.ack: dict[int, bool] = {}
        for port in ("decision", "feedback"):
            self.message_port_register_in(pmt.intern(port))
            self.set_msg_handler(pmt.intern(port), getattr(self, f"on_{port}"))

    def on_decision(self, message: pmt.pmt_base) -> None:
        """A decision of the selector."""
        said = pmt.to_python(message)
        self.mcs[said["seq"]] = said["mcs"]

    def on_feedback(self, message: pmt.pmt_base) -> None:
        """A verdict."""
        said = pmt.to_python(message)
        self.ack[said["seq"]] = said["ack"]


class Link(gr.top_block):
    """As examples/usrp_one_host.py, with either selector; if asked, stop and wait in equal slots."""

    def __init__(self, radio: str, adapter: str, period_s: float, packets: int, slots: bool) -> None:
        super().__init__("USRP link")
        self.source = lighttune.packet_source(BYTES, period_s, packets)
        self.olla = adapter == "OLLA"
        self.selector = lighttune.olla_selector("amc") if self.olla else lighttune.mcs_selector("amc")
        self.tuner = None if self.olla else lighttune.tuner("amc")
        spacing = {"slot_samples": SLOT} if slots else {"gap_samples": 200}
        self.modulator = lighttune.amc_tx(amplitude=AMPLITUDE, length_tag="packet_len", **spacing)
        self.tx, self.rx = lighttune.usrp_tx(radio), lighttune.usrp_rx(radio, channel=1)
        self.demodulator = lighttune.amc_rx(on_overload="wait" if slots else "drop")
        # One in flight leaves no gaps.
        self.acks = lighttune.ack_merge(timeout_s=2.0, on_timeout="nack" if slots else "gap")
        self.log = Log()
        self.connect(self.modulator, self.tx)
        self.connect(self.rx, self.demodulator)
        first: gr.basic_block = self.selector
        if slots:
            first = self.turns = lighttune.stop_and_wait(timeout_s=20.0, queue_packets=packets)
            self.msg_connect(first, "pdu_out", self.selector, "pdu_in")
            self.msg_connect(self.selector, "decision", first, "decision")
        self.msg_connect(self.source, "pdu_out", first, "pdu_in")
        self.msg_connect(self.selector, "pdu_out", self.modulator, "pdu_in")
        self.msg_connect(self.modulator, "sent", self.acks, "sent")
        self.msg_connect(self.modulator, "erasure", self.acks, "erasure")
        self.msg_connect(self.demodulator, "csi", self.selector, "csi")
        self.msg_connect(self.demodulator, "feedback", self.acks, "feedback")
        self.msg_connect(self.selector, "decision", self.acks, "decision")
        self.msg_connect(self.selector, "decision", self.log, "decision")
        self.msg_connect(self.acks, "feedback", self.selector, "feedback")
        if self.tuner is not None:
            self.msg_connect(self.selector, "decision", self.tuner, "decision")
            self.msg_connect(self.acks, "feedback", self.tuner, "feedback")
            self.msg_connect(self.tuner, "model", self.selector, "model")
        self.msg_connect(self.acks, "feedback", self.log, "feedback")
        if slots:  # last: who learns from the feedback has it before the next packet goes
            self.msg_connect(self.acks, "feedback", first, "feedback")


@contextmanager
def running(link: Link) -> Iterator[None]:
    """Start, and stop."""
    link.start()
    try:
        yield
    finally:
        link.stop()
        link.wait()


def until(condition: Callable[[], bool], limit_s: float) -> None:
    """Wait for a condition, for so long at most."""
    end_s = time.monotonic() + limit_s
    while not condition() and time.monotonic() < end_s:
        time.sleep(0.02)


def in_real_time(period_ms: float, seconds: float) -> list[float]:
    """A row's numbers: one packet every ``period_ms``, as a radio at 1 Msps would have it."""
    packets = round(1e3 * seconds / period_ms)
    link = Link(RADIO + ",pacing=real", "LightTune", period_ms * 1e-3, packets, slots=False)
    with running(link):
        since_s = time.monotonic()
        until(lambda: link.source.sent == packets, 4 * seconds)
        took_s = time.monotonic() - since_s
        until(lambda: len(link.log.ack) == len(link.log.mcs), 4.0)
    tx, rx, receiver = link.tx.status(), link.rx.status(), link.demodulator.decode_mac.status()
    airtime_s = sum(burst_samples(m, BYTES) + 200 for m in link.log.mcs.values()) / RATE
    dropped = [sum(s["dropped"].values()) for s in (link.modulator.framer.status(), receiver)]
    each_s = len(link.log.mcs), tx["bursts"], sum(link.log.ack.values()), 100 * airtime_s
    return [*(n / took_s for n in each_s), tx["underruns"], rx["overruns"], *dropped]


def rows_in_real_time(periods_ms: Sequence[float], seconds: float, rounds: int) -> list[list[str]]:
    """The table's rows: medians of some rounds, in which every pace has its turn."""
    turns = [(row, period_ms) for _ in range(rounds) for row, period_ms in enumerate(periods_ms)]
    seen: list[list[list[float]]] = [[] for _ in periods_ms]
    for row, period_ms in track(turns, "real time"):
        seen[row].append(in_real_time(period_ms, seconds))
    rows = [[1e3 / p, *np.median(numbers, axis=0)] for p, numbers in zip(periods_ms, seen, strict=True)]
    return [[f"{n:.0f}" + " %" * (column == 4) for column, n in enumerate(row)] for row in rows]


def on_one_channel(adapter: str, seed: int, packets: int) -> dict[str, float]:
    """Goodput over the bursts' air time, and residual BLER."""
    radio = f"{RADIO},pacing=virtual,seed={seed},air={adapter}{seed}"
    link = Link(radio, adapter, 0.0005, packets, slots=True)
    with running(link):
        until(lambda: len(link.log.ack) == packets, 600.0)
    if len(link.log.ack) < packets or link.turns.status().get("timeouts"):
        raise SystemExit(f"seed {seed}: {adapter} did not come through: {link.turns.status()}")
    airtime_s = sum(burst_samples(m, BYTES) for m in link.log.mcs.values()) / RATE
    acks = sum(link.log.ack.values())
    return {"goodput": 8e-3 * BYTES * acks / airtime_s, "bler": 1 - acks / packets}


def main() -> None:
    args = parser(__doc__).parse_args()
    target = page(args, "usrp")
    os.environ.setdefault("SOAPY_SDR_PLUGIN_PATH", str(ROOT / "build" / "soapy_loopback"))
    sys.setswitchinterval(0.5e-3)
    short = args.short
    seeds, packets = (SEEDS[:2], 50) if short else (SEEDS, PACKETS)
    paced = (
        rows_in_real_time(PERIODS_MS[::4], 0.3, 1) if short else rows_in_real_time(PERIODS_MS, 5.0, ROUNDS)
    )
    runs = [
        {adapter: on_one_channel(adapter, seed, packets) for adapter in ("OLLA", "LightTune")}
        for seed in track(seeds, "OLLA and LightTune")
    ]
    write_page(target, "bench/usrp_link.py", lines(paced, runs, packets))


def lines(paced: list[list[str]], runs: list[dict[str, dict[str, float]]], packets: int) -> list[str]:
    """The page."""
    head = "asked", "decided", "sent", "ACK", "air in use", "underruns", "overruns", "queue full", "behind"
    gain = [100 * (run["LightTune"]["goodput"] / run["OLLA"]["goodput"] - 1) for run in runs]
    rows = []
    for adapter in ("OLLA", "LightTune"):
        goodput, bler = (np.mean([run[adapter][figure] for run in runs]) for figure in ("goodput", "bler"))
        rows.append([adapter, f"{goodput:.0f}", f"{100 * bler:.1f} %"])
    text = f"""# Over the stand-in radio

`make radio`, then `bench/usrp_link.py`. The flowgraph of `examples/usrp_one_host.py` with UHD's own sink and
source on the [stand-in radio](../usrp.md#the-stand-in-radio): packets of {BYTES} bytes, Rayleigh fading of
8 Hz on three paths, 25 dB of SNR at its mean, a frequency offset of 2 kHz.

## In real time at 1 Msps

LightTune with its tuner in the loop, on {os.cpu_count()} cores, which also compute the channel
(load average after the run: {os.getloadavg()[0]:.0f}). Packets per second asked for, decided, sent and
acknowledged; and in five seconds: losses of samples, packets that found the transmitter's queue full, and
bursts dropped because the receiver was behind. Medians of {ROUNDS} rounds:

{join(table(head, paced))}

## OLLA and LightTune

{packets} packets one after the other over each of {len(runs)} channels, with the same fading and noise in
every slot for both. Goodput over the air time of the bursts, means over channels:

{join(table(("", "goodput, kbit/s", "residual BLER"), rows))}

LightTune over OLLA, channel by channel: {with_interval(gain)} % (mean and 95 % interval). OLLA has its
default settings. A comparison with the best of many settings, over many more channels:
[worlds](worlds.md)."""
    return text.splitlines()


def join(lines: list[str]) -> str:
    return "\n".join(lines)


if __name__ == "__main__":
    main()
