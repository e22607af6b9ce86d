# SPDX-License-Identifier: GPL-3.0-or-later
"""The field's driver tells an adapter what the course says, when it says it, and counts as it says."""

from dataclasses import replace

import numpy as np
import pytest
from gnuradio.lighttune.baselines.fixed import FixedMcs
from gnuradio.lighttune.baselines.olla import Olla
from gnuradio.lighttune.core.mcs import McsTable
from gnuradio.lighttune.core.messages import Csi, Decision

import course as c
import field_runs
from attacks import FAMILIES, jam_by_mcs, jam_rises, selective
from contestants import OLLA_SETTINGS, tuned_olla
from course import link_at
from drive import drive
from frames import mixed_frames
from retransmissions import ATTEMPTS, final_verdicts
from situations import SITUATIONS, reports_fall_silent

TABLE = McsTable.amc()


class Listener(FixedMcs):
    """Sends one MCS and writes down all that it hears, with the number of blocks sent until then."""

    def __init__(self, mcs=3):
        super().__init__(TABLE, mcs)
        self.heard, self.sent = [], 0

    def report(self, csi: Csi) -> None:
        self.heard.append((self.sent, "report", csi))
        super().report(csi)

    def select(self, bits=None, seq=None) -> Decision:
        self.sent += 1
        return super().select(bits, seq)

    def feedback(self, seq, ack, attempt=0) -> bool:
        self.heard.append((self.sent, "verdict", (seq, ack, attempt)))
        return super().feedback(seq, ack, attempt)

    def verdicts(self):
        return [(slot, *what) for slot, kind, what in self.heard if kind == "verdict"]

    def reports(self):
        return [(slot, what) for slot, kind, what in self.heard if kind == "report"]


def link(snr_db=8.0, n=200, seed=1):
    return link_at(TABLE, np.random.default_rng(seed), np.full(n, snr_db))


def test_the_best_fixed_mcs_is_the_best_of_all_that_are_driven():
    steps = link_at(TABLE, np.random.default_rng(2), np.repeat([5.0, 12.0, 20.0], 80))
    course = c.lossy(steps, np.where(np.arange(240) % 7 < 2, 0.6, 0.0)[:, None])
    driven = [drive(FixedMcs(TABLE, m), course).goodput for m in range(len(TABLE))]
    assert course.best_fixed() == (int(np.argmax(driven)), pytest.approx(max(driven)))


def test_goodput_is_what_the_draws_carry_on_average():
    course, carried = link(8.0, n=40_000), TABLE.goodput_if_acked()[3]
    driven = drive(FixedMcs(TABLE, 3), course)
    error = carried * np.std(driven.ack) / 200  # standard error of the mean of 40,000 outcomes
    assert driven.goodput == pytest.approx(carried * driven.ack.mean(), abs=4 * error)


def test_two_adapters_that_send_the_same_meet_the_same():
    course = c.lossy(link(), 0.3)
    first, second = drive(FixedMcs(TABLE, 3), course), drive(Listener(3), course)
    assert np.array_equal(first.ack, second.ack)
    higher = drive(FixedMcs(TABLE, 4), course)  # what decodes at a higher MCS decodes at a lower one
    assert not (higher.ack & ~first.ack).any()


