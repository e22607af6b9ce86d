# SPDX-License-Identifier: GPL-3.0-or-later
"""The predictor's structural properties, which must hold for all weights that tuning can reach."""

import numpy as np
import pytest
from gnuradio.lighttune.core import features as ft
from gnuradio.lighttune.core.features import LinkHistory
from gnuradio.lighttune.core.mcs import McsTable
from gnuradio.lighttune.core.predictor import Predictor, project_signs
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import make_predictor


def any_weights(predictor, seed, size):
    """Weights anywhere, as long as the sign projection has been applied."""
    rng = np.random.default_rng(seed)
    weights = predictor.weights(predictor.offline + size * rng.standard_normal(predictor.shape.n_weights))
    project_signs(weights)
    return weights


def any_features(seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 4, ft.N_FEATURES)
    x[0] = rng.uniform(-10, 35)
    return x


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0, 30), st.sampled_from([1, 2, 3]))
def test_bler_is_a_probability_monotone_in_snr_and_along_every_ladder(seed, size, number):
    table = McsTable.nr_pdsch(number)
    predictor = make_predictor(table, np.random.default_rng(seed), depth=1.0)
    weights = any_weights(predictor, seed, size)
    x = np.tile(any_features(seed), (200, 1))
    x[:, 0] = np.linspace(-30, 60, 200)  # every report raised alike: the shape stays
    bler = predictor.bler(weights, x)
    assert ((bler > 0) & (bler < 1)).all()
    assert (np.diff(bler, axis=0) <= 1e-12).all()
    for order in set(table.modulation_order):
        ladder = [m for m in table.by_efficiency if table.modulation_order[m] == order]
        assert (np.diff(bler[:, ladder], axis=1) >= -1e-12).all()


def test_raising_all_reports_of_a_link_never_raises_its_bler(rng, plain_predictor):
    steps = rng.normal(0, 2, 40)
    blers = []
    for level in np.arange(-10, 40, 1.0):
        history = LinkHistory()
        for snr in level + np.cumsum(steps):
            history.report(snr)
        blers.append(plain_predictor.bler(plain_predictor.weights(), history.features()))
    assert (np.diff(blers, axis=0) <= 1e-9).all()


def test_silent_layers_leave_the_closed_form_alone(plain_predictor):
    x = any_features(3)
    act = plain_predictor.forward(plain_predictor.weights(), x)
    assert np.allclose(act.logit, act.t)


def test_one_link_and_a_batch_of_links_get_the_same_answers(rng):
    predictor = make_predictor(McsTable.nr_pdsch(1), rng, depth=1.0)
    flats = np.stack([any_weights(predictor, seed, 1.0).flat for seed in range(5)])
    x = np.stack([any_features(seed) for seed in range(5)])
    together = predictor.bler(predictor.weights(flats), x)
    alone = [predictor.bler(predictor.weights(f), row) for f, row in zip(flats, x, strict=True)]
    assert np.allclose(together, alone, rtol=1e-12)
    shared = predictor.bler(predictor.weights(flats[0]), x)
    assert np.allclose(shared, [predictor.bler(predictor.weights(flats[0]), row) for row in x], rtol=1e-12)
    mcs = rng.integers(0, 29, (5, 1))
    chosen = predictor.bler(predictor.weights(flats), x, mcs)
    assert np.allclose(chosen, np.take_along_axis(together, mcs, axis=1))


def test_an_offset_moves_the_snr_by_as_many_db(plain_predictor):
    x, weights = any_features(5), plain_predictor.weights()
    weights.flat[0] = 2.0
    shifted = x.copy()
    shifted[0] += 2.0
    moved = plain_predictor.forward(weights, x).t
    assert np.allclose(moved, plain_predictor.forward(plain_predictor.weights(), shifted).t, atol=1e-6)


@pytest.mark.parametrize("bad", [np.zeros(3), np.full(578, np.nan)])
def test_weights_of_another_length_or_not_finite_are_refused(plain_predictor, bad):
    with pytest.raises(ValueError, match=r"shape|finite"):
        Predictor(plain_predictor.table, plain_predictor.encoder, bad)
