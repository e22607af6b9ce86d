# SPDX-License-Identifier: GPL-3.0-or-later
"""The selector block: a neural BLER predictor chooses the MCS of every PDU."""

from __future__ import annotations

import math
import os
import time
from typing import Any

import numpy as np
import pmt

from ..baselines import Olla
from ..core.adapter import Selector
from ..core.checkpoint import load_model
from ..core.guards import GuardPolicy
from ..core.predictor import Predictor
from ..core.selection import SelectionPolicy
from ..core.watch import Watch
from . import _messages as m
from ._selector import SelectorBlock


class mcs_selector(SelectorBlock):
    """Chooses the MCS of every PDU with LightTune's predictor, and with OLLA while that cannot be trusted.

    OLLA decides for a link while its weights are not finite, beyond the tuner's bounds or called unhealthy by
    it, and while its outcomes are not those that the model predicts, or none that the reports explain
    (`core.doubt`). It decides for all links while a tuner block that was heard before has been silent for
    ``tuner_timeout_s``. While the tuner's process or service is away (the block says so), every link goes on
    with its last weights as long as they fit what is observed (`core.watch`); where they do not, OLLA decides
    until the tuner is back. Without a tuner the predictor decides as it was trained offline.

    Args:
        model: name of a shipped model (``"amc"``), path of a model file, or a `Predictor`.
        objective: ``"goodput"`` maximises it; ``"target"`` does so while the share of first transmissions
            that fail stays at ``bler_target`` or below in the long run; see `SelectionPolicy`.
        bler_target: inside (0, 1): of the objective ``"target"``, and of the OLLA that stands by.
        probe_budget: share of the predicted goodput that probing may cost, 0 to 0.2.
        max_links: links that are kept at most, 1 to 65536.
        table: name of the MCS table that the PHY uses (``"amc"``, ``"nr-pdsch-1"``, ... or a curves file): a
            model of another table is refused. Empty: the model's own.
        tuner_timeout_s: silence of the tuner after which OLLA takes over, in seconds, above 0.
        guards: the tuner's, where it has others than the defaults: weights beyond them are not believed.

    Raises:
        FileNotFoundError: there is no such model file.
        ValueError: an argument is out of range, or the file is not a model that this version reads.
    """

    def __init__(
        self,
        model: str | os.PathLike | Predictor = "amc",
        objective: str = "goodput",
        bler_target: float = 0.1,
        probe_budget: float = 0.01,
        max_links: int = 1024,
        tuner_timeout_s: float = 2.0,
        table: str = "",
        guards: GuardPolicy | None = None,
    ) -> None:
        if not 0 < tuner_timeout_s < math.inf:
            raise ValueError(f"tuner_timeout_s = {tuner_timeout_s!r}: give a time in seconds above 0")
        predictor = model if isinstance(model, Predictor) else load_model(model, table)
        policy = SelectionPolicy(objective, bler_target, probe_budget)

        def make() -> Selector:
            return Selector(predictor, Olla(predictor.table, target=bler_target), policy, bounds=guards)

        make()  # a bad argument shows here, not at the first PDU
        self.predictor = predictor
        self._timeout_s = tuner_timeout_s
        self._silent = f"no word from the tuner for {tuner_timeout_s:g} s"
        self._heard_s: float | None = None
        self._away: dict[int, Watch] | None = None  # by link, while the tuner is away
        super().__init__("mcs_selector", predictor.table, make, max_links)

    @property
    def mode(self) -> str:
        """``"model"``, ``"model: last weights, the tuner is away"``, or ``"olla: <reason>"`` while OLLA
        decides for a link (the lowest one's reason)."""
        return self._mode(self._fallen())

    def start(self) -> bool:
        if self._heard_s is not None:
            self._heard_s = time.monotonic()  # the tuner starts again too: it has its time-out to be heard
        return super().start()

    def take_model(self, message: pmt.pmt_base) -> None:
        """Load a link's weights, or note a heart-beat. Any well-formed message shows that the tuner lives."""
        m.need_dict(message)
        if m.read_bool(message, m.HEARTBEAT, default=False):
            self._heard_s = time.monotonic()
            away = m.read_bool(message, m.AWAY, default=False)
            if away != (self._away is not None):
                self._away = {} if away else None
            return
        link, version = m.read_link(message), m.read_long(message, m.VERSION)
        healthy = m.read_bool(message, m.HEALTHY, default=True)
        weights = m.read_floats(message, m.WEIGHTS, self.predictor.shape.n_weights)
        self._heard_s = time.monotonic()
        taken = self.adapter(link).load(version, weights, healthy)
        if self._away is not None:
            self._away.pop(link, None)  # what is known is of the weights before
        self.counters.add("models")
        if not taken:
            raise m.Refused(
                "weights not finite" if not np.isfinite(weights).all() else "weights out of bounds"
            )

    def before_decision(self, link: int, adapter: Selector) -> None:
        adapter.silence(self._silence(link))

    def take_outcome(self, link: int, adapter: Selector, seq: int, ack: bool, attempt: int) -> bool:
        if self._away is None or attempt > 0:
            return adapter.feedback(seq, ack, attempt)
        decision = adapter.outcome(seq, ack)
        if decision is not None and decision.version == adapter.version:
            self._away.setdefault(link, Watch()).observe(decision.bler, not ack)
        return decision is not None

    def details(self) -> dict[str, Any]:
        fallen = self._fallen()
        if self._heard_s is None:
            tuner = "not heard yet"
        elif self._silent_now():
            tuner = "silent"
        else:
            tuner = "heard" if self._away is None else "away"
        return {
            **super().details(),
            "mode": self._mode(fallen),
            "fallback_links": len(fallen),
            "outliers": sum(adapter.doubt.outliers for adapter in self._adapters.copy().values()),
            "tuner": tuner,
        }

    def _fallen(self) -> dict[int, str]:
        """The links for which OLLA decides, with their modes."""
        fallen = {}
        for link, adapter in self._adapters.copy().items():
            adapter.silence(self._silence(link))  # an idle link would still say what it said last
            if adapter.mode != "model":
                fallen[link] = adapter.mode
        return fallen

    def _mode(self, fallen: dict[int, str]) -> str:
        if fallen:
            return fallen[min(fallen)]
        if self._silent_now():
            return f"olla: {self._silent}"
        return "model" if self._away is None else "model: last weights, the tuner is away"

    def _silence(self, link: int) -> str | None:
        """Why a link's weights must not decide: the tuner is not heard; None if they may."""
        if self._silent_now():
            return self._silent
        away = self._away
        watch = None if away is None else away.get(link)
        return None if watch is None or watch.fits else "the tuner is away and the last weights no longer fit"

    def _silent_now(self) -> bool:
        heard_s = self._heard_s
        return heard_s is not None and time.monotonic() - heard_s > self._timeout_s
