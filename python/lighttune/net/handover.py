# SPDX-License-Identifier: GPL-3.0-or-later
"""A bounded queue and the thread that empties it: work is handed over without waiting for anybody."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

log = logging.getLogger("gnuradio.lighttune")

_POLL_S = 0.02  # the thread looks so often: nobody who puts an item pays for waking it
_AT_ONCE, _PAUSE_S = 4, 1e-4  # after so many items Python's lock is let go: a decision may be waiting for it


class HandOver:
    """Calls ``take`` with every item that was put, in order, in a thread of its own.

    Args:
        take: gets one item at a time. What it raises is counted as ``failed``, and logged the first time.
        limit: items that may wait, 1 or more; a further one is dropped and counted.
        name: of the thread.
        idle: called by the thread whenever it has nothing more to take, and every 20 ms while it waits.

    Attributes:
        dropped: items that found no room, or came after `close`.
        failed: items that ``take`` raised at.

    Raises:
        ValueError: ``limit`` is below 1.
    """

    def __init__(
        self, take: Callable[[Any], None], limit: int, name: str, idle: Callable[[], None] = lambda: None
    ) -> None:
        if limit < 1:
            raise ValueError(f"queue = {limit!r}: give 1 or more messages that may wait")
        self.limit = limit
        self.dropped = 0
        self.failed = 0
        self._take, self._idle = take, idle
        self._queue: deque[Any] = deque()
        self._busy = False
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        return len(self._queue)

    def put(self, item: Any) -> bool:
        """Hand an item over; False if it was dropped. Any thread may; it never waits for the worker."""
        with self._lock:
            if len(self._queue) >= self.limit or self._end.is_set():
                self.dropped += 1
                return False
            self._queue.append(item)
        return True

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything put so far was taken; False if that took longer than ``timeout_s``."""
        end_s = time.monotonic() + timeout_s
        while self._queue or self._busy:
            if time.monotonic() >= end_s or not self._thread.is_alive():
                return False
            time.sleep(_POLL_S / 4)
        return True

    def close(self, timeout_s: float = 2.0) -> None:
        """Take what waits, within ``timeout_s``, and end the thread. Harmless when repeated."""
        self.flush(timeout_s)
        self._end.set()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._end.wait(_POLL_S):
            taken = 0
            while self._queue and not self._end.is_set():
                self._busy = True
                item = self._queue.popleft()
                self._call(self._take, item)
                taken += 1
                if taken % _AT_ONCE == 0:
                    time.sleep(_PAUSE_S)
            self._call(self._idle)
            self._busy = False

    def _call(self, what: Callable[..., None], *args: Any) -> None:
        try:
            what(*args)
        except Exception:
            self.failed += 1
            if self.failed == 1:
                log.exception("%s: failed, this and further ones are counted", self._thread.name)
