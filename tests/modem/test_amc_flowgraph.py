# SPDX-License-Identifier: GPL-3.0-or-later
"""`amc_tx` and `amc_rx` in real flowgraphs."""

import itertools
import json
import math
import time
from pathlib import Path

import gnuradio.lighttune
import numpy as np
import pmt
import pytest
from gnuradio import analog, blocks, channels, filter, gr
from gnuradio.lighttune.blocks.amc_rx import amc_rx
from gnuradio.lighttune.blocks.amc_tx import amc_tx
from gnuradio.lighttune.cli.modem_point import run_point
from gnuradio.lighttune.modem import framing
from gnuradio.lighttune.modem.numerology import noise_power

CURVES = json.loads((Path(gnuradio.lighttune.__file__).parent / "models" / "amc_curves.json").read_text())
AT_10PCT = [row["snr_at_10pct_db"] for row in CURVES["mcs"]]
PACKETS = 1000


def payloads_of(messages):
    return [(meta["seq"], bytes(data)) for meta, data in messages]


@pytest.mark.parametrize("gap", [0, 500], ids=["back to back", "spaced"])
@pytest.mark.parametrize("mcs", range(10))
def test_no_packet_is_lost_6_db_above_the_10_percent_point(mcs, gap):
    outcome = run_point(mcs, AT_10PCT[mcs] + 6, PACKETS, seed=mcs, cfo_spacings=0.4, gap_samples=gap)
    assert outcome.acks == outcome.sent == PACKETS


def test_payloads_and_metadata_arrive_as_they_were_sent(link, rng):
    sent = [rng.bytes(int(n)) for n in (1, 5, 128, 1000, 4095)]
    with link(32, cfo_spacings=-0.4, gap_samples=300) as running:
        for seq, payload in enumerate(sent):
            running.send(payload, seq=seq + 2**32 - 5, mcs=2 * seq, link=seq)
        assert running.wire.wait("feedback", 5)
        assert running.wire.wait("pdu_out", 5)
        got = running.wire["pdu_out"]
        feedback, csi = running.wire["feedback"], running.wire["csi"]
    assert payloads_of(got) == [(seq + 2**32 - 5, payload) for seq, payload in enumerate(sent)]
    assert [meta["mcs"] for meta, _ in got] == [0, 2, 4, 6, 8]
    assert [meta["link"] for meta, _ in got] == [0, 1, 2, 3, 4]
    assert all(abs(meta["cfo_hz"] + 0.4 * 1e6 / 64) < 200 for meta, _ in got)
    assert all(abs(meta["snr_db"] - 32) < 2 for meta, _ in got)
    assert [(f["link"], f["seq"], f["mcs"], f["ack"]) for f in feedback] == [
        (i, i + 2**32 - 5, 2 * i, True) for i in range(5)
    ]
    assert [(c["link"], c["seq"]) for c in csi] == [(i, i + 2**32 - 5) for i in range(5)]


@pytest.mark.parametrize("mcs", [0, 3, 9])
def test_at_the_10_percent_point_every_header_that_arrives_gets_its_verdict_in_order(mcs, link, rng):
    count = 400
    with link(AT_10PCT[mcs], cfo_spacings=0.1, gap_samples=150, queue_packets=count) as running:
        for seq in range(count):
            running.send(rng.bytes(128), seq=seq, mcs=mcs)
        assert running.drained(count)
        running.wire.quiet("feedback")
        feedback, csi = running.wire["feedback"], running.wire["csi"]
        delivered = [meta["seq"] for meta, _ in running.wire["pdu_out"]]
    seqs = [f["seq"] for f in feedback]
    assert seqs == sorted(set(seqs)) == [c["seq"] for c in csi]
    assert len(seqs) >= count - 4  # headers are lost at 0.2 % at most
    assert delivered == [f["seq"] for f in feedback if f["ack"]]
    nacks = count - len(delivered)
    assert 0.04 * count < nacks < 0.18 * count  # 40 expected, standard deviation 6


def test_curves_are_ordered_and_near_the_bound():
    rows = CURVES["mcs"]
    assert [r["index"] for r in rows] == list(range(10))
    assert all(a["threshold_db"] < b["threshold_db"] for a, b in itertools.pairwise(rows))
    assert all(a["snr_at_10pct_db"] < b["snr_at_10pct_db"] for a, b in itertools.pairwise(rows))
    for row in rows:
        assert abs(row["deviation_db"]) < 2.5
        assert row["deviation_db"] == pytest.approx(row["snr_at_10pct_db"] - row["bound_10pct_db"], abs=2e-3)


