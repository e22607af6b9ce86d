# SPDX-License-Identifier: GPL-3.0-or-later
"""The reference backpropagates the loss of the very predictor that the forward-only rules tune."""

import numpy as np
import pytest
from gnuradio.lighttune.core import features as ft
from gnuradio.lighttune.core.mcs import McsTable, sigmoid
from gnuradio.lighttune.core.predictor import GAMMA, OFFSET, Reading
from gnuradio.lighttune.core.rules import Outcome
from gnuradio.lighttune.core.trigger import TriggerPolicy
from gnuradio.lighttune.core.tuner import Tuner

from helpers import make_predictor

pytest.importorskip("torch", reason="torch is not installed (tools/setup.sh does it)")
from backprop import BackpropTuner

ALWAYS = TriggerPolicy(always=True)


@pytest.fixture
def blocks(rng):
    """A predictor, weights of three links that differ, and a block of each near its threshold."""
    predictor = make_predictor(McsTable.nr_pdsch(1), rng, depth=1.0)
    weights = predictor.weights(np.tile(predictor.offline.astype(float), (3, 1)))
    weights.flat[:, OFFSET], weights.flat[:, GAMMA] = (-1.0, 0.5, 2.0), (0.1, -0.2, 0.3)
    weights.order_db[...] = rng.normal(0, 1, weights.order_db.shape)
    weights.u[...] = rng.uniform(0.05, 0.3, weights.u.shape)
    features, mcs = rng.normal(0, 1, (3, ft.N_FEATURES)), np.array([[5], [11], [20]])
    features[:, 0] = predictor.table.threshold[mcs[:, 0]] + np.array([0.4, -0.3, 1.0])
    outcome = Outcome(features, mcs, predictor.encoder(features), np.array([0.0, 1.0, 1.0]))
    return predictor, weights, outcome


def direction(rule, blocks):
    predictor, weights, outcome = blocks
    act = predictor.forward(weights, outcome.features, outcome.mcs, outcome.encoded)
    return rule.direction(predictor, weights, act, outcome)


def test_a_step_of_sgd_is_minus_the_gradient_of_the_numpy_predictors_loss(blocks):
    predictor, weights, outcome = blocks
    shape = predictor.shape
    repeats = (1, 1, shape.orders, shape.n_weights - shape.n_calibration)
    rates = np.repeat((0.02, 0.3, 0.2, 0.01), repeats)  # gamma, offset, the orders' offsets, layers
    rule = BackpropTuner("sgd", offset_rate=0.3, order_rate=0.2, gamma_rate=0.02, layer_rate=0.01)
    got = direction(rule, blocks) / -rates

    def loss(flat):
        logit = predictor.forward(predictor.weights(flat), outcome.features, outcome.mcs).logit[:, 0]
        return np.logaddexp(0.0, (1 - 2 * outcome.nack) * logit)

    for place, step in enumerate(1e-6 * np.eye(predictor.shape.n_weights)):
        numeric = (loss(weights.flat + step) - loss(weights.flat - step)) / 2e-6
        # Central differences of a loss near 1 in double precision: 1e-16 / 1e-6 and the third derivative.
        assert np.allclose(got[:, place], numeric, rtol=1e-4, atol=1e-6), place
    sent = predictor.table.order_of[outcome.mcs]
    moved = predictor.weights(got).order_db != 0
    assert np.array_equal(moved, np.arange(shape.orders) == sent)  # the order that was sent, and no other


def test_a_gradient_passes_from_the_last_layer_to_the_first_which_no_local_rule_has(blocks):
    predictor, weights, _ = blocks
    weights.u[:, 0] = 0.0  # the first layer's own logit then does not depend on its units
    step = predictor.weights(direction(BackpropTuner("sgd"), blocks))
    assert np.abs(step.W[0]).max() > 1e-6
    assert not step.v[:, 0].any()  # nor do the units' own inputs: only the trunk reaches the next layer


def test_the_first_step_of_adam_has_the_size_of_its_rate_and_the_sign_of_sgd(blocks):
    sgd = direction(BackpropTuner("sgd"), blocks)
    adam = direction(BackpropTuner("adam", 0.1, 0.1, 0.1, 0.1), blocks)
    clear = np.abs(sgd) > 1e-6  # far above eps
    assert np.allclose(adam[clear], 0.1 * np.sign(sgd[clear]), rtol=1e-2)


def test_links_in_lockstep_keep_moments_of_their_own(blocks):
    predictor, weights, outcome = blocks
    rule, alone = BackpropTuner("adam"), [BackpropTuner("adam") for _ in range(3)]
    for nack in (outcome.nack, 1.0 - outcome.nack, outcome.nack):
        now = Outcome(outcome.features, outcome.mcs, outcome.encoded, nack)
        together = direction(rule, (predictor, weights, now))
        for i, single in enumerate(alone):
            row = slice(i, i + 1)
            code = Reading(*(e[row] for e in outcome.encoded))
            one = Outcome(outcome.features[row], outcome.mcs[row], code, nack[row])
            step = direction(single, (predictor, predictor.weights(weights.flat[row]), one))
            assert np.allclose(step[0], together[i], rtol=1e-9, atol=1e-12)


def test_adam_refuses_another_number_of_links(blocks):
    predictor, weights, outcome = blocks
    rule = BackpropTuner("adam")
    direction(rule, blocks)
    row = slice(0, 2)
    code = Reading(*(e[row] for e in outcome.encoded))
    fewer = Outcome(outcome.features[row], outcome.mcs[row], code, outcome.nack[row])
    with pytest.raises(ValueError, match=r"2 links.*3"):
        direction(rule, (predictor, predictor.weights(weights.flat[row]), fewer))


def test_an_unknown_optimizer_is_refused_by_name():
    with pytest.raises(ValueError, match=r"lion.*sgd, adam"):
        BackpropTuner("lion")


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_in_the_tuner_it_wins_back_most_of_what_a_biased_report_costs(rng, plain_predictor, optimizer):
    n, last = 600, 200
    untuned, right = plain_predictor.weights(), plain_predictor.weights()
    right.flat[OFFSET] = -3.0
    tuner, loss = Tuner(plain_predictor, BackpropTuner(optimizer), ALWAYS), np.zeros((n, 3))
    for i in range(n):
        x = np.r_[rng.uniform(5.0, 20.0), np.zeros(ft.N_FEATURES - 1)]
        fits = np.sum(plain_predictor.bler(untuned, x) < 0.5)
        mcs = np.array([np.clip(fits - rng.integers(0, 8), 0, len(plain_predictor.table) - 1)])
        tuned = plain_predictor.weights(tuner.model(0)[1])
        logit = np.array([plain_predictor.forward(w, x, mcs).logit[0] for w in (tuned, untuned, right)])
        ack = rng.random() >= sigmoid(logit[2])
        loss[i] = np.logaddexp(0.0, logit if ack else -logit)
        tuner.learn(0, x, int(mcs[0]), bool(ack))
    tuned, untuned_loss, best = loss[-last:].mean(axis=0)
    # Four fifths at least: a constant step leaves some noise.
    assert tuned - best < 0.2 * (untuned_loss - best)
