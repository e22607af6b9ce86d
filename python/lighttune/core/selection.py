# SPDX-License-Identifier: GPL-3.0-or-later
"""Selection: from predicted BLERs to one MCS, and when to send higher than that in order to learn."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from .mcs import McsTable


@dataclass(frozen=True)
class SelectionPolicy:
    """What the selector is after.

    Args:
        objective: ``"goodput"`` maximises ``goodput_if_acked * (1 - BLER)``; ``"target"`` takes the most
            efficient MCS with ``BLER <= bler_target``, and the most robust where none has.
        bler_target: inside (0, 1); used by ``"target"`` alone.
        probe_budget: share of the predicted goodput that may be spent on probing, within [0, 0.2]; 0
            switches it off.
        probe_below: probe only while the recent blocks say less than this about the predictor (`Prober`).

    Raises:
        ValueError: a value is out of range.
    """

    objective: str = "goodput"
    bler_target: float = 0.1
    probe_budget: float = 0.01
    probe_below: float = 2.0

    def __post_init__(self) -> None:
        if self.objective not in ("goodput", "target"):
            raise ValueError(f"objective = {self.objective!r}: give 'goodput' or 'target'")
        if not 0 < self.bler_target < 1:
            raise ValueError(f"bler_target = {self.bler_target!r}: give a probability inside (0, 1)")
        if not 0 <= self.probe_budget <= 0.2:
            raise ValueError(f"probe_budget = {self.probe_budget!r}: give a share of goodput from 0 to 0.2")
        if not 0 <= self.probe_below < np.inf:
            raise ValueError(f"probe_below = {self.probe_below!r}: give 0 or more")


def choose(bler: np.ndarray, gain: np.ndarray, table: McsTable, policy: SelectionPolicy) -> int:
    """The greedy MCS.

    Args:
        bler: predicted BLER of every MCS, shape ``(n_mcs,)``.
        gain: `McsTable.goodput_if_acked`, shape ``(n_mcs,)``.
    """
    if policy.objective == "goodput":
        return int(np.argmax(gain * (1.0 - bler)))
    allowed = bler <= policy.bler_target
    if not allowed.any():
        return int(table.most_robust)
    return int(np.argmax(np.where(allowed, gain, -1.0)))


class Prober:
    """Sends a block one step above the greedy MCS when nothing else would show a pessimistic predictor.

    Feedback exists only for the MCS that was sent. Each block carries ``p (1 - p)`` of (Fisher) information
    about the predictor's logit; while the recent sum of it is below ``policy.probe_below``, the outcomes
    would look the same whether the predictor is right or far too pessimistic. Then a probe is due. It costs
    ``expected goodput of the greedy MCS - that of the probed one``, as predicted, out of a credit that
    grows by ``policy.probe_budget`` of the predicted goodput per block.
    """

    _MEMORY = 1.0 - 1.0 / 64.0
    _LARGEST_CREDIT = 4.0  # in units of the greedy goodput: a long idle time buys no long burst of probes

    def __init__(self, table: McsTable, policy: SelectionPolicy) -> None:
        self._policy = policy
        self._above: list[int | None] = [None] * len(table)
        ladder = [int(m) for m in table.by_efficiency]
        for m, higher in pairwise(ladder):
            self._above[m] = higher
        self._credit = 0.0
        self._information = 0.0

    def consider(self, greedy: int, bler: np.ndarray, gain: np.ndarray) -> int:
        """The MCS to send: ``greedy``, or the next more efficient one where a probe is due and affordable."""
        value = float(gain[greedy] * (1.0 - bler[greedy]))
        self._credit = min(self._credit + self._policy.probe_budget * value, self._LARGEST_CREDIT * value)
        above = self._above[greedy]
        if above is None or self._policy.probe_budget == 0 or self._information >= self._policy.probe_below:
            return greedy
        cost = max(value - float(gain[above] * (1.0 - bler[above])), 0.0)
        if self._credit < cost:
            return greedy
        self._credit -= cost
        return above

    def observe(self, bler: float) -> None:
        """Count the information of an outcome whose NACK probability was predicted as ``bler``."""
        self._information = self._MEMORY * self._information + bler * (1.0 - bler)
