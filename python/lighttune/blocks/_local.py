# SPDX-License-Identifier: GPL-3.0-or-later
"""A tuner in this process: the block's worker thread learns, and publishes what changed."""

from __future__ import annotations

import math
from typing import Any

from ..core.link_tuner import LinkTuner, TunerFull
from . import _messages as m
from ._block import MessageBlock
from ._join import Sample

_PUBLISH_S = 0.02  # a link's model is published 50 times a second at most: the selector takes the message
_LINKS_IN_STATUS = 16


class LocalLearner:
    """Learns in the thread that calls it; see `tuner.Learner`."""

    def __init__(self, block: MessageBlock, tuner: LinkTuner, rate_hz: float) -> None:
        self.rate_hz = rate_hz
        self._block = block
        self._tuner = tuner
        self._dirty: set[int] = set()  # links whose model is to be published
        self._published_s: dict[int, float] = {}

    def start(self) -> None:
        self._dirty.update(self._tuner.links)  # whoever started with us has not heard of them

    def stop(self) -> None:
        pass

    def tick(self) -> None:
        pass

    def learn(self, samples: list[Sample]) -> None:
        try:
            self._learn_together(samples)
        except Exception:
            # One sample's fault must not cost the other links theirs.
            # (If the fault came half-way, a link may learn one sample twice: no harm to an online learner.)
            self._block.counters.add("batches_split")
            for sample in samples:
                with self._block.guard("learn"):
                    try:
                        self._learn_together([sample])
                    except TunerFull as error:
                        raise m.Refused("too many links") from error

    def _learn_together(self, samples: list[Sample]) -> None:
        links, features, mcs, acks, _ = zip(*samples, strict=True)
        changed = self._tuner.learn(links, features, mcs, acks)
        self._block.counters.add("samples", len(samples))
        self._block.counters.add("updates", int(changed.sum()))
        if self._tuner.pool and changed.any():
            self._dirty.update(self._tuner.links)
        else:
            self._dirty.update(link for link, new in zip(links, changed, strict=True) if new)

    def beat(self) -> bool:
        return True

    def publish_due(self, now_s: float) -> float:
        next_s = math.inf
        for link in list(self._dirty):
            due_s = self._published_s.get(link, -math.inf) + _PUBLISH_S
            if due_s > now_s:
                next_s = min(next_s, due_s)
                continue
            self._block.publish("model", m.model_message(link, *self._tuner.model_of(link)))
            self._published_s[link] = now_s
            self._dirty.discard(link)
            self._block.counters.add("models")
        return next_s

    def details(self) -> dict[str, Any]:
        links = self._tuner.links
        return {
            "links": len(links),
            "state": {str(link): self._tuner.state(link) for link in links[:_LINKS_IN_STATUS]},
        }
