# SPDX-License-Identifier: GPL-3.0-or-later
"""The inner loop alone: trust the reported SINR and the AWGN curves."""

from __future__ import annotations

from bisect import bisect_right
from functools import lru_cache

import numpy as np

from ..core.mcs import McsTable, sigmoid
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
        self.target = target
        self._offset_db = 0.0  # what an outer loop moves

    def _choose(self, bits: int | None) -> tuple[int, float]:
        if self.snr_db is None:
            return self.table.most_robust, _UNKNOWN
        return self._choose_at(self.snr_db, bits)

    def _choose_at(self, snr_db: float, bits: int | None) -> tuple[int, float]:
        table, mcs = self.table, self._mcs_at(snr_db, bits)
        logit = (table.threshold_db[mcs] - (snr_db + self._offset_db)) / table.slope_db[mcs]
        return mcs, float(sigmoid(logit + table.length_logit(bits)))

    def _mcs_at(self, snr_db: float, bits: int | None) -> int:
        needed_db, mcs = _ladder(self.table, self.target, bits)
        return mcs[bisect_right(needed_db, snr_db + self._offset_db)]


@lru_cache(maxsize=256)
def _ladder(table: McsTable, target: float, bits: int | None) -> tuple[list[float], list[int]]:
    """SINR from which the MCS at each place of the ladder, or a more efficient one, is within the target; and
    the MCS to send below the first of them, from it on, from the second on, and so forth.

    The SINR rises along the ladder, so that the choice is a binary search; evaluating every MCS's curve for
    each block takes four times longer.
    """
    needed = table.snr_at_bler_db(target, bits)[table.by_efficiency]
    rising = np.minimum.accumulate(needed[::-1])[::-1]
    return rising.tolist(), [table.most_robust, *table.by_efficiency.tolist()]
