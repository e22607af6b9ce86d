# SPDX-License-Identifier: GPL-3.0-or-later
"""The report: one file that needs nothing else, with the log's own figures, whatever is in the log."""

import base64
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from gnuradio.lighttune.cli.main import main
from gnuradio.lighttune.core.link_files import load_model
from gnuradio.lighttune.records.log import blocks_of, sessions
from gnuradio.lighttune.records.report import html
from gnuradio.lighttune.records.summary import bler_over_time, summarise
from gnuradio.lighttune.records.writer import LogWriter

TABLE = load_model("amc").table


class Page(HTMLParser):
    """Checks that tags are balanced; keeps the texts, the tables' rows and the images."""

    def __init__(self, text):
        super().__init__()
        self.open, self.rows, self.texts, self.images = [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        if tag == "img":
            self.images.append(base64.b64decode(dict(attrs)["src"].partition("base64,")[2]))
        elif tag != "meta":
            self.open.append(tag)
            if tag == "tr":
                self.rows.append([])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1].append(data)


def test_a_real_link_s_report_holds_its_figures_and_needs_nothing_else(ofdm_log, tmp_path, capsys):
    folder, *_ = ofdm_log
    out = tmp_path / "report.html"
    assert main(["report", str(folder), "--out", str(out)]) == 0
    assert str(out) in capsys.readouterr().out
    text = out.read_text()
    assert not re.search(r"https?:|//|url\(|<script|<link", re.sub(r"base64,[^']*", "", text))
    page = Page(text)
    assert len(page.images) == 4
    assert all(image.startswith(b"\x89PNG") for image in page.images)
    (session,) = sessions([folder])
    blocks = blocks_of(session)
    link = next(row for row in page.rows if row[0] == "0")
    assert link[1] == f"{len(blocks):,}"
    assert float(link[5]) == pytest.approx(100 * (~blocks.ack[blocks.ended]).mean(), abs=0.01)
    assert float(link[6]) == pytest.approx(100 * blocks.bler[blocks.ended].mean(), abs=0.01)
    assert f"{len(blocks):,}" in page.texts
    assert session.name in page.texts[3] or any(session.name in t for t in page.texts)


def event(writer, seq, link=0, ack=True, bler=0.1, mcs=3, time_s=0.0, version=1, **more):
    fields = {"link": link, "seq": seq, "mcs": mcs, "bler": bler, "version": version, "probe": False,
              "features": np.empty(0, np.float32)}  # fmt: skip
    writer.write("decision", fields | more, time_s)
    writer.write("feedback", {"link": link, "seq": seq, "ack": ack, "attempt": 0}, time_s + 0.01)


