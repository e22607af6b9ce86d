# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever arrives on any port, the flowgraph goes on, and every message is taken or counted by its cause."""

import pmt
import pytest
from gnuradio import lighttune
from gnuradio.lighttune.core.mcs import McsTable
from gnuradio.lighttune.core.tuning import N_FEATURES
from gnuradio.lighttune.net.feedback_frame import Report, encode
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowgraph import Bench, floats, message, pdu, post, running, until

N_WEIGHTS = 2 * len(McsTable.nr_pdsch(1))
LONGS = st.integers(-(2**63), 2**63 - 1) | st.sampled_from([-1, 0, 1, 65535, 65536, 2**31, 2**32 - 1, 2**32])
SCALARS = st.one_of(
    st.sampled_from([pmt.PMT_NIL, pmt.PMT_T, pmt.PMT_F, pmt.PMT_EOF]),
    LONGS.map(pmt.from_long),
    st.integers(0, 2**64 - 1).map(pmt.from_uint64),
    st.floats().map(pmt.from_double),
    st.complex_numbers().map(pmt.from_complex),
    st.text(st.characters(codec="ascii"), max_size=8).map(pmt.intern),
)
VECTORS = st.one_of(
    st.binary(max_size=8).map(lambda b: pmt.init_u8vector(len(b), list(b))),
    st.lists(st.floats(width=32), max_size=8).map(lambda v: pmt.init_f32vector(len(v), v)),
    st.lists(st.floats(width=32), min_size=N_FEATURES, max_size=N_FEATURES).map(floats),
    st.floats(width=32).map(lambda v: floats([v] * N_WEIGHTS)),
    st.lists(st.complex_numbers(), max_size=4).map(lambda v: pmt.init_c64vector(len(v), v)),
)
NAMES = ("link", "seq", "mcs", "bler", "ack", "attempt", "snr_db", "time", "features", "version", "probe")
KEYS = st.sampled_from((*NAMES, "weights", "away", "heartbeat", "timeout", "missed", "cause"))


def dicts(values):
    return st.dictionaries(KEYS, values, max_size=6).map(lambda d: message(**d))


PMTS = st.recursive(
    SCALARS | VECTORS,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(lambda pair: pmt.cons(*pair)),
        st.lists(inner, max_size=3).map(lambda items: pmt.make_tuple(*items)),
        st.lists(inner, min_size=1, max_size=1).map(lambda items: pmt.list1(*items)),
        dicts(inner),
    ),
    max_leaves=6,
)
# Whole messages, in which one thing is then spoilt: these come further than pure noise does.
WHOLE = {
    "csi": {"link": 0, "snr_db": 10.0, "seq": 3, "time": 0.5},
    "pdu_in": {"link": 0, "seq": 3},
    "feedback": {"link": 0, "seq": 3, "ack": True, "snr_db": 10.0, "attempt": 0},
    "decision": {"link": 0, "seq": 3, "mcs": 4, "features": floats([0.5] * N_FEATURES), "version": 0},
    "model": {"link": 0, "version": 1, "weights": floats([0.0] * N_WEIGHTS)},
    "ok": {"link": 0, "seq": 3},
    "fail": {"link": 0, "seq": 3},
    "sent": {"link": 0, "seq": 3, "start": 0.5, "time": 0.6},
    "erasure": {"link": 0, "seq": 3, "erasure": True, "cause": "queue full"},
}


@st.composite
def spoilt(draw, port):
    keys = dict(WHOLE[port])
    key = draw(st.sampled_from(sorted(keys)))
    if draw(st.booleans()):
        del keys[key]
    else:
        keys[key] = draw(PMTS)
    metadata = message(**keys)
    return pmt.cons(metadata, draw(VECTORS | PMTS)) if port in ("pdu_in", "ok", "fail") else metadata


@st.composite
def hostile(draw, ports):
    port = draw(st.sampled_from(ports))
    return port, draw(st.one_of(PMTS, spoilt(port), dicts(PMTS)))


PORTS = {
    "mcs_selector": ["csi", "pdu_in", "feedback", "model"],
    "olla_selector": ["csi", "pdu_in", "feedback", "model"],
    "tuner": ["decision", "feedback"],
    "ack_merge": ["ok", "fail", "feedback", "decision", "sent", "erasure"],
    "feedback_sender": ["csi", "feedback"],
    "feedback_to_pdu": ["csi", "feedback"],
    "pdu_to_feedback": ["pdu_in"],
    "stop_and_wait": ["pdu_in", "decision", "feedback"],
}
FIRST = {"tuner": "decision", "ack_merge": "ok", "feedback_sender": "feedback", "feedback_to_pdu": "feedback"}
OUT = {
    "tuner": ["model"],
    "ack_merge": ["feedback"],
    "feedback_sender": [],
    "feedback_to_pdu": ["pdu_out"],
    "pdu_to_feedback": ["feedback"],
    "stop_and_wait": ["pdu_out"],
}


