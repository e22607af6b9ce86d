# SPDX-License-Identifier: GPL-3.0-or-later
"""The decider of a single link, which a radio waits for: compiled where numba is there, else in numpy.

Both have the same verbs and, to within rounding, the same figures.
"""

from __future__ import annotations

from types import ModuleType
from typing import NamedTuple, Protocol

import numpy as np

from . import compiled
from .decider import Decider
from .features import LENGTH, N_FEATURES
from .mcs import McsTable
from .packed import pack
from .predictor import Predictor, Weights
from .selection import SelectionPolicy


class Choice(NamedTuple):
    """What goes out next: ``features (N_FEATURES,)`` that it was decided on, ``bler`` predicted for ``mcs``
    (NaN where some MCS's is not finite: then it is no choice), ``version`` of the weights that decided, and
    whether it is a ``probe``."""

    features: np.ndarray
    mcs: int
    bler: float
    version: int
    probe: bool


class LinkDecider(Protocol):
    """History, predictor, price and probing of one link."""

    @property
    def version(self) -> int:
        """Of the weights that decide."""

    def load(self, version: int, weights: np.ndarray) -> None:
        """Decide with these weights from now on: flat, float64, ``(n_weights,)``, not to be written to.

        Weights and version change hands in one assignment: any thread may call this.
        """

    def report(self, snr_db: float) -> None:
        """Take a report in dB."""

    def features(self, age_slots: float, bits: int | None) -> np.ndarray:
        """Features of the coming block: see `features.LinkHistory`."""

    def decide(self, age_slots: float, bits: int | None) -> Choice:
        """Choose the MCS of the coming block of ``bits``, ``age_slots`` after the report was measured."""

    def predict(self, features: np.ndarray) -> np.ndarray:
        """BLER of every MCS on these features, ``(n_mcs,)``; nothing is chosen."""

    def bler(self) -> np.ndarray:
        """BLER of every MCS as last predicted, ``(n_mcs,)``."""

    def outcome(self, features: np.ndarray, mcs: int, bler: float, nack: float) -> None:
        """Take the outcome (1.0 for NACK) of a first transmission."""


def link_decider(predictor: Predictor, policy: SelectionPolicy) -> LinkDecider:
    """The fastest that there is. The first one may take seconds: it compiles (see `compiled`)."""
    kernel = compiled.load("kernel")
    return PlainLink(predictor, policy) if kernel is None else CompiledLink(predictor, policy, kernel)


class PlainLink:
    """In numpy: `decider.Decider` for one link."""

    def __init__(self, predictor: Predictor, policy: SelectionPolicy) -> None:
        self._decider = Decider(predictor, policy)
        self._table = predictor.table
        self._bler = np.full(len(predictor.table), np.nan)
        self._loaded = 0, self._decider.weights

    @property
    def version(self) -> int:
        return self._loaded[0]

    def load(self, version: int, weights: np.ndarray) -> None:
        self._loaded = version, weights

    def report(self, snr_db: float) -> None:
        self._decider.history.report(snr_db)

    def features(self, age_slots: float, bits: int | None) -> np.ndarray:
        return self._decider.history.features(age_slots, self._table.length_logit(bits))

    def decide(self, age_slots: float, bits: int | None) -> Choice:
        version, self._decider.weights = self._loaded
        features = self.features(age_slots, bits)
        mcs, self._bler, probe = self._decider.decide(features, self._table.goodput_if_acked(bits))
        bler = float(self._bler[mcs]) if np.isfinite(self._bler).all() else np.nan
        return Choice(features, int(mcs), bler, version, bool(probe))

    def predict(self, features: np.ndarray) -> np.ndarray:
        predictor = self._decider.predictor
        self._bler = predictor.bler(Weights(predictor.shape, self._loaded[1]), features)
        return self._bler

    def bler(self) -> np.ndarray:
        return self._bler

    def outcome(self, features: np.ndarray, mcs: int, bler: float, nack: float) -> None:
        self._decider.outcome(features, mcs, bler, nack)


class CompiledLink:
    """By `kernel`: everything about the link in one vector, everything about its model in a few."""

    def __init__(self, predictor: Predictor, policy: SelectionPolicy, kernel: ModuleType) -> None:
        self._kernel = kernel
        self._model = pack(predictor)
        self._policy = _pack_policy(policy, predictor.table)
        self._link = np.zeros(kernel.N_STATE)
        self._link[kernel.SPREAD2 : kernel.FAST] = 1.0  # dB^2: as `LinkHistory` begins
        self._bler = np.full(len(predictor.table), np.nan)
        self._loaded = 0, self._model.offline

    @property
    def version(self) -> int:
        return self._loaded[0]

    def load(self, version: int, weights: np.ndarray) -> None:
        shape = self._model.predictor.shape
        self._loaded = version, self._model.weights(Weights(shape, weights))

    def report(self, snr_db: float) -> None:
        self._kernel.report(self._link, snr_db)

    def features(self, age_slots: float, bits: int | None) -> np.ndarray:
        out = np.empty(N_FEATURES, np.float32)
        self._kernel.features(self._link, age_slots, self._model.lengths.of(bits)[0], out)
        return out

    def decide(self, age_slots: float, bits: int | None) -> Choice:
        model, out = self._model, np.empty(N_FEATURES, np.float32)
        length_logit, gain = model.lengths.of(bits)
        version, weights = self._loaded
        mcs = self._kernel.decide(
            model.table, self._policy, model.encoder, model.sizes, weights, gain,
            self._link, age_slots, length_logit, out, model.work, self._bler,
        )  # fmt: skip
        probe = mcs < 0
        if probe:
            mcs = ~mcs
        bler = self._bler.item(mcs) if mcs < len(self._bler) else np.nan
        return Choice(out, mcs, bler, version, probe)

    def predict(self, features: np.ndarray) -> np.ndarray:
        model, weights = self._model, self._loaded[1]
        hidden, orders, layers, width = model.sizes.tolist()
        self._kernel.read(model.encoder, hidden, orders, features, model.work)
        self._kernel.predict(
            model.table, weights, layers, width, features.item(LENGTH), model.work, self._bler
        )
        return self._bler

    def bler(self) -> np.ndarray:
        return self._bler

    def outcome(self, features: np.ndarray, mcs: int, bler: float, nack: float) -> None:
        self._kernel.outcome(self._model.table, self._policy, self._link, features, mcs, bler, nack)


def _pack_policy(policy: SelectionPolicy, table: McsTable) -> np.ndarray:
    unit = float(table.goodput_if_acked().max()) if policy.objective == "target" else 0.0
    return np.array(
        [policy.bler_target, unit, policy.probe_budget, policy.probe_below, table.most_robust], float
    )
