# SPDX-License-Identifier: GPL-3.0-or-later
"""What the screens show is what the messages say."""

import math

import pytest
from gnuradio.lighttune.core.link import LinkStatus
from gnuradio.lighttune.core.link_text import (
    UNKNOWN,
    bit_rate,
    curves,
    decibels,
    decider,
    mcs_name,
    offset,
    percent,
    tuner_shift_db,
    tuner_state,
)
from gnuradio.lighttune.core.link_view import (
    HISTORY_ROWS,
    WINDOW_BLOCKS,
    Belief,
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
    assert tuner_state(view, link) == offset(link) == UNKNOWN
    assert decider(link) == curves(link) == view.tuner == mcs_name(view.table, 3) == ""
    assert math.isnan(tuner_shift_db(link))
    assert math.isnan(link.belief.loss)


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


BELIEF = {
    "expert": "reports", "sinr_db": 9.0, "offset_db": -3.14, "width_db": 0.44, "loss": 0.08,
    "says": "reports are 3.1 dB too high; 8 % of packets are lost at every MCS",
}  # fmt: skip


def test_what_the_selector_believes_is_shown_of_each_link(view):
    decide(view, 0, link=3)
    decide(view, 0, link=4, version=0)
    view.take("status", {"block": "mcs_selector", "beliefs": {"3": BELIEF, "77": BELIEF}}, 0.0)
    assert 77 not in view.links  # no message was of that link
    link = view.links[3]
    assert link.belief == (
        "reports", 9.0, -3.14, 0.44, 0.08,
        ("reports are 3.1 dB too high", "8 % of packets are lost at every MCS"),
    )  # fmt: skip
    assert (decider(link), offset(link)) == ("reports", "-3.1 dB \u00b1 0.4")
    assert (decider(view.links[4]), offset(view.links[4])) == ("model", UNKNOWN)
    blind = {key: value for key, value in BELIEF.items() if key != "offset_db"} | {
        "expert": "acks",
        "says": "",
    }
    view.take("status", {"block": "mcs_selector", "beliefs": {"3": blind}}, 0.0)
    assert (decider(link), offset(link), link.belief.says) == ("ACKs", UNKNOWN, ())
    view.take("status", {"block": "mcs_selector", "beliefs": {}}, 0.0)
    assert link.belief.expert == "acks"  # the last that was said


def test_sentences_are_those_of_the_link(view):
    """Written by the core, taken apart here."""
    status = LinkStatus(
        expert="network", votes={}, sinr_db=9.0, offset_db=-3.1, offset_range_db=(-4.0, -2.5), width_db=0.4,
        loss=0.08, lossy=0.99, broken=(2, 12), shift_db=(0.0, 1.3),
    )  # fmt: skip
    decide(view, 0)
    view.take(
        "status", {"block": "mcs_selector", "beliefs": {"0": {"says": "; ".join(status.sentences())}}}, 0.0
    )
    assert list(view.links[0].belief.says) == status.sentences()
    assert len(status.sentences()) == 5


def test_who_decides_and_with_whose_curves(view):
    decide(view, 0, version=17)
    link = view.links[0]
    assert (decider(link), curves(link)) == ("model", "tuned curves, version 17")
    view.take("status", {"block": "mcs_selector", "beliefs": {"0": {"expert": "network"}}}, 0.0)
    decide(view, 1, version=0)
    assert (decider(link), curves(link), link.version) == ("network", "the model's curves", 0)
    decide(view, 2, version=-1)
    assert (decider(link), curves(link), link.version) == ("OLLA", "", None)


def test_the_tuner_s_state(view):
    decide(view, 0)
    link = view.links[0]
    state = {"tuning": True, "updates": 5, "largest_shift_db": -1.5}
    view.take("status", {"block": "tuner", "state": {"0": state, "77": state}, "dropped": ()}, 0.0)
    assert 77 not in view.links
    assert (tuner_state(view, link), tuner_shift_db(link)) == ("tuning", -1.5)
    view.take("status", {"block": "tuner", "state": {"0": {**state, "tuning": False}}}, 0.0)
    assert tuner_state(view, link) == "at rest"
    for told, shown in (("silent", "silent"), ("away", "away"), ("heard", "at rest")):
        view.take("status", {"block": "mcs_selector", "tuner": told}, 0.0)
        assert (view.tuner, tuner_state(view, link)) == (told, shown)
    view.take("status", {"block": "tuner", "state": {"0": {"version": 3}}}, 0.0)  # of a service
    assert tuner_state(view, link) == UNKNOWN


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
    {"block": "mcs_selector", "mcs_table": ["amc"], "tuner": None, "dropped": {"a": "b"}},
    {"block": "mcs_selector", "beliefs": {"0": {"expert": 3, "loss": "x", "offset_db": True, "says": None}}},
    {"block": "mcs_selector", "beliefs": {"0": {"expert": "oracle", "sinr_db": 10**400}, "1": [], "x": {}}},
])  # fmt: skip
def test_a_status_of_odd_values_is_harmless(view, fields):
    decide(view, 0)
    view.take("status", fields, 0.0)
    assert not view.drops
    assert tuner_state(view, view.links[0]) == UNKNOWN
    assert decider(view.links[0]) == "model"
    assert view.tuner == ""
    assert str(view.links[0].belief) == str(Belief())  # NaN is not equal to itself


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
