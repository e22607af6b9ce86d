# SPDX-License-Identifier: GPL-3.0-or-later
"""The selector blocks: every PDU gets an MCS, whatever else comes in."""

import math
import time

import numpy as np
import pmt
import pytest
from gnuradio import lighttune
from gnuradio.lighttune.core.mcs import McsTable
from gnuradio.lighttune.core.tuning import MAX_LOG_SLOPE, MAX_SHIFT_DB, N_FEATURES

from flowgraph import Bench, floats, message, pdu, post, running, until
from patience import WAIT_S

N_MCS = len(McsTable.nr_pdsch(1))
BLOCKS = ["mcs_selector", "olla_selector"]


@pytest.fixture
def make(plain_model):
    """Makes a bench with a selector block of that name on the NR table 1."""

    def bench(name="mcs_selector", **arguments):
        first = plain_model if name == "mcs_selector" else "nr-pdsch-1"
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


GOOD = {"version": 1, "weights": floats(np.zeros(2 * N_MCS))}
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
    ("model", message(**{**GOOD, "weights": floats([math.nan] * 2 * N_MCS)}), "model: curves not finite"),
    ("model", message(**{**GOOD, "weights": floats([99.0] * 2 * N_MCS)}), "model: curves out of bounds"),
    ("model", message(heartbeat=1), "model: heartbeat not a bool"),
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


def verdicts(bench):
    status = bench.block.status()
    return status.get("acks", 0) + status.get("nacks", 0)


def test_a_link_without_any_report_adapts_from_its_verdicts(make):
    bench, rng = make(), np.random.default_rng(3)
    bler = bench.block.table.bler(12.0)
    with running(bench.top):
        for n in range(150):
            bench.post("pdu_in", pdu())
            until(lambda n=n: len(bench.out["decision"].messages) == n + 1)
            mcs = bench.out["decision"].dicts()[-1]["mcs"]
            bench.post("feedback", message(seq=n, ack=bool(rng.random() >= bler[mcs])))
            until(lambda n=n: verdicts(bench) == n + 1)
    sent = [d["mcs"] for d in bench.out["decision"].dicts()[-50:]]
    best = int((bench.block.table.goodput_if_acked() * (1 - bler)).argmax())
    assert abs(np.median(sent) - best) <= 2
    assert bench.block.link_status(0).sinr_db == pytest.approx(12.0, abs=2.0)


def test_curves_of_a_tuner_decide_and_nonsense_leaves_them_alone(make):
    bench, higher = make(), np.zeros(2 * N_MCS)
    higher[:N_MCS] = 3.0
    with running(bench.top):
        bench.report(snr_db=12.0)
        bench.post("model", message(version=4, weights=floats(higher)))
        until(lambda: bench.block.status().get("models") == 1)
        bench.post("model", message(version=5, weights=floats(np.full(2 * N_MCS, math.nan))))
        until(lambda: bench.dropped("model: curves not finite"))
        bench.post("pdu_in", pdu())
        until(lambda: bench.out["decision"].messages)
    decision = bench.out["decision"].dicts()[0]
    assert decision["version"] == 4
    assert bench.block.link_status(0).sentences() == [f"the curves of {N_MCS} MCS are off by up to 3.0 dB"]


def test_nonsense_curves_within_bounds_do_not_cost_the_link(make):
    bench, rng = make(), np.random.default_rng(3)
    bler = bench.block.table.bler(12.0)
    gain = bench.block.table.goodput_if_acked(800)
    carried = 0.0
    most = np.repeat([MAX_SHIFT_DB, MAX_LOG_SLOPE], N_MCS) / 2
    nonsense = rng.uniform(-most, most)
    with running(bench.top):
        bench.post("model", message(version=4, weights=floats(nonsense)))
        for n in range(300):
            bench.report(snr_db=12.0)
            bench.post("pdu_in", pdu())
            until(lambda n=n: len(bench.out["decision"].messages) == n + 1)
            mcs = bench.out["decision"].dicts()[-1]["mcs"]
            ack = bool(rng.random() >= bler[mcs])
            carried += gain[mcs] * ack
            bench.post("feedback", message(seq=n, ack=ack))
            until(lambda n=n: verdicts(bench) == n + 1)
    assert carried / 300 > 0.7 * (gain * (1 - bler)).max()


def test_a_tuner_that_falls_silent_changes_nothing_but_the_status(make):
    bench = make()
    with running(bench.top):
        bench.report(snr_db=12.0)
        assert bench.block.status()["tuner"] == "not heard yet"
        bench.post("model", message(heartbeat=True))
        until(lambda: bench.block.status()["tuner"] == "heard")
        bench.post("model", message(heartbeat=True, away=True))
        until(lambda: bench.block.status()["tuner"] == "away")
        until(
            lambda: bench.said().get("tuner") == "silent"
        )  # no traffic at all: the status says so by itself
        bench.post("pdu_in", pdu())
        until(lambda: bench.out["decision"].messages)
        assert 5 <= bench.out["decision"].dicts()[0]["mcs"] <= 20


def test_what_a_link_learnt_is_handed_to_another_flowgraph(make):
    first, second = make(), make()
    with running(first.top):
        for n in range(60):
            first.report(link=2, snr_db=18.0)
            first.post("pdu_in", pdu(link=2))
            until(lambda n=n: len(first.out["decision"].messages) == n + 1)
            mcs = first.out["decision"].dicts()[-1]["mcs"]
            first.post("feedback", message(link=2, seq=n, ack=mcs <= 10))  # the reports are far too high
            until(lambda n=n: verdicts(first) == n + 1)
    second.block.restore(first.block.snapshot())
    with running(second.top):
        second.report(link=2, snr_db=18.0)
        second.post("pdu_in", pdu(link=2))
        until(lambda: second.out["decision"].messages)
    assert second.out["decision"].dicts()[0]["mcs"] <= 12
    with pytest.raises(ValueError, match="too many links"):
        make(max_links=1).block.restore({0: first.block.snapshot()[2], 1: first.block.snapshot()[2]})


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
        ({"max_links": 0}, "max_links = 0: give"),
        ({"model": "", "table": ""}, "model = '', table = '': give one of them"),
    ],
)
def test_a_bad_argument_is_named_with_its_remedy(plain_model, arguments, words):
    with pytest.raises(ValueError, match=words):
        lighttune.mcs_selector(**{"model": plain_model, **arguments})


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
    with pytest.raises(ValueError, match=r"is of MCS table 'amc', the link uses 'nr-pdsch-1'"):
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
