#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""How fast the reference modem is: receiving on one core, end to end on two, per stage, and under overload.

Wall-clock figures shrink on a machine that does other work too; CPU time per packet, and its ratio to that of
GNU Radio's Viterbi decoder in the same run, hardly do. About a minute.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pmt
from gnuradio import blocks, channels, fec, gr
from gnuradio.lighttune.blocks.amc_rx import INTAKE, amc_rx
from gnuradio.lighttune.blocks.amc_tx import amc_tx
from gnuradio.lighttune.modem import coding, framing, transmitter
from gnuradio.lighttune.modem.header import Header
from gnuradio.lighttune.modem.numerology import FFT, noise_power
from gnuradio.lighttune.modem.pmt_vectors import u8vector
from gnuradio.lighttune.modem.receiver import Receiver
from rich.progress import track

from common import resident_kib, table
from modem_figures import bursts, through_noise

PAYLOAD_BYTES = 128
SNR_DB = 33.0  # every MCS decodes without errors
MCS = (0, 3, 5, 9)
PACKETS = 1000
GOAL_MSPS, GOAL_PACKETS = 1.0, 1500
_SEQ, _MCS = pmt.intern("seq"), pmt.intern("mcs")
_TIMEOUT_S = 60.0


def until(condition: Callable[[], bool]) -> None:
    """Poll; a hang is an error."""
    end = time.monotonic() + _TIMEOUT_S
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"no end after {_TIMEOUT_S:.0f} s")
        time.sleep(0.002)


