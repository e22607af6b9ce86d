# SPDX-License-Identifier: GPL-3.0-or-later
"""The tuner: many links' weights, moved by a forward-only rule while a link's trigger asks for it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .compiled_learning import CompiledLearning
from .guards import HELD, OFFLINE, STAY, GuardPolicy, LossGuard, bounded, log_loss, project
from .mcs import sigmoid
from .predictor import OFFSET, Activations, Predictor, Reading, Weights
from .rules import ForwardForward, LocalHead, Outcome, Rule, make_rule
from .trigger import Trigger, TriggerPolicy

_ROWWISE = (LocalHead, ForwardForward)
"""Rules whose step for a link depends on that link alone: the others' need not be computed."""

_AT_ONCE = 256  # links that are copied at a time: what fits the caches, ten times as fast as all together


class TunerFull(RuntimeError):
    """A sample of a new link was refused: the tuner already has ``max_links``."""


class Tuner:
    """Tunes a predictor for each of many links from the outcomes of their blocks.

    Links share the offline weights and nothing else. All arithmetic is batched over links: state is kept in
    arrays with one row per link, and `learn` takes any number of samples at once.

    Args:
        predictor: as trained offline.
        rule: name of a rule (`rules.RULES`) or a rule.
        trigger: when to tune.
        guards: bounds.
        max_links: links that are kept at most; a sample of a further one raises `TunerFull`.
        compiled_up_to: samples in one call up to which compiled functions learn, where there are any (see
            `compiled_learning`); more are left to numpy, by which the documented results were made.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        predictor: Predictor,
        rule: str | Rule = "local_head",
        trigger: TriggerPolicy | None = None,
        guards: GuardPolicy | None = None,
        max_links: int = 1024,
        compiled_up_to: int = 32,
    ) -> None:
        if max_links < 1:
            raise ValueError(f"max_links = {max_links!r}: give 1 or more")
        self.predictor = predictor
        self.rule = make_rule(rule) if isinstance(rule, str) else rule
        self.guards = guards or GuardPolicy()
        self.max_links = max_links
        self._rows: dict[int, int] = {}
        self._free: list[int] = []  # rows of links that were forgotten
        self._offline = predictor.weights()
        # Rows are filled when their link is first heard of: until then the system gives them no memory.
        self._flat = np.empty((max_links, predictor.shape.n_weights))
        self._held = np.empty_like(self._flat)
        self._version = np.zeros(max_links, np.int64)
        self._samples = np.zeros(max_links, np.int64)
        self._updates = np.zeros(max_links, np.int64)
        self.trigger = Trigger(trigger or TriggerPolicy(), max_links)
        self.guard = LossGuard(self.guards, max_links)
        self.compiled_up_to = compiled_up_to
        self._compiled = CompiledLearning.of(self)
        self._blank = {name: array[0].copy() for name, array in self._arrays().items()}

    def _row(self, link: int) -> int:
        row = self._rows.get(link)
        if row is None:
            if len(self._rows) >= self.max_links:
                raise TunerFull(f"link {link} is one too many: this tuner keeps {self.max_links} links")
            row = self._free.pop() if self._free else len(self._rows)
            self._rows[link] = row
            self._flat[row] = self._held[row] = self._offline.flat
        return row

    def rows(self, links: Sequence[int] | np.ndarray) -> np.ndarray:
        """Where the links' states are kept, until `forget`; new links get a place.

        Raises:
            TunerFull: a new link is one too many.
        """
        return np.array([self._row(int(link)) for link in links], np.int64)

    def learn(
        self,
        links: int | Sequence[int] | np.ndarray,
        features: np.ndarray,
        mcs: int | np.ndarray,
        ack: bool | np.ndarray,
    ) -> np.ndarray:
        """Take outcomes of first transmissions.

        Args:
            links: one link, or one for each sample; a link may occur several times, in order of time.
            features: as decided on, shape ``(N_FEATURES,)`` or ``(n, N_FEATURES)``.
            mcs: that was sent, scalar or ``(n,)``.
            ack: outcome, scalar or ``(n,)``.

        Returns:
            bool ``(n,)``: the sample changed its link's model, the weights or their health.

        Raises:
            ValueError: shapes differ, a feature is not finite, or an MCS is not in the table.
            TunerFull: a new link is one too many.
        """
        features = np.atleast_2d(np.asarray(features, float))
        mcs_array, nack = (
            np.atleast_1d(np.asarray(mcs, np.int64)),
            1.0 - np.atleast_1d(np.asarray(ack, float)),
        )
        names = [links] if isinstance(links, int) else links
        if not len(names) == len(features) == len(mcs_array) == len(nack):
            raise ValueError(
                f"{len(names)} links, {len(features)} features, {len(mcs_array)} mcs, {len(nack)} acks"
            )
        if not np.isfinite(features).all():
            raise ValueError("features are not finite")
        if mcs_array.min() < 0 or mcs_array.max() >= len(self.predictor.table):
            raise ValueError(
                f"mcs = {mcs_array.min()}..{mcs_array.max()}: give 0 to {len(self.predictor.table) - 1}"
            )
        return self.learn_rows(self.rows(names), features, mcs_array, nack)

    def learn_rows(
        self, rows: np.ndarray, features: np.ndarray, mcs: np.ndarray, nack: np.ndarray
    ) -> np.ndarray:
        """As `learn`, unchecked, for who looked the links' `rows` up already: ``(n,)``, ``(n, N_FEATURES)``,
        ``(n,)``, and 1.0 for NACK, 0.0 for ACK, ``(n,)``."""
        compiled = self._compiled if len(rows) <= self.compiled_up_to else None
        if compiled is not None and compiled.rule is self.rule:
            return compiled.learn(self, rows, features, mcs, nack)
        if (rows[1:] > rows[:-1]).all():
            return self._learn_once(rows, features, mcs, nack)
        changed = np.zeros(len(rows), bool)
        left: np.ndarray = np.arange(len(rows))
        while left.size:  # a link's samples one after the other, different links side by side
            now = left[np.unique(rows[left], return_index=True)[1]] if left.size > 1 else left
            changed[now] = self._learn_once(rows[now], features[now], mcs[now], nack[now])
            left = np.setdiff1d(left, now, assume_unique=True) if left.size > 1 else left[:0]
        return changed

    def _learn_once(
        self, rows: np.ndarray, features: np.ndarray, mcs: np.ndarray, nack: np.ndarray
    ) -> np.ndarray:
        """Take one outcome for each row, each row once; True where the weights or their health changed."""
        weights = Weights(self.predictor.shape, self._flat[rows])
        sent, encoded = mcs[:, None], self.predictor.encoder(features)
        act = self.predictor.forward(weights, features, sent, encoded)
        held = Weights(self.predictor.shape, self._held[rows])
        earlier = (self.predictor.forward(w, features, sent, encoded) for w in (self._offline, held))
        losses = (log_loss(sigmoid(by.logit[:, 0]), nack) for by in (act, *earlier))
        self._samples[rows] += 1
        was_resting = self.guard.resting[rows] > 0
        tune = self.trigger.update(rows, act.logit[:, 0], act.scale[:, 0], nack)
        where = self.guard.update(rows, *losses)
        worse = where != STAY
        tune &= ~worse & (self.guard.resting[rows] == 0)
        if tune.any():
            self._step(rows, tune, weights, act, Outcome(features, sent, encoded, nack))
        if worse.any():
            self._roll_back(rows[worse], where[worse])
        return tune | worse | (was_resting != (self.guard.resting[rows] > 0))

    def _step(
        self,
        rows: np.ndarray,
        tune: np.ndarray,
        weights: Weights,
        act: Activations,
        outcome: Outcome,
    ) -> None:
        """Move the weights of the rows that should tune."""
        if not tune.all() and isinstance(self.rule, _ROWWISE):
            rows, weights, act, outcome = _some(np.flatnonzero(tune), rows, weights, act, outcome)
            tune = np.ones(len(rows), bool)
        with np.errstate(all="ignore"):  # an insane step is caught by the finite check below
            step = self.rule.direction(self.predictor, weights, act, outcome)
            weights.flat[...] += bounded(step, self.predictor.shape, self.guards)
            project(weights, self._offline.flat, self.guards)
        finite = np.isfinite(weights.flat).all(axis=1)
        kept = tune & finite
        if kept.all():
            self._flat[rows] = weights.flat
        else:
            self._flat[rows[kept]] = weights.flat[kept]
        self._updates[rows[tune]] += 1
        self._version[rows[tune]] += 1
        if not finite[tune].all():
            insane = rows[tune & ~finite]
            self._roll_back(insane, np.full(len(insane), OFFLINE))

    def _roll_back(self, rows: np.ndarray, where: np.ndarray) -> None:
        left = self._flat[rows]
        self._flat[rows] = np.where((where == HELD)[:, None], self._held[rows], self._offline.flat)
        self._held[rows] = left
        self._version[rows] += 1
        self.trigger.forget(rows)
        self.guard.rolled_back(rows, where)
        resting = rows[self.guard.resting[rows] > 0]
        self._flat[resting] = self._held[resting] = self._offline.flat

    def model(self, link: int) -> tuple[int, np.ndarray, bool]:
        """Version, weights (copy, float32, ``(n_weights,)``) and health of a link's model."""
        row = self._rows.get(link)
        if row is None:
            return 0, self._offline.flat.astype(np.float32), True
        return int(self._version[row]), self._flat[row].astype(np.float32), bool(self.guard.resting[row] == 0)

    def models(self, links: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """As `model` of several links that were seen: ``(n,)``, ``(n, n_weights)`` and ``(n,)``."""
        rows = self.rows(links)
        return self._version[rows], self._flat[rows].astype(np.float32), self.guard.resting[rows] == 0

    def state(self, link: int) -> dict[str, float]:
        """Plain figures of a link for status displays; empty for an unknown link."""
        row = self._rows.get(link)
        if row is None:
            return {}
        return {
            "tuning": bool(self.trigger.active[row] and self.guard.resting[row] == 0),
            "samples": int(self._samples[row]),
            "updates": int(self._updates[row]),
            "version": int(self._version[row]),
            "fired": int(self.trigger.fired[row]),
            "rollbacks": int(self.guard.rollbacks[row]),
            "healthy": bool(self.guard.resting[row] == 0),
            "offset_db": float(self._flat[row, OFFSET]),
            "evidence": float(self.trigger.evidence[row].max()),
        }

    def _arrays(self) -> dict[str, np.ndarray]:
        """All that is kept of a link, by name: arrays with a row for each."""
        arrays: dict[str, np.ndarray] = {"weights": self._flat, "held": self._held}
        arrays |= {"version": self._version, "samples": self._samples, "updates": self._updates}
        for part, owner in (("trigger", self.trigger), ("guard", self.guard)):
            for name, array in vars(owner).items():
                if isinstance(array, np.ndarray) and array.shape[:1] == (self.max_links,):
                    arrays[f"{part}.{name}"] = array
        return arrays

    @property
    def record(self) -> np.dtype:
        """Type of `snapshot`'s records: every array that is kept of a link, the weights as float32."""
        weights = ("weights", "held")
        return np.dtype(
            [
                (name, "<f4" if name in weights else array.dtype.newbyteorder("<"), array.shape[1:])
                for name, array in self._arrays().items()
            ]
        )

    def snapshot(self, links: Sequence[int] | np.ndarray) -> np.ndarray:
        """All that is kept of some links that were seen, as a copy: one `record` for each, ``(n,)``."""
        rows, records = self.rows(links), np.empty(len(links), self.record)
        for start in range(0, len(rows), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            for name, array in self._arrays().items():
                records[name][part] = array[rows[part]]
        return records

    def restore(self, links: Sequence[int] | np.ndarray, records: np.ndarray) -> None:
        """Put links back to where `snapshot` saw them.

        Raises:
            ValueError: the records are of another type than `record`, or a number in them is not finite.
            TunerFull: a new link is one too many.
        """
        if records.dtype != self.record or records.shape != (len(links),):
            raise ValueError(
                "the links' states are not of this tuner's kind: other features, weights or version"
            )
        for name in records.dtype.names or ():
            if records[name].dtype.kind == "f" and not np.isfinite(records[name]).all():
                raise ValueError(f"the links' states are not finite: {name}")
        rows = self.rows(links)
        for name, array in self._arrays().items():
            array[rows] = records[name]

    def forget(self, links: Sequence[int] | np.ndarray) -> None:
        """Drop what is kept of some links; their places are free for others. Unknown links are left alone."""
        known = [int(link) for link in links if int(link) in self._rows]
        rows = [self._rows.pop(link) for link in known]
        for name, array in self._arrays().items():
            if name not in ("weights", "held"):  # a new link begins with the offline weights
                array[rows] = self._blank[name]
        self._free += rows

    @property
    def links(self) -> list[int]:
        """The links that were seen, oldest first."""
        return list(self._rows)


def _some(
    places: np.ndarray, rows: np.ndarray, weights: Weights, act: Activations, outcome: Outcome
) -> tuple[np.ndarray, Weights, Activations, Outcome]:
    """Some links of a batch."""
    return (
        rows[places],
        Weights(weights.shape, weights.flat[places]),
        Activations(
            act.scale[places], act.t[places], act.k[places], tuple(r[places] for r in act.r),
            act.h[places], act.z[places], act.logit[places],
        ),
        Outcome(
            outcome.features[places], outcome.mcs[places],
            Reading(*(of_link[places] for of_link in outcome.encoded)), outcome.nack[places],
        ),
    )  # fmt: skip
