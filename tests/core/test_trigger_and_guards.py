# SPDX-License-Identifier: GPL-3.0-or-later
"""The trigger leaves a calibrated predictor alone and catches a drifting one; the guards bound tuning."""

import numpy as np
import pytest
from gnuradio.lighttune.core.guards import GuardPolicy, LossGuard, bounded, project
from gnuradio.lighttune.core.mcs import McsTable, sigmoid
from gnuradio.lighttune.core.trigger import Trigger, TriggerPolicy

from helpers import make_predictor

ROWS = np.arange(200)


def run_trigger(rng, blocks, true_logit_shift, policy=None):
    """Share of tuned blocks of 200 links whose NACKs have the predicted logit plus a shift."""
    trigger, active = Trigger(policy or TriggerPolicy(), len(ROWS)), []
    for _ in range(blocks):
        logit = rng.normal(-2.2, 1.0, len(ROWS))
        nack = (rng.random(len(ROWS)) < sigmoid(logit + true_logit_shift)).astype(float)
        active.append(trigger.update(ROWS, sigmoid(logit), nack))
    return np.array(active), trigger


def test_a_calibrated_predictor_is_tuned_on_few_blocks(rng):
    active, _ = run_trigger(rng, 2000, 0.0)
    assert active.mean() < 0.05  # 3.3 sigma on three skewed statistics: about 2 % here


@pytest.mark.parametrize("shift", [2.0, -4.0])
def test_a_drift_is_caught_in_both_directions(rng, shift):
    active, _ = run_trigger(rng, 300, shift)
    assert active[-1].mean() > 0.9
    first = np.where(active.any(axis=0), active.argmax(axis=0), 300)
    assert np.median(first) < 100


def test_tuning_stops_when_the_predictor_is_right_again(rng):
    policy = TriggerPolicy()
    trigger = Trigger(policy, len(ROWS))
    for phase, shift in ((200, 3.0), (600, 0.0)):
        for _ in range(phase):
            logit = rng.normal(-2.2, 1.0, len(ROWS))
            nack = (rng.random(len(ROWS)) < sigmoid(logit + shift)).astype(float)
            active = trigger.update(ROWS, sigmoid(logit), nack)
        if shift:
            assert active.mean() > 0.9
    assert active.mean() < 0.1


def test_the_always_on_trigger_is_always_on(rng):
    active, _ = run_trigger(rng, 5, 0.0, TriggerPolicy(always=True))
    assert active.all()


@pytest.mark.parametrize(
    "bad", [{"on": 1.0, "off": 2.0}, {"off": 0.0}, {"fast": 1.0}, {"hold": -1}, {"on": float("nan")}]
)
def test_a_trigger_policy_that_makes_no_sense_is_refused(bad):
    with pytest.raises(ValueError, match=r"give|at least"):
        TriggerPolicy(**bad)


def test_steps_are_shortened_and_keep_their_direction(rng):
    policy = GuardPolicy()
    step = 100 * rng.standard_normal((3, 50))
    short = bounded(step.copy(), policy)
    assert np.allclose(np.linalg.norm(short[:, 2:], axis=1), policy.max_step)
    assert (np.abs(short[:, 0]) <= policy.max_step_db).all()
    cosine = (
        np.sum(short[:, 2:] * step[:, 2:], axis=1) / np.linalg.norm(step[:, 2:], axis=1) / policy.max_step
    )
    assert np.allclose(cosine, 1.0)


def test_projection_ends_inside_the_ball_and_the_sign_constraints(rng):
    predictor = make_predictor(McsTable.nr_pdsch(1), rng)
    policy = GuardPolicy()
    weights = predictor.weights(predictor.offline + 5 * rng.standard_normal((8, predictor.shape.n_weights)))
    project(weights, predictor.offline, policy)
    away = weights.flat[:, 2:] - predictor.offline[2:]
    assert (np.linalg.norm(away, axis=1) <= policy.radius * (1 + 1e-9)).all()
    assert min(weights.v.min(), weights.w.min(), weights.u.min()) >= 0


def test_the_loss_guard_asks_for_a_rollback_when_the_tuned_weights_do_worse():
    guard, row = LossGuard(GuardPolicy(), 1), np.array([0])
    asked = [guard.update(row, np.array([0.6]), np.array([0.1]), np.array([0.0]))[0] for _ in range(64)]
    assert not asked[0]
    assert asked[-1]


def test_a_link_that_is_rolled_back_again_and_again_rests_and_comes_back():
    policy = GuardPolicy(rest=10)
    guard, row = LossGuard(policy, 1), np.array([0])
    for _ in range(policy.max_rollbacks):
        guard.rolled_back(row)
    assert guard.resting[0] == 10
    for _ in range(10):
        guard.update(row, np.array([0.1]), np.array([0.1]), np.array([0.0]))
    assert guard.resting[0] == 0


def test_a_guard_bound_that_is_not_positive_is_refused_by_name():
    with pytest.raises(ValueError, match=r"radius = 0"):
        GuardPolicy(radius=0)
