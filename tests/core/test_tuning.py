# SPDX-License-Identifier: GPL-3.0-or-later
"""The tuner of curves: it finds thresholds that are off, rests where they are right, and forgets nothing."""

import numpy as np
import pytest
from gnuradio.lighttune.core import tuning
from gnuradio.lighttune.core.link import make_link
from gnuradio.lighttune.core.link_model import LinkModel
from gnuradio.lighttune.core.link_tuner import LinkTuner, TunerFull, check_curves
from gnuradio.lighttune.core.mcs import McsTable, sigmoid
from gnuradio.lighttune.core.messages import Csi
from gnuradio.lighttune.core.tuning import MAX_LOG_SLOPE, MAX_SHIFT_DB, TuningPolicy

TABLE = McsTable.amc()
HALF = [0.0, 2.0, 1.0]  # a block that is as likely to fail as not, at 2 logits per dB


@pytest.fixture
def model():
    return LinkModel(TABLE)


def outcomes(tuner, rng, n, off_db, mcs=5, arrives=1.0):
    """Blocks about the middle of an MCS's waterfall, whose true threshold is ``off_db`` higher; the share
    that was tuned on."""
    moved = 0
    for _ in range(n):
        margin_db = rng.normal(0.0, 1.0)
        shift_db = tuner.model_of(0)[1][mcs]
        bler = 1 - arrives * (1 - sigmoid(2.0 * (margin_db + off_db)))
        logit = 2.0 * (margin_db + shift_db)
        moved += tuner.learn(0, [logit, 2.0, arrives], mcs, rng.random() >= bler)[0]
    return moved / n


@pytest.mark.parametrize("off_db", [-2.0, 2.0])
def test_a_threshold_that_is_off_is_found(model, rng, off_db):
    tuner = LinkTuner(model)
    share = outcomes(tuner, rng, 1500, off_db)
    version, curves = tuner.model_of(0)
    assert curves[5] == pytest.approx(off_db, abs=0.6)
    assert np.count_nonzero(curves[: len(TABLE)]) == 1  # no other MCS was sent
    assert version == round(1500 * share) < 1000


@pytest.mark.parametrize("arrives", [1.0, 0.8])
def test_where_the_curves_are_right_it_rests(model, rng, arrives):
    tuner = LinkTuner(model)
    assert outcomes(tuner, rng, 20_000, 0.0, arrives=arrives) < 0.01


def test_the_step_is_newton_s_on_the_log_loss(model, rng):
    """Its direction is that of the derivative of the log loss, taken numerically."""
    for _ in range(20):
        logit, per_db, arrives = rng.normal(0, 1.5), rng.uniform(0.3, 3), rng.uniform(0.5, 1)
        nack = int(rng.integers(2))
        tuner = LinkTuner(model, TuningPolicy(always=True))
        tuner.learn(0, [logit, per_db, arrives], 3, not nack)

        def loss(shift_db, logit=logit, per_db=per_db, arrives=arrives, nack=nack):
            p = 1 - arrives + arrives * sigmoid(logit + per_db * shift_db)
            return -np.log(p if nack else 1 - p)

        slope = (loss(1e-4) - loss(-1e-4)) / 2e-4
        p = 1 - arrives + arrives * sigmoid(logit)
        known = (arrives * sigmoid(logit) * (1 - sigmoid(logit)) * per_db) ** 2 / (p * (1 - p))
        assert tuner.model_of(0)[1][3] == pytest.approx(-slope / (1 + known), rel=5e-3)


def test_many_samples_at_once_are_as_one_after_the_other(model, rng):
    links, mcs = rng.integers(0, 5, 300), rng.integers(0, len(TABLE), 300)
    features = np.stack([rng.normal(0, 2, 300), rng.uniform(0.3, 3, 300), rng.uniform(0.5, 1, 300)], axis=1)
    acks = rng.random(300) < 0.5
    together, apart = (LinkTuner(model, TuningPolicy(always=True)) for _ in range(2))
    together.learn(links, features, mcs, acks)
    for one in zip(links.tolist(), features, mcs, acks, strict=True):
        apart.learn(*one)
    for link in range(5):
        assert np.array_equal(together.model_of(link)[1], apart.model_of(link)[1])


def test_links_learn_apart_and_a_pool_learns_together(model):
    for pool in (False, True):
        tuner = LinkTuner(model, TuningPolicy(always=True), pool=pool)
        for link in (1, 2, 2):
            tuner.learn(link, HALF, 4, False)
        assert tuner.model_of(1)[0] == (3 if pool else 1)
        assert np.array_equal(tuner.model_of(1)[1], tuner.model_of(2)[1]) == pool


