# SPDX-License-Identifier: GPL-3.0-or-later
"""The selector blocks: every PDU gets an MCS, whatever else comes in."""

import math
import time

import numpy as np
import pmt
import pytest
from gnuradio import lighttune
from gnuradio.lighttune.core.features import N_FEATURES
from gnuradio.lighttune.core.mcs import McsTable
from gnuradio.lighttune.core.predictor import Shape

from flowgraph import Bench, floats, message, pdu, post, running, until
from patience import WAIT_S

N_WEIGHTS = Shape(len(McsTable.nr_pdsch(1).orders)).n_weights
BLOCKS = ["mcs_selector", "olla_selector"]


@pytest.fixture
def make(plain_predictor):
    """Makes a bench with a selector block of that name on the NR table 1."""

    def bench(name="mcs_selector", **arguments):
        first = plain_predictor if name == "mcs_selector" else "nr-pdsch-1"
        return Bench(getattr(lighttune, name)(first, **arguments), "pdu_out", "decision")

    return bench


@pytest.mark.parametrize("name", BLOCKS)
def test_a_pdu_leaves_with_its_mcs_and_the_decision_says_the_same(make, name):
    bench = make(name)
    with running(bench.top):
        bench.report(link=3, snr_db=12.0)
        bench.post("pdu_in", pdu(100, link=3, colour="red"))
        until(lambda: bench.out["decision"].messages)
    metadata = pmt.to_python(pmt.car(bench.out["pdu_out"].messages[0]))
    decision = bench.out["decision"].dicts()[0]
    assert metadata["colour"] == "red"
    assert metadata["link"] == 3
    assert metadata["seq"] == 0
    assert 0 < metadata["bler"] < 1
    assert 5 <= metadata["mcs"] <= 20  # 12 dB carries neither the lowest nor the highest of 29 MCS
    assert {k: decision[k] for k in ("link", "seq", "mcs", "bler")} == {
        k: metadata[k] for k in ("link", "seq", "mcs", "bler")
    }
    assert len(decision["features"]) == (N_FEATURES if name == "mcs_selector" else 0)
    assert pmt.length(pmt.cdr(bench.out["pdu_out"].messages[0])) == 100


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_are_numbered_for_each_link_and_a_given_number_is_kept(make, name):
    bench = make(name)
    with running(bench.top):
        for metadata in ({}, {"link": 1}, {}, {"seq": 2**32 - 1}, {}, {"link": 1}):
            bench.post("pdu_in", pdu(**metadata))
        bench.post("pdu_in", pmt.cons(pmt.PMT_NIL, pmt.init_f32vector(2, [1.0, 2.0])))
        until(lambda: len(bench.out["decision"].messages) == 7)
    numbers = [(d["link"], d["seq"]) for d in bench.out["decision"].dicts()]
    assert numbers == [(0, 0), (1, 0), (0, 1), (0, 2**32 - 1), (0, 0), (1, 1), (0, 1)]


GOOD = {"version": 1, "weights": floats(np.zeros(N_WEIGHTS))}
BAD = [
    ("csi", pmt.from_long(3), "csi: not a dict"),
    ("csi", message(), "csi: snr_db missing"),
    ("csi", message(snr_db=math.nan), "csi: snr_db not finite"),
    ("csi", message(snr_db=-math.inf), "csi: snr_db not finite"),
    ("csi", message(snr_db=1e6), "csi: snr_db out of range"),
    ("csi", message(snr_db="12 dB"), "csi: snr_db not a number"),
    ("csi", message(snr_db=True), "csi: snr_db not a number"),
    ("csi", message(snr_db=3.0, link=-1), "csi: link out of range"),
    ("csi", message(snr_db=3.0, link=65536), "csi: link out of range"),
    ("csi", message(snr_db=3.0, seq=-5), "csi: seq out of range"),
    ("csi", message(snr_db=3.0, time=math.nan), "csi: time not finite"),
    ("pdu_in", message(seq=1), "pdu_in: not a PDU"),
    ("pdu_in", pmt.cons(pmt.PMT_NIL, pmt.PMT_NIL), "pdu_in: not a PDU"),
    ("pdu_in", pdu(0), "pdu_in: payload is empty"),
    ("pdu_in", pdu(link=True), "pdu_in: link not a long"),
    ("pdu_in", pdu(seq=-1), "pdu_in: seq out of range"),
    ("pdu_in", pdu(seq=2**32), "pdu_in: seq out of range"),
    ("feedback", message(seq=0), "feedback: ack missing"),
    ("feedback", message(ack=True), "feedback: seq missing"),
    ("feedback", message(seq=0, ack=True, snr_db=math.nan), "feedback: snr_db not finite"),
    ("feedback", message(seq=0, ack=True, attempt=-1), "feedback: attempt out of range"),
    ("feedback", message(seq=7, ack=True), "feedback: not pending (unknown, late or duplicate)"),
    ("feedback", message(seq=0, ack=True, link=9), "feedback: unknown link"),
    ("model", pmt.PMT_T, "model: not a dict"),
    ("model", message(version=1), "model: weights missing"),
    ("model", message(version=1, weights=floats([1, 2])), "model: weights of wrong length"),
    ("model", message(**{**GOOD, "version": -1}), "model: version out of range"),
    ("model", message(**GOOD, healthy=1), "model: healthy not a bool"),
]


