# SPDX-License-Identifier: GPL-3.0-or-later
"""A link driven through all that happens to it: the code that runs on the air, in one loop over blocks."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numba
import numpy as np

from ..core import link_kernel, network, tuning
from ..core.belief import MATRIX, VECTOR
from ..core.compiled import compiler
from ..core.record import BLER, LINKS, N_EXPERTS, N_INPUTS, N_SENT, TOLD_BLER
from ..core.tuning import TUNED, TUNEDS, TuningPolicy

_compiled = compiler("record", "belief", "network", "link_kernel", "tuning", "features", "predictor")

_f32 = numba.float32
_i64 = numba.int64


@dataclass(frozen=True, eq=False)
class Script:
    """All that happens to one link, whatever is sent.

    Args:
        bler: probability that a block of each MCS is told as NACK, float32 ``(n_blocks, n_mcs)``.
        draws: uniform over [0, 1), float32 ``(n_blocks,)``: a block is ACKed where its draw is not below its
            BLER.
        report_db: report that comes before each block, float32 ``(n_blocks,)``; NaN for none.
        age: of the last report in blocks when each block is decided, float64 ``(n_blocks,)``.
        with_ack: whether the reports come with ACKs alone: that of block ``t`` with its verdict.
        due: block before which the verdict of each comes, int64 ``(n_blocks,)``; at least the next one, and
            ``n_blocks`` or more for never.
        length: `McsTable.length_logit` of each, float64 ``(n_blocks,)``.
        away: places on the ladder of efficiency that each block is sent away from the choice, int64; a
            way to explore, in training.
    """

    bler: np.ndarray
    draws: np.ndarray
    report_db: np.ndarray
    age: np.ndarray
    due: np.ndarray
    length: np.ndarray
    with_ack: bool = False
    away: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))


@dataclass(frozen=True, eq=False)
class Run:
    """What came of it.

    Args:
        mcs, bler, ack: of each block the MCS, its predicted BLER, and whether it was ACKed, ``(n,)``.
        tuned: whether the tuner moved something before it.
        experts: what each expert predicted for that MCS, ``(n, N_EXPERTS)``; NaN where it said nothing.
        all_bler: predicted BLER of every MCS, ``(n, n_mcs)``, where it was asked for.
        inputs: what the network read, ``(n_steps, N_INPUTS)``.
        block: that each step decided, ``(n_steps,)``; -1 where it read an outcome alone.
        anchor_db: of each step.
    """

    mcs: np.ndarray
    bler: np.ndarray
    ack: np.ndarray
    tuned: np.ndarray
    experts: np.ndarray
    all_bler: np.ndarray
    inputs: np.ndarray
    block: np.ndarray
    anchor_db: np.ndarray


def deliveries(due: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Blocks in the order in which their verdicts come, and where each block's deliveries begin among them:
    int64 ``(n,)`` and ``(n + 1,)``."""
    order = np.argsort(due, kind="stable")
    return order, np.searchsorted(due[order], np.arange(len(due) + 1))


def drive(
    links: np.ndarray,
    row: int,
    model: object,
    script: Script,
    *,
    every: bool = False,
    record: bool = False,
    tuned: np.ndarray | None = None,
    tuning_policy: TuningPolicy | None = None,
) -> Run:
    """Send every block of a script.

    Args:
        links, row: the link's record, begun.
        model: `core.link_model.LinkModel`.
        script: see there.
        every: keep the predicted BLER of every MCS.
        record: keep what the network read.
        tuned, tuning_policy: one row of `core.tuning.TUNED`, begun, and how it is tuned; None: not at all.
    """
    n, n_mcs = script.bler.shape
    order, first = deliveries(script.due)
    away = script.away if len(script.away) else np.zeros(n, np.int64)
    run = Run(
        mcs=np.zeros(n, np.int64),
        bler=np.zeros(n, np.float32),
        ack=np.zeros(n, bool),
        tuned=np.zeros(n, bool),
        experts=np.zeros((n, N_EXPERTS), np.float32),
        all_bler=np.zeros((n if every else 0, n_mcs), np.float32),
        inputs=np.zeros((2 * n if record else 0, N_INPUTS), np.float32),
        block=np.full(2 * n if record else 0, -1, np.int64),
        anchor_db=np.zeros(2 * n if record else 0, np.float32),
    )
    steps = _drive(
        links, row, model.rows.copy(), model.policy, model.net, model.gains(script.length), script.bler,
        script.draws, script.report_db, script.age, script.with_ack, order, first, script.length, away,
        model.ladder, np.zeros((N_EXPERTS + 1, n_mcs)), run.mcs, run.bler, run.ack, run.experts,
        run.all_bler, run.inputs, run.block, run.anchor_db,
        np.zeros(0, TUNED) if tuned is None else tuned, (tuning_policy or TuningPolicy()).vector(),
        model.rows, run.tuned,
    )  # fmt: skip
    if record:
        kept = {name: getattr(run, name)[:steps] for name in ("inputs", "block", "anchor_db")}
        return replace(run, **kept)
    return run


