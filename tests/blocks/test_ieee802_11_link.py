# SPDX-License-Identifier: GPL-3.0-or-later
"""The adapter to gr-ieee802-11, with a stand-in for the PHY: each frame at its rate, and how it ended."""

import inspect
import time
from pathlib import Path

import pmt
import pytest
import yaml
from gnuradio import gr, lighttune
from gnuradio.lighttune.blocks._header_tap import Header
from gnuradio.lighttune.core.mcs import McsTable
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowgraph import Bench, message, post, running, threads, until
from wifi_standin import SNR_DB, Fate, Mac, Phy, payload, u8

SOON_S = 1.5  # a time-out that is waited for; what is to come in time does, on a busy machine too
GRC = Path(__file__).resolve().parents[2] / "grc" / "lighttune_ieee802_11_link.block.yml"


class WifiBench(Bench):
    """The adapter between the stand-ins of the MAC and the PHY."""

    def __init__(self, **arguments) -> None:
        self.phy, self.mac = Phy(), Mac()
        link = lighttune.ieee802_11_link(self.phy, **{"timeout_s": 10, **arguments})
        super().__init__(link, "feedback", "csi", "erasure", "psdu_out")
        self.mapper, self.decode_mac = self.phy.ieee802_11_mapper_0, self.phy.ieee802_11_decode_mac_0
        self.top.msg_connect(link, "pdu_out", self.mac, "app in")
        self.top.msg_connect(self.mac, "phy out", link, "psdu_in")
        self.top.msg_connect(link, "psdu_out", self.phy, "mac_in")
        self.top.msg_connect(self.phy, "mac_out", link, "mac_out")

    def send(self, seq: int, fate: Fate = Fate.GOOD, mcs: int = 2, **more) -> None:
        self.post("pdu_in", pmt.cons(message(seq=seq, mcs=mcs, **more), payload(fate)))

    def ended(self, n: int, timeout_s: float = 60) -> None:
        """Wait until so many frames have ended, one way or the other."""
        until(lambda: len(self.ends()) >= n, f"{n} frames to end", timeout_s)

    def ends(self) -> list[tuple]:
        """Sequence number and ACK, NACK or None (an erasure) of each frame, in the order of sequence."""
        acks = [(d["seq"], d["ack"]) for d in self.out["feedback"].dicts()]
        return sorted(acks + [(d["seq"], None) for d in self.out["erasure"].dicts()], key=lambda end: end[0])

    def count(self, name: str) -> int:
        return self.block.status().get(name, 0)


@pytest.fixture
def make():
    return WifiBench


def test_a_good_frame_is_an_ack_and_a_report(make):
    bench = make()
    with running(bench.top):
        bench.send(7, link=3, mcs=5)
        bench.ended(1)
        until(lambda: bench.out["csi"].messages)
    assert bench.out["feedback"].dicts() == [{"link": 3, "seq": 7, "ack": True, "mcs": 5}]
    assert bench.out["csi"].dicts() == [{"link": 3, "seq": 7, "snr_db": SNR_DB}]
    assert bench.mapper.taken == [(5, Fate.GOOD)]
    assert bench.out["erasure"].messages == []


def test_a_header_without_a_frame_is_a_nack_long_before_the_time_out(make):
    bench = make(timeout_s=30)
    with running(bench.top):
        bench.send(0, Fate.FAILS)
        bench.ended(1)
        until(lambda: bench.out["csi"].messages)
    assert bench.ends() == [(0, False)]
    assert bench.out["csi"].dicts()[0]["snr_db"] == SNR_DB  # the preamble was heard


def test_no_header_is_an_erasure_after_the_time_out(make):
    bench = make(timeout_s=SOON_S)
    with running(bench.top):
        bench.send(0, Fate.LOST)
        bench.send(1)
        bench.ended(2)
    assert bench.ends() == [(0, None), (1, True)]
    assert bench.out["erasure"].dicts() == [{"link": 0, "seq": 0, "erasure": True, "cause": "no verdict"}]
    assert bench.count("timeouts") == 1


