# SPDX-License-Identifier: GPL-3.0-or-later
"""More than the receiver can take: whole bursts are dropped and counted, and nothing grows."""

import time

import numpy as np
import pmt
import pytest
from gnuradio import blocks, gr
from gnuradio.lighttune.blocks.amc_rx import CHUNK, INTAKE, amc_rx
from gnuradio.lighttune.modem import framing

from patience import WAIT_S

BURSTS, COPIES = 40, 10
COUNT = BURSTS * COPIES
NO_RECEIVER_IS_THAT_FAST = 1e12  # samples per second


@pytest.fixture
def stream(make_bursts, awgn, rng):
    """400 short packets of MCS 9 back to back: three times as many samples as may wait for the receiver."""
    x, _ = make_bursts(9, BURSTS, rng, gap=40)
    x = np.concatenate([awgn(np.tile(x, COPIES), 35, rng, 0.2), np.zeros(100, np.complex64)])
    assert len(x) > 3 * INTAKE
    return x


def wait_until(condition, timeout_s=WAIT_S):
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def running(x, rx, wire):
    """A flowgraph that feeds the samples as fast as it can."""
    top = gr.top_block()
    top.connect(blocks.vector_source_c(x.tolist()), rx)
    listener = wire(top)
    listener.hears(rx, "feedback", "csi")
    top.start()
    return top, listener


def finish(top):
    top.stop()
    top.wait()


def test_too_fast_a_stream_loses_whole_bursts_and_every_burst_is_counted(stream, wire):
    rx = amc_rx(samp_rate=NO_RECEIVER_IS_THAT_FAST)
    top, listener = running(stream, rx, wire)
    wait_until(lambda: rx.idle_after(len(stream)))
    status = rx.decode_mac.status()
    judged = status["acks"] + status.get("nacks", 0)
    assert listener.wait("feedback", judged)
    assert listener.wait("csi", judged)
    finish(top)
    dropped = status["dropped"]["samples: receiver behind"]
    assert status["dropped"].keys() == {"samples: receiver behind"}
    assert judged + status["header_failures"] + dropped == COUNT
    assert status["acks"] > 0
    assert dropped > COUNT // 4
    assert len(listener["feedback"]) == len(listener["csi"]) == judged  # none for what was dropped
    missed = [f.get("missed", 0) for f in listener["feedback"]]  # but the next verdict tells how many
    assert dropped // 2 < sum(missed) <= dropped


def test_what_the_receiver_keeps_is_bounded_under_overload(stream, wire):
    rx = amc_rx(samp_rate=NO_RECEIVER_IS_THAT_FAST, queue_packets=4)
    top, _ = running(stream, rx, wire)
    most_packets = most_samples = 0
    end_s = time.monotonic() + WAIT_S
    while not rx.idle_after(len(stream)):
        assert time.monotonic() < end_s
        most_packets = max(most_packets, rx.decode_mac.waiting)
        most_samples = max(most_samples, len(rx.demodulator._receiver._buffer._memory))
    finish(top)
    assert most_packets <= 4 + CHUNK // framing.burst_samples(9, 128) + 1
    assert most_samples <= 1 << 16


def test_a_decoder_that_hangs_stops_neither_the_samples_nor_the_counting(stream, wire):
    rx = amc_rx(queue_packets=3)
    rx.msg_disconnect(rx.demodulator, "soft_bits", rx.decoder, "in")
    top, listener = running(stream, rx, wire)
    wait_until(lambda: rx.demodulator.nitems_read(0) >= len(stream))
    waiting = rx.decode_mac.waiting
    finish(top)
    status = rx.decode_mac.status()
    assert 3 <= waiting <= 3 + CHUNK // framing.burst_samples(9, 128) + 1
    assert status["dropped"]["samples: decoder behind"] > COUNT // 2
    assert sum(status["dropped"].values()) + status["header_failures"] + waiting == COUNT
    assert not listener["feedback"]


def test_samples_that_the_radio_lost_make_no_nack(make_bursts, awgn, rng, wire):
    x, _ = make_bursts(2, 6, rng, gap=300)
    x, each = awgn(x, 30, rng), len(x) // 6
    holes = [each + each // 2, 3 * each - 100]  # in packet 1, and over all of packet 3
    lengths = [each // 4, each]
    cut = np.concatenate([x[: holes[0]], x[holes[0] + lengths[0] : holes[1]], x[holes[1] + lengths[1] :]])
    stamps = [gr.tag_t() for _ in range(3)]
    for stamp, offset in zip(stamps, (0, holes[0], holes[1] - lengths[0]), strict=True):
        stamp.key, stamp.value, stamp.offset = pmt.intern("rx_time"), pmt.PMT_T, offset
    top, rx = gr.top_block(), amc_rx(on_overload="wait")
    cut = np.concatenate([cut, np.zeros(100, np.complex64)])
    top.connect(blocks.vector_source_c(cut.tolist(), tags=stamps), rx)
    listener = wire(top)
    listener.hears(rx, "feedback")
    top.start()
    wait_until(lambda: rx.idle_after(len(cut)))
    assert listener.wait("feedback", 4)
    finish(top)
    assert [(f["seq"], f["ack"], f.get("missed", 0)) for f in listener["feedback"]] == [
        (0, True, 0), (2, True, 1), (4, True, 1), (5, True, 0),
    ]  # fmt: skip
    assert rx.decode_mac.status()["dropped"] == {"samples: lost by the radio": 2}


def test_a_receiver_that_waits_loses_nothing(stream, wire):
    rx = amc_rx(samp_rate=NO_RECEIVER_IS_THAT_FAST, queue_packets=1, on_overload="wait")
    top, listener = running(stream, rx, wire)
    wait_until(lambda: rx.idle_after(len(stream)))
    assert listener.wait("feedback", COUNT)
    finish(top)
    assert [f["seq"] for f in listener["feedback"]] == list(range(BURSTS)) * COPIES
    assert all(f["ack"] for f in listener["feedback"])
    assert rx.decode_mac.status()["dropped"] == {}
