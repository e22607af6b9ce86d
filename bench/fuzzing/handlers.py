# SPDX-License-Identifier: GPL-3.0-or-later
"""The message handlers of all blocks as targets: called as GNU Radio calls them, every message accounted for.

A message is taken or dropped, and a drop is counted once, under a cause from a small set. An exception that
left a handler would end the block's thread; one that `MessageBlock.guard` caught as ``internal`` is a fault
of the block: both are findings.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pmt
from gnuradio import blocks, gr, lighttune
from gnuradio.lighttune.blocks import _messages as m
from gnuradio.lighttune.blocks._block import MessageBlock
from gnuradio.lighttune.core.tuning import N_FEATURES
from gnuradio.lighttune.net.feedback_frame import Report, encode

from . import Feed, Target
from .pmts import N_WEIGHTS, anything, floats, message, octets, vector
from .reader import Choices

MAX_CAUSES = 60
"""Causes of drops of one block at most: they come from fixed sets, whatever is sent."""

_LINKS = 8
_AT_ONCE = 8  # messages of an input


class Finding(AssertionError):
    """A block did what it must not do."""


@dataclass(frozen=True)
class Port:
    """A message port.

    Args:
        whole: keys and values of a message that is taken.
        pdu: it is the metadata of a PDU.
        taken: what the block counts of this port when it takes a message, a number that rises by one; None
            where it counts nothing of the kind.
        other: makes messages of another form than a dict or PDU.
    """

    whole: dict[str, Any] = field(default_factory=dict)
    pdu: bool = False
    taken: Callable[[Any], int] | None = None
    other: Callable[[Choices], pmt.pmt_base] | None = None


def _sum(*names: str) -> Callable[[MessageBlock], int]:
    return lambda block: sum(block.counters[name] for name in names)


class Handlers:
    """Feeds a block's handlers and holds the block to its accounts.

    Args:
        block: that has the handlers, not started.
        ports: all of its message inputs by name.
        settle: called after every message: what the block's thread would do.
        balance: raises a `Finding` if the block's sums are wrong.
    """

    def __init__(
        self,
        block: MessageBlock,
        ports: dict[str, Port],
        settle: Callable[[], None] = lambda: None,
        balance: Callable[[dict[str, int]], None] = lambda taken: None,
    ) -> None:
        self.block = block
        self._ports = ports
        self._settle, self._balance = settle, balance
        self._names = sorted(ports)
        self._handlers = {
            handler.port: getattr(block, name)
            for name in dir(type(block))
            if hasattr(handler := getattr(type(block), name), "port")
        }
        if set(self._handlers) != set(ports):
            raise Finding(f"{block.block_name} has ports {sorted(self._handlers)}, not {self._names}")
        self.put = dict.fromkeys(ports, 0)
        self.taken = dict.fromkeys(ports, 0)
        self._fed = 0
        block.publish = _check_published  # type: ignore[method-assign]

    def __call__(self, data: bytes) -> bool:
        choices, any_taken = Choices(data), False
        for _ in range(_AT_ONCE):
            name = choices.pick(self._names)
            any_taken |= self._post(name, _make(choices, self._ports[name]))
            if not choices:
                break
        self._balance(self.taken)
        self._fed += 1
        if self._fed % 256 == 1:
            pmt.to_pmt(self.block.status())  # what is counted can be published
            if len(self.block.dropped.as_dict()) > MAX_CAUSES:
                raise Finding(f"causes without end: {self.block.dropped.as_dict()}")
        return any_taken

    def _post(self, name: str, message: pmt.pmt_base) -> bool:
        block, port = self.block, self._ports[name]
        dropped = _dropped(block)
        count = port.taken(block) if port.taken else 0
        self._handlers[name](message)
        drops = _dropped(block) - dropped
        if block.dropped[f"{name}: internal"]:
            raise Finding(f"{name}: internal error at {_text(message)}")
        if drops not in (0, 1):
            raise Finding(f"{name}: {drops} drops counted for {_text(message)}")
        if port.taken and port.taken(block) - count != 1 - drops:
            raise Finding(f"{name}: neither taken nor dropped once: {_text(message)}")
        self.put[name] += 1
        self.taken[name] += 1 - drops
        self._settle()
        return drops == 0


def _text(message: pmt.pmt_base) -> str:
    """The message, for a finding."""
    return pmt.serialize_str(message).hex()[:500]  # its symbols need not be text


def _dropped(block: MessageBlock) -> int:
    return sum(block.dropped.as_dict().values())


def _make(choices: Choices, port: Port) -> pmt.pmt_base:
    how = choices.below(8)
    if how == 7:
        return anything(choices)
    if how >= 5 and port.other is not None:
        return port.other(choices)
    metadata = message(choices, port.whole)
    if not port.pdu:
        return metadata
    return pmt.cons(metadata, vector(choices) if choices.below(4) == 3 else octets(bytes(24)))


def _check_published(port: str, message: pmt.pmt_base) -> None:
    """Hold what a block says to what the next block needs."""
    if port == "decision":
        bler, features = m.read_real(message, m.BLER), m.read_floats(message, m.FEATURES, N_FEATURES, True)
        if not 0 < bler < 1 or not np.isfinite(features).all():
            raise Finding(f"decision: {_text(message)}")
    elif port == "feedback":
        m.read_feedback(message)
    elif port == "csi":
        m.read_link(message), m.read_snr_db(message)
    elif port == "model" and not m.has(message, m.HEARTBEAT):
        if not np.isfinite(m.read_floats(message, m.WEIGHTS, N_WEIGHTS)).all():
            raise Finding("model: weights not finite")
    elif port in ("pdu_out", "psdu_out"):
        m.read_pdu(message)


_FEEDBACK = {"link": 0, "seq": 3, "ack": True, "snr_db": 10.0, "attempt": 0, "time": 0.5}
_CSI = {"link": 0, "snr_db": 10.0, "seq": 3, "time": 0.5}
_MODEL = {"link": 0, "version": 1, "weights": floats([0.0] * N_WEIGHTS)}
_DECISION = {
    "link": 0, "seq": 3, "mcs": 4, "bler": 0.1, "features": floats([0.5] * N_FEATURES), "version": 0,
    "probe": False, "bits": 1024,
}  # fmt: skip


def _selector(block: MessageBlock, model: Callable[[Any], int] | None) -> Feed:
    return Handlers(
        block,
        {
            "csi": Port(_CSI, taken=_sum("reports")),
            "pdu_in": Port({"link": 0, "seq": 3}, pdu=True, taken=_sum("decisions")),
            "feedback": Port(_FEEDBACK, taken=_sum("acks", "nacks")),
            "model": Port(_MODEL, taken=model),
        },
    )


def _mcs_selector(_: Path) -> Feed:
    return _selector(lighttune.mcs_selector(max_links=_LINKS), None)  # heart-beats are not counted


def _olla_selector(_: Path) -> Feed:
    return _selector(lighttune.olla_selector("amc", max_links=_LINKS), None)


def _tuner(_: Path) -> Feed:
    block = lighttune.tuner(always=True, max_links=_LINKS, pending_limit=64)
    waiting = block._join

    def work() -> None:
        """The worker's round, without its waits."""
        now_s = time.monotonic()
        samples = block._gather(now_s)
        if samples:
            with block.guard("worker"):
                block._learner.learn(samples)
        block._learner.publish_due(now_s)
        for cause, n in waiting.losses(now_s).items():
            block.dropped.add(cause, n)

    def balance(taken: dict[str, int]) -> None:
        """Every outcome was learnt, says nothing, was refused, is lost, or waits."""
        learnt = block.counters["samples"] + block.counters["blind"] + block.counters["retransmissions"]
        refused = block.dropped["learn: too many links"]
        lost = block.dropped["feedback: no decision (unknown, late or duplicate)"]
        if learnt + refused + lost + len(waiting._ended) != taken["feedback"]:
            raise Finding(f"outcomes: {taken} put, but {block.status()}")

    ports = {"decision": Port(_DECISION), "feedback": Port(_FEEDBACK)}
    return Handlers(block, ports, work, balance)


