# SPDX-License-Identifier: GPL-3.0-or-later
"""The trigger leaves a calibrated predictor alone and catches a drifting one; the guards bound tuning."""

import numpy as np
import pytest
from gnuradio.lighttune.core.guards import GuardPolicy, LossGuard, bounded, project
from gnuradio.lighttune.core.mcs import McsTable, sigmoid
from gnuradio.lighttune.core.trigger import Trigger, TriggerPolicy

from helpers import make_predictor

ROWS = np.arange(200)


def run_trigger(rng, trigger, blocks, true_logit):
    """Which of 200 links tune, block by block, ``(blocks, 200)``; 2 nats of logit per dB."""
    active = []
    for _ in range(blocks):
        logit = rng.normal(-2.2, 1.0, len(ROWS))
        nack = (rng.random(len(ROWS)) < sigmoid(true_logit(logit))).astype(float)
        active.append(trigger.update(ROWS, logit, np.full(len(ROWS), 2.0), nack)[0])
    return np.array(active)


def right(logit):
    return logit


def test_a_calibrated_predictor_is_tuned_on_few_blocks(rng):
    active = run_trigger(rng, Trigger(TriggerPolicy(), len(ROWS)), 2000, right)
    assert active.mean() < 0.03  # a false alarm costs the hold of 24 blocks and some


@pytest.mark.parametrize(
    ("true_logit", "within"),
    [
        (lambda z: z + 4, 12),  # 2 dB too optimistic: NACKs tell at once
        (lambda z: z + 2, 40),
        (lambda z: z - 4, 150),  # 2 dB too pessimistic: only ACKs, each says little
        (lambda z: 0.3 * z, 60),  # too steep
    ],
)
def test_a_drift_is_caught_whatever_its_kind(rng, true_logit, within):
    active = run_trigger(rng, Trigger(TriggerPolicy(), len(ROWS)), 400, true_logit)
    first = np.where(active.any(axis=0), active.argmax(axis=0), 400)
    assert np.median(first) < within
    assert active[-1].mean() > 0.8


def test_tuning_stops_when_the_predictor_is_right_again(rng):
    trigger = Trigger(TriggerPolicy(), len(ROWS))
    assert run_trigger(rng, trigger, 200, lambda z: z + 3)[-1].mean() > 0.9
    assert run_trigger(rng, trigger, 300, right)[-1].mean() < 0.1


def test_tuning_holds_for_a_while_at_least(rng):
    trigger = Trigger(TriggerPolicy(hold=24), 1)
    row = np.array([0])
    while not trigger.update(row, np.array([-2.0]), np.array([2.0]), np.array([1.0]))[0][0]:
        pass
    nacks = np.arange(100) % 8 == 4  # as often as a logit of -2 says
    held = [trigger.update(row, np.array([-2.0]), np.array([2.0]), np.array([float(n)]))[0][0] for n in nacks]
    assert all(held[:24])
    assert not held[-1]


def test_one_outcome_against_all_odds_does_not_fire(rng):
    trigger, row = Trigger(TriggerPolicy(), 1), np.array([0])
    assert not trigger.update(row, np.array([-15.0]), np.array([0.5]), np.array([1.0]))[0][0]


def test_only_evidence_for_a_higher_snr_says_by_how_much():
    for nack, logit, expected in ((0.0, -0.5, 3.0), (1.0, -3.0, 0.0)):
        trigger, row, found = Trigger(TriggerPolicy(), 1), np.array([0]), 0.0
        for _ in range(60):
            _, higher_db = trigger.update(row, np.array([logit]), np.array([2.0]), np.array([nack]))
            found = max(found, higher_db[0])
        assert found == expected


def test_the_always_on_trigger_is_always_on(rng):
    assert run_trigger(rng, Trigger(TriggerPolicy(always=True), len(ROWS)), 5, right).all()


@pytest.mark.parametrize("bad", [{"on": 1.0, "off": 2.0}, {"off": 0.0}, {"hold": -1}, {"on": float("nan")}])
def test_a_trigger_policy_that_makes_no_sense_is_refused(bad):
    with pytest.raises(ValueError, match="give 0"):
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
