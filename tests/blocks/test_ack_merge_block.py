# SPDX-License-Identifier: GPL-3.0-or-later
"""The ACK merger: one feedback per block, in order, whatever becomes of the block."""

import time

import numpy as np
import pmt
import pytest
from gnuradio import lighttune
from gnuradio.lighttune.blocks._reorder import NEVER_SENT, NO_VERDICT, OUTRUN, Fate, Reorder

from flowgraph import Bench, message, pdu, running, threads, until

WRAP = 2**32


@pytest.fixture
def make():
    def bench(**arguments):
        return Bench(lighttune.ack_merge(**arguments), "feedback", "erasure")

    return bench


def outcomes(bench):
    return [(d["link"], d["seq"], d["ack"]) for d in bench.out["feedback"].dicts()]


def test_verdicts_out_of_order_leave_in_order(make):
    bench = make()
    with running(bench.top):
        for seq in range(4):
            bench.post("decision", message(seq=seq))
        until(lambda: bench.block.status()["waiting"] == 4)
        bench.post("ok", pdu(seq=2))
        bench.post("fail", message(seq=3))
        bench.post("ok", pdu(seq=1))
        bench.settle("ok")
        bench.settle("fail")
        assert outcomes(bench) == []
        bench.post("feedback", message(link=0, seq=0, ack=False, snr_db=7.5))
        until(lambda: len(bench.out["feedback"].messages) == 4)
    assert outcomes(bench) == [(0, 0, False), (0, 1, True), (0, 2, True), (0, 3, False)]
    assert bench.out["feedback"].dicts()[0]["snr_db"] == 7.5


def test_without_decisions_verdicts_are_in_order_and_a_gap_holds_them_for_the_time_out_only(make):
    bench = make(timeout_s=1.0)
    with running(bench.top):
        for seq in (1, 0, 2):
            bench.post("ok", pdu(seq=seq, link=4))
        until(lambda: len(outcomes(bench)) == 3)
        sent_s = time.monotonic()
        bench.post("ok", pdu(seq=5, link=4))
        bench.post("fail", pdu(seq=6, link=4))
        until(lambda: len(outcomes(bench)) == 5)
        waited_s = bench.out["feedback"].times_s[3] - sent_s
    assert [o[1] for o in outcomes(bench)] == [0, 1, 2, 5, 6]
    assert waited_s > 0.99
    assert "timeouts" not in bench.block.status()


def test_for_a_receiver_of_good_packets_alone_a_block_without_a_verdict_is_a_nack(make):
    bench = make(timeout_s=1.0, on_timeout="nack")  # block 1 has its verdict long before
    with running(bench.top):
        for seq in (0, 1):
            bench.post("decision", message(seq=seq))
        bench.post("ok", pdu(seq=1))
        until(lambda: len(bench.out["feedback"].messages) == 2)
        bench.post("ok", pdu(seq=0))
        until(lambda: bench.dropped("ok: late verdict") == 1)
    first, second = bench.out["feedback"].dicts()
    assert first == {"link": 0, "seq": 0, "ack": False, "timeout": True}
    assert second == {"link": 0, "seq": 1, "ack": True}


def test_as_an_erasure_it_is_told_apart_and_a_stop_and_wait_source_goes_on(make):
    bench = make(timeout_s=0.05, on_timeout="erasure")
    with running(bench.top):
        for seq in range(5):
            bench.post("decision", message(seq=seq))
            until(lambda seq=seq: len(bench.out["erasure"].messages) == seq + 1)
    assert bench.out["erasure"].dicts()[4] == {"link": 0, "seq": 4, "erasure": True, "cause": "no verdict"}
    assert bench.out["feedback"].messages == []
    assert bench.block.status()["erasures"] == 5


def test_of_two_verdicts_the_first_counts(make):
    bench = make()
    with running(bench.top):
        for seq in (0, 1):
            bench.post("decision", message(seq=seq))
        until(lambda: bench.block.status()["waiting"] == 2)
        bench.post("fail", pdu(seq=1))
        bench.post("fail", pdu(seq=1))
        until(lambda: bench.dropped("fail: duplicate") == 1)
        bench.post("ok", pdu(seq=0))
        until(lambda: len(bench.out["feedback"].messages) == 2)
        bench.post("fail", pdu(seq=0))
        until(lambda: bench.dropped("fail: duplicate or unknown") == 1)
    assert outcomes(bench) == [(0, 0, True), (0, 1, False)]


