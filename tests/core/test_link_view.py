# SPDX-License-Identifier: GPL-3.0-or-later
"""What the screens show is what the messages say."""

import math

import pytest
from gnuradio.lighttune.core.link_text import UNKNOWN, bit_rate, decibels, mcs_name, percent, trigger_state
from gnuradio.lighttune.core.link_view import (
    HISTORY_ROWS,
    WINDOW_BLOCKS,
    View,
)


@pytest.fixture
def view():
    return View()


def decide(view, seq, now_s=0.0, link=0, mcs=4, bler=0.1, version=3, bits=1000):
    fields = {"link": link, "seq": seq, "mcs": mcs, "bler": bler, "version": version, "bits": bits}
    fields["probe"] = False
    view.take("decision", fields, now_s)


def end(view, seq, ack=True, now_s=0.0, link=0, attempt=0):
    view.take("feedback", {"link": link, "seq": seq, "ack": ack, "attempt": attempt}, now_s)


def test_observed_and_predicted_bler_are_of_the_same_blocks(view):
    for seq, (bler, ack) in enumerate([(0.1, True), (0.2, False), (0.6, True), (0.9, True)]):
        decide(view, seq, bler=bler)
        if seq < 3:  # the last one's outcome is not known: it counts in neither
            end(view, seq, ack)
    link = view.links[0]
    assert (link.window, link.window_nacks) == (3, 1)
    assert link.observed_bler == pytest.approx(1 / 3)
    assert link.predicted_bler == pytest.approx(0.3)


def test_bler_is_of_the_last_blocks_only(view):
    for seq in range(3 * WINDOW_BLOCKS):
        decide(view, seq)
        end(view, seq, ack=seq >= 2 * WINDOW_BLOCKS)
    assert view.links[0].observed_bler == 0
    assert view.links[0].window == WINDOW_BLOCKS
    assert (view.links[0].acks, view.links[0].nacks) == (WINDOW_BLOCKS, 2 * WINDOW_BLOCKS)


def test_feedback_may_overtake_its_decision(view):
    end(view, 7, ack=False)
    decide(view, 7)
    assert view.links[0].window_nacks == 1
    assert view.links[0].unmatched == 0


def test_feedback_without_a_decision_is_counted_once_it_is_hopeless(view):
    for seq in range(300):
        end(view, seq)
    assert view.links[0].unmatched == 300 - 256
    assert view.links[0].window == 0
    end(view, 299)
    assert view.links[0].unmatched == 300 - 256 + 1


def test_retransmissions_count_but_are_not_in_the_bler(view):
    decide(view, 1)
    end(view, 1, ack=False)
    end(view, 1, ack=True, attempt=1)
    assert (view.links[0].acks, view.links[0].nacks) == (1, 1)
    assert view.links[0].observed_bler == 1


def test_goodput_is_what_was_acknowledged_over_two_seconds(view):
    for n in range(400):  # 100 blocks of 1,000 bits a second, every fourth lost
        decide(view, n, now_s=n / 100)
        end(view, n, ack=n % 4 != 0, now_s=n / 100)
    link = view.links[0]
    assert link.goodput_bps(4.0) == pytest.approx(75e3, rel=0.02)
    assert link.goodput_bps(5.0) == pytest.approx(75e3 / 2, rel=0.02)
    assert link.goodput_bps(6.1) == 0
    assert link.goodput_bps(0.0) == 0  # a clock that went back


def test_goodput_per_symbol_is_the_efficiency_of_what_arrived(view):
    decide(view, 0, mcs=9)  # 256-QAM 5/6
    decide(view, 1, mcs=0)
    end(view, 0)
    end(view, 1, ack=False)
    view.take("status", {"block": "mcs_selector", "mcs_table": "amc", "dropped": ()}, 0.0)
    assert view.links[0].goodput_per_symbol(view.table) == pytest.approx(8 * 5 / 6 / 2)
    decide(view, 2, mcs=12)  # not in this table
    end(view, 2)
    assert math.isnan(view.links[0].goodput_per_symbol(view.table))


def test_nothing_is_claimed_before_anything_is_known(view):
    view.take("csi", {"link": 0, "snr_db": 12}, 0.0)
    link = view.links[0]
    row = link.sample(1.0)
    assert row.snr_db == 12
    assert all(math.isnan(x) for x in (row.mcs, row.predicted_bler, row.observed_bler))
    assert trigger_state(link) == UNKNOWN
    assert view.decider(link) == view.mode == mcs_name(view.table, 3) == ""


