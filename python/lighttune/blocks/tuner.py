# SPDX-License-Identifier: GPL-3.0-or-later
"""The tuner block: joins outcomes with decisions and has every link's curves tuned, off the decision path."""

from __future__ import annotations

import math
import os
import re
import socket
import threading
import time
from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import pmt

from ..core.link_files import find_model
from ..core.link_model import LinkModel
from ..core.link_tuner import LinkTuner
from ..core.tuning import N_FEATURES, TuningPolicy
from . import _messages as m
from ._block import JOIN_S, MessageBlock, handles
from ._join import Join, Sample
from ._local import LocalLearner
from ._selector import check_max_links

HEARTBEAT_S = 0.5
"""A heart-beat goes out on ``model`` this often while the worker lives."""

_BATCH = 32  # samples that are learnt in one call at most: what one numpy call amortises well
_BATCH_S = 0.01  # and no more than the pace allows in this time, so that pacing stays even
_GIVE_WAY_S = 0.002  # what woke the worker may also set off the next decision: that goes first


class Learner(Protocol):
    """What learns from the samples: in this process (`_local`), or in another (`_remote`)."""

    rate_hz: float
    """Samples that it takes per second at most."""

    def start(self) -> None:
        """The flowgraph starts."""

    def stop(self) -> None:
        """The flowgraph stops."""

    def tick(self) -> None:
        """What is due from time to time, in the block's own thread."""

    def learn(self, samples: list[Sample]) -> None:
        """Take samples, one or more."""

    def beat(self) -> bool:
        """What is due with every heart-beat; whether whoever learns is heard."""

    def publish_due(self, now_s: float) -> float:
        """Publish the models that may be published; returns when the next one is due."""

    def details(self) -> dict[str, Any]:
        """Its part of the block's status."""


