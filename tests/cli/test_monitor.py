# SPDX-License-Identifier: GPL-3.0-or-later
"""`lighttune monitor` as a process, at a real flowgraph's telemetry and in a real terminal."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
import xml.etree.ElementTree
from collections import deque

import pytest
from gnuradio import lighttune
from gnuradio.lighttune.cli.monitor_screen import sparkline
from gnuradio.lighttune.core.link_view import Row

from flowgraph import running
from loop import Loop
from patience import WAIT_S

COMMAND = [sys.executable, "-m", "gnuradio.lighttune.cli", "monitor"]
NOBODY = "tcp://127.0.0.1:1"
ROW = re.compile(
    r"""^\ +0\ \ (?P<mcs>\d)\ (?P<name>\S+\ \d/\d)\ +(?P<snr>[\d.]+)\ dB\ .*
    \ (?P<predicted>[\d.]+)\ %\ +(?P<observed>[\d.]+)\ %\ +(?P<nacks>\d+)/(?P<blocks>\d+)
    \ +(?P<goodput>[\d.]+)\ kbit/s\ .*\ (network|reports|ACKs)
    \ +(?P<offset>[-+][\d.]+)\ dB\ \u00b1\ [\d.]+\ +[\d.]+\ %\ +(at\ rest|tuning)\ +[-+][\d.]+\ dB\ """,
    re.MULTILINE | re.VERBOSE,
)


@pytest.fixture(scope="module")
def loop():
    """A running flowgraph with telemetry, to which packets are sent by `Loop.send`."""
    top, telemetry = Loop(snr_db=16.5), lighttune.telemetry("tcp://127.0.0.1:*")
    top.watched_by(telemetry)
    top.endpoint = telemetry.endpoint
    with running(top):
        yield top
    telemetry.close()


def call(*arguments, meanwhile=None):
    process = subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    end_s = time.monotonic() + WAIT_S
    while meanwhile and process.poll() is None and time.monotonic() < end_s:
        meanwhile()
        time.sleep(0.01)
    out, err = process.communicate(timeout=WAIT_S)
    return process.returncode, out, err


def test_once_prints_what_the_flowgraph_does(loop, tmp_path):
    picture = tmp_path / "monitor.svg"
    status, out, err = call(
        loop.endpoint, "--once", "--seconds", "4", "--svg", str(picture), meanwhile=loop.send
    )
    assert (status, err) == (0, "")
    assert f"{loop.endpoint}  \u25cf live" in out
    assert ", 0 lost on the way" in out
    row = ROW.search(out)
    assert row, out
    assert 15 < float(row["snr"]) < 18
    assert 2 <= int(row["mcs"]) <= 6
    assert row["name"].startswith(("QPSK", "16-QAM", "64-QAM"))
    assert int(row["blocks"]) > 10
    assert row["observed"] == f"{100 * int(row['nacks']) / int(row['blocks']):.1f}"
    # 1024 bits of each packet that arrived: some 100 packets a second, fewer on a busy machine
    assert 1 < float(row["goodput"]) < 110
    belief = loop.selector.status()["beliefs"]["0"]
    assert float(row["offset"]) == pytest.approx(belief["offset_db"], abs=5)  # it moves on
    assert ("nothing out of the ordinary" in out) != ("\u25b2" in out)
    text = " ".join(xml.etree.ElementTree.parse(picture).getroot().itertext()).replace("\xa0", " ")
    assert "predicted" in text
    assert row["name"] in text


def test_once_without_a_flowgraph_says_so_and_fails():
    status, out, _ = call(NOBODY, "--once", "--seconds", "0.5")
    assert status == 1
    assert "no data yet" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([NOBODY], "give --once, or --metrics-port"),
        ([NOBODY, "--once", "--seconds", "0"], "--seconds 0.0: give"),
        ([NOBODY, "--svg", "x.svg"], "--svg: give --once"),
        ([NOBODY, "--metrics-port", "70000"], "--metrics-port 70000: give"),
        (["nowhere", "--once"], "endpoint = 'nowhere'"),
    ],
)
def test_a_bad_call_is_told_with_its_remedy(arguments, words):
    status, out, err = call(*arguments)
    assert (status, out) == (1, "")
    assert err.startswith("lighttune: ")
    assert words in err
    assert "Traceback" not in err


class Terminal:
    """The monitor in a terminal of 120 by 30; `screen` is the last picture, without its colours."""

    def __init__(self, endpoint):
        self.ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 120, 0, 0))
        environment = {**os.environ, "TERM": "xterm-256color"}
        self.process = subprocess.Popen(
            [*COMMAND, endpoint], stdin=theirs, stdout=theirs, stderr=theirs, env=environment,
            start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip
        os.close(theirs)
        self._text = ""

    @property
    def screen(self):
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self._text.split("\x1b[H")[-1])

    def wait_for(self, words, meanwhile=lambda: None):
        end_s = time.monotonic() + WAIT_S
        while words not in self.screen:
            assert time.monotonic() < end_s, self.screen
            meanwhile()
            if select.select([self.ours], [], [], 0.01)[0]:
                self._text = (self._text + os.read(self.ours, 65536).decode(errors="replace"))[-100_000:]

    def press(self, key):
        os.write(self.ours, key)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        os.close(self.ours)

    def ended(self):
        end_s = time.monotonic() + WAIT_S
        while self.process.poll() is None:
            assert time.monotonic() < end_s
            if select.select([self.ours], [], [], 0.05)[0]:
                try:
                    os.read(self.ours, 65536)  # a full terminal would hold it up
                except OSError:  # it is gone
                    break
        return self.process.wait(WAIT_S)


@pytest.mark.parametrize("key", [b"q", b"\x03"], ids=["q", "Ctrl-C"])
def test_the_live_screen_follows_the_flowgraph_until_a_key_ends_it(loop, key):
    with Terminal(loop.endpoint) as terminal:
        terminal.wait_for("no data yet")
        terminal.wait_for("\u25cf live", loop.send)
        terminal.wait_for("kbit/s", loop.send)
        terminal.wait_for("decided", loop.send)
        terminal.wait_for("SINR less", loop.send)
        terminal.wait_for("at rest", loop.send)
        terminal.wait_for("q or Ctrl-C leaves")
        terminal.wait_for("no data for")  # nothing is sent any more
        terminal.press(key)
        assert terminal.ended() == 0


def test_sigterm_ends_it_too():
    with Terminal(NOBODY) as terminal:
        terminal.wait_for("no data yet")
        terminal.process.send_signal(signal.SIGTERM)
        assert terminal.ended() == 0


def test_a_small_curve_has_a_bar_for_every_five_seconds():
    rows = deque(Row(float(t), 10.0 + t, 0, 0, 0, 0) for t in range(30, 61))
    curve = sparkline(rows, "snr_db", 60.0)
    assert len(curve) == 12
    assert curve[:6] == " " * 6  # nothing is known of the first half minute
    assert curve[6] == "\u2581"
    assert curve[-1] == "\u2588"
    assert list(curve[6:]) == sorted(curve[6:])
    assert sparkline(deque(), "snr_db", 60.0) == " " * 12
    assert set(sparkline(deque([rows[0]]), "mcs", 60.0)) == {" ", "\u2581"}
