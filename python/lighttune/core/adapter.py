# SPDX-License-Identifier: GPL-3.0-or-later
"""The LightTune link adapter: the selector decides, the tuner learns, and either works without the other."""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

import numpy as np

from .doubt import Doubt
from .features import SNR
from .guards import GuardPolicy, project
from .link_decider import LinkDecider, link_decider
from .messages import MAX_SEQ, Csi, Decision, LinkAdapter, age_blocks, check_seq
from .pending import PendingBlocks
from .predictor import Predictor, Weights, check_weights
from .selection import SelectionPolicy
from .tuner import Tuner


class Fallback(LinkAdapter, Protocol):
    """The adapter that decides while the model is unhealthy: `baselines.Olla`."""

    def observe(self, snr_db: float, mcs: int, ack: bool, bits: int | None = None) -> None:
        """Learn from a block whose MCS someone else chose."""


class _Sent(NamedTuple):
    decision: Decision
    bits: int | None
    by_fallback: bool
    bler: float  # that the model predicts for what is sent; NaN where it was not asked


_BLIND = np.empty(0, np.float32)
_ROUNDING = 1e-3  # of weights that travelled as float32


class Selector:
    """Chooses the MCS of one link's blocks with a predictor whose weights may be replaced at any time.

    It never learns weights itself and never waits: `load` swaps one reference. Whenever the model cannot be
    trusted, the fallback decides, which has been learning in its shadow all along.

    Args:
        predictor: as trained offline.
        fallback: a fresh adapter of the same MCS table.
        policy: what to maximise, and how much to probe.
        pending_limit: blocks that may wait for feedback; the oldest expires beyond it.
        decider: fresh, of the same predictor and policy; None for the fastest that there is.
        bounds: the tuner's guards: weights that they would not let through are not believed. None for the
            defaults.
    """

    def __init__(
        self,
        predictor: Predictor,
        fallback: Fallback,
        policy: SelectionPolicy | None = None,
        pending_limit: int = 4096,
        decider: LinkDecider | None = None,
        bounds: GuardPolicy | None = None,
    ) -> None:
        self.predictor = predictor
        self.policy = policy or SelectionPolicy()
        self.pending: PendingBlocks[_Sent] = PendingBlocks(pending_limit)
        self._fallback = fallback
        self._decider = decider or link_decider(predictor, self.policy)
        self._next_seq = 0
        self._measured_at: int | None = None  # the slot (sequence number) of the last report
        self._unhealthy: str | None = None
        self._silent: str | None = None
        self.doubt = Doubt(predictor.table)
        self._bounds = bounds or GuardPolicy()
        self._offline = self._weights = predictor.offline.astype(float)

    @property
    def version(self) -> int:
        """Of the weights that decide."""
        return self._decider.version

    @property
    def mode(self) -> str:
        """``"model"``, or ``"olla: <reason>"`` while the fallback decides."""
        reason = self._silent or self._unhealthy or self.doubt.reason
        return "model" if reason is None else f"olla: {reason}"

    def load(self, version: int, weights: np.ndarray, healthy: bool = True) -> bool:
        """Take new weights from the tuner; weights that are not finite, not healthy, or beyond what the
        tuner's guards allow hand over to the fallback.

        Args:
            version: of these weights; decisions carry it.
            weights: flat, shape ``(n_weights,)``.
            healthy: False where the tuner's guards have given up on this link for now.

        Returns:
            Whether they are finite and within bounds.

        Raises:
            ValueError: wrong shape.
        """
        flat = np.asarray(weights, float)
        try:
            check_weights(flat, self.predictor.shape)
        except ValueError:
            if flat.shape != (self.predictor.shape.n_weights,):
                raise
            self._unhealthy = "weights are not finite"
            return False
        if not self._within_bounds(flat):
            self._unhealthy = "weights are out of bounds"
            return False
        self.doubt.loaded(self._weights, flat)
        self._weights = flat
        self._decider.load(version, flat)
        self._unhealthy = None if healthy else "the tuner's guards gave up"
        return True

    def _within_bounds(self, flat: np.ndarray) -> bool:
        allowed = Weights(self.predictor.shape, flat[None].copy())
        with np.errstate(over="ignore", invalid="ignore"):  # of what is out of bounds
            project(allowed, self._offline, self._bounds)
            return bool(np.abs(allowed.flat - flat).max() <= _ROUNDING)

    def silence(self, reason: str | None) -> None:
        """Hand over to the fallback for ``reason`` (the tuner is not heard any more), or take over again."""
        self._silent = reason

    def report(self, csi: Csi) -> None:
        """Take the receiver's latest report; one far from the last needs another to be believed."""
        if not self.doubt.believes(csi.snr_db):
            return
        self._decider.report(csi.snr_db)
        self._measured_at = self._next_seq - 1 if csi.seq is None else csi.seq
        self._fallback.report(csi)

    def select(self, bits: int | None = None, seq: int | None = None) -> Decision:
        """Choose the MCS of the next block.

        Args:
            bits: its information bits; None for the table's reference length.
            seq: its sequence number, 0 to `MAX_SEQ`; None counts on from the last one.

        Raises:
            ValueError: ``seq`` is out of range.
        """
        seq = self._next_seq if seq is None else seq
        check_seq(seq)
        self._next_seq = (seq + 1) & MAX_SEQ
        sent = self._decided(bits, seq)
        self.pending.add(seq, sent)
        return sent.decision

    def _decided(self, bits: int | None, seq: int) -> _Sent:
        features, bler = _BLIND, math.nan
        if self._measured_at is not None:
            age = age_blocks(seq, self._measured_at)
            if self._silent is None and self._unhealthy is None and self.doubt.reason is None:
                choice = self._decider.decide(age, bits)
                if math.isfinite(choice.bler):
                    decision = Decision(
                        seq, choice.mcs, choice.bler, choice.features, choice.version, choice.probe
                    )
                    return _Sent(decision, bits, False, choice.bler)
                self._unhealthy = "the model's BLER is not finite"
            features = self._decider.features(age, bits)
        chosen = self._fallback.select(bits, seq)
        if self.doubt.reason is not None and features is not _BLIND:
            bler = self._decider.predict(features).item(chosen.mcs)
        return _Sent(Decision(seq, chosen.mcs, chosen.bler, features), bits, True, bler)

    def feedback(self, seq: int, ack: bool, attempt: int = 0) -> bool:
        """Take the outcome of block ``seq``; False if it is not pending (unknown, duplicate, late).

        Only first transmissions (``attempt`` 0) teach anything; later ones are accepted and left alone.
        """
        return attempt > 0 or self.outcome(seq, ack) is not None

    def outcome(self, seq: int, ack: bool) -> Decision | None:
        """As `feedback` for a first transmission; returns the decision that it belongs to, or None."""
        sent = self.pending.pop(seq)
        if sent is None:
            return None
        decision, bits, by_fallback, bler = sent
        if by_fallback:
            self._fallback.feedback(seq, ack)
        if decision.features is not _BLIND:
            self._decider.outcome(decision.features, decision.mcs, decision.bler, float(not ack))
            snr_db, mcs = decision.features.item(SNR), decision.mcs
            if not by_fallback:
                self._fallback.observe(snr_db, mcs, ack, bits)
            self.doubt.outcome(snr_db, mcs, bler, not ack, not by_fallback)
        return decision


class LightTune:
    """Selector and tuner of one link in one object: the adapter that simulations and benchmarks drive.

    In a flowgraph the two run in two blocks; the objects are the same.

    Args:
        selector: decides.
        tuner: learns; may serve other links too. None leaves the predictor as trained offline.
        link: this link's number at the tuner.
    """

    def __init__(self, selector: Selector, tuner: Tuner | None, link: int = 0) -> None:
        self.selector = selector
        self.tuner = tuner
        self.link = link

    def report(self, csi: Csi) -> None:
        """Take the receiver's latest report."""
        self.selector.report(csi)

    def select(self, bits: int | None = None, seq: int | None = None) -> Decision:
        """Choose the MCS of the next block; see `Selector.select`."""
        return self.selector.select(bits, seq)

    def feedback(self, seq: int, ack: bool, attempt: int = 0) -> bool:
        """Take an outcome, tune on it if it is a first transmission and the trigger asks for it."""
        if attempt > 0:
            return True
        decision = self.selector.outcome(seq, ack)
        if decision is None:
            return False
        if self.tuner is None or not decision.features.size:
            return True
        if self.tuner.learn(self.link, decision.features, decision.mcs, ack)[0]:
            self.selector.load(*self.tuner.model(self.link))
        return True
