# SPDX-License-Identifier: GPL-3.0-or-later
"""The telemetry block in real flowgraphs, heard through a real socket."""

import numpy as np
import pmt
import pytest
from gnuradio import lighttune
from gnuradio.lighttune.core.link_model import LinkModel
from gnuradio.lighttune.core.mcs import McsTable
from gnuradio.lighttune.core.tuning import N_FEATURES
from gnuradio.lighttune.net.fields import MAX_TEXT
from gnuradio.lighttune.net.telemetry import Subscriber

from flowgraph import Bench, floats, message, running, until

ENDPOINT = "tcp://127.0.0.1:*"
FEATURES = np.linspace(-1, 1, N_FEATURES, dtype=np.float32)
MESSAGES = {
    "csi": message(link=2, snr_db=11.5, seq=7, cfo_hz=3.0),
    "decision": message(link=2, seq=8, mcs=4, bler=0.07, features=floats(FEATURES), version=3, bits=1024),
    "feedback": message(seq=8, ack=True),
    "model": message(link=2, version=4, weights=floats(range(9))),
    "status": message(block="tuner", state={"2": {"evidence": float("inf")}}, dropped={}),
}


@pytest.fixture
def tapped():
    """A running block and a subscriber that it is heard by."""
    bench = Bench(lighttune.telemetry(ENDPOINT, source="bench-a"))
    with Subscriber(bench.block.endpoint) as subscriber:
        with running(bench.top):

            def heard():
                bench.post("status", message(block="hello"))
                return subscriber.receive(0.05)

            until(heard)
            while subscriber.receive(0.2):
                pass
            yield bench, subscriber
        bench.block.close()


def test_every_kind_is_heard_with_its_defaults_filled_in(tapped):
    bench, subscriber = tapped
    for kind, what in MESSAGES.items():
        bench.post(kind, what)
    bench.post("model", message(heartbeat=True))
    got = {}
    for _ in range(6):
        heard = subscriber.receive(5)
        assert heard.source == "bench-a"
        got.setdefault(heard.kind, []).append(heard.fields)
    assert got["csi"] == [{"link": 2, "snr_db": 11.5, "seq": 7}]
    decision = got["decision"][0]
    assert np.array_equal(decision.pop("features"), FEATURES)
    assert decision == {
        "link": 2,
        "seq": 8,
        "mcs": 4,
        "bler": 0.07,
        "version": 3,
        "probe": False,
        "bits": 1024,
    }
    assert got["feedback"] == [{"link": 0, "seq": 8, "ack": True, "attempt": 0}]
    assert np.array_equal(got["model"][0].pop("weights"), np.arange(9, dtype=np.float32))
    assert got["model"] == [
        {"link": 2, "version": 4},
        {"heartbeat": True, "away": False},
    ]
    assert got["status"] == [{"block": "tuner", "state": {"2": {"evidence": None}}, "dropped": {}}]


def test_what_is_no_message_is_counted_by_cause_and_the_rest_goes_out(tapped):
    bench, subscriber = tapped
    bad = {
        "csi: snr_db missing": ("csi", message(link=1)),
        "csi: not a dict": ("csi", pmt.intern("x")),
        "decision: features of wrong length": (
            "decision",
            message(seq=1, mcs=1, bler=0.1, features=floats([1.0])),
        ),
        "decision: mcs out of range": ("decision", message(seq=1, mcs=300, bler=0.1)),
        "feedback: ack missing": ("feedback", message(seq=1)),
        "model: weights not an f32vector, or too long": ("model", message(version=1)),
        "vector not finite": ("model", message(version=1, weights=floats([float("nan")]))),
        "status: block missing": ("status", message(links=1)),
    }
    for port, what in bad.values():
        bench.post(port, what)
    until(lambda: sum(bench.block.status()["dropped"].values()) == len(bad))
    assert bench.block.status()["dropped"] == dict.fromkeys(bad, 1)
    bench.post("csi", MESSAGES["csi"])
    assert subscriber.receive(5).kind == "csi"
    assert subscriber.missed == len(bad)


def test_a_long_text_is_cut_and_the_rest_is_heard(tapped):
    bench, subscriber = tapped
    says = "; ".join(f"MCS {mcs} needs 1.3 dB more than its curve says" for mcs in range(29))
    bench.post("status", message(block="mcs_selector", beliefs={"0": {"expert": "acks", "says": says}}))
    heard = subscriber.receive(5).fields["beliefs"]["0"]
    assert heard == {"expert": "acks", "says": says[: MAX_TEXT - 1] + "\u2026"}


def test_a_selector_and_a_tuner_are_heard_as_they_are(tapped):
    bench, subscriber = tapped
    bench.top.stop()
    bench.top.wait()
    model = LinkModel(McsTable.nr_pdsch(1))
    selector, tuner = lighttune.mcs_selector(model), lighttune.tuner(model)
    link = Bench(selector, "pdu_out")
    for block, port in ((selector, "decision"), (selector, "status"), (tuner, "model"), (tuner, "status")):
        link.top.msg_connect(block, port, bench.block, port)
    kinds = set()
    with running(link.top):
        link.report(snr_db=12.0)
        link.post("pdu_in", pmt.cons(message(), pmt.init_u8vector(128, [0] * 128)))
        while kinds != {("decision", 1024), ("model", True), ("status", "mcs_selector"), ("status", "tuner")}:
            heard = subscriber.receive(10)
            assert heard, kinds
            told = {"decision": "bits", "model": "heartbeat", "status": "block"}[heard.kind]
            kinds.add((heard.kind, heard.fields[told]))
            if heard.fields.get("beliefs"):
                beliefs = heard.fields["beliefs"]
    assert beliefs["0"].keys() == {"expert", "sinr_db", "offset_db", "width_db", "loss", "says"}
    assert bench.block.status()["dropped"] == {}


def test_a_bad_argument_is_refused_with_a_remedy():
    block = lighttune.telemetry(ENDPOINT)
    with pytest.raises(OSError, match="give a free endpoint"):
        lighttune.telemetry(block.endpoint)
    block.close()
    with pytest.raises(ValueError, match="source"):
        lighttune.telemetry(ENDPOINT, source="")
    with pytest.raises(ValueError, match="queue = 0"):
        lighttune.telemetry(ENDPOINT, queue_limit=0)
