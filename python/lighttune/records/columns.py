# SPDX-License-Identifier: GPL-3.0-or-later
"""The format: which tables a log has, their columns, and how a message becomes a row.

Every row of every table begins with ``number``, its place in the session (the tables share one count, so that
they can be merged into the order of events), and ``time_s``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.tuning import N_FEATURES
from ..net.fields import Fields

FORMAT = "lighttune-log"
SCHEMA = 1


@dataclass(frozen=True)
class Column:
    """A column.

    Args:
        name: of it.
        kind: as Apache Arrow calls it: ``int64``, ``uint32``, ``uint16``, ``uint8``, ``double``, ``bool``,
            ``string`` or ``list<float>``.
        about: unit, range, meaning.
        optional: whether a value may be missing.
    """

    name: str
    kind: str
    about: str
    optional: bool = False


_FIRST = (
    Column("number", "int64", "place in the session, from 0, shared by all tables"),
    Column("time_s", "double", "s, Unix time at which the message came"),
)
_LINK = Column("link", "uint16", "number of the link")

TABLES: dict[str, tuple[Column, ...]] = {
    "csi": (
        *_FIRST,
        _LINK,
        Column("snr_db", "double", "dB, -60 to 100, reported SINR"),
        Column("seq", "uint32", "packet on which it was measured", optional=True),
        Column("measured_s", "double", "s, time of the measurement by the receiver's clock", optional=True),
    ),
    "decision": (
        *_FIRST,
        _LINK,
        Column("seq", "uint32", "sequence number of the block"),
        Column("mcs", "uint8", "index into the session's MCS table"),
        Column("bler", "double", "0 to 1, predicted probability of a NACK"),
        Column("version", "int64", "of the curves that decided, 0: the model's own; -1: no model did"),
        Column("probe", "bool", "sent above the best MCS in order to learn"),
        Column("bits", "int64", "bits of the block's payload", optional=True),
        Column("features", "list<float>", f"{N_FEATURES} that a tuner learns from (core/tuning.py), or none"),
    ),
    "feedback": (
        *_FIRST,
        _LINK,
        Column("seq", "uint32", "sequence number of the block"),
        Column("ack", "bool", "true for ACK, false for NACK"),
        Column("attempt", "uint8", "HARQ attempt, 0 for the first transmission"),
    ),
    "model": (
        *_FIRST,
        _LINK,
        Column("version", "int64", "of the curves that the tuner published, 0: the model's own"),
        Column("weights", "list<float>", "the curves (core/link_tuner.py); empty unless they were recorded"),
    ),
    "status": (
        *_FIRST,
        Column("block", "string", "who said it"),
        Column("fields", "string", "all that it said, JSON"),
    ),
    "loss": (
        *_FIRST,
        Column("cause", "string", "why messages are missing before this row"),
        Column("lost", "int64", "how many"),
    ),
}
"""Columns by table."""

NAMES = tuple(TABLES)
_VECTOR = "list<float>"


def row_of(kind: str, fields: Fields, weights: bool) -> list[Any] | None:
    """A message's row, but for ``number`` and ``time_s``; None for what is not recorded (heart-beats).

    Args:
        kind, fields: of a message; checked before.
        weights: whether a model's weights are kept.
    """
    return _ROWS[kind](fields, weights)


def _decision(f: Fields, weights: bool) -> list[Any]:
    names = ("link", "seq", "mcs", "bler", "version", "probe")
    return [*(f[name] for name in names), f.get("bits"), _raw(f["features"])]


def _model(f: Fields, weights: bool) -> list[Any] | None:
    if "heartbeat" in f:
        return None
    return [f["link"], f["version"], _raw(f["weights"]) if weights else b""]


def _raw(vector: np.ndarray) -> bytes:
    return vector.astype("<f4").tobytes()


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else str(value)


_ROWS: dict[str, Callable[[Fields, bool], list[Any] | None]] = {
    "csi": lambda f, w: [f["link"], f["snr_db"], f.get("seq"), f.get("time")],
    "decision": _decision,
    "feedback": lambda f, w: [f["link"], f["seq"], f["ack"], f["attempt"]],
    "model": _model,
    "status": lambda f, w: [f["block"], json.dumps(f, default=_plain)],
    "loss": lambda f, w: [f["cause"], f["lost"]],
}


def as_now(name: str, row: list[Any]) -> list[Any]:
    """A journal's row as today's columns have it: an older one of ``model`` also says, before the weights,
    whether the tuner called the link healthy."""
    return row[:-2] + row[-1:] if name == "model" and len(row) == len(TABLES[name]) + 1 else row


def columns_of(name: str, rows: list[list[Any]]) -> dict[str, Any]:
    """Rows of a table as columns: numpy arrays; lists of text; a vector column as ``(values, lengths)``.

    A missing whole number is -1, a missing real NaN: neither is a value that a column can have.

    Raises:
        ValueError, TypeError, OverflowError: a row is not one of this table.
    """
    columns = TABLES[name]
    if any(len(row) != len(columns) for row in rows):
        raise ValueError(f"a row of {name} has not {len(columns)} values")
    return {column.name: _array(column, [row[place] for row in rows]) for place, column in enumerate(columns)}


def _array(column: Column, values: list[Any]) -> Any:
    if column.kind == "string":
        return [str(value) for value in values]
    if column.kind == _VECTOR:
        lengths = np.array([len(value) // 4 for value in values], np.int64)
        return np.frombuffer(b"".join(values), "<f4").astype(np.float32), lengths
    if column.kind == "double":
        return np.array([np.nan if value is None else value for value in values], float)
    if column.kind == "bool":
        return np.array(values, bool)
    return np.array([-1 if value is None else value for value in values], np.int64)