def test_a_header_that_says_something_else_is_no_header_of_this_frame(make):
    bench = make(timeout_s=SOON_S)
    with running(bench.top):
        bench.send(0, Fate.GARBLED)
        bench.ended(1)
    assert bench.ends() == [(0, None)]
    assert bench.out["csi"].messages == []
    assert bench.dropped("header: not of the frame in flight") == 1


def test_a_frame_that_is_cut_off_is_a_nack_after_the_time_out(make):
    bench = make(timeout_s=SOON_S)
    with running(bench.top):
        bench.send(0, Fate.CUT)
        bench.ended(1)
    assert bench.ends() == [(0, False)]
    assert bench.count("timeouts") == 1


def test_a_slow_decoder_makes_no_nack_of_a_good_frame(make):
    bench = make(timeout_s=10)
    bench.decode_mac.delay_s = 0.2  # many ticks
    with running(bench.top):
        bench.send(0, mcs=7)
        bench.send(1, Fate.FAILS, mcs=7)
        bench.ended(2)
    assert bench.ends() == [(0, True), (1, False)]


def test_a_frame_that_is_received_twice_counts_once(make):
    bench = make()
    with running(bench.top):
        bench.send(0, Fate.TWICE)
        bench.ended(1)
        until(lambda: bench.dropped("mac_out: not of the frame in flight") == 1)
        bench.send(1)
        bench.ended(2)
    assert bench.ends() == [(0, True), (1, True)]
    assert len(bench.out["csi"].messages) == 2


def test_a_decoder_slower_than_the_time_out_is_not_waited_for(make):
    bench = make(timeout_s=SOON_S)
    with running(bench.top):
        bench.decode_mac.delay_s = 2.5 * SOON_S
        bench.send(0)
        bench.ended(1)
        until(lambda: bench.dropped("mac_out: not of the frame in flight") == 1)
    assert bench.ends() == [(0, None)]  # the host is behind, and the channel may be good
    assert bench.out["erasure"].dicts()[0]["cause"] == "decoder behind"
    assert bench.count("timeouts") == 1


def test_a_frame_that_comes_when_it_is_given_up_hurts_no_other(make):
    bench = make(timeout_s=SOON_S)
    with running(bench.top):
        bench.send(0, Fate.KEPT)
        bench.ended(1)
        bench.send(1, Fate.LOST)
        until(lambda: bench.count("sent") == 2)
        bench.decode_mac.release()
        until(lambda: bench.dropped("mac_out: not of the frame in flight") == 1)
        bench.ended(2)
    assert bench.ends() == [(0, False), (1, None)]


def test_a_late_frame_takes_back_its_header(make):
    bench = make(timeout_s=SOON_S)
    with running(bench.top):
        bench.send(0, Fate.LOST)
        bench.send(1, Fate.LOST)
        bench.ended(1)
        until(lambda: bench.count("sent") == 2)
        air = bench.phy.ieee802_11_frame_equalizer_0
        late = bench.out["psdu_out"].messages[0]  # frame 0, as if it had been under way all the time
        psdu = bytearray(pmt.u8vector_elements(pmt.cdr(late)))
        psdu[24] = Fate.GOOD
        air.send(2, bytes(psdu))
        until(lambda: bench.dropped("mac_out: not of the frame in flight") == 1)
        bench.ended(2)
    assert bench.ends() == [(0, None), (1, None)]  # not a NACK for 1


def test_a_late_frame_that_is_faster_than_the_tap_leaves_no_header_behind(make):
    bench = make(timeout_s=SOON_S)
    header = Header(2, 88, SNR_DB, 0.5)
    tags = pmt.make_dict()
    for key, value in (
        ("encoding", pmt.from_uint64(header.encoding)), ("frame bytes", pmt.from_uint64(header.n_bytes)),
        ("snr", pmt.from_double(header.snr_db)), ("beta", pmt.from_double(header.beta)),
    ):  # fmt: skip
        tags = pmt.dict_add(tags, pmt.intern(key), value)
    with running(bench.top):
        bench.send(0, Fate.LOST)  # its MCS and length are those of the late one
        until(lambda: bench.count("sent") == 1)
        bench.block.on_mac_out(pmt.cons(tags, u8(bytes(84))))
        bench.block.on_header(header)
        bench.ended(1)
    assert bench.ends() == [(0, None)]
    assert bench.dropped("mac_out: not of the frame in flight") == 1
    assert bench.dropped("header: not of the frame in flight") == 1
    assert bench.out["csi"].dicts() == []


