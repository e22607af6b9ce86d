# SPDX-License-Identifier: GPL-3.0-or-later
r"""When to tune: only while the predictor performs worse than a threshold.

Of ``p``, the BLER predicted for the block that was sent, and its outcome ``n`` (1 for NACK), three
statistics are kept with exponential memory ``lambda``, each standardised by what a calibrated predictor
would show:

    residual, fast and slow:   Z = sum(lambda^i (n - p)) / sqrt(sum(lambda^2i p (1 - p)))
    excess log loss, slow:     sum(lambda^i (loss - H(p))) / sqrt(sum(lambda^2i p (1 - p) logit(p)^2))

with ``H(p)`` the entropy, that is, the loss that the predictor itself expects. For a calibrated predictor
each has mean 0 and variance 1, so one threshold serves them all. The residuals see a bias in either
direction; the excess loss also sees a wrong slope.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class TriggerPolicy:
    """Thresholds of the trigger.

    Args:
        on: tune from the moment when a statistic's magnitude exceeds this (standard deviations).
        off: stop when all are below this; 0 < off <= on.
        fast, slow: memories in blocks, at least 2.
        hold: blocks for which tuning goes on at least.
        always: tune on every block: the reference that the trigger is judged against.

    Raises:
        ValueError: a value is out of range.
    """

    on: float = 3.3
    off: float = 1.5
    fast: float = 24.0
    slow: float = 128.0
    hold: int = 8
    always: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.off <= self.on < np.inf:
            raise ValueError(f"on = {self.on!r}, off = {self.off!r}: give 0 < off <= on")
        if not (2 <= self.fast < np.inf and 2 <= self.slow < np.inf) or self.hold < 0:
            raise ValueError(
                f"fast = {self.fast!r}, slow = {self.slow!r}, hold = {self.hold!r}: at least 2, 2 and 0"
            )


class Trigger:
    """The trigger's statistics for ``capacity`` links, addressed by row."""

    def __init__(self, policy: TriggerPolicy, capacity: int) -> None:
        self.policy = policy
        decay = 1.0 - 1.0 / np.array([policy.fast, policy.slow, policy.slow])
        self._decay = decay
        self.sums = np.zeros((capacity, 3))
        self.variances = np.zeros((capacity, 3))
        self.active = np.full(capacity, policy.always)
        self.held = np.zeros(capacity, np.int64)
        self.fired = np.zeros(capacity, np.int64)

    def statistics(self, rows: np.ndarray) -> np.ndarray:
        """Standardised residual (fast, slow) and excess loss (slow), shape ``(n_rows, 3)``."""
        # One typical block's variance as a floor: the first NACK of a young window proves nothing.
        return self.sums[rows] / np.sqrt(np.maximum(self.variances[rows], 0.25))

    def update(self, rows: np.ndarray, bler: np.ndarray, nack: np.ndarray) -> np.ndarray:
        """Take one outcome for each row (each row once) and say which should tune, bool ``(n_rows,)``."""
        logit = np.log(bler) - np.log1p(-bler)
        residual = nack - bler
        excess = -residual * logit  # loss - H(p) = -(n - p) logit(p)
        variance = bler * (1.0 - bler)
        new = np.stack([residual, residual, excess], axis=1)
        self.sums[rows] = self._decay * self.sums[rows] + new
        spread = np.stack([variance, variance, variance * logit**2], axis=1)
        self.variances[rows] = self._decay**2 * self.variances[rows] + spread
        if self.policy.always:
            return np.ones(len(rows), bool)
        z = np.abs(self.statistics(rows)[:, :2]).max(axis=1)
        z = np.maximum(z, self.statistics(rows)[:, 2])  # a loss below the expected one is no fault
        was = self.active[rows]
        start = ~was & (z > self.policy.on)
        stop = was & (z < self.policy.off) & (self.held[rows] >= self.policy.hold)
        self.held[rows] = np.where(start, 0, self.held[rows] + 1)
        self.fired[rows] += start
        self.active[rows] = (was | start) & ~stop
        return self.active[rows]

    def forget(self, rows: np.ndarray) -> None:
        """Start the statistics of these rows afresh: the weights that they judged are gone."""
        self.sums[rows] = 0.0
        self.variances[rows] = 0.0