@contextmanager
def cores(count: int) -> Iterator[None]:
    """Flowgraphs that start within run on so many cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, set(sorted(before)[:count]))
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def recording(samples: np.ndarray) -> Iterator[str]:
    """A file of samples: GNU Radio reads it in C++."""
    with tempfile.NamedTemporaryFile(suffix=".c64") as file:
        samples.astype(np.complex64).tofile(file.name)
        yield file.name


def receive(samples: np.ndarray) -> tuple[float, float, int]:
    """Through `amc_rx` on one core: seconds of wall-clock and of CPU time, and packets received."""
    with recording(samples) as name, cores(1):
        top, rx = gr.top_block(), amc_rx(on_overload="wait")
        top.connect(blocks.file_source(gr.sizeof_gr_complex, name, False), rx)
        wall, cpu = time.perf_counter(), time.process_time()
        top.start()
        until(lambda: rx.idle_after(len(samples)))
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        top.stop()
        top.wait()
    return wall, cpu, rx.decode_mac.counters["acks"]


def receiving(rng: np.random.Generator) -> list[str]:
    """Rates of continuous streams at several duty cycles."""
    streams = {"noise alone": (through_noise(np.zeros(6_000_000, np.complex64), SNR_DB, 0, rng), 0)}
    for length, mcs, gap in (
        *((PAYLOAD_BYTES, mcs, 0) for mcs in MCS),
        *((PAYLOAD_BYTES, mcs, framing.burst_samples(mcs, PAYLOAD_BYTES)) for mcs in MCS),
        (1, 9, 0),
    ):
        clean = bursts(mcs, PACKETS // 2, length, gap, rng)
        name = f"MCS {mcs}, {length} bytes, {'back to back' if gap == 0 else 'half of the time'}"
        streams[name] = through_noise(np.append(clean, np.zeros(500)), SNR_DB, 0.1, rng), PACKETS // 2
    rows = []
    for name, (samples, packets) in track(streams.items(), "receiving"):
        runs = [receive(samples) for _ in range(3)]
        wall, cpu = np.median([run[:2] for run in runs], axis=0)
        assert all(run[2] == packets for run in runs), f"{name}: {[run[2] for run in runs]} of {packets}"
        rates = len(samples) / 1e6 / np.array([wall, cpu])
        each = f"{1e6 * cpu / packets:.0f}" if packets else ""
        rows.append((name, f"{rates[0]:.1f}", f"{rates[1]:.1f}", each))
    head = ("stream", "Msps, wall-clock", "Msps per second of CPU", "CPU us per packet")
    return [f"Receiving on one core (goal: {GOAL_MSPS:.0f} Msps), median of 3:", "", *table(head, rows)]


def channel(fading: bool) -> list[gr.basic_block]:
    """CFO and noise, and with ``fading`` three paths that walk."""
    noise = float(np.sqrt(noise_power(SNR_DB)))
    chain = [channels.channel_model(noise, 0.1 / FFT, 1.0, [1.0], 3)]
    if fading:
        paths = (0.0, 1.5, 4.0), (0.8, 0.5, 0.33)
        chain.insert(0, channels.selective_fading_model(8, 2e-5, False, 4.0, 3, *paths, 8))
    return chain


def channel_cpu_s(samples: int, fading: bool) -> float:
    """CPU time of the channel alone."""
    top = gr.top_block()
    source, head = blocks.null_source(gr.sizeof_gr_complex), blocks.head(gr.sizeof_gr_complex, samples)
    top.connect(source, head, *channel(fading), blocks.null_sink(gr.sizeof_gr_complex))
    start = time.process_time()
    top.run()
    return time.process_time() - start


def end_to_end(mcs: int | None, fading: bool, rng: np.random.Generator) -> tuple[float, float, int]:
    """PDUs through `amc_tx`, a channel and `amc_rx`: packets/s, CPU seconds per packet, ACKs."""
    top, tx, rx = gr.top_block(), amc_tx(gap_samples=100), amc_rx(on_overload="wait")
    top.connect(tx, *channel(fading), rx)
    pdus = []
    for seq in range(PACKETS):
        metadata = pmt.dict_add(pmt.make_dict(), _SEQ, pmt.from_long(seq))
        metadata = pmt.dict_add(metadata, _MCS, pmt.from_long(seq % 10 if mcs is None else mcs))
        pdus.append(pmt.cons(metadata, u8vector(rng.bytes(PAYLOAD_BYTES))))
    entry, port = tx.framer.to_basic_block(), pmt.intern("pdu_in")
    with cores(2):
        wall, cpu = time.perf_counter(), time.process_time()
        top.start()
        for start in range(0, PACKETS, 32):  # the transmitter's queue holds 64
            until(lambda start=start: start - tx.framer.counters["sent"] + tx.framer.queued() <= 32)
            for pdu in pdus[start : start + 32]:
                entry._post(port, pdu)
        # The channel model's filters keep some samples for ever.
        until(lambda: tx.framer.counters["sent"] == PACKETS and rx.idle_after(tx.samples_sent - 99))
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        top.stop()
        top.wait()
    return PACKETS / wall, cpu / PACKETS, rx.decode_mac.counters["acks"]


def packets_per_second(rng: np.random.Generator) -> list[str]:
    """End to end, by MCS and mixed."""
    rows = []
    cases = [(m, False) for m in MCS] + [(None, False), (None, True)]
    for mcs, fading in track(cases, "end to end"):
        runs = [end_to_end(mcs, fading, rng) for _ in range(3)]
        rate, cpu, acks = np.median(runs, axis=0)
        assert fading or all(run[2] == PACKETS for run in runs), f"MCS {mcs}: lost {PACKETS - acks:.0f}"
        name = "all ten in turn" if mcs is None else f"MCS {mcs}"
        best = max(run[0] for run in runs)
        names = range(10) if mcs is None else (mcs,)
        each = int(np.mean([framing.burst_samples(m, PAYLOAD_BYTES) + 100 for m in names]))
        air = channel_cpu_s(200 * each, fading) / 200
        name += ", fading" if fading else ", AWGN"
        rows.append((name, str(each), f"{rate:.0f}", f"{best:.0f}", f"{1e6 * cpu:.0f}", f"{1e6 * air:.0f}"))
    head = (
        "packets",
        "samples each",
        "packets/s, median of 3",
        "best of 3",
        "CPU us each",
        "of which channel",
    )
    return [
        f"Transmit, channel, receive, un-throttled on two cores (goal: {GOAL_PACKETS} packets/s):",
        "",
        *table(head, rows),
    ]


def viterbi_s(count: int = 3000) -> float:
    """CPU time of GNU Radio's decoder alone for one packet."""
    n_info = framing.info_bits(PAYLOAD_BYTES)
    code = fec.cc_decoder_make(
        n_info, coding.CONSTRAINT, 2, list(coding.POLYNOMIALS), 0, 0, fec.CC_TERMINATED
    )
    top = gr.top_block()
    head = blocks.head(gr.sizeof_char, count * n_info)
    top.connect(
        blocks.null_source(gr.sizeof_char),
        fec.decoder(code, gr.sizeof_char, gr.sizeof_char),
        head,
        blocks.null_sink(gr.sizeof_char),
    )
    start = time.process_time()
    top.run()
    return (time.process_time() - start) / count


