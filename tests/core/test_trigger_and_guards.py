# SPDX-License-Identifier: GPL-3.0-or-later
"""The trigger leaves a calibrated predictor alone and catches a drifting one; the guards bound tuning."""

import numpy as np
import pytest
from gnuradio.lighttune.core.guards import HELD, OFFLINE, STAY, GuardPolicy, LossGuard, bounded, project
from gnuradio.lighttune.core.mcs import McsTable, sigmoid
from gnuradio.lighttune.core.predictor import GAMMA, OFFSET, Shape
from gnuradio.lighttune.core.trigger import Trigger, TriggerPolicy

from helpers import make_predictor

ROWS = np.arange(200)


def run_trigger(rng, trigger, blocks, true_logit):
    """Which of 200 links tune, block by block, ``(blocks, 200)``; 2 nats of logit per dB."""
    active = []
    for _ in range(blocks):
        logit = rng.normal(-2.2, 1.0, len(ROWS))
        nack = (rng.random(len(ROWS)) < sigmoid(true_logit(logit))).astype(float)
        active.append(trigger.update(ROWS, logit, np.full(len(ROWS), 2.0), nack))
    return np.array(active)


def in_peace() -> Trigger:
    """A trigger of links that have long been right, where the threshold is at its highest."""
    trigger = Trigger(TriggerPolicy(), len(ROWS))
    trigger.newness[:] = 0.0
    return trigger


def right(logit):
    return logit


def test_a_calibrated_predictor_is_tuned_on_few_blocks(rng):
    assert (
        run_trigger(rng, in_peace(), 2000, right).mean() < 0.001
    )  # no false alarm was seen in 2 million blocks
    new = run_trigger(rng, Trigger(TriggerPolicy(), len(ROWS)), 2000, right)
    assert new.mean() < 0.03  # while the threshold is low, about one link in three has a false alarm
    assert new[1500:].mean() < 0.005


@pytest.mark.parametrize(
    ("true_logit", "within", "within_if_new"),
    [
        (lambda z: z + 4, 20, 5),  # 2 dB too optimistic: NACKs tell at once
        (lambda z: z + 2, 75, 10),
        (lambda z: z - 4, 180, 120),  # 2 dB too pessimistic: only ACKs, each says little
        (lambda z: 0.3 * z, 130, 12),  # too steep
    ],
)
def test_a_drift_is_caught_whatever_its_kind(rng, true_logit, within, within_if_new):
    for trigger, limit in ((in_peace(), within), (Trigger(TriggerPolicy(), len(ROWS)), within_if_new)):
        active = run_trigger(rng, trigger, 400, true_logit)
        first = np.where(active.any(axis=0), active.argmax(axis=0), 400)
        assert np.median(first) < limit
        assert active[-1].mean() > 0.8


def test_tuning_stops_when_the_predictor_is_right_again(rng):
    trigger = Trigger(TriggerPolicy(), len(ROWS))
    assert run_trigger(rng, trigger, 200, lambda z: z + 3)[-1].mean() > 0.9
    assert run_trigger(rng, trigger, 300, right)[-1].mean() < 0.1


def test_tuning_holds_for_a_while_at_least(rng):
    trigger = Trigger(TriggerPolicy(hold=24), 1)
    row = np.array([0])
    while not trigger.update(row, np.array([-2.0]), np.array([2.0]), np.array([1.0]))[0]:
        pass
    nacks = np.arange(100) % 8 == 4  # as often as a logit of -2 says
    held = [trigger.update(row, np.array([-2.0]), np.array([2.0]), np.array([float(n)]))[0] for n in nacks]
    assert all(held[:24])
    assert not held[-1]


@pytest.mark.parametrize("start", [in_peace, lambda: Trigger(TriggerPolicy(), len(ROWS))])
def test_one_outcome_against_all_odds_does_not_fire_even_on_a_new_link(start):
    trigger, row = start(), np.array([0])
    for logit, nack in ((-15.0, 1.0), (-6.0, 1.0), (15.0, 0.0)):
        trigger.forget(row)
        assert not trigger.update(row, np.array([logit]), np.array([3.0]), np.array([nack]))[0]


def test_a_link_that_fired_is_watched_more_closely_for_a_while(rng):
    peaceful, fired = in_peace(), in_peace()
    run_trigger(rng, fired, 150, lambda z: z + 3)  # too optimistic: every row fires
    run_trigger(rng, fired, 200, right)
    assert fired.active.mean() < 0.25  # most are at rest again, though false alarms are more likely now
    wrong = [run_trigger(rng, trigger, 150, lambda z: z + 1.5) for trigger in (peaceful, fired)]
    first_peaceful, first_fired = (np.where(a.any(axis=0), a.argmax(axis=0), 150) for a in wrong)
    assert np.median(first_fired) < 0.75 * np.median(first_peaceful)
    run_trigger(rng, fired, 4000, right)
    assert np.median(fired.alert) < 0.1  # in peace again


def test_the_always_on_trigger_is_always_on(rng):
    assert run_trigger(rng, Trigger(TriggerPolicy(always=True), len(ROWS)), 5, right).all()


@pytest.mark.parametrize(
    "bad", [{"on": 2.0}, {"again": 0.5}, {"off": 0.0}, {"hold": -1}, {"on": float("nan")}, {"memory": 0.5}]
)
def test_a_trigger_policy_that_makes_no_sense_is_refused(bad):
    with pytest.raises(ValueError, match=r"give [01]"):
        TriggerPolicy(**bad)


