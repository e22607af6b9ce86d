# SPDX-License-Identifier: GPL-3.0-or-later
"""One adapter per link, driven through a world slot by slot."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..core.mcs import McsTable
from ..core.messages import Csi, Decision, LinkAdapter
from .realise import World

NEAR = 3
"""Places of the ladder on either side of the best MCS within which all predictions are judged."""

Predict = Callable[[LinkAdapter, Decision], np.ndarray]


@dataclass(frozen=True, eq=False)
class Trace:
    """What happened in each slot of each link; arrays of shape ``(n_links, n_slots)`` unless said otherwise.

    Args:
        mcs: that was sent.
        bler: that the adapter predicted for it.
        true_bler: of it.
        ack: its outcome.
        goodput: information bits per symbol that it carried: 0 where it failed.
        probe: it was sent above the greedy choice in order to learn.
        version: of the weights that decided; -1 where no model did. Tuning shows as its growth.
        latency_s: time that ``select`` took, in seconds.
        near_bler, near_true: predicted and true BLER of the MCS within `NEAR` places of the best one (the one
            with the highest true expected goodput) on the ladder of spectral efficiency, shape
            ``(n_links, n_slots, 2 NEAR + 1)``; NaN beyond the ladder's ends. None where `run` got no
            ``predict``.
    """

    mcs: np.ndarray
    bler: np.ndarray
    true_bler: np.ndarray
    ack: np.ndarray
    goodput: np.ndarray
    probe: np.ndarray
    version: np.ndarray
    latency_s: np.ndarray
    near_bler: np.ndarray | None = None
    near_true: np.ndarray | None = None


def run(
    make_adapter: Callable[[int], LinkAdapter],
    world: World,
    *,
    bits: int | None = None,
    feedback_delay_slots: int = 1,
    predict: Predict | None = None,
    progress: Callable[[float], None] = lambda share: None,
) -> Trace:
    """Send one block in every slot of every link.

    In each slot the adapter gets the report that became available, if any (``Csi.seq`` is the slot in which
    it was measured), then the outcome of the block sent ``feedback_delay_slots`` ago, and then chooses.
    Blocks are numbered by slot. An adapter with a method ``reveal`` (`baselines.Genie`) is told the true
    BLERs first.

    Args:
        make_adapter: called with each link's number; the adapter must use the world's MCS table.
        world: see `worlds.make_world`.
        bits: information bits of every block; None for the table's reference length.
        feedback_delay_slots: 1 or more.
        predict: called after every choice with the adapter and its decision; returns the BLER that the
            adapter predicts for every MCS, shape ``(n_mcs,)``. It fills the trace's ``near_bler`` and
            ``near_true``.
        progress: called after every link with the share of links done.

    Raises:
        ValueError: ``feedback_delay_slots`` is below 1.
    """
    if feedback_delay_slots < 1:
        raise ValueError(f"feedback_delay_slots = {feedback_delay_slots!r}: give 1 or more")
    shape = (world.n_links, world.n_slots)
    near_shape = (*shape, 2 * NEAR + 1)
    trace = Trace(
        mcs=np.zeros(shape, np.int16),
        bler=np.zeros(shape, np.float32),
        true_bler=np.zeros(shape, np.float32),
        ack=np.zeros(shape, bool),
        goodput=np.zeros(shape, np.float32),
        probe=np.zeros(shape, bool),
        version=np.zeros(shape, np.int32),
        latency_s=np.zeros(shape, np.float32),
        near_bler=None if predict is None else np.full(near_shape, np.nan, np.float32),
        near_true=None if predict is None else np.full(near_shape, np.nan, np.float32),
    )
    for link in range(world.n_links):
        _run_link(make_adapter(link), world, link, trace, bits, feedback_delay_slots, predict)
        progress((link + 1) / world.n_links)
    return trace


def _run_link(
    adapter: LinkAdapter,
    world: World,
    link: int,
    trace: Trace,
    bits: int | None,
    delay: int,
    predict: Predict | None,
) -> None:
    true_bler = world.bler_of_link(link, bits)
    gain = world.table.goodput_if_acked(bits)
    reveal = getattr(adapter, "reveal", None)
    near = None if predict is None else near_best(true_bler, gain, world.table)
    # Plain lists: reading numpy scalars one by one would take longer than OLLA does.
    reported, measured_at = world.reported_db[link].tolist(), world.measured_at[link].tolist()
    ack = trace.ack[link]
    latest = -1  # a report from before the run has no slot number: the link begins without one
    for slot in range(world.n_slots):
        if measured_at[slot] > latest:
            latest = measured_at[slot]
            adapter.report(Csi(reported[slot], seq=latest))
        if slot >= delay:
            adapter.feedback(slot - delay, bool(ack[slot - delay]))
        if reveal is not None:
            reveal(true_bler[slot])
        began = time.perf_counter()
        decision = adapter.select(bits, slot)
        trace.latency_s[link, slot] = time.perf_counter() - began
        mcs = decision.mcs
        ack[slot] = world.draws[link, slot] >= true_bler[slot, mcs]
        trace.mcs[link, slot] = mcs
        trace.bler[link, slot] = decision.bler
        trace.probe[link, slot] = decision.probe
        trace.version[link, slot] = decision.version
        if predict is not None and near is not None:
            _compare(trace, link, slot, near[slot], predict(adapter, decision), true_bler[slot])
    trace.true_bler[link] = true_bler[np.arange(world.n_slots), trace.mcs[link]]
    trace.goodput[link] = gain[trace.mcs[link]] * ack


def near_best(true_bler: np.ndarray, gain: np.ndarray, table: McsTable) -> np.ndarray:
    """MCS within `NEAR` places of the one with the highest expected goodput; -1 beyond the ladder's ends.

    Args:
        true_bler: shape ``(n_slots, n_mcs)``.
        gain: `McsTable.goodput_if_acked`, shape ``(n_mcs,)``.

    Returns:
        Int, shape ``(n_slots, 2 NEAR + 1)``.
    """
    ladder = table.by_efficiency
    best = np.argmax((gain * (1 - true_bler))[:, ladder], axis=1)
    place = best[:, None] + np.arange(-NEAR, NEAR + 1)
    inside = (place >= 0) & (place < len(table))
    return np.where(inside, ladder[np.clip(place, 0, len(table) - 1)], -1)


def _compare(
    trace: Trace, link: int, slot: int, near: np.ndarray, predicted: np.ndarray, true: np.ndarray
) -> None:
    if trace.near_bler is None or trace.near_true is None:
        return
    inside = near >= 0
    trace.near_bler[link, slot, inside] = predicted[near[inside]]
    trace.near_true[link, slot, inside] = true[near[inside]]
