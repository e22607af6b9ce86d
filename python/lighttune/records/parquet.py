# SPDX-License-Identifier: GPL-3.0-or-later
"""From a closed journal to Parquet, a file for each table, and back into arrays.

A journal is turned into files by a process of its own (``python -m ...records.parquet JOURNAL``), so that a
flowgraph which records never lends it Python's lock. Every file is written beside its place, synced and
renamed; the journal goes last: while it is there, it is what counts.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..core.files import sync_folder
from .columns import FORMAT, SCHEMA, TABLES, Column, columns_of
from .journal import read_rows

_ROWS_AT_ONCE = 16384
_ARROW: dict[str, Any] = {
    "int64": pa.int64(), "uint32": pa.uint32(), "uint16": pa.uint16(), "uint8": pa.uint8(),
    "double": pa.float64(), "bool": pa.bool_(), "string": pa.string(), "list<float>": pa.list_(pa.float32()),
}  # fmt: skip


def arrow_schema(table: str) -> pa.Schema:
    """The Parquet schema of a table."""
    fields = [pa.field(c.name, _ARROW[c.kind], c.optional) for c in TABLES[table]]
    return pa.schema(fields, {"format": FORMAT, "schema": str(SCHEMA)})


def convert(journal: Path) -> None:
    """Turn a closed journal into Parquet files beside it, and remove it.

    Raises:
        OSError: a file cannot be written; the journal stays.
    """
    writers: dict[str, pq.ParquetWriter] = {}
    rows: dict[str, list[list[Any]]] = {name: [] for name in TABLES}
    try:
        for table, row in read_rows(journal):
            rows[table].append(row)
            if len(rows[table]) >= _ROWS_AT_ONCE:
                _write(writers, journal, table, rows[table])
        for table, left in rows.items():
            if left:
                _write(writers, journal, table, left)
        for writer in writers.values():
            writer.close()
        for table in writers:
            temporary = _temporary(journal, table)
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.replace(journal.with_suffix(f".{table}.parquet"))
    except BaseException:
        for table in TABLES:
            _temporary(journal, table).unlink(missing_ok=True)
        raise
    sync_folder(journal.parent)
    journal.unlink()


def read_table(path: Path, table: str, names: Sequence[str]) -> dict[str, Any]:
    """Columns of a Parquet file, as `columns_of` gives them.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is damaged, or not such a table.
    """
    try:
        read = pq.ParquetFile(path).read(columns=list(names))
        missing = [name for name in names if name not in read.column_names]
        if missing:
            raise ValueError(f"it has no column {missing[0]}")
        kinds = {column.name: column for column in TABLES[table]}
        return {name: _numpy(kinds[name], read.column(name).combine_chunks()) for name in names}
    except pa.ArrowException as error:
        raise ValueError(str(error)) from error


def _write(writers: dict[str, pq.ParquetWriter], journal: Path, table: str, rows: list[list[Any]]) -> None:
    schema = arrow_schema(table)
    if table not in writers:
        writers[table] = pq.ParquetWriter(_temporary(journal, table), schema, compression="zstd")
    columns = columns_of(table, rows)
    arrays = [_arrow(column, columns[column.name]) for column in TABLES[table]]
    writers[table].write_table(pa.Table.from_arrays(arrays, schema=schema))
    rows.clear()


def _temporary(journal: Path, table: str) -> Path:
    return journal.with_name(f".{journal.stem}.{table}.tmp")


def _arrow(column: Column, values: Any) -> pa.Array:
    if column.kind == "list<float>":
        flat, lengths = values
        offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
        return pa.ListArray.from_arrays(offsets, pa.array(flat, pa.float32()))
    if not column.optional:
        return pa.array(values, _ARROW[column.kind])
    missing = np.isnan(values) if column.kind == "double" else values < 0
    return pa.array(values, _ARROW[column.kind], mask=missing)


def _numpy(column: Column, array: pa.Array) -> Any:
    if column.kind == "string":
        return array.to_pylist()
    if column.kind == "list<float>":
        flat = np.asarray(array.flatten(), np.float32)
        return flat, np.diff(np.asarray(array.offsets, np.int64))
    if column.kind == "double":
        return np.asarray(array.cast(pa.float64()).fill_null(np.nan), float)
    if column.kind == "bool":
        return np.asarray(array.cast(pa.bool_()).to_numpy(zero_copy_only=False), bool)
    return np.asarray(array.cast(pa.int64()).fill_null(-1), np.int64)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        convert(Path(name))