def test_a_verdict_on_a_block_that_was_never_sent_is_counted_and_holds_up_no_one(make):
    bench = make(timeout_s=3.0)
    with running(bench.top):
        bench.post("decision", message(seq=0))
        until(lambda: bench.block.status()["waiting"] == 1)
        bench.post("ok", pdu(seq=0))
        bench.post("ok", pdu(seq=5))
        bench.post("decision", message(seq=9))
        bench.post("ok", pdu(seq=9))
        until(lambda: len(bench.out["feedback"].messages) == 2)
        assert bench.dropped("verdict: unknown block") == 0
        until(lambda: bench.dropped("verdict: unknown block") == 1)
    assert outcomes(bench) == [(0, 0, True), (0, 9, True)]


def test_retransmissions_pass_at_once(make):
    bench = make()
    with running(bench.top):
        bench.post("decision", message(seq=0))
        bench.post("feedback", message(seq=0, ack=True, attempt=1))
        until(lambda: bench.out["feedback"].messages)
    assert bench.out["feedback"].dicts()[0]["attempt"] == 1


@pytest.mark.parametrize(
    ("port", "bad", "cause"),
    [
        ("ok", pmt.from_long(1), "ok: neither a dict nor a PDU"),
        ("ok", pmt.cons(pmt.PMT_T, pmt.PMT_T), "ok: neither a dict nor a PDU"),
        ("ok", pdu(link=0), "ok: seq missing"),
        ("fail", pdu(seq=-1), "fail: seq out of range"),
        ("fail", message(seq=1, link=-1), "fail: link out of range"),
        ("feedback", message(seq=1), "feedback: ack missing"),
        ("decision", message(seq=1.0), "decision: seq not a long"),
        ("sent", message(link=0), "sent: seq missing"),
        ("sent", pmt.PMT_F, "sent: not a dict"),
        ("erasure", message(seq=0, cause="x" * 65), "erasure: cause not a short text"),
        ("erasure", message(seq=0, cause=3), "erasure: cause not a short text"),
        ("feedback", message(seq=1, ack=True, missed=-1), "feedback: missed out of range"),
        ("decision", pmt.PMT_F, "decision: not a dict"),
        ("ok", pdu(seq=0, link=2), "ok: too many links"),
    ],
)
def test_a_bad_message_is_counted_under_its_cause(make, port, bad, cause):
    bench = make(max_links=2)
    with running(bench.top):
        for link in (0, 1):
            bench.post("ok", pdu(seq=0, link=link))
        until(lambda: len(bench.out["feedback"].messages) == 2)
        bench.post(port, bad)
        until(lambda: bench.dropped(cause) == 1, cause)
        bench.post("ok", pdu(seq=1))
        until(lambda: len(bench.out["feedback"].messages) == 3)


def test_it_works_again_after_stop_and_start(make):
    bench = make(timeout_s=0.05)
    for again in range(2):
        with running(bench.top):
            bench.post("decision", message(seq=3))
            until(lambda again=again: len(bench.out["erasure"].messages) == again + 1)
        assert threads("ack_merge") == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"timeout_s": 0.0}, "timeout_s = 0.0: give"),
        ({"timeout_s": float("nan")}, "timeout_s = nan: give"),
        ({"on_timeout": "panic"}, "on_timeout = 'panic': give"),
        ({"max_links": 0}, "max_links = 0: give"),
        ({"max_waiting": 0}, "max_waiting = 0: give"),
        ({"max_waiting": 2.5}, "max_waiting = 2.5: give"),
    ],
)
def test_a_bad_argument_is_named_with_its_remedy(arguments, words):
    with pytest.raises(ValueError, match=words):
        lighttune.ack_merge(**arguments)


def causes(bench):
    return [(d["seq"], d["cause"]) for d in bench.out["erasure"].dicts()]


def test_what_the_transmitter_refused_is_an_erasure_with_its_cause_in_its_turn(make):
    bench = make(timeout_s=100.0, on_timeout="nack")
    with running(bench.top):
        bench.post("erasure", message(seq=1, erasure=True, cause="queue full"))  # before its decision
        bench.settle("erasure")
        for seq in range(3):
            bench.post("decision", message(seq=seq))
        until(lambda: bench.block.status()["waiting"] == 3)
        bench.post("ok", pdu(seq=2))
        bench.post("fail", pdu(seq=1))  # a receiver elsewhere took the gap for a lost header
        bench.settle("ok")
        bench.settle("fail")
        bench.post("ok", pdu(seq=0))
        until(lambda: len(bench.out["feedback"].messages) == 2)
        bench.post("fail", pdu(seq=1))
        until(lambda: bench.dropped("fail: duplicate or unknown") == 1)
    assert outcomes(bench) == [(0, 0, True), (0, 2, True)]
    assert causes(bench) == [(1, "queue full")]
    status = bench.block.status()
    assert status["erased"] == {"queue full": 1}
    assert status["overruled"] == 1
    assert status["lost_to_host"] == pytest.approx(1 / 3, abs=1e-3)
    assert status["host"].startswith(
        "the host is behind: it lost 33.3 % of the last 10 s' packets (queue full"
    )


