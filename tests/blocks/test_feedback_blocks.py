# SPDX-License-Identifier: GPL-3.0-or-later
"""The feedback path's blocks: whichever way messages go, the same ones come out."""

import time

import pmt
import pytest
from gnuradio import gr, lighttune

from flowgraph import Bench, Collector, message, pdu, post, running, until

SEQS = [n for n in range(60) if n % 10 != 7]  # the header of every tenth block is lost


class Path:
    """``csi`` and ``feedback`` in at one end, out at the other."""

    def __init__(self, first, last):
        self.first, self.last = first, last
        self.top = gr.top_block()
        self.csi, self.feedback, self.status = Collector(), Collector(), Collector()
        self.top.msg_connect(last, "csi", self.csi, "in")
        self.top.msg_connect(last, "feedback", self.feedback, "in")
        for block in (first, last):
            self.top.msg_connect(block, "status", self.status, "in")

    def end(self):
        """Wait until the last frame is repeated as often as it will be, and all have arrived."""
        links = self.first.writer._links.values()
        until(lambda: not any(link.repeats for link in links) and not self.first.writer.due, "the repeats")
        until(lambda: self.last.status()["frames"] == self.first.status()["frames"], "every frame")

    def tell(self, seq, ack, snr_db, link=0):
        """As a receiver does: the report on a block, then the verdict."""
        n = self.first.status().get("verdicts", 0)
        post(self.first, "csi", message(link=link, seq=seq, snr_db=snr_db, time=1e9))
        until(lambda: self.first.status().get("reports", 0) > n, "the report to be taken")
        post(self.first, "feedback", message(link=link, seq=seq, ack=ack, snr_db=snr_db))
        until(lambda: self.first.status().get("verdicts", 0) > n, "the verdict to be taken")


def over_zeromq():
    receiver = lighttune.feedback_receiver("tcp://127.0.0.1:*")
    return Path(lighttune.feedback_sender(receiver.endpoint), receiver)


def over_pdus(**arguments):
    path = Path(lighttune.feedback_to_pdu(**arguments), lighttune.pdu_to_feedback())
    path.top.msg_connect(path.first, "pdu_out", path.last, "pdu_in")
    path.pdus = Collector()
    path.top.msg_connect(path.first, "pdu_out", path.pdus, "in")
    return path


@pytest.mark.parametrize("make", [over_zeromq, over_pdus])
def test_what_goes_in_comes_out_and_lost_headers_come_out_as_nacks(make):
    path = make()
    with running(path.top):
        for seq in SEQS:
            path.tell(seq, seq % 3 > 0, 10 + seq / 8, link=6)
        until(lambda: len(path.feedback.messages) == 60, "all verdicts")
        until(lambda: len(path.csi.messages) == len(SEQS), "all reports")
        path.end()
    assert path.feedback.dicts() == [
        {"link": 6, "seq": seq, "ack": seq in SEQS and seq % 3 > 0} for seq in range(60)
    ]
    assert path.csi.dicts() == [
        {"link": 6, "seq": seq, "snr_db": round(4 * (10 + seq / 8)) / 4} for seq in SEQS
    ]  # in steps of 0.25 dB, and without the time of another host's clock
    first, last = path.first.status(), path.last.status()
    assert (first["missed"], first["outrun"], first["dropped"], last["dropped"]) == (6, 0, {}, {})
    assert (last["frames"], last["lost"], last["senders_heard"]) == (first["frames"], 0, 1)
    assert (last["verdicts"], last["reports"]) == (60, len(SEQS))


def test_a_pdu_says_whose_it_is_and_goes_out_at_the_most_robust_mcs():
    path = over_pdus()
    with running(path.top):
        path.tell(3, True, 12.0, link=9)
        path.tell(4, True, 12.0, link=9)
        until(lambda: len(path.pdus.messages) >= 2, "two PDUs")
    assert [pmt.to_python(pmt.car(p)) for p in path.pdus.messages[:2]] == [
        {"link": 9, "seq": 0, "mcs": 0},
        {"link": 9, "seq": 1, "mcs": 0},
    ]


def test_in_tdd_a_verdict_is_answered_once_after_the_turn_around():
    path = over_pdus(turnaround_s=1.0)
    with running(path.top):
        began_s = time.monotonic()
        path.tell(0, True, 12.0)
        path.tell(1, False, 12.0)
        until(lambda: path.pdus.messages, "the answer")
        assert path.pdus.times_s[0] - began_s >= 1.0
        time.sleep(0.7)  # nothing is repeated
        assert len(path.pdus.messages) == 1
        until(lambda: [d["seq"] for d in path.feedback.dicts()] == [0, 1], "both verdicts")
        path.tell(2, True, 12.0)
        until(lambda: len(path.pdus.messages) == 2, "the next answer")


def test_in_fdd_what_was_told_last_is_repeated_in_case_it_was_lost():
    path = over_pdus()
    with running(path.top):
        path.tell(0, True, 12.0)
        until(lambda: len(path.pdus.messages) == 4, "three repeats")
        time.sleep(0.6)
    assert len(path.pdus.messages) == 4
    assert len(path.feedback.messages) == len(path.csi.messages) == 1


def test_other_pdus_on_the_reverse_channel_are_left_alone():
    path = over_pdus()
    with running(path.top):
        for noise in (
            pdu(40),
            pdu(3),
            message(seq=1),
            pmt.cons(pmt.make_dict(), pmt.init_f32vector(9, [0.0] * 9)),
        ):
            post(path.last, "pdu_in", noise)
        until(lambda: sum(path.last.status()["dropped"].values()) == 4, "all to be judged")
    assert path.last.status()["dropped"] == {
        "frame: malformed: no magic": 1,
        "frame: malformed: shorter than a header": 1,
        "pdu_in: not a PDU": 1,
        "pdu_in: not a PDU of bytes": 1,
    }


