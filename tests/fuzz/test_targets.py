# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever comes from outside is taken or refused as documented; the long run is `bench/fuzz.py`."""

import os
import subprocess
import sys
import time
import tracemalloc
import warnings
from pathlib import Path

import pytest
from gnuradio.lighttune import blocks
from gnuradio.lighttune.blocks._block import MessageBlock
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzzing import reader
from fuzzing.handlers import Finding
from fuzzing.targets import TARGETS
from patience import HANG_S

BENCH = Path(__file__).parents[2] / "bench"
NO_HANDLERS = {"amc_rx", "packet_source", "UsrpError"}
"""Blocks without message inputs; `amc_rx`'s samples are the target "modem receiver"."""
SAME_HANDLERS = {
    "telemetry": "block telemetry, recorder, panel",
    "recorder": "block telemetry, recorder, panel",
    "feedback_receiver": "feedback frame",
    "usrp_rx": "block usrp_status",
    "usrp_tx": "block usrp_status",
    "capture": "block telemetry, recorder, panel",
}
"""Blocks whose handlers only hand over to what is fuzzed under another name."""


@st.composite
def spoilt(draw, seeds):
    """One of the seeds with a few of its bytes changed, inserted, repeated or cut off."""
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        how = draw(st.sampled_from(("change", "insert", "cut", "repeat")))
        if how == "change" and at < len(data):
            data[at] = draw(st.integers(0, 255))
        elif how == "insert":
            data[at:at] = draw(st.binary(max_size=8))
        elif how == "cut":
            del data[at : at + draw(st.integers(1, 64))]
        else:
            data[at:at] = data[at : at + draw(st.integers(1, 64))]
    return bytes(data)


@pytest.mark.parametrize("name", TARGETS)
def test_hostile_input_is_taken_or_refused_as_documented(name, tmp_path):
    target = TARGETS[name]
    feed, seeds = target.make(tmp_path), target.seeds()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert any([feed(seed) for seed in seeds]), "no seed is taken: the target tests nothing"

        @settings(
            max_examples=round(150 * target.share), database=None,
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(st.one_of(spoilt(seeds), spoilt(seeds), st.binary(max_size=256)))
        def bombard(data):
            feed(data[: target.largest])

        bombard()


def test_every_block_with_message_inputs_is_a_target():
    for name in blocks.__all__:
        if name not in NO_HANDLERS:
            assert SAME_HANDLERS.get(name, f"block {name}") in TARGETS, f"{name} is not fuzzed"


@pytest.mark.parametrize("name", ["wire format", "telemetry frame", "tensors", "modem header"])
def test_no_input_makes_a_reader_take_more_memory_than_it_has_bytes_by_far(name, tmp_path):
    target = TARGETS[name]
    feed, seeds = target.make(tmp_path), target.seeds()
    feed(seeds[0])
    huge = [
        seed[:at] + b"\xff\xff\xff\x7f" + seed[at + 4 :] for seed in seeds for at in range(0, len(seed), 3)
    ]
    tracemalloc.start()
    began_s = time.monotonic()
    try:
        for data in huge:
            feed(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4e6
    assert time.monotonic() - began_s < HANG_S  # a hang, not a speed


def test_a_block_that_miscounts_or_raises_is_a_finding():
    """The harness itself: it sees what it is there to see."""
    from gnuradio.lighttune.blocks._block import handles

    from fuzzing.handlers import Handlers, Port

    class Faulty(MessageBlock):
        def __init__(self, fault):
            super().__init__("faulty", ())
            self.fault = fault

        @handles("in")
        def on_in(self, message):
            self.fault(self)

    def twice(block):
        block.dropped.add("a")
        block.dropped.add("b")

    faults = (
        lambda block: 1 / 0,  # caught by the guard, but a fault
        lambda block: None,  # neither taken nor dropped
        twice,
        lambda block: (block.counters.add("taken"), block.dropped.add("a")),
    )
    for fault in faults:
        feed = Handlers(Faulty(fault), {"in": Port(taken=lambda block: block.counters["taken"])})
        with pytest.raises(Finding):
            feed(b"\0")
    Handlers(Faulty(lambda b: b.counters.add("taken")), {"in": Port(taken=lambda b: b.counters["taken"])})(
        b"\0"
    )


def test_the_same_bytes_make_the_same_choices():
    first, second = (reader.Choices(bytes(range(64))) for _ in range(2))
    assert [first.integer() for _ in range(9)] == [second.integer() for _ in range(9)]
    assert not reader.Choices(b"")
    assert reader.Choices(b"").take(2) == b"\0\0"


def test_the_coverage_guided_run_works_and_writes_its_page(tmp_path):
    pytest.importorskip("atheris", reason="atheris has no package for this Python")
    command = [sys.executable, "bench/fuzz.py", "--inputs", "20000", "--only", "wire format"]
    done = subprocess.run(
        [*command, "--out", str(tmp_path)], cwd=BENCH.parent, capture_output=True, text=True, timeout=HANG_S,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    row = next(line for line in (tmp_path / "fuzz.md").read_text().splitlines() if "wire format" in line)
    _, _, inputs, taken, edges, _, _, findings, _ = (cell.strip() for cell in row.split("|"))
    assert int(inputs) > 300
    assert int(edges) > 30
    assert taken != "0 %"
    assert findings == "0"
