# SPDX-License-Identifier: GPL-3.0-or-later
"""Link adapters that follow a log: they choose, but what was sent is what the log says.

An outcome is known only for the MCS that was sent. Where that is the adapter's own choice, it is its
feedback. Where it is not, the adapter learns from it what an outcome at somebody else's MCS teaches it, and
no more: LightTune is told which MCS goes out, and learns from its outcome as from any other; OLLA moves only
where the outcome tells how its own choice would have ended (`Olla.observe`); SALAD and Thompson sampling
learn nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np

from ..baselines import Olla
from ..baselines.salad import Salad
from ..baselines.thompson import ThompsonSampling
from ..baselines.trend_olla import TrendOlla
from ..core.link import Link
from ..core.link_model import LinkModel
from ..core.link_tuner import LinkTuner
from ..core.messages import Csi, age_blocks
from ..core.pending import PendingBlocks
from ..sim.adapters import KINDS, Settings, complete, tuning_policy, with_objective

FOLLOWERS = tuple(kind for kind in KINDS if kind != "genie")
"""Kinds of adapters that can follow a log: all but the genie, which would have to know the truth."""

WAIT = 4096
"""Blocks that may wait for their outcome, as everywhere."""


class Choice(NamedTuple):
    """What an adapter would send.

    Args:
        mcs, bler: and the BLER that it predicts for that.
        version: of the weights or curves that decide.
        all_bler: that it predicts for every MCS, ``(n_mcs,)``; None where it predicts nothing.
    """

    mcs: int
    bler: float
    version: int
    all_bler: np.ndarray | None


class Follower(Protocol):
    """One link's adapter."""

    def report(self, csi: Csi) -> None:
        """Take the receiver's report."""

    def select(self, bits: int | None, seq: int, mcs: int) -> Choice:
        """What it would send as block ``seq``, which goes out at ``mcs``."""

    def outcome(self, seq: int, mcs: int, ack: bool) -> None:
        """How block ``seq`` ended, which was sent at ``mcs``."""


def follower_maker(
    kind: str, given: Mapping[str, Any], model: LinkModel, rng: Callable[[int], np.random.Generator]
) -> Callable[[int], Follower]:
    """Makes a follower for each link of a log; where the settings pool them, they share a tuner.

    Args:
        kind: one of `FOLLOWERS`.
        given: settings, see `sim.adapters.complete`.
        model: to begin with; the peers take its MCS table.
        rng: of each link, for the kinds that draw.

    Raises:
        ValueError: there is no such kind or setting, or a value is out of range.
    """
    if kind not in FOLLOWERS:
        raise ValueError(f"adapter {kind!r}: give one of {', '.join(FOLLOWERS)}")
    settings = complete(kind, given, model.table)
    if kind in _PEERS:
        return lambda link: _PeerFollower(*_PEERS[kind](model, settings, rng(link)))
    model, policy = with_objective(model, settings), tuning_policy(settings)
    if policy is None:
        return lambda link: LinkFollower(Link(model, WAIT))
    if not settings["pool"]:
        return lambda link: LinkFollower(Link(model, WAIT, tuner=LinkTuner(model, policy, max_links=1)))
    tuner, pool = LinkTuner(model, policy, max_links=1), []

    def pooled(link: int) -> Follower:
        pool.append(Link(model, WAIT, tuner=tuner))
        return _PooledFollower(pool[-1], tuner, pool)

    return pooled


class LinkFollower:
    """LightTune, tuned or not."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def report(self, csi: Csi) -> None:
        self._link.report(csi)

    def select(self, bits: int | None, seq: int, mcs: int) -> Choice:
        version = self._link.select(bits, seq, mcs).version
        best, bler = self._link.best, self._link.bler()
        return Choice(best, float(bler[best]), version, bler)

    def outcome(self, seq: int, mcs: int, ack: bool) -> None:
        self._link.feedback(seq, ack)


class _PooledFollower(LinkFollower):
    """One of many links whose tuner is the same: they all take what it tunes."""

    def __init__(self, link: Link, tuner: LinkTuner, pool: list[Link]) -> None:
        super().__init__(link)
        self._tuner, self._pool = tuner, pool

    def outcome(self, seq: int, mcs: int, ack: bool) -> None:
        before, _ = self._tuner.model_of(0)
        super().outcome(seq, mcs, ack)
        version, curves = self._tuner.model_of(0)
        if version > before:
            for link in self._pool:
                link.load(version, curves)


class _Sent(NamedTuple):
    mcs: int
    snr_db: float | None
    bits: int | None


class _PeerFollower:
    """A baseline, and what it predicts for every MCS."""

    def __init__(self, adapter: Any, predict: Callable[[Any, int | None, int], np.ndarray | None]) -> None:
        self._adapter, self._predict = adapter, predict
        self._last_seq = self._measured_at = -1
        self._sent: PendingBlocks[_Sent] = PendingBlocks(WAIT)

    def report(self, csi: Csi) -> None:
        self._adapter.report(csi)
        self._measured_at = self._last_seq if csi.seq is None else csi.seq

    def select(self, bits: int | None, seq: int, mcs: int) -> Choice:
        decision = self._adapter.select(bits, seq)
        self._last_seq = seq
        snr_db = self._adapter.snr_db
        self._sent.add(seq, _Sent(decision.mcs, snr_db, bits))
        age = age_blocks(seq, self._measured_at)
        predicted = None if snr_db is None else self._predict(self._adapter, bits, age)
        return Choice(decision.mcs, decision.bler, decision.version, predicted)

    def outcome(self, seq: int, mcs: int, ack: bool) -> None:
        sent = self._sent.pop(seq)
        if sent is None:
            return
        if sent.mcs == mcs:
            self._adapter.feedback(seq, ack)
        elif sent.snr_db is not None and hasattr(self._adapter, "observe"):
            self._adapter.observe(sent.snr_db, mcs, ack, sent.bits)


def _at_offset(adapter: Olla, bits: int | None, age: int) -> np.ndarray | None:
    return None if adapter.snr_db is None else adapter.table.bler(adapter.snr_db + adapter.offset_db, bits)


def _at_trend(adapter: TrendOlla, bits: int | None, age: int) -> np.ndarray | None:
    predicted_db = adapter.predicted_db(age)
    return None if predicted_db is None else adapter.table.bler(predicted_db + adapter.offset_db, bits)


def _at_estimate(adapter: Salad, bits: int | None, age: int) -> np.ndarray | None:
    return None if adapter.estimate_db is None else adapter.table.bler(adapter.estimate_db, bits)


def _of_posterior(adapter: ThompsonSampling, bits: int | None, age: int) -> np.ndarray | None:
    return None if adapter.snr_db is None else adapter.bler(adapter.snr_db)


_PEERS: dict[str, Callable[[LinkModel, Settings, np.random.Generator], tuple[Any, Any]]] = {
    "olla": lambda model, s, rng: (Olla(model.table, **s), _at_offset),
    "trend_olla": lambda model, s, rng: (TrendOlla(model.table, **s), _at_trend),
    "salad": lambda model, s, rng: (Salad(model.table, rng, **s), _at_estimate),
    "thompson": lambda model, s, rng: (ThompsonSampling(model.table, rng, **s), _of_posterior),
}
