# SPDX-License-Identifier: GPL-3.0-or-later
"""Tuning, compiled by numba: `tuner.Tuner` without numpy's calls.

For one block the arithmetic takes some ten microseconds and numpy's calls three hundred, and while Python
makes them no other thread of Python gets on: not the one that decides. So the equations of `trigger`, `rules`
(the layer-local ones) and `guards` stand here once more, for one block after another, and the GIL is given up
meanwhile. tests/core/test_tuning_kernel.py holds the two against each other.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from . import guards as gd
from . import trigger as tr
from .compiled import compiler
from .kernel import (
    ABOVE_MIDDLE,
    HIDDEN,
    LAYERS,
    MATRIX,
    ORDER,
    ORDERS,
    SCALED,
    SIZES,
    SLOPE,
    THRESHOLD,
    VECTOR,
    WIDTH,
    read,
    sigmoid,
)  # fmt: skip
from .predictor import GAMMA, LOGISTIC_STD, N_SHAPE, OFFSET

FIRST_ORDER = OFFSET + 1  # of the orders' offsets among the weights; the layers' weights follow them

# What a rule, the trigger's policy and the guards' policy say, and what trigger and guard keep of a link.
# With a name that is not here they are not what was compiled: `compiled_learning` compares.
RULE = ("offset_rate", "order_rate", "gamma_rate", "layer_rate", "theta")
TRIGGER = ("on", "again", "memory", "rise", "trial", "off", "hold", "always")
GUARDS = (
    "max_step", "max_step_db", "radius", "max_offset_db", "max_order_db", "max_gamma", "margin",
    "max_rollbacks", "rest",
)  # fmt: skip
TRIGGER_STATE = ("evidence", "alert", "newness", "active", "held", "fired")
GUARD_STATE = ("evidence", "strikes", "rollbacks", "resting")
OFFSET_RATE, ORDER_RATE, GAMMA_RATE, LAYER_RATE, THETA, BY_GOODNESS = range(6)
ON, AGAIN, MEMORY, RISE, TRIAL, OFF, HOLD, ALWAYS = range(8)
MAX_STEP, MAX_STEP_DB, RADIUS, MAX_OFFSET_DB, MAX_ORDER_DB, MAX_GAMMA, MARGIN, MAX_ROLLBACKS = range(8)
REST = 8

# Rows of the scratch: the layers' logits; then, one row for each layer, inputs, units, and the steps of units
# and of labels; and one that nobody reads.
_Z, _R = range(2)

_SHIFTS = tuple(tr.SHIFTS_DB.tolist())
_LARGEST_LOGIT, _LARGEST_LOSS, _LARGEST_GAIN = tr.LARGEST_LOGIT, tr.LARGEST_LOSS, tr.LARGEST_GAIN
_STAY, _OFFLINE, _HELD, _ROUNDING = gd.STAY, gd.OFFLINE, gd.HELD, gd._ROUNDING
_FLAGS, _COUNTS = numba.boolean[::1], numba.int64[::1]

_compiled = compiler(
    "features",
    "guards",
    "kernel",
    "predictor",
    "selection",
    "trigger",
    nogil=True,
    fastmath={"reassoc", "contract"},
)


@_compiled(numba.float64(numba.float64))
def _softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


@_compiled(numba.void(VECTOR, SIZES, MATRIX, MATRIX, MATRIX, MATRIX, MATRIX, MATRIX))
def encode(
    encoder: np.ndarray,
    sizes: np.ndarray,
    features: np.ndarray,
    x: np.ndarray,
    mu_db: np.ndarray,
    sigma_db: np.ndarray,
    tilt: np.ndarray,
    work: np.ndarray,
) -> None:
    """`predictor.Encoder` for one block after another; ``work`` is `kernel.read`'s."""
    orders = sizes[ORDERS]
    for i in range(len(features)):
        read(encoder, sizes[HIDDEN], orders, features[i], work)
        x[i] = work[0, :N_SHAPE]
        mu_db[i], sigma_db[i], tilt[i] = work[1, :orders], work[2, :orders], work[3, :orders]