def least(run: Callable[[], object], repeats: int = 12) -> float:
    """Least CPU time of a call in this thread: what it takes undisturbed."""
    spans = []
    for _ in range(repeats):
        start = time.thread_time()
        run()
        spans.append(time.thread_time() - start)
    return min(spans)


def stages(rng: np.random.Generator, count: int = 50) -> list[str]:
    """CPU time per packet of the parts in Python, over the Viterbi decoder's."""
    rows, decoder = [], np.median([viterbi_s() for _ in range(3)])
    for mcs in track(MCS, "stages"):
        coded = coding.convolve(framing.payload_bits(rng.bytes(PAYLOAD_BYTES)))
        x = through_noise(bursts(mcs, count, PAYLOAD_BYTES, 0, rng), SNR_DB, 0.1, rng)
        bits = framing.payload_bits(rng.bytes(PAYLOAD_BYTES))
        header = Header(1, 2, mcs, PAYLOAD_BYTES)

        def chunks(x: np.ndarray = x, skip: bool = False) -> None:
            receiver = Receiver()
            for start in range(0, len(x), 4096):
                receiver.push(x[start : start + 4096], skip)

        spans = (
            least(
                lambda: [coding.convolve(framing.payload_bits(bytes(PAYLOAD_BYTES))) for _ in range(count)]
            ),
            least(lambda coded=coded, h=header: [transmitter.burst(h, coded) for _ in range(count)]),
            least(chunks),
            least(lambda: chunks(skip=True)),
            least(lambda bits=bits: [framing.check_payload(bits) for _ in range(count)]),
        )
        rows.append((f"MCS {mcs}", *(f"{1e6 * s / count:.0f} ({s / count / decoder:.1f})" for s in spans)))
    head = ("", "CRC, code", "burst", "samples to soft bits", "the same, dropped", "CRC check")
    return [
        f"CPU us per packet in Python, and over the {1e6 * decoder:.1f} us of GNU Radio's Viterbi decoder:",
        "",
        *table(head, rows),
    ]


def overload(rng: np.random.Generator, seconds: float = 6.0) -> list[str]:
    """A live stream at three times the rate that the receiver can take."""
    count = 2000
    one = through_noise(bursts(9, count, PAYLOAD_BYTES, 0, rng), SNR_DB, 0.1, rng)
    able = len(one) / receive(one)[0]
    rate = 3 * able
    rounds = max(2, round(seconds * rate / len(one)))
    total = rounds * len(one)
    with recording(one) as name, cores(1):
        top, rx = gr.top_block(), amc_rx(samp_rate=rate)
        source = blocks.file_source(gr.sizeof_gr_complex, name, True)
        head = blocks.head(gr.sizeof_gr_complex, total)
        top.connect(source, head, blocks.throttle(gr.sizeof_gr_complex, rate), rx)
        start, memory = time.perf_counter(), []
        top.start()

        def taken() -> bool:
            memory.append(resident_kib() / 1024)
            return rx.idle_after(total)

        until(taken)
        wall = time.perf_counter() - start
        top.stop()
        top.wait()
    status = rx.decode_mac.status()
    dropped = {cause.removeprefix("samples: "): n for cause, n in status["dropped"].items()}
    received = {key: status.get(key, 0) for key in ("acks", "nacks", "header_failures")}
    counted = sum(dropped.values()) + sum(received.values())
    middle = np.median(memory[len(memory) // 4 : len(memory) // 2])
    late = np.median(memory[-len(memory) // 4 :])
    return [
        f"Overload: {count * rounds} packets of MCS 9 back to back at {rate / 1e6:.1f} Msps, three times "
        f"what was received in real time just before, on one core: {total / rate:.1f} s of samples, taken in "
        f"{wall:.1f} s.",
        "",
        *table(
            ("outcome", "packets"),
            [
                *((key.replace("_", " "), str(n)) for key, n in received.items()),
                *((f"dropped: {key}", str(n)) for key, n in dropped.items()),
                ("sum (sent)", f"{counted} ({count * rounds})"),
            ],
        ),
        "",
        f"Resident memory in the second and in the last quarter of the run: {middle:.0f} and {late:.0f} MiB; "
        f"at most {INTAKE} samples wait.",
    ]


def measure() -> list[str]:
    """All figures, as lines of markdown."""
    rng = np.random.default_rng(1)
    lines: list[str] = []
    for part in (receiving, packets_per_second, stages, overload):
        lines += [*part(rng), ""]
    return lines


if __name__ == "__main__":
    print("\n".join(measure()), file=sys.stdout)
