# SPDX-License-Identifier: GPL-3.0-or-later
"""What `telemetry`, `recorder` and the panel do with messages, and what reads a log, as targets.

Those blocks' handlers only queue; here is what their threads do with what they took.
"""

from __future__ import annotations

import shutil
import struct
import zlib
from pathlib import Path
from tempfile import TemporaryDirectory

import msgpack
import numpy as np
import pmt
from gnuradio.lighttune.blocks import _messages as m
from gnuradio.lighttune.blocks._tap import fields_of
from gnuradio.lighttune.core.link_view import View
from gnuradio.lighttune.core.tuning import N_FEATURES
from gnuradio.lighttune.net.fields import KINDS, TelemetryError, check_fields
from gnuradio.lighttune.net.telemetry import Message, decode, encode
from gnuradio.lighttune.records.columns import NAMES, TABLES, columns_of, row_of
from gnuradio.lighttune.records.journal import MAGIC, read_rows
from gnuradio.lighttune.records.log import Session, blocks_of
from gnuradio.lighttune.records.parquet import convert

from . import Feed, Target
from .handlers import _CSI, _DECISION, _FEEDBACK, _MODEL
from .pmts import anything, message
from .reader import Choices

_WHOLE = {
    "csi": _CSI, "decision": _DECISION, "feedback": _FEEDBACK, "model": _MODEL,
    "status": {"block": "tuner", "links": 2, "tuner": "heard"},
}  # fmt: skip


def _tap(_: Path) -> Feed:
    view = View()

    def feed(data: bytes) -> bool:
        choices = Choices(data)
        kind = choices.pick(KINDS)
        posted = anything(choices) if choices.below(8) == 7 else message(choices, _WHOLE[kind])
        try:
            fields = fields_of(kind, posted)
            check_fields(kind, fields)
        except TelemetryError:
            return False
        row = row_of(kind, fields, weights=True)
        assert row is None or len(row) + 2 == len(TABLES[kind])
        try:
            frame = encode(Message(kind, "flowgraph", 0.0, 0, fields))
        except TelemetryError:  # too long
            return False
        assert decode(frame).kind == kind
        view.take(kind, fields, 0.0)
        return True

    return feed


def _constellation(_: Path) -> Feed:
    from gnuradio.lighttune.gui.panel import _constellation as read  # it needs Qt's libraries, but no screen

    def feed(data: bytes) -> bool:
        choices = Choices(data)
        n = choices.below(8)
        points = pmt.init_c32vector(n, [complex(choices.real() if choices.below(2) else 1, 0)] * n)
        posted = pmt.cons(message(choices, {"link": 0, "seq": 1, "mcs": 3}), points)
        try:
            found = read(anything(choices) if choices.below(8) == 7 else posted)
        except m.Refused:
            return False
        assert np.isfinite(found.points).all()
        return True

    return feed


def _rows(data: bytes) -> bytes:
    """A journal of rows of any values, with sound checksums."""
    choices, journal = Choices(data), bytearray(MAGIC)
    while choices:
        table = choices.below(len(NAMES) + 2)
        row = [0, 1.5, *_ROWS[NAMES[table % len(NAMES)]]]
        for _ in range(choices.below(3)):
            row[choices.below(len(row))] = _value(choices)
        body = msgpack.packb([table, *row[: len(row) - (choices.below(16) == 15)]])
        journal += struct.pack("<II", len(body), zlib.crc32(body)) + body
    return bytes(journal)


def _value(choices: Choices) -> object:
    return choices.pick(
        (
            choices.integer, choices.real, lambda: None, lambda: choices.take(choices.below(9)),
            lambda: "text", lambda: [1, [2]], lambda: {"a": 1}, lambda: True, lambda: "[1]",
            lambda: '{"mcs_table": 3}', lambda: '["mcs_table"]', lambda: "[" * 3000 + "mcs_table",
        )
    )()  # fmt: skip


_ROWS: dict[str, list] = {
    "csi": [0, 10.0, 3, None],
    "decision": [0, 3, 4, 0.1, 0, False, 1024, bytes(4 * N_FEATURES)],
    "feedback": [0, 3, True, 0],
    "model": [0, 1, True, b""],
    "status": ["tuner", '{"block": "tuner", "mcs_table": "amc"}'],
    "loss": ["queue: full", 3],
}


def _log(folder: Path) -> Feed:
    """A session as a journal, and as the Parquet that becomes of it."""

    def feed(data: bytes) -> bool:
        session = folder / "session"
        shutil.rmtree(session, ignore_errors=True)
        session.mkdir()
        sound = data[:1] != b"\xff"
        (session / "000001.journal").write_bytes(_rows(data[1:]) if sound else MAGIC + data[1:])
        if data[1:2] == b"\x7f":
            (session / "session.json").write_bytes(data[2:])
        try:
            _read(session)
        except ValueError:
            return False
        try:
            convert(session / "000001.journal")
        except (OSError, ValueError, TypeError, OverflowError):
            return False  # the journal stays
        try:
            _read(session)
        except ValueError:
            return False
        return True

    return feed


def _parquet(folder: Path) -> Feed:
    """A session of one Parquet file of any bytes."""

    def feed(data: bytes) -> bool:
        (folder / "000001.decision.parquet").write_bytes(data)
        return not any("parquet" in cause for cause in _read(folder).damage)

    return feed


def _parquet_seeds() -> list[bytes]:
    with TemporaryDirectory() as folder:
        journal = Path(folder) / "000001.journal"
        journal.write_bytes(_rows(bytes([NAMES.index("decision"), 0, 0])))
        convert(journal)
        return [file.read_bytes() for file in Path(folder).glob("*.decision.parquet")]


def _read(folder: Path) -> Session:
    session = Session(folder)
    for table in TABLES:
        session.table(table)
    blocks_of(session)
    assert session.mcs_table is None or len(session.mcs_table)
    return session


def _journal(folder: Path) -> Feed:
    path = folder / "1.journal"

    def feed(data: bytes) -> bool:
        path.write_bytes(data)
        rows: dict[str, list] = {name: [] for name in TABLES}
        for table, row in read_rows(path):
            rows[table].append(row)
        for table, found in rows.items():
            try:
                columns_of(table, found)
            except (ValueError, TypeError, OverflowError):
                return False
        return any(rows.values())

    return feed


def _journal_seeds() -> list[bytes]:
    return [_rows(bytes([table, 0, 0])) for table in range(len(NAMES))]


def _seeds() -> list[bytes]:
    rng = np.random.default_rng(8)
    return [bytes([kind]) + bytes(6) for kind in range(6)] + [
        rng.bytes(int(n)) for n in rng.integers(8, 99, 30)
    ]


TARGETS = [
    Target("block telemetry, recorder, panel", _tap, _seeds, 512),
    Target("block panel, constellation", _constellation, _seeds, 512),
    Target("journal", _journal, _journal_seeds, 4096),
    Target("recorded session", _log, _seeds, 512, 0.25),
    Target("Parquet", _parquet, _parquet_seeds, 16384, 0.5),
]
"""Messages on their way to listeners and logs, and logs."""
