# SPDX-License-Identifier: GPL-3.0-or-later
"""A campaign's folder: a small Parquet file for each cell that ended, and one table of them all.

A file is written beside its place, synced, and renamed into it: whenever the campaign is killed, a cell's
file is whole or is not there.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..core.files import replace

_FIGURES = (
    "goodput", "residual_bler", "error", "error_rms", "window_error", "log_loss", "near_error",
    "near_error_rms", "near_window_error", "tuned", "probed",
)  # fmt: skip
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("status", pa.string()),
        ("world", pa.string()),
        ("seed", pa.int64()),
        ("links", pa.int64()),
        ("slots", pa.int64()),
        ("feedback_delay_slots", pa.int64()),
        ("kind", pa.string()),
        ("settings", pa.string()),
        ("table", pa.string()),
        ("model", pa.string()),
        *((name, pa.float64()) for name in _FIGURES),
        ("traceback", pa.string()),
        ("version", pa.string()),
        ("python", pa.string()),
        ("numpy", pa.string()),
        ("host", pa.string()),
        ("process", pa.int64()),
        ("started", pa.timestamp("us", tz="UTC")),
        ("duration_s", pa.float64()),
    ]
)
"""Columns of a cell's file; those of the whole table begin with ``adapter``, its label in the spec."""


class Store:
    """The folder of one campaign at a time.

    Args:
        folder: is made where it is not there.

    Attributes:
        garbled: files of cells that could not be read; their cells count as not run.

    Raises:
        BlockingIOError: another campaign is writing there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.garbled: list[Path] = []
        self._cells = folder / "cells"
        self._cells.mkdir(parents=True, exist_ok=True)
        self._lock = (folder / ".lock").open("w")  # the system unlocks it, however we end
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._lock.close()
            raise BlockingIOError(f"--out {folder}: another campaign is running there") from error
        for left in self._cells.glob(".*.part"):
            left.unlink()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.close()

    def read(self, ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """The rows of those cells that have ended, by id."""
        rows = {}
        for cell in ids:
            path = self._path(cell)
            if not path.exists():
                continue
            try:
                (row,) = pq.ParquetFile(path).read().cast(SCHEMA).to_pylist()
                if row["id"] != cell:
                    raise ValueError(f"it is of cell {row['id']}")
                rows[cell] = row
            except (OSError, ValueError, pa.ArrowException):
                self.garbled.append(path)
        return rows

    def write(self, row: dict[str, Any]) -> None:
        """Keep the row of a cell that has ended."""
        table = pa.Table.from_pylist([{name: row.get(name) for name in SCHEMA.names}], schema=SCHEMA)
        replace(self._path(row["id"]), lambda file: pq.write_table(table, file))

    def merge(self, rows: Sequence[dict[str, Any]]) -> Path:
        """Write ``results.parquet``: rows with their labels, sorted as they are given."""
        path = self.folder / "results.parquet"
        schema = pa.schema([("adapter", pa.string()), *SCHEMA])
        table = pa.Table.from_pylist(list(rows), schema=schema)
        replace(path, lambda file: pq.write_table(table, file))
        return path

    def _path(self, cell: str) -> Path:
        return self._cells / f"{cell}.parquet"
