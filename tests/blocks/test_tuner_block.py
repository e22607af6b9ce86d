# SPDX-License-Identifier: GPL-3.0-or-later
"""The tuner block: what comes in is joined and learnt at a pace, and nothing of it ends the worker."""

import math
import time

import numpy as np
import pmt
import pytest
from gnuradio import lighttune
from gnuradio.lighttune.core.link_tuner import LinkTuner

from flowgraph import Bench, floats, message, pdu, post, running, threads, until

NO_DECISION = "feedback: no decision (unknown, late or duplicate)"


FAULT, DEATH = 90.0, -59.0


@pytest.fixture
def poisoned(monkeypatch):
    """Tuners that raise an error at a logit of `FAULT`, and end the thread at one of `DEATH`."""
    learn_rows = LinkTuner.learn_rows

    def poisoned_rows(self, rows, features, mcs, nack):
        if (features[:, 0] == FAULT).any():
            raise FloatingPointError("poison")
        if (features[:, 0] == DEATH).any():
            raise SystemExit
        return learn_rows(self, rows, features, mcs, nack)

    monkeypatch.setattr(LinkTuner, "learn_rows", poisoned_rows)


@pytest.fixture
def make(plain_model):
    def bench(**arguments):
        return Bench(lighttune.tuner(plain_model, **{"always": True, **arguments}), "model")

    return bench


def decided(seq, mcs=10, logit=0.0, **keys):
    features = floats([logit, 2.0, 1.0])
    return message(**{"seq": seq, "mcs": mcs, "bler": 0.1, "features": features, "version": 0, **keys})


def models(bench):
    return [d for d in bench.out["model"].dicts() if "heartbeat" not in d]


def test_a_sample_changes_the_weights_and_they_are_published_with_a_new_version(make, plain_model):
    bench = make()
    with running(bench.top):
        bench.post("decision", decided(0, link=5))
        bench.post("feedback", message(link=5, seq=0, ack=False))
        until(lambda: models(bench))
    model = models(bench)[0]
    assert (model["link"], model["version"]) == (5, 1)
    assert len(model["weights"]) == plain_model.n_tuned
    assert model["weights"][10] > 0.1  # a NACK: it needs more than its curve says
    assert np.count_nonzero(model["weights"][: len(plain_model.table)]) == 1


def test_feedback_may_overtake_its_decision(make):
    bench = make()
    with running(bench.top):
        bench.post("feedback", message(seq=0, ack=False))
        until(lambda: bench.block.status()["queued"] == 0)
        bench.post("decision", decided(0))
        until(lambda: bench.block.status().get("samples") == 1)
    assert bench.block.status()["dropped"] == {}


def test_only_first_transmissions_tune(make):
    bench = make()
    with running(bench.top):
        bench.post("decision", decided(0))
        bench.post("feedback", message(seq=0, ack=False, attempt=1))
        until(lambda: bench.block.status().get("retransmissions") == 1)
        bench.post("feedback", message(seq=0, ack=False))
        until(lambda: bench.block.status().get("samples") == 1)


def test_duplicate_and_unknown_feedback_is_counted_and_teaches_nothing(make):
    bench = make()
    with running(bench.top):
        bench.post("decision", decided(0))
        for seq in (0, 0, 0, 77):
            bench.post("feedback", message(seq=seq, ack=True))
        until(lambda: bench.dropped(NO_DECISION) == 3)
    assert bench.block.status()["samples"] == 1


def test_decisions_without_feedback_expire(make):
    bench = make(pending_limit=8)
    with running(bench.top):
        for seq in range(20):
            bench.post("decision", decided(seq))
        until(lambda: bench.dropped("decision: expired without feedback") == 12)
    assert bench.block.status()["pending"] == 8


@pytest.mark.parametrize(
    ("port", "bad", "cause"),
    [
        ("decision", pmt.intern("up"), "decision: not a dict"),
        ("decision", decided(-1), "decision: seq out of range"),
        ("decision", decided(0, link=70000), "decision: link out of range"),
        ("decision", decided(0, mcs=29), "decision: unknown mcs"),
        ("decision", decided(0, mcs=-1), "decision: mcs out of range"),
        ("decision", decided(0, mcs=True), "decision: mcs not a long"),
        ("decision", decided(0, logit=math.nan), "decision: features not finite"),
        ("decision", decided(0, features=floats([1])), "decision: features of wrong length"),
        ("decision", message(seq=0, mcs=1), "decision: features missing"),
        ("feedback", message(seq=0, ack="yes"), "feedback: ack not a bool"),
        ("feedback", message(seq=2**32, ack=True), "feedback: seq out of range"),
        ("feedback", message(seq=1, ack=True, snr_db=math.inf), "feedback: snr_db not finite"),
    ],
)
def test_a_bad_message_is_counted_under_its_cause(make, port, bad, cause):
    bench = make()
    with running(bench.top):
        bench.post(port, bad)
        until(lambda: bench.dropped(cause) == 1, cause)
        bench.post("decision", decided(0))
        bench.post("feedback", message(seq=0, ack=True))
        until(lambda: bench.block.status().get("samples") == 1)


def test_the_queue_is_bounded_and_drops_its_oldest(make):
    bench = make(queue_limit=4)
    for seq in range(10):  # the flowgraph does not run yet: nothing takes them out
        bench.block.on_decision(decided(seq))
    assert bench.dropped("queue: overflow") == 6
    with running(bench.top):
        for seq in (5, 6, 9):
            until(lambda: bench.block.status()["queued"] == 0)
            bench.post("feedback", message(seq=seq, ack=True))
        until(lambda: bench.block.status().get("samples") == 2)  # 5 was dropped


