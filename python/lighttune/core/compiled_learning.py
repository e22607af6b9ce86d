# SPDX-License-Identifier: GPL-3.0-or-later
"""How the tuner learns by `tuning_kernel`, where that can be."""

from __future__ import annotations

from dataclasses import fields
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from . import compiled
from .features import LENGTH
from .packed import pack
from .predictor import N_SHAPE, OFFSET, Reading
from .rules import ForwardForward, LocalHead

if TYPE_CHECKING:
    from .tuner import Tuner

_MANY = 8  # blocks from which numpy's encoder, with its calls, is faster than the compiled one


class CompiledLearning:
    """Learns as `Tuner.learn_rows` does, to within rounding, but by compiled functions without the GIL.

    Use `of`.
    """

    def __init__(self, tuner: Tuner, kernel: ModuleType) -> None:
        rule, policy, guards = tuner.rule, tuner.trigger.policy, tuner.guards
        rates = [getattr(rule, name, 0.0) for name in kernel.RULE]
        self.rule = rule
        self._kernel = kernel
        self._model = pack(tuner.predictor)
        self._rule = np.array([*rates, isinstance(rule, ForwardForward)], float)
        self._policy = np.array([getattr(policy, name) for name in kernel.TRIGGER], float)
        self._guards = np.array([getattr(guards, name) for name in kernel.GUARDS], float)
        self._offline = tuner.predictor.weights().flat
        shape = tuner.predictor.shape
        self._work = np.zeros((2 + 4 * shape.layers, max(N_SHAPE, shape.width)))
        self._reading = np.zeros_like(self._model.work)
        self._fresh = np.empty(shape.n_weights)

    @classmethod
    def of(cls, tuner: Tuner) -> CompiledLearning | None:
        """None where the tuner's rule, or what its predictor tunes, is not what was compiled, or nothing was.

        The first one may take seconds (see `compiled`).
        """
        if type(tuner.rule) not in (LocalHead, ForwardForward):
            return None
        kernel = compiled.load("tuning_kernel")
        return cls(tuner, kernel) if kernel is not None and _known(tuner, kernel) else None

    def learn(
        self, tuner: Tuner, rows: np.ndarray, features: np.ndarray, mcs: np.ndarray, nack: np.ndarray
    ) -> np.ndarray:
        """See `Tuner.learn_rows`."""
        kernel, model, trigger, guard = self._kernel, self._model, tuner.trigger, tuner.guard
        changed = np.empty(len(rows), bool)
        features = np.ascontiguousarray(features, float)
        reading = self._read(features) if len(rows) < _MANY else tuner.predictor.encoder(features)
        kernel.learn(
            model.table, model.sizes, self._offline, self._rule, self._policy, self._guards,
            tuner._flat, tuner._held, tuner._version, tuner._samples, tuner._updates,
            *(getattr(trigger, name) for name in kernel.TRIGGER_STATE),
            *(getattr(guard, name) for name in kernel.GUARD_STATE),
            np.ascontiguousarray(rows, np.int64), features[:, LENGTH].copy(),
            *(np.ascontiguousarray(part) for part in reading),
            np.ascontiguousarray(mcs, np.int64), np.ascontiguousarray(nack, float),
            self._work, self._fresh, changed,
        )  # fmt: skip
        return changed

    def _read(self, features: np.ndarray) -> Reading:
        n, orders = len(features), len(self._model.predictor.table.orders)
        reading = Reading(np.empty((n, N_SHAPE)), *(np.empty((n, orders)) for _ in range(3)))
        self._kernel.encode(self._model.encoder, self._model.sizes, features, *reading, self._reading)
        return reading


def _known(tuner: Tuner, kernel: ModuleType) -> bool:
    """What is tuned, and what the rule, the trigger and the guards can be told, is what was compiled."""
    shape = tuner.predictor.shape
    told: tuple[tuple[Any, tuple[str, ...]], ...] = (
        (tuner.rule, (*kernel.RULE, "name")),
        (tuner.guards, kernel.GUARDS),
        (tuner.trigger.policy, kernel.TRIGGER),
    )
    kept = ((tuner.trigger, kernel.TRIGGER_STATE), (tuner.guard, kernel.GUARD_STATE))
    return (
        shape.n_calibration == OFFSET + 1 + shape.orders
        and all({f.name for f in fields(of)} <= set(names) for of, names in told)
        and all({k for k, v in vars(of).items() if isinstance(v, np.ndarray)} == set(n) for of, n in kept)
    )