@_compiled(numba.float64(VECTOR, SIZES, VECTOR, numba.float64, numba.float64, MATRIX))
def _forward(
    weights: np.ndarray, sizes: np.ndarray, x: np.ndarray, t: float, k: float, work: np.ndarray
) -> float:
    """The adaptive layers for the MCS that was sent: leaves logits, inputs and units; returns the logit."""
    layers, width = sizes[LAYERS], sizes[WIDTH]
    start, n_units, total = FIRST_ORDER + sizes[ORDERS], layers * width, 0.0
    first = len(weights) - 4 * n_units
    work[_R, :N_SHAPE] = x
    for layer in range(layers):
        n_in = N_SHAPE if layer == 0 else width
        r, h = work[_R + layer], work[_R + layers + layer]
        following = work[_R + layer + 1] if layer + 1 < layers else work[_R + 4 * layers]
        square = correction = 0.0
        for j in range(width):
            unit, row, sign = first + layer * width + j, start + j * n_in, 1.0 - 2.0 * (j % 2)
            a = weights[unit]
            for i in range(n_in):
                a += weights[row + i] * r[i]
            value = a + sign * (weights[unit + n_units] * t + weights[unit + 2 * n_units] * k)
            h[j] = 0.0 if value < 0.0 else value  # NaN goes on
            correction += sign * weights[unit + 3 * n_units] * h[j]
            following[j] = 0.0 if a < 0.0 else a
            square += following[j] * following[j]
        rms = math.sqrt(square / width + 1e-6)
        for j in range(width):
            following[j] /= rms
        work[_Z, layer] = t + 2.0 * correction
        total += work[_Z, layer]
        start += n_in * width
    return total / layers


@_compiled(numba.float64(numba.float64, numba.float64))
def _page_sum(evidence: float, step: float) -> float:
    """`trigger.page_sum`."""
    return max(evidence + min(max(step, -_LARGEST_LOSS), _LARGEST_GAIN), 0.0)


@_compiled(
    numba.boolean(
        VECTOR, VECTOR, numba.int64, VECTOR, VECTOR, _FLAGS, _COUNTS, _COUNTS,
        numba.float64, numba.float64, numba.float64,
    )
)  # fmt: skip
def _triggered(
    policy: np.ndarray,
    evidence: np.ndarray,
    row: int,
    alert: np.ndarray,
    newness: np.ndarray,
    active: np.ndarray,
    held: np.ndarray,
    fired: np.ndarray,
    logit: float,
    scale: float,
    nack: float,
) -> bool:
    """`trigger.Trigger.update`."""
    sign, logit = 1.0 - 2.0 * nack, min(max(logit, -_LARGEST_LOGIT), _LARGEST_LOGIT)
    loss, largest = _softplus(sign * logit), 0.0
    for i in range(len(_SHIFTS) + 1):
        other = logit - scale * _SHIFTS[i] if i < len(_SHIFTS) else 0.5 * logit
        evidence[i] = _page_sum(evidence[i], loss - _softplus(sign * other))
        largest = max(largest, evidence[i])
    fire = largest > policy[ON] - (policy[ON] - policy[AGAIN]) * max(alert[row], newness[row])
    newness[row] *= math.exp(-1.0 / policy[TRIAL])
    risen = min(alert[row] + policy[RISE], 1.0)
    alert[row] = risen if fire else alert[row] * (1.0 - 1.0 / policy[MEMORY])
    if fire:
        evidence[:] = 0.0
    was = active[row]
    stop = was and largest < policy[OFF] and held[row] >= policy[HOLD]
    held[row] = 0 if fire else held[row] + 1
    if fire and not was:
        fired[row] += 1
    active[row] = ((was or fire) and not stop) or policy[ALWAYS] > 0.0
    return active[row]


@_compiled(numba.float64(numba.float64, numba.float64))
def _log_loss(bler: float, nack: float) -> float:
    return -math.log(bler if nack > 0.5 else 1.0 - bler)


@_compiled(
    numba.int64(
        VECTOR, VECTOR, numba.int64, _COUNTS, numba.float64, numba.float64, numba.float64
    )
)  # fmt: skip
def _weighed(
    guards: np.ndarray,
    evidence: np.ndarray,
    row: int,
    strikes: np.ndarray,
    loss: float,
    offline_loss: float,
    held_loss: float,
) -> int:
    """`guards.LossGuard.update`, but for the rest."""
    evidence[0] = _page_sum(evidence[0], loss - offline_loss)
    evidence[1] = _page_sum(evidence[1], loss - held_loss)
    evidence[2] = _page_sum(evidence[2], offline_loss - loss)
    if evidence[2] > guards[MARGIN]:
        strikes[row] = 0
    if max(evidence[0], evidence[1]) <= guards[MARGIN]:
        return _STAY
    return _HELD if evidence[1] > evidence[0] + _ROUNDING else _OFFLINE


