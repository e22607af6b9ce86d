# SPDX-License-Identifier: GPL-3.0-or-later
"""gr-ieee802-11 itself in a loop, adapted by our selector; skipped where it is missing (see docs/wifi.md)."""

import pytest
from gnuradio.lighttune.core.mcs import McsTable

from wifi_real import missing

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())


def test_frames_over_a_swinging_channel_go_at_their_own_rates_and_end_once():
    import wifi_frames

    top, audit = wifi_frames.run(150)
    assert audit.wrong_on_air() == 0
    assert audit.wrong_received() == 0
    assert audit.doubly == 0
    assert audit.sent() >= 150
    assert len({mcs for _, mcs in audit.decided.values()}) >= 5
    ends = list(audit.ends.values())
    assert ends.count("ack") > 75
    assert ends.count("nack") > 3
    assert ends.count("erasure") > 0
    assert "misassigned" not in top.link.status()
    assert not [cause for cause in top.link.status()["dropped"] if "internal" in cause]


def test_its_curves_are_those_of_the_table():
    import wifi_curves

    table = McsTable.named("wifi")
    top = wifi_curves.Loopback(505, seed=2)
    top.start()
    try:
        for mcs in (2, 5):
            bad = top.point(mcs, table.threshold_db[mcs] - 1.5, 60)
            good = top.point(mcs, table.threshold_db[mcs] + 2.0, 60)
            assert bad.errors > 0.6 * bad.sent  # the fit says 95 %
            assert good.acks > 0.8 * good.sent  # 98 %
            assert bad.lost == 0  # the SIGNAL field is BPSK 1/2: it comes through
    finally:
        top.stop()
        top.wait()


def test_a_point_is_counted_in_full():
    import wifi_curves

    top = wifi_curves.Loopback(505, seed=3)
    top.start()
    try:
        lost = top.point(0, -10.0, 20)
        assert (lost.acks, lost.lost) == (0, 20)
        heard = top.point(7, 35.0, 20)
        assert (heard.acks, heard.lost) == (20, 0)
    finally:
        top.stop()
        top.wait()
