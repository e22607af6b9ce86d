# SPDX-License-Identifier: GPL-3.0-or-later
"""The slot-by-slot link."""

import numpy as np
import pytest
from gnuradio.lighttune.baselines import FixedMcs, Genie, Olla, TableOnly
from gnuradio.lighttune.core.mcs import McsTable
from gnuradio.lighttune.core.messages import Csi, Decision
from gnuradio.lighttune.sim import World, make_world, run, summary
from gnuradio.lighttune.sim.link import NEAR, near_best

TABLE = McsTable.nr_pdsch(2)


@pytest.fixture(scope="module")
def nominal() -> World:
    return make_world("nominal", TABLE, 11, n_links=6, n_slots=1500)


class Diary:
    """Sends MCS 4 and writes down what it is told."""

    def __init__(self, link: int) -> None:
        self.link = link
        self.entries: list[tuple] = []

    def report(self, csi: Csi) -> None:
        self.entries.append(("report", csi.seq, csi.snr_db))

    def select(self, bits: int | None = None, seq: int | None = None) -> Decision:
        self.entries.append(("select", seq))
        return Decision(seq, 4, 0.25, version=3, probe=seq % 2 == 0)

    def feedback(self, seq: int, ack: bool, attempt: int = 0) -> bool:
        self.entries.append(("feedback", seq, ack))
        return True


@pytest.mark.parametrize("delay", [1, 5])
def test_an_adapter_hears_reports_and_outcomes_in_order_and_never_early(delay, nominal):
    diaries = []

    def make(link: int) -> Diary:
        diaries.append(Diary(link))
        return diaries[-1]

    trace = run(make, nominal, feedback_delay_slots=delay)
    assert [d.link for d in diaries] == list(range(6))
    for link, diary in enumerate(diaries):
        slot = 0
        outcomes = []
        for entry in diary.entries:
            match entry:
                case ("select", seq):
                    assert seq == slot
                    slot += 1
                case ("report", measured, snr_db):
                    assert measured == nominal.measured_at[link, slot]
                    assert snr_db == nominal.reported_db[link, slot]
                case ("feedback", seq, ack):
                    assert seq == slot - delay
                    outcomes.append(ack)
        assert slot == 1500
        assert outcomes == trace.ack[link, : 1500 - delay].tolist()


def test_the_trace_holds_what_was_decided_and_what_came_of_it(nominal):
    trace = run(Diary, nominal, bits=2048)
    true_bler = nominal.bler(np.array(4), bits=2048)
    assert (trace.mcs == 4).all()
    assert (trace.bler == 0.25).all()
    assert (trace.version == 3).all()
    assert trace.probe.mean() == 0.5
    assert np.allclose(trace.true_bler, true_bler)
    assert np.array_equal(trace.ack, nominal.draws >= true_bler)
    assert np.allclose(trace.goodput, trace.ack * TABLE.goodput_if_acked(2048)[4])
    assert (trace.latency_s > 0).all()
    assert trace.near_bler is None


def test_outcomes_fail_as_often_as_the_true_bler_says(nominal):
    trace = run(lambda link: FixedMcs(TABLE, 12), nominal)
    # 9,000 draws of which about half are near-certain: three standard errors.
    assert (~trace.ack).mean() == pytest.approx(trace.true_bler.mean(), abs=0.015)


def test_two_adapters_that_choose_alike_fare_alike(nominal):
    a, b = (run(lambda link: Olla(TABLE), nominal) for _ in range(2))
    assert np.array_equal(a.mcs, b.mcs)
    assert np.array_equal(a.ack, b.ack)


def test_olla_meets_its_target_under_a_biased_report_and_table_look_up_does_not():
    world = make_world("snr_bias_jump", TABLE, 12, n_links=10, n_slots=3000)
    biased = slice(1300, 2000)
    olla = summary(run(lambda link: Olla(TABLE), world), biased)
    table_only = summary(run(lambda link: TableOnly(TABLE), world), biased)
    assert olla["residual_bler"] == pytest.approx(0.1, abs=0.05)
    assert table_only["residual_bler"] > 0.25


@pytest.mark.parametrize("name", ["nominal", "mixture"])
def test_nobody_beats_the_genie_on_the_same_draws(name):
    world = make_world(name, TABLE, 13, n_links=6, n_slots=1500)
    genie = run(lambda link: Genie(TABLE), world)
    expected = TABLE.spectral_efficiency[genie.mcs] * (1 - genie.true_bler)
    for make in (lambda i: Olla(TABLE), lambda i: TableOnly(TABLE), lambda i: FixedMcs(TABLE, 10)):
        trace = run(make, world)
        assert (TABLE.spectral_efficiency[trace.mcs] * (1 - trace.true_bler) <= expected + 1e-5).all()
    assert summary(genie)["error"] < 1e-5


def test_predictions_are_compared_near_the_best_mcs_and_not_beyond_the_ladder(nominal):
    trace = run(lambda link: Olla(TABLE), nominal, predict=lambda adapter, decision: np.full(len(TABLE), 0.5))
    assert trace.near_bler.shape == (6, 1500, 2 * NEAR + 1)
    inside = ~np.isnan(trace.near_bler)
    assert (trace.near_bler[inside] == 0.5).all()
    assert np.array_equal(inside, ~np.isnan(trace.near_true))
    assert inside[:, :, NEAR].all()  # the best itself
    assert not inside.all()  # some link is at an end of the ladder
    assert 0.3 < summary(trace)["near_error"] <= 0.5


def test_near_the_best_follows_spectral_efficiency_not_the_index():
    table = McsTable("shuffled", (4, 2, 2), (0.5, 0.25, 0.5), (8.0, -2.0, 1.0), (0.3, 0.3, 0.3))
    bler = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    near = near_best(bler, table.spectral_efficiency, table)
    assert near.tolist() == [[-1, -1, 1, 2, 0, -1, -1], [-1, 1, 2, 0, -1, -1, -1]]


def test_progress_is_told_after_every_link(nominal):
    shares = []
    run(lambda link: FixedMcs(TABLE, 0), nominal, progress=shares.append)
    assert shares == pytest.approx([1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1])


def test_feedback_cannot_come_before_the_block(nominal):
    with pytest.raises(ValueError, match="feedback_delay_slots = 0"):
        run(Diary, nominal, feedback_delay_slots=0)
