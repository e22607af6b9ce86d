# SPDX-License-Identifier: GPL-3.0-or-later
"""The LightTune adapter: it decides whatever happens to the model, and hands over to OLLA when it must."""

from dataclasses import replace

import numpy as np
import pytest
from gnuradio.lighttune.baselines.olla import Olla
from gnuradio.lighttune.core.adapter import LightTune, Selector
from gnuradio.lighttune.core.features import NAMES
from gnuradio.lighttune.core.messages import MAX_SEQ, Csi, Feedback
from gnuradio.lighttune.core.selection import Prober, SelectionPolicy, choose, most_efficient_within
from gnuradio.lighttune.core.tuner import Tuner

AGE = NAMES.index("log_age_slots")


@pytest.fixture
def selector(plain_predictor):
    return Selector(plain_predictor, Olla(plain_predictor.table))


def run(adapter, table, rng, n, snr_db=12.0, bias_db=0.0):
    """Drive an adapter over a steady channel; returns the MCS and the ACKs."""
    mcs, acks = [], []
    for _ in range(n):
        adapter.report(Csi(snr_db + bias_db + rng.normal(0, 0.3)))
        decision = adapter.select()
        ack = bool(rng.random() >= table.bler(snr_db)[decision.mcs])
        assert adapter.feedback(decision.seq, ack)
        mcs.append(decision.mcs)
        acks.append(ack)
    return np.array(mcs), np.array(acks)


def test_before_any_report_the_most_robust_mcs_goes_out(selector):
    decision = selector.select()
    assert decision.mcs == selector.predictor.table.most_robust
    assert decision.version == -1
    assert 0 < decision.bler < 1
    assert decision.features.size == 0


def test_a_block_sent_blind_teaches_nothing(plain_predictor):
    tuner = Tuner(plain_predictor)
    adapter = LightTune(Selector(plain_predictor, Olla(plain_predictor.table)), tuner)
    seq = adapter.select().seq
    assert adapter.feedback(seq, False)
    assert tuner.links == []


def test_a_report_dated_at_the_coming_block_is_as_fresh_as_can_be(selector):
    selector.report(Csi(12.0, seq=7))
    assert selector.select(seq=5).features[AGE] == 0.0


def test_a_decision_carries_what_the_tuner_needs(selector):
    selector.report(Csi(12.0))
    decision = selector.select(bits=4096)
    assert decision.features.shape == (len(NAMES),)
    assert decision.features.dtype == np.float32
    assert decision.features[0] == pytest.approx(12.0)
    assert decision.features[-1] == pytest.approx(np.log(4))
    assert decision.version == 0


@pytest.mark.parametrize("seq", [5, MAX_SEQ])
def test_numbering_can_be_the_radios_own_and_wraps(selector, seq):
    assert selector.select(seq=seq).seq == seq
    assert selector.select().seq == (seq + 1) % 2**32


@pytest.mark.parametrize("seq", [-1, 2**32])
def test_a_number_that_cannot_travel_is_refused(selector, seq):
    with pytest.raises(ValueError, match=f"seq = {seq}"):
        selector.select(seq=seq)


def test_the_age_of_a_report_is_counted_in_blocks_across_the_wrap(selector):
    selector.report(Csi(12.0, seq=MAX_SEQ - 1))
    assert np.exp(selector.select(seq=1).features[AGE]) == pytest.approx(3, rel=1e-5)


def test_feedback_counts_once_and_only_for_pending_blocks(selector):
    selector.report(Csi(12.0))
    seq = selector.select().seq
    assert selector.feedback(seq, True)
    assert not selector.feedback(seq, True)
    assert not selector.feedback(12345, False)


def test_retransmissions_teach_nothing(plain_predictor):
    tuner = Tuner(plain_predictor)
    adapter = LightTune(Selector(plain_predictor, Olla(plain_predictor.table)), tuner)
    adapter.report(Csi(12.0))
    seq = adapter.select().seq
    assert adapter.feedback(seq, False, attempt=1)
    assert tuner.links == []
    assert adapter.feedback(seq, False)
    assert tuner.state(0)["samples"] == 1


def test_weights_that_are_not_finite_hand_over_to_olla_and_good_ones_take_over_again(selector, rng):
    good = selector.predictor.offline.copy()
    bad = good.copy()
    bad[100] = np.nan
    selector.report(Csi(12.0))
    selector.load(7, bad)
    assert selector.mode == "olla: weights are not finite"
    mcs, _ = run(selector, selector.predictor.table, rng, 20)
    assert (mcs > 5).all()  # OLLA decides from the reports, not from fear
    assert selector.select().version == -1
    selector.load(8, good)
    assert selector.mode == "model"
    assert selector.select().version == 8


def test_weights_of_a_wrong_length_are_refused_and_the_old_ones_stay(selector):
    with pytest.raises(ValueError, match="shape"):
        selector.load(1, np.zeros(5))
    assert selector.mode == "model"


def test_a_silent_tuner_and_an_unhealthy_one_hand_over_to_olla(selector):
    selector.silence("the tuner is not heard")
    assert selector.mode == "olla: the tuner is not heard"
    selector.silence(None)
    assert selector.mode == "model"
    selector.load(3, selector.predictor.offline, healthy=False)
    assert selector.mode.startswith("olla: ")


