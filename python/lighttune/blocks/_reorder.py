# SPDX-License-Identifier: GPL-3.0-or-later
"""Puts one link's verdicts into sequence order, and says what became of the blocks that got none."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from collections import OrderedDict
from dataclasses import dataclass
from enum import Enum, auto
from typing import Generic, NamedTuple, TypeVar

from ..core.messages import MAX_SEQ

NO_VERDICT = "no verdict"
"""Cause: the time-out passed. The packet, its verdict, or the patience was lost: nobody knows which."""

NEVER_SENT = "never sent"
"""Cause: a later block went on the air, and this one not within the time-out."""

OUTRUN = "too many under way"
"""Cause: more blocks wait than the window holds."""

STOPPED = "stopped"
"""Cause: the flowgraph stopped first."""

SPOILT_S = 0.1
"""A radio tells within this time that it spoilt a packet."""

_RESTART = 1024  # without decisions, a verdict further back than this is a sender that started anew
_EARLY = 1024  # blocks without a decision that are remembered
_GIVEN_UP = 4096  # blocks whose late verdicts are known for what they are
_SPAN = MAX_SEQ + 1
T = TypeVar("T")


class Fate(Enum):
    """What became of a message that `Reorder` was given."""

    TAKEN = auto()
    DUPLICATE = auto()
    LATE = auto()
    """The block was given up before."""
    UNKNOWN = auto()
    """It was released with a verdict before, or never announced."""


class Release(NamedTuple, Generic[T]):
    """A block that has ended.

    Args:
        seq: its number.
        verdict: None where none came.
        cause: why nothing is known of it; empty where a verdict came, unless it was erased besides.
        passed: it was on the air, and the receiver has told of a later one.
        known: False for a verdict on a block that was never announced.
    """

    seq: int
    verdict: T | None
    cause: str = ""
    passed: bool = False
    known: bool = True


@dataclass(slots=True)
class _Block(Generic[T]):
    since_s: float
    deadline_s: float
    air: bool = False
    verdict: T | None = None
    cause: str = ""  # it was erased: it need not wait
    spoilt: str = ""  # if it is not received, this is why


class Reorder(Generic[T]):
    """One link's blocks under way, in the order of their sequence numbers, which wrap at 2^32.

    If decisions are heard, they say which blocks exist: a block is released when its verdict is in, or it is
    given up, and all before it are released; a verdict without a decision waits for one until the time-out,
    holding up no one, and is then unknown. If none was ever heard, verdicts are released in sequence; a gap
    holds them up for the time-out at most.

    If the transmitter is heard, the time-out counts from when a block left it; a block that waits there has
    all the time that it needs. It goes out before those behind it: once a later one has left, it has the
    time-out to follow.

    Numbers are unwrapped: kept as integers that grow past 2^32, each the nearest to the next one expected.

    Args:
        timeout_s: until a block is given up: from when it left, or else from the decision (or from an early
            verdict).
        window: blocks that may wait; the oldest is given up beyond it.
    """

    def __init__(self, timeout_s: float, window: int) -> None:
        self._timeout_s = timeout_s
        self._window = window
        self._blocks: dict[int, _Block[T]] = {}
        self._order: list[int] = []
        self._early: OrderedDict[int, _Block[T]] = OrderedDict()  # heard of, but not announced
        self._next: int | None = None
        self._announcing = self._airing = False  # decisions, or the transmitter, were heard
        self._aired: int | None = None  # the newest block that left
        self._judged: int | None = None  # the newest block with a verdict
        self._given_up: OrderedDict[int, None] = OrderedDict()
        # Released before any decision was heard: at the start a verdict may overtake the first decision.
        self._unannounced: OrderedDict[int, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._order) + len(self._early)

    def announce(self, seq: int, now_s: float) -> Fate:
        """A block was decided. One behind those released is a sender that started anew."""
        number = self._unwrap(seq)
        if not self._announcing:
            self._announcing = True
            self._early.update((n, self._blocks[n]) for n in self._order)
            self._order.clear()
            self._blocks.clear()
        if self._next is not None and number < self._next:
            if number in self._unannounced:
                del self._unannounced[number]
                return Fate.TAKEN
            self._aired = self._judged = None
            self._given_up.clear()
            for old in self._blocks.values():  # what it left behind does not go out any more
                old.deadline_s = min(old.deadline_s, now_s + self._timeout_s)
        else:
            self._unannounced.clear()
        if self._next is None or number < self._next:
            self._next = number
        if number in self._blocks:
            return Fate.DUPLICATE
        block = self._early.pop(number, None) or _Block[T](now_s, 0.0)
        block.since_s = now_s
        stays = self._airing and not block.air and (self._aired is None or number > self._aired)
        block.deadline_s = math.inf if stays else now_s + self._timeout_s
        self._add(number, block)
        return Fate.TAKEN

    def air(self, seq: int, now_s: float) -> None:
        """A block left the transmitter: its clock starts, and that of those before it that did not."""
        number = self._unwrap(seq)
        if not self._airing:
            self._airing = True
            for later in self._order[bisect_right(self._order, number) :]:
                self._blocks[later].deadline_s = math.inf
        block = self._find(number, now_s)
        if block is not None:
            block.air, block.deadline_s = True, now_s + self._timeout_s
        self._pass(number, now_s)

    def erase(self, seq: int, cause: str, now_s: float) -> Fate:
        """Nothing will be known of a block; a verdict that comes in time is released with the cause."""
        number = self._unwrap(seq)
        block = self._find(number, now_s)
        if block is None and not self._announcing and (self._next is None or number >= self._next):
            block = _Block(now_s, now_s + self._timeout_s)
            self._add(number, block)
        if block is None:
            return Fate.UNKNOWN
        block.cause = block.cause or cause
        return Fate.TAKEN

    def spoil(self, cause: str, now_s: float) -> None:
        """A packet that has just left, or is leaving, was spoilt on its way; which one is not said."""
        leaving = len(self._order)
        if self._airing:
            leaving = 0 if self._aired is None else bisect_right(self._order, self._aired)
            if leaving < len(self._order):
                self._blocks[self._order[leaving]].spoilt = cause
        for place in range(leaving - 1, -1, -1):
            block = self._blocks[self._order[place]]
            if (block.deadline_s - self._timeout_s if block.air else block.since_s) < now_s - SPOILT_S:
                break
            block.spoilt = cause

    def verdict(self, seq: int, verdict: T, now_s: float) -> Fate:
        """A verdict came in; the first one of a block counts."""
        number = self._unwrap(seq)
        block = self._blocks.get(number) or self._early.get(number)
        if block is None:
            if number in self._given_up:
                del self._given_up[number]
                return Fate.LATE
            if self._next is not None and number < self._next:
                if self._announcing or number >= self._next - _RESTART:
                    return Fate.UNKNOWN
                self._next, self._judged = number, None
                self._given_up.clear()
            block = self._find(number, now_s)
        if block is None:
            block = _Block(now_s, now_s + self._timeout_s)
            self._add(number, block)
        if block.verdict is not None:
            return Fate.DUPLICATE
        block.verdict = verdict
        self._judged = number if self._judged is None else max(self._judged, number)
        if self._airing:
            self._pass(number, now_s)  # it has left, even if nobody said so
        return Fate.TAKEN

    def due(self, now_s: float, doubt: tuple[float, str] = (-math.inf, "")) -> list[Release[T]]:
        """Take the blocks that have ended, in order.

        Args:
            doubt: until when packets were lost in the receiver's host, and why: of a block that was decided
                before and has no verdict this is the cause.
        """
        released = []
        while self._early and (len(self._early) > _EARLY or self._early_until() <= now_s):
            number, block = self._early.popitem(last=False)
            if block.verdict is not None:
                released.append(Release(number % _SPAN, block.verdict, known=False))
        ended = 0
        for number in self._order:
            block = self._blocks[number]
            cause = block.cause
            in_turn = self._announcing or number == (self._next or 0)
            if not (in_turn and (block.verdict is not None or cause)):
                if now_s >= block.deadline_s:
                    cause = cause or self._why(block, doubt)
                elif len(self._order) - ended > self._window:
                    cause = cause or OUTRUN
                else:
                    break
            ended += 1
            released.append(self._end(number, block, cause))
        del self._order[:ended]
        return released

    def drain(self) -> list[Release[T]]:
        """Take all blocks, in order; those without a verdict were `STOPPED`."""
        rest = [self._end(n, self._blocks[n], self._blocks[n].cause or STOPPED) for n in self._order]
        self._order.clear()
        for number, block in self._early.items():
            if block.verdict is not None:
                rest.append(Release(number % _SPAN, block.verdict, known=False))
        self._early.clear()
        return rest

    def _end(self, number: int, block: _Block[T], cause: str) -> Release[T]:
        del self._blocks[number]
        self._next = number + 1
        if not self._announcing:
            _remember(self._unannounced, number, _RESTART)
        if block.verdict is not None:
            return Release(number % _SPAN, block.verdict, block.cause or block.spoilt)
        if not block.cause:
            _remember(self._given_up, number, _GIVEN_UP)
        passed = block.air and self._judged is not None and self._judged > number
        return Release(number % _SPAN, None, cause, passed)

    def _why(self, block: _Block[T], doubt: tuple[float, str]) -> str:
        if self._airing and not block.air:
            return NEVER_SENT
        if block.spoilt:
            return block.spoilt
        return doubt[1] if block.since_s <= doubt[0] else NO_VERDICT

    def _pass(self, number: int, now_s: float) -> None:
        """A block has left: those before it that did not have the time-out to follow."""
        if self._aired is not None and number <= self._aired:
            return
        first = 0 if self._aired is None else bisect_right(self._order, self._aired)
        for earlier in self._order[first : bisect_left(self._order, number)]:
            if not self._blocks[earlier].air:
                self._blocks[earlier].deadline_s = now_s + self._timeout_s
        self._aired = number

    def _find(self, number: int, now_s: float) -> _Block[T] | None:
        """A block that is under way; one that is not announced yet, where others are, is remembered."""
        block = self._blocks.get(number) or self._early.get(number)
        if block is None and self._announcing and (self._next is None or number >= self._next):
            block = self._early[number] = _Block(now_s, now_s + self._timeout_s)
        return block

    def _early_until(self) -> float:
        block = next(iter(self._early.values()))
        return block.since_s + self._timeout_s

    def _unwrap(self, seq: int) -> int:
        reference = self._next or 0
        return reference + (seq - reference + _SPAN // 2) % _SPAN - _SPAN // 2

    def _add(self, number: int, block: _Block[T]) -> None:
        self._blocks[number] = block
        if not self._order or number > self._order[-1]:
            self._order.append(number)
        else:
            insort(self._order, number)


def _remember(numbers: OrderedDict[int, None], number: int, limit: int) -> None:
    numbers[number] = None
    if len(numbers) > limit:
        numbers.popitem(last=False)
