# SPDX-License-Identifier: GPL-3.0-or-later
"""The regret of docs/convergence.md: projected online gradient, by the tuner's own rule and projection.

The comparator is the best fixed value in hindsight, with a certificate (`regret.best_fixed`).
"""

from functools import cache

import numpy as np
import pytest
from gnuradio.lighttune.core.guards import GuardPolicy, project
from gnuradio.lighttune.core.mcs import McsTable
from gnuradio.lighttune.core.predictor import Predictor

import convex
import regret as cv
from helpers import make_predictor

SEEDS, BLOCKS = range(5), cv.HORIZONS[-1]
GUARDS = GuardPolicy(radius=1.0, max_offset_db=6.0, max_order_db=2.0)
PARTS = [cv.Part(layer, GUARDS) for layer in (-1, 0, 1)]
OFFSETS, READ_OUT = PARTS[0], PARTS[2]


@cache
def predictor() -> Predictor:
    """Random frozen units, and read-outs that are random too: the ball's centre is no corner of the cone."""
    rng = np.random.default_rng(1)
    silent = make_predictor(McsTable.nr_pdsch(1), rng, depth=1.0)
    weights = silent.weights()
    weights.u[...] = rng.uniform(0.0, 0.1, weights.u.shape)
    return Predictor(silent.table, silent.encoder, weights.flat.astype(np.float32), silent.shape)


@cache
def worlds() -> list[cv.World]:
    return [cv.make_world(predictor(), seed, BLOCKS) for seed in SEEDS]


@cache
def gradient(part: cv.Part) -> float:
    return max(cv.gradient_bound(predictor(), world, part) for world in worlds())


def rates(part: cv.Part) -> np.ndarray:
    """The diminishing ones, for all seeds."""
    return np.tile(cv.diminishing(part.domain(predictor()).diameter, gradient(part), BLOCKS), (len(SEEDS), 1))


@cache
def played(part: cv.Part, stream: str) -> cv.Trace:
    return cv.play(predictor(), worlds(), part, stream == "adaptive", rates(part))


@cache
def regret(part: cv.Part, stream: str) -> np.ndarray:
    return cv.regrets(played(part, stream), part.domain(predictor()))


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
@pytest.mark.parametrize("stream", cv.STREAMS)
def test_regret_stays_below_the_bound_over_every_horizon(part, stream):
    assert np.linalg.norm(played(part, stream).slope, axis=-1).max() <= gradient(part)
    assert (regret(part, stream) <= cv.bound(part.domain(predictor()), gradient(part))).all()


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
@pytest.mark.parametrize("stream", cv.STREAMS)
def test_regret_grows_no_faster_than_the_root_of_the_horizon(part, stream):
    # The largest of five seeds moves by some 10 % from one T to the next besides its growth; six points over
    # a factor of 32 turn that into 0.035 of slope. 0.1 is three times as much.
    assert cv.exponent(regret(part, stream).max(axis=0)) <= 0.5 + 0.1


def test_a_constant_step_that_knows_the_horizon_keeps_its_bound():
    domain = READ_OUT.domain(predictor())
    for column, horizon in enumerate(cv.HORIZONS):
        eta = domain.diameter / (gradient(READ_OUT) * np.sqrt(horizon))
        short = [cv.World(*(getattr(w, k)[:horizon] for k in w.__dataclass_fields__)) for w in worlds()]
        trace = cv.play(predictor(), short, READ_OUT, False, np.full((len(SEEDS), horizon), eta))
        limit = cv.bound(domain, gradient(READ_OUT))[column] / np.sqrt(2.0)
        assert cv.regrets(trace, domain, (horizon,)).max() <= limit


@pytest.mark.parametrize("sign", [0.0, -1.0], ids=["no step", "uphill"])
def test_without_a_descending_step_regret_grows_in_proportion_to_the_horizon(sign):
    """The controls: what the tests above look at can fail."""
    trace = cv.play(predictor(), worlds(), READ_OUT, False, sign * rates(READ_OUT))
    lost = cv.regrets(trace, READ_OUT.domain(predictor())).max(axis=0)
    assert cv.exponent(lost) > 0.9
    if sign < 0:
        assert lost[-1] > cv.bound(READ_OUT.domain(predictor()), gradient(READ_OUT))[-1]


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_the_comparator_lies_in_the_set_and_nothing_there_is_better(part, rng):
    trace, domain = played(part, "i.i.d."), part.domain(predictor())
    least, gap, best = cv.best_fixed(trace, 0, 1000, domain)
    assert gap <= cv.GAP

    def loss(w):
        sign = 1.0 - 2.0 * trace.nack[0, :1000]
        return np.logaddexp(0.0, sign * (trace.rest[0, :1000] + trace.slope[0, :1000] @ w)).sum()

    assert domain.contains(best)
    assert loss(best) == pytest.approx(least)
    tried = 0
    for size in np.geomspace(1e-3, 1.0, 2000) * domain.diameter / 2:
        w = best + size * rng.standard_normal(len(best)) / np.sqrt(len(best))
        w = w if part == OFFSETS else np.maximum(w, 0.0)
        if domain.contains(w):
            tried += 1
            assert loss(w) >= least - cv.GAP
    assert tried > 100