@_compiled(
    _i64(
        LINKS, _i64, MATRIX, VECTOR, network.WEIGHTS, MATRIX, _f32[:, ::1], _f32[::1],
        _f32[::1], VECTOR, numba.boolean, _i64[::1], _i64[::1], VECTOR, _i64[::1], _i64[::1],
        MATRIX, _i64[::1], _f32[::1], numba.boolean[::1], _f32[:, ::1], _f32[:, ::1], _f32[:, ::1],
        _i64[::1], _f32[::1], TUNEDS, VECTOR, MATRIX, numba.boolean[::1],
    )
)  # fmt: skip
def _drive(
    links, row, rows, policy, net, gains, bler, draws, report_db, age, with_ack, order, first, length, away,
    ladder, work, out_mcs, out_bler, out_ack, out_experts, all_bler, inputs, block, anchor_db,
    tuned, tuning_policy, base, out_tuned,
):  # fmt: skip
    n, n_mcs = bler.shape
    sent, curves = np.zeros((n, N_SENT)), np.zeros(2 * n_mcs)
    place = np.zeros(n_mcs, np.int64)
    for i in range(n_mcs):
        place[ladder[i]] = i
    steps, late, reported_at = 0, 1.0, 0
    for t in range(n):
        if not with_ack and not math.isnan(report_db[t]):
            network.report(links, row, report_db[t])
        if not with_ack:
            late = age[t]
        for i in range(first[t], first[t + 1]):
            b = order[i]
            waiting = links[row].waiting
            at = network.anchor(links, row, policy)
            link_kernel.outcome(links, row, rows, policy, net, sent[b], 0.0 if out_ack[b] else 1.0, late)
            if len(tuned) and tuning.learn_sent(tuned, 0, tuning_policy, sent[b], 0.0 if out_ack[b] else 1.0):
                out_tuned[t] = True
                tuning.read(tuned, 0, curves)
                tuning.retable(curves, base, rows)
            if waiting and steps < len(inputs):
                inputs[steps] = links[row].inputs
                anchor_db[steps] = at
                steps += 1
            if with_ack and out_ack[b] and not math.isnan(report_db[b]):
                network.report(links, row, report_db[b])
                reported_at = b
        if with_ack:
            late = float(t - reported_at)
        # As `link_kernel.select` does, but that the block may be sent away from the choice.
        link_kernel.weigh(links, row, rows, policy, net, late, length[t], work)
        gain = gains[min(t, len(gains) - 1)]
        mcs = link_kernel.choose(links, row, rows, policy, gain, length[t], work)
        if away[t] != 0:
            mcs = ladder[min(max(place[mcs] + away[t], 0), n_mcs - 1)]
        link_kernel.note(links, row, rows, policy, mcs, length[t], work)
        for k in range(N_SENT):
            sent[t, k] = links[row].sent[k]
        out_mcs[t], out_bler[t] = mcs, sent[t, BLER]
        for e in range(N_EXPERTS):
            out_experts[t, e] = sent[t, TOLD_BLER + e]
        out_ack[t] = draws[t] >= bler[t, mcs]
        if len(all_bler):
            for m in range(n_mcs):
                all_bler[t, m] = work[N_EXPERTS, m]
        if steps < len(inputs):
            inputs[steps] = links[row].inputs
            block[steps] = t
            anchor_db[steps] = network.anchor(links, row, policy)
            steps += 1
    return steps