@pytest.fixture(params=PORTS)
def bench(request, plain_model):
    name = request.param
    block = {
        "mcs_selector": lambda: lighttune.mcs_selector(plain_model, max_links=50),
        "olla_selector": lambda: lighttune.olla_selector(McsTable.nr_pdsch(1), max_links=50),
        "tuner": lambda: lighttune.tuner(plain_model, max_links=50, always=True),
        "ack_merge": lambda: lighttune.ack_merge(timeout_s=0.05, max_links=50),
        "stop_and_wait": lambda: lighttune.stop_and_wait(timeout_s=0.001),
    }.get(name, lambda: getattr(lighttune, name)())()
    result = Bench(block, *OUT.get(name, ["decision"]))
    with running(result.top):
        yield result


def still_works(bench):
    """A plain message on a link of its own has its plain effect."""
    block = bench.block
    if block.name() in ("mcs_selector", "olla_selector"):
        n = len(bench.out["decision"].messages)
        post(block, "model", message(link=0, version=1, weights=WHOLE["model"]["weights"]))
        post(block, "csi", message(link=0, snr_db=10.0))
        post(block, "pdu_in", pdu(link=0))
        until(lambda: len(bench.out["decision"].messages) > n, "a decision")
        last = bench.out["decision"].dicts()[-1]
        assert 0 <= last["mcs"] < 29
        assert 0 < last["bler"] < 1
    elif block.name() == "tuner":
        n = block.status().get("samples", 0)
        post(block, "decision", message(**{**WHOLE["decision"], "seq": 999}))
        post(block, "feedback", message(link=0, seq=999, ack=True))
        until(lambda: block.status().get("samples", 0) > n, "a sample to be learnt")
        assert block.status()["worker"] == "running"
    elif block.name() in ("feedback_sender", "feedback_to_pdu"):
        n = block.status()["verdicts"]
        post(block, "feedback", message(link=777, seq=7, ack=True))
        until(lambda: block.status()["verdicts"] > n, "a verdict to be taken")
    elif block.name() == "pdu_to_feedback":
        frame = encode(Report(link=777, epoch=1, number=0, newest=7, n_blocks=1, told=1, ack=1))
        post(block, "pdu_in", pmt.cons(pmt.make_dict(), pmt.init_u8vector(len(frame), list(frame))))
        until(
            lambda: any(d["link"] == 777 and d["seq"] == 7 and d["ack"] for d in answers(bench)), "feedback"
        )
    elif block.name() == "stop_and_wait":
        until(lambda: block.status()["waiting"] == 0, "its queue to empty")
        n = len(bench.out["pdu_out"].messages)
        post(block, "pdu_in", pdu())
        until(lambda: len(bench.out["pdu_out"].messages) > n, "a PDU")
    else:
        post(block, "decision", message(link=0, seq=7))
        post(block, "ok", message(link=0, seq=7))
        until(lambda: any(d["link"] == 0 and d["seq"] == 7 and d["ack"] for d in answers(bench)), "feedback")


def answers(bench):
    return [d for d in bench.out["feedback"].dicts() if "timeout" not in d and d.get("attempt", 0) == 0]


def test_no_message_stops_a_block_or_surprises_it(bench):
    first = FIRST.get(bench.block.name(), "pdu_in")
    bench.post(first, pdu() if first == "pdu_in" else message(**WHOLE.get(first)))  # link 0 has its place

    @settings(max_examples=200, suppress_health_check=list(HealthCheck))
    @given(st.lists(hostile(PORTS[bench.block.name()]), min_size=1, max_size=4))
    def bombard(messages):
        for port, noise in messages:
            bench.post(port, noise)

    bombard()
    for port in PORTS[bench.block.name()]:
        if (bench.block.name(), port) != ("olla_selector", "model"):  # where everything is ignored
            bench.settle(port)
    still_works(bench)
    dropped = bench.block.status()["dropped"]
    assert not [cause for cause in dropped if "internal" in cause], dropped
    assert sum(dropped.values()) > 100
    assert len(dropped) < 100  # causes come from a fixed set, whatever is sent
