# SPDX-License-Identifier: GPL-3.0-or-later
"""What a selector does not believe: reports from nowhere, a model that misses, feedback that cannot be."""

import numpy as np
import pytest
from gnuradio.lighttune.baselines import Olla
from gnuradio.lighttune.core.adapter import Selector
from gnuradio.lighttune.core.checkpoint import load_model
from gnuradio.lighttune.core.doubt import INCONSISTENT, JUMPED, MISFIT, Doubt
from gnuradio.lighttune.core.guards import GuardPolicy
from gnuradio.lighttune.core.mcs import McsTable
from gnuradio.lighttune.core.messages import Csi
from gnuradio.lighttune.core.predictor import OFFSET

TABLE = McsTable.amc()


@pytest.fixture
def doubt():
    return Doubt(TABLE)


def reports(doubt):
    """Reports that move, as any receiver's do."""
    while True:
        for snr_db in (20.0, 20.5):
            assert doubt.believes(snr_db)
            yield snr_db


def test_one_report_far_from_the_others_is_left_alone_and_two_are_believed(doubt):
    believed = [doubt.believes(snr_db) for snr_db in (12.0, 100.0, 12.5, -60.0, 13.0, -60.0, -59.0, -58.0)]
    assert believed == [True, False, True, False, True, False, True, True]
    assert doubt.outliers == 3


def test_the_first_report_is_believed(doubt):
    assert doubt.believes(99.0)


@pytest.mark.parametrize(("bler", "nack"), [(0.9, False), (0.02, True)])
def test_a_model_that_misses_is_doubted_and_tried_again_later_and_later(doubt, bler, nack):
    rests = []
    coming = reports(doubt)
    for _ in range(3):
        while doubt.reason is None:
            doubt.outcome(next(coming), TABLE.by_efficiency[-1], bler, nack, True)
        rests.append(0)
        while doubt.reason is not None:
            assert doubt.reason == MISFIT
            doubt.outcome(next(coming), TABLE.by_efficiency[-1], float("nan"), False, False)
            rests[-1] += 1
    assert rests == pytest.approx([200, 800, 3200], abs=1)


@pytest.mark.parametrize("seed", range(3))
def test_a_model_that_is_right_is_hardly_ever_doubted(doubt, seed):
    rng, fallen = np.random.default_rng(seed), 0
    for snr_db, _ in zip(reports(doubt), range(20_000), strict=False):
        bler = rng.choice((0.01, 0.1, 0.3, 0.7))
        doubt.outcome(snr_db, TABLE.by_efficiency[-1], bler, rng.random() < bler, doubt.reason is None)
        fallen += doubt.reason is not None
    assert fallen < 0.03 * 20_000


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("bler", "allowed"), [(0.02, 0.0), (0.01, 0.3)])
def test_a_model_that_is_a_little_pessimistic_is_mostly_believed(doubt, seed, bler, allowed):
    rng, fallen = np.random.default_rng(seed), 0
    for snr_db, _ in zip(reports(doubt), range(20_000), strict=False):
        doubt.outcome(snr_db, TABLE.by_efficiency[-1], 0.05, rng.random() < bler, doubt.reason is None)
        fallen += doubt.reason is not None
    assert fallen <= allowed * 20_000


def test_where_reports_stand_still_less_is_enough_and_the_fallback_stays_until_one_moves(doubt):
    for _ in range(100):
        doubt.believes(10.0)
    for _ in range(2):
        doubt.outcome(10.0, 5, 0.9, False, True)
    assert doubt.reason == MISFIT
    for _ in range(1000):
        doubt.outcome(10.0, 5, np.nan, False, False)
    assert doubt.reason == MISFIT
    coming = reports(doubt)
    for _ in range(200):
        doubt.outcome(next(coming), 5, np.nan, False, False)
    assert doubt.reason is None


@pytest.mark.parametrize(("bler", "nack"), [(0.99, False), (0.001, True)])
def test_a_model_that_misses_the_fallbacks_blocks_too_gets_no_trial(doubt, bler, nack):
    coming = reports(doubt)
    while doubt.reason is None:
        doubt.outcome(next(coming), TABLE.by_efficiency[-1], bler, nack, True)
    for _ in range(1000):
        doubt.outcome(next(coming), TABLE.by_efficiency[-1], bler, nack, False)
        assert doubt.reason == MISFIT
    for _ in range(400):  # better weights have come
        doubt.outcome(next(coming), TABLE.by_efficiency[-1], float(nack), nack, False)
    assert doubt.reason is None


def test_nacks_that_no_sinr_explains_are_doubted_while_they_come(doubt):
    robust, coming = TABLE.most_robust, reports(doubt)
    blocks = 0
    while doubt.reason is None:
        doubt.outcome(next(coming), robust, 0.5, True, False)
        blocks += 1
    assert (doubt.reason, blocks) == (INCONSISTENT, 8)  # 12 / log 5 of them
    while doubt.reason is not None:
        doubt.outcome(next(coming), robust, 0.5, False, False)
        blocks += 1
    assert 20 < blocks < 50


def test_nacks_of_blocks_that_a_fade_explains_are_not_doubted(doubt):
    coming = reports(doubt)
    for _ in range(1000):
        doubt.outcome(next(coming), TABLE.by_efficiency[-1], 0.5, True, False)
    assert doubt.reason is None


@pytest.fixture
def selector():
    predictor = load_model("amc")
    selector = Selector(predictor, Olla(predictor.table))
    selector.report(Csi(12.0))
    return selector


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda w: w * np.nan, "weights are not finite"),
        (lambda w: w + 1e6, "weights are out of bounds"),
        (lambda w: -w, "weights are out of bounds"),
    ],
)
def test_weights_that_the_tuners_guards_would_not_let_through_are_not_believed(selector, spoil, reason):
    good = selector.predictor.offline
    selector.load(1, spoil(good))
    assert selector.mode == f"olla: {reason}"
    assert selector.select().version == -1
    selector.load(2, good)
    assert (selector.mode, selector.select().version) == ("model", 2)


def test_bounds_are_those_of_the_tuners_guards():
    predictor = load_model("amc")
    weights = predictor.offline.copy()
    weights[OFFSET] = 20.0
    for bounds, mode in (
        (None, "olla: weights are out of bounds"),
        (GuardPolicy(max_offset_db=25.0), f"olla: {JUMPED}"),
    ):
        selector = Selector(predictor, Olla(predictor.table), bounds=bounds)
        selector.load(1, weights)
        assert selector.mode == mode


@pytest.mark.parametrize(
    ("jumps_db", "by_fallback"), [((9.0,), 0), ((12.0, 0.0), 50), ((12.0,), 1000), ((-12.0,), 1000)]
)
def test_weights_that_jump_are_asked_about_the_fallbacks_blocks_first(selector, jumps_db, by_fallback):
    rng, weights = np.random.default_rng(1), selector.predictor.offline.copy()
    for version, jump_db in enumerate(jumps_db):
        weights[OFFSET] = selector.predictor.offline[OFFSET] + jump_db
        selector.load(version, weights)
    decided = 0
    for seq in range(1000 if by_fallback else 20):
        snr_db = 12.0 + 0.1 * (seq % 3)
        selector.report(Csi(snr_db))
        decision = selector.select(seq=seq)
        decided += decision.version < 0
        selector.feedback(seq, bool(rng.random() >= TABLE.bler(snr_db)[decision.mcs]))
    assert decided == by_fallback
