# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads logs: sessions, their tables as arrays, and every block with its end."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..core.mcs import TABLES as MCS_TABLES
from ..core.mcs import McsTable
from .columns import FORMAT, SCHEMA, TABLES, columns_of
from .journal import read_rows
from .parquet import read_table

_EARLY_S = 1.0  # feedback may be recorded so long before its decision: no order is kept between ports


def sessions(paths: Iterable[Path]) -> list[Session]:
    """The sessions in these folders, each a log or a session, by their names.

    Raises:
        FileNotFoundError: a path is no folder, or there is no session in it.
        ValueError: a session is of another format.
    """
    found: dict[Path, Session] = {}
    for path in map(Path, paths):
        if not path.is_dir():
            raise FileNotFoundError(f"no log at {path}: give the folder that was recorded into")
        folders = [path] if _is_session(path) else sorted(p for p in path.iterdir() if _is_session(p))
        if not folders:
            raise FileNotFoundError(f"no session in {path}: give the folder that was recorded into")
        for folder in folders:
            found.setdefault(folder.resolve(), Session(folder))
    return list(found.values())


def _is_session(folder: Path) -> bool:
    return folder.is_dir() and (
        (folder / "session.json").exists() or any(folder.glob("*.journal")) or any(folder.glob("*.parquet"))
    )


@dataclass
class Session:
    """A session in a folder. What cannot be read of it is counted, and the rest is read.

    Attributes:
        name: of its folder.
        about: what ``session.json`` says; empty where there is none.
        damage: what could not be read, by cause (a file and what is wrong with it).

    Raises:
        ValueError: it is of another format or schema.
    """

    folder: Path
    about: dict[str, Any] = field(init=False, repr=False)
    damage: Counter[str] = field(init=False, default_factory=Counter)

    def __post_init__(self) -> None:
        self.name = self.folder.name
        try:
            about = json.loads((self.folder / "session.json").read_text())
            if not isinstance(about, dict):
                raise ValueError("not an object")
        except (OSError, ValueError, RecursionError) as error:
            self.damage[f"session.json: {type(error).__name__}"] += 1
            about = {"format": FORMAT, "schema": SCHEMA}
        if about.get("format") != FORMAT or about.get("schema") != SCHEMA:
            raise ValueError(
                f"{self.folder} is of format {about.get('format')!r}, schema {about.get('schema')!r}: "
                f"this version reads {FORMAT!r}, schema {SCHEMA}"
            )
        self.about = about
        self._journals: dict[Path, dict[str, list[list[Any]]]] = {}

    def table(self, name: str, columns: Sequence[str] | None = None) -> dict[str, Any]:
        """A table's columns, in the order of the session; see `columns.columns_of`.

        Args:
            name: one of `columns.TABLES`.
            columns: names of those wanted; None for all.
        """
        names = list(columns or (c.name for c in TABLES[name]))
        parts = []
        for path in self._segments(name):
            try:
                if path.suffix == ".journal":
                    whole = columns_of(name, self._journal(path)[name])
                    parts.append({column: whole[column] for column in names})
                else:
                    parts.append(read_table(path, name, names))
            except (OSError, ValueError, TypeError, OverflowError) as error:
                self.damage[f"{path.name}: {type(error).__name__}"] = 1
        return _joined(name, parts, names)

    def _segments(self, name: str) -> list[Path]:
        """The files that hold a table, in order: of a segment the journal, while it is there."""
        files = [p for p in self.folder.glob(f"[0-9]*.{name}.parquet")]
        files += self.folder.glob("[0-9]*.journal")
        by_segment = {path.name.split(".")[0]: path for path in files}  # journals come last, and stay
        return [by_segment[segment] for segment in sorted(by_segment)]

    @property
    def mcs_table(self) -> McsTable | None:
        """The session's MCS table: as noted when it was recorded, or else the one that its selector named.

        Raises:
            ValueError: what was noted is no table, or its selector named another one.
        """
        noted = self.about.get("table")
        if noted is not None:
            try:
                columns: Any = {k: tuple(v) if isinstance(v, list) else v for k, v in noted.items()}
                table = McsTable(**columns)
            except (TypeError, AttributeError, ValueError) as error:
                raise ValueError(f"{self.folder}/session.json holds no MCS table: {error}") from error
        heard = self._heard_tables()
        if len(heard) > 1 or (noted is not None and heard - {table.name}):
            names = heard | ({table.name} if noted is not None else set())
            raise ValueError(
                f"{self.folder} has more than one MCS table ({', '.join(sorted(names))}): record links of "
                "different tables into different logs"
            )
        if noted is not None:
            return table
        name = next(iter(heard), "")
        return McsTable.named(name) if name in MCS_TABLES else None

    def _heard_tables(self) -> set[str]:
        names = set()
        for text in self.table("status", ["fields"])["fields"]:
            if "mcs_table" in text:
                try:
                    said = json.loads(text)
                except (ValueError, RecursionError) as error:
                    self.damage[f"status: {type(error).__name__}"] += 1
                    continue
                name = said.get("mcs_table") if isinstance(said, dict) else None
                names |= {name} if isinstance(name, str) else set()
        return names

    def _journal(self, path: Path) -> dict[str, list[list[Any]]]:
        if path not in self._journals:
            rows: dict[str, list[list[Any]]] = {name: [] for name in TABLES}
            left = 0
            reader = read_rows(path)
            while True:
                try:
                    table, row = next(reader)
                except StopIteration as end:
                    left = end.value
                    break
                if len(row) == len(TABLES[table]):
                    rows[table].append(row)
            if left:
                self.damage[f"{path.name}: bytes torn or damaged"] = left
            self._journals[path] = rows
        return self._journals[path]


