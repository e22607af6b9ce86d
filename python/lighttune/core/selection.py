# SPDX-License-Identifier: GPL-3.0-or-later
r"""Selection: from predicted BLERs to one MCS, and when to send higher than that in order to learn.

With ``g(m)`` the goodput of an ACKed block and ``p(m)`` its predicted BLER, the greedy MCS is

    argmax_m  g(m) (1 - p(m)) - price p(m).

A price of 0 maximises the expected goodput. To hold a BLER target in the long run, a failure is given a
price: among all ways to spend the same mean BLER over blocks of different channels, the one that a common
price induces has the highest mean goodput (Lagrange; the price is the multiplier). A cap on every single
block's BLER would send too low in most slots: the mean would stay far below the target.

All arithmetic serves one link (batch ``()``) and many (batch ``(n_links,)``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .features import Rows
from .mcs import McsTable

HOPELESS = 0.999  # BLERs from here on are all the same
PRICE_STEP = 0.05  # a run of ten NACKs moves the price by 0.45 of the largest goodput
LARGEST_PRICE = 4.0  # in units of the largest goodput
INFORMATION_MEMORY = 1.0 - 1.0 / 64.0
LARGEST_CREDIT = 4.0  # in units of the greedy goodput: a long idle time buys no long burst of probes


@dataclass(frozen=True)
class SelectionPolicy:
    """What the selector is after.

    Args:
        objective: ``"goodput"`` maximises the expected goodput; ``"target"`` does so while the share of first
            transmissions that fail stays at ``bler_target`` or below in the long run (`PriceControl`).
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


def choose(
    bler: np.ndarray, gain: np.ndarray, table: McsTable, price: float | np.ndarray = 0.0
) -> np.ndarray:
    """The greedy MCS; the most robust one where all are hopeless.

    Args:
        bler: predicted BLER of every MCS, shape ``batch + (n_mcs,)``.
        gain: `McsTable.goodput_if_acked`, shape ``(n_mcs,)``.
        table: the links' MCS.
        price: of a failure, in units of ``gain``, shape ``batch``.

    Returns:
        Int, shape ``batch``.
    """
    best = np.argmax(gain - bler * (gain + np.asarray(price)[..., None]), axis=-1)
    # Far below the lowest threshold all BLERs are as good as 1, and their order is rounding.
    return np.where(bler.min(axis=-1) < HOPELESS, best, table.most_robust)


def most_efficient_within(bler: np.ndarray, gain: np.ndarray, table: McsTable, target: float) -> int:
    """The most efficient MCS with ``bler <= target``; the most robust one where none has.

    Args:
        bler, gain: of every MCS, shape ``(n_mcs,)``.
    """
    allowed = bler <= target
    return int(np.argmax(np.where(allowed, gain, -1.0))) if allowed.any() else int(table.most_robust)


def at(values: np.ndarray, mcs: np.ndarray | int) -> np.ndarray:
    """``values[..., mcs]`` of each link: shape ``batch + (n_mcs,)`` and ``batch`` give ``batch``."""
    return np.take_along_axis(values, np.asarray(mcs)[..., None], axis=-1)[..., 0]


class PriceControl:
    """The price of a failure that holds the mean BLER at a target: integral control on the outcomes.

        price <- clip(price + step (n - target), 0, largest)

    with ``n`` 1 for a NACK, in units of the goodput of the most efficient MCS. Where maximum goodput needs
    fewer failures than the target allows, the price falls to 0 and the target is not exhausted; where even
    the most robust MCS fails more often, the price ends at its largest.

    Args:
        policy: its target.
        largest_gain: goodput of the most efficient MCS if ACKed.
        batch: shape of the links.
    """

    def __init__(self, policy: SelectionPolicy, largest_gain: float, batch: tuple[int, ...] = ()) -> None:
        self._target = policy.bler_target
        self._on = policy.objective == "target"
        self._unit = largest_gain
        self.price = np.zeros(batch)

    def outcome(self, nack: float | np.ndarray, rows: Rows = ...) -> None:
        """Take the outcome (1.0 for NACK) of a first transmission of each of some links."""
        if self._on:
            price = self.price[rows] + PRICE_STEP * self._unit * (nack - self._target)
            self.price[rows] = np.clip(price, 0.0, LARGEST_PRICE * self._unit)


class Prober:
    """Sends a block one step above the greedy MCS when nothing else would show a pessimistic predictor.

    Feedback exists only for the MCS that was sent. Each block carries ``p (1 - p)`` of (Fisher) information
    about the predictor's logit; while the recent sum of it is below ``policy.probe_below``, the outcomes
    would look the same whether the predictor is right or far too pessimistic. Then a probe is due. It costs
    ``expected goodput of the greedy MCS - that of the probed one``, as predicted, out of a credit that
    grows by ``policy.probe_budget`` of the predicted goodput per block.

    Args:
        table: the links' MCS.
        policy: the budget, and when a probe is due.
        batch: shape of the links.
    """

    def __init__(self, table: McsTable, policy: SelectionPolicy, batch: tuple[int, ...] = ()) -> None:
        self._policy = policy
        self._above = table.next_higher
        self._credit = np.zeros(batch)
        self._information = np.zeros(batch)

    def consider(
        self, greedy: np.ndarray, bler: np.ndarray, gain: np.ndarray, rows: Rows = ...
    ) -> np.ndarray:
        """The MCS to send: ``greedy``, or the next more efficient one where a probe is due and affordable.

        Args:
            greedy: shape ``batch`` (of the links in ``rows``).
            bler: predicted BLER of every MCS, shape ``batch + (n_mcs,)``.
            gain: `McsTable.goodput_if_acked`, shape ``(n_mcs,)``.
        """
        if self._policy.probe_budget == 0:
            return greedy
        value = gain[greedy] * (1.0 - at(bler, greedy))
        above = self._above[greedy]
        cost = np.maximum(value - gain[above] * (1.0 - at(bler, above)), 0.0)
        credit = np.minimum(self._credit[rows] + self._policy.probe_budget * value, LARGEST_CREDIT * value)
        probe = (self._information[rows] < self._policy.probe_below) & (credit >= cost) & (above != greedy)
        self._credit[rows] = credit - np.where(probe, cost, 0.0)
        return np.where(probe, above, greedy)

    def observe(self, bler: float | np.ndarray, rows: Rows = ...) -> None:
        """Count the information of an outcome whose NACK probability was predicted as ``bler``."""
        self._information[rows] = INFORMATION_MEMORY * self._information[rows] + bler * (1.0 - bler)
