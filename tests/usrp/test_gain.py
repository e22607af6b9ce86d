# SPDX-License-Identifier: GPL-3.0-or-later
"""`lighttune usrp-gain` on a radio whose best gains are known, and what it says of what a host loses."""

import math
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest
from gnuradio import blocks, gr
from gnuradio.lighttune.blocks._usrp import Watch
from gnuradio.lighttune.cli import usrp_sounder
from gnuradio.lighttune.cli.main import main
from gnuradio.lighttune.cli.usrp_advice import FOUND, HOST_TOO_SLOW, NO_GAINS, REMEDIES, Point, recommend
from gnuradio.lighttune.cli.usrp_gain import steps
from gnuradio.lighttune.cli.usrp_sounder import CLIP, PIECE, Sounder, _Meter
from gnuradio.lighttune.modem.receiver import Receiver

CLEAN = {"path_loss_db": 60, "noise_dbfs": -80, "adc_bits": 12}


def sound(capsys, args, *options):
    """Exit status, rows of the table as lists of words, and all that is said in one line."""
    status = main(["usrp-gain", "--uhd-args", args, *map(str, options)])
    out = capsys.readouterr().out
    rows = [line.replace("│", " ").split() for line in out.splitlines() if line.startswith("│")]
    return status, rows, " ".join(out.split())


def gains(tx, rx, packets):
    return "--tx-gains", tx, "--rx-gains", rx, "--packets", packets


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")


@pytest.mark.parametrize("pacing", ["virtual", "real"])
def test_it_recommends_the_lowest_gains_of_a_clean_link(pacing, radio, capsys):
    # Noise -80 dBFS at gain 0 and 60 dB of loss: only 40 dB of transmit gain give SNR, and 40 + 40 clips.
    status, rows, said = sound(capsys, radio(pacing, **CLEAN), *gains("20:40:20", "0:40:20", 10))
    assert status == FOUND
    assert [(row[0], row[1]) for row in rows] == [(t, r) for t in ("20", "40") for r in ("0", "20", "40")]
    for row in rows[
        1:5
    ]:  # noise alone decides, whatever the receive gain: 0.9 dB of it is on unused carriers
        assert row[2] == "10/10"
        level_dbfs = float(row[4])
        assert level_dbfs == pytest.approx(float(row[0]) + float(row[1]) - 60 - 14, abs=1)
    clipped = [float(row[6]) for row in rows]
    assert clipped[-1] > 50  # of the bursts: pauses do not count
    assert clipped[:-1] == [0.0] * 5
    assert "Use --tx-gain 40 --rx-gain 20" in said or "Use --tx-gain 40 --rx-gain 0" in said


@contextmanager
def busy(programs):
    """Other programs that take all the time they can get."""
    running = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(programs)]
    try:
        yield
    finally:
        for program in running:
            program.kill()
            program.wait()


def test_in_real_time_on_a_busy_machine_no_packet_is_taken_for_the_channel_s(radio, capsys):
    with busy(3):
        status, rows, said = sound(capsys, radio("real", **CLEAN), *gains(40, "0:20:20", 20))
    for row in rows:  # 40 and 50 dB of SNR: whatever this computer lost, the link lost nothing
        received, judged = row[2].split("/")
        assert received == judged
    assert status == FOUND, said  # and it does not lose many: they wait


def test_a_receiver_that_is_too_slow_is_no_bad_link(radio, capsys, monkeypatch):
    push = Receiver.push

    def slowly(self, samples, skip=False):
        time.sleep(len(samples) / 1e6)  # a fifth of what comes, and less
        return push(self, samples, skip)

    monkeypatch.setattr(Receiver, "push", slowly)
    status, rows, said = sound(capsys, radio("real", **CLEAN), "--samp-rate", 5e6, *gains(40, 20, 10))
    received, judged = rows[0][2].split("/")
    assert received == judged  # between two overruns some are heard, more or fewer
    assert status in (FOUND, HOST_TOO_SLOW), said
    assert (status == HOST_TOO_SLOW) == (int(rows[0][8]) > 10), said