@pytest.mark.parametrize("mcs", [1, 6])
def test_a_live_run_agrees_with_the_shipped_curve(mcs):
    row = CURVES["mcs"][mcs]
    outcome = run_point(mcs, row["snr_at_10pct_db"], 500, seed=77)
    assert 0.05 < outcome.errors / outcome.sent < 0.165  # 10 %: 4 standard deviations, and the fit's error


@pytest.mark.parametrize("seed", [2, 5, 11])
def test_frequency_selective_fading(seed, link):
    rng = np.random.default_rng(seed)
    taps = (rng.standard_normal(10) + 1j * rng.standard_normal(10)) * 10 ** (-np.arange(10) / 10)
    taps /= np.linalg.norm(taps)
    channel = (filter.fir_filter_ccc(1, list(taps)),)
    with link(30, cfo_spacings=0.4, channel=channel, gap_samples=200) as running:
        for seq in range(40):
            running.send(rng.bytes(128), seq=seq, mcs=3)
        assert running.wire.wait("feedback", 40)
        assert [f["ack"] for f in running.wire["feedback"]] == [True] * 40


def test_a_walk_through_a_fading_channel_of_gr_channels(link, rng):
    fading = channels.selective_fading_model(8, 20 / 1e6, False, 4.0, 3, (0.0, 1.5, 4.0), (1.0, 0.7, 0.4), 12)
    with link(28, cfo_spacings=-0.2, channel=(fading,), gap_samples=400) as running:
        for seq in range(60):
            running.send(rng.bytes(64), seq=seq, mcs=1)
        assert running.wire.wait("feedback", 55)
        acks = [f["ack"] for f in running.wire["feedback"]]
        snr = [c["snr_db"] for c in running.wire["csi"]]
    assert np.mean(acks) > 0.9
    assert np.ptp(snr) > 1  # the reports follow the channel


def test_a_slot_starts_each_packet_at_its_multiple(rng):
    slot, top = 6000, gr.top_block()
    tx = amc_tx(slot_samples=slot, amplitude=0.5)
    sink = blocks.vector_sink_c()
    top.connect(tx, sink)
    top.start()
    for seq in range(3):
        metadata = pmt.to_pmt({"seq": seq, "mcs": 3 * seq})
        message = pmt.cons(metadata, pmt.init_u8vector(100, list(rng.bytes(100))))
        tx.framer.to_basic_block()._post(pmt.intern("pdu_in"), message)
    wait_until(lambda: len(sink.data()) >= 3 * slot)
    top.stop()
    top.wait()
    x = np.array(sink.data()).reshape(3, slot)
    for seq in range(3):
        length = framing.burst_samples(3 * seq, 100)
        assert np.mean(np.abs(x[seq, :length]) ** 2) == pytest.approx(0.25, rel=0.07)
        assert not x[seq, length:].any()
    tags = sorted((t.offset, str(t.key)) for t in sink.tags())
    # Packets that follow without a pause share one burst: the radio's tags enclose what is contiguous.
    assert tags[0] == (0, "tx_sob")
    assert tags[-1] == (3 * slot - 1, "tx_eob")
    assert [key for _, key in tags] == ["tx_sob", "tx_eob"] * (len(tags) // 2)
    assert all(offset % slot in (0, slot - 1) for offset, _ in tags)


def wait_until(condition, timeout_s=20.0):
    end = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)
    assert condition()


def test_stop_and_wait_gets_each_verdict_from_its_own_slot_alone(link, rng):
    slot = framing.burst_samples(0, 128) + 64
    with link(12, cfo_spacings=0.3, slot_samples=slot) as running:
        for seq in range(50):  # nothing but 64 samples of padding follows each packet
            running.send(rng.bytes(128), seq=seq, mcs=seq % 3)
            assert running.wire.wait("feedback", seq + 1, timeout_s=5), f"no verdict on packet {seq}"
        assert all(f["ack"] for f in running.wire["feedback"])


