# SPDX-License-Identifier: GPL-3.0-or-later
"""All links of a world in lockstep: what `link.run` does one adapter at a time, with one call per slot.

A batch adapter holds the state of all links in arrays. LightTune's is made of the very objects that decide
and tune a single link (`Decider`, `Tuner`); the baselines' are in `peers`. Tests hold every batch adapter to
the choices of its one-link twin.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from ..core import features as ft
from ..core.decider import Decider
from ..core.doubt import Doubt
from ..core.predictor import Predictor, Weights
from ..core.selection import SelectionPolicy, at
from ..core.tuner import Tuner
from .link import NEAR, Trace, near_best
from .peers import BatchOlla
from .realise import World


class BatchAdapter(Protocol):
    """The three verbs of a link adapter, for ``n`` links that each send one block per slot."""

    def report(self, rows: np.ndarray, snr_db: np.ndarray, measured_at: np.ndarray) -> None:
        """Take a new report (dB, and the slot of its measurement) of each of the links ``rows``."""

    def select(self, slot: int) -> tuple[np.ndarray, np.ndarray]:
        """MCS and predicted BLER of every link's block in ``slot``, both ``(n,)``."""

    def feedback(self, slot: int, ack: np.ndarray) -> None:
        """Take the outcomes, bool ``(n,)``, of the blocks of ``slot``; slots come in order."""


def run_batch(
    adapter: BatchAdapter,
    world: World,
    *,
    links: np.ndarray | None = None,
    feedback_delay_slots: int = 1,
    predict: bool = False,
    progress: Callable[[float], None] = lambda share: None,
) -> Trace:
    """Send one block of the table's reference length in every slot of every link.

    Same order of events, same channel and same ACK draws as `link.run`.

    Args:
        adapter: fresh, of as many rows as ``links`` has. One with a method ``reveal`` is told the true BLERs
            of the coming slot first; one with a method ``predict`` says its BLER of every MCS; one with
            arrays ``probe`` and ``version`` has them recorded after each choice.
        world: see `worlds.make_world`.
        links: the world's link behind each row; a link may stand in several rows, to try as many settings
            of an adapter at once. Default: each link once.
        feedback_delay_slots: 1 or more.
        predict: record predictions near the best MCS (`Trace.near_bler`) of an adapter that has any.
        progress: called now and then with the share of slots done.

    Returns:
        One row of the trace for each row of the adapter. No latency is measured.

    Raises:
        ValueError: ``feedback_delay_slots`` is below 1.
    """
    if feedback_delay_slots < 1:
        raise ValueError(f"feedback_delay_slots = {feedback_delay_slots!r}: give 1 or more")
    links = np.arange(world.n_links) if links is None else np.asarray(links)
    n, n_slots = len(links), world.n_slots
    gain = world.table.goodput_if_acked()
    columns = {
        name: np.zeros((n_slots, n), kind)
        for name, kind in (
            ("mcs", np.int16), ("bler", np.float32), ("true_bler", np.float32), ("ack", bool),
            ("goodput", np.float32), ("probe", bool), ("version", np.int32),
        )
    }  # fmt: skip
    reveal, blers = getattr(adapter, "reveal", None), getattr(adapter, "predict", None)
    near_shape = (n_slots, n, 2 * NEAR + 1)
    recorded = predict and blers is not None
    near_bler = np.full(near_shape, np.nan, np.float32) if recorded else None
    near_true = np.full(near_shape, np.nan, np.float32) if recorded else None
    latest = np.full(n, -1)
    for slot in range(n_slots):
        measured_at = world.measured_at[links, slot]
        new = np.flatnonzero(measured_at > latest)
        if new.size:
            latest[new] = measured_at[new]
            adapter.report(new, world.reported_db[links[new], slot].astype(float), measured_at[new])
        if slot >= feedback_delay_slots:
            adapter.feedback(slot - feedback_delay_slots, columns["ack"][slot - feedback_delay_slots])
        true_bler = world.bler_at(slot, links)
        if reveal is not None:
            reveal(true_bler)
        mcs, bler = adapter.select(slot)
        sent = at(true_bler, mcs)
        ack = world.draws[links, slot] >= sent
        row = {
            "mcs": mcs, "bler": bler, "true_bler": sent, "ack": ack, "goodput": gain[mcs] * ack,
            "probe": getattr(adapter, "probe", False), "version": getattr(adapter, "version", -1),
        }  # fmt: skip
        for name, values in row.items():
            columns[name][slot] = values
        if near_bler is not None and near_true is not None and blers is not None:
            near = near_best(true_bler, gain, world.table)
            inside = near >= 0
            near_bler[slot][inside] = np.take_along_axis(blers(), np.maximum(near, 0), axis=1)[inside]
            near_true[slot][inside] = np.take_along_axis(true_bler, np.maximum(near, 0), axis=1)[inside]
        if slot % 64 == 63:
            progress((slot + 1) / n_slots)
    progress(1.0)
    return Trace(
        **{name: array.swapaxes(0, 1) for name, array in columns.items()},
        latency_s=np.full((n, n_slots), np.nan, np.float32),
        near_bler=None if near_bler is None else near_bler.swapaxes(0, 1),
        near_true=None if near_true is None else near_true.swapaxes(0, 1),
    )


