# SPDX-License-Identifier: GPL-3.0-or-later
"""OLLA on an extrapolated SINR."""

import numpy as np
import pytest
from gnuradio.lighttune.baselines import Olla, TrendOlla
from gnuradio.lighttune.core.mcs import McsTable
from gnuradio.lighttune.core.messages import MAX_SEQ, Csi
from gnuradio.lighttune.sim import make_world, run, summary

TABLE = McsTable.nr_pdsch(1)
GOODPUT = TABLE.goodput_if_acked()


def goodput(adapter, snr_db: np.ndarray, reported_db: np.ndarray, delay: int, draws: np.ndarray) -> float:
    """Mean goodput over a channel whose reports come ``delay`` slots after they were measured."""
    carried = 0.0
    for slot in range(delay, len(snr_db)):
        adapter.report(Csi(reported_db[slot - delay], seq=slot - delay))
        decision = adapter.select(seq=slot)
        ack = bool(draws[slot] >= TABLE.bler(snr_db[slot])[decision.mcs])
        adapter.feedback(slot, ack)
        carried += GOODPUT[decision.mcs] * ack
    return carried / len(snr_db)


def predicted(adapter: TrendOlla, age: int) -> float:
    value = adapter.predicted_db(age)
    assert value is not None
    return value


def test_on_a_smoothly_moving_channel_it_carries_more_than_olla(rng):
    slots = np.arange(3000)
    snr_db = 10.0 + 6.0 * np.sin(2 * np.pi * slots / 60)  # up to 0.63 dB per slot
    reported_db = np.round(snr_db * 2) / 2  # in half dB, 4 slots late: 2.5 dB behind at worst
    draws = rng.random(len(slots))
    plain = goodput(Olla(TABLE), snr_db, reported_db, 4, draws)
    trend = goodput(TrendOlla(TABLE), snr_db, reported_db, 4, draws)
    assert trend > 1.08 * plain  # measured: 1.12


def test_on_reports_that_do_not_change_it_is_olla_block_for_block(rng):
    olla, trend = Olla(TABLE, delta_up_db=0.4), TrendOlla(TABLE, delta_up_db=0.4)
    for draw in rng.random(500):
        for adapter in (olla, trend):
            adapter.report(Csi(11.3))
        a, b = olla.select(), trend.select()
        assert (a.seq, a.mcs, a.bler) == (b.seq, b.mcs, b.bler)
        ack = bool(draw >= TABLE.bler(10.0)[a.mcs])
        assert olla.feedback(a.seq, ack)
        assert trend.feedback(b.seq, ack)
        assert trend.offset_db == olla.offset_db


def test_a_straight_line_is_extrapolated_by_the_age_of_its_last_report():
    adapter = TrendOlla(TABLE, gain=1.0)
    for slot in range(0, 120, 3):  # 0.2 dB per slot, a report every third slot
        adapter.report(Csi(-5.0 + 0.2 * slot, seq=slot))
    assert predicted(adapter, 1) == pytest.approx(-5.0 + 0.2 * 118, abs=0.01)
    assert predicted(adapter, 8) == pytest.approx(-5.0 + 0.2 * 125, abs=0.01)


def test_the_age_is_counted_across_the_wrap_of_sequence_numbers():
    def play(first: int) -> list[tuple[int, float]]:
        adapter, chosen = TrendOlla(TABLE, gain=1.0), []
        for slot in range(40):
            adapter.report(Csi(0.3 * slot, seq=(first + slot) % (MAX_SEQ + 1)))
            decision = adapter.select(seq=(first + slot + 4) % (MAX_SEQ + 1))
            chosen.append((decision.mcs, decision.bler))
        return chosen

    assert play(MAX_SEQ - 20) == play(1000)


