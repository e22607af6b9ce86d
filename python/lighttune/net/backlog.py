# SPDX-License-Identifier: GPL-3.0-or-later
"""A bounded queue of samples that gives up its oldest: between a block and its client, and for each host in
the service."""

from __future__ import annotations

import threading
from collections import deque

import numpy as np

from .wire import SAMPLE


class Backlog:
    """Samples in order, at most ``limit``; one thread may put while another takes.

    Raises:
        ValueError: ``limit`` is below 1.
    """

    def __init__(self, limit: int) -> None:
        if limit < 1:
            raise ValueError(f"limit = {limit!r}: give 1 or more samples that may wait")
        self.limit = limit
        self._parts: deque[np.ndarray] = deque()
        self._n = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self._n

    def put(self, records: np.ndarray) -> int:
        """Append a `SAMPLE` array ``(n,)``; returns how many of the oldest were given up for it."""
        if not len(records):
            return 0
        with self._lock:
            self._parts.append(records)
            self._n += len(records)
            excess = max(self._n - self.limit, 0)
            self._cut(excess)
        return excess

    def take(self, n: int) -> np.ndarray:
        """The oldest samples, ``n`` at most, as one array."""
        with self._lock:
            parts = self._cut(min(n, self._n))
        return np.concatenate(parts) if parts else np.empty(0, SAMPLE)

    def _cut(self, n: int) -> list[np.ndarray]:
        self._n -= n
        parts = []
        while n:
            first = self._parts.popleft()
            if len(first) > n:
                self._parts.appendleft(first[n:])
                first = first[:n]
            parts.append(first)
            n -= len(first)
        return parts
