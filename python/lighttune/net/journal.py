# SPDX-License-Identifier: GPL-3.0-or-later
"""The service's log: one JSON object a line, so that a person and a program can follow the same story."""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

_KINDS = (
    50  # of events between two flushes that are told apart: a cause may hold a name that somebody made up
)

log = logging.getLogger("gnuradio.lighttune.service")


class JsonLines(logging.Formatter):
    """``{"time": ..., "level": ..., "event": ..., ...}``; the time is UTC, ISO 8601."""

    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {
            "time": f"{stamp}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line)


@contextmanager
def written_to(stream: TextIO, level: int) -> Iterator[None]:
    """Write events of that level and above to a stream, and nowhere else."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    before = log.level, log.propagate
    log.addHandler(handler)
    log.setLevel(level)
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(before[0])
        log.propagate = before[1]


def say(level: int, event: str, error: BaseException | None = None, **fields: Any) -> None:
    """Log an event with its fields."""
    log.log(level, event, extra={"fields": fields}, exc_info=error)


class Seldom:
    """Counts events that may come in floods, and logs each kind once a second at most, with its count."""

    def __init__(self, period_s: float = 1.0) -> None:
        self._period_s = period_s
        self._counts: Counter[tuple[str, str]] = Counter()
        self._due_s = 0.0

    def add(self, event: str, cause: str, n: int = 1) -> None:
        """Count ``n`` more."""
        if len(self._counts) >= _KINDS:
            cause = "and others"
        self._counts[event, cause] += n

    def flush(self, now_s: float) -> None:
        """Log what was counted since the last time, if that is long enough ago."""
        if not self._counts or now_s < self._due_s:
            return
        for (event, cause), n in self._counts.items():
            say(logging.WARNING, event, cause=cause, count=n)
        self._counts.clear()
        self._due_s = now_s + self._period_s