@pytest.mark.parametrize("missed", [0, 1])
def test_a_lost_header_is_a_nack_and_a_burst_that_the_receiver_dropped_is_not(make, missed):
    bench = make(timeout_s=0.5)
    with running(bench.top):
        for seq in (0, 1):
            bench.post("decision", message(seq=seq))
        until(lambda: bench.block.status()["waiting"] == 2)
        for seq in (0, 1):
            bench.post("sent", message(seq=seq))
        bench.post("feedback", message(seq=1, ack=True, missed=missed))
        until(lambda: bench.block.status()["waiting"] == 0)
    erased = [(0, "receiver behind")] if missed else []
    assert causes(bench) == erased
    assert outcomes(bench) == [(0, 0, False)] * (not missed) + [(0, 1, True)]


def test_without_a_word_of_the_transmitter_or_of_a_later_block_no_verdict_is_no_nack(make):
    silent, last = make(timeout_s=0.05), make(timeout_s=0.05)
    with running(silent.top), running(last.top):
        for seq in (0, 1):
            silent.post("decision", message(seq=seq))
        until(lambda: silent.block.status()["waiting"] == 2 or silent.out["erasure"].messages)
        silent.post("ok", pdu(seq=1))
        last.post("decision", message(seq=0))
        last.post("sent", message(seq=0))
        until(lambda: silent.block.status()["waiting"] == last.block.status()["waiting"] == 0)
        until(lambda: last.out["erasure"].messages)
    assert causes(silent)[0] == causes(last)[0] == (0, "no verdict")
    assert not [d for d in silent.out["feedback"].dicts() if not d["ack"]]


def test_what_waits_when_the_flowgraph_stops_is_told_and_counted(make):
    bench = make(timeout_s=100.0)
    with running(bench.top):
        for seq in range(5):
            bench.post("decision", message(seq=seq))
        until(lambda: bench.block.status()["waiting"] == 5)
        for seq in range(1, 5):
            bench.post("ok", pdu(seq=seq))
        bench.settle("ok")
    assert outcomes(bench) == [(0, seq, True) for seq in range(1, 5)]
    assert causes(bench) == [(0, "stopped")]
    assert bench.said()["verdicts"] == 4
    assert bench.said()["erased"] == {"stopped": 1}
    assert bench.said()["host"] == "keeps up"


def test_3000_blocks_with_verdicts_4_s_later_are_3000_acks():
    reorder, released = Reorder(20.0, 65536), []
    for tick in range(3000 + 1200):  # 300 decisions/s
        now_s = tick / 300
        if tick < 3000:
            reorder.announce(tick, now_s)
        if tick >= 1200:
            assert reorder.verdict(tick - 1200, "ack", now_s) is Fate.TAKEN
        released += reorder.due(now_s)
    assert [(r.seq, r.verdict, r.cause) for r in released] == [(seq, "ack", "") for seq in range(3000)]


def test_a_packet_has_its_whole_time_out_from_when_it_left_and_may_wait_before_as_long_as_it_must():
    reorder = Reorder(0.5, 65536)
    for seq in range(3):
        reorder.announce(seq, 0.0)
    reorder.air(0, 0.1)
    assert reorder.due(0.59) == []
    assert reorder.due(0.6) == [(0, None, NO_VERDICT, False, True)]
    assert reorder.due(1000.0) == []
    reorder.air(2, 1000.0)  # in turn: 1 was lost on the way to the transmitter
    assert reorder.due(1000.4) == []
    assert reorder.verdict(2, "v", 1000.4) is Fate.TAKEN
    assert reorder.due(1000.5) == [(1, None, NEVER_SENT, False, True), (2, "v", "", False, True)]
    reorder.air(3, 1000.5)  # faster than its decision
    reorder.announce(3, 1000.6)
    reorder.announce(4, 1000.6)
    reorder.air(4, 1000.6)
    reorder.verdict(4, "v", 1000.7)
    assert reorder.due(1001.2) == [(3, None, NO_VERDICT, True, True), (4, "v", "", False, True)]


def test_a_verdict_on_a_block_that_was_given_up_is_late():
    reorder = Reorder(0.5, 65536)
    reorder.announce(0, 0.0)
    assert reorder.due(0.5) == [(0, None, NO_VERDICT, False, True)]
    assert reorder.verdict(0, "v", 0.6) is Fate.LATE
    assert reorder.verdict(0, "v", 0.7) is Fate.UNKNOWN


