# SPDX-License-Identifier: GPL-3.0-or-later
"""SigMF captures of a real link, read and validated by the sigmf library."""

import json

import numpy as np
import pytest
import sigmf
from gnuradio import analog, blocks, gr, lighttune
from gnuradio.lighttune.records.sigmf_files import finish

from flowgraph import message, running, until

from .conftest import loopback

SAMP_RATE = 1e6


def captures(folder):
    return [sigmf.sigmffile.fromfile(str(path)) for path in sorted(folder.glob("*.sigmf-meta"))]


def test_a_link_s_samples_are_captured_without_a_gap_and_annotated(tmp_path):
    top = loopback()
    capture = lighttune.capture(tmp_path / "iq", SAMP_RATE, 2.4e9, segment_s=0.4)
    everything = blocks.file_sink(gr.sizeof_gr_complex, str(tmp_path / "all"), False)
    top.connect(top.adder, capture)
    top.connect(top.adder, everything)
    for source, port in ((top.selector, "decision"), (top.acks, "feedback"), (top.rx, "csi")):
        top.msg_connect(source, port, capture, port)
    with running(top):
        until(
            lambda: capture.status()["segments"] >= 3 and top.selector.status().get("acks", 0) > 60, "it", 60
        )
    everything.close()
    status = capture.status()
    assert status["dropped"] == {}
    files = captures(tmp_path / "iq")
    assert len(files) >= 2  # the last may have been begun too late for a sample
    assert not list((tmp_path / "iq").glob("*.events"))
    for file in files:
        file.validate()
        assert file.get_global_info()["core:sample_rate"] == SAMP_RATE
        assert file.get_captures()[0]["core:frequency"] == 2.4e9
        assert file.calculate_hash() == file.get_global_info()["core:sha512"]
    samples = np.concatenate([file.read_samples() for file in files])
    assert np.array_equal(samples, np.fromfile(tmp_path / "all", np.complex64)[: len(samples)])
    assert len(samples) == status["samples"]
    notes = [a for file in files for a in file.get_annotations()]
    assert [a["lighttune:seq"] for a in notes] == list(range(len(notes)))
    assert len(notes) > 60
    assert all(a["core:label"] == f"MCS {a['lighttune:mcs']}" for a in notes)
    ended = [a for a in notes if "lighttune:ack" in a]
    assert len(ended) > 0.8 * len(notes)  # but for those whose segment ended before
    measured = [a["lighttune:snr_db"] for a in notes if "lighttune:snr_db" in a]  # not of a lost header
    assert len(measured) > 0.8 * len(notes)
    assert all(-10 <= snr_db <= 60 for snr_db in measured)
    # Bursts are where the annotations are: the noise alone has a power of 0.01.
    starts = np.cumsum([0, *(file.sample_count for file in files)])
    where = [s + a["core:sample_start"] for s, file in zip(starts, files, strict=False)
             for a in file.get_annotations()]  # fmt: skip
    assert np.all(np.diff(where) >= 0)
    assert where[-1] < len(samples)


def steady(capture):
    top = gr.top_block()
    top.connect(
        analog.sig_source_c(SAMP_RATE, analog.GR_CONST_WAVE, 0, 1.0), blocks.throttle(8, SAMP_RATE), capture
    )
    return top


def test_at_the_limit_it_lets_samples_go_and_the_flowgraph_goes_on(tmp_path):
    capture = lighttune.capture(tmp_path, SAMP_RATE, limit_mb=2.0)
    with running(steady(capture)):
        until(lambda: not capture.status()["capturing"])
        samples = capture.status()["samples"]
        until(lambda: capture.valve.nitems_read(0) > samples + 300_000, "more samples than were kept")
        assert capture.status()["samples"] - samples < 100_000  # what was between the two blocks
    assert capture.status()["dropped"] == {"samples: limit": 1}
    (file,) = captures(tmp_path)
    assert file.sample_count >= 250_000


def test_what_was_killed_is_finished_later(tmp_path):
    data = tmp_path / "x-0001.sigmf-data"
    np.ones(100, np.complex64).tofile(data)
    events = data.with_suffix(".events")
    about = {"samp_rate": 1e6, "frequency": 0.0, "lighttune": "0", "datetime": "2026-01-01T00:00:00.0Z"}
    decided = {"link": 0, "seq": 1, "mcs": 2, "bler": 0.1}
    events.write_text(
        "\n".join(map(json.dumps, [about, decided | {"at": 7}, decided | {"at": 5000, "seq": 2}]))
        + '\n{"link": 0, "se'
    )
    assert finish(events).exists()
    (file,) = captures(tmp_path)
    file.validate()
    assert [a["core:sample_start"] for a in file.get_annotations()] == [7, 99]


def test_messages_without_a_number_and_bad_arguments(tmp_path):
    capture = lighttune.capture(tmp_path / "new", SAMP_RATE)
    annotator = capture.annotator
    annotator.on_csi(message(snr_db=3.0))
    annotator.on_decision(message(seq=3))
    assert annotator.status()["dropped"] == {"decision: mcs missing": 1}
    for argument in ({"samp_rate": 0}, {"segment_s": -1.0}, {"limit_mb": 0}, {"frequency": float("nan")}):
        with pytest.raises(ValueError, match=next(iter(argument))):
            lighttune.capture(**{"directory": tmp_path, "samp_rate": 1e6} | argument)
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        lighttune.capture(tmp_path / "file", SAMP_RATE)