def test_each_bad_message_is_counted_under_its_cause_and_the_next_pdu_is_decided(make):
    bench = make()
    with running(bench.top):
        bench.post("pdu_in", pdu())
        until(lambda: bench.out["decision"].messages)
        for port, bad, cause in BAD:
            before = bench.dropped(cause)
            bench.post(port, bad)
            until(lambda cause=cause, before=before: bench.dropped(cause) == before + 1, cause)
        bench.post("pdu_in", pdu())
        until(lambda: len(bench.out["decision"].messages) == 2)
        until(lambda: bench.said().get("dropped") and sum(bench.said()["dropped"].values()) == len(BAD))
    assert not any("internal" in cause for cause in bench.said()["dropped"])


@pytest.mark.parametrize("name", BLOCKS)
def test_links_are_bounded(make, name):
    bench = make(name, max_links=2)
    with running(bench.top):
        for link in (0, 1, 2, 0):
            bench.post("pdu_in", pdu(link=link))
        until(lambda: len(bench.out["decision"].messages) == 3)
    assert bench.dropped("pdu_in: too many links") == 1


def test_feedback_counts_once(make):
    bench = make()
    with running(bench.top):
        bench.post("pdu_in", pdu())
        until(lambda: bench.out["decision"].messages)
        bench.post("feedback", message(seq=0, ack=False))
        bench.post("feedback", message(seq=0, ack=True))
        until(lambda: bench.dropped("feedback: not pending (unknown, late or duplicate)"))
    assert bench.block.status()["nacks"] == 1
    assert "acks" not in bench.block.status()


def test_weights_that_are_not_finite_hand_over_to_olla_until_good_ones_come(make, plain_predictor):
    bench = make()
    weights = plain_predictor.offline.copy()
    weights[5] = math.nan
    with running(bench.top):
        bench.report(snr_db=12.0)
        bench.post("model", message(version=4, weights=floats(weights)))
        until(lambda: bench.dropped("model: weights not finite"))
        bench.post("pdu_in", pdu())
        until(lambda: bench.out["decision"].messages)
        assert bench.out["decision"].dicts()[0]["version"] == -1
        until(lambda: bench.said().get("mode") == "olla: weights are not finite")
        bench.post("model", message(version=5, weights=floats(plain_predictor.offline)))
        until(lambda: bench.block.status()["mode"] == "model")
        bench.post("pdu_in", pdu())
        until(lambda: len(bench.out["decision"].messages) == 2)
        assert bench.out["decision"].dicts()[1]["version"] == 5
        until(lambda: bench.said()["mode"] == "model")


def test_a_link_that_the_tuner_calls_unhealthy_is_olla_s_and_the_others_are_not(make, plain_predictor):
    bench = make()
    with running(bench.top):
        for link in (0, 1):
            bench.report(link=link, snr_db=12.0)
        weights = floats(plain_predictor.offline)
        bench.post("model", message(link=1, version=2, weights=weights, healthy=False))
        until(lambda: bench.block.status()["fallback_links"] == 1)
        for link in (0, 1):
            bench.post("pdu_in", pdu(link=link))
        until(lambda: len(bench.out["decision"].messages) == 2)
    assert [d["version"] for d in bench.out["decision"].dicts()] == [0, -1]
    assert bench.block.status()["mode"] == "olla: the tuner's guards gave up"


