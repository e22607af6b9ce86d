# SPDX-License-Identifier: GPL-3.0-or-later
"""Joins feedback with the decision that it belongs to, whichever comes first, in bounded memory."""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import NamedTuple

import numpy as np

from ..core.pending import PendingBlocks

# Feedback overtakes its decision by a thread's turn. Kept longer, it would meet a number that is used anew.
_EARLY_S = 1.0
_EARLY_LIMIT = 1024
_EXPIRED = "decision: expired without feedback"
_NO_DECISION = "feedback: no decision (unknown, late or duplicate)"


class Sample(NamedTuple):
    """What the tuner learns from: ``features`` of shape ``(N_FEATURES,)``."""

    link: int
    features: np.ndarray
    mcs: int
    ack: bool
    seq: int


class Join:
    """Decisions that wait for their feedback, and feedback that waits a second for its decision.

    Args:
        limit: decisions that may wait, 1 or more; the oldest expires beyond it.

    Raises:
        ValueError: ``limit`` is below 1.
    """

    def __init__(self, limit: int) -> None:
        self._decided: PendingBlocks[tuple[np.ndarray, int]] = PendingBlocks(limit)
        self._ended: OrderedDict[int, tuple[bool, float]] = OrderedDict()
        self._lost: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._decided)

    def decided(self, link: int, seq: int, features: np.ndarray, mcs: int, now_s: float) -> Sample | None:
        """Take a decision; returns the sample if its feedback was here first."""
        key = _key(link, seq)
        early = self._ended.pop(key, None)
        if early is not None:
            if now_s - early[1] <= _EARLY_S:
                return Sample(link, features, mcs, early[0], seq)
            self._lost[_NO_DECISION] += 1
        self._decided.add(key, (features, mcs))
        return None

    def ended(self, link: int, seq: int, ack: bool, now_s: float) -> Sample | None:
        """Take an outcome; returns the sample if its decision is known."""
        key = _key(link, seq)
        decided = self._decided.pop(key)
        if decided is not None:
            return Sample(link, *decided, ack, seq)
        if key in self._ended:
            self._lost[_NO_DECISION] += 1  # the first of two counts
        else:
            self._ended[key] = ack, now_s
        if len(self._ended) > _EARLY_LIMIT:
            self._forget_early(1)
        return None

    def losses(self, now_s: float) -> Counter[str]:
        """What was lost since the last call, by cause."""
        self._forget_early(sum(now_s - since_s > _EARLY_S for _, since_s in self._ended.values()))
        lost, self._lost = self._lost, Counter()
        if self._decided.expired:
            lost[_EXPIRED], self._decided.expired = self._decided.expired, 0
        return lost

    def _forget_early(self, n: int) -> None:
        for _ in range(n):
            self._ended.popitem(last=False)
            self._lost[_NO_DECISION] += 1


def _key(link: int, seq: int) -> int:
    return link << 32 | seq