@pytest.mark.parametrize("airing", [False, True])
def test_a_sender_that_starts_anew_leaves_nothing_behind(airing):
    reorder = Reorder(1.0, 65536)
    for seq in (500, 501):
        reorder.announce(seq, 0.0)
    if airing:
        reorder.air(500, 0.0)
    reorder.verdict(500, "v", 0.0)
    reorder.due(0.0)
    for seq in (0, 1):
        reorder.announce(seq, 1.5)
        if airing:
            reorder.air(seq, 1.5)
        reorder.verdict(seq, "v", 1.5)
    assert {r.seq for r in reorder.due(2.5)} == {0, 1, 501}
    assert len(reorder) == 0


@pytest.mark.parametrize("decisions", [True, False])
@pytest.mark.parametrize("first", [0, 5, WRAP - 7])
def test_any_shuffle_leaves_in_sequence_across_the_wrap(rng, decisions, first):
    numbers = [(first + i) % WRAP for i in range(20)]
    reorder, released = Reorder(1.0, 65536), []
    if decisions:
        for seq in numbers:
            reorder.announce(seq, 0.0)
    for seq in rng.permutation(np.array(numbers, np.int64)):
        assert reorder.verdict(int(seq), f"of {seq}", 0.0) is Fate.TAKEN
        released += reorder.due(0.0)
    released += reorder.due(1.0)  # without decisions, a link that does not begin at 0 waits once
    assert released == [(seq, f"of {seq}", "", False, True) for seq in numbers]


def test_a_sender_that_starts_anew_is_followed():
    reorder = Reorder(1.0, 65536)
    for seq in (500, 501, 0, 1):
        reorder.announce(seq, 0.0)
        reorder.verdict(seq, "v", 0.0)
        assert [r[0] for r in reorder.due(0.0)] == [seq]
    unheard = Reorder(1.0, 65536)
    for seq in (4094, 4095, 0, 1):  # a sender that counts in 12 bits, and no decisions
        unheard.verdict(seq, "v", 0.0)
    assert [r[0] for r in unheard.due(1.0)] == [0, 1, 4094, 4095]
    for seq in (0, 1):
        unheard.verdict(seq, "v", 2.0)
        assert [r[0] for r in unheard.due(2.0)] == [seq]


def test_the_window_is_bounded_and_what_exceeds_it_has_a_cause_of_its_own():
    reorder = Reorder(1.0, 100)
    for seq in range(110):
        reorder.announce(seq, 0.0)
        assert reorder.due(0.0) == [(seq - 100, None, OUTRUN, False, True)] * (seq >= 100)
        assert len(reorder) <= 100


def test_a_verdict_that_overtakes_the_first_decision_is_counted_once():
    reorder = Reorder(1.0, 65536)
    reorder.verdict(0, "v", 0.0)
    assert reorder.due(0.0) == [(0, "v", "", False, True)]
    assert reorder.announce(0, 0.0) is Fate.TAKEN
    assert reorder.due(5.0) == []


def test_what_the_radio_spoilt_is_no_nack_and_what_left_long_before_or_arrived_is_told():
    reorder = Reorder(1.0, 65536)
    for seq in range(5):
        reorder.announce(seq, 0.0)
    for seq, left_s in enumerate((0.0, 0.45, 0.48)):  # 3 is leaving, 4 waits
        reorder.air(seq, left_s)
    reorder.spoil("underrun", 0.5)
    for seq in range(5):
        reorder.verdict(seq, "v", 0.5)
    assert [(r.seq, r.cause) for r in reorder.due(0.5)] == [
        (0, ""), (1, "underrun"), (2, "underrun"), (3, "underrun"), (4, ""),
    ]  # fmt: skip


@pytest.mark.parametrize(("port", "told"), [("fail", 0), ("ok", 1)])
def test_an_erasure_without_a_number_is_of_the_packet_that_is_leaving_if_it_fails(make, port, told):
    bench = make(timeout_s=100.0)
    with running(bench.top):
        for seq in (0, 1):
            bench.post("decision", message(seq=seq))
        until(lambda: bench.block.status()["waiting"] == 2)
        bench.post("sent", message(seq=0))  # 1 is leaving
        bench.settle("sent")
        bench.post("ok", pdu(seq=0))
        until(lambda: len(bench.out["feedback"].messages) == 1)
        bench.post("erasure", message(erasure=True, cause="underrun of the radio"))
        bench.settle("erasure")
        bench.post(port, pdu(seq=1))
        until(lambda: len(bench.out["feedback"].messages) + len(bench.out["erasure"].messages) == 2)
    assert outcomes(bench) == [(0, 0, True), (0, 1, True)][: 1 + told]
    assert causes(bench) == [(1, "underrun of the radio")] * (1 - told)
