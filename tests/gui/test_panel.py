# SPDX-License-Identifier: GPL-3.0-or-later
"""The panel in a real window on a real X server shows the numbers that the blocks have."""

import gc
import inspect
import itertools
import math
import os
import re
import sys
import time
from pathlib import Path

import numpy as np
import pmt
import pytest
import yaml
from gnuradio import lighttune

from display import start_xvfb
from flowgraph import Bench, Collector, floats, message, post, running, until
from loop import Loop
from patience import WAIT_S

DEFINITION = Path(__file__).resolve().parents[2] / "grc" / "lighttune_panel.block.yml"


@pytest.fixture(scope="session")
def application():
    os.environ.update(start_xvfb())
    from PyQt5 import QtWidgets

    application = QtWidgets.QApplication(sys.argv[:1])
    assert application.platformName() == "xcb"
    return application


@pytest.fixture
def show(application):
    """``show(condition)`` runs the window until the condition holds."""

    def run(condition):
        end_s = time.monotonic() + WAIT_S
        while not condition():
            assert time.monotonic() < end_s, "waited in vain"
            application.processEvents()
            time.sleep(0.01)

    return run


@pytest.fixture(autouse=True)
def collected_in_this_thread(application):
    """Only the thread that made a window may delete it, and Python's collector runs in any thread that
    happens to allocate: other tests leave some behind."""
    gc.disable()
    yield
    application.processEvents()
    gc.collect()
    gc.enable()


@pytest.fixture(autouse=True)
def no_fault_while_painting(recwarn):
    """pyqtgraph turns what goes wrong in Qt's paint events into warnings."""
    yield
    assert not [w for w in recwarn if "exception" in str(w.message)]


@pytest.fixture
def bench(application):
    bench = Bench(lighttune.panel(update_hz=50))
    bench.block.qwidget().show()
    with running(bench.top):
        yield bench
    bench.block.qwidget().close()


def texts(widget, tile):
    return widget.tiles[tile].value.text(), widget.tiles[tile].note.text()


def test_the_window_shows_what_the_link_does(application, show):
    top, panel = Loop(snr_db=16.5), lighttune.panel(title="In a test")
    top.watched_by(panel)
    widget = panel.qwidget()
    widget.show()
    decided = Collector()
    top.msg_connect(top.selector, "decision", decided, "in")

    sent, pictures = itertools.count(1), []
    show_link = widget.show_link
    widget.show_link = lambda *news: (show_link(*news), pictures.append(news))

    with running(top):
        show(lambda: next(sent) and top.send() >= 300)
        n = next(sent) - 1
        show(lambda: top.selector.status()["decisions"] == n)
        show(lambda: top.acks.status()["waiting"] == 0)
        show(lambda: panel.view.links[0].decisions == n)
        show(lambda: panel.view.links[0].acks + panel.view.links[0].nacks == n)
    drawn = len(pictures)
    show(lambda: len(pictures) > drawn)  # with all that came
    selector, link, decisions = top.selector.status(), panel.view.links[0], decided.dicts()

    assert widget.isVisible()
    assert texts(widget, "mcs")[0] == str(decisions[-1]["mcs"])
    assert texts(widget, "mcs")[1].startswith(("QPSK", "16-QAM", "64-QAM"))
    assert (link.acks, link.nacks) == (selector["acks"], selector["nacks"])
    assert link.decisions == selector["decisions"]
    share, note = texts(widget, "observed")
    failed = int(re.match(r"(\d+) of 200 blocks failed$", note)[1])
    assert share == f"{failed / 2:.1f} %"
    predicted = np.mean([d["bler"] for d in decisions[-200:]])
    shown = float(texts(widget, "predicted")[0].removesuffix(" %"))
    assert shown == pytest.approx(100 * predicted, abs=0.051)  # it has one decimal
    assert float(texts(widget, "snr")[0].removesuffix(" dB")) == pytest.approx(16.5, abs=1.5)
    assert texts(widget, "tuner")[0] in ("at rest", "tuning")
    assert texts(widget, "decider")[0] in ("network", "reports", "ACKs")
    assert decisions[-1]["version"] == 0
    assert texts(widget, "decider")[1] == "the model's curves"
    assert re.fullmatch(r"-?\d+\.\d dB", texts(widget, "believed")[0])
    assert re.fullmatch(r"less the report: [-+]\d+\.\d dB \u00b1 \d+\.\d", texts(widget, "believed")[1])
    assert re.fullmatch(r"\d+\.\d %", texts(widget, "loss")[0])
    assert texts(widget, "drops")[0] == str(sum(panel.view.drops.values()))

    x, y = widget.points.getData()
    assert 100 < len(x) <= 512
    assert np.mean(x**2 + y**2) == pytest.approx(1, abs=0.2)  # the amplitude is that of the ideal points
    assert "packet" in widget.constellation.getPlotItem().titleLabel.text
    picture = widget.grab().toImage()
    assert (picture.width(), picture.height()) == (widget.width(), widget.height())
    assert len({picture.pixel(i, i) for i in range(min(picture.width(), picture.height()))}) > 5