HOSTILE = {
    "not a PDU of bytes": [
        pmt.PMT_NIL,
        pmt.PMT_T,
        pmt.from_long(3),
        pmt.intern("x"),
        pmt.to_pmt({"seq": 1}),
        pmt.cons(pmt.to_pmt({"seq": 1}), pmt.init_f32vector(3, [1.0, 2.0, 3.0])),
        pmt.make_vector(3, pmt.PMT_NIL),
    ],
    "payload is empty": [pmt.cons(pmt.to_pmt({"seq": 1}), pmt.init_u8vector(0, []))],
    "payload over 4095 bytes": [pmt.cons(pmt.to_pmt({"seq": 1}), pmt.init_u8vector(4096, [0] * 4096))],
    "seq missing": [pmt.cons(pmt.PMT_NIL, pmt.init_u8vector(2, [1, 2]))],
    "seq not a long": [pmt.cons(pmt.to_pmt({"seq": s}), pmt.init_u8vector(1, [1])) for s in ("1", 1.0, True)],
    "seq out of range": [pmt.cons(pmt.to_pmt({"seq": s}), pmt.init_u8vector(1, [1])) for s in (-1, 2**32)],
    "mcs out of range": [
        pmt.cons(pmt.to_pmt({"seq": 1, "mcs": m}), pmt.init_u8vector(1, [1])) for m in (-1, 10, 2**40)
    ],
    "mcs not a long": [pmt.cons(pmt.to_pmt({"seq": 1, "mcs": math.nan}), pmt.init_u8vector(1, [1]))],
    "link out of range": [pmt.cons(pmt.to_pmt({"seq": 1, "link": 65536}), pmt.init_u8vector(1, [1]))],
}


def test_hostile_messages_are_counted_by_cause_and_the_next_packet_passes(link, rng):
    running = link(20, gap_samples=200)
    running.wire.hears(running.tx, "status", name="tx status")
    with running:
        for messages in HOSTILE.values():
            for message in messages:
                running.wire.put("pdu_in", message)
        running.send(b"still here", seq=9, mcs=4)
        assert running.wire.wait("pdu_out", 1)
        assert payloads_of(running.wire["pdu_out"]) == [(9, b"still here")]
        assert running.wire.wait("tx status", 1, 2)  # published while it runs, not only at the end
    dropped = running.wire["tx status"][-1]["dropped"]
    assert dropped == {f"pdu_in: {cause}": len(messages) for cause, messages in HOSTILE.items()}


def test_random_messages_never_stop_the_transmitter(link, rng):
    def anything(depth=0):
        kind = rng.integers(0, 9 if depth < 3 else 6)
        return [
            lambda: pmt.PMT_NIL,
            lambda: pmt.from_long(int(rng.integers(-(2**40), 2**40))),
            lambda: pmt.from_double(float(rng.choice([np.nan, np.inf, 1.5]))),
            lambda: pmt.intern(str(rng.choice(["seq", "mcs", "link", "x"]))),
            lambda: pmt.from_bool(bool(rng.integers(2))),
            lambda: pmt.init_u8vector(3, [1, 2, 3]),
            lambda: pmt.cons(anything(depth + 1), anything(depth + 1)),
            lambda: pmt.dict_add(pmt.make_dict(), anything(depth + 1), anything(depth + 1)),
            lambda: pmt.list2(anything(depth + 1), anything(depth + 1)),
        ][kind]()

    with link(20, gap_samples=200) as running:
        for _ in range(300):
            running.wire.put("pdu_in", anything())
        running.send(b"still here", seq=9)
        assert running.wire.wait("pdu_out", 1)
        assert payloads_of(running.wire["pdu_out"])[-1] == (9, b"still here")
        assert "pdu_in: internal" not in running.tx.framer.status()["dropped"]


def test_a_full_queue_and_a_short_slot_are_counted(rng):
    top = gr.top_block()
    tx = amc_tx(queue_packets=2, slot_samples=2000)
    throttle, sink = blocks.throttle(gr.sizeof_gr_complex, 1e4), blocks.null_sink(gr.sizeof_gr_complex)
    top.connect(tx, throttle, sink)
    top.start()
    entry = tx.framer.to_basic_block()
    for seq in range(200):  # 40 s of samples: the stream's buffers fill, then the queue
        entry._post(
            pmt.intern("pdu_in"), pmt.cons(pmt.to_pmt({"seq": seq, "mcs": 9}), pmt.init_u8vector(9, [1] * 9))
        )
    entry._post(
        pmt.intern("pdu_in"), pmt.cons(pmt.to_pmt({"seq": 0, "mcs": 0}), pmt.init_u8vector(500, [1] * 500))
    )
    wait_until(lambda: sum(tx.framer.dropped.as_dict().values()) + tx.framer.counters["sent"] == 201)
    dropped = tx.framer.status()["dropped"]
    assert dropped["pdu_in: burst longer than the slot"] == 1
    assert dropped["pdu_in: queue full"] > 100
    top.stop()
    top.wait()