def _ack_merge(_: Path) -> Feed:
    block = lighttune.ack_merge(timeout_s=0.001, max_links=_LINKS, max_waiting=1024)

    def balance(taken: dict[str, int]) -> None:
        """Every verdict is told, was of no block that was sent, or waits."""
        verdicts = sum(taken[port] for port in ("ok", "fail", "feedback"))
        links = block._links.values()
        kept = [b.verdict for link in links for b in (*link._blocks.values(), *link._early.values())]
        told = (
            _sum("verdicts", "retransmissions", "overruled")(block) + block.dropped["verdict: unknown block"]
        )
        if told + sum(verdict is not None for verdict in kept) != verdicts:
            raise Finding(f"verdicts: {taken} put, but {block.status()}")
        if len(kept) > 2 * 1024 * _LINKS + 1:
            raise Finding(f"{len(kept)} blocks are kept")
        block.tick()

    verdict, block_named = Port({"link": 0, "seq": 3}, pdu=True), {"link": 0, "seq": 3}
    ports = {
        "ok": verdict, "fail": verdict, "feedback": Port(_FEEDBACK | {"missed": 1}),
        "decision": Port(_DECISION), "sent": Port(block_named | {"start": 0.5, "time": 0.6}),
        "erasure": Port(block_named | {"erasure": True, "cause": "queue full"}),
    }  # fmt: skip
    return _Releasing(block, ports, balance=balance)


