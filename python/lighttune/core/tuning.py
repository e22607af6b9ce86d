# SPDX-License-Identifier: GPL-3.0-or-later
r"""The tuner, compiled: what a PHY's curves have wrong, learnt from ACK and NACK by forward passes alone.

What moves is a threshold (dB) and the logarithm of a slope for each MCS. With ``n`` the outcome (1 for
NACK), ``a`` the share of blocks that a high SINR would let through, ``z`` the logit on the MCS's waterfall,
and ``k`` its growth per dB of threshold,

    p = 1 - a + a sigmoid(z)    g = a sigmoid'(z)    e = (n - p) g / (p (1 - p))    i = g^2 / (p (1 - p))

``z`` is linear in the threshold (and to first order in the logarithm of the slope, with the factor ``-z``),
so at ``a = 1`` the log loss is convex in what moves, and its gradient has a closed form: no derivative passes
through the network or the belief. The step is Newton's, in the diagonal:

    precision += i k^2        threshold += e k / precision

It begins with the prior's precision, and is bounded, so that a PHY that changes is followed.

Tuning goes on only *while the performance is below a threshold*. Evidence that an MCS's threshold is off is,
for either direction, E. S. Page's cumulative sum (Biometrika 41, 1954) of

    log P(n | z +- k SHIFT_DB) - log P(n | z)

Where one exceeds ``on`` nats, the trigger fires: all sums begin anew, and the coming ``hold`` outcomes tune,
``hold`` times the number of firings so far (at most `MOST_HOLDS` times): a PHY whose curves are wrong fires
again and again, a single accident does not.
"""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass

import numba
import numpy as np

from .belief import MATRIX, VECTOR, sigmoid
from .compiled import compiler
from .mcs import MAX_MCS
from .record import FEATURES, MCS, SLOPE, THRESHOLD

SHIFT_DB = 1.5
"""Of the alternatives that the trigger weighs."""
MOST_HOLDS = 16
MAX_SHIFT_DB, MAX_LOG_SLOPE = 8.0, 1.4
"""What is tuned stays within these magnitudes."""

LOGIT, PER_DB, ARRIVES = range(3)
"""What a tuner learns from, besides the MCS and its outcome: ``z``, ``k`` and ``a`` at the decision."""
N_FEATURES = 3

_LARGEST_LOSS, _LARGEST_GAIN = 5.0, 2.5  # of evidence, by one outcome: an accident alone must not fire
_ON, _HOLD, _PRIOR_DB, _PRIOR_LOG, _FINEST_DB, _FINEST_LOG, _ALWAYS = range(7)

TUNED = np.dtype(
    [
        ("shift_db", "f8", (MAX_MCS,)),
        ("log_slope", "f8", (MAX_MCS,)),
        ("precision", "f8", (2, MAX_MCS)),  # of these two
        ("evidence", "f8", (2, MAX_MCS)),  # that the threshold is higher, lower
        ("left", "i8"),  # outcomes for which tuning goes on
        ("fired", "i8"),
        ("samples", "i8"),
        ("updates", "i8"),
    ],
    align=True,
)
"""What is kept of a link, or of a pool of links."""

TUNEDS = numba.from_dtype(TUNED)[::1]
_compiled = compiler("record", "belief", "tuning", "mcs")


@dataclass(frozen=True)
class TuningPolicy:
    """When and how fast to tune.

    Args:
        on: evidence in nats that starts tuning.
        hold: outcomes for which the first firing tunes.
        prior_db, prior_log: standard deviation of what the curves have wrong: thresholds in dB, logarithm of
            the slopes.
        finest_db, finest_log: standard deviation below which the precision does not grow: how fast a PHY that
            changes is followed.
        always: tune on every outcome: the reference that the trigger is judged against.

    Raises:
        ValueError: a value is not positive and finite.
    """

    on: float = 9.0
    hold: int = 50
    prior_db: float = 1.0
    prior_log: float = 0.4
    finest_db: float = 0.1
    finest_log: float = 0.05
    always: bool = False

    def __post_init__(self) -> None:
        for name in ("on", "hold", "prior_db", "prior_log", "finest_db", "finest_log"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} = {getattr(self, name)!r}: give a positive, finite number")

    def vector(self) -> np.ndarray:
        """As the compiled functions read it."""
        return np.array(astuple(self), float)


@_compiled(numba.void(TUNEDS, numba.int64, VECTOR))
def begin(tuned: np.ndarray, row: int, policy: np.ndarray) -> None:
    """A fresh row: the curves as they are."""
    one = tuned[row]
    for m in range(MAX_MCS):
        one.shift_db[m] = 0.0
        one.log_slope[m] = 0.0
        one.precision[0, m] = 1.0 / (policy[_PRIOR_DB] * policy[_PRIOR_DB])
        one.precision[1, m] = 1.0 / (policy[_PRIOR_LOG] * policy[_PRIOR_LOG])
        one.evidence[0, m] = 0.0
        one.evidence[1, m] = 0.0
    one.left, one.fired, one.samples, one.updates = 0, 0, 0, 0


@_compiled(numba.float64(numba.float64, numba.float64, numba.float64))
def _log_likelihood(logit: float, arrives: float, nack: float) -> float:
    ack = min(max(arrives * (1.0 - sigmoid(logit)), 1e-6), 1.0 - 1e-6)
    return math.log(1.0 - ack if nack > 0.5 else ack)


