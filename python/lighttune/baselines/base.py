# SPDX-License-Identifier: GPL-3.0-or-later
"""What all baselines share: the three verbs, numbering, and the blocks that wait for feedback."""

from __future__ import annotations

from abc import ABC, abstractmethod

from ..core.mcs import McsTable
from ..core.messages import MAX_SEQ, Csi, Decision, check_seq
from ..core.pending import PendingBlocks


class Baseline(ABC):
    """A link adapter that lacks only its choice, and what it learns from an outcome.

    Args:
        table: the link's MCS.
        pending_limit: blocks that may wait for feedback, 1 or more; the oldest expires beyond it.

    Attributes:
        table: the link's MCS.
        snr_db: the last reported SINR in dB; None before the first report.
        pending: the blocks that wait, and the count of those that expired. Each remembers whether a report
            was known when its MCS was chosen.

    Raises:
        ValueError: ``pending_limit`` is below 1.
    """

    def __init__(self, table: McsTable, pending_limit: int = 4096) -> None:
        self.table = table
        self.snr_db: float | None = None
        self.pending: PendingBlocks[bool] = PendingBlocks(pending_limit)
        self._next_seq = 0

    def report(self, csi: Csi) -> None:
        """Take the receiver's latest report."""
        self.snr_db = csi.snr_db

    def select(self, bits: int | None = None, seq: int | None = None) -> Decision:
        """Choose the MCS of the next block.

        Args:
            bits: its information bits; None for the table's reference length.
            seq: its sequence number, 0 to 2**32 - 1; None counts on from the last one.

        Raises:
            ValueError: ``seq`` is out of range.
        """
        seq = self._next_seq if seq is None else seq
        check_seq(seq)
        mcs, bler = self._choose(bits)
        self._next_seq = (seq + 1) & MAX_SEQ
        self.pending.add(seq, self.snr_db is not None)
        return Decision(seq, mcs, bler)

    def feedback(self, seq: int, ack: bool, attempt: int = 0) -> bool:
        """Take the outcome of block ``seq``; False if it is not pending (unknown, duplicate, late).

        Only first transmissions (``attempt`` 0) teach anything; later ones are accepted and left alone.
        """
        if attempt > 0:
            return True
        informed = self.pending.pop(seq)
        if informed is None:
            return False
        if informed:
            self._learn(ack)
        return True

    @abstractmethod
    def _choose(self, bits: int | None) -> tuple[int, float]:
        """The MCS of the next block, and its predicted BLER strictly inside (0, 1)."""

    def _learn(self, ack: bool) -> None:  # noqa: B027 (most baselines learn nothing)
        """Take the first outcome of an own block that was chosen on a report."""
