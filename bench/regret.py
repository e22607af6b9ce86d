# SPDX-License-Identifier: GPL-3.0-or-later
"""Regret of one convex part of the tuner against the best fixed value in hindsight.

What is stated and proved stands in docs/convergence.md, and its symbols are used here. `convergence` writes a
table and a plot; `tests/core/test_convergence.py` holds these functions to the bound.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from gnuradio.lighttune.core import features as ft
from gnuradio.lighttune.core.guards import GuardPolicy, project
from gnuradio.lighttune.core.mcs import sigmoid
from gnuradio.lighttune.core.predictor import OFFSET, Activations, Predictor, Reading
from gnuradio.lighttune.core.rules import LocalHead, Outcome

from convex import Ball, Box, Domain

HORIZONS = (250, 500, 1000, 2000, 4000, 8000)
STREAMS = ("i.i.d.", "adaptive")
GAP = 1e-2  # nats: how far from the optimum, provably, a comparator's total loss may be
_LARGEST_T = 6.0  # only MCS with |t| below are sent (BLER 0.25 % to 99.75 %): what bounds h


@dataclass(frozen=True)
class Part:
    """What is tuned, all else being frozen: the read-out ``u`` of a layer, or all offsets in dB.

    Args:
        layer: 0, 1, ...; or -1 for the offsets: the SINR's and every modulation order's.
        guards: whose bounds on the part are the comparators' too.
    """

    layer: int
    guards: GuardPolicy = field(default_factory=GuardPolicy)

    @property
    def name(self) -> str:
        """For tables."""
        return "offsets" if self.layer < 0 else f"read-out of layer {self.layer + 1}"

    def places(self, predictor: Predictor) -> np.ndarray:
        """Where the part lies in the flat weights, shape ``(d,)``."""
        marker = predictor.weights(np.zeros(predictor.shape.n_weights))
        if self.layer < 0:
            marker.flat[OFFSET], marker.order_db[...] = 1.0, 1.0
        else:
            marker.u[self.layer] = 1.0
        return np.flatnonzero(marker.flat)

    def logit(self, act: Activations) -> np.ndarray:
        """The local logit whose loss is descended, shape ``(..., C)``."""
        return act.t if self.layer < 0 else act.z[..., self.layer]

    def slope(
        self, act: Activations, predictor: Predictor, mcs: np.ndarray | slice = slice(None)
    ) -> np.ndarray:
        """Derivative of the logit by the part, ``(..., C, d)``: constant, for the logit is affine in it.

        ``mcs`` as in `Predictor.forward`, which gave ``act``.
        """
        if self.layer < 0:
            of_order = np.eye(predictor.shape.orders)[predictor.table.order_of[mcs]]
            moved = np.concatenate([np.ones((*of_order.shape[:-1], 1)), of_order], axis=-1)
            return -act.scale[..., None] * moved
        return 2.0 * predictor.shape.signs * act.h[..., self.layer, :]

    def domain(self, predictor: Predictor) -> Domain:
        """The set ``K`` of comparators."""
        if self.layer < 0:
            sizes = np.repeat(
                (self.guards.max_offset_db, self.guards.max_order_db), (1, predictor.shape.orders)
            )
            return Box(sizes)
        return Ball(predictor.offline[self.places(predictor)].astype(float), self.guards.radius)


@dataclass(frozen=True)
class World:
    """A link whose reports are too high, drawn block by block: ``T`` blocks, ``C`` MCS.

    ``features (T, N_FEATURES)``; ``allowed (T, C)``, which MCS may be sent; ``bler (T, C)``, the true one;
    ``chance (T,)`` and ``pick (T,)``, uniform numbers that decide on the outcome and on a random MCS.
    """

    features: np.ndarray
    allowed: np.ndarray
    bler: np.ndarray
    chance: np.ndarray
    pick: np.ndarray


def make_world(predictor: Predictor, seed: int, blocks: int, bias_db: float = 3.0) -> World:
    """Reports uniform over 5 to 20 dB, ``bias_db`` too high; but for the bias the predictor is right."""
    rng = np.random.default_rng(seed)
    features = np.zeros((blocks, ft.N_FEATURES))
    features[:, 0] = rng.uniform(5.0, 20.0, blocks)
    shape = rng.standard_normal((blocks, ft.SHAPE.stop - ft.SHAPE.start))
    features[:, ft.SHAPE] = predictor.encoder.mean + predictor.encoder.scale * shape
    size = np.abs(predictor.forward(predictor.weights(), features).t)
    allowed = size <= np.maximum(_LARGEST_T, size.min(axis=1, keepdims=True))  # the nearest one at least
    right = predictor.weights()
    right.flat[OFFSET] -= bias_db
    bler = predictor.bler(right, features)
    return World(features, allowed, bler, rng.random(blocks), rng.random(blocks))


def gradient_bound(predictor: Predictor, world: World, part: Part) -> float:
    """``G``: no MCS that may be sent has a gradient that is longer."""
    slope = part.slope(predictor.forward(predictor.weights(), world.features), predictor)
    return float(np.linalg.norm(slope, axis=-1)[world.allowed].max())


@dataclass(frozen=True)
class Trace:
    """What happened, ``n`` runs over ``T`` blocks: the losses that were suffered, and their data.

    ``loss, rest, nack (n, T)`` and ``slope (n, T, d)``: the loss at ``w`` is that of the logit
    ``rest + slope . w``.
    """

    loss: np.ndarray
    rest: np.ndarray
    slope: np.ndarray
    nack: np.ndarray


def play(
    predictor: Predictor,
    worlds: list[World],
    part: Part,
    adaptive: bool,
    rates: np.ndarray,
    tick: Callable[[], None] = lambda: None,
) -> Trace:
    """Projected online gradient, by the tuner's own rule and projection, in all worlds side by side.

    Args:
        worlds: one for each run, ``n`` of them, of equal length.
        adaptive: the MCS with the most goodput by the read-out as it stands, or one at random.
        rates: ``eta``, shape ``(n, T)``.
        tick: called after every 100 blocks.
    """
    n, (blocks, _) = len(worlds), worlds[0].allowed.shape
    features, allowed, bler = (
        np.stack([getattr(w, k) for w in worlds], 1) for k in ("features", "allowed", "bler")
    )
    chance, pick = (np.stack([getattr(w, k) for w in worlds], 1) for k in ("chance", "pick"))
    encoded = predictor.encoder(features)
    efficiency, row = predictor.table.spectral_efficiency, np.arange(n)
    rule = LocalHead(offset_rate=1.0, order_rate=1.0, gamma_rate=1.0, layer_rate=1.0)
    weights, places = predictor.weights(np.tile(predictor.offline, (n, 1))), part.places(predictor)
    trace = Trace(*(np.empty((n, blocks, *shape)) for shape in ((), (), (len(places),), ())))
    for i in range(blocks):
        code = Reading(*(e[i] for e in encoded))
        if adaptive:
            act = predictor.forward(weights, features[i], encoded=code)
            value = efficiency * (1.0 - sigmoid(part.logit(act)))
            mcs = np.where(allowed[i], value, -1.0).argmax(axis=1)
        else:
            rank = np.floor(pick[i] * allowed[i].sum(axis=1))
            mcs = (allowed[i].cumsum(axis=1) > rank[:, None]).argmax(axis=1)
        outcome = Outcome(features[i], mcs[:, None], code, (chance[i] < bler[i, row, mcs]).astype(float))
        act = predictor.forward(weights, features[i], outcome.mcs, code)
        z, slope = part.logit(act)[:, 0], part.slope(act, predictor, outcome.mcs)[:, 0]
        trace.loss[:, i] = np.logaddexp(0.0, (1.0 - 2.0 * outcome.nack) * z)
        trace.rest[:, i] = z - np.einsum("nd,nd->n", slope, weights.flat[:, places])
        trace.slope[:, i], trace.nack[:, i] = slope, outcome.nack
        step = rule.direction(predictor, weights, act, outcome)  # at rate 1 minus the gradient
        weights.flat[:, places] += rates[:, i, None] * step[:, places]
        project(weights, predictor.offline, part.guards)
        if i % 100 == 99:
            tick()
    return trace


def diminishing(diameter: float, gradient: float, blocks: int) -> np.ndarray:
    """``eta_t = D / (G sqrt(2 t))``, shape ``(blocks,)``."""
    return diameter / (gradient * np.sqrt(2.0 * np.arange(1, blocks + 1)))


def best_fixed(trace: Trace, run: int, horizon: int, domain: Domain) -> tuple[float, float, np.ndarray]:
    """The least total loss of any fixed ``w`` in ``K`` over a run's first blocks.

    Newton's method on ``tau f(w) + barrier(w)`` with growing ``tau``. The certificate does not trust it: for
    convex ``f`` and any ``w`` of ``K``, ``f(w) - min f`` is at most ``<grad f(w), w> - min over v in K of
    <grad f(w), v>`` (Frank and Wolfe 1956).

    Returns:
        the total loss in nats, the certificate in nats, and ``w``.
    """
    a, rest = trace.slope[run, :horizon], trace.rest[run, :horizon]
    nack, sign = trace.nack[run, :horizon], 1.0 - 2.0 * trace.nack[run, :horizon]

    def loss(w: np.ndarray) -> float:
        return float(np.logaddexp(0.0, sign * (rest + a @ w)).sum())

    w = domain.inner
    for tau in np.geomspace(1e-2, 2.0 * (len(w) + 1) / GAP, 8):
        for _ in range(100):
            p = sigmoid(rest + a @ w)
            gradient, hessian = domain.barrier_slopes(w)
            gradient = gradient + tau * (a.T @ (p - nack))
            hessian = hessian + tau * (a.T * (p * (1.0 - p))) @ a
            newton = np.linalg.solve(hessian, gradient)
            decrement, size, here = gradient @ newton, 1.0, tau * loss(w) + domain.barrier(w)
            if decrement < 1e-8:
                break
            while size > 1e-10:
                at = w - size * newton
                wall = domain.barrier(at)
                if wall < np.inf and tau * loss(at) + wall <= here - 0.25 * size * decrement:
                    break
                size /= 2.0
            w = w - size * newton
    gradient = a.T @ (sigmoid(rest + a @ w) - nack)
    return loss(w), float(gradient @ w - domain.least(gradient)), w


def regrets(trace: Trace, domain: Domain, horizons: tuple[int, ...] = HORIZONS) -> np.ndarray:
    """Regret in nats of every run over every horizon, ``(n, len(horizons))``; at most `GAP` too small.

    Raises:
        ArithmeticError: a comparator is not provably within `GAP` of the optimum.
    """
    out = np.empty((len(trace.loss), len(horizons)))
    for run in range(len(out)):
        for column, horizon in enumerate(horizons):
            least, gap, _ = best_fixed(trace, run, horizon, domain)
            if gap > GAP:
                raise ArithmeticError(f"run {run}, T = {horizon}: the comparator may be {gap:.2g} nats off")
            out[run, column] = trace.loss[run, :horizon].sum() - least
    return out


def exponent(regret: np.ndarray, horizons: tuple[int, ...] = HORIZONS) -> float:
    """Slope of log regret over log T, for ``regret (len(horizons),)``; less than 1 nat counts as 1."""
    return float(np.polyfit(np.log(horizons), np.log(np.maximum(regret, 1.0)), 1)[0])


def bound(domain: Domain, gradient: float, horizons: tuple[int, ...] = HORIZONS) -> np.ndarray:
    """``sqrt(2) D G sqrt(T)`` in nats, shape ``(len(horizons),)``."""
    return np.sqrt(2.0) * domain.diameter * gradient * np.sqrt(np.array(horizons))
