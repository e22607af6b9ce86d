# SPDX-License-Identifier: GPL-3.0-or-later
"""What travels between a link and its adapter, and the three verbs that every adapter has."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

MAX_SEQ = 2**32 - 1
"""Largest sequence number that travels (the modem's header carries 32 bits)."""

SNR_RANGE_DB = (-60.0, 100.0)
"""Reports outside this range are refused: no receiver measures them."""


_HALF = MAX_SEQ // 2 + 1


def check_seq(seq: int) -> None:
    """Refuse a sequence number that no block can have.

    Raises:
        ValueError: it is out of range.
    """
    if not 0 <= seq <= MAX_SEQ:
        raise ValueError(f"seq = {seq!r}: give 0 to {MAX_SEQ}, or None to count on")


def age_blocks(seq: int, measured_at: int) -> int:
    """Blocks from the one on which a report was measured to block ``seq``, 1 or more. Numbers wrap: a report
    is dated before or after the block, whichever is nearer."""
    return max((seq - measured_at + _HALF) % (MAX_SEQ + 1) - _HALF, 1)


@dataclass(frozen=True, slots=True)
class Csi:
    """One report of how the channel looks, from the receiver.

    Args:
        snr_db: reported SINR in dB, finite, within `SNR_RANGE_DB`.
        seq: sequence number of the packet on which it was measured, if known; it dates the report.
        time_s: time of the measurement in seconds, if known (recorded, not used for the decision).

    Raises:
        ValueError: a value is not finite or out of range.
    """

    snr_db: float
    seq: int | None = None
    time_s: float | None = None

    def __post_init__(self) -> None:
        low, high = SNR_RANGE_DB
        if not low <= self.snr_db <= high:  # also false for NaN
            raise ValueError(f"snr_db = {self.snr_db!r}: give a finite SINR from {low} to {high} dB")
        if self.seq is not None and not 0 <= self.seq <= MAX_SEQ:
            raise ValueError(f"seq = {self.seq!r}: give 0 to {MAX_SEQ}, or None where it is not known")
        if self.time_s is not None and not math.isfinite(self.time_s):
            raise ValueError(f"time_s = {self.time_s!r}: give a finite time, or None")


@dataclass(frozen=True, slots=True)
class Decision:
    """Which MCS goes out next, and how likely it fails.

    Args:
        seq: sequence number of the transport block.
        mcs: index into the adapter's MCS table.
        bler: predicted probability of a NACK, strictly inside (0, 1).
        features: link features at decision time, shape ``(n_features,)``, float32; empty for adapters
            that use none, and before the first report: there is nothing to learn from such a block.
        version: version of the weights that decided; -1 where the decision did not come from the model.
        probe: the block was sent above the greedy choice in order to learn.
    """

    seq: int
    mcs: int
    bler: float
    features: np.ndarray = field(default_factory=lambda: np.empty(0, np.float32), repr=False)
    version: int = -1
    probe: bool = False


@dataclass(frozen=True, slots=True)
class Feedback:
    """How a transport block ended.

    Args:
        seq: sequence number, 0 to `MAX_SEQ`.
        ack: True for ACK, False for NACK.
        attempt: HARQ attempt, 0 for the first transmission. Only first transmissions tune.

    Raises:
        ValueError: a number is out of range.
    """

    seq: int
    ack: bool
    attempt: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.seq <= MAX_SEQ:
            raise ValueError(f"seq = {self.seq!r}: give 0 to {MAX_SEQ}")
        if self.attempt < 0:
            raise ValueError(
                f"attempt = {self.attempt!r}: give 0 for a first transmission, 1, 2, ... for HARQ"
            )


class LinkAdapter(Protocol):
    """One link's MCS choice: LightTune, OLLA and every baseline have these three verbs.

    The order of calls is free: reports and feedback may be missing, late or repeated.
    """

    def report(self, csi: Csi) -> None:
        """Take the receiver's latest report."""

    def select(self, bits: int | None = None, seq: int | None = None) -> Decision:
        """Choose the MCS of the next transport block.

        Args:
            bits: its information bits; None for the table's reference length.
            seq: its sequence number, where the radio numbers its packets; None counts on from the last
                one, from 0 and modulo 2**32.
        """

    def feedback(self, seq: int, ack: bool, attempt: int = 0) -> bool:
        """Take the outcome of block ``seq``; False if it is not pending (unknown, duplicate, late)."""