def decide(bench, link, seq, version=2):
    bench.post(
        "decision",
        message(link=link, seq=seq, mcs=3, bler=0.25, features=floats([]), version=version, bits=800),
    )


def test_every_link_can_be_chosen(bench, show):
    for link, snr_db in ((0, 3.0), (7, 21.0)):
        bench.post("csi", message(link=link, snr_db=snr_db))
    widget = bench.block.qwidget()
    show(lambda: widget.chooser.count() == 2)
    assert texts(widget, "snr")[0] == "3.0 dB"
    widget.chooser.setCurrentIndex(1)
    widget.chooser.activated.emit(1)
    show(lambda: texts(widget, "snr")[0] == "21.0 dB")
    assert bench.block.status()["shown"] == 7


def believes(bench, **belief):
    bench.post("status", message(block="mcs_selector", beliefs={"0": belief}, dropped={}))


def test_who_decides_and_what_is_believed_is_told(bench, show):
    widget = bench.block.qwidget()
    decide(bench, 0, 1)
    show(lambda: texts(widget, "decider") == ("model", "tuned curves, version 2"))
    believes(bench, expert="reports", sinr_db=9.0, offset_db=-3.14, width_db=0.44, loss=0.08,
             says="reports are 3.1 dB too high; <b>8</b> % of packets are lost")  # fmt: skip
    show(lambda: texts(widget, "decider")[0] == "reports")
    assert texts(widget, "believed") == ("9.0 dB", "less the report: -3.1 dB \u00b1 0.4")
    assert texts(widget, "loss")[0] == "8.0 %"
    assert widget.says.text() == "\u25b2 reports are 3.1 dB too high; <b>8</b> % of packets are lost"
    assert widget.says.textFormat() == 0  # plain
    assert "&lt;b&gt;8" in widget.says.toolTip()
    wide = widget.minimumSizeHint().width()
    believes(bench, expert="acks", says=400 * "x")
    show(lambda: widget.says.text() == "\u25b2 " + 400 * "x")
    assert widget.minimumSizeHint().width() == wide  # a long sentence does not widen the window
    assert texts(widget, "decider")[0] == "ACKs"
    assert texts(widget, "believed") == ("\u2013", "")
    believes(bench, expert="acks", says="")
    show(lambda: widget.says.text() == "")
    decide(bench, 0, 2, version=-1)
    show(lambda: texts(widget, "decider") == ("OLLA", ""))


def test_a_tuner_that_is_away_is_told(bench, show):
    widget = bench.block.qwidget()
    decide(bench, 0, 1)
    show(lambda: texts(widget, "mcs")[0] != "\u2013")  # messages of two ports come in any order
    state = {"0": {"tuning": False, "fired": 2, "largest_shift_db": -1.25}}
    bench.post("status", message(block="tuner", state=state, dropped={}))
    show(lambda: texts(widget, "tuner") == ("at rest", "fired 2, largest shift -1.2 dB"))
    bench.post("status", message(block="mcs_selector", tuner="silent", dropped={}))
    show(lambda: texts(widget, "tuner")[0] == "silent")


