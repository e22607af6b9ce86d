# SPDX-License-Identifier: GPL-3.0-or-later
"""Link features: relative to the last report, bounded memory, the same for one link and for a batch."""

import numpy as np
import pytest
from gnuradio.lighttune.core.features import NAMES, LinkHistory


def feature(x, name):
    return x[..., NAMES.index(name)]


def test_one_report_gives_a_flat_history():
    history = LinkHistory()
    history.report(17.0)
    x = history.features()
    assert feature(x, "snr_db") == 17.0
    assert np.all(x[1:9] == 0)


def test_lags_look_back_from_the_last_report():
    history = LinkHistory()
    for snr in range(10):
        history.report(float(snr))
    x = history.features()
    assert [feature(x, f"lag_{k}_db") for k in (1, 7)] == [-1.0, -7.0]


def test_the_shape_does_not_depend_on_the_level(rng):
    low, high = LinkHistory(), LinkHistory()
    for step in rng.normal(0, 2, 50):
        low.report(5 + step)
        high.report(25 + step)
    assert np.allclose(low.features()[1:], high.features()[1:], atol=1e-5)


def test_a_batch_of_links_is_as_many_single_links(rng):
    steps, surprises = rng.normal(10, 3, (30, 4)), rng.uniform(-1, 1, (30, 4))
    batch = LinkHistory((4,))
    alone = [LinkHistory() for _ in range(4)]
    for snr, surprise in zip(steps, surprises, strict=True):
        batch.report(snr)
        batch.outcome(surprise)
        for link, history in enumerate(alone):
            history.report(snr[link])
            history.outcome(surprise[link])
    ages = np.array([1.0, 2.0, 3.0, 4.0])
    together = batch.features(ages, 0.5)
    assert np.array_equal(together, [h.features(a, 0.5) for h, a in zip(alone, ages, strict=True)])


def test_a_burst_of_nacks_shows_at_once_and_fades(rng):
    history = LinkHistory()
    history.report(10.0)
    for _ in range(4):
        history.outcome(0.9)
    burst = feature(history.features(), "surprise_fast")
    for _ in range(20):
        history.outcome(-0.1)
    assert burst > 0.5
    assert feature(history.features(), "surprise_fast") < 0


@pytest.mark.parametrize("age", [0.0, -5.0, 1e12])
def test_an_absurd_age_is_clipped(age):
    history = LinkHistory()
    history.report(10.0)
    assert 0 <= feature(history.features(age), "log_age_slots") < 7