def test_a_tap_that_lags_behind_takes_no_old_header_for_the_next_frame_s(make):
    bench = make(timeout_s=SOON_S)
    with running(bench.top):
        bench.send(0)
        bench.ended(1)
        for seq in (1, 2):
            bench.send(seq, Fate.LOST)  # the same MCS and length
            until(lambda seq=seq: bench.count("sent") == seq + 1)
            old = bench.phy.ieee802_11_frame_equalizer_0.nitems_written(0) - (seq == 1)
            bench.block.on_header(Header(2, 88, SNR_DB, 0.5, start=old))
            bench.ended(seq + 1)
    assert bench.ends() == [(0, True), (1, None), (2, False)]
    assert [d["seq"] for d in bench.out["csi"].dicts()] == [0, 2]


def test_every_frame_goes_out_at_its_own_rate_one_at_a_time(make):
    bench = make(queue_limit=100)
    fates = [Fate.GOOD, Fate.FAILS, Fate.GOOD, Fate.GOOD, Fate.FAILS]
    sent = [(5 * seq % 8, fates[seq % 5]) for seq in range(60)]
    with running(bench.top):
        for seq, (mcs, fate) in enumerate(sent):
            bench.send(seq, fate, mcs)
        bench.ended(60)
    assert bench.mapper.taken == sent
    assert bench.ends() == [(seq, fate is Fate.GOOD) for seq, (_, fate) in enumerate(sent)]
    assert [d["mcs"] for d in bench.out["feedback"].dicts()] == [mcs for mcs, _ in sent]
    assert [d["seq"] for d in bench.out["csi"].dicts()] == list(range(60))


def test_the_mapper_is_told_of_changes_only(make):
    bench = make(queue_limit=10)
    with running(bench.top):
        for seq, mcs in enumerate((0, 0, 4, 4, 0)):
            bench.send(seq, mcs=mcs)
        bench.ended(5)
    assert bench.mapper.set_to == [0, 4, 0]


def test_a_frame_that_the_transmitter_has_not_taken_keeps_its_rate_and_its_turn(make):
    bench = make(timeout_s=SOON_S)
    with running(bench.top):
        bench.mapper.go.clear()
        post(bench.mapper, "in", pmt.intern("plug"))
        bench.send(0, mcs=3)
        bench.send(1, mcs=6)
        until(lambda: bench.count("sent") == 1)
        time.sleep(3 * SOON_S)
        assert bench.ends() == []
        assert bench.mapper.set_to == [3]
        bench.mapper.go.set()
        bench.ended(2)
    assert bench.mapper.taken == [(3, Fate.GOOD), (6, Fate.GOOD)]
    assert bench.ends() == [(0, True), (1, True)]


def test_a_frame_at_another_rate_is_counted_and_teaches_nothing(make):
    bench = make(timeout_s=SOON_S)
    with running(bench.top):
        bench.send(0, Fate.OTHER_RATE)
        bench.ended(1)
    assert bench.ends() == [(0, None)]
    assert bench.count("misassigned") == 1


def test_a_mac_that_says_nothing_is_an_erasure(make):
    bench = make(timeout_s=0.1)
    bench.mac.deaf = True
    with running(bench.top):
        bench.send(0)
        bench.ended(1)
    assert bench.ends() == [(0, None)]
    assert bench.dropped("pdu_in: the MAC made no PSDU of it") == 1


def test_too_many_are_dropped_and_counted(make):
    bench = make(timeout_s=SOON_S, queue_limit=2)
    with running(bench.top):
        for seq in range(5):
            bench.send(seq, Fate.LOST if seq == 0 else Fate.GOOD)
        bench.ended(5)
        until(lambda: bench.dropped("pdu_in: queue full") == 2)
    assert bench.ends() == [(0, None), (1, True), (2, True), (3, None), (4, None)]


