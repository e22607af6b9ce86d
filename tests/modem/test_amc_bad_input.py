# SPDX-License-Identifier: GPL-3.0-or-later
"""Hostile messages, bad samples, noise and bad arguments: counted, refused, survived."""

import math
import time

import numpy as np
import pmt
import pytest
from gnuradio import analog, blocks, gr
from gnuradio.lighttune.blocks.amc_rx import amc_rx
from gnuradio.lighttune.blocks.amc_tx import amc_tx

from patience import WAIT_S


def payloads_of(messages):
    return [(meta["seq"], bytes(data)) for meta, data in messages]


def wait_until(condition, timeout_s=WAIT_S):
    end = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)
    assert condition()


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
        counted = {f"pdu_in: {cause}": len(messages) for cause, messages in HOSTILE.items()}
        # Published while it runs, not only at the end.
        wait_until(lambda: [s for s in running.wire["tx status"] if s["dropped"] == counted])


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


def samples_through(x, wire, count):
    """Feed samples to a receiver; its counters and messages after all of them are taken."""
    top = gr.top_block()
    source, rx = blocks.vector_source_c(x.tolist()), amc_rx(on_overload="wait")
    top.connect(source, rx)
    listener = wire(top)
    listener.hears(rx, "feedback", "pdu_out", "csi", "status")
    top.start()
    wait_until(lambda: rx.idle_after(len(x)))
    assert listener.wait("feedback", count)
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
    wait_until(lambda: rx.idle_after(n))
    top.stop()
    top.wait()
    assert not listener["feedback"]
    assert not listener["csi"]


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


@pytest.mark.parametrize(
    "arguments", [{"samp_rate": 0}, {"samp_rate": math.inf}, {"queue_packets": 0}, {"on_overload": "hope"}]
)
def test_bad_arguments_of_the_receiver_are_named(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        amc_rx(**arguments)
