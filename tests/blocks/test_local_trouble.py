# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes wrong in the hosts, with the real modem: none of it is told as a NACK."""

import pytest
from gnuradio import blocks, gr, lighttune

from flowgraph import Collector, message, pdu, post, running, until

SLOW = 50e3  # samples per second: some 41 packets
N = 150


class Path(gr.top_block):
    """Packets that are posted through transmitter, throttle and receiver, and what is told of them."""

    def __init__(self, wired=True, **merge):
        super().__init__()
        self.tx, self.rx = lighttune.amc_tx(mcs=4, queue_packets=64), lighttune.amc_rx(on_overload="wait")
        self.acks = lighttune.ack_merge(**merge)
        self.connect(self.tx, blocks.throttle(gr.sizeof_gr_complex, SLOW), self.rx)
        self.msg_connect(self.rx, "feedback", self.acks, "feedback")
        if wired:
            self.msg_connect(self.tx, "sent", self.acks, "sent")
            self.msg_connect(self.tx, "erasure", self.acks, "erasure")
        self.told = {}
        for name, block in (("sent", self.tx), ("feedback", self.acks), ("erasure", self.acks)):
            self.told[name] = Collector()
            self.msg_connect(block, name, self.told[name], "in")

    def offer(self, n):
        for seq in range(n):
            post(self.acks, "decision", message(seq=seq))
            post(self.tx.framer, "pdu_in", pdu(128, seq=seq))

    def __getitem__(self, name):
        return self.told[name].dicts()


@pytest.mark.parametrize("wired", [True, False])
def test_packets_that_wait_for_the_transmitter_longer_than_the_time_out_are_no_nacks(wired):
    path = Path(wired, timeout_s=0.5)
    with running(path):
        path.offer(N)
        until(lambda: path.acks.status()["waiting"] == 0 and path.rx.idle_after(path.tx.samples_sent))
        until(lambda: len(path.told["feedback"].messages) + len(path.told["erasure"].messages) == N)
    accepted = path.tx.framer.status()["sent"]
    assert 64 <= accepted < N
    assert not [f for f in path["feedback"] if not f["ack"]]
    if wired:  # how late a verdict may come is a matter of the machine: it may be erased, and is no NACK
        causes = [e["cause"] for e in path["erasure"]]
        assert causes.count("queue full") == N - accepted
        assert set(causes) <= {"queue full", "no verdict"}
        refused = {e["seq"] for e in path["erasure"] if e["cause"] == "queue full"}
        assert [e["seq"] for e in path["sent"]] == [seq for seq in range(N) if seq not in refused]


def test_the_transmitter_tells_when_each_packet_went_and_which_will_not():
    path = Path(timeout_s=100.0)
    with running(path):
        path.offer(40)
        post(path.tx.framer, "pdu_in", pdu(4096, seq=40))
        post(path.acks, "decision", message(seq=40))
        until(lambda: len(path["sent"]) == 40)
        until(lambda: path.acks.status()["waiting"] == 0)
    sent = path["sent"]
    assert [s["seq"] for s in sent] == list(range(40))
    assert all(s["start"] <= s["time"] for s in sent)
    # 40 packets at 50 ksps; what the throttle may take ahead of its pace at the start is no longer than this
    burst_s = path.tx.samples_sent / 40 / SLOW
    assert sent[-1]["time"] - sent[0]["time"] > 0.5 * 39 * burst_s
    assert [(e["seq"], e["cause"]) for e in path["erasure"]] == [(40, "payload over 4095 bytes")]
    assert all(f["ack"] for f in path["feedback"])
    assert len(path["feedback"]) == 40
