# SPDX-License-Identifier: GPL-3.0-or-later
"""Metrics, against figures worked out by hand."""

import numpy as np
import pytest
from gnuradio.lighttune.sim.link import Trace
from gnuradio.lighttune.sim.metrics import WINDOW, error, log_loss, summary, window_error, windowed


def make_trace(**changes) -> Trace:
    columns = {
        "mcs": np.zeros((1, 4), int),
        "bler": np.array([[0.1, 0.2, 0.5, 0.5]]),
        "true_bler": np.array([[0.2, 0.2, 0.5, 0.9]]),
        "ack": np.array([[True, True, True, False]]),
        "goodput": np.array([[2.0, 2.0, 4.0, 0.0]]),
        "probe": np.zeros((1, 4), bool),
        "version": np.zeros((1, 4), int),
        "latency_s": np.zeros((1, 4)),
    }
    return Trace(**(columns | changes))


def test_the_summary_is_as_worked_out_by_hand():
    figures = summary(make_trace())
    assert figures["goodput"] == pytest.approx(2.0)
    assert figures["residual_bler"] == pytest.approx(0.25)
    assert figures["error"] == pytest.approx((0.1 + 0.4) / 4)
    assert figures["error_rms"] == pytest.approx(np.sqrt((0.01 + 0.16) / 4))
    assert figures["log_loss"] == pytest.approx(-np.log([0.9, 0.8, 0.5, 0.5]).mean())
    assert "near_error" not in figures


def test_the_summary_can_be_taken_of_some_slots():
    assert summary(make_trace(), slice(2, None))["goodput"] == pytest.approx(2.0)
    assert summary(make_trace(), slice(3, None))["residual_bler"] == 1.0


def test_places_beyond_the_ladder_do_not_count_in_the_near_error():
    near = np.full((1, 4, 7), np.nan)
    near_true = near.copy()
    near[..., 3], near_true[..., 3] = 0.5, 0.25
    figures = summary(make_trace(near_bler=near, near_true=near_true))
    assert figures["near_error"] == pytest.approx(0.25)
    assert figures["near_error_rms"] == pytest.approx(0.25)


def test_the_log_loss_of_a_certain_and_wrong_prediction_is_large_and_finite():
    assert log_loss(np.array([0.0]), np.array([False]))[0] == pytest.approx(-np.log(1e-6))


def test_a_windowed_curve_averages_links_and_slots():
    values = np.array([[0.0, 2.0, 4.0, 6.0, 9.0], [2.0, 4.0, 6.0, 8.0, 9.0]])
    middle, means = windowed(values, 2)
    assert middle.tolist() == [1.0, 3.0]
    assert means.tolist() == [2.0, 6.0]


@pytest.mark.parametrize("window", [0, 6])
def test_a_window_that_does_not_fit_is_refused(window):
    with pytest.raises(ValueError, match=f"window = {window}"):
        windowed(np.zeros((2, 5)), window)


def test_the_window_error_takes_blers_as_rates():
    """Half the blocks fail for sure: a constant 0.5 is wrong in every slot and right in every window."""
    true = np.tile([0.0, 1.0], (3, 2 * WINDOW))
    assert error(np.full_like(true, 0.5), true) == pytest.approx(0.5)
    assert window_error(np.full_like(true, 0.5), true) == pytest.approx(0.0, abs=1e-12)
    assert window_error(np.full_like(true, 0.7), true) == pytest.approx(0.2)
    drifting = np.repeat([[0.3, 0.7, 0.3, 0.7]], WINDOW, axis=1)  # right on average, wrong in every window
    assert window_error(drifting, true[:1]) == pytest.approx(0.2)
    places = np.stack([true, np.full_like(true, np.nan)], axis=-1)
    assert window_error(np.full_like(places, 0.7), places) == pytest.approx(0.2)