class _Releasing(Handlers):
    """Of a block that may count drops of earlier messages when it takes one."""

    def _post(self, name: str, message: pmt.pmt_base) -> bool:
        block = self.block
        before = _dropped(block) - block.dropped["verdict: unknown block"]
        self._handlers[name](message)
        drops = _dropped(block) - block.dropped["verdict: unknown block"] - before
        if block.dropped[f"{name}: internal"] or drops not in (0, 1):
            raise Finding(f"{name}: {block.dropped.as_dict()} at {_text(message)}")
        self.put[name] += 1
        self.taken[name] += 1 - drops
        return drops == 0


def _stop_and_wait(_: Path) -> Feed:
    block = lighttune.stop_and_wait(timeout_s=0.001, queue_packets=4)

    def balance(taken: dict[str, int]) -> None:
        block.tick()
        if block.counters["sent"] + len(block._queue) != taken["pdu_in"]:
            raise Finding(f"PDUs: {taken} put, but {block.status()}")

    ports = {
        "pdu_in": Port({"link": 0, "seq": 3}, pdu=True),
        "decision": Port(_DECISION),
        "feedback": Port(_FEEDBACK),
    }
    return Handlers(block, ports, balance=balance)


def _amc_tx(_: Path) -> Feed:
    tx = lighttune.amc_tx(queue_packets=4)
    whole = Port({"link": 0, "seq": 3, "mcs": 4}, pdu=True, taken=_sum("sent"))
    feed = Handlers(tx.framer, {"pdu_in": whole}, balance=lambda _: tx.stream.stop() and None)  # all is sent
    feed.whole = tx  # type: ignore[attr-defined]
    return feed


def _feedback_to_pdu(_: Path) -> Feed:
    block = lighttune.feedback_to_pdu(max_links=_LINKS)
    return Handlers(block, _feedback_in(), balance=lambda _: block.tick())


def _feedback_sender(_: Path) -> Feed:
    return Handlers(lighttune.feedback_sender(max_links=_LINKS), _feedback_in())


