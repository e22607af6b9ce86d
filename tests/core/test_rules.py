# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules' steps are minus the gradient of the local losses that their docstrings state."""

import numpy as np
import pytest
from gnuradio.lighttune.core import features as ft
from gnuradio.lighttune.core.mcs import McsTable, sigmoid
from gnuradio.lighttune.core.predictor import GAMMA, OFFSET
from gnuradio.lighttune.core.rules import ForwardForward, LocalHead, make_rule

from helpers import make_predictor


def softplus(x):
    return np.logaddexp(0.0, x)


def local_head_loss(t, h, u, signs, label, rule):
    return softplus(-label * (t + 2 * np.sum(signs * u * h)))


def forward_forward_loss(t, h, u, signs, label, rule):
    def goodness(y):
        return y * t + np.sum((h + signs * u * y) ** 2) - rule.theta

    return softplus(-goodness(label)) + softplus(goodness(-label))


@pytest.mark.parametrize(
    ("rule", "loss"), [(LocalHead(), local_head_loss), (ForwardForward(), forward_forward_loss)]
)
@pytest.mark.parametrize("nack", [0.0, 1.0])
def test_a_layers_step_descends_its_own_loss_and_no_other(rng, rule, loss, nack):
    predictor = make_predictor(McsTable.nr_pdsch(1), rng, depth=1.0)
    weights = predictor.weights(predictor.offline[None].astype(float))
    weights.u[...] = rng.uniform(0.05, 0.3, weights.u.shape)
    x, mcs = rng.normal(0, 1, (1, ft.N_FEATURES)), np.array([11])
    x[0, 0] = predictor.table.threshold[11] + 0.4
    act = predictor.forward(weights, x, mcs[:, None])
    step = predictor.weights(rule.direction(predictor, weights, act, np.array([nack])))
    label = 2 * nack - 1
    signs = predictor.shape.signs

    def loss_of_layer(index, flat):
        w = predictor.weights(flat)
        act = predictor.forward(w, x[0], mcs)
        return loss(act.t[0], act.h[0, index], w.u[index], signs, label, rule)

    flat = weights.flat[0]
    for index in range(predictor.shape.layers):
        for name in ("W", "b", "v", "w", "u"):
            # Where the array lies in the flat vector: mark it through the view.
            marker = predictor.weights(np.zeros_like(flat))
            getattr(marker, name)[index][...] = 1.0
            places = np.flatnonzero(marker.flat)[:40]
            numeric = [
                (loss_of_layer(index, flat + h) - loss_of_layer(index, flat - h)) / 2e-6
                for h in (1e-6 * np.eye(len(flat))[p] for p in places)
            ]
            got = step.flat[0, places] / -rule.layer_rate
            assert np.allclose(got, numeric, rtol=1e-4, atol=1e-6), (index, name)


@pytest.mark.parametrize("rule", [LocalHead(), ForwardForward()])
def test_the_calibration_step_descends_the_logistic_loss_of_the_closed_form(rng, plain_predictor, rule):
    weights = plain_predictor.weights(plain_predictor.offline[None].astype(float))
    x, mcs, nack = rng.normal(0, 1, (1, ft.N_FEATURES)), np.array([7]), np.array([1.0])
    x[0, 0] = plain_predictor.table.threshold[7] + 0.5
    act = plain_predictor.forward(weights, x, mcs[:, None])
    step = rule.direction(plain_predictor, weights, act, nack)[0]

    def loss(place, by):
        flat = weights.flat[0].copy()
        flat[place] += by
        return softplus(-plain_predictor.forward(plain_predictor.weights(flat), x[0], mcs).t[0])

    for place, rate in ((OFFSET, rule.offset_rate), (GAMMA, rule.gamma_rate)):
        assert step[place] / -rate == pytest.approx((loss(place, 1e-6) - loss(place, -1e-6)) / 2e-6, rel=1e-4)


def test_the_goodness_difference_is_the_logit_that_the_predictor_uses(rng):
    """Half the difference of a layer's two goodnesses is its local logit, for all weights."""
    predictor = make_predictor(McsTable.nr_pdsch(1), rng, depth=1.0)
    weights = predictor.weights()
    weights.u[...] = rng.uniform(0, 1, weights.u.shape)
    act = predictor.forward(weights, rng.normal(0, 1, ft.N_FEATURES))
    signs = predictor.shape.signs
    with_nack = act.t[:, None] + np.sum((act.h + signs * weights.u) ** 2, axis=-1)
    with_ack = -act.t[:, None] + np.sum((act.h - signs * weights.u) ** 2, axis=-1)
    assert np.allclose((with_nack - with_ack) / 2, act.z)


def test_flipped_labels_make_the_optimal_goodness_the_log_odds_of_its_label():
    """The derivation in ForwardForward, by brute force: minimise the expected loss over free goodnesses."""
    grid = np.linspace(-5, 5, 2001)
    for p in (0.05, 0.3, 0.9):
        loss_of_nack = p * softplus(-grid) + (1 - p) * softplus(
            grid
        )  # positive with p, flipped negative with 1 - p
        loss_of_ack = (1 - p) * softplus(-grid) + p * softplus(grid)
        g1, g0 = grid[np.argmin(loss_of_nack)], grid[np.argmin(loss_of_ack)]
        assert sigmoid((g1 - g0) / 2) == pytest.approx(p, abs=0.005)  # grid of 0.005


@pytest.mark.parametrize("left_over", [0.0, 0.5, 2.0])
def test_a_left_over_common_goodness_makes_the_logit_more_extreme_as_derived(left_over):
    z = np.linspace(-8, 8, 16001)
    for p in (0.05, 0.3):
        nack_seen = softplus(-(z + left_over)) + softplus(-z + left_over)
        ack_seen = softplus(-(-z + left_over)) + softplus(z + left_over)
        best = z[np.argmin(p * nack_seen + (1 - p) * ack_seen)]
        assert (sigmoid(best - left_over) + sigmoid(best + left_over)) / 2 == pytest.approx(p, abs=1e-3)
        assert abs(best) >= abs(np.log(p / (1 - p))) - 1e-3


def test_an_unknown_rule_is_refused_by_name():
    with pytest.raises(ValueError, match=r"backprop.*forward_forward, local_head"):
        make_rule("backprop")
