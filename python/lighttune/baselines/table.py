# SPDX-License-Identifier: GPL-3.0-or-later
"""The inner loop alone: trust the reported SINR and the AWGN curves."""

from __future__ import annotations

import numpy as np

from ..core.mcs import McsTable
from ..core.selection import SelectionPolicy, choose
from .base import Baseline

_UNKNOWN = 0.5
"""Predicted BLER before the first report: nothing is known."""


class TableOnly(Baseline):
    """Sends the most efficient MCS whose AWGN BLER at the reported SINR is within the target.

    Where no MCS is within the target, or nothing was reported yet, it sends the most robust one.

    Args:
        table: the link's MCS.
        target: largest BLER that is allowed, inside (0, 1).
        pending_limit: blocks that may wait for feedback.

    Raises:
        ValueError: ``target`` is not inside (0, 1), or ``pending_limit`` is below 1.
    """

    def __init__(self, table: McsTable, target: float = 0.1, pending_limit: int = 4096) -> None:
        super().__init__(table, pending_limit)
        if not 0 < target < 1:
            raise ValueError(f"target = {target!r}: give a BLER inside (0, 1)")
        self._policy = SelectionPolicy("target", target)
        self._offset_db = 0.0  # what an outer loop moves

    @property
    def target(self) -> float:
        """Largest BLER that is allowed."""
        return self._policy.bler_target

    def _choose(self, bits: int | None) -> tuple[int, float]:
        if self.snr_db is None:
            return self.table.most_robust, _UNKNOWN
        return self._choose_at(self.snr_db, bits)

    def _choose_at(self, snr_db: float, bits: int | None) -> tuple[int, float]:
        bler = self.table.bler(np.float64(snr_db + self._offset_db), bits)
        mcs = choose(bler, self.table.spectral_efficiency, self.table, self._policy)
        return mcs, float(bler[mcs])
