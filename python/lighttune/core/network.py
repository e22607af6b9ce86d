# SPDX-License-Identifier: GPL-3.0-or-later
r"""The network: a recurrent layer reads the link's whole history, closed forms give the BLER of every MCS.

One step for every block that is sent, and one more for every outcome beyond the first that came since. What
it reads (`NAMES`): how the reports move, their age, of an outcome that came its sign, the margin of its MCS
when it was sent and now, its surprise and its threshold, and what the beliefs hold. A gated recurrent unit
(K. Cho et al., EMNLP 2014) of `record.HIDDEN` units remembers; a tanh layer and a linear bypass give for each
modulation order ``q`` the effective SINR of the coming block ``N(mu_q, sigma_q^2)`` and a tilt along its
ladder, and a loss floor ``f`` for all:

    BLER(m) = f + (1 - f) sigmoid(t(m)),
    t(m) = (threshold(m) + tilt_q above(m) + slope(m) length_logit - mu_q) / s(m),
    s(m) = sqrt(slope(m)^2 + (sqrt(3) / pi sigma_q)^2)

``mu_q`` is relative to the *anchor*: the last report plus the told belief's mean offset; where no report ever
came, the blind belief's mean. Shifting all reports alike changes nothing but the belief.

The BLER is inside (0, 1) and monotone along each order's ladder, whatever the weights.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from . import features as ft
from .belief import MATRIX, VECTOR, sigmoid
from .compiled import compiler
from .predictor import LARGEST_TILT, LOGISTIC_STD, MAX_DELTA_DB, MIN_SIGMA_DB
from .record import (
    ABOVE_MIDDLE,
    BLIND,
    HIDDEN,
    LINKS,
    MIDDLE_DB,
    N_INPUTS,
    N_ORDERS,
    ORDER,
    SLOPE,
    THRESHOLD,
    TOLD,
)  # fmt: skip

NAMES = (
    *ft.NAMES[ft.SHAPE],
    "reported",
    "fresh",
    "outcome",
    "margin_sent",
    "margin_now",
    "surprise",
    "outcome_threshold",
    "told_offset_db",
    "told_width_db",
    "told_loss",
    "blind_offset_db",
    "blind_width_db",
    "blind_loss",
    "length_logit",
    "log_outcome_age",
    "youth",
    "spare",
)
"""The inputs, by place."""

LARGEST_LOSS = 0.6
LOSS_BIAS = -4.0  # an untrained network tells a floor of 1 %
SIGN, MARGIN, SURPRISE, OUTCOME_THRESHOLD, OUTCOME_BLOCK = range(5)  # of a link's waiting outcome
_FIRST = ft.SHAPE.stop - ft.SHAPE.start

WEIGHTS = numba.float32[::1]
_compiled = compiler("record", "belief", "features", "predictor", fastmath={"reassoc", "contract", "nsz"})


def parts(orders: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the network's arrays, in the order in which the flat vector holds them; matrices
    by input, so that the inner loop runs over outputs."""
    outputs = 3 * orders + 1
    return {
        "mean": (N_INPUTS,),
        "inverse_std": (N_INPUTS,),
        "input": (N_INPUTS, 3 * HIDDEN),
        "input_bias": (3 * HIDDEN,),
        "recurrent": (HIDDEN, 3 * HIDDEN),
        "recurrent_bias": (3 * HIDDEN,),
        "head": (HIDDEN, HIDDEN),
        "head_inputs": (N_INPUTS, HIDDEN),
        "head_bias": (HIDDEN,),
        "out": (HIDDEN, outputs),
        "bypass": (N_INPUTS, outputs),
        "out_bias": (outputs,),
    }


def size(orders: int) -> int:
    """Length of the flat vector."""
    return sum(math.prod(shape) for shape in parts(orders).values())


@_compiled(numba.void(LINKS, numba.int64, numba.float64))
def report(links: np.ndarray, row: int, snr_db: float) -> None:
    """Take a report in dB: `features.LinkHistory.report`."""
    link = links[row]
    if link.seen == 0:
        for i in range(ft.HISTORY):
            link.reports[i] = snr_db
        link.mean = snr_db
        link.spread2 = 1.0
        for i in range(len(ft.STRUCTURE_LAGS)):
            link.structure2[i] = 1.0
    else:
        step = snr_db - link.reports[0]
        link.spread2 += ft.MEAN_GAIN * (step * step - link.spread2)
        link.mean += ft.MEAN_GAIN * (snr_db - link.mean)
        for i, lag in enumerate(ft.STRUCTURE_LAGS):
            apart = snr_db - link.reports[lag - 1]
            link.structure2[i] += ft.MEAN_GAIN * (apart * apart - link.structure2[i])
        for i in range(ft.HISTORY - 1, 0, -1):
            link.reports[i] = link.reports[i - 1]
        link.reports[0] = snr_db
    link.seen += 1
    link.fresh = 1