def test_links_are_bounded_and_a_forgotten_one_begins_anew(model):
    tuner = LinkTuner(model, TuningPolicy(always=True), max_links=2)
    for link in (1, 2):
        tuner.learn(link, HALF, 4, False)
    with pytest.raises(TunerFull, match="link 3 is one too many"):
        tuner.learn(3, HALF, 4, False)
    tuner.forget([1, 77])
    tuner.learn(3, HALF, 5, False)
    assert tuner.links == [2, 3]
    assert np.flatnonzero(tuner.model_of(3)[1][: len(TABLE)]).tolist() == [5]


def test_a_snapshot_goes_on_where_it_was_taken_and_nonsense_is_refused(model, rng):
    first, second = LinkTuner(model), LinkTuner(model)
    outcomes(first, rng, 300, 2.0)
    second.restore([0], first.snapshot([0]))
    for tuner in (first, second):
        outcomes(tuner, np.random.default_rng(1), 100, 2.0)
    assert np.array_equal(first.model_of(0)[1], second.model_of(0)[1])
    for name, value in (("shift_db", np.nan), ("shift_db", 99.0), ("precision", 0.0), ("left", -1)):
        record = first.snapshot([0])
        record[name] = value
        with pytest.raises(ValueError, match="the links' states"):
            second.restore([0], record)
    with pytest.raises(ValueError, match="kind"):
        second.restore([0], np.zeros(1))


@pytest.mark.parametrize(
    ("features", "mcs", "words"),
    [
        ([np.nan, 2.0, 1.0], 1, "not finite"),
        ([0.0, 1.0], 1, "not 3"),
        (HALF, 10, "mcs = 10..10: give 0 to 9"),
    ],
)
def test_a_bad_sample_is_refused(model, features, mcs, words):
    with pytest.raises(ValueError, match=words):
        LinkTuner(model).learn(0, features, mcs, True)


@pytest.mark.parametrize("name", ["on", "hold", "prior_db", "finest_log"])
def test_a_policy_out_of_range_is_refused(name):
    with pytest.raises(ValueError, match=f"{name} = 0"):
        TuningPolicy(**{name: 0})


def test_whatever_outcomes_come_the_curves_stay_within_bounds(model, rng):
    tuner = LinkTuner(model, TuningPolicy(always=True))
    for nack in (True, False):
        for _ in range(5000):
            logit = rng.choice([-8.0, 0.0, 8.0])
            tuner.learn(0, [logit, rng.uniform(0.001, 10), rng.choice([1e-3, 1.0])], 2, not nack)
        curves = tuner.model_of(0)[1]
        assert check_curves(curves, len(TABLE)) is None
        assert abs(curves[2]) <= MAX_SHIFT_DB
        assert abs(curves[len(TABLE) + 2]) <= MAX_LOG_SLOPE


def test_the_table_that_is_tuned_is_the_model_s_with_what_was_learnt(model):
    curves, rows = np.zeros(model.n_tuned), model.rows.copy()
    curves[3], curves[len(TABLE) + 3] = 1.5, np.log(2.0)
    tuning.retable(curves, model.rows, rows)
    assert rows[0, 3] == pytest.approx(TABLE.threshold[3] + 1.5)
    assert rows[1, 3] == pytest.approx(2 * TABLE.slope[3])
    rows[:2, 3] = model.rows[:2, 3]
    assert np.array_equal(rows, model.rows)


def test_a_link_whose_curves_are_wrong_carries_more_with_its_tuner(rng):
    wrong = rng.normal(0.0, 1.5, len(TABLE))
    carried = {}
    for tuned in (False, True):
        carried[tuned] = 0.0
        for seed in range(3):
            link, draw = make_link("amc", tuned=tuned), np.random.default_rng(seed)
            gain = link.model.gain
            for n in range(4000):
                snr_db = 14.0 + 6.0 * np.sin(n / 40.0)
                link.report(Csi(snr_db + 0.3 * draw.standard_normal()))
                decision = link.select()
                short = (TABLE.threshold + wrong - snr_db)[decision.mcs] / TABLE.slope[decision.mcs]
                ack = bool(draw.random() >= sigmoid(short))
                carried[tuned] += gain[decision.mcs] * ack
                link.feedback(decision.seq, ack)
    assert carried[True] > 1.01 * carried[False]
