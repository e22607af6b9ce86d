# SPDX-License-Identifier: GPL-3.0-or-later
"""Thompson sampling on MCS and CQI."""

import numpy as np
import pytest
from gnuradio.lighttune.baselines import Olla, ThompsonSampling
from gnuradio.lighttune.baselines.thompson import draw_constrained
from gnuradio.lighttune.core.mcs import McsTable
from gnuradio.lighttune.core.messages import Csi
from gnuradio.lighttune.sim import make_world, run, summary

TABLE = McsTable.nr_pdsch(1)
GOODPUT = TABLE.goodput_if_acked()
REPORTED_DB = 12.0


def thompson(seed: int = 1, **kwargs) -> ThompsonSampling:
    adapter = ThompsonSampling(TABLE, np.random.default_rng(seed), **kwargs)
    adapter.report(Csi(REPORTED_DB))
    return adapter


def play(
    adapter: ThompsonSampling, true_bler: np.ndarray, draws: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """MCS and outcome of one block per draw on a channel that does not change."""
    mcs, acks = np.zeros(len(draws), int), np.zeros(len(draws), bool)
    for i, draw in enumerate(draws):
        decision = adapter.select()
        mcs[i], acks[i] = decision.mcs, draw >= true_bler[decision.mcs]
        assert adapter.feedback(decision.seq, bool(acks[i]))
    return mcs, acks


def test_before_any_outcome_it_believes_the_awgn_curve_as_firmly_as_it_was_told():
    adapter = thompson(prior_strength=20.0, flat_prior=0.5)
    p0 = TABLE.bler(REPORTED_DB)
    ack, nack = adapter.posterior(REPORTED_DB)
    np.testing.assert_allclose(ack, 0.5 + 20.0 * (1 - p0))
    np.testing.assert_allclose(nack, 0.5 + 20.0 * p0)
    assert not adapter.counts(REPORTED_DB).any()
    np.testing.assert_allclose(thompson(flat_prior=0.001).bler(REPORTED_DB), p0, atol=1e-3)


def test_the_posterior_mean_is_prior_plus_counts(rng):
    adapter = thompson(prior_strength=4.0)
    prior = adapter.posterior(REPORTED_DB)
    mcs, acks = play(adapter, np.full(len(TABLE), 0.4), rng.random(300))
    acked = np.bincount(mcs[acks], minlength=len(TABLE))
    nacked = np.bincount(mcs[~acks], minlength=len(TABLE))
    np.testing.assert_array_equal(adapter.counts(REPORTED_DB), [acked, nacked])
    expected = (prior[1] + nacked) / (prior.sum(axis=0) + acked + nacked)
    np.testing.assert_allclose(adapter.bler(REPORTED_DB), expected)
    assert not adapter.counts(REPORTED_DB + 1.0).any()  # the next bin learned nothing


def test_an_outcome_counts_for_the_report_that_its_block_was_chosen_on():
    adapter = thompson()
    decision = adapter.select()
    adapter.report(Csi(-3.0))
    assert adapter.feedback(decision.seq, False)
    assert adapter.counts(REPORTED_DB)[1, decision.mcs] == 1
    assert not adapter.counts(-3.0).any()


def test_the_predicted_bler_is_the_posterior_mean_of_the_mcs_that_is_sent():
    adapter = thompson()
    for ack in (True, False, True):
        expected = adapter.bler(REPORTED_DB)
        decision = adapter.select()
        assert decision.bler == pytest.approx(expected[decision.mcs])
        assert 0 < decision.bler < 1
        adapter.feedback(decision.seq, ack)


@pytest.mark.parametrize(("bias_db", "prior_strength"), [(-2.0, 10.0), (-2.0, 1.0), (2.0, 1.0)])
def test_without_a_target_it_finds_the_best_mcs_in_spite_of_a_wrong_prior(bias_db, prior_strength, rng):
    true_bler = TABLE.bler(REPORTED_DB + bias_db)
    best = int(np.argmax(GOODPUT * (1 - true_bler)))
    assert best != int(np.argmax(GOODPUT * (1 - TABLE.bler(REPORTED_DB))))  # the prior is wrong
    mcs, _ = play(thompson(target=None, prior_strength=prior_strength), true_bler, rng.random(6000))
    assert np.mean(mcs[-1000:] == best) > 0.9


def test_it_explores_less_and_less(rng):
    true_bler = TABLE.bler(REPORTED_DB - 2.0)
    best = int(np.argmax(GOODPUT * (1 - true_bler)))
    mcs, _ = play(thompson(target=None), true_bler, rng.random(4000))
    elsewhere = [np.mean(part != best) for part in np.split(mcs, 4)]
    assert elsewhere[0] > 0.05
    assert elsewhere[3] < 0.25 * elsewhere[0]
    assert len(np.unique(mcs)) > 5


def test_with_a_target_it_mixes_two_mcs_so_that_the_share_of_failures_is_met(rng):
    true_bler = np.ones(len(TABLE))
    true_bler[:9], true_bler[14] = 0.01, 0.3  # MCS 14 carries more than MCS 8 even so
    adapter = thompson(target=0.1)
    mcs, acks = play(adapter, true_bler, rng.random(6000))
    # 0.01 x + 0.3 (1 - x) = 0.1 gives x = 0.69 of the blocks at MCS 8.
    assert np.mean(mcs[-3000:] == 8) == pytest.approx(0.69, abs=0.06)
    assert np.mean(mcs[-3000:] == 14) == pytest.approx(0.31, abs=0.06)
    assert 1 - acks[-3000:].mean() == pytest.approx(0.1, abs=0.02)


def test_the_constrained_mixture_is_the_optimum_of_the_linear_program(rng):
    shares = np.linspace(0, 1, 201)
    for _ in range(20):
        success = np.sort(rng.random(5))[::-1]
        value = success * np.arange(1.0, 6.0) ** rng.uniform(0.5, 2.0)
        least = rng.uniform(success[-1], success[0])
        drawn = np.array([draw_constrained(success, value, least, rng) for _ in range(2000)])
        # An optimum has two arms at most (a linear program has as many as constraints): search all pairs.
        mean_success = shares * success[:, None, None] + (1 - shares) * success[:, None]
        mean_value = shares * value[:, None, None] + (1 - shares) * value[:, None]
        best = mean_value[mean_success >= least].max()
        deviation = value[drawn].std() / np.sqrt(len(drawn))
        assert value[drawn].mean() == pytest.approx(best, abs=4 * deviation + 0.01 * best)
        spread = success[drawn].std() / np.sqrt(len(drawn))
        assert success[drawn].mean() > least - 4 * spread - 1e-9


def test_where_no_mcs_meets_the_target_it_sends_the_one_most_likely_to_succeed(rng):
    assert draw_constrained(np.array([0.5, 0.7, 0.2]), np.array([1.0, 2.0, 9.0]), 0.9, rng) == 1


def test_forgetting_brings_back_the_prior_and_bounds_the_counts(rng):
    adapter = thompson(memory_blocks=50.0)
    play(adapter, TABLE.bler(REPORTED_DB), rng.random(1000))
    assert adapter.counts(REPORTED_DB).sum() == pytest.approx(50.0, rel=0.01)
    adapter.report(Csi(-3.0))
    play(adapter, TABLE.bler(-3.0), rng.random(500))
    assert adapter.counts(REPORTED_DB).sum() < 0.01


def test_reports_beyond_the_table_share_the_edge_bins():
    adapter = thompson()
    assert adapter.cqi(-60.0) == 0 == adapter.cqi(TABLE.threshold.min() - 10.0)
    assert adapter.cqi(100.0) == adapter.cqi(TABLE.threshold.max() + 10.0)
    assert thompson(bin_db=2.0).cqi(12.9) == thompson(bin_db=2.0).cqi(11.1)
    for snr_db in (-60.0, 100.0):
        adapter.report(Csi(snr_db))
        assert adapter.feedback(adapter.select().seq, True)


def test_the_length_of_a_block_enters_its_rate():
    costly = McsTable("costly", (2, 6), (0.5, 0.9), (0.0, 18.0), (0.3, 0.3), overhead_symbols=1000.0)
    adapter = ThompsonSampling(costly, np.random.default_rng(3), target=None, flat_prior=0.001)
    adapter.report(Csi(18.0))  # the fast MCS fails half of the time; overhead makes it no faster when short
    chosen = [adapter.select(bits).mcs for bits in 200 * [10] + 200 * [100_000]]
    assert np.mean(chosen[:200]) < 0.05
    assert np.mean(chosen[200:]) > 0.8


def test_the_same_generator_gives_the_same_choices(rng):
    draws = rng.random(200)
    a, b, c = (play(thompson(seed), TABLE.bler(10.0), draws)[0] for seed in (7, 7, 8))
    assert (a == b).all()
    assert (a != c).any()


def test_without_a_report_it_sends_the_most_robust_mcs_and_learns_nothing_from_it():
    adapter = ThompsonSampling(TABLE, np.random.default_rng(1))
    decision = adapter.select()
    assert (decision.mcs, decision.bler) == (TABLE.most_robust, 0.5)
    adapter.report(Csi(REPORTED_DB))
    assert adapter.feedback(decision.seq, False)
    assert not adapter.counts(REPORTED_DB).any()


def test_unknown_repeated_late_and_retransmitted_feedback_counts_nothing():
    adapter = thompson(pending_limit=4)
    seqs = [adapter.select().seq for _ in range(5)]
    assert not adapter.feedback(seqs[0], True)  # expired
    assert not adapter.feedback(99, True)
    assert adapter.feedback(seqs[1], True, attempt=1)
    assert not adapter.counts(REPORTED_DB).any()
    assert adapter.feedback(seqs[1], True)
    assert not adapter.feedback(seqs[1], True)
    assert adapter.counts(REPORTED_DB).sum() == 1


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        ({"target": 0.0}, "target = 0.0"),
        ({"target": float("nan")}, "target = nan"),
        ({"bin_db": 0.0}, "bin_db = 0.0"),
        ({"bin_db": float("inf")}, "bin_db = inf"),
        ({"prior_strength": -1.0}, r"prior_strength = -1\.0"),
        ({"flat_prior": 0.0}, "flat_prior = 0.0"),
        ({"memory_blocks": 1.0}, "memory_blocks = 1.0"),
        ({"memory_blocks": float("nan")}, "memory_blocks = nan"),
        ({"pending_limit": 0}, "pending limit = 0"),
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(bad, named):
    with pytest.raises(ValueError, match=named):
        thompson(**bad)


def test_in_the_nominal_world_it_carries_nearly_what_olla_does():
    world = make_world("nominal", TABLE, seed=41, n_links=5, n_slots=800)
    plain = summary(run(lambda link: Olla(TABLE), world))
    figures = summary(run(lambda link: ThompsonSampling(TABLE, np.random.default_rng([41, link])), world))
    assert figures["goodput"] > 0.85 * plain["goodput"]
    assert 0.05 < figures["residual_bler"] < 0.25  # above the target while it counts