@_compiled(numba.float64(LINKS, numba.int64, VECTOR))
def anchor(links: np.ndarray, row: int, policy: np.ndarray) -> float:
    """The SINR in dB that the network's is relative to."""
    link = links[row]
    if link.seen == 0:
        return policy[MIDDLE_DB] + link.centre_db[BLIND]
    return link.reports[0] + link.centre_db[TOLD]


@_compiled(numba.void(LINKS, numba.int64, VECTOR, numba.float64, numba.float64, WEIGHTS))
def read(
    links: np.ndarray,
    row: int,
    policy: np.ndarray,
    age_blocks: float,
    length_logit: float,
    out: np.ndarray,
) -> None:
    """What the network reads next, in the order of `NAMES`; a waiting outcome is taken out."""
    link = links[row]
    at = anchor(links, row, policy)
    for i in range(N_INPUTS):
        out[i] = 0.0
    if link.seen > 0:
        snr = link.reports[0]
        for i in range(1, ft.HISTORY):
            out[i - 1] = link.reports[i] - snr
        out[ft.MEAN - 1] = link.mean - snr
        spread = 0.5 * math.log(link.spread2 + ft.SPREAD_FLOOR_DB2)
        out[ft.SPREAD - 1] = spread
        for i in range(len(ft.STRUCTURE_LAGS)):
            out[ft.SPREAD + i] = 0.5 * math.log(link.structure2[i] + ft.SPREAD_FLOOR_DB2) - spread
        out[ft.AGE - 1] = math.log(min(max(age_blocks, 1.0), ft.MAX_AGE_SLOTS))
        out[_FIRST] = 1.0
    out[ft.FAST - 1] = link.fast
    out[ft.SLOW - 1] = link.slow
    out[_FIRST + 1] = float(link.fresh)
    link.fresh = 0
    if link.waiting:
        link.waiting = 0
        out[_FIRST + 2] = link.outcome[SIGN]
        out[_FIRST + 3] = 0.1 * link.outcome[MARGIN]
        out[_FIRST + 4] = 0.1 * (link.outcome[OUTCOME_THRESHOLD] - at)
        out[_FIRST + 5] = link.outcome[SURPRISE]
        out[_FIRST + 6] = 0.1 * (link.outcome[OUTCOME_THRESHOLD] - policy[MIDDLE_DB])
        out[_FIRST + 14] = math.log1p(max(link.blocks - link.outcome[OUTCOME_BLOCK], 0.0))
    out[_FIRST + 7] = link.centre_db[TOLD] if link.seen > 0 else 0.0
    out[_FIRST + 8] = link.width_db[TOLD] if link.seen > 0 else 0.0
    out[_FIRST + 9] = link.loss[TOLD] if link.seen > 0 else link.loss[BLIND]
    out[_FIRST + 10] = policy[MIDDLE_DB] + link.centre_db[BLIND] - at
    out[_FIRST + 11] = link.width_db[BLIND]
    out[_FIRST + 12] = link.loss[BLIND]
    out[_FIRST + 13] = length_logit
    out[_FIRST + 15] = 1.0 / (1.0 + 0.05 * link.outcomes)


@_compiled(numba.void(WEIGHTS, numba.int64, numba.int64, numba.int64, WEIGHTS, WEIGHTS))
def dense(net: np.ndarray, start: int, n_in: int, n_out: int, x: np.ndarray, out: np.ndarray) -> None:
    """Add the matrix ``(n_in, n_out)`` that begins at ``net[start]``, times ``x``, to ``out``."""
    for i in range(n_in):
        first, x_i = start + i * n_out, x[i]
        for j in range(n_out):
            out[j] += x_i * net[first + j]


@_compiled(numba.void(WEIGHTS, WEIGHTS))
def standardise(net: np.ndarray, x: np.ndarray) -> None:
    """Centre and scale the inputs as in training, in place."""
    for i in range(N_INPUTS):
        x[i] = min(max((x[i] - net[i]) * net[N_INPUTS + i], np.float32(-8.0)), np.float32(8.0))