def test_nothing_heard_is_shown_as_such(bench, show):
    widget = bench.block.qwidget()
    show(lambda: widget.heard.text() == "no message yet")
    assert texts(widget, "mcs")[0] == texts(widget, "snr")[0] == texts(widget, "observed")[0] == "\u2013"

    def live():
        """However seldom the window gets its turn: the last message is never old."""
        bench.post("csi", message(snr_db=3.0))
        return "live" in widget.heard.text()

    show(live)
    show(lambda: "no message for" in widget.heard.text())


def test_bad_messages_are_counted_and_the_window_goes_on(bench, show):
    points = pmt.init_c32vector(3, [1, complex(math.nan, 0), 1j])
    bad = {
        "csi": [pmt.PMT_T, message(snr_db=math.nan)],
        "decision": [message(seq=1, mcs="high", bler=0.5, features=floats([]))],
        "feedback": [message(seq=1, ack=1)],
        "status": [message(block=3), pmt.intern("status")],
        "constellation": [
            pmt.PMT_NIL,
            points,
            pmt.cons(pmt.PMT_T, points),
            pmt.cons(message(link=-1), points),
        ],
    }
    for port, messages in bad.items():
        for item in messages:
            bench.post(port, item)
    n = sum(map(len, bad.values()))
    show(lambda: sum(bench.block.status()["dropped"].values()) == n)
    dropped = bench.block.status()["dropped"]
    assert dropped["csi: snr_db not finite"] == 1
    assert not [cause for cause in dropped if "internal" in cause]
    bench.post("constellation", pmt.cons(message(seq=5), points))  # what is not finite is left out
    show(lambda: len(bench.block.qwidget().points.getData()[0]) == 2)


def test_text_of_messages_is_not_taken_for_markup(bench, show):
    bench.post("status", message(block="tuner", dropped={"<b>cause</b>": 3}))
    label = bench.block.qwidget().tiles["drops"].note
    show(lambda: label.text() == "most: tuner, <b>cause</b>")
    assert label.textFormat() == 0  # plain


def test_buffers_are_bounded_while_the_window_hangs(bench, show):
    for n in range(8200):
        post(bench.block, "csi", message(snr_db=float(n % 30)))
        if n % 2000 == 0:
            # GNU Radio's own queue holds 8192 messages.
            until(lambda n=n: bench.block.counters["csi"] > n, "these to be taken")
    until(lambda: bench.block.counters["csi"] == 8200, "all messages to be taken")
    assert bench.block.status()["dropped"] == {"buffer: overflow": 8200 - 8192}
    show(lambda: bench.block.view.links)


@pytest.mark.parametrize(
    "arguments", [{"link": -1}, {"link": 65536}, {"update_hz": 0.5}, {"update_hz": math.nan}]
)
def test_a_bad_argument_is_named(application, arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        lighttune.panel(**arguments)


def test_grc_s_definition_is_the_block(bench):
    definition = yaml.safe_load(DEFINITION.read_text())
    for ports, direction in (
        (bench.block.message_ports_in(), "inputs"),
        (bench.block.message_ports_out(), "outputs"),
    ):
        assert {p["id"] for p in definition[direction]} == set(pmt.to_python(ports)) - {"system"}
        for port in definition[direction]:
            assert f"{port['id']}: " in definition["documentation"]
    parameters = inspect.signature(lighttune.panel).parameters
    declared = {p["id"]: p["default"] for p in definition["parameters"] if p["id"] != "gui_hint"}
    assert declared == {key: str(p.default) for key, p in parameters.items()}
    for key in bench.block.status():
        assert key in definition["documentation"]