def test_links_are_kept_apart_and_their_number_is_bounded():
    view = View(max_links=2)
    decide(view, 0, link=5, mcs=1)
    decide(view, 0, link=9, mcs=2)
    with pytest.raises(ValueError, match="too many links"):
        decide(view, 0, link=10)
    assert {number: link.mcs for number, link in view.links.items()} == {5: 1, 9: 2}


def test_history_is_bounded(view):
    view.take("csi", {"link": 0, "snr_db": 1.0}, 0.0)
    for n in range(HISTORY_ROWS + 5):
        view.links[0].sample(float(n))
    assert len(view.links[0].history) == HISTORY_ROWS
    assert view.links[0].history[-1].time_s == HISTORY_ROWS + 4


def test_the_state_of_trigger_and_fallback(view):
    decide(view, 0, version=17)
    state = {"tuning": True, "healthy": True, "updates": 5}
    view.take("status", {"block": "tuner", "state": {"0": state, "77": state}, "dropped": ()}, 0.0)
    assert 77 not in view.links  # no message was of that link
    link = view.links[0]
    assert (trigger_state(link), view.decider(link), link.version) == ("tuning", "model", 17)
    view.take("status", {"block": "tuner", "state": {"0": {**state, "tuning": False}}}, 0.0)
    assert trigger_state(link) == "at rest"
    view.take("status", {"block": "tuner", "state": {"0": {**state, "healthy": False}}}, 0.0)
    assert trigger_state(link) == "given up"
    view.take("model", {"link": 0, "version": 18, "healthy": True}, 0.0)
    assert trigger_state(link) == "tuning"
    view.take("model", {"link": 0, "version": 18, "healthy": False}, 0.0)
    view.take("model", {"heartbeat": True}, 0.0)
    assert trigger_state(link) == "given up"
    decide(view, 1, version=-1)
    assert (view.decider(link), link.version) == ("OLLA", 17)
    view.take("status", {"block": "mcs_selector", "mode": "olla: no word from the tuner for 2 s"}, 0.0)
    assert view.decider(link) == "OLLA: no word from the tuner for 2 s"


def test_drops_are_told_by_block_and_cause(view):
    view.take("status", {"block": "tuner", "dropped": {"queue: overflow": 3, "feedback: internal": 0}}, 0.0)
    view.take("status", {"block": "amc_rx", "dropped": ()}, 0.0)
    assert view.drops == {("tuner", "queue: overflow"): 3}


def test_mcs_are_named_by_the_selector_s_table(view):
    view.take("status", {"block": "mcs_selector", "mcs_table": "amc"}, 0.0)
    assert [mcs_name(view.table, m) for m in (0, 4, 9, 10)] == ["BPSK 1/2", "16-QAM 3/4", "256-QAM 5/6", ""]
    view.take("status", {"block": "mcs_selector", "mcs_table": "nr-pdsch-1"}, 0.0)
    assert mcs_name(view.table, 28) == "64-QAM 0.93"


def test_a_table_s_name_in_a_message_opens_no_file(view, tmp_path):
    path = tmp_path / "curves.json"
    path.write_text("{}")  # reading it would raise
    view.take("status", {"block": "mcs_selector", "mcs_table": str(path)}, 0.0)
    view.take("status", {"block": "mcs_selector", "mcs_table": "mine"}, 0.0)
    assert view.table is None


@pytest.mark.parametrize("fields", [
    {"block": "tuner", "state": 5, "dropped": 7}, {"block": "tuner", "state": {"x": 1, "²": {}, "0": 3}},
    {"block": "mcs_selector", "mcs_table": ["amc"], "mode": None, "dropped": {"a": "b"}},
])  # fmt: skip
def test_a_status_of_odd_values_is_harmless(view, fields):
    decide(view, 0)
    view.take("status", fields, 0.0)
    assert not view.drops
    assert trigger_state(view.links[0]) == UNKNOWN
    assert view.decider(view.links[0]) == "model"


@pytest.mark.parametrize(
    ("bps", "text"),
    [(0.0, "0 bit/s"), (999.4, "999 bit/s"), (84_230, "84.2 kbit/s"), (1.5e6, "1.50 Mbit/s"),
     (123e6, "123 Mbit/s"), (math.nan, UNKNOWN)],
)  # fmt: skip
def test_a_bit_rate_has_three_digits(bps, text):
    assert bit_rate(bps) == text


def test_unknown_figures_are_a_dash():
    assert decibels(math.nan) == percent(math.nan) == UNKNOWN
    assert (decibels(-3.04), percent(0.1204)) == ("-3.0 dB", "12.0 %")