@_compiled(numba.void(LINKS, numba.int64, WEIGHTS, WEIGHTS))
def step(links: np.ndarray, row: int, net: np.ndarray, x: np.ndarray) -> None:
    """One step of the recurrent layer on standardised inputs."""
    link = links[row]
    hidden = np.empty(HIDDEN, np.float32)
    for j in range(HIDDEN):
        hidden[j] = link.hidden[j]
    start = 2 * N_INPUTS
    fresh, kept = np.empty(3 * HIDDEN, np.float32), np.empty(3 * HIDDEN, np.float32)
    after = start + 3 * HIDDEN * N_INPUTS
    for j in range(3 * HIDDEN):
        fresh[j] = net[after + j]
    dense(net, start, N_INPUTS, 3 * HIDDEN, x, fresh)
    start = after + 3 * HIDDEN
    after = start + 3 * HIDDEN * HIDDEN
    for j in range(3 * HIDDEN):
        kept[j] = net[after + j]
    dense(net, start, HIDDEN, 3 * HIDDEN, hidden, kept)
    for j in range(HIDDEN):
        reset = 1.0 / (1.0 + math.exp(-(fresh[j] + kept[j])))
        update = 1.0 / (1.0 + math.exp(-(fresh[HIDDEN + j] + kept[HIDDEN + j])))
        new = math.tanh(fresh[2 * HIDDEN + j] + reset * kept[2 * HIDDEN + j])
        value = new + update * (hidden[j] - new)
        link.hidden[j] = value if abs(value) <= 1.0 else 0.0  # NaN, too, is none


@_compiled(
    numba.void(LINKS, numba.int64, WEIGHTS, WEIGHTS, MATRIX, VECTOR, numba.float64, numba.float64, VECTOR)
)
def predict(
    links: np.ndarray,
    row: int,
    net: np.ndarray,
    x: np.ndarray,
    table: np.ndarray,
    policy: np.ndarray,
    anchor_db: float,
    length_logit: float,
    bler: np.ndarray,
) -> None:
    """BLER of every MCS from the hidden state and the standardised inputs; 0.5 where it is not finite."""
    orders = int(policy[N_ORDERS])
    outputs = 3 * orders + 1
    h, out = np.empty(HIDDEN, np.float32), np.empty(outputs, np.float32)
    hidden = np.empty(HIDDEN, np.float32)
    for j in range(HIDDEN):
        hidden[j] = links[row].hidden[j]
    start = 2 * N_INPUTS + 3 * HIDDEN * (N_INPUTS + HIDDEN + 2)
    bias = start + HIDDEN * (HIDDEN + N_INPUTS)
    for j in range(HIDDEN):
        h[j] = net[bias + j]
    dense(net, start, HIDDEN, HIDDEN, hidden, h)
    dense(net, start + HIDDEN * HIDDEN, N_INPUTS, HIDDEN, x, h)
    for j in range(HIDDEN):
        h[j] = math.tanh(h[j])
    start = bias + HIDDEN
    bias = start + (HIDDEN + N_INPUTS) * outputs
    for j in range(outputs):
        out[j] = net[bias + j]
    dense(net, start, HIDDEN, outputs, h, out)
    dense(net, start + HIDDEN * outputs, N_INPUTS, outputs, x, out)
    floor = LARGEST_LOSS / (1.0 + math.exp(-(out[3 * orders] + LOSS_BIAS)))
    mu, sigma, tilt = np.empty(orders), np.empty(orders), np.empty(orders)
    for q in range(orders):
        mu[q] = anchor_db + MAX_DELTA_DB * math.tanh(out[q] / MAX_DELTA_DB)
        raw = out[orders + q]
        sigma[q] = (MIN_SIGMA_DB + max(raw, 0.0) + math.log1p(math.exp(-abs(raw)))) / LOGISTIC_STD
        tilt[q] = LARGEST_TILT * math.tanh(out[2 * orders + q])
    for m in range(table.shape[1]):
        q, slope = int(table[ORDER, m]), table[SLOPE, m]
        needed = table[THRESHOLD, m] + tilt[q] * table[ABOVE_MIDDLE, m] + slope * length_logit
        logit = (needed - mu[q]) / math.sqrt(slope * slope + sigma[q] * sigma[q])
        value = floor + (1.0 - floor) * sigmoid(logit)
        bler[m] = value if abs(logit) < 1e9 and 0.0 < value < 1.0 else 0.5
