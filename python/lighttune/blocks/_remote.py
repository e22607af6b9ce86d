# SPDX-License-Identifier: GPL-3.0-or-later
"""A tuner in another process: the block hands samples to a client of the tuner service, and models come
back."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..core.link_model import LinkModel
from ..net import wire
from ..net.child import TunerProcess
from ..net.client import TunerClient
from ..net.curve import ClientKeys
from . import _messages as m
from ._block import MessageBlock
from ._join import Sample

_LINKS_IN_STATUS = 16


class RemoteLearner:
    """Learns in a service, somebody's (`endpoint`) or one of its own (`process`); see `tuner.Learner`.

    Args:
        block: whose it is.
        model: the selector's.
        endpoint: of the service; empty for one in a child process.
        host: the name that the service knows this block by.
        queue_limit: samples that may wait for the service.
        arguments: of the child's `lighttune serve`.
        keys: for the service; None for plain text.
    """

    rate_hz = math.inf  # the service has a pace of its own

    def __init__(
        self,
        block: MessageBlock,
        model: LinkModel,
        endpoint: str,
        host: str,
        queue_limit: int,
        arguments: list[str],
        keys: ClientKeys | None = None,
    ) -> None:
        self._block = block
        self._process = None if endpoint else TunerProcess(model, arguments)
        endpoint = endpoint if self._process is None else self._process.endpoint
        self._client = TunerClient(model, endpoint, host, self._take, block.dropped.add, queue_limit, keys)
        self._known: dict[int, int] = {}  # version of the links' last models

    def start(self) -> None:
        if self._process is not None:
            self._process.start()
        self._client.start()

    def stop(self) -> None:
        self._client.stop()
        if self._process is not None:
            self._process.stop()

    def tick(self) -> None:
        if self._process is not None:
            self._process.watch(self._client.heard_s)

    def learn(self, samples: list[Sample]) -> None:
        records = np.empty(len(samples), wire.SAMPLE)
        for name, column in zip(Sample._fields, zip(*samples, strict=True), strict=True):
            records[name] = column
        self._client.submit(records)

    def beat(self) -> bool:
        return self._client.away is None

    def publish_due(self, now_s: float) -> float:
        return math.inf  # models are published when they come, by the client's thread

    def _take(self, models: wire.Models) -> None:
        for link, version, weights in zip(
            models.links.tolist(), models.versions.tolist(), models.weights, strict=True
        ):
            with self._block.guard("service"):
                self._block.publish("model", m.model_message(link, version, weights))
                self._known[link] = version
                self._block.counters.add("models")

    def details(self) -> dict[str, Any]:
        away, known = self._client.away, self._known.copy()
        process = (
            {}
            if self._process is None
            else {"pid": self._process.pid or 0, "restarts": self._process.restarts}
        )
        return {
            "service": "heard" if away is None else f"away: {away}",
            "links": len(known),
            "samples": self._client.taken,
            "waiting": self._client.waiting,
            "under_way": self._client.under_way,
            **process,
            "state": {
                str(link): {"version": version} for link, version in list(known.items())[:_LINKS_IN_STATUS]
            },
        }