@_compiled(
    numba.float64(
        VECTOR, VECTOR, SIZES, numba.float64, numba.float64, numba.float64, MATRIX
    )
)  # fmt: skip
def _directions(
    rule: np.ndarray,
    weights: np.ndarray,
    sizes: np.ndarray,
    t: float,
    k: float,
    nack: float,
    work: np.ndarray,
) -> float:
    """`rules.LocalHead.local` or `rules.ForwardForward.local`: leaves the steps of units and labels; returns
    the square of the norm of the step of all layers' weights."""
    layers, width = sizes[LAYERS], sizes[WIDTH]
    label, first = 2.0 * nack - 1.0, len(weights) - layers * width
    square = 0.0
    for layer in range(layers):
        r, h = work[_R + layer], work[_R + layers + layer]
        d_h, d_u = work[_R + 2 * layers + layer], work[_R + 3 * layers + layer]
        pull = push = error = 0.0
        if rule[BY_GOODNESS] > 0.0:
            positive = negative = 0.0
            for j in range(width):
                shift = (1.0 - 2.0 * (j % 2)) * weights[first + layer * width + j] * label
                positive += (h[j] + shift) * (h[j] + shift)
                negative += (h[j] - shift) * (h[j] - shift)
            pull = -2.0 * sigmoid(-(label * t + positive - rule[THETA]))
            push = 2.0 * sigmoid(-label * t + negative - rule[THETA])
        else:
            error = 2.0 * (sigmoid(work[_Z, layer]) - nack)
        inputs = 1.0 + t * t + k * k
        for i in range(N_SHAPE if layer == 0 else width):
            inputs += r[i] * r[i]
        for j in range(width):
            sign = 1.0 - 2.0 * (j % 2)
            u = weights[first + layer * width + j]
            if rule[BY_GOODNESS] > 0.0:
                towards, away = pull * (h[j] + sign * u * label), push * (h[j] - sign * u * label)
                unit, read_out = towards + away, sign * label * (towards - away)
            else:
                unit, read_out = error * sign * u, error * sign * h[j]
            d_h[j] = -rule[LAYER_RATE] * unit if h[j] > 0.0 else 0.0
            d_u[j] = -rule[LAYER_RATE] * read_out
            square += d_h[j] * d_h[j] * inputs + d_u[j] * d_u[j]
    return square


@_compiled(
    numba.boolean(
        VECTOR, VECTOR, VECTOR, VECTOR, SIZES, numba.int64,
        numba.float64, numba.float64, numba.float64, numba.float64, MATRIX, VECTOR,
    )
)  # fmt: skip
def _stepped(
    rule: np.ndarray,
    guards: np.ndarray,
    weights: np.ndarray,
    offline: np.ndarray,
    sizes: np.ndarray,
    order: int,
    t: float,
    k: float,
    scale: float,
    nack: float,
    work: np.ndarray,
    fresh: np.ndarray,
) -> bool:
    """One step of `rules`, bounded and projected as `guards` has it, to ``fresh``; True if it is finite."""
    layers, width, n = sizes[LAYERS], sizes[WIDTH], len(weights)
    n_units, start = layers * width, FIRST_ORDER + sizes[ORDERS]
    first = n - 4 * n_units
    norm = math.sqrt(_directions(rule, weights, sizes, t, k, nack, work))
    factor = guards[MAX_STEP] / norm if norm > guards[MAX_STEP] else 1.0
    fresh[:] = weights

    residual, largest = sigmoid(t) - nack, guards[MAX_STEP_DB]
    fresh[GAMMA] -= rule[GAMMA_RATE] * residual * min(max(t, -4.0), 4.0)
    fresh[OFFSET] += min(max(rule[OFFSET_RATE] * residual * scale, -largest), largest)
    fresh[FIRST_ORDER + order] += min(max(rule[ORDER_RATE] * residual * scale, -largest), largest)
    fresh[GAMMA] = min(max(fresh[GAMMA], -guards[MAX_GAMMA]), guards[MAX_GAMMA])
    fresh[OFFSET] = min(max(fresh[OFFSET], -guards[MAX_OFFSET_DB]), guards[MAX_OFFSET_DB])
    for q in range(FIRST_ORDER, start):
        fresh[q] = min(max(fresh[q], -guards[MAX_ORDER_DB]), guards[MAX_ORDER_DB])

    row = start
    for layer in range(layers):
        n_in = N_SHAPE if layer == 0 else width
        r, d_h, d_u = work[_R + layer], work[_R + 2 * layers + layer], work[_R + 3 * layers + layer]
        for j in range(width):
            step, unit, sign = factor * d_h[j], first + layer * width + j, 1.0 - 2.0 * (j % 2)
            for i in range(n_in):
                fresh[row + i] += step * r[i]
            row += n_in
            fresh[unit] += step
            fresh[unit + n_units] += step * sign * t
            fresh[unit + 2 * n_units] += step * sign * k
            fresh[unit + 3 * n_units] += factor * d_u[j]
    for i in range(first + n_units, n):
        fresh[i] = 0.0 if fresh[i] < 0.0 else fresh[i]

    away = 0.0
    for i in range(start, n):
        away += (fresh[i] - offline[i]) * (fresh[i] - offline[i])
    away = math.sqrt(away)
    if away > guards[RADIUS]:
        for i in range(start, n):
            fresh[i] = offline[i] + (fresh[i] - offline[i]) * (guards[RADIUS] / away)
    finite = True
    for i in range(n):
        finite = finite and math.isfinite(fresh[i])
    return finite


