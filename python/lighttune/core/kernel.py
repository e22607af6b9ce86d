# SPDX-License-Identifier: GPL-3.0-or-later
"""The decision for one link, compiled by numba: `decider.Decider` without numpy's calls.

Over two dozen MCS the arithmetic of a decision takes some five microseconds and numpy's call overhead a
hundred. So for a single link the same equations stand here once more as loops: the features
(`features.LinkHistory`), the encoder and the closed form (`predictor`), the greedy choice, price and probing
(`selection`). tests/core/test_kernel.py holds the two against each other. Each function works in place on
arrays that its caller keeps, and allocates nothing.

The functions hold the GIL: to give it up for a few microseconds is to wait for it afterwards.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from . import features as ft
from .compiled import compiler
from .predictor import LARGEST_TILT, LOGISTIC_STD, MAX_DELTA_DB, MIN_SIGMA_DB, N_SHAPE
from .selection import HOPELESS, INFORMATION_MEMORY, LARGEST_CREDIT, LARGEST_PRICE, PRICE_STEP

# What is known of a link, in one vector.
REPORTS, MEAN, SPREAD2, STRUCTURE2 = 0, ft.HISTORY, ft.HISTORY + 1, ft.HISTORY + 2
FAST = STRUCTURE2 + len(ft.STRUCTURE_LAGS)
SLOW, SEEN, PRICE, CREDIT, INFORMATION = FAST + 1, FAST + 2, FAST + 3, FAST + 4, FAST + 5
N_STATE = FAST + 6

# Rows of a table: what depends on the MCS alone.
THRESHOLD, SLOPE, ABOVE_MIDDLE, SCALED, ORDER, NEXT = range(6)

# What a policy says.
TARGET, PRICE_UNIT, PROBE_BUDGET, PROBE_BELOW, MOST_ROBUST = range(5)

HIDDEN, ORDERS, LAYERS, WIDTH = range(4)
"""Sizes of encoder and adaptive layers."""

_HISTORY, _LAGS = ft.HISTORY, ft.STRUCTURE_LAGS
_FIRST = ft.SHAPE.start

VECTOR = numba.float64[::1]
MATRIX = numba.float64[:, ::1]
SIZES = numba.int64[::1]
_features32 = numba.float32[::1]


_compiled = compiler("features", "predictor", "selection")


@_compiled(numba.float64(numba.float64))
def sigmoid(logit: float) -> float:
    if logit > 15.0:
        logit = 15.0
    elif logit < -15.0:
        logit = -15.0
    return 1.0 / (1.0 + math.exp(-logit))


@_compiled(numba.void(VECTOR, numba.float64))
def report(link: np.ndarray, snr_db: float) -> None:
    """`features.LinkHistory.report`."""
    if link[SEEN] == 0.0:
        link[:_HISTORY] = snr_db
        link[MEAN] = snr_db
        link[SEEN] = 1.0
        return
    step = snr_db - link[0]
    link[SPREAD2] += ft.MEAN_GAIN * (step * step - link[SPREAD2])
    link[MEAN] += ft.MEAN_GAIN * (snr_db - link[MEAN])
    for i, lag in enumerate(_LAGS):
        apart = snr_db - link[lag - 1]
        link[STRUCTURE2 + i] += ft.MEAN_GAIN * (apart * apart - link[STRUCTURE2 + i])
    for i in range(_HISTORY - 1, 0, -1):
        link[i] = link[i - 1]
    link[0] = snr_db


@_compiled(numba.void(VECTOR, numba.float64, numba.float64, _features32))
def features(link: np.ndarray, age_slots: float, length_logit: float, out: np.ndarray) -> None:
    """`features.LinkHistory.features`."""
    snr = link[0]
    out[ft.SNR] = snr
    for i in range(1, _HISTORY):
        out[i] = link[i] - snr
    out[ft.MEAN] = link[MEAN] - snr
    out[ft.SPREAD] = 0.5 * math.log(link[SPREAD2] + ft.SPREAD_FLOOR_DB2)
    for i in range(len(_LAGS)):
        structure = 0.5 * math.log(link[STRUCTURE2 + i] + ft.SPREAD_FLOOR_DB2)
        out[ft.SPREAD + 1 + i] = structure - out[ft.SPREAD]
    out[ft.AGE] = math.log(min(max(age_slots, 1.0), ft.MAX_AGE_SLOTS))
    out[ft.FAST] = link[FAST]
    out[ft.SLOW] = link[SLOW]
    out[ft.LENGTH] = length_logit


@_compiled(numba.void(VECTOR, numba.int64, numba.int64, numba.int64, VECTOR, VECTOR))
def dense(flat: np.ndarray, start: int, n_in: int, n_out: int, x: np.ndarray, out: np.ndarray) -> None:
    """Add the matrix ``(n_in, n_out)`` that begins at ``flat[start]``, times ``x``, to ``out``."""
    for i in range(n_in):
        row, x_i = start + i * n_out, x[i]
        for j in range(n_out):
            out[j] += x_i * flat[row + j]


@_compiled([numba.void(VECTOR, numba.int64, numba.int64, kind, MATRIX) for kind in (_features32, VECTOR)])
def read(encoder: np.ndarray, hidden: int, orders: int, features: np.ndarray, work: np.ndarray) -> None:
    """`predictor.Encoder`: leaves ``x``, ``mu_db``, ``sigma_db``, ``tilt`` in the first rows of ``work``."""
    x, h1, h2, out = work[0], work[1], work[2], work[3]
    for i in range(N_SHAPE):
        value = (features[_FIRST + i] - encoder[i]) / encoder[N_SHAPE + i]
        x[i] = min(max(value, -8.0), 8.0)
    start = 2 * N_SHAPE
    h1[:hidden] = encoder[start : start + hidden]
    dense(encoder, start + hidden, N_SHAPE, hidden, x, h1)
    for j in range(hidden):
        h1[j] = math.tanh(h1[j])
    start += hidden * (1 + N_SHAPE)
    h2[:hidden] = encoder[start : start + hidden]
    dense(encoder, start + hidden, hidden, hidden, h1, h2)
    for j in range(hidden):
        h2[j] = math.tanh(h2[j])
    start += hidden * (1 + hidden)
    n_out = 3 * orders
    out[:n_out] = encoder[start : start + n_out]
    dense(encoder, start + n_out, hidden, n_out, h2, out)
    dense(encoder, start + n_out + hidden * n_out, N_SHAPE, n_out, x, out)
    for q in range(orders):
        work[1, q] = features[ft.SNR] + MAX_DELTA_DB * math.tanh(out[q] / MAX_DELTA_DB)
        spread = out[orders + q]
        work[2, q] = MIN_SIGMA_DB + max(spread, 0.0) + math.log1p(math.exp(-abs(spread)))
        out[q] = LARGEST_TILT * math.tanh(out[2 * orders + q])


@_compiled(numba.void(MATRIX, VECTOR, numba.int64, numba.int64, numba.float64, MATRIX, VECTOR))
def predict(
    table: np.ndarray,
    weights: np.ndarray,
    layers: int,
    width: int,
    length_logit: float,
    work: np.ndarray,
    bler: np.ndarray,
) -> None:
    """`predictor.Predictor.bler` of every MCS, from what `read` left in ``work``."""
    n = table.shape[1]
    mu, sigma, tilt, t, r, trunk = work[1], work[2], work[3], work[4], work[0], work[5]
    for m in range(n):
        q, slope = int(table[ORDER, m]), table[SLOPE, m]
        spread = sigma[q] / LOGISTIC_STD
        scale = weights[n + m] / math.sqrt(slope * slope + spread * spread)
        margin = table[THRESHOLD, m] + tilt[q] * table[ABOVE_MIDDLE, m] + slope * length_logit
        t[m] = scale * (margin - mu[q] - weights[m])
        bler[m] = 0.0
    start, units = 2 * n, len(weights) - 4 * layers * width
    for layer in range(layers):
        n_in = N_SHAPE if layer == 0 else width
        first = units + 4 * layer * width
        trunk[:width] = weights[first : first + width]
        dense(weights, start, n_in, width, r, trunk)
        start += n_in * width
        square = 0.0
        for j in range(width):
            a, v = trunk[j], weights[first + width + j]
            w, u = weights[first + 2 * width + j], weights[first + 3 * width + j]
            for m in range(n):
                h = v * t[m] + w * table[SCALED, m] + a
                bler[m] += u * (0.0 if h < 0.0 else h)  # NaN goes on
            r[j] = 0.0 if a < 0.0 else a
            square += r[j] * r[j]
        rms = math.sqrt(square / width + 1e-6)
        for j in range(width):
            r[j] /= rms
    for m in range(n):
        bler[m] = sigmoid(t[m] + bler[m] / layers)


@_compiled(numba.int64(MATRIX, VECTOR, VECTOR, VECTOR, VECTOR))
def choose(
    table: np.ndarray, policy: np.ndarray, gain: np.ndarray, bler: np.ndarray, link: np.ndarray
) -> int:
    """`selection.choose` and `selection.Prober.consider`: the MCS, ``~mcs`` where it is a probe.

    ``n_mcs`` where a BLER is not finite; the link's state is then untouched.
    """
    n, price = table.shape[1], link[PRICE]
    greedy, most, lowest = 0, -math.inf, math.inf
    for m in range(n):
        if not math.isfinite(bler[m]):
            return n
        value = gain[m] - bler[m] * (gain[m] + price)
        if value > most:
            greedy, most = m, value
        lowest = min(lowest, bler[m])
    if lowest >= HOPELESS:
        greedy = int(policy[MOST_ROBUST])
    budget = policy[PROBE_BUDGET]
    if budget == 0.0:
        return greedy
    above = int(table[NEXT, greedy])
    value = gain[greedy] * (1.0 - bler[greedy])
    cost = max(value - gain[above] * (1.0 - bler[above]), 0.0)
    credit = min(link[CREDIT] + budget * value, LARGEST_CREDIT * value)
    probe = link[INFORMATION] < policy[PROBE_BELOW] and credit >= cost and above != greedy
    link[CREDIT] = credit - cost if probe else credit
    return ~above if probe else greedy


@_compiled(
    numba.int64(
        MATRIX, VECTOR, VECTOR, SIZES, VECTOR, VECTOR,
        VECTOR, numba.float64, numba.float64, _features32, MATRIX, VECTOR,
    )
)  # fmt: skip
def decide(
    table: np.ndarray,
    policy: np.ndarray,
    encoder: np.ndarray,
    sizes: np.ndarray,
    weights: np.ndarray,
    gain: np.ndarray,
    link: np.ndarray,
    age_slots: float,
    length_logit: float,
    out: np.ndarray,
    work: np.ndarray,
    bler: np.ndarray,
) -> int:
    """All between a report and the next block: features to ``out``, BLERs to ``bler``; see `choose`."""
    features(link, age_slots, length_logit, out)
    read(encoder, sizes[HIDDEN], sizes[ORDERS], out, work)
    predict(table, weights, sizes[LAYERS], sizes[WIDTH], out[ft.LENGTH], work, bler)
    return choose(table, policy, gain, bler, link)


@_compiled(
    numba.void(
        MATRIX, VECTOR, VECTOR, _features32, numba.int64, numba.float64, numba.float64
    )
)  # fmt: skip
def outcome(
    table: np.ndarray,
    policy: np.ndarray,
    link: np.ndarray,
    features: np.ndarray,
    mcs: int,
    bler: float,
    nack: float,
) -> None:
    """`decider.Decider.outcome`."""
    short = (table[THRESHOLD, mcs] - features[ft.SNR]) / table[SLOPE, mcs] + features[ft.LENGTH]
    surprise = nack - sigmoid(short)
    link[FAST] += ft.FAST_GAIN * (surprise - link[FAST])
    link[SLOW] += ft.SLOW_GAIN * (surprise - link[SLOW])
    link[INFORMATION] = INFORMATION_MEMORY * link[INFORMATION] + bler * (1.0 - bler)
    unit = policy[PRICE_UNIT]
    if unit > 0.0:
        price = link[PRICE] + PRICE_STEP * unit * (nack - policy[TARGET])
        link[PRICE] = min(max(price, 0.0), LARGEST_PRICE * unit)
