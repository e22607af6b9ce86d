# SPDX-License-Identifier: GPL-3.0-or-later
r"""The belief: what the link's calibration is, as a probability. A Bayes filter on a grid, closed form.

Hypotheses are an SINR offset ``d``, a loss floor ``f`` (packets that fail at any SINR: collisions,
interference, lost ACKs), and a mode: how fast ``d`` drifts, and how far a block's SINR strays from it:

    P(NACK at m | d, f, mode) = 1 - (1 - f) (1 - sigmoid((threshold(m) - reference - d) / s(m))),
    s(m)^2 = slope(m)^2 + (stray / std of the unit logistic)^2

The *told* belief's reference is the report on which the block was decided; its prior is a Cauchy law around
0 dB. The *blind* belief's reference is the middle of the table, for ever: it tracks the SINR itself from ACK
and NACK alone, and knows nothing that a report could falsify.

After an outcome, and in this order: Bayes; a small share of the weight returns to the prior of ``d``, and of
mode and floor, each by itself (fixed share: M. Herbster and M. Warmuth, "Tracking the best expert", Machine
Learning 1998); ``d`` diffuses by its mode's drift for every block that was sent since.

Apart from these every MCS may be *broken*: ``P(NACK) = BROKEN_BLER`` whatever the SINR. An outcome counts
for the hypotheses by the share of "fine".
"""

from __future__ import annotations

import math

import numpy as np

from .compiled import compiler
from .predictor import LOGISTIC_STD
from .record import (
    JUMP_TOLD,
    LINKS,
    N_LOSSES,
    N_MODES,
    N_POLICY,
    N_SPREADS,
    N_STEPS,
    SLOPE,
    STEP_DB,
    SWITCH,
    THRESHOLD,
)

import numba  # isort: skip

DRIFT_DB = (0.02, 0.1, 0.5, 0.05)
"""How far the offset drifts in each mode, standard deviation per block: still, slow, fast, and fading, in
which a block also strays."""
STRAY_DB = (0.0, 2.5)  # of the sharp modes and of fading: a fade that the reports missed
SPREAD_OF = (0, 0, 0, 1)
MODE_PRIOR = (0.4, 0.25, 0.1, 0.25)
LOSSES = ((0.0, 0.05, 0.12, 0.25, 0.45, 0.06), (0.0, 0.05, 0.12, 0.25, 0.45, 0.55))
"""Shares of packets that are lost at any SINR, after an ACK and after a NACK. In the last pair losses come in
bursts: a jammer's pulses, a neighbour's packets."""
LOSS_PRIOR = (0.78, 0.08, 0.05, 0.03, 0.02, 0.04)
PRIOR_SCALE_DB = 1.5  # of the Cauchy law: half of all receivers report within this of the truth
JUMP_SHARES = (0.004, 0.01)  # of the weight, that return to the prior of d per outcome: told, blind
SWITCH_SHARE = 0.002  # and to the prior of mode and floor
BROKEN_BLER, BROKEN_PRIOR = 0.97, 2e-3
MEND = 1e-3  # of its doubt, what an MCS loses with every outcome of any: it is asked again some day
WIDE = 8.0  # logits from here on are all the same: 3e-4 from 0 or 1

VECTOR = numba.float64[::1]
MATRIX = numba.float64[:, ::1]

# Sums may be taken in any order, so that they run side by side; NaN keeps its meaning.
_compiled = compiler("record", "predictor", "features", "mcs", fastmath={"reassoc", "contract", "nsz"})

_RANGE, _PER_UNIT = 15, 64
_SIGMOID = 1.0 / (1.0 + np.exp(-np.arange(-_RANGE * _PER_UNIT, _RANGE * _PER_UNIT + 2) / _PER_UNIT))
_KIND_PRIOR = np.outer(MODE_PRIOR, LOSS_PRIOR).astype(np.float32)


