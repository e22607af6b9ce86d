# SPDX-License-Identifier: GPL-3.0-or-later
"""Link adapters that follow a log: they choose, but what was sent is what the log says.

An outcome is known only for the MCS that was sent. Where that is the adapter's own choice, it is its
feedback. Where it is not, the adapter learns from it what an outcome at somebody else's MCS teaches it, and
no more: LightTune tunes on ``(features, MCS that was sent, outcome)`` as always; OLLA moves only where the
outcome tells how its own choice would have ended (`Olla.observe`); SALAD and Thompson sampling learn nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

import numpy as np

from ..baselines import Olla
from ..baselines.salad import Salad
from ..baselines.thompson import ThompsonSampling
from ..baselines.trend_olla import TrendOlla
from ..core.adapter import LightTune, Selector
from ..core.guards import GuardPolicy
from ..core.link_decider import link_decider
from ..core.messages import Csi, Decision, age_blocks
from ..core.pending import PendingBlocks
from ..core.predictor import Predictor
from ..core.rules import RULES
from ..core.selection import SelectionPolicy
from ..core.trigger import TriggerPolicy
from ..core.tuner import Tuner
from ..sim.adapters import KINDS, Settings, complete

FOLLOWERS = tuple(kind for kind in KINDS if kind != "genie")
"""Kinds of adapters that can follow a log: all but the genie, which would have to know the truth."""

_WAIT = 4096  # blocks that may wait for their outcome, as everywhere


class Follower(Protocol):
    """One link's adapter."""

    def report(self, csi: Csi) -> None:
        """Take the receiver's report."""

    def select(self, bits: int | None, seq: int) -> tuple[Decision, np.ndarray | None]:
        """What it would send, and the BLER that it predicts for every MCS, ``(n_mcs,)``, if it does."""

    def outcome(self, seq: int, mcs: int, ack: bool) -> None:
        """How block ``seq`` ended, which was sent at ``mcs``."""


def make_follower(
    kind: str, given: Mapping[str, Any], predictor: Predictor, rng: np.random.Generator
) -> Follower:
    """A follower for one link.

    Args:
        kind: one of `FOLLOWERS`.
        given: settings, see `sim.adapters.complete`.
        predictor: as trained offline; the peers take its MCS table.
        rng: for the kinds that draw.

    Raises:
        ValueError: there is no such kind or setting, or a value is out of range.
    """
    if kind not in FOLLOWERS:
        raise ValueError(f"adapter {kind!r}: give one of {', '.join(FOLLOWERS)}")
    settings = complete(kind, given, predictor.table)
    if kind in _PEERS:
        return _PeerFollower(*_PEERS[kind](predictor, settings, rng))
    policy = SelectionPolicy(**_part(settings, "policy"))
    tuner = None
    if kind == "lighttune":
        rule = RULES[str(settings["rule"])](**_part(settings, "rule"))
        trigger = TriggerPolicy(**_part(settings, "trigger"))
        tuner = Tuner(predictor, rule, trigger, GuardPolicy(**_part(settings, "guards")), 1)
    return _TunedFollower(predictor, policy, tuner)


def _part(settings: Settings, part: str) -> dict[str, Any]:
    return {k.removeprefix(f"{part}."): v for k, v in settings.items() if k.startswith(f"{part}.")}


class _TunedFollower:
    """LightTune, tuned or not."""

    def __init__(self, predictor: Predictor, policy: SelectionPolicy, tuner: Tuner | None) -> None:
        self._decider = link_decider(predictor, policy)
        fallback = Olla(predictor.table, target=policy.bler_target)
        self._link = LightTune(Selector(predictor, fallback, policy, decider=self._decider), tuner)
        self._predicted: PendingBlocks[tuple[int, np.ndarray | None]] = PendingBlocks(_WAIT)

    def report(self, csi: Csi) -> None:
        self._link.report(csi)

    def select(self, bits: int | None, seq: int) -> tuple[Decision, np.ndarray | None]:
        decision = self._link.select(bits, seq)
        bler = self._decider.bler().copy() if decision.version >= 0 else None
        self._predicted.add(seq, (decision.mcs, bler))
        return decision, bler

    def outcome(self, seq: int, mcs: int, ack: bool) -> None:
        own = self._predicted.pop(seq)
        if own is not None and own[0] != mcs:
            pending = self._link.selector.pending
            sent = pending.pop(seq)
            if sent is not None:
                bler = sent.decision.bler if own[1] is None else float(own[1][mcs])
                decision = replace(sent.decision, mcs=mcs, bler=bler)
                pending.add(seq, sent._replace(decision=decision, by_fallback=False))
        self._link.feedback(seq, ack)


class _Sent(NamedTuple):
    mcs: int
    snr_db: float | None
    bits: int | None


class _PeerFollower:
    """A baseline, and what it predicts for every MCS."""

    def __init__(self, adapter: Any, predict: Callable[[Any, int | None, int], np.ndarray | None]) -> None:
        self._adapter, self._predict = adapter, predict
        self._last_seq = self._measured_at = -1
        self._sent: PendingBlocks[_Sent] = PendingBlocks(_WAIT)

    def report(self, csi: Csi) -> None:
        self._adapter.report(csi)
        self._measured_at = self._last_seq if csi.seq is None else csi.seq

    def select(self, bits: int | None, seq: int) -> tuple[Decision, np.ndarray | None]:
        decision = self._adapter.select(bits, seq)
        self._last_seq = seq
        snr_db = self._adapter.snr_db
        self._sent.add(seq, _Sent(decision.mcs, snr_db, bits))
        age = age_blocks(seq, self._measured_at)
        return decision, None if snr_db is None else self._predict(self._adapter, bits, age)

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


_PEERS: dict[str, Callable[[Predictor, Settings, np.random.Generator], tuple[Any, Any]]] = {
    "olla": lambda model, s, rng: (Olla(model.table, **s), _at_offset),
    "trend_olla": lambda model, s, rng: (TrendOlla(model.table, **s), _at_trend),
    "salad": lambda model, s, rng: (Salad(model.table, rng, **s), _at_estimate),
    "thompson": lambda model, s, rng: (ThompsonSampling(model.table, rng, **s), _of_posterior),
}