def test_sessions_stand_one_behind_the_other_and_states_are_theirs(tmp_path):
    for begin in (1e9, 2e9):  # thirty years apart
        writer = LogWriter(tmp_path, load_model("amc"))
        for seq in range(100):
            event(writer, seq, time_s=begin + seq / 10, ack=seq % 4 > 0, bits=1000)
        tuner = {"block": "tuner", "state": {"0": {"tuning": True}, "1": {"tuning": False}},
                 "dropped": {"queue: overflow": 3}}  # fmt: skip
        writer.write("status", tuner, begin + 5)
        selector = {"block": "mcs_selector", "links": 2, "dropped": {}, "beliefs": {
            "0": {"expert": "network", "offset_db": -3.14, "width_db": 0.44, "loss": 0.08,
                  "says": "reports are 3.1 dB too high; 8 % of packets are lost at every MCS"},
            "1": {"expert": "acks", "width_db": 2.0, "loss": 0.0, "says": ""}}}  # fmt: skip
        writer.write("status", selector, begin + 6)
        writer.lose("queue: full", 7)
        writer.write("csi", {"link": 0, "snr_db": 10.0}, begin + 7)
        writer.close()
    summary = summarise(sessions([tmp_path]), TABLE)
    assert summary.starts_s == pytest.approx([0.0, 9.91])
    assert summary.duration_s == pytest.approx(19.82)
    assert summary.tuning.share.tolist() == [0.5, 0.5]
    assert summary.tuning.time_s == pytest.approx([5.0, 14.91])
    shares = {expert: states.share.tolist() for expert, states in summary.experts.items()}
    assert shares == {"network": [0.5, 0.5], "reports": [0.0, 0.0], "acks": [0.5, 0.5]}
    assert summary.experts["acks"].time_s == pytest.approx([6.0, 15.91])
    assert summary.beliefs[0].offset_db.tolist() == [-3.14, -3.14]
    assert summary.beliefs[0].loss.tolist() == [0.08, 0.08]
    assert np.isnan(summary.beliefs[1].offset_db).all()
    assert summary.dropped == {("tuner", "queue: overflow"): 6}
    assert summary.lost == {"queue: full": 14}
    assert summary.goodput_bps() == pytest.approx(150 * 1000 / 19.82)
    window = bler_over_time(summary)
    assert window.blocks.sum() == 200
    assert np.nanmean(window.observed) == pytest.approx(0.25, abs=0.02)
    assert (window.low < 0.25).all()
    assert (window.high > 0.25).all()
    page = Page(html(summary))
    assert ["tuner", "queue: overflow", "6"] in page.rows
    assert ["this log", "queue: full", "14"] in page.rows
    said = "reports are 3.1 dB too high; 8 % of packets are lost at every MCS"
    assert ["0", "the network 100 %", "-3.1 \u00b1 0.4", "8.0", said] in page.rows
    assert ["1", "the ACKs 100 %", "-", "0.0", "-"] in page.rows
    assert len(page.images) == 4


def test_names_in_a_log_are_text_and_no_markup(tmp_path):
    evil = "<script>alert(1)</script>"
    writer = LogWriter(tmp_path, notes={evil: evil}, source=evil)
    event(writer, 0)
    writer.write(
        "status", {"block": evil, "dropped": {evil: 1}, "state": {"0": 5}, "beliefs": {
            evil: {}, "0": {"says": evil, "expert": evil}, "1": 3, 9 * "9": {}}}, 1.0
    )  # fmt: skip
    writer.close()
    page = Page(html(summarise(sessions([tmp_path]), None)))
    assert [evil, evil, "1"] in page.rows
    assert ["0", "-", "-", "-", evil] in page.rows


def test_logs_with_little_in_them_have_a_report_too(tmp_path):
    for name, write in {
        "nothing": lambda w: None,
        "reports": lambda w: w.write("csi", {"link": 0, "snr_db": 1.0}, 5.0),
        "unended": lambda w: w.write("decision", {"link": 9, "seq": 1, "mcs": 255, "bler": 0.5, "version": -1,
                                     "features": np.empty(0, np.float32), "probe": True}, 5.0),
        "one": lambda w: event(w, 1),
    }.items():  # fmt: skip
        writer = LogWriter(tmp_path / name)
        write(writer)
        writer.flush()
        page = Page(html(summarise(sessions([tmp_path / name]), None)))
        assert not any("nan" in text for text in page.texts)
        assert len(page.images) == {"unended": 1, "one": 3}.get(name, 0)


def test_many_links_are_shown_by_their_blocks(tmp_path):
    writer = LogWriter(tmp_path)
    for link in range(100):
        for seq in range(1 + link % 3):
            event(writer, seq, link, time_s=link / 10)
    writer.flush()
    page = Page(html(summarise(sessions([tmp_path]), None)))
    links = [row for row in page.rows if len(row) == 11][1:]
    assert len(links) == 64
    assert [row[1] for row in links] == sorted((row[1] for row in links), reverse=True)
    assert any("36 more links" in text for text in page.texts)


def test_a_missing_folder_and_a_missing_log_are_named(tmp_path, capsys):
    assert main(["report", str(tmp_path), "--out", str(tmp_path / "no" / "x.html")]) == 1
    assert main(["report", str(tmp_path / "none")]) == 1
    errors = capsys.readouterr().err.replace("\n", " ")
    assert "there is no folder" in errors
    assert "no log at" in errors
