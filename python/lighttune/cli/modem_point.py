# SPDX-License-Identifier: GPL-3.0-or-later
"""BLER of the real modem: `amc_tx`, CFO and noise, `amc_rx`, in one flowgraph per point."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pmt
from gnuradio import analog, blocks, gr

from ..blocks.amc_rx import amc_rx
from ..blocks.amc_tx import amc_tx
from ..modem.numerology import FFT, noise_power
from ..modem.pmt_vectors import u8vector

GAP_SAMPLES = 240
"""Zeros between packets: the noise alone is heard there, so false alarms take part too."""

_SEQ = pmt.intern("seq")
_POLL_S = 1e-3
_BATCH = 16  # packets


@dataclass(frozen=True)
class Outcome:
    """What became of the packets of one point; ``sent = acks + nacks + lost``.

    Args:
        sent: packets sent.
        acks: payloads whose CRC-32 matched.
        nacks: headers that arrived, less acks.
        lost: headers that did not arrive.
    """

    sent: int
    acks: int
    nacks: int
    lost: int

    @property
    def errors(self) -> int:
        """Packets without an ACK."""
        return self.sent - self.acks


def run_point(
    mcs: int,
    snr_db: float,
    packets: int,
    payload_bytes: int = 128,
    seed: int = 0,
    cfo_spacings: float = 0.2,
    gap_samples: int = GAP_SAMPLES,
    timeout_s: float = 300.0,
) -> Outcome:
    """Send packets of random bytes through AWGN.

    Args:
        mcs: 0..9.
        snr_db: Es/N0 on the occupied carriers.
        packets: how many, at least 1.
        payload_bytes: 1..4095.
        seed: of the payloads and of the noise.
        cfo_spacings: carrier frequency offset in carrier spacings, within +-0.5.
        gap_samples: zeros between packets.
        timeout_s: real time after which to give up.

    Raises:
        TimeoutError: the flowgraph did not finish in ``timeout_s``.
    """
    rng = np.random.default_rng(seed)
    top = gr.top_block()
    tx = amc_tx(mcs=mcs, gap_samples=gap_samples, queue_packets=4 * _BATCH)
    rx = amc_rx(on_overload="wait")
    add = blocks.add_cc()
    rotator = blocks.rotator_cc(2 * np.pi * cfo_spacings / FFT)
    noise = analog.noise_source_c(
        analog.GR_GAUSSIAN, np.sqrt(noise_power(snr_db)), int(rng.integers(1, 2**31))
    )
    top.connect(tx, rotator, (add, 0))
    top.connect(noise, (add, 1))
    top.connect(add, rx)
    top.start()
    try:
        _send(tx, packets, payload_bytes, rng, deadline := time.monotonic() + timeout_s)
        _wait(lambda: tx.framer.counters["sent"] == packets and rx.idle_after(tx.samples_sent), deadline)
    finally:
        top.stop()
        top.wait()
    counts = rx.decode_mac.counters
    acks, nacks = counts["acks"], counts["nacks"]
    return Outcome(packets, acks, nacks, packets - acks - nacks)


def _send(tx: amc_tx, packets: int, payload_bytes: int, rng: np.random.Generator, deadline: float) -> None:
    """Keep the transmitter busy without overflowing its queue."""
    entry, port = tx.framer.to_basic_block(), pmt.intern("pdu_in")
    for start in range(0, packets, _BATCH):
        _wait(lambda start=start: start - tx.framer.counters["sent"] + tx.framer.queued() <= _BATCH, deadline)
        for seq in range(start, min(start + _BATCH, packets)):
            metadata = pmt.dict_add(pmt.make_dict(), _SEQ, pmt.from_long(seq))
            entry._post(port, pmt.cons(metadata, u8vector(rng.bytes(payload_bytes))))


def _wait(condition: Callable[[], bool], deadline: float) -> None:
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the packets were not through in time: is the machine overloaded?")
        time.sleep(_POLL_S)
