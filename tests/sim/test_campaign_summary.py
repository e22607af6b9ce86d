# SPDX-License-Identifier: GPL-3.0-or-later
"""A campaign's summary: gains paired by seed, Student's intervals, and nothing invented where cells lack."""

import math

import numpy as np
import pytest
from gnuradio.lighttune.sim.campaign_summary import Summary, interval, markdown, signed

GOODPUT = {
    ("A", "w1"): {1: 2.0, 2: 4.0, 3: 5.0},
    ("B", "w1"): {1: 2.2, 2: 4.8, 3: 5.0},
    ("A", "w2"): {1: 1.0, 2: 1.0},
    ("B", "w2"): {1: 1.3, 2: 0.9, 3: 7.0},
}


def row(adapter, world, seed, goodput):
    kind = "genie" if adapter == "B" else "olla"
    return {
        "adapter": adapter, "world": world, "seed": seed, "goodput": goodput, "kind": kind,
        "residual_bler": 0.1 * seed, "window_error": 0.01, "near_error": None,
    }  # fmt: skip


@pytest.fixture
def summary():
    rows = [row(*key, seed, g) for key, seeds in GOODPUT.items() for seed, g in seeds.items()]
    return Summary(rows, ["A", "B", "C"], ["w1", "w2"], "A")


def within(t, degrees):
    """P(abs(T) < t) of Student's t: Abramowitz and Stegun, Mathematical Functions, 26.7.3 and 26.7.4."""
    angle = math.atan(t / math.sqrt(degrees))
    odd = degrees % 2
    term, total = (math.cos(angle) if odd else 1.0), 0.0
    for k in range(2 + odd, degrees + 1, 2):
        total += term
        term *= math.cos(angle) ** 2 * (k - 1) / k
    return (angle + math.sin(angle) * total) * 2 / math.pi if odd else math.sin(angle) * total


@pytest.mark.parametrize("n", range(2, 32))
def test_intervals_are_students(n):
    values = np.arange(n) ** 2.0
    middle, half = interval(values)
    quantile = half / (values.std(ddof=1) / math.sqrt(n))
    assert middle == pytest.approx(values.mean())
    assert within(quantile, n - 1) == pytest.approx(0.95, abs=1e-4)  # quantiles are rounded to 0.001


def test_few_values_have_no_interval():
    assert interval([3.0])[0] == 3.0
    assert math.isnan(interval([3.0])[1])
    assert math.isnan(interval([])[0])
    assert signed([3.0]) == "+3.0"
    assert signed([]) == ""


def test_gains_are_paired_by_seed_and_need_both(summary):
    assert summary.gains("B", "w1") == pytest.approx({1: 10.0, 2: 20.0, 3: 0.0})
    assert summary.gains("B", "w2") == pytest.approx({1: 30.0, 2: -10.0})  # the reference lacks seed 3
    assert summary.gains("C", "w1") == {}
    assert summary.mean_gains("B") == pytest.approx([20.0, 5.0])


def test_a_reference_that_carried_nothing_gives_no_gain():
    rows = [row("A", "w1", 1, 0.0), row("B", "w1", 1, 1.0)]
    assert Summary(rows, ["A", "B"], ["w1"], "A").gains("B", "w1") == {}


def test_figures_that_an_adapter_does_not_have_are_left_out(summary):
    assert summary.values("A", "w1", "near_error") == []
    assert summary.values("A", "w2", "residual_bler") == pytest.approx([0.1, 0.2])


def test_the_table_shows_the_mean_each_world_and_what_is_missing(summary):
    head, lines = summary.table()
    assert head == ["adapter", "mean of the worlds", "w1", "w2", "residual BLER", "BLER prediction error"]
    assert lines[0] == ["A", "reference", "reference", "reference", "0.175", "0.010"]
    assert lines[1][:4] == ["B", "+12.5 ± 95.3", "+10.0 ± 24.8", "+10.0 ± 254.1"]
    assert lines[1][-1] == ""  # a genie predicts nothing: it was told
    assert lines[2] == ["C", "", "", "", "", ""]
    assert summary.table(each_world=False)[0] == [*head[:2], *head[4:]]


def test_markdown_keeps_its_columns():
    assert markdown(("a|b", "c"), [("d", "e")]) == ["| a\\|b | c |", "|---|---:|", "| d | e |"]
