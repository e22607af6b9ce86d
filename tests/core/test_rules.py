# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules' steps are minus the gradient of the local losses that their docstrings state."""

import numpy as np
import pytest
from gnuradio.lighttune.core import features as ft
from gnuradio.lighttune.core.mcs import McsTable, sigmoid
from gnuradio.lighttune.core.predictor import GAMMA, OFFSET
from gnuradio.lighttune.core.rules import ForwardForward, LocalHead, Outcome, Spsa, make_rule
from gnuradio.lighttune.core.trigger import TriggerPolicy
from gnuradio.lighttune.core.tuner import Tuner

from helpers import make_predictor


def softplus(x):
    return np.logaddexp(0.0, x)


def direction(rule, predictor, weights, features, mcs, nack):
    """The rule's step for blocks ``features (n, N_FEATURES)`` sent at ``mcs (n,)``."""
    outcome = Outcome(features, mcs[:, None], predictor.encoder(features), nack)
    act = predictor.forward(weights, features, outcome.mcs, outcome.encoded)
    return rule.direction(predictor, weights, act, outcome)


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
    step = predictor.weights(direction(rule, predictor, weights, x, mcs, np.array([nack])))
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
    step = direction(rule, plain_predictor, weights, x, mcs, nack)[0]

    def loss(place, by):
        flat = weights.flat[0].copy()
        flat[place] += by
        return softplus(-plain_predictor.forward(plain_predictor.weights(flat), x[0], mcs).t[0])

    orders = range(OFFSET + 1, plain_predictor.shape.n_calibration)
    sent = OFFSET + 1 + plain_predictor.table.order_of[7]
    for place in (OFFSET, GAMMA, *orders):
        rate = {OFFSET: rule.offset_rate, GAMMA: rule.gamma_rate}.get(place, rule.order_rate)
        numeric = (loss(place, 1e-6) - loss(place, -1e-6)) / 2e-6
        assert step[place] / -rate == pytest.approx(numeric, rel=1e-4)
        assert (step[place] != 0) == (place in (OFFSET, GAMMA, sent))


@pytest.mark.parametrize("rule", [LocalHead(), ForwardForward()])
def test_links_side_by_side_move_the_offset_of_the_order_that_each_sent(rng, plain_predictor, rule):
    table, mcs = plain_predictor.table, np.array([3, 12, 25])
    weights = plain_predictor.weights(np.tile(plain_predictor.offline, (3, 1)))
    x = rng.normal(0, 1, (3, ft.N_FEATURES))
    x[:, 0] = table.threshold[mcs]
    step = plain_predictor.weights(direction(rule, plain_predictor, weights, x, mcs, np.ones(3)))
    assert table.order_of[mcs].tolist() == [0, 1, 2]
    assert np.array_equal(step.order_db < 0, np.eye(3, dtype=bool))  # NACKs: less SINR, there alone


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


@pytest.fixture
def sent(rng):
    """A predictor with layers that speak, its weights, and one block near its threshold."""
    predictor = make_predictor(McsTable.nr_pdsch(1), rng, depth=1.0)
    weights = predictor.weights()
    weights.u[...] = rng.uniform(0.05, 0.3, weights.u.shape)
    x = rng.normal(0, 1, ft.N_FEATURES)
    x[0] = predictor.table.threshold[11] + 0.4
    return predictor, weights.flat, x


def steps(rule, sent, nack, n):
    """The rule's steps for the same weights and block, ``n`` times side by side."""
    predictor, flat, x = sent
    weights = predictor.weights(np.tile(flat, (n, 1)))
    return direction(rule, predictor, weights, np.tile(x, (n, 1)), np.full(n, 11), np.full(n, nack))


