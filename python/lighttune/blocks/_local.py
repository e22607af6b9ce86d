# SPDX-License-Identifier: GPL-3.0-or-later
"""A tuner in this process: the block's worker thread learns, and publishes what changed."""

from __future__ import annotations

import math
from typing import Any

from ..core import tuner as core
from . import _messages as m
from ._block import MessageBlock
from ._join import Sample

_PUBLISH_S = 0.02  # a link's model is published 50 times a second at most: the selector takes the message
_LINKS_IN_STATUS = 16


class LocalLearner:
    """Learns in the thread that calls it; see `tuner.Learner`."""

    def __init__(self, block: MessageBlock, tuner: core.Tuner, rate_hz: float) -> None:
        self.rate_hz = rate_hz
        self._block = block
        self._tuner = tuner
        self._active: set[int] = set()  # links with samples since the last heart-beat
        self._dirty: set[int] = set()  # links whose model is to be published
        self._published: dict[int, tuple[float, int, bool]] = {}  # when, version, healthy

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
                    except core.TunerFull as error:
                        raise m.Refused("too many links") from error

    def _learn_together(self, samples: list[Sample]) -> None:
        links, features, mcs, acks, _ = zip(*samples, strict=True)
        changed = self._tuner.learn(links, features, mcs, acks)
        self._block.counters.add("samples", len(samples))
        self._block.counters.add("updates", int(changed.sum()))
        self._active.update(links)
        self._dirty.update(link for link, new in zip(links, changed, strict=True) if new)

    def beat(self) -> bool:
        for link in self._active:  # a link's health may come back without a change of weights
            _, *published = self._published.get(link, (-math.inf, 0, True))
            version, _, healthy = self._tuner.model(link)
            if [version, healthy] != published:
                self._dirty.add(link)
        self._active.clear()
        return True

    def publish_due(self, now_s: float) -> float:
        next_s = math.inf
        for link in list(self._dirty):
            due_s = self._published.get(link, (-math.inf,))[0] + _PUBLISH_S
            if due_s > now_s:
                next_s = min(next_s, due_s)
                continue
            version, weights, healthy = self._tuner.model(link)
            self._block.publish("model", m.model_message(link, version, weights, healthy))
            self._published[link] = now_s, version, healthy
            self._dirty.discard(link)
            self._block.counters.add("models")
        return next_s

    def details(self) -> dict[str, Any]:
        links = self._tuner.links
        return {
            "links": len(links),
            "state": {str(link): self._tuner.state(link) for link in links[:_LINKS_IN_STATUS]},
        }