def test_steps_are_shortened_and_keep_their_direction(rng):
    policy, shape = GuardPolicy(), Shape(orders=3)
    step = 100 * rng.standard_normal((3, shape.n_weights))
    short = bounded(step.copy(), shape, policy)
    offsets, layers = slice(OFFSET, shape.n_calibration), slice(shape.n_calibration, None)
    assert np.allclose(short[:, offsets], policy.max_step_db * np.sign(step[:, offsets]))
    assert np.allclose(np.linalg.norm(short[:, layers], axis=1), policy.max_step)
    dot = np.sum(short[:, layers] * step[:, layers], axis=1)
    assert np.allclose(dot / np.linalg.norm(step[:, layers], axis=1) / policy.max_step, 1.0)
    small = 1e-3 * step
    small[:, layers] *= 1e-2
    assert np.array_equal(bounded(small.copy(), shape, policy), small)


def test_projection_ends_inside_the_ball_and_the_sign_constraints(rng):
    predictor = make_predictor(McsTable.nr_pdsch(1), rng)
    policy = GuardPolicy()
    weights = predictor.weights(predictor.offline + 5 * rng.standard_normal((8, predictor.shape.n_weights)))
    project(weights, predictor.offline, policy)
    away = (weights.flat - predictor.offline)[:, predictor.shape.n_calibration :]
    assert (np.linalg.norm(away, axis=1) <= policy.radius * (1 + 1e-9)).all()
    assert min(weights.v.min(), weights.w.min(), weights.u.min()) >= 0


def test_projection_keeps_the_calibration_within_its_bounds_and_leaves_what_lies_inside(rng):
    predictor, policy = make_predictor(McsTable.nr_pdsch(1), rng), GuardPolicy()
    outside, inside = (predictor.weights(np.tile(predictor.offline, (8, 1))) for _ in range(2))
    signs = rng.choice([-1.0, 1.0], outside.flat.shape)
    outside.flat[:, : predictor.shape.n_calibration] = 20 * signs[:, : predictor.shape.n_calibration]
    project(outside, predictor.offline, policy)
    for got, sign, bound in (
        (outside.offset_db, signs[:, OFFSET], policy.max_offset_db),
        (outside.gamma, signs[:, GAMMA], policy.max_gamma),
        (outside.order_db, signs[:, OFFSET + 1 : predictor.shape.n_calibration], policy.max_order_db),
    ):
        assert np.allclose(got, bound * sign)
    inside.offset_db[...], inside.gamma[...] = 0.9 * policy.max_offset_db, -0.9 * policy.max_gamma
    inside.order_db[...] = 0.9 * policy.max_order_db
    before = inside.flat.copy()
    project(inside, predictor.offline, policy)
    assert np.allclose(inside.flat, before)


ONE = np.array([0])


def asked(guard: LossGuard, loss: float, offline: float, held: float, blocks: int = 1) -> list[int]:
    """What the guard says after each of some blocks of the same log losses, in nats."""
    return [int(guard.update(ONE, *(np.array([x]) for x in (loss, offline, held)))[0]) for _ in range(blocks)]


@pytest.mark.parametrize(
    ("offline", "held", "where"),
    [(0.1, 0.6, OFFLINE), (0.6, 0.1, HELD), (0.2, 0.1, HELD), (0.1, 0.1, OFFLINE)],
)
def test_a_link_goes_back_to_the_earlier_weights_that_explain_its_outcomes_best(offline, held, where):
    blocks = int(GuardPolicy().margin / 0.5) + 1
    told = asked(LossGuard(GuardPolicy(), 1), 0.6, offline, held, blocks)
    assert told[0] == STAY
    assert where in told
    assert (set(told) - {STAY}) == {where}


def test_a_single_outcome_sends_no_link_back():
    assert asked(LossGuard(GuardPolicy(), 1), 15.0, 0.0, 0.0) == [STAY]


def test_a_link_that_goes_back_to_the_offline_weights_again_and_again_rests_and_comes_back():
    policy = GuardPolicy(rest=10)
    guard = LossGuard(policy, 1)
    for _ in range(policy.max_rollbacks):
        assert guard.resting[0] == 0
        guard.rolled_back(ONE, np.array([OFFLINE]))
    assert guard.resting[0] == 10
    asked(guard, 0.1, 0.1, 0.1, 10)
    assert guard.resting[0] == 0


@pytest.mark.parametrize("redeems", ["tuned weights that did better", "a return to held ones"])
def test_tuning_that_helps_in_between_clears_a_link_of_its_strikes(redeems):
    policy = GuardPolicy()
    guard = LossGuard(policy, 1)
    for _ in range(4 * policy.max_rollbacks):
        guard.rolled_back(ONE, np.array([OFFLINE]))
        if redeems == "a return to held ones":
            guard.rolled_back(ONE, np.array([HELD]))
        else:
            asked(guard, 0.1, 0.6, 0.1, int(policy.margin / 0.5) + 1)
    assert guard.resting[0] == 0
    assert guard.rollbacks[0] >= 4 * policy.max_rollbacks


def test_a_guard_bound_that_is_not_positive_is_refused_by_name():
    with pytest.raises(ValueError, match=r"radius = 0"):
        GuardPolicy(radius=0)
