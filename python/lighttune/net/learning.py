# SPDX-License-Identifier: GPL-3.0-or-later
"""From the samples of many hosts to one batch: checks, bounded queues, and learning that no bad sample
spoils."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import numpy as np

from .hosts import Host, Hosts
from .journal import say
from .metrics import Metrics
from .pool import LinkPool

EVEN_S = 0.01
"""What the pace allows in this time is learnt at once."""

_BATCH = 1024  # samples that are learnt in one call at most: what fits the caches; more gains nothing
_LARGEST_FEATURE = 1000.0  # dB, logarithms and logits: none is ever near


class Learning:
    """Learns what the hosts have sent.

    Args:
        pool: the links.
        hosts: their queues.
        metrics: what is counted.
        rate_hz: samples per second at most.
        drop: called with an event, a cause and how many samples were dropped.

    Attributes:
        unsaved: something was learnt; whoever saves it sets this back.
    """

    def __init__(
        self,
        pool: LinkPool,
        hosts: Hosts,
        metrics: Metrics,
        rate_hz: float,
        drop: Callable[[str, str, int], None],
    ) -> None:
        self.unsaved = False
        self._pool = pool
        self._hosts = hosts
        self._metrics = metrics
        self._drop = drop
        self._n_mcs = len(pool.tuner.model.table)
        self._limit = max(1, int(min(_BATCH, pool.tuner.max_links, rate_hz * EVEN_S)))

    def queue(self, host: Host, records: np.ndarray, allowed: np.ndarray) -> None:
        """Take a host's samples; those that cannot be used, and its oldest beyond its window, are dropped.

        Args:
            host: whose they are.
            records: `wire.SAMPLE`, ``(n,)``.
            allowed: bool ``(n,)``, whether the host may speak for their links.
        """
        known = records["mcs"] < self._n_mcs
        sane = np.abs(records["features"]).max(axis=1, initial=0.0) <= _LARGEST_FEATURE  # False for NaN
        good = allowed & known & sane & (records["ack"] <= 1)
        if not good.all():
            for cause, bad in (
                ("link not allowed", ~allowed),
                ("unknown mcs", allowed & ~known),
                ("features out of range or not finite", allowed & known & ~sane),
                ("ack not 0 or 1", allowed & known & sane & ~good),
            ):
                self._drop("bad samples", f"samples: {cause}", int(bad.sum()))
            host.taken += int((~good).sum())
            records = records[good]
        excess = host.backlog.put(records)
        host.taken += excess
        self._drop("overload", "queue: overflow", excess)

    def learn(self) -> list[tuple[Host, int]]:
        """Learn one batch of what waits; returns whose it was, and how many samples of each."""
        self._pool.tick()
        parts = self._hosts.take(self._limit)
        if not parts:
            return []
        begin_s = time.perf_counter()
        records = np.concatenate([part for _, part in parts])
        rows = np.concatenate([self._pool.rows(host.name, part["link"]) for host, part in parts])
        changed = self._learn_together(rows, records)
        if self._pool.tuner.pool and changed.any():
            self._pool.mark_all()
        else:
            self._pool.mark(rows[changed])
        for host, part in parts:
            host.taken += len(part)
        self.unsaved = True
        self._metrics.updates.inc(int(changed.sum()))
        self._metrics.learn_s.observe(time.perf_counter() - begin_s)
        self._metrics.batch.observe(len(records))
        return [(host, len(part)) for host, part in parts]

    def _learn_together(self, rows: np.ndarray, records: np.ndarray) -> np.ndarray:
        """Learn samples, one or more; which changed their link's model, bool ``(n,)``."""
        try:
            features, mcs = records["features"].astype(float), records["mcs"].astype(np.int64)
            changed = self._pool.tuner.learn_rows(rows, features, mcs, 1.0 - records["ack"])
        except Exception as error:
            if len(rows) == 1:
                self._drop("internal error", "learn: internal", 1)
                say(logging.ERROR, "internal error", error)
                return np.zeros(1, bool)
            # One sample's fault must not cost the others theirs: halve until it is alone.
            # (If the fault came half-way, a link may learn a sample twice: no harm to an online learner.)
            half = len(rows) // 2
            parts = (slice(half), slice(half, None))
            return np.concatenate([self._learn_together(rows[part], records[part]) for part in parts])
        self._metrics.feedbacks.inc(len(rows))
        return changed
