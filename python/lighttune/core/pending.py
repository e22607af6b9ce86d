# SPDX-License-Identifier: GPL-3.0-or-later
"""Blocks that wait for feedback, by sequence number."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

Item = TypeVar("Item")


class PendingBlocks(Generic[Item]):
    """Remembers each block's decision until its feedback comes, or until too many newer ones wait.

    Args:
        limit: blocks that may wait, 1 or more; beyond it the oldest expires.

    Attributes:
        expired: blocks that were given up: the oldest beyond ``limit``, and those whose sequence number was
            used again (it wraps) before their feedback came.

    Raises:
        ValueError: ``limit`` is below 1.
    """

    def __init__(self, limit: int) -> None:
        if not limit >= 1:
            raise ValueError(f"pending limit = {limit!r}: give 1 or more blocks that may wait for feedback")
        self.limit = limit
        self.expired = 0
        # Not a plain dict: that finds its oldest key by walking over the deleted ones.
        self._items: OrderedDict[int, Item] = OrderedDict()

    def __len__(self) -> int:
        return len(self._items)

    def add(self, seq: int, item: Item) -> None:
        """Remember ``item`` as the newest block."""
        if seq in self._items:
            del self._items[seq]
            self.expired += 1
        self._items[seq] = item
        if len(self._items) > self.limit:
            self._items.popitem(last=False)
            self.expired += 1

    def pop(self, seq: int) -> Item | None:
        """Take a block out, once; None if it does not wait (unknown, duplicate, expired)."""
        return self._items.pop(seq, None)
