# SPDX-License-Identifier: GPL-3.0-or-later
"""A log of the reference modem's link, made by a real flowgraph."""

import importlib.util
from pathlib import Path

import pytest
from gnuradio import lighttune

from flowgraph import running, until

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
BLOCKS = 400


def loopback():
    """The example's flowgraph: a packet every 10 ms."""
    spec = importlib.util.spec_from_file_location("loopback", EXAMPLES / "loopback_lighttune.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.loopback_lighttune()


def tap(top, block):
    """Connect the link's messages to a telemetry or a recorder block."""
    for source, port in ((top.rx, "csi"), (top.selector, "decision"), (top.acks, "feedback"),
                         (top.tuner, "model"), (top.selector, "status"), (top.tuner, "status"),
                         (top.rx, "status")):  # fmt: skip
        top.msg_connect(source, port, block, port)


def ended(selector):
    """Blocks that the selector was told the end of."""
    status = selector.status()
    return status.get("acks", 0) + status.get("nacks", 0)


def erased(acks):
    """Blocks that nothing is known of."""
    return acks.status().get("erasures", 0)


@pytest.fixture(scope="session")
def ofdm_log(tmp_path_factory):
    """Folder of a log with one session of `BLOCKS` blocks or more, rotated at least once; and what the blocks
    of the flowgraph counted."""
    folder = tmp_path_factory.mktemp("ofdm")
    top = loopback()
    recorder = lighttune.recorder(folder, model="amc", rotate_s=1.0)
    tap(top, recorder)
    with running(top):
        until(lambda: top.selector.status().get("acks", 0) >= BLOCKS, "the packets")
        # Let everything that is under way arrive, so that the log and the blocks' counters must agree.
        top.packets.stop()
        until(lambda: top.selector.status()["decisions"] == top.packets.sent, "every decision")
        until(lambda: ended(top.selector) + erased(top.acks) == top.packets.sent, "every block's end")
        until(lambda: recorder.status()["rows"]["decision"] == top.packets.sent, "the decisions' rows")
        told = top.packets.sent - erased(top.acks)
        until(lambda: recorder.status()["rows"]["feedback"] == told, "the verdicts' rows")
    return folder, {block: getattr(top, block).status() for block in ("selector", "acks")}, recorder.status()