def prior(step_db: float, middle_db: float, low_db: float, high_db: float) -> np.ndarray:
    """Prior of the grid's points, told and blind, shape ``(2, N_STEPS)``.

    Args:
        step_db: between two points.
        middle_db: what the blind belief's offsets are from.
        low_db, high_db: SINRs between which a link without reports is to be expected.
    """
    d = (np.arange(N_STEPS) - N_STEPS // 2) * step_db
    told = 1.0 / (1.0 + (d / PRIOR_SCALE_DB) ** 2)
    blind = np.where((middle_db + d >= low_db) & (middle_db + d <= high_db), 1.0, 0.01)
    return np.stack([told / told.sum(), blind / blind.sum()])


@_compiled(numba.float64(numba.float64))
def sigmoid(logit: float) -> float:
    """The logistic function, from a table: within 3e-5, and strictly inside (0, 1)."""
    if logit >= _RANGE:
        return _SIGMOID[2 * _RANGE * _PER_UNIT]
    if not logit > -_RANGE:
        return _SIGMOID[0]
    place = (logit + _RANGE) * _PER_UNIT
    whole = int(place)
    low = _SIGMOID[whole]
    return low + (place - whole) * (_SIGMOID[whole + 1] - low)


@_compiled(numba.float64(numba.float64, numba.float64))
def scale(slope: float, stray_db: float) -> float:
    """Of a waterfall of that slope, averaged over a normal SINR of that standard deviation."""
    stray = stray_db / LOGISTIC_STD
    return math.sqrt(slope * slope + stray * stray)


@_compiled(numba.void(LINKS, numba.int64, numba.int64, VECTOR, numba.int64))
def settle(links: np.ndarray, row: int, which: int, policy: np.ndarray, failed: int) -> None:
    """Normalise, and note what `bler` and `status` ask for."""
    link = links[row]
    weights, arrives, step = link.weights, link.arrives, policy[STEP_DB]
    all_of = np.zeros(N_STEPS)
    for s in range(N_SPREADS):
        for i in range(N_STEPS):
            arrives[which, s, i] = 0.0
    loss = 0.0
    for r in range(N_MODES):
        for f in range(N_LOSSES):
            row_sum, left = 0.0, 1.0 - LOSSES[failed][f]
            for i in range(N_STEPS):
                w = float(weights[which, r, f, i])
                row_sum += w
                all_of[i] += w
                arrives[which, SPREAD_OF[r], i] += left * w
            loss += LOSSES[0][f] * row_sum
    norm, centre, square = 1.0 / all_of.sum(), 0.0, 0.0
    for r in range(N_MODES):
        for f in range(N_LOSSES):
            for i in range(N_STEPS):
                weights[which, r, f, i] *= np.float32(norm)
    for i in range(N_STEPS):
        d, w = (i - N_STEPS // 2) * step, all_of[i] * norm
        all_of[i] = w
        centre += w * d
        square += w * d * d
        for s in range(N_SPREADS):
            arrives[which, s, i] *= norm
    for s in range(N_SPREADS):
        so_far = 0.0
        link.above[which, s, N_STEPS] = 0.0
        for i in range(N_STEPS - 1, -1, -1):
            so_far += arrives[which, s, i]
            link.above[which, s, i] = so_far
    link.loss[which] = loss * norm
    link.centre_db[which] = centre
    link.width_db[which] = math.sqrt(max(square - centre * centre, 0.0))


@_compiled(numba.void(LINKS, numba.int64, numba.int64, VECTOR))
def begin(links: np.ndarray, row: int, which: int, policy: np.ndarray) -> None:
    """Start from the prior: ``which`` is `record.TOLD` or `record.BLIND`."""
    weights, start = links[row].weights, N_POLICY + which * N_STEPS
    for r in range(N_MODES):
        for f in range(N_LOSSES):
            for i in range(N_STEPS):
                weights[which, r, f, i] = _KIND_PRIOR[r, f] * policy[start + i]
    settle(links, row, which, policy, 0)


@_compiled(numba.float64(MATRIX, numba.int64, numba.float64, numba.float64))
def needed_db(table: np.ndarray, mcs: int, reference_db: float, length_logit: float) -> float:
    """Offset in dB from the reference at which half of the blocks of this length arrive."""
    return table[THRESHOLD, mcs] + table[SLOPE, mcs] * length_logit - reference_db


@_compiled(numba.types.UniTuple(numba.int64, 2)(numba.float64, numba.float64, numba.float64))
def window(needed_db: float, width_db: float, step_db: float) -> tuple[int, int]:
    """Steps of the grid, first and one after the last, between certain failure and certain success."""
    middle, reach = needed_db / step_db + N_STEPS // 2, WIDE * width_db / step_db
    first = math.ceil(min(max(middle - reach, 0.0), float(N_STEPS)))
    last = math.ceil(min(max(middle + reach, 0.0), float(N_STEPS)))
    return first, last


@_compiled(
    numba.float64(LINKS, numba.int64, numba.int64, MATRIX, VECTOR, numba.int64, numba.float64, numba.float64)
)
def bler(
    links: np.ndarray,
    row: int,
    which: int,
    table: np.ndarray,
    policy: np.ndarray,
    mcs: int,
    reference_db: float,
    length_logit: float,
) -> float:
    """Predicted BLER of one MCS, were it not broken."""
    link = links[row]
    step, slope = policy[STEP_DB], table[SLOPE, mcs]
    needed = needed_db(table, mcs, reference_db, length_logit)
    ack = 0.0
    for s in range(N_SPREADS):
        width = scale(slope, STRAY_DB[s])
        first, last = window(needed, width, step)
        ack += link.above[which, s, last]
        for i in range(first, last):
            ack += link.arrives[which, s, i] * sigmoid(((i - N_STEPS // 2) * step - needed) / width)
    return min(max(1.0 - ack, 1e-6), 1.0 - 1e-6)


@_compiled(numba.void(numba.float32[::1], numba.float32))
def diffuse(weights: np.ndarray, share: float) -> None:
    """Move ``share`` of every weight to each of its neighbours; none leaves at the ends."""
    before = weights[0]
    for i in range(N_STEPS - 1):
        w = weights[i]
        weights[i] = w + share * (before + weights[i + 1] - w - w)
        before = w
    weights[N_STEPS - 1] += share * (before - weights[N_STEPS - 1])


@_compiled(
    numba.void(
        LINKS, numba.int64, numba.int64, MATRIX, VECTOR, numba.int64, numba.float64, numba.float64,
        numba.float64, numba.int64,
    )
)  # fmt: skip
def outcome(
    links: np.ndarray,
    row: int,
    which: int,
    table: np.ndarray,
    policy: np.ndarray,
    mcs: int,
    reference_db: float,
    length_logit: float,
    nack: float,
    blocks: int,
) -> None:
    """Take an outcome, then let ``blocks`` blocks of drift pass."""
    link = links[row]
    weights, step, slope = link.weights, policy[STEP_DB], table[SLOPE, mcs]
    needed = needed_db(table, mcs, reference_db, length_logit)
    arrived = np.empty((N_SPREADS, N_STEPS), np.float32)
    for s in range(N_SPREADS):
        inverse = 1.0 / scale(slope, STRAY_DB[s])
        for i in range(N_STEPS):
            arrived[s, i] = sigmoid(((i - N_STEPS // 2) * step - needed) * inverse)
    broken = float(link.broken[mcs])
    lost = broken * (BROKEN_BLER if nack > 0.5 else 1.0 - BROKEN_BLER)

    total, of_kind, of_step = 0.0, np.zeros((N_MODES, N_LOSSES)), np.zeros(N_STEPS, np.float32)
    for r in range(N_MODES):
        s = SPREAD_OF[r]
        for f in range(N_LOSSES):
            # The likelihood is linear in the share that arrives at this SINR.
            gain = (1.0 - broken) * (1.0 - LOSSES[link.failed][f])
            a = np.float32(lost + 1.0 - broken if nack > 0.5 else lost)
            b = np.float32(-gain if nack > 0.5 else gain)
            row_sum = np.float32(0.0)
            for i in range(N_STEPS):
                w = weights[which, r, f, i] * (a + b * arrived[s, i])
                weights[which, r, f, i] = w
                of_step[i] += w
                row_sum += w
            of_kind[r, f] = row_sum
            total += float(row_sum)
    if not total > 1e-30:  # cannot be; were it so, nothing would be left to learn from
        begin(links, row, which, policy)
        return
    norm, start = 1.0 / total, N_POLICY + which * N_STEPS
    jump, switch = policy[JUMP_TOLD + which], policy[SWITCH]
    for i in range(N_STEPS):
        prior_here = policy[start + i]
        arrived[0, i] = jump * prior_here
        arrived[1, i] = switch * ((1.0 - jump) * norm * of_step[i] + jump * prior_here)
    keep = np.float32((1.0 - jump) * (1.0 - switch) * norm)
    for r in range(N_MODES):
        drift = min(blocks * DRIFT_DB[r] * DRIFT_DB[r] / (2.0 * step * step), 30.0)
        for f in range(N_LOSSES):
            back, kind = np.float32((1.0 - switch) * of_kind[r, f] * norm), _KIND_PRIOR[r, f]
            for i in range(N_STEPS):
                weights[which, r, f, i] = (
                    keep * weights[which, r, f, i] + back * arrived[0, i] + kind * arrived[1, i]
                )
            left = drift
            while left > 1e-9:
                diffuse(weights[which, r, f], np.float32(min(left, 0.3)))
                left -= 0.3
    settle(links, row, which, policy, 1 if nack > 0.5 else 0)


@_compiled(numba.void(LINKS, numba.int64, numba.int64, numba.int64, numba.float64, numba.float64))
def mask(links: np.ndarray, row: int, n_mcs: int, mcs: int, fine_bler: float, nack: float) -> None:
    """Whether the MCS that was sent is broken, given the BLER that it should have had."""
    broken = links[row].broken
    b = float(broken[mcs])
    if nack > 0.5:
        b, fine = b * BROKEN_BLER, (1.0 - b) * fine_bler
    else:
        b, fine = b * (1.0 - BROKEN_BLER), (1.0 - b) * (1.0 - fine_bler)
    broken[mcs] = b / max(b + fine, 1e-30)
    for m in range(n_mcs):
        broken[m] += MEND * (BROKEN_PRIOR - broken[m])