def test_learning_keeps_its_pace_and_the_heart_goes_on_beating(make):
    bench = make(rate_hz=40.0)
    for seq in range(41):
        bench.block.on_decision(decided(seq))
        bench.block.on_feedback(message(seq=seq, ack=True))
    start_s = time.monotonic()
    with running(bench.top):
        until(lambda: bench.block.status().get("samples") == 41)
        assert time.monotonic() - start_s > 0.9  # 40 intervals of 25 ms
        # The second was due after half of that time, and may just be on its way.
        until(lambda: len([d for d in bench.out["model"].dicts() if "heartbeat" in d]) >= 2, "two beats")


def test_a_link_s_model_is_published_fifty_times_a_second_at_most(make):
    bench = make()
    start_s = time.monotonic()
    with running(bench.top):
        for seq in range(400):
            bench.post("decision", decided(seq))
            bench.post("feedback", message(seq=seq, ack=seq % 3 == 0))
        until(lambda: bench.block.status().get("samples") == 400)
        until(lambda: models(bench)[-1]["version"] == 400)  # the last one is never held back for good
        n = len(models(bench))
        elapsed_s = time.monotonic() - start_s
    assert n <= 1 + 50 * elapsed_s  # the first goes out at once


def test_links_are_bounded_and_one_too_many_costs_the_others_nothing(make):
    bench = make(max_links=2)
    for link in (0, 1, 2, 3, 0):
        bench.block.on_decision(decided(link, link=link))
        bench.block.on_feedback(message(link=link, seq=link, ack=True))
    with running(bench.top):
        until(lambda: bench.dropped("learn: too many links") == 2)
        until(lambda: bench.block.status().get("samples") == 3)


def test_a_sample_on_which_the_core_fails_is_counted_and_the_others_are_learnt(make, poisoned):
    bench = make()
    for seq, logit in enumerate((0.1, FAULT, 0.2, 0.3)):
        bench.block.on_decision(decided(seq, link=seq, logit=logit))
        bench.block.on_feedback(message(link=seq, seq=seq, ack=False))
    with running(bench.top):
        until(lambda: bench.block.status().get("samples") == 3)
        assert bench.dropped("learn: internal") == 1
        assert bench.block.status()["batches_split"] == 1
        assert bench.block.status()["worker"] == "running"


def test_many_links_are_learnt_in_batches(make):
    bench = make()
    for link in range(40):
        bench.block.on_decision(decided(0, link=link))
        bench.block.on_feedback(message(link=link, seq=0, ack=False))
    with running(bench.top):
        until(lambda: {m["link"] for m in models(bench)} == set(range(40)))
    status = bench.block.status()
    assert status["samples"] == 40
    assert "batches_split" not in status
    assert status["dropped"] == {}


def test_stop_ends_the_threads_and_start_begins_anew_with_what_was_learnt(make):
    bench = make()
    for again in range(2):
        with running(bench.top):
            assert len(threads("tuner")) == 2  # worker and ticker
            bench.post("decision", decided(again))
            bench.post("feedback", message(seq=again, ack=False))
            until(lambda again=again: models(bench) and models(bench)[-1]["version"] == again + 1)
        assert threads("tuner") == []
        assert bench.block.status()["worker"] == "stopped"


def test_what_one_link_of_a_pool_teaches_reaches_all_of_them(make):
    bench = make(pool=True)
    with running(bench.top):
        bench.post("decision", decided(0, link=1))
        bench.post("feedback", message(link=1, seq=0, ack=False))
        until(lambda: models(bench))
        for seq in range(1, 9):
            bench.post("decision", decided(seq, link=2))
            bench.post("feedback", message(link=2, seq=seq, ack=False))
        until(lambda: {m["link"] for m in models(bench) if m["version"] == 9} == {1, 2})
    last = {m["link"]: m["weights"] for m in models(bench) if m["version"] == 9}
    assert np.array_equal(last[1], last[2])


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # the killed one
def test_a_selector_whose_tuner_was_killed_goes_on_as_it_is(plain_model, poisoned):
    selector = Bench(lighttune.mcs_selector(plain_model), "pdu_out", "decision")
    tuner = lighttune.tuner(plain_model, always=True)
    selector.top.msg_connect(selector.block, "decision", tuner, "decision")
    selector.top.msg_connect(tuner, "model", selector.block, "model")

    def decide():
        n = len(selector.out["decision"].messages)
        selector.report(snr_db=12.0)
        selector.post("pdu_in", pdu())
        until(lambda: len(selector.out["decision"].messages) > n)
        return selector.out["decision"].dicts()[-1]

    with running(selector.top):
        until(lambda: selector.block.status()["tuner"] == "heard")
        before = decide()
        post(tuner, "decision", decided(1000, logit=DEATH))
        post(tuner, "feedback", message(seq=1000, ack=True))
        until(lambda: tuner.status()["worker"] == "dead")
        until(lambda: selector.said().get("tuner") == "silent")
        assert abs(decide()["mcs"] - before["mcs"]) <= 1
    with running(selector.top):  # the flowgraph starts again: so does the worker
        until(lambda: tuner.status()["worker"] == "running")
        until(lambda: selector.block.status()["tuner"] == "heard")
        decide()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"rate_hz": 0.0}, "rate_hz = 0.0: give"),
        ({"rate_hz": math.nan}, "rate_hz = nan: give"),
        ({"queue_limit": 0}, "queue_limit = 0"),
        ({"pending_limit": 0}, "pending_limit = 0"),
        ({"max_links": 0}, "max_links = 0: give"),
    ],
)
def test_a_bad_argument_is_named_with_its_remedy(make, arguments, words):
    with pytest.raises(ValueError, match=words):
        make(**arguments)
