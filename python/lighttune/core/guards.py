# SPDX-License-Identifier: GPL-3.0-or-later
"""What keeps tuning from doing harm: bounded step, projection, rollback, finite check.

**Rollback.** Tuning follows what the link does now; when that is over (the interferer is silent again, the
reports are right again), the way back by tuning is long, above all from pessimism, where only ACKs arrive and
each says little. But the way back is known: it leads to weights that the link had before. So each link keeps
the offline weights and one set more, those that it left last, and every outcome is weighed under all three.
The evidence for the earlier ones is Page's cumulative sum again (see `trigger`),

    g_e <- max(0, g_e + log P(n | p_e) - log P(n | p))

with ``p`` the BLER predicted by the weights in use and ``p_e`` by the earlier ones. Where it exceeds
``margin``, the link goes back to them, and those that it leaves are kept in turn: between two states that
alternate, such as a burst and silence, it needs no tuning at all.

Tuned weights that never earn as much evidence over the offline ones, and are left for them again and again,
are the work of a tuner that does harm: the link is then handed to the fallback for a while.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .predictor import GAMMA, OFFSET, Shape, Weights, project_signs
from .trigger import page_sum

STAY, OFFLINE, HELD = -1, 0, 1
"""Where `LossGuard.update` sends a link: nowhere, to the offline weights, or to those that it left last."""

_ROUNDING = 1e-6  # nats: the held weights are the offline ones at first; rounding must not tell them apart


@dataclass(frozen=True)
class GuardPolicy:
    """Bounds of the guards.

    Args:
        max_step: largest norm of one step of the layers' weights; a longer step is shortened.
        max_step_db: largest step of a SINR offset in dB.
        radius: the layers' weights stay within this distance of the offline weights.
        max_offset_db, max_order_db, max_gamma: the calibration stays within these magnitudes.
        margin: evidence in nats for earlier weights of the link that takes it back to them.
        max_rollbacks: so many returns to the offline weights in a row, without as much evidence in between
            that other weights were better than these, hand the link to the fallback.
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
    margin: float = 4.0
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
    """Weighs a link's earlier weights against those in use, on the same blocks, by row.

    ``evidence`` (nats): for the offline weights and for the held ones, against those in use; for those in use
    against the offline ones.
    """

    def __init__(self, policy: GuardPolicy, capacity: int) -> None:
        self.policy = policy
        self.evidence = np.zeros((capacity, 3))
        self.strikes = np.zeros(capacity, np.int64)
        self.rollbacks = np.zeros(capacity, np.int64)
        self.resting = np.zeros(capacity, np.int64)

    def update(
        self, rows: np.ndarray, loss: np.ndarray, offline_loss: np.ndarray, held_loss: np.ndarray
    ) -> np.ndarray:
        """Take one outcome for each row: its log loss in nats under the weights in use, the offline ones and
        the held ones, each ``(n_rows,)``.

        Returns:
            `STAY`, `OFFLINE` or `HELD` for each row.
        """
        steps = np.stack([loss - offline_loss, loss - held_loss, offline_loss - loss], axis=1)
        evidence = page_sum(self.evidence[rows], steps)
        self.evidence[rows] = evidence
        self.resting[rows] = np.maximum(self.resting[rows] - 1, 0)
        self.strikes[rows] = np.where(evidence[:, 2] > self.policy.margin, 0, self.strikes[rows])
        offline, held = evidence[:, 0], evidence[:, 1]
        better = np.where(held > offline + _ROUNDING, HELD, OFFLINE)
        return np.where(np.maximum(offline, held) > self.policy.margin, better, STAY)

    def rolled_back(self, rows: np.ndarray, where: np.ndarray) -> None:
        """Note that these rows went back, `OFFLINE` or `HELD`."""
        self.rollbacks[rows] += 1
        self.evidence[rows] = 0.0
        self.strikes[rows] = np.where(where == OFFLINE, self.strikes[rows] + 1, 0)
        out = rows[self.strikes[rows] >= self.policy.max_rollbacks]
        self.resting[out] = self.policy.rest
        self.strikes[out] = 0


def log_loss(bler: np.ndarray, nack: np.ndarray) -> np.ndarray:
    """Log loss in nats of predictions strictly inside (0, 1) against outcomes (1 for NACK)."""
    return -np.log(np.where(nack > 0.5, bler, 1.0 - bler))
