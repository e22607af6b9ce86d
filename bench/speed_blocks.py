# SPDX-License-Identifier: GPL-3.0-or-later
"""Latency of the selector blocks, message in to message out, in a running flowgraph.

All chains stand in one flowgraph, each with its own selector, tuner and sink; one is driven at a time, for a
short while, and then the next: what disturbs the machine disturbs all alike. A chain that is not driven only
beats its heart. In each slot the selector gets a report and the feedback of the block before the last (its
tuner as well), then a PDU; its latency ends when a Python block has taken the PDU with its MCS.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pmt
from gnuradio import gr
from gnuradio.lighttune.blocks import _messages as m
from gnuradio.lighttune.blocks import mcs_selector, olla_selector, tuner
from gnuradio.lighttune.core.link_tuner import LinkTuner
from gnuradio.lighttune.core.mcs import McsTable
from gnuradio.lighttune.core.tuning import TuningPolicy

PACKET_BYTES = 128
FEEDBACK_DELAY = 2  # slots
_HUNG_S = 60.0

ECHO, ALONE, AGAIN = "a block that only passes on", "mcs_selector", "mcs_selector (once more)"
OLLA, THREAD, ALWAYS = "olla_selector", "with tuner", "with tuner, every block"
PROCESS = 'with tuner, mode="process", every block'


class Echo(gr.basic_block):
    """What passing messages from Python to Python costs by itself."""

    def __init__(self) -> None:
        gr.basic_block.__init__(self, name="echo", in_sig=None, out_sig=None)
        self._out = pmt.intern("pdu_out")
        self.message_port_register_in(pmt.intern("pdu_in"))
        self.message_port_register_out(self._out)
        self.set_msg_handler(pmt.intern("pdu_in"), self.pass_on)

    def pass_on(self, message: pmt.pmt_base) -> None:
        self.message_port_pub(self._out, message)


class Sink(gr.basic_block):
    """Notes when a PDU arrived, and its MCS."""

    def __init__(self) -> None:
        gr.basic_block.__init__(self, name="sink", in_sig=None, out_sig=None)
        self.arrived = threading.Event()
        self.at_s, self.mcs = 0.0, 0
        self.message_port_register_in(pmt.intern("in"))
        self.set_msg_handler(pmt.intern("in"), self.take)

    def take(self, message: pmt.pmt_base) -> None:
        self.at_s = time.perf_counter()
        metadata = pmt.car(message)
        if m.has(metadata, m.MCS):
            self.mcs = pmt.to_long(pmt.dict_ref(metadata, m.MCS, pmt.PMT_NIL))
        self.arrived.set()


def wander(snr_db: float, rng: np.random.Generator) -> float:
    """The next SINR of a walk that is turned back at 0 and 28 dB, and so never stands still."""
    return 28 - abs(28 - abs(snr_db + rng.normal(0, 0.7)))


@dataclass
class Chain:
    """A block under test with its sink, its tuner, and a channel of its own: reports are 1.5 dB too high."""

    block: Any
    tuner: Any = None
    seed: int = 0

    def __post_init__(self) -> None:
        self.sink, self._table = Sink(), McsTable.amc()
        self._rng = np.random.default_rng(self.seed)
        self._slot, self._snr_db = 0, 12.0
        self._acks: dict[int, bool] = {}
        self._pdu = pmt.cons(pmt.make_dict(), pmt.init_u8vector(PACKET_BYTES, [7] * PACKET_BYTES))

    def connect(self, top: gr.top_block) -> None:
        top.msg_connect(self.block, "pdu_out", self.sink, "in")
        if self.tuner is not None:
            top.msg_connect(self.block, "decision", self.tuner, "decision")
            top.msg_connect(self.tuner, "model", self.block, "model")

    def drive(self, n: int, period_s: float) -> np.ndarray:
        """Send ``n`` PDUs, one each ``period_s`` or, where that is 0, as soon as the last is through.

        Returns:
            seconds from a PDU's post to its arrival, ``(n,)``.
        """
        taken, due = np.empty(n), time.perf_counter()
        for i in range(n):
            self._tell()
            if period_s:
                _sleep_until(due + period_s / 2)  # report and feedback come before the next PDU
            taken[i] = self._send()
            due += period_s
            _sleep_until(due)
        return taken

    def _tell(self) -> None:
        if isinstance(self.block, Echo):
            return
        self._snr_db = wander(self._snr_db, self._rng)
        report = pmt.dict_add(pmt.make_dict(), m.SNR_DB, pmt.from_double(self._snr_db + 1.5))
        if self._slot:
            report = pmt.dict_add(report, m.SEQ, pmt.from_long(self._slot - 1))
        _post(self.block, "csi", report)
        ended = self._slot - FEEDBACK_DELAY
        if ended >= 0:
            feedback = m.feedback_message(0, ended, self._acks.pop(ended))
            for block in (self.block, self.tuner):
                if block is not None:
                    _post(block, "feedback", feedback)

    def _send(self) -> float:
        self.sink.arrived.clear()
        began = time.perf_counter()
        _post(self.block, "pdu_in", self._pdu)
        if not self.sink.arrived.wait(_HUNG_S):
            raise RuntimeError(f"{self.block}: no PDU within {_HUNG_S} s")
        bler = self._table.bler(self._snr_db, 8 * PACKET_BYTES)[self.sink.mcs]
        self._acks[self._slot] = bool(self._rng.random() >= bler)
        self._slot += 1
        return self.sink.at_s - began

    def losses(self) -> dict[str, int]:
        """Messages that selector and tuner could not use, by cause."""
        blocks = [block for block in (self.block, self.tuner) if block is not None]
        return {cause: n for block in blocks for cause, n in block.dropped.as_dict().items()}

    @property
    def models(self) -> int:
        """Weights that the selector took from the tuner."""
        return self.block.counters["models"]


def chains() -> dict[str, Chain]:
    """All that are compared; every selector has the same channel."""
    made = {
        ECHO: Chain(Echo()),
        OLLA: Chain(olla_selector()),
        ALONE: Chain(mcs_selector()),
        AGAIN: Chain(mcs_selector()),
        THREAD: Chain(mcs_selector(), tuner()),
        ALWAYS: Chain(mcs_selector(), tuner(always=True)),
    }
    return made | {PROCESS: Chain(mcs_selector(), tuner(always=True, mode="process"))}


def measure(rounds: int, n: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, int]]:
    """Latencies at 500 decisions/s and flat out, ``rounds`` times ``n`` and ``2 n`` of each
    chain; and the models that each selector took."""
    made = chains()
    top = gr.top_block()
    for chain in made.values():
        chain.connect(top)
    paced, flat_out = ({name: [] for name in made} for _ in range(2))
    top.start()
    try:
        time.sleep(1.0)  # the child of the process mode starts
        for turn in range(rounds + 1):  # the first warms up
            for name, chain in made.items():
                slow, fast = chain.drive(n, 0.002), chain.drive(2 * n, 0.0)
                if turn:
                    paced[name].append(slow)
                    flat_out[name].append(fast)
    finally:
        top.stop()
        top.wait()
    models = {name: chain.models for name, chain in made.items() if chain.tuner is not None}
    return *({k: np.array(v) for k, v in times.items()} for times in (paced, flat_out)), models


def profile(n: int) -> list[tuple[str, float]]:
    """What a PDU's way through the selector consists of: what, and its median in seconds, called directly."""
    selector = mcs_selector()
    pdu = pmt.cons(pmt.make_dict(), pmt.init_u8vector(PACKET_BYTES, [7] * PACKET_BYTES))
    report = pmt.dict_add(pmt.make_dict(), m.SNR_DB, pmt.from_double(12.0))
    feedback = [m.feedback_message(0, seq, True) for seq in range(n)]
    curves = np.zeros(selector.model.n_tuned, np.float32)
    model = m.model_message(0, 1, curves)
    selector.on_csi(report)
    adapter = selector.adapter(0)
    decision = adapter.select(8 * PACKET_BYTES, 0)

    def message(seq: int) -> pmt.pmt_base:
        return m.decision_message(
            0, seq, decision.mcs, decision.bler, decision.features, 0, False, 8 * PACKET_BYTES
        )

    tuning, learner = tuner(queue_limit=n), LinkTuner(selector.model, TuningPolicy(always=True))
    decided = [message(seq) for seq in range(n)]

    parts: dict[str, Callable[[int], Any]] = {
        "handler `pdu_in` as a whole": lambda i: selector.on_pdu_in(pdu),
        "- of that: `Link.select`": lambda i: adapter.select(8 * PACKET_BYTES, i),
        "- of that: read and check the PDU": lambda i: m.read_pdu(pdu),
        "- of that: build the `decision` message": message,
        "- of that: publish one message": lambda i: selector.publish("pdu_out", pdu),
        "handler `csi`": lambda i: selector.on_csi(report),
        "handler `feedback`": lambda i: selector.on_feedback(feedback[i]),
        f"handler `model` ({curves.size} numbers)": lambda i: selector.on_model(model),
        "the tuner's handler `decision`": lambda i: tuning.on_decision(decided[i]),
        "the tuner's handler `feedback`": lambda i: tuning.on_feedback(feedback[i]),
        "its worker: learn from one block": lambda i: learner.learn(0, decision.features, decision.mcs, True),
        "its worker: build the `model` message": lambda i: m.model_message(0, 1, curves),
    }
    rows = []
    for name, call in parts.items():
        taken = np.empty(n)
        for i in range(n):
            began = time.perf_counter()
            call(i)
            taken[i] = time.perf_counter() - began
        rows.append((name, float(np.median(taken))))
    return rows


def _post(block: Any, port: str, message: pmt.pmt_base) -> None:
    block.to_basic_block()._post(pmt.intern(port), message)


def _sleep_until(due_s: float) -> None:
    left = due_s - time.perf_counter()
    if left > 0:
        time.sleep(left)
