# SPDX-License-Identifier: GPL-3.0-or-later
"""SALAD."""

import numpy as np
import pytest
from gnuradio.lighttune.baselines import Olla, Salad
from gnuradio.lighttune.baselines.salad import LEARNING_RATES, distil, student_step, teach
from gnuradio.lighttune.core.mcs import McsTable
from gnuradio.lighttune.core.messages import Csi
from gnuradio.lighttune.sim import make_world, run, summary

TABLE = McsTable.nr_pdsch(1)


def salad(snr_db: float | None = 12.0, **kwargs) -> Salad:
    return Salad(TABLE, np.random.default_rng(1), initial_snr_db=snr_db, **kwargs)


def estimate(adapter: Salad) -> float:
    assert adapter.estimate_db is not None
    return adapter.estimate_db


def play(adapter: Salad, snr_db: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Estimate after, and outcome of, one block per true SINR."""
    estimates, acks = np.zeros(len(snr_db)), np.zeros(len(snr_db), bool)
    true_bler = TABLE.bler(snr_db)
    for i, draw in enumerate(rng.random(len(snr_db))):
        decision = adapter.select()
        acks[i] = draw >= true_bler[i, decision.mcs]
        assert adapter.feedback(decision.seq, bool(acks[i]))
        estimates[i] = estimate(adapter)
    return estimates, acks


@pytest.mark.parametrize("bias_db", [-8.0, 8.0])
def test_from_a_start_that_is_far_off_it_finds_the_true_sinr(bias_db, rng):
    estimates, _ = play(salad(12.0 + bias_db), np.full(1500, 12.0), rng)
    assert np.abs(estimates[150:200] - 12.0).mean() < 1.5
    # The curves of neighbouring MCS lie 1 dB apart: outcomes say little of what lies between.
    assert np.abs(estimates[-500:] - 12.0).mean() < 0.6


@pytest.mark.parametrize("target", [0.05, 0.1, 0.3])
def test_on_a_static_channel_it_holds_the_target(target, rng):
    _, acks = play(salad(target=target), np.full(3000, 12.3), rng)
    assert 1 - acks[1000:].mean() == pytest.approx(target, abs=0.02)


def test_the_integral_holds_a_target_that_the_curves_and_the_ladder_would_miss(rng):
    def share(gain: float) -> float:
        adapter, nacks = salad(integral_gain=gain, target=0.3, probe_share=0.0), []
        for draw in rng.random(3000):
            decision = adapter.select()
            nack = bool(draw < 0.06 + 0.94 * TABLE.bler(12.0)[decision.mcs])  # a floor that no curve knows
            adapter.feedback(decision.seq, not nack)
            nacks.append(nack)
        return float(np.mean(nacks[1000:]))

    assert share(0.02) == pytest.approx(0.3, abs=0.02)
    assert abs(share(0.0) - 0.3) > 0.04


@pytest.mark.parametrize(("before_db", "after_db", "within"), [(6.0, 15.0, 120), (15.0, 6.0, 40)])
def test_it_recovers_from_a_jump_of_the_channel(before_db, after_db, within, rng):
    snr_db = np.concatenate([np.full(600, before_db), np.full(600, after_db)])
    estimates, _ = play(salad(before_db, distil_every=None), snr_db, rng)
    assert np.abs(estimates[550:600] - before_db).mean() < 1.5
    assert np.abs(estimates[600 : 600 + within] - after_db).min() < 1.0
    assert np.abs(estimates[-100:] - after_db).mean() < 1.5


def test_probing_climbs_faster_when_the_channel_improves(rng):
    snr_db = np.concatenate([np.full(300, 4.0), np.full(300, 18.0)])

    def slots_to_climb(share: float) -> float:
        climbs = []
        for seed in range(8):
            adapter = Salad(
                TABLE,
                np.random.default_rng(seed),
                initial_snr_db=4.0,
                learning_rate=0.3,
                distil_every=None,
                probe_share=share,
            )
            estimates, _ = play(adapter, snr_db, np.random.default_rng([seed, 1]))
            climbs.append(np.argmax(np.append(estimates[300:], 99.0) > 16.0))
        return float(np.mean(climbs))

    assert slots_to_climb(0.15) < 0.8 * slots_to_climb(0.0)


def test_it_probes_only_while_the_estimate_looks_too_low():
    adapter = salad(probe_share=1.0, distil_every=None, integral_gain=0.0, learning_rate=1e-9)
    plain = adapter.select()
    assert not plain.probe  # nothing to judge by yet
    adapter.feedback(plain.seq, True)
    assert adapter.score > 0.2
    for _ in range(14):
        adapter.feedback(adapter.select().seq, True)
    probe = adapter.select()
    assert probe.probe
    assert TABLE.spectral_efficiency[probe.mcs] > TABLE.spectral_efficiency[plain.mcs]
    assert plain.bler <= 0.1 < probe.bler <= 0.95
    for _ in range(15):
        adapter.feedback(adapter.select().seq, False)
    assert adapter.score < 0
    assert not adapter.select().probe


def test_a_step_is_the_gradient_of_the_cross_entropy():
    h, threshold, slope = 1e-5, 10.0, 0.8
    for nack in (0, 1):

        def loss(snr_db: float, nack: int = nack) -> float:
            p = 1 / (1 + np.exp(-(threshold - snr_db) / slope))
            return -float(np.log(p if nack else 1 - p))

        after, p = student_step(9.7, threshold, slope, nack, 0.5)
        assert p == pytest.approx(1 / (1 + np.exp(-0.3 / 0.8)))
        assert after - 9.7 == pytest.approx(-0.5 * (loss(9.7 + h) - loss(9.7 - h)) / (2 * h), rel=1e-5)


def record(snr_db: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Outcomes of blocks whose thresholds scatter around the true SINR; the student knew it to 2 dB."""
    threshold = snr_db + rng.uniform(-2.0, 1.0, len(snr_db))
    slope = np.full(len(snr_db), 0.5)
    nack = (rng.random(len(snr_db)) < 1 / (1 + np.exp((snr_db - threshold) / slope))).astype(float)
    return snr_db + rng.uniform(-2.0, 2.0, len(snr_db)), threshold, slope, nack


def test_the_teacher_sees_the_path_of_the_sinr_in_its_outcomes(rng):
    slots = np.arange(300)
    for path in (np.full(300, 8.0), 2.0 + slots / 20, 10.0 + 4.0 * np.sin(2 * np.pi * slots / 150)):
        taught = teach(*record(path, rng))
        assert np.sqrt(np.mean((taught - path) ** 2)) < 0.6


def test_distillation_learns_slowly_on_a_still_channel_and_fast_on_a_moving_one(rng):
    slots = np.arange(300)
    still = [distil(*record(np.full(300, 8.0), rng)) for _ in range(5)]
    moving = [distil(*record(10.0 + 6.0 * np.sin(2 * np.pi * slots / 60), rng)) for _ in range(5)]
    assert np.mean(still) < 0.4
    assert np.mean(moving) > 2 * np.mean(still)
    assert set(still + moving) <= {float(rate) for rate in LEARNING_RATES}


def test_the_learning_rate_adapts_only_where_it_is_asked_to(rng):
    fixed, adaptive = salad(distil_every=None), salad(distil_every=50)
    for adapter in (fixed, adaptive):
        play(adapter, np.full(400, 12.0), rng)
    assert fixed.learning_rate == 1.0
    assert adaptive.learning_rate < 0.5


def test_only_the_first_report_is_read_and_none_where_the_start_was_given():
    adapter = salad(None)
    assert adapter.estimate_db is None
    decision = adapter.select()
    assert (decision.mcs, decision.bler) == (TABLE.most_robust, 0.5)
    adapter.feedback(decision.seq, False)
    assert adapter.estimate_db is None
    for snr_db in (9.0, 15.0):
        adapter.report(Csi(snr_db))
        assert adapter.estimate_db == 9.0
    given = salad(5.0)
    given.report(Csi(9.0))
    assert given.estimate_db == 5.0


def test_a_block_that_was_sent_before_the_first_report_teaches_nothing():
    adapter = salad(None)
    blind = adapter.select()
    adapter.report(Csi(9.0))
    assert adapter.feedback(blind.seq, False)
    assert adapter.estimate_db == 9.0


def test_its_state_stays_bounded_at_both_ends_of_the_ladder(rng):
    for snr_db in (-40.0, 60.0):
        adapter = salad(12.0, pending_limit=8)
        estimates, _ = play(adapter, np.full(1000, snr_db), rng)
        assert TABLE.threshold.min() - 3.0 <= estimates.min()
        assert estimates.max() <= TABLE.threshold.max() + 3.0
        # No debt has piled up: back on a usable channel, the target is met at once.
        _, acks = play(adapter, np.full(600, 12.0), rng)
        assert 1 - acks[100:].mean() == pytest.approx(0.1, abs=0.06)


def test_long_blocks_are_sent_more_carefully_and_mean_the_same_sinr():
    short, long = salad(12.0), salad(12.0)
    a, b = short.select(bits=100), long.select(bits=100_000)
    assert TABLE.spectral_efficiency[b.mcs] < TABLE.spectral_efficiency[a.mcs]
    assert b.bler == pytest.approx(TABLE.bler(12.0, 100_000)[b.mcs])
    long.feedback(b.seq, False)
    p = max(b.bler, 0.05)
    assert estimate(long) == pytest.approx(12.0 + 1.0 * (p - 1) / 0.5)


def test_unknown_repeated_late_and_retransmitted_feedback_moves_nothing():
    adapter = salad(pending_limit=4)
    seqs = [adapter.select().seq for _ in range(5)]
    assert not adapter.feedback(seqs[0], False)
    assert not adapter.feedback(99, False)
    assert adapter.feedback(seqs[1], False, attempt=1)
    assert adapter.estimate_db == 12.0
    assert adapter.feedback(seqs[1], False)
    moved = adapter.estimate_db
    assert not adapter.feedback(seqs[1], False)
    assert adapter.estimate_db == moved != 12.0


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        ({"target": 1.0}, "target = 1.0"),
        ({"initial_snr_db": float("nan")}, "initial_snr_db = nan"),
        ({"learning_rate": 0.0}, "learning_rate = 0.0"),
        ({"distil_every": 9}, "distil_every = 9"),
        ({"integral_gain": -1.0}, r"integral_gain = -1\.0"),
        ({"integral_gain": float("nan")}, "integral_gain = nan"),
        ({"window": 0}, "window = 0"),
        ({"probe_score": float("inf")}, "probe_score = inf"),
        ({"probe_share": 1.5}, r"probe_share = 1\.5"),
        ({"probe_target": 0.05}, "probe_target = 0.05"),
        ({"pending_limit": 0}, "pending limit = 0"),
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(bad, named):
    with pytest.raises(ValueError, match=named):
        Salad(TABLE, np.random.default_rng(1), **bad)


def test_in_the_nominal_world_it_carries_nearly_what_olla_does_without_its_reports():
    world = make_world("nominal", TABLE, seed=41, n_links=5, n_slots=800)
    plain = summary(run(lambda link: Olla(TABLE), world))
    figures = summary(run(lambda link: Salad(TABLE, np.random.default_rng([41, link])), world))
    assert figures["goodput"] > 0.75 * plain["goodput"]
    assert figures["residual_bler"] == pytest.approx(0.1, abs=0.05)
