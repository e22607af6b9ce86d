# SPDX-License-Identifier: GPL-3.0-or-later
"""Puts one link's verdicts into sequence order, and says which blocks were given up."""

from __future__ import annotations

from bisect import insort
from collections import OrderedDict
from dataclasses import dataclass
from enum import Enum, auto
from typing import Generic, TypeVar

from ..core.messages import MAX_SEQ

WINDOW = 1024
"""Blocks of a link that may be under way. A verdict further back than this is a sender that started anew."""

_SPAN = MAX_SEQ + 1
T = TypeVar("T")


class Fate(Enum):
    """What became of a message that `Reorder` was given."""

    TAKEN = auto()
    DUPLICATE = auto()
    LATE = auto()


@dataclass(slots=True)
class _Block(Generic[T]):
    deadline_s: float
    sent: bool  # a decision was seen for it
    verdict: T | None = None


class Reorder(Generic[T]):
    """One link's blocks under way, in the order of their sequence numbers, which wrap at 2^32.

    If decisions are heard, they say which blocks exist: a block is released when its verdict is in, or its
    time-out has passed, and all before it are released; a verdict without a decision waits for one until the
    time-out, holding up no one, and is then unknown. If none was ever heard, verdicts are released in
    sequence; a gap holds them up for the time-out at most.

    Numbers are unwrapped: kept as integers that grow past 2^32, each the nearest to the next one expected.

    Args:
        timeout_s: from the decision (or from an early verdict) until a block is given up.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._blocks: dict[int, _Block[T]] = {}
        self._order: list[int] = []
        self._next: int | None = None
        self._decisions_heard = False
        # Released before any decision was heard: at the start a verdict may overtake the first decision.
        self._unannounced: OrderedDict[int, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._order)

    def sent(self, seq: int, now_s: float) -> Fate:
        """A block went out: its clock starts. One behind those released is a sender that started anew."""
        number = self._unwrap(seq)
        self._decisions_heard = True
        if self._next is not None and number < self._next:
            if number in self._unannounced:
                del self._unannounced[number]
                return Fate.TAKEN
        else:
            self._unannounced.clear()
        if self._next is None or number < self._next:
            self._next = number
        block = self._blocks.get(number)
        if block is None:
            self._add(number, _Block(now_s + self._timeout_s, True))
        elif block.sent:
            return Fate.DUPLICATE
        else:
            block.sent, block.deadline_s = True, now_s + self._timeout_s
        return Fate.TAKEN

    def verdict(self, seq: int, verdict: T, now_s: float) -> Fate:
        """A verdict came in; the first one of a block counts."""
        number = self._unwrap(seq)
        block = self._blocks.get(number)
        if block is not None:
            if block.verdict is not None:
                return Fate.DUPLICATE
            block.verdict = verdict
            return Fate.TAKEN
        if self._next is not None and number < self._next:
            if self._decisions_heard or number >= self._next - WINDOW:
                return Fate.LATE
            self._next = number
        self._add(number, _Block(now_s + self._timeout_s, False, verdict))
        return Fate.TAKEN

    def due(self, now_s: float) -> list[tuple[int, T | None, bool]]:
        """Take the blocks that may be released, in order: ``(seq, verdict or None, known)``.

        None for a block that timed out; ``known`` is False for a verdict of a block that was never sent.
        """
        released, at = [], 0
        while at < len(self._order):
            number = self._order[at]
            block = self._blocks[number]
            over = now_s >= block.deadline_s or len(self._order) > WINDOW
            if not over and self._decisions_heard and not block.sent:
                at += 1
                continue
            if not over and not self._ready(number, block):
                break
            del self._order[at], self._blocks[number]
            known = block.sent or not self._decisions_heard
            if known:
                self._next = number + 1
            if not self._decisions_heard:
                self._unannounced[number] = None
                if len(self._unannounced) > WINDOW:
                    self._unannounced.popitem(last=False)
            released.append((number % _SPAN, block.verdict, known))
        return released

    def _ready(self, number: int, block: _Block[T]) -> bool:
        return block.verdict is not None and (block.sent or number == (self._next or 0))

    def _unwrap(self, seq: int) -> int:
        reference = self._next or 0
        return reference + (seq - reference + _SPAN // 2) % _SPAN - _SPAN // 2

    def _add(self, number: int, block: _Block[T]) -> None:
        self._blocks[number] = block
        insort(self._order, number)