def test_the_certificate_of_a_comparator_is_not_given_away(rng):
    """The bound of the linear minimum is one, and it is tight: random points come close and never pass."""
    domain = convex.Ball(np.array([0.4, 0.0]), 1.0)
    angle, size = rng.uniform(0, 2 * np.pi, 400_000), np.sqrt(rng.random(400_000))
    points = domain.centre + (size * np.array([np.cos(angle), np.sin(angle)])).T
    points = points[points.min(axis=1) >= 0]
    for gradient in rng.standard_normal((50, 2)):
        least = (points @ gradient).min()
        # Points are 0.003 apart; in a corner of the set the nearest one is some times as far away.
        assert least - 0.02 <= domain.least(gradient) <= least
    sizes = np.array([2.0, 0.5])
    box, corners = convex.Box(sizes), sizes * np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]])
    assert all(box.contains(corner) and not box.contains(1.01 * corner) for corner in corners)
    for gradient in rng.standard_normal((50, 2)):
        assert box.least(gradient) == pytest.approx((corners @ gradient).min())  # a linear minimum is at one


@pytest.mark.parametrize("domain", [convex.Ball(np.array([0.4, 0.1]), 1.0), convex.Box(np.array([2.0, 0.5]))])
def test_a_barrier_is_finite_inside_alone_and_its_slopes_are_its_derivatives(domain):
    w = domain.inner
    assert domain.contains(w)
    assert domain.barrier(w) < np.inf
    assert domain.barrier(w + domain.diameter) == np.inf
    gradient, hessian = domain.barrier_slopes(w)
    for i, step in enumerate(1e-6 * np.eye(2)):
        numeric = (domain.barrier(w + step) - domain.barrier(w - step)) / 2e-6
        assert gradient[i] == pytest.approx(numeric, rel=1e-5, abs=1e-7)
        ends = domain.barrier_slopes(w + step)[0], domain.barrier_slopes(w - step)[0]
        assert hessian[i] == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-5, abs=1e-7)


def test_the_slope_of_the_logit_by_the_offsets_is_the_derivative_of_the_numpy_predictor():
    x, weights = worlds()[0].features[:20], predictor().weights()
    got = OFFSETS.slope(predictor().forward(weights, x), predictor())
    for column, place in enumerate(OFFSETS.places(predictor())):
        moved = predictor().weights()
        moved.flat[place] += 1.0  # affine: a step of any size will do
        t, there = (predictor().forward(w, x).t for w in (weights, moved))
        assert np.allclose(got[..., column], there - t)


def test_the_guards_projection_brings_no_point_further_from_any_point_of_the_set(rng):
    """What the proof needs of it; see the next test for what it is not."""
    offline, radius, n = predictor().offline.astype(float), 1.0, 2000
    guards = GuardPolicy(radius=radius)
    places = np.concatenate([part.places(predictor()) for part in PARTS[1:]])

    def points(spread):
        flat = np.tile(offline, (n, 1))
        flat[:, places] += spread * rng.standard_normal((n, len(places)))
        return flat

    allowed = points(0.15)
    project(predictor().weights(allowed), offline, guards)
    outside = points(0.5)
    before = np.linalg.norm(outside - allowed, axis=1)
    project(predictor().weights(outside), offline, guards)
    after = np.linalg.norm(outside - allowed, axis=1)
    assert (after <= before + 1e-12).all()
    assert (outside[:, places] >= 0).all()
    assert (np.linalg.norm(outside - offline, axis=1) <= radius + 1e-12).all()


def test_the_guards_projection_is_not_the_nearest_point_of_the_set():
    """A point left of the cone and outside the ball: clipping first, then shortening, misses the nearest."""
    offline = predictor().offline.astype(float)
    first, second = READ_OUT.places(predictor())[:2]
    offline[[first, second]] = 0.0, 0.5
    flat = offline[None].copy()
    flat[0, [first, second]] = 2.0, -1.0
    project(predictor().weights(flat), offline, GuardPolicy(radius=1.0))
    assert flat[0, [first, second]] == pytest.approx([0.970, 0.257], abs=1e-3)
    nearest = np.array([np.sqrt(0.75), 0.0])  # on the cone's edge and the ball's rim
    assert (
        np.linalg.norm(nearest - [2.0, -1.0]) < np.linalg.norm(flat[0, [first, second]] - [2.0, -1.0]) - 0.05
    )
