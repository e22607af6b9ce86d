# SPDX-License-Identifier: GPL-3.0-or-later
"""The transmitter's end of the feedback path: takes frames, refuses what is not genuine, says what is new.

What a link's frames may say is bounded by ``(link, epoch, number)``: a frame counts once; one that is older
than the last `FRAME_WINDOW` is late; and a link belongs to the sender, told by its epoch, that spoke for it
first, until that one has been silent for `SILENCE_S`. A sender that was left is never believed again.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from ..core.messages import MAX_SEQ
from .feedback_frame import MAX_RETRIES, FrameError, Report

_SPAN = MAX_SEQ + 1
FRAME_WINDOW = 1024
"""Frames that one may come late by."""
BLOCK_WINDOW = 1024
"""Blocks that a verdict may come late by."""
SILENCE_S = 2.0
"""A sender that was not heard for so long is silent, and another one may speak for its links."""
_RETIRED = 16  # epochs that are remembered for each link
_YOUNG = 16  # frames: a sender whose first one heard has a number below has begun after we have


@dataclass(slots=True)
class News:
    """What a frame says that was not known, all in the order of block numbers.

    Args:
        csi: ``(seq, snr_db)``.
        verdicts: ``(seq, ack)`` of first transmissions.
        retries: ``(seq, attempt, ack)``.
    """

    csi: list[tuple[int, float]] = field(default_factory=list)
    verdicts: list[tuple[int, bool]] = field(default_factory=list)
    retries: list[tuple[int, int, bool]] = field(default_factory=list)


class Numbers:
    """Which of a stream of numbers were seen: the newest, and a window behind it. Numbers wrap at 2^32.

    Bit k of ``seen`` is number ``newest - k``; ``newest`` is unwrapped and -1 before the first.
    """

    __slots__ = ("_keep", "newest", "seen", "window")

    def __init__(self, window: int) -> None:
        self.window = window
        self._keep = (1 << window) - 1
        self.newest = -1
        self.seen = 0

    def unwrap(self, number: int) -> int:
        """The integer nearest to the newest that has these 32 bits."""
        return self.newest + (number - self.newest + _SPAN // 2) % _SPAN - _SPAN // 2

    def reach(self, number: int) -> None:
        """Move on to this (unwrapped) number, if it is a newer one."""
        if number > self.newest:
            self.seen = self.seen << min(number - self.newest, self.window) & self._keep
            self.newest = number


@dataclass(slots=True)
class _Link:
    epoch: int
    frames: Numbers
    blocks: Numbers
    retired: deque[int]
    measured: int | None = None  # the newest block with a report, unwrapped
    retries: OrderedDict[tuple[int, int], None] = field(default_factory=OrderedDict)
    first: int = 0  # number of the first frame taken
    taken: int = 0

    @property
    def missing(self) -> int:
        """Frames since the first one that did not come (yet)."""
        return self.frames.newest + 1 - self.first - self.taken


class FeedbackReader:
    """Takes the frames of any number of senders and links; one thread may call it.

    Args:
        max_links: links that are kept at most; frames of further ones are refused.
        silence_s: see `SILENCE_S`.

    Attributes:
        counts: ``frames`` taken; of these ``reordered``; ``late_verdicts``, on blocks that are further back
            than `BLOCK_WINDOW`; ``verdicts_before``, that a sender had told before we came.
    """

    def __init__(self, max_links: int = 1024, silence_s: float = SILENCE_S) -> None:
        self.counts: Counter[str] = Counter()
        self._max_links = max_links
        self._silence_s = silence_s
        self._links: dict[int, _Link] = {}
        self._heard: dict[int, float] = {}  # when, by epoch
        self._lost = 0  # frames of senders that were left

    def __len__(self) -> int:
        return len(self._links)

    @property
    def lost(self) -> int:
        """Frames that were sent and did not come (yet), by the gaps in their numbers."""
        return self._lost + sum(link.missing for link in list(self._links.values()))

    def heard(self, epoch: int, now_s: float) -> None:
        """A sender lives."""
        if epoch not in self._heard and len(self._heard) >= 2 * self._max_links:
            self._heard = {e: at_s for e, at_s in self._heard.items() if now_s - at_s < self._silence_s}
            if len(self._heard) >= 2 * self._max_links:
                return
        self._heard[epoch] = now_s

    def senders(self, now_s: float) -> tuple[int, int]:
        """How many senders are heard, and how many have fallen silent while a link is theirs."""
        owners = {link.epoch for link in list(self._links.values())}
        heard = {epoch for epoch, at_s in list(self._heard.items()) if now_s - at_s <= self._silence_s}
        return len(heard), len(owners - heard)

    def take(self, report: Report, now_s: float) -> News:
        """What is new in a frame.

        Raises:
            FrameError: it is refused; the text is the cause.
        """
        link, joined = self._owned(report, now_s)
        number = link.frames.unwrap(report.number)
        back = link.frames.newest - number
        if back >= FRAME_WINDOW or number < link.first:
            raise FrameError("late")
        if back >= 0 and link.frames.seen >> back & 1:
            raise FrameError("duplicate")
        self.counts["reordered"] += back > 0
        link.frames.reach(number)
        link.frames.seen |= 1 << link.frames.newest - number
        link.taken += 1
        self.counts["frames"] += 1
        self.heard(report.epoch, now_s)
        return self._news(link, report, back < 0, joined)

    def _owned(self, report: Report, now_s: float) -> tuple[_Link, bool]:
        """The link's state, and whether its sender was at it before we were."""
        link = self._links.get(report.link)
        retired: deque[int] = deque(maxlen=_RETIRED)
        if link is not None:
            if link.epoch == report.epoch:
                return link, False
            if report.epoch in link.retired:
                raise FrameError("of a sender that was left")
            if now_s - self._heard.get(link.epoch, -self._silence_s) < self._silence_s:
                raise FrameError("of another sender")
            self._lost += link.missing
            retired = link.retired
            retired.append(link.epoch)
        elif len(self._links) >= self._max_links:
            raise FrameError("too many links")
        young = report.number < _YOUNG
        first = 0 if young else report.number
        link = _Link(report.epoch, Numbers(FRAME_WINDOW), Numbers(BLOCK_WINDOW), retired, first=first)
        link.frames.newest, link.blocks.newest = first - 1, report.newest
        self._links[report.link] = link
        return link, not young

    def _news(self, link: _Link, report: Report, newest: bool, joined: bool) -> News:
        blocks, at = link.blocks, link.blocks.unwrap(report.newest)
        if at < blocks.newest - BLOCK_WINDOW and newest:  # the transmitter counts anew
            blocks.newest, blocks.seen, link.measured = at, 0, None
            link.retries.clear()
        blocks.reach(at)
        behind = blocks.newest - at
        if behind >= BLOCK_WINDOW:
            self.counts["late_verdicts"] += report.told.bit_count()
            return News()
        told = report.told << behind
        fresh = told & ~blocks.seen & (1 << BLOCK_WINDOW) - 1
        blocks.seen |= fresh
        self.counts["late_verdicts"] += (told >> BLOCK_WINDOW).bit_count()
        news = News()
        measured = [(blocks.unwrap(seq), snr_db) for seq, snr_db in report.csi]
        retries = [r for r in report.retries if self._first_time(link, blocks.unwrap(r.seq), r.attempt)]
        if joined:  # what was said before we came may be of blocks whose numbers are used anew
            self.counts["verdicts_before"] += fresh.bit_count()
            link.measured = measured[-1][0] if measured else None
            return news
        for number, snr_db in measured:
            if link.measured is None or number > link.measured:
                link.measured = number
                news.csi.append((number % _SPAN, snr_db))
        ack = report.ack << behind
        for back in _bits(fresh):
            news.verdicts.append(((blocks.newest - back) % _SPAN, bool(ack >> back & 1)))
        news.retries += [(r.seq, r.attempt, r.ack) for r in retries]
        return news

    @staticmethod
    def _first_time(link: _Link, number: int, attempt: int) -> bool:
        key = number, attempt
        if key in link.retries:
            return False
        link.retries[key] = None
        if len(link.retries) > 4 * MAX_RETRIES:
            link.retries.popitem(last=False)
        return True


def _bits(mask: int) -> Iterator[int]:
    """Places of the ones, highest first: the oldest block first."""
    while mask:
        place = mask.bit_length() - 1
        yield place
        mask ^= 1 << place
