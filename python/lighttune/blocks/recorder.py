# SPDX-License-Identifier: GPL-3.0-or-later
"""The recorder block: what the blocks of a link say to each other, into a log on disk."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..core.link_files import load_model
from ..core.link_model import LinkModel
from ..net.fields import Fields, TelemetryError, check_fields
from ..net.handover import HandOver
from ._block import Counters
from ._tap import TapBlock

if TYPE_CHECKING:
    from ..records.writer import LogWriter

_LAST_WORD_S = 10.0  # that the thread may take for what waits when the flowgraph stops


class recorder(TapBlock):
    """Records a link's messages into a log, for `lighttune replay`, `report` and `train --from`.

    Connect to it whatever is to be kept: each input takes the messages of its name, of several links too,
    but of one MCS table. The handlers only queue; a thread writes. Nothing is lost while the disk keeps up
    with some 10,000 messages per second; beyond that, or while the disk is full, messages are dropped and
    counted, in the log too, and the link goes on. Every start of the flowgraph begins a new session.

    Args:
        directory: of the log; it is made if need be, and keeps what it has.
        model: that the selector decides with (name, path or `LinkModel`): its MCS table and fingerprint are
            noted. Empty where there is none: the table is then the one that the selector names on ``status``.
        rotate_mb, rotate_s: at this size in megabytes, or after so many seconds, a part of the log is closed
            and turned into Parquet; above 0.
        weights: record the tuner's weights too, not only that they were published.
        queue_limit: messages that may wait for the thread, 1 or more.

    Raises:
        FileNotFoundError: there is no such model file.
        OSError: the directory cannot be written.
        ValueError: an argument is out of range, or the model file is not one.
    """

    def __init__(
        self,
        directory: str | os.PathLike,
        model: str | os.PathLike | LinkModel = "",
        rotate_mb: float = 64.0,
        rotate_s: float = 300.0,
        weights: bool = False,
        queue_limit: int = 65536,
    ) -> None:
        from ..records.writer import Rotation  # only who uses it needs msgpack

        self._rotation = Rotation(rotate_mb, rotate_s)
        if queue_limit < 1:
            raise ValueError(f"queue_limit = {queue_limit!r}: give 1 or more messages that may wait")
        self._model: LinkModel | None = None
        if model:
            self._model = model if isinstance(model, LinkModel) else load_model(model)
        os.makedirs(directory, exist_ok=True)
        if not os.access(directory, os.W_OK | os.X_OK):
            raise PermissionError(f"directory = {os.fspath(directory)!r}: it cannot be written")
        self._directory, self._weights, self._queue_limit = directory, weights, queue_limit
        self._log: _Log | None = None
        super().__init__("recorder")

    @property
    def session(self) -> str | None:
        """Folder of the session that is being, or was last, recorded."""
        return None if self._log is None else str(self._log.writer.folder)

    def take(self, kind: str, fields: Callable[[], Fields], time_s: float) -> None:
        if self._log is not None:
            self._log.queue.put((kind, fields, time_s))

    def start(self) -> bool:
        from ..records.writer import LogWriter

        self._end_log()
        with self.guard("session"):
            writer = LogWriter(self._directory, self._model, rotation=self._rotation, weights=self._weights)
            self._log = _Log(writer, self._queue_limit)
        return super().start()

    def stop(self) -> bool:
        with self.guard("session"):
            self._end_log()
        return super().stop()

    def _end_log(self) -> None:
        if self._log is not None:
            self._log.close()

    def details(self) -> dict[str, Any]:
        log = self._log
        if log is None:
            return {"session": "", "rows": {}, "queued": 0}
        return {"session": log.writer.folder.name, "rows": dict(log.writer.rows), "queued": len(log.queue)}

    def status(self) -> dict[str, Any]:
        status = super().status()
        if self._log is not None:
            status["dropped"] |= self._log.dropped()
        return status


class _Log:
    """A session, its queue, and the thread between."""

    def __init__(self, writer: LogWriter, limit: int) -> None:
        self.writer = writer
        self._refused = Counters()
        self._told = 0
        self.queue = HandOver(self._take, limit, "recorder writer", self._idle)

    def dropped(self) -> dict[str, int]:
        """Messages that are not in the log, by cause."""
        counts = self._refused.as_dict() | {k: n for k, n in self.writer.lost.items() if k != "queue: full"}
        full = self.queue.dropped
        return (
            counts
            | ({"queue: full": full} if full else {})
            | ({"internal": self.queue.failed} if self.queue.failed else {})
        )

    def close(self) -> None:
        self.queue.close(_LAST_WORD_S)
        self._tell()
        self.writer.close()

    def _take(self, item: tuple) -> None:
        kind, fields, time_s = item
        try:
            values = fields()
            check_fields(kind, values)
        except TelemetryError as error:
            self._refused.add(str(error))
            return
        self._tell()
        self.writer.write(kind, values, time_s)

    def _idle(self) -> None:
        self.writer.flush()

    def _tell(self) -> None:
        """Have the log say how many messages found the queue full."""
        dropped = self.queue.dropped
        self.writer.lose("queue: full", dropped - self._told)
        self._told = dropped