def samples_through(x, wire, count=0):
    """Feed samples to a receiver; its counters and messages after all of them are taken."""
    top = gr.top_block()
    source, rx = blocks.vector_source_c(x.tolist()), amc_rx()
    top.connect(source, rx)
    listener = wire(top)
    listener.hears(rx, "feedback", "pdu_out", "csi", "status")
    top.start()
    wait_until(lambda: rx.idle_after(len(x)))
    listener.wait("feedback", count, 5)
    top.stop()
    top.wait()
    return rx.decode_mac.status(), listener


def test_samples_that_are_not_finite_are_replaced_and_counted(wire, make_bursts, awgn, rng):
    x, payloads = make_bursts(2, 6, rng, gap=300)
    x = awgn(x, 20, rng)
    each = len(x) // 6
    x[each + 700] = np.nan
    x[3 * each + 100 : 3 * each + 110] = np.inf
    x[5 * each - 50] = 1e30
    status, listener = samples_through(np.concatenate([x, np.zeros(100)]), wire, 6)
    assert status["bad_samples"] == 12
    feedback = {f["seq"]: f["ack"] for f in listener["feedback"]}
    assert all(feedback[seq] for seq in (0, 2, 4, 5))
    assert all(payloads[seq] == data for seq, data in payloads_of(listener["pdu_out"]))
    assert status["dropped"] == {}


def test_noise_yields_no_verdict(wire, rng):
    n = 3_000_000  # three seconds at the default sample rate
    top = gr.top_block()
    source = analog.noise_source_c(analog.GR_GAUSSIAN, 1.0, 5)
    head, rx = blocks.head(gr.sizeof_gr_complex, n), amc_rx()
    top.connect(source, head, rx)
    listener = wire(top)
    listener.hears(rx, "feedback", "csi", "pdu_out")
    top.start()
    wait_until(lambda: rx.idle_after(n), 60)
    top.stop()
    top.wait()
    assert not listener["feedback"]
    assert not listener["csi"]


def test_a_loud_channel_yields_nacks_not_silence(link, rng):
    with link(AT_10PCT[9] - 4, gap_samples=200) as running:
        for seq in range(20):
            running.send(rng.bytes(128), seq=seq, mcs=9)
        assert running.wire.wait("feedback", 20)
        assert [(f["seq"], f["ack"]) for f in running.wire["feedback"]] == [(s, False) for s in range(20)]
        assert not running.wire["pdu_out"]


def test_status_tells_what_happened(link, rng):
    with link(25, gap_samples=200) as running:
        for seq in range(5):
            running.send(rng.bytes(50), seq=seq, mcs=5)
        assert running.wire.wait("feedback", 5)
        running.wire.wait("status", 2, 2)
        status = running.wire["status"][-1]
    assert status["block"] == "amc_rx"
    assert {"detections", "header_failures", "resyncs"} <= set(status)
    assert running.tx.framer.status()["sent"] == 5
    assert running.rx.decode_mac.status()["acks"] == 5


def test_a_flowgraph_can_be_started_again(link, rng):
    running = link(20, gap_samples=300)
    for seq in range(2):
        with running:
            running.send(rng.bytes(30), seq=seq, mcs=3)
            assert running.wire.wait("feedback", seq + 1)
    assert [f["seq"] for f in running.wire["feedback"]] == [0, 1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"mcs": 10}, "mcs = 10"),
        ({"mcs": 1.5}, "mcs = 1.5"),
        ({"amplitude": 0}, "amplitude = 0"),
        ({"amplitude": math.nan}, "amplitude = nan"),
        ({"gap_samples": -1}, "gap_samples = -1"),
        ({"slot_samples": 10}, "slot_samples = 10"),
        ({"queue_packets": 0}, "queue_packets = 0"),
    ],
)
def test_bad_arguments_of_the_transmitter_are_named(arguments, words):
    with pytest.raises(ValueError, match=words):
        amc_tx(**arguments)


@pytest.mark.parametrize("arguments", [{"samp_rate": 0}, {"samp_rate": math.inf}, {"queue_packets": 0}])
def test_bad_arguments_of_the_receiver_are_named(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        amc_rx(**arguments)


def test_sample_power_follows_the_documented_conversion(rng):
    assert noise_power(0) == pytest.approx(64 / 52)
    assert noise_power(10, 0.25) == pytest.approx(0.25 * 6.4 / 52)
