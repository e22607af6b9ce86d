# SPDX-License-Identifier: GPL-3.0-or-later
"""No adaptation at all."""

from __future__ import annotations

from ..core.mcs import McsTable
from .base import Baseline


class FixedMcs(Baseline):
    """Sends every block at one MCS; predicts its AWGN BLER at the reported SINR (0.5 before a report).

    Args:
        table: the link's MCS.
        mcs: index into the table.
        pending_limit: blocks that may wait for feedback.

    Raises:
        ValueError: the table has no such MCS, or ``pending_limit`` is below 1.
    """

    def __init__(self, table: McsTable, mcs: int, pending_limit: int = 4096) -> None:
        super().__init__(table, pending_limit)
        if mcs not in range(len(table)):
            raise ValueError(f"mcs = {mcs!r}: table {table.name!r} has MCS 0 to {len(table) - 1}")
        self._mcs = int(mcs)

    def _choose(self, bits: int | None) -> tuple[int, float]:
        bler = 0.5 if self.snr_db is None else float(self.table.bler(self.snr_db, bits)[self._mcs])
        return self._mcs, bler