class tuner(MessageBlock):
    """Tunes what the curves have wrong, for each link or for all of a PHY, by forward passes only.

    The handlers check and queue; a worker thread joins feedback with its decision by ``(link, seq)``. Who
    learns from that is chosen by ``mode`` and ``endpoint``: the worker itself, a child process, or a service
    somewhere else that tunes for many hosts. Whoever it is, the selector gets a link's weights whenever they
    changed, and while a process or a service is away it goes on with the last ones.

    Args:
        model: name of a shipped model (``"amc"``), path of a model file, or a `LinkModel`: the selector's.
        pool: all links are of one PHY: what the outcomes of one teach holds for all.
        always: tune on every first transmission, not only while the trigger asks for it.
        rate_hz: outcomes that are learnt per second at most, above 0.
        queue_limit: messages that may wait for the worker, 1 or more, and samples that may wait for a process
            or service; the oldest is dropped beyond it.
        max_links: links that are kept at most, 1 to 65536.
        pending_limit: decisions that may wait for their feedback, 1 or more; the oldest expires beyond it.
        table: as of `mcs_selector`.
        policy: when and how fast to tune; None for the defaults.
        mode: ``"thread"`` learns in this process, ``"process"`` in a child that starts and ends with the
            flowgraph, and is started anew when it dies or freezes.
        endpoint: of a running `lighttune serve`, as ``"tcp://host:5555"``: it learns, by its own ``pool``,
            ``always``, ``rate_hz`` and ``max_links``; those given here are left alone. Empty for none.
        host: name under which that service knows this block and keeps its links' states: 1 to 64 of ``A-Z a-z
            0-9 . _ -``. Empty for the name of ``key``'s file, or else the machine's.
        key: file with this host's secret key (``lighttune keys`` makes it), for ``endpoint``; empty for plain
            text.
        server_key: file with the service's public key; with ``key`` only.
        insecure: without a key, ``endpoint`` may be on another host all the same, in plain text.

    Raises:
        FileNotFoundError: there is no such model file, or no such key file.
        ValueError: an argument is out of range, the file is not a model that this version reads, or not a
            key, or ``endpoint`` is on another host, in plain text.
    """

    def __init__(
        self,
        model: str | os.PathLike | LinkModel = "amc",
        pool: bool = False,
        always: bool = False,
        rate_hz: float = 2000.0,
        queue_limit: int = 4096,
        max_links: int = 1024,
        pending_limit: int = 16384,
        table: str = "",
        policy: TuningPolicy | None = None,
        mode: str = "thread",
        endpoint: str = "",
        host: str = "",
        key: str = "",
        server_key: str = "",
        insecure: bool = False,
    ) -> None:
        if not 0 < rate_hz < math.inf:
            raise ValueError(f"rate_hz = {rate_hz!r}: give a number of outcomes per second above 0")
        if queue_limit < 1 or pending_limit < 1:
            raise ValueError(
                f"queue_limit = {queue_limit!r}, pending_limit = {pending_limit!r}: give 1 or more of each"
            )
        check_max_links(max_links)
        if mode not in ("thread", "process"):
            raise ValueError(f'mode = {mode!r}: give "thread" or "process"')
        elsewhere = "process" if mode == "process" else "service" if endpoint else ""
        if mode == "process" and endpoint:
            raise ValueError(f'mode = "process" and endpoint = {endpoint!r}: give one of them')
        if (key or server_key) and not endpoint:
            raise ValueError(
                f"key = {key!r}, server_key = {server_key!r}: they are for an endpoint; give one"
            )
        if elsewhere and policy is not None:
            raise ValueError(f"a tuner {elsewhere} has a policy of its own: leave policy out")
        found = find_model(model, table)
        super().__init__("tuner", ("model",))
        self._n_mcs = len(found.table)
        self._learner: Learner
        if elsewhere:
            from ..net.curve import client_keys  # only who uses it needs ZeroMQ
            from ._remote import RemoteLearner

            arguments = ["--max-links", str(max_links), "--rate-hz", str(rate_hz)]
            arguments += ["--always"] * always + ["--pool"] * pool
            keys = client_keys(endpoint, key, server_key, insecure) if endpoint else None
            name = Path(key).stem if key else socket.gethostname()
            name = host or re.sub(r"[^A-Za-z0-9._-]", "-", name)[:64]
            self._learner = RemoteLearner(self, found, endpoint, name, queue_limit, arguments, keys)
        else:
            policy = policy or TuningPolicy()
            policy = replace(policy, always=always or policy.always)
            self._learner = LocalLearner(self, LinkTuner(found, policy, max_links, pool), rate_hz)
        self._batch = max(1, int(min(_BATCH, self._learner.rate_hz * _BATCH_S)))
        self._queue: deque[tuple] = deque(maxlen=queue_limit)
        self._join = Join(pending_limit)
        self._wake = threading.Event()
        self._end = threading.Event()
        self._worker: threading.Thread | None = None

    @handles("decision")
    def on_decision(self, message: pmt.pmt_base) -> None:
        """Queue what was decided."""
        m.need_dict(message)
        link, seq = m.read_link(message), m.read_seq(message)
        mcs = m.read_long(message, m.MCS)
        if mcs >= self._n_mcs:
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
        if self._worker is not None:
            self.give_way()

    def start(self) -> bool:
        self._end_worker()
        self._end = threading.Event()
        with self.guard("start"):
            self._learner.start()
        self._worker = threading.Thread(
            target=self._work, args=(self._end,), name="tuner worker", daemon=True
        )
        self._worker.start()
        return super().start()

    def stop(self) -> bool:
        self._end_worker()
        with self.guard("stop"):
            self._learner.stop()
        return super().stop()

    def tick(self) -> None:
        self._learner.tick()

    def _end_worker(self) -> None:
        self._end.set()
        self._wake.set()
        if self._worker is not None:
            self._worker.join(JOIN_S)
            self._worker = None

    def details(self) -> dict[str, Any]:
        return {
            "worker": "stopped" if self._worker is None else "running" if self._worker.is_alive() else "dead",
            "queued": len(self._queue),
            "pending": len(self._join),
            **self._learner.details(),
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
                if samples:
                    with self.guard("worker"):
                        self._learner.learn(samples)
                next_learn_s = max(next_learn_s, now_s - _BATCH_S) + len(samples) / self._learner.rate_hz
            publish_s = math.inf
            with self.guard("worker"):
                publish_s = self._learner.publish_due(time.monotonic())
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
                self.counters.add("blind")  # of a selector that knows no curves: nothing to learn from
        return samples

    def _beat(self, now_s: float) -> None:
        heard = self._learner.beat()
        self.publish("model", m.heartbeat_message(away=not heard))
        for cause, n in self._join.losses(now_s).items():
            self.dropped.add(cause, n)