def test_a_tuner_that_falls_silent_hands_all_links_to_olla_until_it_is_heard_again(make):
    bench = make(tuner_timeout_s=1.0)
    with running(bench.top):
        bench.report(snr_db=12.0)
        bench.post("pdu_in", pdu())
        until(lambda: len(bench.out["decision"].messages) == 1)
        assert bench.block.status()["tuner"] == "not heard yet"
        bench.post("model", message(heartbeat=True))
        until(lambda: bench.block.status()["tuner"] == "heard")
        # No traffic at all: the status says so by itself.
        until(lambda: bench.said().get("mode") == "olla: no word from the tuner for 1 s")
        bench.post("pdu_in", pdu())
        until(lambda: len(bench.out["decision"].messages) == 2)
        bench.post("model", message(heartbeat=True))
        until(lambda: bench.block.status()["mode"] == "model")
        bench.post("pdu_in", pdu())
        until(lambda: len(bench.out["decision"].messages) == 3)
    assert [d["version"] for d in bench.out["decision"].dicts()] == [0, -1, 0]


def test_status_comes_at_most_every_quarter_second(make):
    bench = make()
    start_s = time.monotonic()
    published = bench.out["status"].messages
    with running(bench.top):
        # More than 50 decisions, so that a status for each would show.
        while len(published) < 4 or bench.block.status().get("decisions", 0) <= 50:
            bench.post("pdu_in", pdu())
            time.sleep(0.002)
            assert time.monotonic() < start_s + WAIT_S
        n = len(published)
        assert n <= (time.monotonic() - start_s) / 0.25


def test_a_last_status_comes_when_the_flowgraph_stops(make):
    block = make().block
    published = []
    block.publish = lambda port, message: published.append((port, pmt.to_python(message)))
    block.start()
    block.on_pdu_in(pdu())
    block.stop()
    assert published[-1][0] == "status"
    assert published[-1][1]["decisions"] == 1


def test_the_olla_selector_takes_and_ignores_models(make):
    bench = make("olla_selector")
    with running(bench.top):
        bench.post("model", message(version=1, weights=floats([1])))
        until(lambda: bench.block.status().get("models_ignored") == 1)
    assert bench.block.status()["mode"] == "olla"


def test_both_selectors_have_the_same_ports(make):
    blocks = [make(name).block for name in BLOCKS]
    for ports in ("message_ports_in", "message_ports_out"):
        a, b = (set(pmt.to_python(getattr(block, ports)())) for block in blocks)
        assert a == b


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"objective": "speed"}, "objective = 'speed': give"),
        ({"bler_target": 1.0}, "bler_target = 1.0: give"),
        ({"probe_budget": math.nan}, "probe_budget = nan: give"),
        ({"max_links": 0}, "max_links = 0: give"),
        ({"tuner_timeout_s": -1.0}, "tuner_timeout_s = -1.0: give"),
    ],
)
def test_a_bad_argument_is_named_with_its_remedy(plain_predictor, arguments, words):
    with pytest.raises(ValueError, match=words):
        lighttune.mcs_selector(plain_predictor, **arguments)


def test_a_model_file_that_is_no_model_is_refused_at_construction(tmp_path):
    path = tmp_path / "broken.safetensors"
    path.write_bytes(b"\x10\0\0\0\0\0\0\0 not a model")
    with pytest.raises(ValueError, match="broken"):
        lighttune.mcs_selector(str(path))
    with pytest.raises(FileNotFoundError, match="no model file"):
        lighttune.mcs_selector("no-such-model")


@pytest.mark.parametrize("block", [lighttune.mcs_selector, lighttune.tuner])
def test_a_model_of_another_mcs_table_is_refused_at_construction(block):
    block("amc", table="amc")
    with pytest.raises(ValueError, match=r"trained for the MCS table 'amc'.*not for 'nr-pdsch-1'"):
        block("amc", table="nr-pdsch-1")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"table": "nr-pdsch-4"}, "table = 'nr-pdsch-4': give"),
        ({"target": 0.0}, "target"),
        ({"delta_up_db": 0.0}, "delta_up_db = 0.0: give"),
    ],
)
def test_a_bad_argument_of_olla_is_named_with_its_remedy(arguments, words):
    with pytest.raises(ValueError, match=words):
        lighttune.olla_selector(**{"table": McsTable.nr_pdsch(1), **arguments})


def test_an_error_inside_is_counted_logged_once_and_does_not_end_the_block(make, caplog):
    bench = make()
    with running(bench.top):
        bench.block.adapter(0).report = None  # what no message can do: break the block from within
        for _ in range(3):
            post(bench.block, "csi", message(snr_db=1.0))
        until(lambda: bench.dropped("csi: internal") == 3)
        bench.post("pdu_in", pdu())
        until(lambda: bench.out["decision"].messages)
    assert len([r for r in caplog.records if "internal error at csi" in r.message]) == 1