def test_a_receiver_that_does_not_come_to_its_packets_at_all_is_no_bad_link(radio, capsys, monkeypatch):
    free = threading.Event()
    push, measure = Receiver.push, Sounder.measure

    def held(self, samples, skip=False):
        free.wait()
        return push(self, samples, skip)

    def measured(self, *args):
        monkeypatch.setattr(Receiver, "push", held)
        try:
            return measure(self, *args)
        finally:
            free.set()  # or it could not stop

    monkeypatch.setattr(Sounder, "measure", measured)
    monkeypatch.setattr(usrp_sounder, "STUCK_S", 0.2)
    status, rows, said = sound(capsys, radio("real", **CLEAN), *gains(40, 20, 5))
    assert status == HOST_TOO_SLOW, said
    assert rows[0][2:4] == ["0/0", "-"]
    assert "lost itself: receiver behind 1." in said
    assert REMEDIES["receiver behind"] in said


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        ({"underrun_every": 1}, "underruns"),
        # In virtual time these would wait forever: nothing is sent, or it stops short of what is lost.
        ({"late_every": 1, "pacing": "real"}, "late"),
        ({"overrun_every": 2001, "pacing": "real"}, "overruns"),  # 2000 are lost then: no burst is whole
    ],
)
def test_packets_that_the_host_loses_are_counted_by_cause_and_tell_nothing_of_the_link(
    fault, cause, radio, capsys
):
    status, rows, said = sound(capsys, radio(**{**CLEAN, **fault}), *gains(40, 20, 5))
    assert status == HOST_TOO_SLOW
    assert rows[0][2] == "0/0"
    assert rows[0][8] == "10"  # twice as many as asked for are sent
    assert f"lost itself: {cause} 10." in said
    assert REMEDIES[cause] in said
    assert "lips" not in said
    assert "gains:" not in said  # neither raise nor lower them


def test_packets_that_the_host_loses_are_sent_anew(radio, capsys):
    status, rows, said = sound(capsys, radio(**CLEAN, underrun_every=4), *gains(40, 20, 9))
    assert status == FOUND
    assert rows[0][2] == "9/9"
    assert f"lost itself: underruns {rows[0][8]}." in said
    assert int(rows[0][8]) == 3  # burst 1 does not count; of 2 to 13 these are 4, 8 and 12


def test_a_link_that_cannot_work_says_what_to_do_and_fails(radio, capsys):
    status, rows, said = sound(capsys, radio(path_loss_db=90, noise_dbfs=-80), *gains(0, 0, 5))
    assert status == NO_GAINS
    assert rows[0][2] == "0/5"
    assert "raise the gains" in said


@pytest.mark.parametrize("pacing", ["virtual", "real"])
def test_a_radio_that_tells_of_no_burst_s_end_will_do(pacing, radio, capsys, monkeypatch):
    monkeypatch.setattr(Watch, "on_async_msgs", lambda self, message: None)
    monkeypatch.setattr(Watch.on_async_msgs, "port", "async_msgs", raising=False)
    args = radio(pacing, path_loss_db=60, noise_dbfs=-60)
    status, rows, said = sound(capsys, args, *gains("0:60:60", 0, 5))
    assert [row[2] for row in rows] == ["0/5", "5/5"], said
    assert status == FOUND


def test_a_link_where_all_clips_says_so_and_fails(radio, capsys):
    status, _, said = sound(capsys, radio(**CLEAN), *gains("60:80:20", 40, 5))
    assert status == NO_GAINS
    assert "Everything clips" in said


def test_the_meter_tells_the_clipping_of_bursts_and_not_of_pauses():
    x = np.full(20 * PIECE, 0.001, np.complex64)
    x[4 * PIECE : 8 * PIECE] = 0.5
    x[4 * PIECE : 8 * PIECE : 8] = CLIP  # one in 8 of the burst's
    top, meter, source = gr.top_block(), _Meter(), blocks.vector_source_c(x)
    top.connect(source, meter)
    top.run()
    assert meter.clipped == 1 / 8
    assert meter.peak == np.float32(CLIP)
    assert meter.level == pytest.approx(7 / 8 * 0.25 + CLIP**2 / 8, rel=1e-5)
    meter.reset()
    assert (meter.clipped, meter.peak, meter.level) == (0, 0, 0)


@pytest.mark.parametrize("wrong", ["loud", "0:60", "60:0:10", "0:60:0"])
def test_gains_that_are_no_range_are_refused(wrong, capsys):
    assert main(["usrp-gain", "--tx-gains", wrong]) == 1
    assert f"--tx-gains {wrong}: give FROM:TO:STEP" in capsys.readouterr().err


