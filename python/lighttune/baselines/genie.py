# SPDX-License-Identifier: GPL-3.0-or-later
"""The bound: an adapter that is told the coming slot's true BLERs. It exists in simulation only."""

from __future__ import annotations

import numpy as np

from ..core.mcs import McsTable
from ..core.selection import SelectionPolicy, choose, most_efficient_within
from .base import Baseline

_INSIDE = (3e-7, 1 - 3e-7)  # a true BLER may be 0 or 1, a predicted one may not: see `core.mcs.sigmoid`


class Genie(Baseline):
    """Chooses on the true BLER of every MCS in the coming slot, which the simulator reveals before `select`.

    Args:
        table: the link's MCS.
        objective: ``"goodput"`` maximises the expected goodput; ``"target"`` takes the most efficient MCS
            whose true BLER is at most ``target``.
        target: inside (0, 1); used by ``"target"`` alone.
        pending_limit: blocks that may wait for feedback.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self, table: McsTable, objective: str = "goodput", target: float = 0.1, pending_limit: int = 4096
    ) -> None:
        super().__init__(table, pending_limit)
        self._policy = SelectionPolicy(objective, target)
        self._bler: np.ndarray | None = None

    def reveal(self, bler: np.ndarray) -> None:
        """Take the true BLER of every MCS in the coming slot, shape ``(n_mcs,)``.

        Raises:
            ValueError: another shape, or values outside [0, 1].
        """
        bler = np.asarray(bler, float)
        if bler.shape != (len(self.table),) or not ((bler >= 0) & (bler <= 1)).all():
            raise ValueError(f"bler of shape {bler.shape}: give a probability for each of {len(self.table)}")
        self._bler = bler

    def _choose(self, bits: int | None) -> tuple[int, float]:
        if self._bler is None:
            raise RuntimeError("a genie knows only what it is told: call reveal() before select()")
        gain = self.table.goodput_if_acked(bits)
        if self._policy.objective == "target":
            mcs = most_efficient_within(self._bler, gain, self.table, self._policy.bler_target)
        else:
            mcs = int(choose(self._bler, gain, self.table))
        return mcs, float(np.clip(self._bler[mcs], *_INSIDE))