def _feedback_in() -> dict[str, Port]:
    return {"csi": Port(_CSI, taken=_sum("reports")), "feedback": Port(_FEEDBACK, taken=_sum("verdicts"))}


def _pdu_to_feedback(_: Path) -> Feed:
    def frame(choices: Choices) -> pmt.pmt_base:
        epoch, told = choices.below(3), int.from_bytes(choices.take(4), "little")
        ack = int.from_bytes(choices.take(4), "little") & told
        seq = choices.integer() % 2**32
        report = Report(
            choices.below(12), epoch, choices.integer() % 2**32, seq, 32, told, ack, ((seq, 10.0),)
        )
        data = bytearray(encode(report))
        if choices.below(2):
            data[choices.below(len(data))] = choices.below(256)
        return pmt.cons(pmt.make_dict(), octets(bytes(data)))

    block = lighttune.pdu_to_feedback(max_links=_LINKS)
    return Handlers(block, {"pdu_in": Port(pdu=True, taken=lambda b: b.reader.counts["frames"], other=frame)})


def _usrp_status(_: Path) -> Feed:
    def event(choices: Choices) -> pmt.pmt_base:
        codes = pmt.PMT_NIL
        for _ in range(choices.below(4)):
            code = choices.pick((pmt.intern("underflow"), pmt.intern("time_error"), pmt.intern("x")))
            codes = pmt.cons(code if choices.below(2) else anything(choices, 1), codes)
        found = message(choices, {"event_code": codes})
        return pmt.cons(pmt.intern("uhd_async_msg"), found)

    return Handlers(lighttune.usrp_status(), {"async_msgs": Port({"event_code": 1}, other=event)})


def _ieee802_11_link(_: Path) -> Feed:
    phy = _Phy()
    block = lighttune.ieee802_11_link(phy, timeout_s=0.01)

    def psdu(choices: Choices) -> pmt.pmt_base:
        payload = bytes(24) if choices.below(2) else choices.take(choices.below(64))
        return pmt.cons(message(choices, {}), octets(b"\x08" + payload + bytes(4 * choices.below(2))))

    ports = {
        "pdu_in": Port({"link": 0, "seq": 3, "mcs": 2}, pdu=True, taken=lambda b: b._number),
        "psdu_in": Port(pdu=True, taken=_sum("sent"), other=psdu),
        "mac_out": Port(pdu=True, other=psdu),
    }
    feed = Handlers(block, ports, balance=lambda _: block.tick())
    feed.whole = phy  # type: ignore[attr-defined]
    return feed


class _Phy(gr.top_block):
    """Blocks of gr-ieee802-11's names, of which nothing comes."""

    def __init__(self) -> None:
        super().__init__()
        self.ieee802_11_mapper_0 = self
        self.ieee802_11_decode_mac_0 = self
        self.ieee802_11_frame_equalizer_0 = blocks.null_source(48)

    def set_encoding(self, encoding: int) -> None:
        if not 0 <= encoding <= 7:
            raise Finding(f"set_encoding({encoding}) would end the mapper")

    def nmsgs(self, port: pmt.pmt_base) -> int:
        return 0

    def nitems_read(self, which: int) -> int:
        return 10**6


def _seeds() -> list[bytes]:
    rng = np.random.default_rng(6)
    return [bytes(size) for size in (1, 8)] + [rng.bytes(int(n)) for n in rng.integers(8, 200, 30)]


TARGETS = [
    Target(f"block {make.__name__[1:]}", make, _seeds, 512)
    for make in (
        _mcs_selector, _olla_selector, _tuner, _ack_merge, _stop_and_wait, _amc_tx, _feedback_to_pdu,
        _feedback_sender, _pdu_to_feedback, _usrp_status, _ieee802_11_link,
    )
]  # fmt: skip
"""One for each block with message inputs that it handles itself; see `taps` for those that only hand over."""
