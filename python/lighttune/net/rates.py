# SPDX-License-Identifier: GPL-3.0-or-later
"""How often each of many peers may do something."""

from __future__ import annotations

from collections import OrderedDict

MAX_PEERS = 1024
"""Peers that are kept; the one that did nothing for longest is forgotten beyond it."""


class Rates:
    """A bucket for each peer: it fills at a rate, and whoever finds it empty must wait.

    Args:
        rate_hz: times per second, above 0.
        burst: times at once, 1 or more.
    """

    def __init__(self, rate_hz: float, burst: float) -> None:
        self._rate_hz = rate_hz
        self._burst = max(burst, 1.0)
        self._saved: OrderedDict[str | bytes, tuple[float, float]] = OrderedDict()  # as of when

    def within(self, peer: str | bytes, now_s: float) -> bool:
        """Whether a peer may do it once more."""
        saved, at_s = self._saved.pop(peer, (self._burst, now_s))
        saved = min(saved + self._rate_hz * (now_s - at_s), self._burst)
        within = saved >= 1.0
        self._saved[peer] = saved - within, now_s
        if len(self._saved) > MAX_PEERS:
            self._saved.popitem(last=False)
        return within
