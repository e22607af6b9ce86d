# SPDX-License-Identifier: GPL-3.0-or-later
"""What every link adapter promises, whatever it is made of."""

import numpy as np
import pytest
from gnuradio.lighttune.baselines import FixedMcs, Olla, Salad, ThompsonSampling, TrendOlla
from gnuradio.lighttune.core import make_link
from gnuradio.lighttune.core.mcs import McsTable
from gnuradio.lighttune.core.messages import MAX_SEQ, Csi

TABLE = McsTable.amc()
ADAPTERS = {
    "Link": lambda: make_link("amc"),
    "Link without a network": lambda: make_link(table=TABLE),
    "Link at a target": lambda: make_link("amc", objective="target"),
    "Olla": lambda: Olla(TABLE),
    "TrendOlla": lambda: TrendOlla(TABLE),
    "Salad": lambda: Salad(TABLE, np.random.default_rng(1)),
    "ThompsonSampling": lambda: ThompsonSampling(TABLE, np.random.default_rng(1)),
    "FixedMcs": lambda: FixedMcs(TABLE, 3),
}


@pytest.fixture(params=ADAPTERS)
def adapter(request):
    return ADAPTERS[request.param]()


def sane(decision):
    return 0 <= decision.mcs < len(TABLE) and 0 < decision.bler < 1


def test_it_decides_before_anything_was_reported(adapter):
    assert sane(adapter.select())


def test_blocks_count_on_from_the_last_one_and_wrap(adapter):
    assert [adapter.select().seq for _ in range(3)] == [0, 1, 2]
    assert [adapter.select(seq=MAX_SEQ).seq, adapter.select().seq] == [MAX_SEQ, 0]


@pytest.mark.parametrize("seq", [-1, MAX_SEQ + 1])
def test_a_sequence_number_out_of_range_is_named(adapter, seq):
    with pytest.raises(ValueError, match=f"seq = {seq}"):
        adapter.select(seq=seq)


def test_an_outcome_counts_once_and_only_for_a_block_that_was_sent(adapter):
    seq = adapter.select().seq
    assert adapter.feedback(seq, True)
    assert not adapter.feedback(seq, True)
    assert not adapter.feedback(seq + 7, False)


def test_a_retransmission_is_taken_whether_or_not_the_first_was_told(adapter):
    seq = adapter.select().seq
    assert adapter.feedback(seq, False)
    assert adapter.feedback(seq, True, attempt=1)
    assert adapter.feedback(adapter.select().seq, True, attempt=2)


def test_blocks_whose_feedback_never_comes_are_given_up(adapter):
    for _ in range(5000):
        adapter.select()
    assert len(adapter.pending) <= 4096
    assert not adapter.feedback(0, True)
    assert adapter.feedback(4999, True)


def test_any_order_of_calls_is_taken(adapter, rng):
    """Reports late, repeated, wild, feedback out of order or never, lengths from a bit to a megabyte."""
    waiting = []
    for step in range(3000):
        if rng.random() < 0.4:
            seq = None if rng.random() < 0.3 else int(rng.integers(0, max(step, 1)))
            adapter.report(Csi(float(rng.uniform(-60, 100)), seq))
        bits = None if rng.random() < 0.5 else int(2 ** rng.uniform(0, 23))
        decision = adapter.select(bits)
        assert sane(decision)
        waiting.append(decision.seq)
        rng.shuffle(waiting)
        for _ in range(int(rng.integers(0, 3))):
            if waiting:
                adapter.feedback(waiting.pop(), bool(rng.random() < 0.7))


@pytest.mark.parametrize("ack", [True, False])
def test_the_same_outcome_for_ever_ends_at_an_end_of_the_ladder(ack):
    """Of those that learn: where all arrives, the fastest; where nothing does, the most robust."""
    for name in ("Link", "Link without a network", "Olla"):
        adapter, sent = ADAPTERS[name](), []
        for _ in range(1500):
            adapter.report(Csi(12.0))
            decision = adapter.select()
            adapter.feedback(decision.seq, ack)
            sent.append(decision.mcs)
        wanted = TABLE.by_efficiency[-1] if ack else TABLE.most_robust
        goodput = TABLE.goodput_if_acked()
        reached = goodput[decision.mcs] / goodput[wanted]
        assert reached >= 0.9 if ack else sent[-100:].count(wanted) >= 50, name
