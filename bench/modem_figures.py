#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures what docs/modem.md says of the receiver besides its BLER curves, and writes it as a table.

SNR estimate (bias and spread), headers lost at the lowest MCS's 10 % point, detections in noise, and time per
packet of the numpy part. Half a minute; the times are wall-clock, so run it on an idle machine.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from gnuradio.lighttune.core.mcs import McsTable
from gnuradio.lighttune.modem import coding, framing, transmitter
from gnuradio.lighttune.modem.header import Header
from gnuradio.lighttune.modem.numerology import FFT, noise_power
from gnuradio.lighttune.modem.receiver import Arrival, Receiver
from rich.progress import track

CHUNK = 4096


def bursts(mcs: int, count: int, length: int, gap: int, rng: np.random.Generator) -> np.ndarray:
    """``count`` packets of random payload, each followed by ``gap`` zeros."""
    parts = []
    for seq in range(count):
        coded = coding.convolve(framing.payload_bits(rng.bytes(length)))
        parts += [transmitter.burst(Header(1, seq, mcs, length), coded), np.zeros(gap, np.complex64)]
    return np.concatenate(parts)


def through_noise(x: np.ndarray, snr_db: float, cfo_spacings: float, rng: np.random.Generator) -> np.ndarray:
    """The samples with CFO and white noise."""
    noise = rng.standard_normal((len(x), 2)) @ np.array([1, 1j])
    turned = x * np.exp(2j * np.pi * cfo_spacings / FFT * np.arange(len(x)))
    return (turned + np.sqrt(noise_power(snr_db) / 2) * noise).astype(np.complex64)


def arrivals(x: np.ndarray) -> list[Arrival]:
    """The headers that arrive."""
    receiver = Receiver()
    events = [e for start in range(0, len(x), CHUNK) for e in receiver.push(x[start : start + CHUNK])]
    return [e for e in events if isinstance(e, Arrival)]


def snr_estimate(rng: np.random.Generator) -> list[str]:
    """Rows of SNR, largest bias of any MCS, and spread of one estimate."""
    rows = [
        "| SNR (dB) | largest bias of any MCS (dB) | spread, standard deviation (dB) |",
        "|---:|---:|---:|",
    ]
    for snr_db in track((0, 5, 10, 15, 20, 25, 30), "SNR estimate"):
        errors = []
        for mcs in range(10):
            x = through_noise(bursts(mcs, 60, 16, 50, rng), snr_db, 0.3, rng)
            errors.append([a.snr_db - snr_db for a in arrivals(x)])
        bias = max(abs(np.mean(e)) for e in errors)
        rows.append(f"| {snr_db} | {bias:.2f} | {np.mean([np.std(e) for e in errors]):.2f} |")
    return rows


def lost_headers(rng: np.random.Generator, count: int = 5000) -> str:
    """Headers lost at the 10 % point of BPSK 1/2."""
    snr_db, arrived = float(McsTable.amc().snr_at_bler_db(0.1)[0]), 0
    for _ in track(range(count // 500), "headers"):
        arrived += len(arrivals(through_noise(bursts(9, 500, 1, 0, rng), snr_db, 0.4, rng)))
    return (
        f"Headers lost at {snr_db:.2f} dB (10 % point of BPSK 1/2), 40 % CFO: {count - arrived} of {count}."
    )


def detections_in_noise(rng: np.random.Generator, samples: int = 6_500_000) -> str:
    """What the receiver makes of nothing."""
    receiver, events = Receiver(), []
    for _ in track(range(samples // 2**15), "noise"):
        events += receiver.push((rng.standard_normal((2**15, 2)) @ np.array([1, 1j])).astype(np.complex64))
    found = receiver.counts["detections"]
    return f"{samples / 1e6:.1f} million samples of noise: {found} detections, {len(events)} packets."


def cost(rng: np.random.Generator, count: int = 200) -> str:
    """Milliseconds per packet of 128 bytes in numpy, without GNU Radio's encoder and decoder."""
    spans = []
    for mcs in track(range(10), "cost"):
        coded = coding.convolve(framing.payload_bits(rng.bytes(128)))
        start = time.perf_counter()
        parts = [transmitter.burst(Header(1, seq, mcs, 128), coded) for seq in range(count)]
        sent = time.perf_counter()
        x = through_noise(np.concatenate(parts), 30.0, 0.1, rng)
        ready = time.perf_counter()
        arrivals(x)
        spans.append((sent - start, time.perf_counter() - ready))
    tx, rx = 1e3 * np.array(spans).T / count
    return (
        f"Time per packet of 128 bytes, numpy part alone, lowest to highest of the ten MCS: "
        f"transmitter {tx.min():.2f} to {tx.max():.2f} ms, receiver {rx.min():.2f} to {rx.max():.2f} ms."
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out", type=Path, default=Path("docs/results/modem/receiver.md"), help="default: %(default)s"
    )
    parser.add_argument("--seed", type=int, default=1, help="default: %(default)s")
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    lines = [
        f"<!-- written by `bench/modem_figures.py --seed {args.seed}`; do not edit -->",
        "",
        *snr_estimate(rng),
        "",
    ]
    for measure in (lost_headers, detections_in_noise, cost):
        lines += [measure(rng), ""]
    args.out.write_text("\n".join(lines))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
