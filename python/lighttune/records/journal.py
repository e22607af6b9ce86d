# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal: rows appended to a file so that whatever kills the writer costs the last ones at most.

    header  "LTunLog1"
    row     length u32, CRC-32 of the body u32 (little endian), body: MessagePack [table, number, time_s, ...]

``table`` is the place of the row's table in `columns.NAMES`; a vector is its float32 bytes. A reader stops at
the first row that is torn or damaged: behind it the places of rows are not known any more.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Generator
from pathlib import Path
from typing import Any

import msgpack

from .columns import NAMES, as_now

MAGIC = b"LTunLog1"
_HEAD = struct.Struct("<II")
_LARGEST_ROW = 2**20
_CHUNK = 2**18


class Journal:
    """An open journal. Rows are gathered by `append` and reach the file with `flush`.

    Args:
        path: a file that is not there yet.

    Attributes:
        size: bytes in the file.

    Raises:
        OSError: it cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        self._pending = bytearray(MAGIC)
        self._rows = 0
        self.size = 0

    @property
    def empty(self) -> bool:
        """Whether no row is in the file."""
        return self.size <= len(MAGIC)

    @property
    def waiting(self) -> int:
        """Bytes that wait for `flush`."""
        return len(self._pending)

    def append(self, table: str, row: list[Any]) -> None:
        """Gather a row: number, time and the rest of its columns."""
        body = msgpack.packb([NAMES.index(table), *row])
        self._pending += _HEAD.pack(len(body), zlib.crc32(body)) + body
        self._rows += 1

    def flush(self) -> int:
        """Write what was gathered, all or nothing; returns how many rows were lost because that failed."""
        if not self._pending:
            return 0
        view, done = memoryview(self._pending), 0
        try:
            while done < len(view):
                done += os.write(self._file, view[done:])
            self.size += done
            lost = 0
        except OSError:
            os.ftruncate(self._file, self.size)  # a torn row would hide all that follow
            lost = self._rows
        finally:
            view.release()
        self._pending = bytearray(MAGIC if self.size == 0 else b"")
        self._rows = 0
        return lost

    def sync(self) -> None:
        """Have the disk hold what was flushed.

        Raises:
            OSError: it does not.
        """
        os.fsync(self._file)

    def close(self) -> None:
        """Close the file; what was gathered and not flushed is gone."""
        os.close(self._file)


def read_rows(path: Path) -> Generator[tuple[str, list[Any]], None, int]:
    """Table and row of each sound row, in order.

    Returns (through ``StopIteration.value``, or ``yield from``) the bytes that could not be read.

    Raises:
        OSError: the file cannot be read.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        good = len(MAGIC)
        if file.read(good) != MAGIC:
            return size
        buffer = b""
        while True:
            chunk = file.read(_CHUNK)
            buffer += chunk
            start = 0
            while (row := _row_at(buffer, start)) is not None:
                table, values, start = row
                yield table, values
            good += start
            buffer = buffer[start:]
            if not chunk or len(buffer) > _HEAD.size + _LARGEST_ROW:
                return size - good


def _row_at(buffer: bytes, start: int) -> tuple[str, list[Any], int] | None:
    """The row that begins there and where it ends; None if it is not whole or not sound."""
    if len(buffer) - start < _HEAD.size:
        return None
    length, crc = _HEAD.unpack_from(buffer, start)
    begin, end = start + _HEAD.size, start + _HEAD.size + length
    if length > _LARGEST_ROW or end > len(buffer):
        return None
    body = buffer[begin:end]
    if zlib.crc32(body) != crc:
        return None
    try:
        table, *values = msgpack.unpackb(body)
        return NAMES[table], as_now(NAMES[table], values), end
    except (ValueError, TypeError, IndexError):
        return None
