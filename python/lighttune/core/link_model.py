# SPDX-License-Identifier: GPL-3.0-or-later
"""A model: an MCS table, and a network that was trained for it, as the compiled functions read them."""

from __future__ import annotations

import numpy as np

from . import belief, link_kernel, network
from .lengths import BlockLengths
from .mcs import McsTable
from .record import (
    EXPLORE_BLIND,
    EXPLORE_TOLD,
    HIGH_DB,
    JUMP_BLIND,
    JUMP_TOLD,
    LINK,
    LOW_DB,
    MIDDLE_DB,
    MOST_ROBUST,
    N_ORDERS,
    N_POLICY,
    N_STEPS,
    PRICE_UNIT,
    SHARE,
    STEP_DB,
    SWITCH,
    TARGET,
)  # fmt: skip
from .selection import SelectionPolicy

_BELOW_DB, _ABOVE_DB = 6.0, 8.0  # of the table's lowest and highest threshold, where a blind link may be
CURIOSITY = (0.4, 0.2)
"""Goodput, in units of the largest, that a nat about the offset is worth: to a link with reports, without."""


class LinkModel:
    """What all links of a table share.

    Args:
        table: the links' MCS.
        net: `network.size` weights, float32; None or empty for the beliefs alone.
        policy: what to maximise.

    Attributes:
        rows: what depends on the MCS alone, ``(4, n_mcs)``, see `record`.
        policy: one vector, see `record`.
        net: the network's weights.
        lengths: what follows from a block's length.
        ladder: MCS in the order of rising efficiency.

    Raises:
        ValueError: the network is for another number of modulation orders.
    """

    def __init__(
        self, table: McsTable, net: np.ndarray | None = None, policy: SelectionPolicy | None = None
    ) -> None:
        self.table = table
        self.selection = policy or SelectionPolicy()
        self.net = np.zeros(0, np.float32) if net is None else np.ascontiguousarray(net, np.float32)
        wanted = network.size(len(table.orders))
        if self.net.size not in (0, wanted):
            raise ValueError(f"a network of {self.net.size} weights: table {table.name!r} needs {wanted}")
        self.rows = np.array([table.threshold, table.slope, table.above_middle_db, table.order_of], float)
        low, high = table.threshold.min() - _BELOW_DB, table.threshold.max() + _ABOVE_DB
        step, middle = max(0.5, (high - low + 6.0) / (N_STEPS - 1)), (low + high) / 2
        vector = np.zeros(N_POLICY + 2 * N_STEPS)
        vector[TARGET] = self.selection.bler_target
        largest = float(table.goodput_if_acked().max())
        vector[PRICE_UNIT] = largest if self.selection.objective == "target" else 0.0
        vector[EXPLORE_TOLD], vector[EXPLORE_BLIND] = CURIOSITY
        vector[MOST_ROBUST], vector[N_ORDERS] = table.most_robust, len(table.orders)
        vector[STEP_DB], vector[MIDDLE_DB], vector[LOW_DB], vector[HIGH_DB] = step, middle, low, high
        vector[JUMP_TOLD], vector[JUMP_BLIND] = belief.JUMP_SHARES
        vector[SWITCH], vector[SHARE] = belief.SWITCH_SHARE, link_kernel.VOTE_SHARE
        vector[N_POLICY:] = belief.prior(step, middle, low, high).ravel()
        self.policy = vector
        self.lengths = BlockLengths(table)
        self.ladder = np.asarray(table.by_efficiency, np.int64)

    def aiming_at(self, policy: SelectionPolicy) -> LinkModel:
        """The same table and network, with what to maximise."""
        return self if policy == self.selection else LinkModel(self.table, self.net, policy)

    @property
    def n_tuned(self) -> int:
        """How many numbers a tuner moves: a threshold and a slope for each MCS."""
        return 2 * len(self.table)

    @property
    def middle_db(self) -> float:
        """What the blind belief's offsets are from, in dB."""
        return float(self.policy[MIDDLE_DB])

    @property
    def gain(self) -> np.ndarray:
        """Goodput of an ACKed block of the reference length, ``(n_mcs,)``."""
        return self.lengths.of(None)[1]

    def gains(self, length_logit: np.ndarray) -> np.ndarray:
        """Goodput of ACKed blocks of these lengths, ``(n_blocks, n_mcs)``; one row where all are alike."""
        lengths = np.asarray(length_logit)
        if not np.ptp(lengths):
            lengths = lengths[:1]
        bits = np.exp(lengths) * self.table.reference_bits
        gains = bits[:, None] / (self.table.overhead_symbols + bits[:, None] / self.table.spectral_efficiency)
        return np.ascontiguousarray(gains, float)

    def links(self, n: int) -> np.ndarray:
        """Fresh records of so many links."""
        links = np.zeros(n, LINK)
        for row in range(n):
            link_kernel.begin(links, row, self.policy, self.net)
        return links