def test_verdicts_come_when_and_as_the_course_says():
    course = c.told_only(c.told_late(link(n=60), 5), np.arange(60) % 3 == 0)
    listener = Listener()
    driven = drive(listener, course)
    assert listener.verdicts() == [(seq + 5, seq, driven.ack[seq], 0) for seq in range(0, 55, 3)]
    together = Listener()
    drive(together, c.told_together(link(n=24), 6))
    assert [(slot, seq) for slot, seq, *_ in together.verdicts()] == [(s // 6 * 6 + 6, s) for s in range(18)]


def test_a_liar_tells_the_opposite_and_then_the_truth():
    listener = Listener()
    lied = np.arange(200) < 50
    driven = drive(listener, c.told_as(c.lossy(link(), 0.5), lied, True, False))
    for _, seq, ack, _ in listener.verdicts():
        assert ack == (driven.ack[seq] != lied[seq])


def test_acks_are_lost_where_only_nacks_are_told():
    course, _ = selective((TABLE, np.random.default_rng(1), 300), 8.0, acks_lost=1.0, nacks_lost=0.0)
    listener = Listener()
    driven = drive(listener, course)
    failed = np.flatnonzero(~driven.ack[:-1])  # nothing is told after the last block
    assert [seq for _, seq, *_ in listener.verdicts()] == failed.tolist()


def test_reports_are_dated_and_stop_with_the_acks():
    listener = Listener(mcs=5)
    course = reports_fall_silent(TABLE, np.random.default_rng(3), 400)[0]
    driven = drive(listener, course)
    assert not driven.ack[100:].any()  # 6 dB
    slots = [slot for slot, _ in listener.reports()]
    assert slots == list(range(101))
    assert all(csi.seq == slot - 1 for slot, csi in listener.reports()[1:])
    assert course.counted.sum() == 300
    silent = Listener()
    drive(silent, c.unreported(link()))
    assert not silent.reports()


def test_a_jammer_sees_what_is_sent():
    plain = link(25.0)
    low, fresh = jam_by_mcs((TABLE, np.random.default_rng(1), 200), 25.0, lowest=0.0, width=0.5, loss=1.0)
    assert not drive(FixedMcs(TABLE, 2), low, fresh()).ack.any()
    assert drive(FixedMcs(TABLE, 7), low, fresh()).goodput == drive(FixedMcs(TABLE, 7), plain).goodput

    class Riser(Listener):
        def select(self, bits=None, seq=None):
            self._mcs = 3 if seq < 100 else 4
            return super().select(bits, seq)

    course, fresh = jam_rises((TABLE, np.random.default_rng(1), 200), 25.0, lasts=10, loss=1.0)
    assert np.flatnonzero(drive(Riser(), course, fresh()).lost).tolist() == list(range(100, 110))


def test_harq_tells_the_last_attempt_and_pays_for_all():
    rng = np.random.default_rng(4)
    course = final_verdicts(link(5.5, n=4000), rng)
    listener = Listener(mcs=3)  # 2 dB too high for one attempt
    driven = drive(listener, course)
    attempts = np.array([attempt for *_, attempt in listener.verdicts()])
    assert driven.ack.mean() > 0.99
    assert attempts.min() >= 0
    assert 1 <= np.median(attempts) < ATTEMPTS
    gain = TABLE.goodput_if_acked()[3]
    assert driven.goodput == pytest.approx(gain * driven.ack.mean() / (1 + attempts.mean()), rel=0.02)


def test_long_frames_fail_more_often_in_a_fade():
    course = mixed_frames(TABLE, np.random.default_rng(5), 400)[0]
    failures = course.bler[0][:, 3]
    assert failures[1::2].mean() > failures[::2].mean()
    assert set(course.bits.tolist()) == {160, 12_000}


@pytest.mark.parametrize("what", SITUATIONS, ids=lambda what: what.name)
def test_every_situation_draws_the_same_from_the_same_seed_and_can_be_driven(what):
    first, second = (what.make(TABLE, np.random.default_rng(6), 240) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert all(np.array_equal(a, b, equal_nan=True) for a, b in _arrays(one, other))
        assert one.counted.any()
        assert one.best_fixed()[1] > 0
        goodput = drive(tuned_olla(TABLE, OLLA_SETTINGS[1], what.reported), one).goodput
        assert (
            0 <= goodput <= TABLE.goodput_if_acked().max() * 1.2
        )  # long frames carry more for their overhead
        assert any(one.reports) == what.reported


def _arrays(one, other):
    pairs = zip(vars(one).values(), vars(other).values(), strict=True)
    return [(a, b) for a, b in pairs if isinstance(a, np.ndarray) and a.dtype != object]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_every_family_of_adversaries_can_be_driven_at_its_corners(family):
    for at in (0.0, 1.0):
        point = np.full(family.dimensions, at)
        course, fresh = family.attack(TABLE, np.random.default_rng(7), 120, point)
        driven = drive(Olla(TABLE), course, fresh and fresh())
        assert 0 <= driven.goodput <= TABLE.goodput_if_acked().max()


def test_goodput_is_back_where_it_holds_for_a_while():
    curve = np.concatenate([np.ones(50), np.full(10, 0.5), [1.0], np.full(9, 0.5), np.ones(100)])
    assert field_runs.back_after(curve, 50) == 18  # from there, 2 of 20 slots at half: 0.95
    assert field_runs.back_after(np.concatenate([np.ones(50), np.zeros(60)]), 50) == 60


def test_only_the_slots_that_count_are_counted():
    course = c.lossy(link(25.0), (np.arange(200) < 100)[:, None] * 1.0)
    assert drive(FixedMcs(TABLE, 5), course).goodput < 0.6 * TABLE.goodput_if_acked()[5]
    second_half = replace(course, counted=np.arange(200) >= 100)
    assert drive(FixedMcs(TABLE, 5), second_half).goodput == pytest.approx(TABLE.goodput_if_acked()[5])
