# SPDX-License-Identifier: GPL-3.0-or-later
"""Choices read out of a fuzzer's bytes: the same bytes make the same choices."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")
_EDGES = (0, 1, -1, 2, 4, 255, 256, 65535, 65536, 2**31, 2**32 - 1, 2**32, 2**53, 2**63 - 1, -(2**63))
_REALS = (
    0.0,
    10.0,
    -0.0,
    0.5,
    1.0,
    -60.0,
    100.0,
    1e-300,
    1e38,
    1e300,
    float("inf"),
    float("-inf"),
    float("nan"),
)


class Choices:
    """Reads a fuzzer's bytes from the front; behind their end all are 0."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        """Whether there are bytes left."""
        return self._at < len(self._data)

    def take(self, n: int) -> bytes:
        """``n`` bytes."""
        part = self._data[self._at : self._at + n]
        self._at += n
        return part.ljust(n, b"\0")

    def rest(self) -> bytes:
        """All bytes that are left."""
        part = self._data[self._at :]
        self._at = len(self._data)
        return part

    def below(self, n: int) -> int:
        """A number from 0 to ``n - 1``, 255 at most."""
        return self.take(1)[0] % n

    def pick(self, options: Sequence[T]) -> T:
        """One of them."""
        return options[self.below(len(options))]

    def integer(self) -> int:
        """A number of 64 bits with its sign; one of the edges in half of the cases."""
        how = self.below(4)
        if how < 2:
            return self.pick(_EDGES)
        return self.below(256) if how == 2 else struct.unpack("<q", self.take(8))[0]

    def real(self) -> float:
        """Any double."""
        return self.pick(_REALS) if self.below(2) == 0 else struct.unpack("<d", self.take(8))[0]