def test_olla_has_learned_in_the_shadow_when_it_takes_over(plain_predictor, rng):
    olla = Olla(plain_predictor.table)
    selector = Selector(plain_predictor, olla)
    run(selector, plain_predictor.table, rng, 300, bias_db=3.0)
    assert olla.offset_db < -1.5


def test_tuning_in_the_loop_wins_back_what_a_biased_report_costs(plain_predictor):
    def goodput(tuner):
        rng = np.random.default_rng(3)
        adapter = LightTune(Selector(plain_predictor, Olla(plain_predictor.table)), tuner)
        adapter.selector.doubt.outcome = lambda *block: None  # or else OLLA decides without a tuner
        mcs, acks = run(adapter, plain_predictor.table, rng, 500, bias_db=3.0)
        return (plain_predictor.table.spectral_efficiency[mcs] * acks)[100:].mean()

    assert goodput(Tuner(plain_predictor)) > 1.3 * goodput(None)


def test_choice_maximises_goodput_less_the_price_of_failures(plain_predictor):
    table, bler = plain_predictor.table, np.linspace(0.001, 0.99, 29)
    gain = table.goodput_if_acked()
    assert choose(bler, gain, table) == np.argmax(gain * (1 - bler))
    blers = np.stack([bler, bler[::-1]])
    both = choose(blers, gain, table, np.array([0.0, 3.0]))
    assert both.tolist() == [choose(bler, gain, table), np.argmax(gain * (1 - bler[::-1]) - 3.0 * bler[::-1])]
    assert choose(np.full((2, 29), 1 - 3e-7), gain, table).tolist() == [table.most_robust] * 2  # hopeless
    kept = most_efficient_within(bler, gain, table, 0.2)
    assert bler[kept] <= 0.2 < bler[kept + 1]
    assert most_efficient_within(np.full(29, 0.9), gain, table, 0.2) == table.most_robust


@pytest.mark.parametrize("target", [0.02, 0.05, 0.1])
def test_a_bler_target_is_held_in_the_long_run_and_not_overfulfilled(plain_predictor, target, rng):
    """The waterfalls are wide (reports are 4 dB uncertain), so that maximum goodput would fail more often."""
    b3 = np.repeat((0.0, 4.0, 0.0), plain_predictor.shape.orders)  # mu, sigma and tilt of each order
    predictor = replace(plain_predictor, encoder=replace(plain_predictor.encoder, b3=b3))
    selector = Selector(predictor, Olla(predictor.table), SelectionPolicy("target", target, probe_budget=0))
    nacks = []
    for seq in range(6000):
        selector.report(Csi(15.0 + 0.01 * (seq % 2), seq=seq))  # reports that stand still would be doubted
        decision = selector.select(seq=seq)
        bler = predictor.table.bler(15.0 + rng.normal(0, 4.0))[decision.mcs]
        nacks.append(rng.random() < bler)
        selector.feedback(seq, not nacks[-1])
    # Integral control: the mean is off by at most (largest price + one step) / (step * blocks) = 1.4 %.
    assert np.mean(nacks[1000:]) == pytest.approx(target, abs=0.015)


def test_probing_stays_within_its_budget_and_stops_where_outcomes_teach(plain_predictor):
    table, policy = plain_predictor.table, SelectionPolicy(probe_budget=0.02)
    gain, bler = table.goodput_if_acked(), np.full(29, 1e-3)
    bler[11:] = 0.999
    prober, spent = Prober(table, policy), 0.0
    sent = [int(prober.consider(10, bler, gain)) for _ in range(5000)]
    probes = [m for m in sent if m != 10]
    assert len(probes) > 50
    assert set(probes) == {int(table.by_efficiency[list(table.by_efficiency).index(10) + 1])}
    spent = sum(gain[10] * (1 - bler[10]) - gain[m] * (1 - bler[m]) for m in probes)
    assert spent <= 0.02 * 5000 * gain[10]
    for _ in range(100):
        prober.observe(0.3)
    assert [int(prober.consider(10, bler, gain)) for _ in range(10)] == [10] * 10


def test_nothing_is_probed_above_the_top_or_without_a_budget(plain_predictor):
    table, bler = plain_predictor.table, np.full(29, 1e-3)
    gain = table.goodput_if_acked()
    top = Prober(table, SelectionPolicy())
    assert {int(top.consider(28, bler, gain)) for _ in range(500)} == {28}
    unfunded = Prober(table, SelectionPolicy(probe_budget=0))
    assert {int(unfunded.consider(10, bler, gain)) for _ in range(500)} == {10}


@pytest.mark.parametrize(
    "bad",
    [{"objective": "speed"}, {"bler_target": 1.0}, {"probe_budget": 0.5}, {"probe_below": float("nan")}],
)
def test_a_selection_policy_that_makes_no_sense_is_refused_by_name(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        SelectionPolicy(**bad)


@pytest.mark.parametrize("snr", [float("nan"), float("inf"), -1e9])
def test_a_report_that_no_receiver_measures_cannot_be_made(snr):
    with pytest.raises(ValueError, match="snr_db"):
        Csi(snr)


@pytest.mark.parametrize("bad", [{"seq": -1}, {"seq": 2**32}, {"seq": 1, "attempt": -1}])
def test_feedback_out_of_range_cannot_be_made(bad):
    with pytest.raises(ValueError, match=r"seq|attempt"):
        Feedback(ack=True, **bad)