class BatchLightTune:
    """`core.adapter.LightTune` for all links.

    Args:
        predictor: as trained offline.
        n: number of rows.
        policy: what to maximise, and how much to probe.
        tuner: fresh, with room for ``n`` links; None leaves the predictor as trained offline.
        fallback: whether OLLA decides while the tuner's guards have given up, or the selector doubts
            (`core.doubt`); an ablation switches it off.
    """

    def __init__(
        self,
        predictor: Predictor,
        n: int,
        policy: SelectionPolicy | None = None,
        tuner: Tuner | None = None,
        fallback: bool = True,
    ) -> None:
        self.predictor = predictor
        self.tuner = tuner
        self.decider = Decider(predictor, policy or SelectionPolicy(), (n,))
        self.version = np.full(n, -1)
        self.probe = np.zeros(n, bool)
        self.tuned = np.zeros(n, np.int64)
        self._all = np.arange(n)
        self._gain = predictor.table.goodput_if_acked()
        self._olla = BatchOlla(predictor.table, n)
        self._fallback = fallback
        self._healthy = np.ones(n, bool)
        self._doubts = [Doubt(predictor.table) for _ in range(n)]
        self._doubted = np.zeros(n, bool)
        self._weights_version = np.zeros(n, np.int64)
        self._measured_at = np.zeros(n, np.int64)
        self._bler = np.full((n, len(predictor.table)), 0.5)
        self._sent: dict[int, tuple[np.ndarray, ...]] = {}

    def report(self, rows: np.ndarray, snr_db: np.ndarray, measured_at: np.ndarray) -> None:
        """Take new reports."""
        believed = [self._doubts[row].believes(snr) for row, snr in zip(rows, snr_db.tolist(), strict=True)]
        if not all(believed):
            rows, snr_db, measured_at = (array[believed] for array in (rows, snr_db, measured_at))
        self.decider.history.report(snr_db, rows)
        self._measured_at[rows] = measured_at
        self._olla.report(rows, snr_db, measured_at)

    def select(self, slot: int) -> tuple[np.ndarray, np.ndarray]:
        """Choose; see `Selector.select`."""
        mcs, bler = self._olla.select(slot)
        self.version[:] = -1
        self.probe[:] = False
        seen = self.decider.history.seen
        features = self.decider.history.features(np.maximum(slot - self._measured_at, 1))
        rows = np.flatnonzero(seen & (self._healthy & ~self._doubted | (not self._fallback)))
        if rows.size:
            chosen, self._bler[rows], self.probe[rows] = self.decider.decide(features[rows], self._gain, rows)
            mcs[rows], bler[rows] = chosen, at(self._bler[rows], chosen)
            self.version[rows] = self._weights_version[rows]
        others = np.setdiff1d(np.flatnonzero(seen), rows, assume_unique=True)
        if others.size:
            weights = Weights(self.predictor.shape, self.decider.weights[others])
            self._bler[others] = self.predictor.bler(weights, features[others])
        own = np.zeros(len(mcs), bool)
        own[rows] = True
        asked = np.where(own, bler, np.where(self._doubted, at(self._bler, mcs), np.nan))
        self._sent[slot] = (features, mcs, bler, asked, seen.copy(), own)
        return mcs, bler

    def predict(self) -> np.ndarray:
        """Predicted BLER of every MCS in the slot that was chosen last, ``(n, n_mcs)``."""
        return self._bler

    def feedback(self, slot: int, ack: np.ndarray) -> None:
        """Take outcomes, and tune on them where the trigger asks for it."""
        features, mcs, bler, asked, seen, own = self._sent.pop(slot)
        self._olla.feedback_own(slot, ack, ~own)
        rows = np.flatnonzero(seen)
        if not rows.size:
            return
        nack = 1.0 - ack
        self.decider.outcome(features[rows], mcs[rows], bler[rows], nack[rows], rows)
        snr_db = ft.snr_db(features).astype(float)
        self._olla.observe(snr_db, mcs, ack, seen & own)
        columns = (array[rows].tolist() for array in (snr_db, mcs, asked, ~ack, own))
        for row, *block in zip(rows.tolist(), *columns, strict=True):
            self._doubts[row].outcome(*block)
            self._doubted[row] = self._doubts[row].reason is not None
        if self.tuner is None:
            return
        changed = rows[self.tuner.learn(rows, features[rows], mcs[rows], ack[rows])]
        if changed.size:
            self._weights_version[changed], flat, self._healthy[changed] = self.tuner.models(changed)
            for row, before, after in zip(changed, self.decider.weights[changed], flat, strict=True):
                self._doubts[row].loaded(before, after)
                self._doubted[row] = self._doubts[row].reason is not None
            self.decider.weights[changed] = flat
