# SPDX-License-Identifier: GPL-3.0-or-later
"""`lighttune usrp-gain` on a radio whose best gains are known."""

import math

import pytest
from gnuradio.lighttune.cli.main import main
from gnuradio.lighttune.cli.usrp_gain import steps
from gnuradio.lighttune.cli.usrp_sounder import Point, recommend


def test_it_recommends_the_lowest_gains_of_a_clean_link(radio, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    # Noise -80 dBFS at gain 0 and 60 dB of loss: only 40 dB of transmit gain give SNR, and 40 + 40 clips.
    args = radio(path_loss_db=60, noise_dbfs=-80, adc_bits=12)
    command = ["usrp-gain", "--uhd-args", args, "--tx-gains", "20:40:20", "--rx-gains", "0:40:20"]
    assert main([*command, "--packets", "10"]) == 0
    out = capsys.readouterr().out
    rows = [line.replace("│", " ").split() for line in out.splitlines() if "/10" in line]
    assert [(row[0], row[1]) for row in rows] == [(t, r) for t in ("20", "40") for r in ("0", "20", "40")]
    for row in rows[
        1:5
    ]:  # noise alone decides, whatever the receive gain: 0.9 dB of it is on unused carriers
        level_dbfs = float(row[4])
        assert level_dbfs == pytest.approx(float(row[0]) + float(row[1]) - 60 - 14, abs=1)
    clipped = [float(row[6]) for row in rows]
    assert clipped[-1] > 1
    assert clipped[:-1] == [0.0] * 5
    assert "Use --tx-gain 40 --rx-gain 20" in out or "Use --tx-gain 40 --rx-gain 0" in out


def test_a_link_that_cannot_work_says_what_to_do_and_fails(radio, capsys):
    args = radio(path_loss_db=90, noise_dbfs=-80)
    gains = ["--tx-gains", "0", "--rx-gains", "0", "--packets", "5"]
    assert main(["usrp-gain", "--uhd-args", args, *gains]) == 1
    assert "raise the gains" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("wrong", ["loud", "0:60", "60:0:10", "0:60:0"])
def test_gains_that_are_no_range_are_refused(wrong, capsys):
    assert main(["usrp-gain", "--tx-gains", wrong]) == 1
    assert f"--tx-gains {wrong}: give FROM:TO:STEP" in capsys.readouterr().err


def test_ranges_include_both_ends():
    assert steps("0:60:20", "--tx-gains") == [0, 20, 40, 60]
    assert steps("5", "--tx-gains") == [5]


def point(tx, rx, snr_db, received=20, clipped=0.0):
    return Point(tx, rx, 20, received, snr_db, -20.0, -8.0, clipped)


def test_the_lowest_gains_win_among_equals_and_what_clips_or_loses_packets_is_out():
    points = [point(0, 0, 10), point(10, 30, 29.5), point(10, 40, 30), point(20, 30, 30.4)]
    bad = [point(0, 40, math.nan, received=0), point(30, 30, 40, clipped=0.01), point(5, 5, 35, received=15)]
    best, why = recommend(points + bad)
    assert (best.tx_gain_db, best.rx_gain_db) == (10, 30)
    assert "--tx-gain 10 --rx-gain 30" in why
    assert recommend(bad[:1])[0] is None
    assert "clips" in recommend(bad[:2])[1]
