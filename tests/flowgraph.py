# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of the blocks build flowgraphs with: collectors, posts, and waits that end."""

import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import pmt
from gnuradio import gr

from patience import WAIT_S


class Collector(gr.basic_block):
    """Keeps what arrives on its one port, and when; what still waits when the flowgraph stops, too."""

    living: ClassVar["weakref.WeakSet[Collector]"] = weakref.WeakSet()

    def __init__(self) -> None:
        gr.basic_block.__init__(self, name="collector", in_sig=None, out_sig=None)
        self.messages: list[pmt.pmt_base] = []
        self.times_s: list[float] = []
        self.message_port_register_in(pmt.intern("in"))
        self.set_msg_handler(pmt.intern("in"), self.take)
        self.living.add(self)

    def take(self, message: pmt.pmt_base) -> None:
        self.times_s.append(time.monotonic())
        self.messages.append(message)

    def drain(self) -> None:
        """Take what GNU Radio has left in the queue: it ends a block's thread without a look there."""
        port, block = pmt.intern("in"), self.to_basic_block()
        while block.nmsgs(port):
            if (message := block.delete_head_nowait(port)) is not None:  # nobody else was faster
                self.take(message)

    def dicts(self) -> list[dict[str, Any]]:
        return [pmt.to_python(m) for m in self.messages]


class Bench:
    """A block in a flowgraph with a collector on each of its outputs, and whatever else the test connects."""

    def __init__(self, block: gr.basic_block, *outputs: str) -> None:
        self.block = block
        self.top = gr.top_block()
        self.out = {port: Collector() for port in (*outputs, "status")}
        for port, collector in self.out.items():
            self.top.msg_connect(block, port, collector, "in")

    def post(self, port: str, message: pmt.pmt_base) -> None:
        """Put a message into the block's queue, as a connection would."""
        post(self.block, port, message)

    def settle(self, port: str) -> None:
        """Wait until the block has handled everything that was posted to this port."""
        before = sum(self.block.status()["dropped"].values())
        self.post(port, pmt.intern("settle"))
        until(lambda: sum(self.block.status()["dropped"].values()) > before, f"{port} to settle")

    def report(self, **keys: Any) -> None:
        """Post a CSI report and wait until it is taken: GNU Radio keeps no order between ports."""
        before = self.block.status().get("reports", 0)
        self.post("csi", message(**keys))
        until(lambda: self.block.status().get("reports", 0) > before, "a report to be taken")

    def said(self) -> dict[str, Any]:
        """The last status that was published."""
        published = self.out["status"].messages
        return pmt.to_python(published[-1]) if published else {}

    def dropped(self, cause: str) -> int:
        """What the block has counted under that cause."""
        return self.block.status()["dropped"].get(cause, 0)


def post(block: gr.basic_block, port: str, message: pmt.pmt_base) -> None:
    block.to_basic_block()._post(pmt.intern(port), message)


@contextmanager
def running(top: gr.top_block) -> Iterator[gr.top_block]:
    """Run a flowgraph; when it has stopped, every `Collector` has all that was published for it."""
    top.start()
    try:
        yield top
    finally:
        top.stop()
        top.wait()
        for collector in list(Collector.living):
            collector.drain()


def until(condition: Callable[[], Any], what: str = "the condition", timeout_s: float = WAIT_S) -> Any:
    """Poll until the condition holds; fails after the time-out."""
    end_s = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < end_s, f"waited {timeout_s} s in vain for {what}"
        time.sleep(0.002)
    return value


def threads(name: str) -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith(name)]


def message(**keys: Any) -> pmt.pmt_base:
    """A PMT dict of plain values; a value that is a PMT already stays as it is."""
    result = pmt.make_dict()
    for key, value in keys.items():
        value = value if isinstance(value, pmt.pmt_base) else pmt.to_pmt(value)
        result = pmt.dict_add(result, pmt.intern(key), value)
    return result


def pdu(n_bytes: int = 128, **metadata: Any) -> pmt.pmt_base:
    return pmt.cons(message(**metadata), pmt.init_u8vector(n_bytes, [7] * n_bytes))


def floats(values: Any) -> pmt.pmt_base:
    values = [float(v) for v in values]
    return pmt.init_f32vector(len(values), values)