def test_without_a_mac_the_pdu_is_the_frame(make):
    bench = make()
    bench.top.msg_disconnect(bench.block, "pdu_out", bench.mac, "app in")
    bench.top.msg_connect(bench.block, "pdu_out", bench.block, "psdu_in")
    with running(bench.top):
        bench.post("pdu_in", pmt.cons(message(seq=1, mcs=4), u8(bytes(24) + bytes([Fate.GOOD]) + bytes(20))))
        bench.ended(1)
    assert bench.ends() == [(1, True)]


@pytest.mark.parametrize(
    ("port", "bad", "cause"),
    [
        ("pdu_in", pmt.from_long(3), "pdu_in: not a PDU"),
        ("pdu_in", pmt.cons(message(seq=1), payload(Fate.GOOD)), "pdu_in: mcs missing"),
        ("pdu_in", pmt.cons(message(seq=1, mcs=8), payload(Fate.GOOD)), "pdu_in: mcs out of range"),
        ("pdu_in", pmt.cons(message(mcs=1), payload(Fate.GOOD)), "pdu_in: seq missing"),
        (
            "pdu_in",
            pmt.cons(message(seq=1, mcs=1), pmt.init_f32vector(2, [1, 2])),
            "pdu_in: payload not a u8vector",
        ),
        (
            "pdu_in",
            pmt.cons(message(seq=1, mcs=1), u8(bytes(1501))),
            "pdu_in: payload longer than the 1500 bytes that the MAC takes",
        ),
        ("psdu_in", pmt.cons(message(), u8(bytes(100))), "psdu_in: no frame awaits it"),
        ("psdu_in", pmt.cons(message(), u8(bytes(4))), "psdu_in: of a length that the PHY does not take"),
        ("mac_out", pmt.cons(message(), u8(bytes(100))), "mac_out: not of the frame in flight"),
        ("mac_out", pmt.PMT_NIL, "mac_out: not a PDU"),
        ("mac_out", pmt.cons(pmt.PMT_T, u8(b"x")), "mac_out: not a PDU"),
    ],
)
def test_a_bad_message_is_counted_under_its_cause(make, port, bad, cause):
    bench = make()
    with running(bench.top):
        bench.post(port, bad)
        until(lambda: bench.dropped(cause) == 1, cause)
        bench.send(5)
        until(lambda: bench.out["feedback"].messages)
    assert [end for end in bench.ends() if end[1] is not None] == [(5, True)]
    refused = [e["cause"] for e in bench.out["erasure"].dicts()]  # if it says which block it is of
    assert set(refused) <= {cause.removeprefix("pdu_in: ")}


def test_a_psdu_that_is_not_of_the_frame_in_flight_is_not_sent(make):
    bench = make(timeout_s=0.2)
    bench.mac.deaf = True
    with running(bench.top):
        bench.send(0)
        until(lambda: bench.block.status()["in_flight"])
        bench.post("psdu_in", pmt.cons(message(), u8(b"somebody else's frame")))
        until(lambda: bench.dropped("psdu_in: not of the frame in flight") == 1)
        bench.ended(1)
    assert bench.mapper.taken == []


SCALARS = st.sampled_from(
    [pmt.PMT_NIL, pmt.PMT_T, pmt.PMT_EOF, pmt.from_long(-1), pmt.from_double(1e300), u8(b"")]
)
DICTS = st.dictionaries(
    st.sampled_from(["link", "seq", "mcs", "snr", "beta", "encoding", "frame bytes"]), SCALARS
)
NOISE = st.one_of(
    SCALARS,
    st.tuples(DICTS.map(lambda d: message(**d)) | SCALARS, st.binary(max_size=40).map(u8) | SCALARS).map(
        lambda pair: pmt.cons(*pair)
    ),
    st.integers(0, 3).map(
        lambda n: pmt.cons(pmt.intern("lighttune: decode_mac is through with frame"), pmt.from_long(n))
    ),
)


