# SPDX-License-Identifier: GPL-3.0-or-later
"""Listens to telemetry and keeps a view of every flowgraph that is heard."""

from __future__ import annotations

import threading
import time
from collections import Counter

from ..core.link_view import View
from .telemetry import Subscriber

_SOURCES = 64


class Listener:
    """A subscriber, and what its messages add up to.

    `lock` is held while the views change: whoever reads them in another thread holds it, too.

    Args:
        endpoint: of a telemetry block or another publisher.
        max_links: links of each source that are kept at most.

    Attributes:
        views: by source.
        heard_s: when the last message came, Unix time; None before the first.
        refused: messages that found no room in a view, by cause.

    Raises:
        ValueError: ZeroMQ does not take the endpoint.
    """

    def __init__(self, endpoint: str, max_links: int = 1024) -> None:
        self.subscriber = Subscriber(endpoint)
        self.views: dict[str, View] = {}
        self.heard_s: float | None = None
        self.refused: Counter[str] = Counter()
        self.lock = threading.Lock()
        self._max_links = max_links

    def listen(self, seconds: float) -> None:
        """Take what comes within that time."""
        end_s = time.monotonic() + seconds
        while (left_s := end_s - time.monotonic()) > 0:
            message = self.subscriber.receive(left_s)
            if message is None:
                continue
            with self.lock:
                self.heard_s = time.time()
                try:
                    self._view(message.source).take(message.kind, message.fields, self.heard_s)
                except ValueError as error:
                    self.refused[str(error)] += 1

    def sample(self) -> None:
        """Add a row to the history of every link."""
        now_s = time.time()
        with self.lock:
            for view in self.views.values():
                for link in view.links.values():
                    link.sample(now_s)

    def close(self) -> None:
        """Stop listening."""
        self.subscriber.close()

    def _view(self, source: str) -> View:
        view = self.views.get(source)
        if view is None:
            if len(self.views) >= _SOURCES:
                raise ValueError("too many sources")
            view = self.views[source] = View(self._max_links)
        return view

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
