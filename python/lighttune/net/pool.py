# SPDX-License-Identifier: GPL-3.0-or-later
"""The links of many hosts in one tuner: who has which row, and who must make room.

A link is known by its host's name and its number there: two hosts may use the same numbers. Links beyond what
the tuner keeps go into an archive, the least recently heard first, and come back as they were.
"""

from __future__ import annotations

from collections import OrderedDict

import numpy as np

from ..core.link_tuner import LinkTuner
from .wire import MAX_LINK

Key = tuple[str, int]
"""A host's name and the number of one of its links."""

_MAKE_ROOM = 64  # links that are archived at a time, at least: to find the oldest costs the same for one
_NEVER = np.iinfo(np.int64).max


class LinkPool:
    """Rows of one tuner for the links of many hosts.

    Args:
        tuner: that learns; nobody else may add links to it.
        archive_limit: links that are kept in the archive at most; the oldest is forgotten beyond it.

    Attributes:
        archived, restored, forgotten: how many links went into the archive, came back from it, and were given
            up by it; whoever counts them may set them back.
    """

    def __init__(self, tuner: LinkTuner, archive_limit: int) -> None:
        self.tuner = tuner
        self.archive_limit = archive_limit
        self.archived = self.restored = self.forgotten = 0
        self._archive: OrderedDict[Key, bytes] = OrderedDict()  # records, the least recently heard first
        self._row_of: dict[str, np.ndarray] = {}  # of each host: row of a link number, -1 for none
        self._numbers: dict[str, int] = {}  # of hosts, in order of their coming
        self._names: dict[int, str] = {}
        self._hosts = 0  # that came so far
        self._links = np.zeros(
            tuner.max_links, np.int64
        )  # of each row: the tuner's link, host << 16 | number
        self._heard = np.full(
            tuner.max_links, _NEVER
        )  # of each row: the last tick; a free row is never the oldest
        self._changed = np.zeros(
            tuner.max_links, np.int64
        )  # of each row: tick since when its host does not know
        self._tick = 1

    def __len__(self) -> int:
        return len(self.tuner.links)

    @property
    def in_archive(self) -> int:
        """Links in the archive."""
        return len(self._archive)

    def tick(self) -> None:
        """Begin a batch: links that `rows` names from here on stay until the next one begins."""
        self._tick += 1

    def rows(self, host: str, links: np.ndarray) -> np.ndarray:
        """The tuner's rows of a host's links (any number of each), ``(n,)``.

        Raises:
            TunerFull: since `tick`, more links were named than the tuner keeps.
        """
        lookup = self._row_of.get(host)
        if lookup is None:
            lookup = self._row_of[host] = np.full(MAX_LINK + 1, -1, np.int32)
        rows = lookup[links].astype(np.int64)
        known = rows >= 0
        self._heard[rows[known]] = self._tick
        if known.all():
            return rows
        new = np.unique(links[~known])
        self._admit(host, lookup, new)
        return lookup[links].astype(np.int64)

    def rows_of_host(self, host: str) -> np.ndarray:
        """All rows of a host's links."""
        lookup = self._row_of.get(host)
        return np.empty(0, np.int32) if lookup is None else lookup[lookup >= 0]

    def mark(self, rows: np.ndarray) -> None:
        """These rows' models changed: their hosts should be told."""
        self._changed[rows[self._changed[rows] == 0]] = self._tick

    def mark_all(self) -> None:
        """All rows' models changed."""
        self.mark(np.flatnonzero(self._heard < _NEVER))

    def any_marked(self) -> bool:
        """Some host should be told of a model."""
        return bool(self._changed.any())

    def marked(self, n: int) -> list[tuple[str, np.ndarray]]:
        """Rows whose hosts should be told, ``n`` at most, those that wait longest: hosts with their rows."""
        rows = np.flatnonzero(self._changed)
        if len(rows) > n:
            rows = rows[np.argpartition(self._changed[rows], n - 1)[:n]]
        hosts = self._links[rows] >> 16
        return [(self._names[host], rows[hosts == host]) for host in np.unique(hosts).tolist()]

    def put_off(self, rows: np.ndarray) -> None:
        """These rows' host cannot be told now: others go first."""
        self._changed[rows] = self._tick

    def told(self, rows: np.ndarray) -> None:
        """These rows' hosts were told, or need not be."""
        self._changed[rows] = 0

    def models(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Link numbers ``(n,)``, and versions and weights as `LinkTuner.models`."""
        links = self._links[rows]
        return links & MAX_LINK, *self.tuner.models(links)

    def drop_host(self, host: str) -> int:
        """Archive all links of a host; returns how many."""
        rows = self.rows_of_host(host)
        self._put_away(rows)
        self._row_of.pop(host, None)
        self._names.pop(self._numbers.pop(host, -1), None)
        return len(rows)

    def snapshot(self) -> tuple[list[Key], np.ndarray]:
        """The states of all links, archived ones too, the least recently heard first: keys and
        `LinkTuner.record`s."""
        rows = np.flatnonzero(self._heard < _NEVER)
        rows = rows[np.argsort(self._heard[rows], kind="stable")]
        records = self.tuner.snapshot(self._links[rows])
        if self._archive:
            old = np.frombuffer(b"".join(self._archive.values()), self.tuner.record)
            records = np.concatenate([old, records])
        return [*self._archive, *self._keys(rows)], records

    def fill(self, keys: list[Key], records: np.ndarray) -> None:
        """Put what `snapshot` gave into the archive: the links come back when they are heard."""
        for key, record in zip(keys, records, strict=True):
            self._archive[key] = record.tobytes()
        self._trim()

    def _keys(self, rows: np.ndarray) -> list[Key]:
        return [(self._names[link >> 16], link & MAX_LINK) for link in self._links[rows].tolist()]

    def _make_room(self, wanted: int) -> None:
        """Archive the least recently heard links until there is room for so many, if the present batch
        allows."""
        missing = wanted - (self.tuner.max_links - len(self))
        if missing > 0:
            n = min(max(missing, _MAKE_ROOM), self.tuner.max_links)
            oldest = np.argpartition(self._heard, n - 1)[:n]
            self._put_away(oldest[self._heard[oldest] < self._tick])

    def _admit(self, host: str, lookup: np.ndarray, numbers: np.ndarray) -> None:
        records = [self._archive.pop((host, number), b"") for number in numbers.tolist()]
        self._make_room(len(numbers))
        if host not in self._numbers:
            self._numbers[host], self._names[self._hosts] = self._hosts, host
            self._hosts += 1
        links = self._numbers[host] << 16 | numbers.astype(np.int64)
        rows = self.tuner.rows(links)
        lookup[numbers], self._links[rows], self._heard[rows] = rows, links, self._tick
        self._changed[rows] = self._tick
        back = [i for i, record in enumerate(records) if record]
        if back:
            self.tuner.restore(links[back], np.frombuffer(b"".join(records), self.tuner.record))
            self.restored += len(back)

    def _put_away(self, rows: np.ndarray) -> None:
        rows = rows[np.argsort(self._heard[rows], kind="stable")]
        links = self._links[rows]
        for key, record in zip(self._keys(rows), self.tuner.snapshot(links), strict=True):
            self._archive[key] = record.tobytes()
        self.tuner.forget(links)
        self._heard[rows], self._changed[rows] = _NEVER, 0
        for number in np.unique(links >> 16).tolist():
            self._row_of[self._names[number]][links[links >> 16 == number] & MAX_LINK] = -1
        self.archived += len(rows)
        self._trim()

    def _trim(self) -> None:
        while len(self._archive) > self.archive_limit:
            self._archive.popitem(last=False)
            self.forgotten += 1