@pytest.mark.parametrize("nack", [0.0, 1.0])
def test_the_expected_step_of_spsa_is_minus_the_gradient_of_the_predictors_loss(sent, nack):
    predictor, flat, x = sent

    def loss(at):
        logit = predictor.forward(predictor.weights(at), x, np.array([11])).logit[0]
        return softplus(-(2 * nack - 1) * logit)

    gradient = np.array(
        [(loss(flat + h) - loss(flat - h)) / 2e-6 for h in 1e-6 * np.eye(predictor.shape.n_weights)]
    )
    # Small sizes, so that no hinge of a unit lies between the passes; equal for offset and layers, which is
    # the hardest for the layers: each of some 600 coordinates disturbs every other.
    rule = Spsa(
        offset_rate=0.3, order_rate=0.2, layer_rate=0.05, offset_size=1e-4, gamma_size=1e-4, layer_size=1e-4
    )
    shape = predictor.shape
    repeats = (1, 1, shape.orders, shape.n_weights - shape.n_calibration)
    rate = np.repeat((rule.gamma_rate, 0.3, 0.2, 0.05), repeats)
    # A draw's squared error is some 600 times the squared gradient; 20,000 draws leave 3 % of it.
    draws = np.concatenate([steps(rule, sent, nack, 1000) for _ in range(20)]) / -rate
    mean, error = draws.mean(axis=0), draws.std(axis=0) / np.sqrt(len(draws))
    z = (mean - gradient) / error
    assert np.abs(z).max() < 5  # of 600 standard normals one exceeds 5 once in 3000 runs
    assert np.mean(z**2) == pytest.approx(1.0, abs=0.3)  # 5 standard deviations of the mean of 600 squares
    assert mean @ gradient > 0.95 * np.linalg.norm(mean) * np.linalg.norm(gradient)


def test_links_side_by_side_are_perturbed_independently(sent):
    both = np.sign(steps(Spsa(), sent, 1.0, 2)[:, sent[0].shape.n_calibration :])
    assert abs(np.mean(both[0] * both[1])) < 0.2  # 600 products of independent signs: 5 standard deviations


def test_equal_seeds_give_equal_steps_and_another_seed_others(sent):
    rules = [Spsa(seed=3), Spsa(seed=3), Spsa(seed=4)]
    for _ in range(3):
        first, again, other = (steps(rule, sent, 1.0, 2) for rule in rules)
        assert np.array_equal(first, again)
        assert not np.array_equal(first, other)


def test_spsa_lowers_the_log_loss_on_a_biased_link(rng, plain_predictor):
    """Reports are 3 dB too high; blocks are sent at random around what the untuned predictor would choose."""
    n, last = 1500, 500
    right = plain_predictor.weights()
    right.flat[OFFSET] = -3.0
    tuner, loss = Tuner(plain_predictor, Spsa(seed=1), TriggerPolicy(always=True)), np.zeros((n, 3))
    for i in range(n):
        x = np.r_[rng.uniform(5.0, 20.0), np.zeros(ft.N_FEATURES - 1)]
        fits = np.sum(plain_predictor.bler(plain_predictor.weights(), x) < 0.5)
        mcs = np.array([np.clip(fits - rng.integers(0, 8), 0, len(plain_predictor.table) - 1)])
        tuned = plain_predictor.weights(tuner.model(0)[1])
        logit = [
            plain_predictor.forward(w, x, mcs).logit[0] for w in (tuned, plain_predictor.weights(), right)
        ]
        ack = rng.random() >= sigmoid(logit[2])
        loss[i] = softplus(np.array(logit) * (1.0 if ack else -1.0))
        tuner.learn(0, x, int(mcs[0]), bool(ack))
    tuned, untuned, best = loss[-last:].mean(axis=0)
    # Of what the bias costs at least four fifths are won back: the noise of the steps keeps the rest.
    assert tuned - best < 0.2 * (untuned - best)


@pytest.mark.parametrize("name", ["offset_size", "gamma_size", "layer_size"])
@pytest.mark.parametrize("size", [0.0, -1.0, np.inf, np.nan])
def test_a_perturbation_without_size_is_refused(name, size):
    with pytest.raises(ValueError, match=name):
        Spsa(**{name: size})


def test_a_rate_of_zero_leaves_those_weights_alone_and_no_others(sent):
    calibration = sent[0].shape.n_calibration
    step = steps(Spsa(layer_rate=0), sent, 1.0, 1)[0]
    assert step[:calibration].all()
    assert not step[calibration:].any()
    step = steps(Spsa(order_rate=0), sent, 1.0, 1)[0]
    assert step[[OFFSET, GAMMA]].all()
    assert not step[OFFSET + 1 : calibration].any()
    assert step[calibration:].all()


def test_an_unknown_rule_is_refused_by_name():
    with pytest.raises(ValueError, match=r"backprop.*forward_forward, local_head, spsa"):
        make_rule("backprop")