def test_late_and_repeated_messages_are_counted_by_cause():
    path = over_pdus()
    with running(path.top):
        path.tell(5, True, 12.0)
        path.tell(6, True, 12.0)
        post(path.first, "feedback", message(seq=5, ack=False))
        post(path.first, "csi", message(seq=5, snr_db=3.0))
        post(path.first, "csi", message(link=1, snr_db=3.0))
        until(lambda: sum(path.first.status()["dropped"].values()) == 3, "all to be judged")
    assert path.first.status()["dropped"] == {
        "feedback: late or duplicate": 1,
        "csi: not newer than the last": 1,
        "csi: no block to date it by": 1,
    }
    assert path.feedback.dicts()[0]["ack"]


def test_stop_and_wait_keeps_one_packet_in_flight():
    block = lighttune.stop_and_wait(timeout_s=60.0, queue_packets=3)
    bench = Bench(block, "pdu_out")
    sent = bench.out["pdu_out"].messages
    with running(bench.top):
        for _ in range(5):
            bench.post("pdu_in", pdu(10))
        until(lambda: block.status()["waiting"] == 3, "three to wait")
        until(lambda: bench.dropped("pdu_in: queue full"), "the fifth to be dropped")
        until(lambda: len(sent) == 1, "the first")
        bench.post("decision", message(link=2, seq=8))
        bench.settle("decision")
        for other in (message(link=2, seq=7, ack=True), message(link=1, seq=8, ack=True)):
            bench.post("feedback", other)
        bench.settle("feedback")
        assert len(sent) == 1
        bench.post("feedback", message(link=2, seq=8, ack=False))
        until(lambda: len(sent) == 2, "the second")
        bench.post("feedback", message(link=2, seq=8, ack=True))  # again: it is settled
        bench.settle("feedback")
        assert len(sent) == 2


def test_stop_and_wait_goes_on_after_its_time_out():
    block = lighttune.stop_and_wait(timeout_s=0.05)
    bench = Bench(block, "pdu_out")
    with running(bench.top):
        for _ in range(3):
            bench.post("pdu_in", pdu(10))
        until(lambda: block.status().get("timeouts") == 3, "all to time out")
        assert not block.status()["in_flight"]
    assert len(bench.out["pdu_out"].messages) == 3


@pytest.mark.parametrize(("on_timeout", "kept"), [("erasure", True), ("nack", False)])
def test_when_feedback_is_lost_a_time_out_must_be_an_erasure_lest_the_selector_falls(on_timeout, kept):
    """Good channel, nothing comes back: what ack_merge makes of it decides where the selector goes."""
    selector, merge = lighttune.olla_selector(), lighttune.ack_merge(0.05, on_timeout)
    bench = Bench(selector, "decision")
    bench.top.msg_connect(selector, "decision", merge, "decision")
    bench.top.msg_connect(merge, "feedback", selector, "feedback")
    with running(bench.top):
        bench.report(snr_db=25.0)
        for n in range(20):
            bench.post("pdu_in", pdu())
            until(lambda n=n: len(bench.out["decision"].messages) > n, "a decision")
        until(
            lambda: sum(merge.status().get(k, 0) for k in ("timeouts", "erasures")) == 20,
            "all to be given up",
        )
        bench.settle("feedback")
        bench.post("pdu_in", pdu())
        until(lambda: len(bench.out["decision"].messages) == 21, "a last decision")
    first, last = (bench.out["decision"].dicts()[n]["mcs"] for n in (0, -1))
    assert first > 4
    assert (last == first) if kept else (last < first - 2)


def test_the_adapters_take_verdicts_in_any_order_and_each_once():
    """As the path delivers them: late, out of order; a repeated one is refused."""
    for selector in (lighttune.olla_selector(), lighttune.mcs_selector()):
        bench = Bench(selector, "decision")
        with running(bench.top):
            bench.report(snr_db=20.0)
            for n in range(30):
                bench.post("pdu_in", pdu())
                until(lambda n=n: len(bench.out["decision"].messages) > n, "a decision")  # noqa: B023
            for seq in (5, 3, 4, 29, 0, 4):
                bench.post("feedback", message(seq=seq, ack=True))
            bench.settle("feedback")
            status = selector.status()
        assert status["acks"] == 5
        assert status["dropped"]["feedback: not pending (unknown, late or duplicate)"] == 1


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: lighttune.feedback_sender("nonsense"), "nonsense"),
        (lambda: lighttune.feedback_sender(max_links=0), "max_links = 0"),
        (lambda: lighttune.feedback_receiver("tcp://127.0.0.1:*", rate_hz=0.0), "rate_hz = 0.0"),
        (lambda: lighttune.feedback_to_pdu(turnaround_s=-1.0), "turnaround_s = -1.0"),
        (lambda: lighttune.feedback_to_pdu(window=500), "window = 500"),
        (lambda: lighttune.stop_and_wait(timeout_s=0.0), "timeout_s = 0.0"),
        (lambda: lighttune.stop_and_wait(queue_packets=0), "queue_packets = 0"),
    ],
)
def test_bad_arguments_are_named(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_a_flowgraph_may_be_started_and_stopped_again_and_again():
    path = over_zeromq()
    for seq in range(10):
        with running(path.top):
            path.tell(seq, True, 12.0)
            until(lambda seq=seq: len(path.feedback.messages) == seq + 1, f"verdict {seq}")
