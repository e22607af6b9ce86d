# SPDX-License-Identifier: GPL-3.0-or-later
"""The service's benchmarks in miniature: they run, and their figures hang together."""

import common
import last_weights
import speed_service


def test_the_service_s_benchmark_runs_and_its_figures_hang_together():
    lines = speed_service.measure(scale=0.05)
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")]
    figures = {name: float(value.replace(",", "").rstrip("%")) for name, value in rows[1:]}
    assert figures["learnt, feedbacks/s"] > 0
    assert figures["dropped by the service, samples"] == 0  # the window holds hosts back before that
    assert figures["sent to learnt and confirmed, ms: median"] <= figures["the same, p99"]
    assert figures["resident memory per link, KiB"] > 0  # so few links share what a service has anyway
    assert figures["saturates at, feedbacks/s"] > 0


def test_the_benchmark_of_the_last_weights_has_a_row_for_each_world():
    lines = last_weights.measure(links=2, slots=200)
    assert [line.split()[1] for line in lines[2:]] == list(common.ALL_WORLDS)
