# SPDX-License-Identifier: GPL-3.0-or-later
"""The USRP blocks: bursts and their tags, counts of what UHD tells, what is refused, and GRC's view."""

import inspect

import numpy as np
import pmt
import pytest
import yaml
from gnuradio import blocks, gr, lighttune

from flowgraph import Bench, message, post, running, until
from usrp.conftest import ROOT

BLOCKS = ["usrp_tx", "usrp_rx", "usrp_status", "packet_source"]


def bursts_of(slot=0, gap=0, count=4, length_tag="packet_len"):
    """Samples and tags of some packets of different lengths."""
    top = gr.top_block()
    tx = lighttune.amc_tx(gap_samples=gap, slot_samples=slot, length_tag=length_tag)
    sink = blocks.vector_sink_c()
    top.connect(tx, sink)
    with running(top):
        for seq in range(count):
            metadata = message(seq=seq, mcs=seq)
            post(tx.framer, "pdu_in", pmt.cons(metadata, pmt.init_u8vector(50 + seq, [seq] * (50 + seq))))
        until(lambda: tx.framer.status()["sent"] == count, "the packets")
        until(lambda: len(sink.data()) == tx.samples_sent, "their samples")
    return np.array(sink.data()), sorted((t.offset, str(t.key), pmt.to_python(t.value)) for t in sink.tags())


@pytest.mark.parametrize("spacing", [{}, {"gap": 300}, {"slot": 6000}])
def test_each_packet_is_a_burst_of_its_own_with_its_length(spacing):
    samples, tags = bursts_of(**spacing)
    assert {key for _, key, _ in tags} == {"packet_len"}
    starts, lengths = [t[0] for t in tags], [t[2] for t in tags]
    assert starts == [0, *np.cumsum(lengths)[:-1]]  # without a gap in the tags: none is "tG" to UHD
    assert sum(lengths) == len(samples)
    for start, end in zip(starts, np.cumsum(lengths), strict=True):
        assert samples[start] != 0
        assert (samples[end - 1] == 0) == bool(spacing)


def test_without_a_length_tag_there_are_start_and_end_tags_as_before():
    _, tags = bursts_of(length_tag="")
    assert {key for _, key, _ in tags} == {"tx_sob", "tx_eob"}


def event(*codes, **keys):
    symbols = pmt.PMT_NIL
    for code in codes:
        symbols = pmt.list_add(symbols, pmt.intern(code))
    return pmt.cons(pmt.intern("uhd_async_msg"), message(event_code=symbols, channel=0, **keys))


def test_events_are_counted_by_kind():
    bench = Bench(lighttune.usrp_status())
    with running(bench.top):
        for codes in (["underflow"], ["underflow_in_packet", "seq_error"], ["time_error"], ["burst_ack"]):
            bench.post("async_msgs", event(*codes))
        lost = message(overflows=pmt.from_uint64(3))
        bench.post("async_msgs", pmt.cons(pmt.intern("uhd_async_msg"), lost))
        bench.settle("async_msgs")
        status = bench.block.status()
        until(lambda: bench.said().get("overruns") == 3, "the status")
    wanted = {"underruns": 2, "sequence_errors": 1, "late": 1, "bursts": 1, "overruns": 3}
    assert {key: status[key] for key in wanted} == wanted


@pytest.mark.parametrize(
    ("garbage", "cause"),
    [
        (pmt.PMT_NIL, "not a pair"),
        (pmt.cons(pmt.PMT_T, pmt.PMT_T), "not a dict"),
        (pmt.cons(pmt.PMT_T, message(a=1)), "no event"),
        (pmt.cons(pmt.PMT_T, message(event_code=7)), "no event"),
        (event("earthquake"), "event unknown"),
    ],
)
def test_what_is_no_event_is_dropped_and_counted(garbage, cause):
    bench = Bench(lighttune.usrp_status())
    with running(bench.top):
        bench.post("async_msgs", garbage)
        until(lambda: bench.dropped(f"async_msgs: {cause}") == 1, cause)