def _joined(name: str, parts: list[dict[str, Any]], names: list[str]) -> dict[str, Any]:
    if not parts:
        empty = columns_of(name, [])
        return {column: empty[column] for column in names}
    whole: dict[str, Any] = {}
    for column in names:
        values = [part[column] for part in parts]
        if isinstance(values[0], tuple):
            whole[column] = tuple(np.concatenate(each) for each in zip(*values, strict=True))
        elif isinstance(values[0], list):
            whole[column] = [text for part in values for text in part]
        else:
            whole[column] = np.concatenate(values)
    return whole


@dataclass(frozen=True, eq=False)
class Blocks:
    """The blocks of a session, in the order of their decisions; arrays of shape ``(n,)``.

    Args:
        number, time_s, link, seq, mcs, bler, version, probe: of the decision.
        bits: of the payload; -1 where not known.
        ended: how the first transmission ended is known.
        ack: its outcome, where ``ended``.
        end_s, end_number: when and at which place it was recorded; NaN and -1 where not ``ended``.
        delivered: this or a later transmission was ACKed.
        attempts: transmissions of which the end is known.
    """

    number: np.ndarray
    time_s: np.ndarray
    link: np.ndarray
    seq: np.ndarray
    mcs: np.ndarray
    bler: np.ndarray
    version: np.ndarray
    probe: np.ndarray
    bits: np.ndarray
    ended: np.ndarray
    ack: np.ndarray
    end_s: np.ndarray
    end_number: np.ndarray
    delivered: np.ndarray
    attempts: np.ndarray

    def __len__(self) -> int:
        return len(self.number)


def blocks_of(session: Session) -> Blocks:
    """Every decision of a session with its feedback, joined by link and sequence number.

    A feedback belongs to the last decision of its number before it, or to one that came up to 1 s after it.
    A second feedback of the same attempt is left alone, and so is one that belongs to no decision.
    """
    names = ["number", "time_s", "link", "seq", "mcs", "bler", "version", "probe", "bits"]
    decisions = session.table("decision", names)
    feedback = session.table("feedback")
    n = len(decisions["number"])
    owner = _owners(decisions, feedback)
    known = owner >= 0
    first = known & (feedback["attempt"] == 0)
    ended, ack = np.zeros(n, bool), np.zeros(n, bool)
    end_s, delivered, attempts = np.full(n, np.nan), np.zeros(n, bool), np.zeros(n, np.int64)
    at, once = np.unique(owner[first], return_index=True)  # the first feedback counts
    rows = np.flatnonzero(first)[once]
    ended[at], ack[at], end_s[at] = True, feedback["ack"][rows], feedback["time_s"][rows]
    end_number = np.full(n, -1)
    end_number[at] = feedback["number"][rows]
    np.logical_or.at(delivered, owner[known], feedback["ack"][known])
    tries = np.unique(np.stack([owner[known], feedback["attempt"][known]]), axis=1)
    np.add.at(attempts, tries[0], 1)
    return Blocks(**decisions, ended=ended, ack=ack, end_s=end_s,
                  end_number=end_number, delivered=delivered, attempts=attempts)  # fmt: skip


def check_mcs(session: Session, blocks: Blocks, table: McsTable) -> None:
    """Refuse a session whose blocks have MCS that a table has not.

    Raises:
        ValueError: it has.
    """
    if len(blocks) and blocks.mcs.max() >= len(table):
        raise ValueError(
            f"{session.folder} has MCS {blocks.mcs.max()}, table {table.name!r} only 0 to {len(table) - 1}: "
            "it was recorded with another table"
        )


def sizes_of(table: McsTable, blocks: Blocks) -> np.ndarray:
    """Bits of each block's payload: the table's reference length where they are not known."""
    return np.where(blocks.bits < 0, table.reference_bits, blocks.bits)


def symbols_of(table: McsTable, mcs: np.ndarray, bits: np.ndarray) -> np.ndarray:
    """Symbols that a block of ``bits`` costs at ``mcs``, overhead counted."""
    return table.overhead_symbols + bits / table.spectral_efficiency[mcs]


def _owners(decisions: dict[str, Any], feedback: dict[str, Any]) -> np.ndarray:
    """Which decision each feedback belongs to; -1 for none."""
    n, k = len(decisions["number"]), len(feedback["number"])
    both = {c: np.concatenate([decisions[c], feedback[c]]) for c in ("link", "seq", "number", "time_s")}
    order = np.lexsort((both["number"], both["seq"], both["link"]))
    key = both["link"][order] << 32 | both["seq"][order]
    decided = order < n
    # The last decision at or before each event, if it is of the same key.
    last = np.maximum.accumulate(np.where(decided, np.arange(n + k), -1))
    last = np.where((last >= 0) & (key[last] == key), last, -1)
    # The next decision after it, for feedback that has none before.
    after = np.minimum.accumulate(np.where(decided, np.arange(n + k), n + k)[::-1])[::-1]
    later = np.minimum(after, n + k - 1)
    times = both["time_s"][order]
    soon = (after < n + k) & (key[later] == key) & (times[later] - times <= _EARLY_S)
    place = np.where(last >= 0, last, np.where(soon, later, -1))
    owner = np.full(n + k, -1)
    owner[order] = np.where(place >= 0, order[place], -1)
    return owner[n:]
