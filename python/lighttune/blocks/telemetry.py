# SPDX-License-Identifier: GPL-3.0-or-later
"""The telemetry block: what the blocks of a link say to each other, for listeners in other processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..net.fields import Fields, is_name
from ._tap import TapBlock


class telemetry(TapBlock):
    """Publishes a link's messages for `lighttune monitor`, `lighttune record` and programs of one's own.

    Connect to it whatever is to be seen: each input takes the messages of its name, of several blocks and
    links too. The handlers only queue; a thread encodes and sends (see `net.telemetry`). No listener, slow
    or frozen, holds up the flowgraph: what it does not take in time is lost for it, and it sees how much.

    Args:
        endpoint: ZeroMQ endpoint to bind, as ``"tcp://127.0.0.1:5558"``; port ``*`` for a free one. Whoever
            reaches it may listen.
        source: name that the messages carry, for listeners that hear several flowgraphs, 1 to 64 printable
            characters.
        queue_limit: messages that may wait for the thread, 1 or more; a further one is dropped and counted.

    Attributes:
        endpoint: that was bound, with its port number.

    Raises:
        OSError: the endpoint cannot be bound.
        ValueError: ``source`` is no name, or ``queue_limit`` is below 1.
    """

    def __init__(
        self,
        endpoint: str = "tcp://127.0.0.1:5558",
        source: str = "flowgraph",
        queue_limit: int = 4096,
    ) -> None:
        if not is_name(source):
            raise ValueError(f"source = {source!r}: give 1 to 64 printable characters")
        from ..net.telemetry import Publisher  # only who uses it needs ZeroMQ and msgpack

        self._publisher = Publisher(endpoint, queue_limit)
        self._source = source
        super().__init__("telemetry")
        self.endpoint = self._publisher.endpoint

    def take(self, kind: str, fields: Callable[[], Fields], time_s: float) -> None:
        self._publisher.send(kind, self._source, fields, time_s)

    def stop(self) -> bool:
        self._publisher.flush()
        return super().stop()

    def close(self) -> None:
        """Give the endpoint back; a block that is no longer used does so by itself."""
        self._publisher.close()

    def details(self) -> dict[str, Any]:
        return {
            "endpoint": self.endpoint,
            "sent": self._publisher.sent,
            "queued": self._publisher.queued,
        }

    def status(self) -> dict[str, Any]:
        status = super().status()
        status["dropped"] |= self._publisher.refused
        if self._publisher.dropped:
            status["dropped"]["queue: full"] = self._publisher.dropped
        return status
