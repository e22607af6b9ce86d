# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole loop of blocks around a toy PHY: reports, decisions, outcomes and tuning, as messages."""

import numpy as np
import pmt
import pytest
from gnuradio import gr, lighttune
from gnuradio.lighttune.core.mcs import McsTable

from flowgraph import message, pdu, post, running, until

TABLE = McsTable.nr_pdsch(1)
PACKETS = 1200


class ToyPhy(gr.basic_block):
    """Sends nothing: draws each block's fate from the table's BLER at the true SNR, reports SNR with a bias.

    Stop and wait: a feedback asks the next PDU of the source (the block itself, on ``pdu``).
    """

    def __init__(self, rng: np.random.Generator, bias_db: float, lose: float = 0.0) -> None:
        gr.basic_block.__init__(self, name="toy_phy", in_sig=None, out_sig=None)
        self.rng, self.bias_db, self.lose = rng, bias_db, lose
        self.snr_db = 12.0
        self.log: list[tuple[int, bool]] = []
        self.lost = 0
        for port, handler in (("sent", self.on_sent), ("next", self.on_next)):
            self.message_port_register_in(pmt.intern(port))
            self.set_msg_handler(pmt.intern(port), handler)
        for port in ("pdu", "csi", "ok", "fail"):
            self.message_port_register_out(pmt.intern(port))

    def on_next(self, _message):
        if len(self.log) + self.lost < PACKETS:
            self.snr_db += 0.9 * (12.0 - self.snr_db) * 0.1 + self.rng.normal(0, 0.3)
            report = message(snr_db=self.snr_db + self.bias_db)
            self.message_port_pub(pmt.intern("csi"), report)
            self.message_port_pub(pmt.intern("pdu"), pdu(128))

    def on_sent(self, sent):
        metadata = pmt.to_python(pmt.car(sent))
        if self.rng.random() < self.lose:
            self.lost += 1
            return
        ack = self.rng.random() >= TABLE.bler(self.snr_db, 1024)[metadata["mcs"]]
        self.log.append((metadata["mcs"], ack))
        self.message_port_pub(pmt.intern("ok" if ack else "fail"), sent)

    def goodput(self) -> float:
        """Mean bits per symbol of the last two thirds."""
        gain = TABLE.goodput_if_acked(1024)
        return float(np.mean([gain[mcs] * ack for mcs, ack in self.log[len(self.log) // 3 :]]))

    def nacks(self) -> float:
        return float(np.mean([not ack for _, ack in self.log[len(self.log) // 3 :]]))


def loop(selector, rng, bias_db, tuner=None, lose=0.0, **merge):
    """Run all packets; returns the PHY and the merger."""
    phy, merger, top = ToyPhy(rng, bias_db, lose), lighttune.ack_merge(**merge), gr.top_block()
    top.msg_connect(phy, "pdu", selector, "pdu_in")
    top.msg_connect(phy, "csi", selector, "csi")
    top.msg_connect(selector, "pdu_out", phy, "sent")
    top.msg_connect(selector, "decision", merger, "decision")
    top.msg_connect(phy, "ok", merger, "ok")
    top.msg_connect(phy, "fail", merger, "fail")
    top.msg_connect(merger, "feedback", selector, "feedback")
    top.msg_connect(merger, "feedback", phy, "next")
    top.msg_connect(merger, "erasure", phy, "next")
    if tuner is not None:
        top.msg_connect(selector, "decision", tuner, "decision")
        top.msg_connect(merger, "feedback", tuner, "feedback")
        top.msg_connect(tuner, "model", selector, "model")
    with running(top):
        post(phy, "next", pmt.PMT_T)
        until(lambda: len(phy.log) + phy.lost == PACKETS, "all packets")
        ends = ("verdicts", "timeouts", "erasures")
        until(lambda: sum(merger.status().get(end, 0) for end in ends) == PACKETS, "every block's end")
    return phy, merger


def test_olla_settles_at_its_target_whatever_the_bias_of_the_reports():
    for bias_db in (-3.0, 3.0):
        selector = lighttune.olla_selector(TABLE, target=0.1)
        phy, _ = loop(selector, np.random.default_rng(7), bias_db)
        assert phy.nacks() == pytest.approx(0.1, abs=0.03)  # 1000 blocks: one standard deviation is 0.01
        assert selector.status()["dropped"] == {}


def test_reports_that_are_4_db_too_high_are_found_out_and_said(plain_model):
    selector = lighttune.mcs_selector(plain_model)
    tuner = lighttune.tuner(plain_model)
    phy, merger = loop(selector, np.random.default_rng(7), 4.0, tuner)
    assert phy.nacks() < 0.25  # 4 dB too high is some four MCS too high
    assert selector.link_status(0).offset_db == pytest.approx(-4.0, abs=1.0)
    assert "dB too high" in selector.status()["beliefs"]["0"]["says"]
    assert merger.status()["verdicts"] == PACKETS
    for block in (selector, tuner, merger):
        assert block.status()["dropped"] == {}


@pytest.mark.parametrize("on_timeout", ["nack", "erasure"])
def test_a_block_that_is_lost_without_a_trace_does_not_stop_the_loop(plain_model, on_timeout):
    selector = lighttune.mcs_selector(plain_model)
    rng = np.random.default_rng(7)
    phy, merger = loop(selector, rng, 0.0, lose=0.02, timeout_s=0.02, on_timeout=on_timeout)
    status = merger.status()
    told = status["timeouts" if on_timeout == "nack" else "erasures"]
    assert phy.lost > 10
    assert status["verdicts"] + told == PACKETS
    # A verdict may also be late on a busy machine: then it is counted as such (but for the last one's, which
    # may come when all has stopped), and nothing is counted twice.
    assert told - phy.lost - sum(status["dropped"].values()) in (0, 1)
