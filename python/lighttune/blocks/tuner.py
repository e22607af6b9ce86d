# SPDX-License-Identifier: GPL-3.0-or-later
"""The tuner block: joins outcomes with decisions and tunes every link's predictor in a thread of its own."""

from __future__ import annotations

import math
import os
import threading
import time
from collections import deque
from dataclasses import replace
from typing import Any

import pmt

from ..core import tuner as core
from ..core.checkpoint import load_model
from ..core.features import N_FEATURES
from ..core.guards import GuardPolicy
from ..core.predictor import Predictor
from ..core.rules import Rule
from ..core.trigger import TriggerPolicy
from . import _messages as m
from ._block import JOIN_S, MessageBlock, handles
from ._join import Join, Sample
from ._selector import check_max_links

HEARTBEAT_S = 0.5
"""A heart-beat goes out on ``model`` this often while the worker lives."""

_PUBLISH_S = 0.01  # a link's model is published 100 times a second at most
_BATCH = 32  # samples that are learnt in one call at most: what one numpy call amortises well
_BATCH_S = 0.01  # and no more than the pace allows in this time, so that pacing stays even
_GIVE_WAY_S = 0.002  # what woke the worker may also set off the next decision: that goes first
_LINKS_IN_STATUS = 16


class tuner(MessageBlock):
    """Tunes a BLER predictor for each link from decisions and their feedback, by forward passes only.

    The handlers check and queue; the worker joins feedback with its decision by ``(link, seq)``, learns at a
    bounded pace, and publishes a link's weights whenever they changed.

    Args:
        model: name of a shipped model (``"amc"``), path of a model file, or a `Predictor`: the selector's.
        rule: ``"local_head"``, ``"forward_forward"`` or ``"spsa"`` (see `core.rules`), or a `Rule`.
        always: tune on every first transmission, not only while the trigger asks for it.
        rate_hz: outcomes that are learnt per second at most, above 0.
        queue_limit: messages that may wait for the worker, 1 or more; the oldest is dropped beyond it.
        max_links: links that are kept at most, 1 to 65536.
        pending_limit: decisions that may wait for their feedback, 1 or more; the oldest expires beyond it.
        table: as of `mcs_selector`.
        trigger: thresholds; None for the defaults.
        guards: bounds; None for the defaults.

    Raises:
        FileNotFoundError: there is no such model file.
        ValueError: an argument is out of range, or the file is not a model that this version reads.
    """

    def __init__(
        self,
        model: str | os.PathLike | Predictor = "amc",
        rule: str | Rule = "local_head",
        always: bool = False,
        rate_hz: float = 2000.0,
        queue_limit: int = 4096,
        max_links: int = 1024,
        pending_limit: int = 16384,
        table: str = "",
        trigger: TriggerPolicy | None = None,
        guards: GuardPolicy | None = None,
    ) -> None:
        if not 0 < rate_hz < math.inf:
            raise ValueError(f"rate_hz = {rate_hz!r}: give a number of outcomes per second above 0")
        if queue_limit < 1 or pending_limit < 1:
            raise ValueError(
                f"queue_limit = {queue_limit!r}, pending_limit = {pending_limit!r}: give 1 or more of each"
            )
        check_max_links(max_links)
        predictor = model if isinstance(model, Predictor) else load_model(model, table)
        trigger = trigger or TriggerPolicy()
        trigger = replace(trigger, always=always or trigger.always)
        self._tuner = core.Tuner(predictor, rule, trigger, guards, max_links)
        self._rate_hz = rate_hz
        self._batch = max(1, min(_BATCH, int(rate_hz * _BATCH_S)))
        self._queue: deque[tuple] = deque(maxlen=queue_limit)
        self._join = Join(pending_limit)
        self._active: set[int] = set()  # links with samples since the last heart-beat
        self._dirty: set[int] = set()  # links whose model is to be published
        self._published: dict[int, tuple[float, int, bool]] = {}  # when, version, healthy
        self._wake = threading.Event()
        self._end = threading.Event()
        self._worker: threading.Thread | None = None
        super().__init__("tuner", ("model",))

    @handles("decision")
    def on_decision(self, message: pmt.pmt_base) -> None:
        """Queue what was decided."""
        m.need_dict(message)
        link, seq = m.read_link(message), m.read_seq(message)
        mcs = m.read_long(message, m.MCS)
        if mcs >= len(self._tuner.predictor.table):
            raise m.Refused("unknown mcs")
        m.read_long(message, m.VERSION, low=-1, default=-1)
        features = m.read_floats(message, m.FEATURES, N_FEATURES, or_empty=True)
        if not math.isfinite(features.sum()):
            raise m.Refused("features not finite")
        self._put(("decision", link, seq, features, mcs))

    @handles("feedback")
    def on_feedback(self, message: pmt.pmt_base) -> None:
        """Queue how a block ended, if it was its first transmission."""
        link, seq, ack, attempt = m.read_feedback(message)
        if attempt > 0:
            self.counters.add("retransmissions")
            return
        self._put(("feedback", link, seq, ack))

    def _put(self, event: tuple) -> None:
        if len(self._queue) == self._queue.maxlen:
            self.dropped.add("queue: overflow")
        self._queue.append(event)
        self._wake.set()

    def start(self) -> bool:
        self._end_worker()
        self._end = threading.Event()
        self._dirty.update(self._tuner.links)  # whoever started with us has not heard of them
        self._worker = threading.Thread(
            target=self._work, args=(self._end,), name="tuner worker", daemon=True
        )
        self._worker.start()
        return super().start()

    def stop(self) -> bool:
        self._end_worker()
        return super().stop()

    def _end_worker(self) -> None:
        self._end.set()
        self._wake.set()
        if self._worker is not None:
            self._worker.join(JOIN_S)
            self._worker = None

    def details(self) -> dict[str, Any]:
        links = self._tuner.links
        return {
            "worker": "stopped" if self._worker is None else "running" if self._worker.is_alive() else "dead",
            "links": len(links),
            "queued": len(self._queue),
            "pending": len(self._join),
            "state": {str(link): self._tuner.state(link) for link in links[:_LINKS_IN_STATUS]},
        }

    def _work(self, end: threading.Event) -> None:
        next_beat_s = next_learn_s = time.monotonic()
        while not end.is_set():
            now_s = time.monotonic()
            if now_s >= next_beat_s:
                next_beat_s = now_s + HEARTBEAT_S
                with self.guard("worker"):
                    self._beat(now_s)
            if now_s >= next_learn_s:
                samples = self._gather(now_s)
                with self.guard("worker"):
                    self._learn(samples)
                next_learn_s = max(next_learn_s, now_s - _BATCH_S) + len(samples) / self._rate_hz
            publish_s = math.inf
            with self.guard("worker"):
                publish_s = self._publish_due(time.monotonic())
            wait_s = min(next_beat_s, publish_s) - time.monotonic()
            if self._queue:
                wait_s = min(wait_s, next_learn_s - time.monotonic())
                if wait_s > 0:
                    end.wait(wait_s)  # at its pace: new messages change nothing
            elif wait_s > 0 and self._wake.wait(wait_s):
                end.wait(_GIVE_WAY_S)
            self._wake.clear()

    def _gather(self, now_s: float) -> list[Sample]:
        samples: list[Sample] = []
        while self._queue and len(samples) < self._batch:
            kind, link, seq, *rest = self._queue.popleft()
            if kind == "decision":
                sample = self._join.decided(link, seq, *rest, now_s)
            else:
                sample = self._join.ended(link, seq, *rest, now_s)
            if sample is None:
                continue
            if sample.features.size:
                samples.append(sample)
            else:
                self.counters.add("blind")  # sent before the first report: nothing to learn from
        return samples

    def _learn(self, samples: list[Sample]) -> None:
        if not samples:
            return
        try:
            self._learn_together(samples)
        except Exception:
            # One sample's fault must not cost the other links theirs.
            # (If the fault came half-way, a link may learn one sample twice: no harm to an online learner.)
            self.counters.add("batches_split")
            for sample in samples:
                with self.guard("learn"):
                    try:
                        self._learn_together([sample])
                    except core.TunerFull as error:
                        raise m.Refused("too many links") from error

    def _learn_together(self, samples: list[Sample]) -> None:
        links, features, mcs, acks = zip(*samples, strict=True)
        changed = self._tuner.learn(links, features, mcs, acks)
        self.counters.add("samples", len(samples))
        self.counters.add("updates", int(changed.sum()))
        self._active.update(links)
        self._dirty.update(link for link, new in zip(links, changed, strict=True) if new)

    def _beat(self, now_s: float) -> None:
        self.publish("model", m.heartbeat_message())
        for link in self._active:  # a link's health may come back without a change of weights
            _, *published = self._published.get(link, (-math.inf, 0, True))
            version, _, healthy = self._tuner.model(link)
            if [version, healthy] != published:
                self._dirty.add(link)
        self._active.clear()
        for cause, n in self._join.losses(now_s).items():
            self.dropped.add(cause, n)

    def _publish_due(self, now_s: float) -> float:
        """Publish what may be published; returns when the next model is due."""
        next_s = math.inf
        for link in list(self._dirty):
            due_s = self._published.get(link, (-math.inf,))[0] + _PUBLISH_S
            if due_s > now_s:
                next_s = min(next_s, due_s)
                continue
            version, weights, healthy = self._tuner.model(link)
            self.publish("model", m.model_message(link, version, weights, healthy))
            self._published[link] = now_s, version, healthy
            self._dirty.discard(link)
            self.counters.add("models")
        return next_s
