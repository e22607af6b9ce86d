# SPDX-License-Identifier: GPL-3.0-or-later
"""A bounded stretch of the sample stream, addressed by absolute sample number."""

from __future__ import annotations

import numpy as np


class SampleBuffer:
    """Keeps the samples from `start` to `stop`; older ones are forgotten when room is needed.

    Args:
        capacity: samples of memory to begin with; it grows only if more than this must be kept.
    """

    def __init__(self, capacity: int = 1 << 16) -> None:
        self._memory = np.empty(capacity, np.complex64)
        self._low = self._high = 0
        self.start = 0

    @property
    def stop(self) -> int:
        """Number of the sample after the newest."""
        return self.start + self._high - self._low

    def append(self, samples: np.ndarray) -> None:
        """Add samples, shape ``(n,)``, complex64, at the end."""
        kept = self._high - self._low
        if self._high + len(samples) > len(self._memory):
            memory = self._memory
            if 2 * (kept + len(samples)) > len(memory):
                memory = np.empty(4 * (kept + len(samples)), np.complex64)
            memory[:kept] = self._memory[self._low : self._high].copy()
            self._memory, self._low, self._high = memory, 0, kept
        self._memory[self._high : self._high + len(samples)] = samples
        self._high += len(samples)

    def view(self, start: int, stop: int) -> np.ndarray:
        """Samples ``start`` to ``stop`` (absolute), not copied: valid until the next `append`."""
        offset = self._low - self.start
        return self._memory[start + offset : stop + offset]

    def discard(self, before: int) -> None:
        """Forget samples older than ``before`` (absolute)."""
        step = min(max(before - self.start, 0), self._high - self._low)
        self._low += step
        self.start += step
