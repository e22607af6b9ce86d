# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the host keeps up: how many of the last packets were lost to it, and not to the channel."""

from __future__ import annotations

from collections import Counter, deque

from ._reorder import NO_VERDICT, STOPPED

WINDOW_S = 10
"""Seconds of which it speaks."""

BEHIND = 0.01
"""Share of the packets that a host may lose and still be said to keep up."""

LATE = "late verdict"
"""Cause: the verdict came after its packet was given up."""

_CAUSES = 3  # in words
_NOT_THE_HOST = (NO_VERDICT, STOPPED)


class HostWatch:
    """Counts packets and what the host lost of them, over the last `WINDOW_S` seconds."""

    def __init__(self) -> None:
        self._seconds: deque[tuple[int, Counter[str]]] = deque()
        self._lost: Counter[str] = Counter()  # by cause, over the window; all packets under ""

    def ended(self, now_s: float, cause: str = "") -> None:
        """A packet ended, with a verdict or for this cause."""
        self._count("", now_s)
        if cause and cause not in _NOT_THE_HOST:
            self._count(cause, now_s)

    def late(self, now_s: float) -> None:
        """A packet that ended before without a verdict has got one."""
        self._count(LATE, now_s)

    def lost(self, now_s: float) -> dict[str, float]:
        """Shares of the window's packets that were lost to the host, by cause, the largest first."""
        self._forget(now_s)
        packets = self._lost[""]
        return {
            cause: min(n / packets, 1.0) for cause, n in self._lost.most_common() if cause and packets and n
        }

    def _count(self, cause: str, now_s: float) -> None:
        second = int(now_s)
        if not self._seconds or self._seconds[-1][0] != second:
            self._seconds.append((second, Counter()))
            self._forget(now_s)
        self._seconds[-1][1][cause] += 1
        self._lost[cause] += 1

    def _forget(self, now_s: float) -> None:
        while self._seconds and self._seconds[0][0] <= now_s - WINDOW_S - 1:
            self._lost -= self._seconds.popleft()[1]  # what is at 0 goes


def in_words(lost: dict[str, float]) -> str:
    """``"keeps up"``, or that the host is behind, and the share of packets that it lost, by cause."""
    share = min(sum(lost.values()), 1.0)
    if share <= BEHIND:
        return "keeps up"
    causes = ", ".join(f"{cause} {100 * part:.1f} %" for cause, part in list(lost.items())[:_CAUSES])
    return f"the host is behind: it lost {100 * share:.1f} % of the last {WINDOW_S} s' packets ({causes})"