def test_ranges_include_both_ends():
    assert steps("0:60:20", "--tx-gains") == [0, 20, 40, 60]
    assert steps("5", "--tx-gains") == [5]


def point(tx, rx, snr_db, received=20, clipped=0.0, sent=20, **lost):
    return Point(tx, rx, sent, received, snr_db, -20.0, -8.0, clipped, lost)


GOOD = point(10, 30, 29.5)
WEAK = point(0, 0, 4.0, received=3)
SILENT = point(0, 0, math.nan, received=0)
CLIPS = point(30, 30, 9.0, clipped=0.3)
LOSSY = point(20, 20, 25.0, received=12)
OVERRUN = point(40, 20, 51.2, received=6, sent=40, overruns=34)
ALL_OVERRUN = point(40, 30, math.nan, received=0, sent=40, overruns=40)
UNDERRUN = point(40, 0, 41.0, received=0, sent=40, underruns=39, overruns=1)


def test_the_lowest_gains_win_among_equals_and_what_clips_or_loses_packets_is_out():
    points = [point(0, 0, 10), point(10, 30, 29.5), point(10, 40, 30), point(20, 30, 30.4)]
    bad = [point(0, 40, math.nan, received=0), point(30, 30, 40, clipped=0.01), point(5, 5, 35, received=15)]
    advice = recommend(points + bad)
    assert (advice.best.tx_gain_db, advice.best.rx_gain_db) == (10, 30)
    assert advice.status == FOUND
    assert "--tx-gain 10 --rx-gain 30" in advice.text


@pytest.mark.parametrize(
    ("points", "verdict"),
    [
        ([GOOD], "good"),
        ([WEAK, SILENT], "weak"),
        ([CLIPS, point(60, 40, math.nan, received=0, clipped=0.9)], "clips"),
        ([LOSSY], "lossy"),
        ([OVERRUN, ALL_OVERRUN, UNDERRUN], "host"),
        ([point(40, 20, 51.0, received=20, sent=40, overruns=20)], "good"),  # 20 of the 20 that it left
        ([point(40, 40, 9.0, received=0, sent=40, clipped=0.3, overruns=40)], "clips"),  # samples tell that
        ([point(0, 0, 4.0, received=2, sent=30, overruns=10)], "weak"),
    ],
)
def test_a_pair_of_gains_is_judged_by_what_the_host_did_not_lose(points, verdict):
    assert {p.verdict for p in points} == {verdict}


TEXTS = {
    "lower": "lower the gains",
    "raise": "raise the gains",
    "between": "smaller steps",
    "other": "another transmitter",
    "host": "This computer, not the link",
    "behind": REMEDIES["overruns"],
    "too late": REMEDIES["underruns"],
}


@pytest.mark.parametrize(
    ("points", "status", "said"),
    [
        ([OVERRUN] * 12, HOST_TOO_SLOW, {"host", "behind"}),
        ([ALL_OVERRUN], HOST_TOO_SLOW, {"host", "behind"}),
        ([UNDERRUN], HOST_TOO_SLOW, {"host", "too late", "behind"}),
        ([CLIPS] * 3, NO_GAINS, {"lower"}),
        ([WEAK, SILENT], NO_GAINS, {"raise"}),
        ([WEAK, CLIPS], NO_GAINS, {"between"}),
        ([LOSSY, WEAK, CLIPS], NO_GAINS, {"other"}),
        ([OVERRUN, CLIPS], HOST_TOO_SLOW, {"host", "behind", "lower"}),
        ([OVERRUN, WEAK], HOST_TOO_SLOW, {"host", "behind", "raise"}),
        ([OVERRUN, WEAK, CLIPS], HOST_TOO_SLOW, {"host", "behind", "between"}),
        ([GOOD, WEAK, CLIPS, LOSSY], FOUND, set()),
        ([GOOD, OVERRUN], FOUND, {"host", "behind"}),
    ],
)
def test_each_trouble_has_its_own_remedy(points, status, said):
    advice = recommend(points)
    assert advice.status == status
    assert (advice.best is GOOD) == (status == FOUND)
    assert {name for name, text in TEXTS.items() if text in advice.text} == said


def test_the_host_s_causes_are_counted():
    text = recommend([OVERRUN, UNDERRUN, WEAK]).text
    assert "2 of 3 pairs" in text
    assert "underruns 39, overruns 35" in text