@_compiled(
    numba.void(
        MATRIX, SIZES, VECTOR, VECTOR, VECTOR, VECTOR,
        MATRIX, MATRIX, _COUNTS, _COUNTS, _COUNTS,
        MATRIX, VECTOR, VECTOR, _FLAGS, _COUNTS, _COUNTS,
        MATRIX, _COUNTS, _COUNTS, _COUNTS,
        _COUNTS, VECTOR, MATRIX, MATRIX, MATRIX, MATRIX, _COUNTS, VECTOR, MATRIX, VECTOR, _FLAGS,
    )
)  # fmt: skip
def learn(
    table: np.ndarray,
    sizes: np.ndarray,
    offline: np.ndarray,
    rule: np.ndarray,
    policy: np.ndarray,
    guards: np.ndarray,
    flat: np.ndarray,
    held: np.ndarray,
    version: np.ndarray,
    samples: np.ndarray,
    updates: np.ndarray,
    evidence: np.ndarray,
    alert: np.ndarray,
    newness: np.ndarray,
    active: np.ndarray,
    quiet: np.ndarray,
    fired: np.ndarray,
    earlier: np.ndarray,
    strikes: np.ndarray,
    rollbacks: np.ndarray,
    resting: np.ndarray,
    rows: np.ndarray,
    length_logit: np.ndarray,
    x: np.ndarray,
    mu_db: np.ndarray,
    sigma_db: np.ndarray,
    tilt: np.ndarray,
    mcs: np.ndarray,
    nack: np.ndarray,
    work: np.ndarray,
    fresh: np.ndarray,
    changed: np.ndarray,
) -> None:
    """`tuner.Tuner.learn_rows`; ``policy`` and from ``evidence`` to ``fired`` are the trigger's, ``guards``
    and from ``earlier`` to ``resting`` the guard's."""
    for i in range(len(rows)):
        row, m, n = rows[i], mcs[i], nack[i]
        weights, q = flat[row], int(table[ORDER, m])
        slope, spread, k = table[SLOPE, m], sigma_db[i, q] / LOGISTIC_STD, table[SCALED, m]
        steepness = 1.0 / math.sqrt(slope * slope + spread * spread)
        margin = table[THRESHOLD, m] + tilt[i, q] * table[ABOVE_MIDDLE, m]
        margin += slope * length_logit[i] - mu_db[i, q]
        t = math.exp(offline[GAMMA]) * steepness * (margin - offline[FIRST_ORDER + q] - offline[OFFSET])
        offline_loss = _log_loss(sigmoid(_forward(offline, sizes, x[i], t, k, work)), n)
        left = held[row]
        t = math.exp(left[GAMMA]) * steepness * (margin - left[FIRST_ORDER + q] - left[OFFSET])
        held_loss = _log_loss(sigmoid(_forward(left, sizes, x[i], t, k, work)), n)
        scale = math.exp(weights[GAMMA]) * steepness
        t = scale * (margin - weights[FIRST_ORDER + q] - weights[OFFSET])
        logit = _forward(weights, sizes, x[i], t, k, work)

        samples[row] += 1
        rested = resting[row] > 0
        tune = _triggered(policy, evidence[row], row, alert, newness, active, quiet, fired, logit, scale, n)
        where = _weighed(
            guards, earlier[row], row, strikes, _log_loss(sigmoid(logit), n), offline_loss, held_loss
        )
        resting[row] = max(resting[row] - 1, 0)
        worse = where != _STAY
        tune = tune and not worse and resting[row] == 0
        if tune:
            updates[row] += 1
            version[row] += 1
            if _stepped(rule, guards, weights, offline, sizes, q, t, k, scale, n, work, fresh):
                weights[:] = fresh
            else:
                where = _OFFLINE
        if where != _STAY:
            fresh[:] = held[row] if where == _HELD else offline
            held[row] = weights
            weights[:] = fresh
            version[row] += 1
            evidence[row] = 0.0
            earlier[row] = 0.0
            rollbacks[row] += 1
            strikes[row] = strikes[row] + 1 if where == _OFFLINE else 0
            if strikes[row] >= guards[MAX_ROLLBACKS]:
                resting[row] = int(guards[REST])
                strikes[row] = 0
            if resting[row] > 0:
                held[row] = offline
                weights[:] = offline
        changed[i] = tune or worse or rested != (resting[row] > 0)