def test_whatever_arrives_it_goes_on(make):
    bench = make(timeout_s=SOON_S)
    with running(bench.top):

        @settings(max_examples=150, suppress_health_check=list(HealthCheck))
        @given(st.sampled_from(["pdu_in", "psdu_in", "mac_out"]), NOISE)
        def bombard(port, noise):
            bench.post(port, noise)

        bombard()
        for port in ("pdu_in", "psdu_in", "mac_out"):
            bench.settle(port)
        before = len(bench.ends())
        bench.send(900)
        until(lambda: (900, True) in bench.ends(), "a frame to get through")
        assert len(bench.ends()) == before + 1
    dropped = bench.block.status()["dropped"]
    assert not [cause for cause in dropped if "internal" in cause], dropped
    assert len(dropped) < 30


def test_it_works_again_after_stop_and_start(make):
    bench = make(timeout_s=5)
    for again in (1, 2):
        with running(bench.top):
            bench.send(0, mcs=again)
            bench.send(1, Fate.FAILS, mcs=again)
            bench.ended(2 * again)
        assert threads("ieee802_11_link") == []
    assert bench.mapper.taken == [(1, 0), (1, 1), (2, 0), (2, 1)]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"timeout_s": 0.0}, "timeout_s = 0.0: give 0.01 to 60"),
        ({"timeout_s": float("nan")}, "timeout_s = nan: give"),
        ({"queue_limit": -1}, "queue_limit = -1: give"),
        ({"queue_limit": 1.5}, "queue_limit = 1.5: give"),
    ],
)
def test_a_bad_argument_is_named_with_its_remedy(arguments, words):
    with pytest.raises(ValueError, match=words):
        lighttune.ieee802_11_link(Phy(), **arguments)


def test_something_that_is_not_the_phy_is_refused():
    with pytest.raises(ValueError, match="has no ieee802_11_mapper_0: give gr-ieee802-11's wifi_phy_hier"):
        lighttune.ieee802_11_link(gr.top_block())


def test_our_selector_and_tuner_adapt_over_it(make):
    bench = make(queue_limit=100)
    selector, tuner = lighttune.olla_selector("wifi"), lighttune.tuner("wifi")
    table = McsTable.named("wifi")
    top, link = bench.top, bench.block
    top.msg_connect(selector, "pdu_out", link, "pdu_in")
    top.msg_connect(selector, "decision", tuner, "decision")
    for sink in (selector, tuner):
        top.msg_connect(link, "feedback", sink, "feedback")
    top.msg_connect(link, "csi", selector, "csi")
    top.msg_connect(tuner, "model", selector, "model")
    with running(top):
        for seq in range(40):
            post(selector, "pdu_in", pmt.cons(message(seq=seq), payload(Fate.GOOD, mark=seq)))
            bench.ended(seq + 1)
            until(lambda seq=seq: selector.status().get("acks") == seq + 1)
            until(lambda seq=seq: selector.status().get("reports") == seq + 1)
    used = [encoding for encoding, _ in bench.mapper.taken]
    assert used[0] == table.most_robust
    assert table.threshold_db[used[-1]] < SNR_DB + 2
    assert used[-1] >= 2  # the reports were heard


def test_the_grc_definition_is_the_block_s(make):
    definition = yaml.safe_load(GRC.read_text())
    block = make().block
    for ports, direction in ((block.message_ports_in(), "inputs"), (block.message_ports_out(), "outputs")):
        assert {p["id"] for p in definition[direction]} == set(pmt.to_python(ports)) - {"system"}
    parameters = inspect.signature(lighttune.ieee802_11_link).parameters
    declared = {p["id"]: p["default"] for p in definition["parameters"]}
    assert set(declared) == set(parameters)
    assert declared["timeout_s"] == str(parameters["timeout_s"].default)
    assert declared["queue_limit"] == str(parameters["queue_limit"].default)
    text = definition["documentation"]
    for name in (*(p["id"] for p in definition["inputs"] + definition["outputs"]), *block.status()):
        assert name in text, name
