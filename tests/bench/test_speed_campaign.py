# SPDX-License-Identifier: GPL-3.0-or-later
"""The measurement of what a campaign costs runs."""

import speed_campaign


def test_the_measurement_runs_in_miniature_and_tells_of_all_three_ways():
    lines = speed_campaign.measure(0.02)
    assert len(lines) == 2 + 3 * len(speed_campaign.SPECS)
    for line in lines[2:]:
        name, rate, elapsed, processor = line.strip("| ").split(" | ")
        assert float(rate) > 0
        if "loop" in name:
            assert (elapsed, processor) == ("1.00", "1.00")