def test_the_extrapolation_is_bounded_and_a_jump_moves_the_level_not_the_trend():
    adapter = TrendOlla(TABLE, gain=1.0, lead_db=2.0, step_db=1.0, slope_gain=0.5, level_gain=1.0)
    for slot in range(20):
        adapter.report(Csi(5.0, seq=slot))
    adapter.report(Csi(25.0, seq=20))
    assert predicted(adapter, 0) == 25.0
    assert predicted(adapter, 2) == pytest.approx(26.0)  # half of a 1 dB step per slot, not of 20 dB
    assert predicted(adapter, 1000) == pytest.approx(27.0)


def test_a_trend_that_foretells_nothing_earns_no_weight(rng):
    adapter = TrendOlla(TABLE)
    for slot, noise in enumerate(rng.standard_normal(2000)):
        adapter.report(Csi(10.0 + 2.0 * noise, seq=slot))
        adapter.select(seq=slot + 4)
    # White reports fall back to their mean: the trend's sign is wrong as often as right.
    assert adapter.gain < 0.3
    moving = TrendOlla(TABLE)
    for slot in range(2000):
        moving.report(Csi(10.0 + 6.0 * np.sin(slot / 10), seq=slot))
        moving.select(seq=slot + 2)
    assert moving.gain > 0.7


@pytest.mark.parametrize("seq", [0, 5000])
def test_a_report_from_long_ago_or_after_a_long_silence_begins_the_trend_anew(seq):
    adapter = TrendOlla(TABLE, gain=1.0)
    for slot in range(1000, 1030):
        adapter.report(Csi(0.4 * (slot - 1000), seq=slot))
    adapter.report(Csi(3.0, seq=seq))
    assert predicted(adapter, 10) == 3.0


def test_reports_without_a_number_are_dated_to_the_last_block():
    numbered, bare = TrendOlla(TABLE, gain=1.0), TrendOlla(TABLE, gain=1.0)
    for slot in range(30):
        numbered.report(Csi(0.2 * slot, seq=(slot - 1) % (MAX_SEQ + 1)))
        bare.report(Csi(0.2 * slot))
        a, b = numbered.select(), bare.select()
        assert (a.mcs, a.bler) == (b.mcs, b.bler)


def test_a_repeated_report_leaves_the_trend_alone():
    adapter = TrendOlla(TABLE, gain=1.0)
    for slot in range(30):
        adapter.report(Csi(0.2 * slot, seq=slot))
    once = predicted(adapter, 5)
    for _ in range(10):
        adapter.report(Csi(0.2 * 29, seq=29))
    assert predicted(adapter, 5) == pytest.approx(once, abs=0.01)


def test_without_a_report_it_sends_the_most_robust_mcs_and_learns_nothing():
    adapter = TrendOlla(TABLE)
    decision = adapter.select()
    assert adapter.predicted_db(1) is None
    assert decision.mcs == TABLE.most_robust
    assert adapter.feedback(decision.seq, False)
    assert adapter.offset_db == 0.0


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        ({"level_gain": 0.0}, "level_gain = 0.0"),
        ({"level_gain": float("nan")}, "level_gain = nan"),
        ({"slope_gain": 1.1}, r"slope_gain = 1\.1"),
        ({"gain": -0.1}, r"gain = -0\.1"),
        ({"gain": float("inf")}, "gain = inf"),
        ({"lead_db": -1.0}, r"lead_db = -1\.0"),
        ({"step_db": 0.0}, "step_db = 0.0"),
        ({"target": 0.0}, "target = 0.0"),
        ({"delta_up_db": 0.0}, "delta_up_db = 0.0"),
        ({"pending_limit": 0}, "pending limit = 0"),
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(bad, named):
    with pytest.raises(ValueError, match=named):
        TrendOlla(TABLE, **bad)


def test_in_the_nominal_world_it_keeps_the_target_and_does_not_lose_to_olla():
    world = make_world("nominal", TABLE, seed=41, n_links=5, n_slots=800)
    plain = summary(run(lambda link: Olla(TABLE), world))
    trend = summary(run(lambda link: TrendOlla(TABLE), world))
    assert trend["residual_bler"] == pytest.approx(0.1, abs=0.03)
    assert trend["goodput"] > 0.98 * plain["goodput"]