@pytest.mark.parametrize("make", [lighttune.usrp_tx, lighttune.usrp_rx])
@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"uhd_args": "type=none"}, "uhd_args='type=none'"),
        ({"gain_db": 500.0}, "gain_db = 500"),
        ({"freq_hz": 7e10}, "freq_hz = 7e+10"),
        ({"antenna": "roof"}, "antenna = 'roof'"),
        ({"channel": 9}, "channel = 9"),
        ({"clock_source": "sun"}, "clock source 'sun'"),
        ({"samp_rate": 1e12}, "1e+12"),
    ],
)
def test_what_the_radio_cannot_do_is_said_in_one_line(make, wrong, named, radio):
    with pytest.raises(lighttune.UsrpError) as error:
        make(**{"uhd_args": radio(), **wrong})
    assert named in error.value.code
    assert "\n" not in error.value.code


@pytest.mark.parametrize("make", [lighttune.usrp_tx, lighttune.usrp_rx])
@pytest.mark.parametrize("wrong", [{"samp_rate": 0.0}, {"freq_hz": float("nan")}, {"channel": -1}])
def test_what_no_radio_can_do_is_a_value_error(make, wrong, radio):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        make(radio(), **wrong)


def test_the_settings_arrive_at_the_radio(radio):
    tx = lighttune.usrp_tx(radio(), samp_rate=2e6, freq_hz=2.45e9, gain_db=31.5, antenna="TX/RX", channel=1)
    rx = lighttune.usrp_rx(radio(), samp_rate=2e6, freq_hz=2.45e9, gain_db=12.0, antenna="TX/RX")
    for block, gain_db in ((tx.sink, 31.5), (rx.source, 12.0)):
        assert (block.get_samp_rate(), block.get_center_freq(), block.get_gain()) == (2e6, 2.45e9, gain_db)
        assert block.get_antenna() == "TX/RX"
    rx.set_gain(20.0)
    assert rx.status()["gain_db"] == rx.source.get_gain() == 20


@pytest.mark.parametrize("wrong", [{"n_bytes": 0}, {"period_s": 1.0}, {"packets": -1}])
def test_a_packet_source_refuses_what_it_cannot_do(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        lighttune.packet_source(**wrong)


def test_a_packet_source_sends_as_many_as_asked_and_the_same_ones_again():
    sent = []
    for _ in range(2):
        bench = Bench(lighttune.packet_source(n_bytes=20, period_s=0.001, packets=9, seed=3), "pdu_out")
        with running(bench.top):
            until(lambda bench=bench: len(bench.out["pdu_out"].messages) == 9, "nine packets")
        sent.append([bytes(data) for _, data in bench.out["pdu_out"].dicts()])
    assert sent[0] == sent[1]
    assert {len(packet) for packet in sent[0]} == {20}
    assert len(set(sent[0])) == 9


@pytest.mark.parametrize("name", BLOCKS)
def test_grc_knows_the_block_s_ports_and_parameters(name, radio):
    definition = yaml.safe_load((ROOT / "grc" / f"lighttune_{name}.block.yml").read_text())
    parameters = inspect.signature(getattr(lighttune, name)).parameters
    declared = {p["id"]: p["default"] for p in definition.get("parameters", [])}
    assert declared == {key: str(p.default) for key, p in parameters.items()}
    for parameter in declared:
        assert f"{parameter}=${{{parameter}}}" in definition["templates"]["make"]
    with_radio = name in ("usrp_tx", "usrp_rx")
    block = getattr(lighttune, name)(*[radio()] * with_radio)
    if not with_radio:  # those have the ports of what is within
        for ports, direction in (
            (block.message_ports_in(), "inputs"),
            (block.message_ports_out(), "outputs"),
        ):
            declared = {port["id"] for port in definition.get(direction, [])}
            assert declared == set(pmt.to_python(ports)) - {"system"}
    for key in block.status():
        assert key in definition["documentation"], key