@_compiled(
    numba.boolean(
        TUNEDS, numba.int64, VECTOR, numba.int64, numba.float64, numba.float64, numba.float64, numba.float64
    )
)
def asked(
    tuned: np.ndarray,
    row: int,
    policy: np.ndarray,
    mcs: int,
    logit: float,
    per_db: float,
    arrives: float,
    nack: float,
) -> bool:
    """Take an outcome as evidence; whether the trigger asks to tune on it."""
    one = tuned[row]
    said = _log_likelihood(logit, arrives, nack)
    largest = 0.0
    for side in range(2):
        other = logit + per_db * (SHIFT_DB if side == 0 else -SHIFT_DB)
        gain = _log_likelihood(other, arrives, nack) - said
        evidence = one.evidence[side, mcs] + min(max(gain, -_LARGEST_LOSS), _LARGEST_GAIN)
        one.evidence[side, mcs] = max(evidence, 0.0)
        largest = max(largest, evidence)
    if largest > policy[_ON]:
        one.fired += 1
        one.left = int(policy[_HOLD]) * min(one.fired, MOST_HOLDS)
        for m in range(MAX_MCS):
            one.evidence[0, m] = 0.0
            one.evidence[1, m] = 0.0
    if one.left > 0:
        one.left -= 1
        return True
    return policy[_ALWAYS] > 0.0


@_compiled(
    numba.boolean(
        TUNEDS, numba.int64, VECTOR, numba.int64, numba.float64, numba.float64, numba.float64, numba.float64
    )
)
def learn(
    tuned: np.ndarray,
    row: int,
    policy: np.ndarray,
    mcs: int,
    logit: float,
    per_db: float,
    arrives: float,
    nack: float,
) -> bool:
    """Take the outcome (1.0 for NACK) of a first transmission; whether something was tuned.

    Args:
        mcs: that was sent.
        logit, per_db, arrives: see `record.CURVE_LOGIT` and the following.
    """
    one = tuned[row]
    one.samples += 1
    if not asked(tuned, row, policy, mcs, logit, per_db, arrives, nack):
        return False
    curve = sigmoid(logit)
    p = min(max(1.0 - arrives + arrives * curve, 1e-6), 1.0 - 1e-6)
    grows = arrives * curve * (1.0 - curve)
    error, known = (nack - p) * grows / (p * (1.0 - p)), grows * grows / (p * (1.0 - p))
    for which in range(2):
        by = per_db if which == 0 else -logit
        finest = policy[_FINEST_DB + which]
        precision = min(one.precision[which, mcs] + known * by * by, 1.0 / (finest * finest))
        one.precision[which, mcs] = precision
        if which == 0:
            moved = one.shift_db[mcs] + error * by / precision
            one.shift_db[mcs] = min(max(moved, -MAX_SHIFT_DB), MAX_SHIFT_DB)
        else:
            moved = one.log_slope[mcs] + error * by / precision
            one.log_slope[mcs] = min(max(moved, -MAX_LOG_SLOPE), MAX_LOG_SLOPE)
    one.updates += 1
    return True


@_compiled(numba.boolean(TUNEDS, numba.int64, VECTOR, VECTOR, numba.float64))
def learn_sent(tuned: np.ndarray, row: int, policy: np.ndarray, sent: np.ndarray, nack: float) -> bool:
    """`learn` from a block of which `link_kernel.select` noted ``sent``."""
    return learn(
        tuned, row, policy, int(sent[MCS]), sent[FEATURES + LOGIT], sent[FEATURES + PER_DB],
        sent[FEATURES + ARRIVES], nack,
    )  # fmt: skip


@_compiled(numba.void(TUNEDS, numba.int64, VECTOR))
def read(tuned: np.ndarray, row: int, curves: np.ndarray) -> None:
    """Write what was tuned into ``curves``, ``(2 n_mcs,)``: thresholds in dB, then logarithms of slopes."""
    n_mcs = len(curves) // 2
    for m in range(n_mcs):
        curves[m] = tuned[row].shift_db[m]
        curves[n_mcs + m] = tuned[row].log_slope[m]


@_compiled(numba.void(VECTOR, MATRIX, MATRIX))
def retable(curves: np.ndarray, base: np.ndarray, rows: np.ndarray) -> None:
    """Write the table ``base`` with what was tuned into ``rows``; see `LinkModel.rows`."""
    n_mcs = base.shape[1]
    for m in range(n_mcs):
        rows[THRESHOLD, m] = base[THRESHOLD, m] + curves[m]
        rows[SLOPE, m] = base[SLOPE, m] * math.exp(curves[n_mcs + m])


@_compiled(numba.void(TUNEDS, numba.int64[::1], VECTOR, MATRIX, numba.int64[::1], VECTOR, numba.boolean[::1]))
def learn_all(
    tuned: np.ndarray,
    rows: np.ndarray,
    policy: np.ndarray,
    features: np.ndarray,
    mcs: np.ndarray,
    nack: np.ndarray,
    moved: np.ndarray,
) -> None:
    """`learn` of many samples, each with its row; ``moved`` is written."""
    for i in range(len(rows)):
        moved[i] = learn(
            tuned, rows[i], policy, mcs[i], features[i, LOGIT], features[i, PER_DB], features[i, ARRIVES],
            nack[i],
        )  # fmt: skip
