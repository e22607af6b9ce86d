# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes a session: a journal that rotates, and a process that turns closed ones into Parquet."""

from __future__ import annotations

import json
import math
import os
import secrets
import subprocess
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..core.files import replace
from ..core.link_files import fingerprint
from ..core.link_model import LinkModel
from ..net.fields import Fields
from .aside import run_aside, wait_for
from .columns import FORMAT, SCHEMA, row_of
from .journal import Journal

SYNC_S = 1.0
"""A power cut costs what was recorded in so many seconds at most; a killed process, what its queue held."""

_CONVERT_S = 60.0  # that the last conversion may take before the journal is left as it is
_AT_MOST = 2**18  # bytes that may wait for `flush`


@dataclass(frozen=True)
class Rotation:
    """When a journal is closed and the next one begun.

    Args:
        megabytes: at this size, above 0.
        seconds: or this old, above 0.

    Raises:
        ValueError: a value is out of range.
    """

    megabytes: float = 64.0
    seconds: float = 300.0

    def __post_init__(self) -> None:
        if not (0 < self.megabytes < math.inf and 0 < self.seconds < math.inf):
            raise ValueError(
                f"rotation at {self.megabytes!r} MB or {self.seconds!r} s: give numbers above 0 for both"
            )


class LogWriter:
    """A new session in a log's folder. For one thread at a time.

    Args:
        folder: of the log, made if need be; the session gets a folder in it, named after the time.
        model: that the link decides with: its MCS table and fingerprint are noted. None if not known.
        notes: text by name, to be kept with the session.
        rotation: see `Rotation`.
        weights: keep the tuner's weights too: 5 kB for each model, up to 50 a second and link.
        source: of what is recorded.

    Attributes:
        folder: of the session.
        rows: that were written.
        lost: messages that were not, by cause.

    Raises:
        OSError: the folder cannot be written.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        model: LinkModel | None = None,
        notes: dict[str, str] | None = None,
        rotation: Rotation | None = None,
        weights: bool = False,
        source: str = "flowgraph",
    ) -> None:
        from .. import __version__

        now_s = time.time()
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(now_s))
        self.folder = Path(folder) / f"{stamp}.{int(1000 * (now_s % 1)):03d}Z-{secrets.token_hex(2)}"
        self.folder.mkdir(parents=True)
        self.rows: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()
        self._untold: Counter[str] = Counter()  # losses that no row tells of yet
        self._gathered: Counter[str] = Counter()  # rows that wait for `flush`
        self._telling: Counter[str] = Counter()  # losses that they tell of
        self._rotation, self._weights = rotation or Rotation(), weights
        self._number = self._segment = 0
        self._retry_s = self._sync_s = self._rotate_s = -math.inf
        self._converter: subprocess.Popen | None = None
        self._session: dict[str, Any] = {
            "format": FORMAT,
            "schema": SCHEMA,
            "session": self.folder.name,
            "started_s": now_s,
            "ended_s": None,
            "source": source,
            "lighttune": __version__,
            "table": None if model is None else asdict(model.table),
            "model": None if model is None else fingerprint(model).hex(),
            "notes": notes or {},
        }
        self._note()
        self._journal: Journal | None = self._begin()

    def write(self, kind: str, fields: Fields, time_s: float) -> None:
        """Record a message; `flush` brings it into the file.

        Args:
            kind, fields: as `net.fields.check_fields` lets them pass.
            time_s: when it came, Unix time in seconds.
        """
        row = row_of(kind, fields, self._weights)
        if row is None:
            return
        if self._journal is None:
            self.lose("disk", 1)
            return
        self._tell(time_s)
        self._append(kind, row, time_s)
        if self._journal.waiting > _AT_MOST:
            self.flush()

    def lose(self, cause: str, n: int) -> None:
        """Note that ``n`` messages were lost before they came here; a row of ``loss`` will say so."""
        if n:
            self.lost[cause] += n
            self._untold[cause] += n

    def flush(self, now_s: float | None = None) -> None:
        """Write what was recorded, and see to rotation; to be called every now and then.

        A disk that is full or broken costs messages, which are counted; it is tried again every second.
        """
        now_s = time.monotonic() if now_s is None else now_s
        if self._journal is None:
            if now_s >= self._retry_s:
                self._journal = self._try_begin(now_s)
            return
        self._flush(self._journal)
        if now_s >= self._sync_s:
            self._sync_s = now_s + SYNC_S
            if not self._synced(self._journal):
                return
        if self._journal.size >= 1e6 * self._rotation.megabytes or now_s >= self._rotate_s:
            self._rotate(now_s)

    def close(self) -> None:
        """Write all, turn the last journal into Parquet and note the end. Harmless when repeated."""
        if self._session["ended_s"] is not None:
            return
        self.flush()
        if self._journal is not None:
            self._tell(time.time())
            self._flush(self._journal)
            self._synced(self._journal)
            self._journal.close()
            self._wait()
            if self._journal.empty:
                self._journal.path.unlink()
            else:
                self._convert(self._journal)
            self._journal = None
        self._wait()
        self._session["ended_s"] = time.time()
        self._note()

    def _append(self, table: str, row: list[Any], time_s: float) -> None:
        if self._journal is not None:
            self._journal.append(table, [self._number, time_s, *row])
            self._number += 1
            self._gathered[table] += 1

    def _tell(self, time_s: float) -> None:
        for cause, n in self._untold.items():
            self._append("loss", [cause, n], time_s)
        self._telling.update(self._untold)
        self._untold.clear()

    def _flush(self, journal: Journal) -> None:
        lost = journal.flush()
        if lost:
            self._untold.update(self._telling)  # they are still to be told
            self.lose("disk", lost - self._gathered["loss"])
        else:
            self.rows.update(self._gathered)
        self._gathered.clear()
        self._telling.clear()

    def _begin(self, now_s: float | None = None) -> Journal:
        now_s = time.monotonic() if now_s is None else now_s
        self._sync_s, self._rotate_s = now_s + SYNC_S, now_s + self._rotation.seconds
        self._segment += 1
        return Journal(self.folder / f"{self._segment:06d}.journal")

    def _try_begin(self, now_s: float) -> Journal | None:
        try:
            return self._begin(now_s)
        except OSError:
            self._retry_s = now_s + SYNC_S
            return None

    def _synced(self, journal: Journal) -> bool:
        try:
            journal.sync()
        except OSError:
            self.lose("disk: not synced", 1)
            return False
        return True

    def _rotate(self, now_s: float) -> None:
        if self._converter is not None and self._converter.poll() is None:
            return  # one at a time: the journal grows meanwhile
        assert self._journal is not None
        if self._journal.empty:
            self._rotate_s = now_s + self._rotation.seconds
            return
        self._synced(self._journal)
        self._journal.close()
        self._convert(self._journal)
        self._note()
        self._journal = self._try_begin(now_s)

    def _convert(self, journal: Journal) -> None:
        self._converter = run_aside("parquet", journal.path)  # if it fails, readers take the journal

    def _wait(self) -> None:
        if self._converter is not None:
            wait_for(self._converter, _CONVERT_S)
            self._converter = None

    def _note(self) -> None:
        """Write session.json, whole or not at all."""
        self._session |= {"rows": dict(self.rows), "lost": dict(self.lost)}
        path = self.folder / "session.json"
        try:
            replace(path, lambda file: file.write(json.dumps(self._session, indent=1).encode()))
        except OSError:
            if self._segment == 0:
                raise
