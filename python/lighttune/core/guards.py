# SPDX-License-Identifier: GPL-3.0-or-later
"""What keeps tuning from doing harm: bounded step, projection, rollback, finite check."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .predictor import GAMMA, OFFSET, Shape, Weights, project_signs


@dataclass(frozen=True)
class GuardPolicy:
    """Bounds of the guards.

    Args:
        max_step: largest norm of one step of the layers' weights; a longer step is shortened.
        max_step_db: largest step of a SINR offset in dB.
        radius: the layers' weights stay within this distance of the offline weights.
        max_offset_db, max_order_db, max_gamma: the calibration stays within these magnitudes.
        window: memory of the comparison with the offline predictor, in blocks.
        margin: the log loss (nats per block) by which the tuned predictor may exceed the offline one over
            that window.
        max_rollbacks: so many rollbacks without a good window between them hand the link to the fallback.
        rest: blocks after which such a link tries again, from the offline weights.

    Raises:
        ValueError: a bound is not positive.
    """

    max_step: float = 0.2
    max_step_db: float = 1.0
    radius: float = 4.0
    max_offset_db: float = 15.0
    max_order_db: float = 5.0
    max_gamma: float = 0.7
    window: float = 64.0
    margin: float = 0.05
    max_rollbacks: int = 3
    rest: int = 500

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            if not 0 < getattr(self, name) < np.inf:
                raise ValueError(f"{name} = {getattr(self, name)!r}: give a positive, finite number")


def bounded(step: np.ndarray, shape: Shape, policy: GuardPolicy) -> np.ndarray:
    """Shorten steps ``(n_links, n_weights)`` to the policy's largest, in place."""
    offsets = step[:, OFFSET : shape.n_calibration]
    np.clip(offsets, -policy.max_step_db, policy.max_step_db, out=offsets)
    layers = step[:, shape.n_calibration :]
    norm = np.linalg.norm(layers, axis=1, keepdims=True)
    layers *= np.minimum(1.0, policy.max_step / np.maximum(norm, 1e-12))
    return step


def project(weights: Weights, offline: np.ndarray, policy: GuardPolicy) -> None:
    """Bring weights ``(n_links, n_weights)`` back into the allowed set, in place.

    The set is a ball around the offline weights cut by the sign constraints; both hold afterwards because
    the ball's centre satisfies the constraints and clipping towards it never leaves the ball.
    """
    flat = weights.flat
    np.clip(flat[:, OFFSET], -policy.max_offset_db, policy.max_offset_db, out=flat[:, OFFSET])
    np.clip(flat[:, GAMMA], -policy.max_gamma, policy.max_gamma, out=flat[:, GAMMA])
    np.clip(weights.order_db, -policy.max_order_db, policy.max_order_db, out=weights.order_db)
    project_signs(weights)
    start = weights.shape.n_calibration
    away = flat[:, start:] - offline[start:]
    norm = np.linalg.norm(away, axis=1, keepdims=True)
    flat[:, start:] = offline[start:] + away * np.minimum(1.0, policy.radius / np.maximum(norm, 1e-12))


class LossGuard:
    """Compares the tuned predictor's log loss with the offline one's on the same blocks, by row."""

    def __init__(self, policy: GuardPolicy, capacity: int) -> None:
        self.policy = policy
        self.excess = np.zeros(capacity)  # mean of loss - offline loss, nats per block
        self.strikes = np.zeros(capacity, np.int64)
        self.rollbacks = np.zeros(capacity, np.int64)
        self.resting = np.zeros(capacity, np.int64)

    def update(
        self, rows: np.ndarray, bler: np.ndarray, offline_bler: np.ndarray, nack: np.ndarray
    ) -> np.ndarray:
        """Take one outcome for each row; True where the tuned weights must be rolled back."""
        difference = log_loss(bler, nack) - log_loss(offline_bler, nack)
        self.excess[rows] += (difference - self.excess[rows]) / self.policy.window
        self.resting[rows] = np.maximum(self.resting[rows] - 1, 0)
        self.strikes[rows] = np.where(self.excess[rows] < -self.policy.margin, 0, self.strikes[rows])
        return self.excess[rows] > self.policy.margin

    def rolled_back(self, rows: np.ndarray) -> None:
        """Note that these rows were rolled back."""
        self.rollbacks[rows] += 1
        self.strikes[rows] += 1
        self.excess[rows] = 0.0
        out = rows[self.strikes[rows] >= self.policy.max_rollbacks]
        self.resting[out] = self.policy.rest
        self.strikes[out] = 0


def log_loss(bler: np.ndarray, nack: np.ndarray) -> np.ndarray:
    """Log loss in nats of predictions strictly inside (0, 1) against outcomes (1 for NACK)."""
    return -np.log(np.where(nack > 0.5, bler, 1.0 - bler))
