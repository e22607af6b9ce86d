# SPDX-License-Identifier: GPL-3.0-or-later
"""OLLA."""

import numpy as np
import pytest
from gnuradio.lighttune.baselines import Olla, TableOnly
from gnuradio.lighttune.core.mcs import McsTable
from gnuradio.lighttune.core.messages import MAX_SEQ, Csi

TABLE = McsTable.nr_pdsch(2)


def olla_at(snr_db: float, **kwargs) -> Olla:
    olla = Olla(TABLE, **kwargs)
    olla.report(Csi(snr_db))
    return olla


def test_a_nack_outweighs_the_acks_of_its_share():
    olla = olla_at(10.0, target=0.1, delta_up_db=0.9)
    for ack in [False] + 9 * [True]:
        assert olla.feedback(olla.select().seq, ack)
    assert olla.offset_db == pytest.approx(0.0)
    olla.feedback(olla.select().seq, False)
    assert olla.offset_db == pytest.approx(-0.9)


@pytest.mark.parametrize("target", [0.02, 0.1, 0.4])
def test_the_share_of_failures_settles_at_the_target_whatever_the_bias_of_the_reports(target, rng):
    olla = olla_at(15.0, target=target, delta_up_db=0.3)
    nacks = []
    for _ in range(6000):
        decision = olla.select()
        nack = rng.random() < TABLE.bler(15.0 - 4.0)[decision.mcs]  # the truth is 4 dB worse than the report
        olla.feedback(decision.seq, not nack)
        nacks.append(nack)
    # The offset's bounded swing over 5,000 blocks leaves the mean this close to the target.
    assert np.mean(nacks[1000:]) == pytest.approx(target, abs=0.01)
    assert olla.offset_db == pytest.approx(-4.0, abs=2.0)


def test_the_offset_stays_within_its_range():
    olla = olla_at(10.0, offset_range_db=(-2.0, 1.0), delta_up_db=1.5, target=0.3)
    for _ in range(10):
        olla.feedback(olla.select().seq, False)
    assert olla.offset_db == -2.0
    for _ in range(20):
        olla.feedback(olla.select().seq, True)
    assert olla.offset_db == 1.0


@pytest.mark.parametrize("bits", [None, 100, 8448])
def test_it_sends_the_most_efficient_mcs_within_the_target(bits):
    for snr_db in np.arange(-12.0, 35.0, 0.37):
        olla = olla_at(snr_db, target=0.1, offset_db=1.0)
        decision = olla.select(bits)
        bler = TABLE.bler(snr_db + 1.0, bits)
        allowed = np.flatnonzero(bler <= 0.1)
        efficiency = TABLE.spectral_efficiency
        best = allowed[np.argmax(efficiency[allowed])] if allowed.size else TABLE.most_robust
        assert decision.mcs == best
        assert decision.bler == pytest.approx(bler[best])
        assert 0 < decision.bler < 1


def test_a_ladder_whose_thresholds_cross_between_orders_is_searched_in_full():
    # 16-QAM 1/2 carries more than QPSK 0.9 and needs less.
    table = McsTable("crossed", (2, 2, 4), (0.5, 0.9, 0.5), (1.0, 9.0, 7.0), (0.3, 0.3, 0.3))
    olla = Olla(table)
    for snr_db, mcs in ((5.0, 0), (8.0, 2), (12.0, 2)):
        olla.report(Csi(snr_db))
        assert olla.select().mcs == mcs


def test_without_a_report_it_sends_the_most_robust_mcs_and_learns_nothing_from_it():
    olla = Olla(TABLE)
    decision = olla.select()
    assert decision.mcs == TABLE.most_robust
    assert olla.feedback(decision.seq, False)
    assert olla.offset_db == 0.0


def test_unknown_and_repeated_feedback_is_refused_and_moves_nothing():
    olla = olla_at(10.0)
    seq = olla.select().seq
    assert olla.feedback(seq, False)
    offset = olla.offset_db
    assert not olla.feedback(seq, False)
    assert not olla.feedback(seq + 1, False)
    assert olla.offset_db == offset


def test_retransmissions_are_accepted_and_move_nothing():
    olla = olla_at(10.0)
    seq = olla.select().seq
    assert olla.feedback(seq, False, attempt=1)
    assert olla.offset_db == 0.0


def test_feedback_that_comes_after_too_many_newer_blocks_is_late():
    olla = olla_at(10.0, pending_limit=4)
    seqs = [olla.select().seq for _ in range(5)]
    assert not olla.feedback(seqs[0], True)
    assert olla.feedback(seqs[1], True)
    assert olla.pending.expired == 1


def test_blocks_are_numbered_from_zero_and_from_a_given_number_on_until_they_wrap():
    olla = olla_at(10.0)
    assert [olla.select().seq for _ in range(3)] == [0, 1, 2]
    assert [olla.select(seq=MAX_SEQ).seq, olla.select().seq] == [MAX_SEQ, 0]
    with pytest.raises(ValueError, match="-1"):
        olla.select(seq=-1)


def test_it_learns_from_another_adapters_block_only_what_that_says_of_its_own_choice():
    own = olla_at(10.0).select().mcs
    for mcs, ack, sign in (
        (own - 3, False, -1),  # even that failed
        (own, False, -1),
        (own + 3, False, 0),  # of course it failed
        (own + 3, True, +1),  # even that succeeded
        (own, True, +1),
        (own - 3, True, 0),
    ):
        olla = olla_at(-5.0)  # what was reported since does not matter
        olla.observe(10.0, mcs, ack)
        assert np.sign(olla.offset_db) == sign


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        ({"target": 0.0}, "target = 0.0"),
        ({"target": 1.0}, "target = 1.0"),
        ({"target": float("nan")}, "target = nan"),
        ({"delta_up_db": 0.0}, "delta_up_db = 0.0"),
        ({"delta_up_db": float("nan")}, "delta_up_db = nan"),
        ({"delta_up_db": float("inf")}, "delta_up_db = inf"),
        ({"offset_range_db": (1.0, 1.0)}, "offset_range_db"),
        ({"offset_range_db": (float("nan"), 1.0)}, "offset_range_db"),
        ({"offset_db": 11.0}, "offset_db = 11.0"),
        ({"offset_db": float("nan")}, "offset_db = nan"),
        ({"pending_limit": 0}, "pending limit = 0"),
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(bad, named):
    with pytest.raises(ValueError, match=named):
        Olla(TABLE, **bad)


def test_table_only_chooses_as_olla_does_at_first_and_forever():
    table_only = TableOnly(TABLE)
    table_only.report(Csi(12.0))
    first = table_only.select()
    assert (first.mcs, first.bler) == (olla_at(12.0).select().mcs, olla_at(12.0).select().bler)
    for _ in range(10):
        assert table_only.feedback(table_only.select().seq, False)
    assert table_only.select().mcs == first.mcs


def test_table_only_refuses_a_target_out_of_range():
    with pytest.raises(ValueError, match=r"target = 1\.5"):
        TableOnly(TABLE, target=1.5)
