# SPDX-License-Identifier: GPL-3.0-or-later
"""The predictor's structural properties, which must hold for all weights that tuning can reach."""

from dataclasses import replace

import numpy as np
import pytest
from gnuradio.lighttune.core import features as ft
from gnuradio.lighttune.core.features import LinkHistory
from gnuradio.lighttune.core.mcs import McsTable
from gnuradio.lighttune.core.predictor import (
    GAMMA,
    LARGEST_TILT,
    MAX_DELTA_DB,
    MIN_SIGMA_DB,
    OFFSET,
    Shape,
    Weights,
    project_signs,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import make_predictor


def any_weights(predictor, seed, size):
    """Weights anywhere, as long as the sign projection has been applied."""
    rng = np.random.default_rng(seed)
    weights = predictor.weights(predictor.offline + size * rng.standard_normal(predictor.shape.n_weights))
    project_signs(weights)
    return weights


def any_encoder(predictor, seed):
    """The predictor with random biases and direct paths too: tilts up to their limits on either side."""
    rng = np.random.default_rng([seed, 1])
    b3, direct = rng.normal(0, 3, len(predictor.encoder.b3)), predictor.encoder.direct
    encoder = replace(predictor.encoder, b3=b3, direct=rng.normal(0, 0.5, direct.shape))
    return replace(predictor, encoder=encoder)


def any_table(seed):
    """Up to five orders, each with up to six rates, thresholds and a slope of its own."""
    rng, columns = np.random.default_rng([seed, 2]), []
    for order in rng.choice((1, 2, 4, 6, 8, 10), rng.integers(1, 6), replace=False):
        n, slope = rng.integers(1, 7), rng.uniform(0.05, 1.5)
        rates, thresholds = np.sort(rng.uniform(0.05, 1, n)), np.cumsum(rng.uniform(0.01, 4, n))
        low = rng.uniform(-10, 15)
        columns += [
            (int(order), float(r), float(low + t), slope) for r, t in zip(rates, thresholds, strict=True)
        ]
    order, rate, threshold, slope = zip(*(columns[i] for i in rng.permutation(len(columns))), strict=True)
    return McsTable("random", order, rate, threshold, slope)


def any_features(seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 4, ft.N_FEATURES)
    x[0] = rng.uniform(-10, 35)
    return x


@settings(max_examples=150)
@given(st.integers(0, 2**32 - 1), st.floats(0, 30), st.sampled_from([1, 2, 3]))
def test_bler_is_a_probability_monotone_in_snr_and_along_every_ladder(seed, size, number):
    check_structure(McsTable.nr_pdsch(number), seed, size)


@pytest.mark.parametrize("name", ["amc", "nr-pdsch-1-sionna", "wifi"])
@pytest.mark.parametrize("size", [0.0, 0.3, 3.0, 30.0])
def test_the_same_holds_for_the_shipped_tables(name, size):
    for seed in range(5):
        check_structure(McsTable.named(name), seed, size)


@settings(max_examples=150)
@given(st.integers(0, 2**32 - 1), st.floats(0, 30))
def test_the_same_holds_for_any_table(seed, size):
    check_structure(any_table(seed), seed, size)


def check_structure(table, seed, size):
    predictor = any_encoder(make_predictor(table, np.random.default_rng(seed), depth=1.0), seed)
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
    weights.flat[OFFSET] = 2.0
    shifted = x.copy()
    shifted[0] += 2.0
    moved = plain_predictor.forward(weights, x).t
    assert np.allclose(moved, plain_predictor.forward(plain_predictor.weights(), shifted).t, atol=1e-6)


@pytest.mark.parametrize("name", ["nr-pdsch-1", "nr-pdsch-2"])
def test_an_offset_of_an_order_moves_that_orders_snr_and_no_other(rng, name):
    table = McsTable.named(name)
    predictor = make_predictor(table, rng, depth=1.0)
    x = any_features(5)
    shifted = x.copy()
    shifted[0] += 2.0
    plain, raised = (predictor.forward(predictor.weights(), features).t for features in (x, shifted))
    for order in range(len(table.orders)):
        weights = predictor.weights()
        weights.order_db[order] = 2.0
        moved = predictor.forward(weights, x).t
        assert np.allclose(moved, np.where(table.order_of == order, raised, plain), atol=1e-6)


def test_the_closed_form_is_the_one_that_the_docstring_states(rng):
    table = McsTable.nr_pdsch(2)
    predictor = any_encoder(make_predictor(table, rng, depth=1.0), 4)
    weights, x = any_weights(predictor, 4, 0.5), any_features(4)
    reading = predictor.encoder(x)
    assert np.abs(reading.tilt).max() > 0.5
    for m, t in enumerate(predictor.forward(weights, x).t):
        q = int(np.flatnonzero(table.orders == table.modulation_order[m])[0])
        ladder = [table.threshold_db[i] for i in range(len(table)) if table.order_of[i] == q]
        above = table.threshold_db[m] - (max(ladder) + min(ladder)) / 2
        slope = table.slope_db[m]
        s = np.sqrt(slope**2 + (np.sqrt(3) / np.pi * reading.sigma_db[q]) ** 2)
        short = table.threshold_db[m] + reading.tilt[q] * above + slope * x[ft.N_FEATURES - 1]
        short -= reading.mu_db[q] + weights.flat[OFFSET] + weights.order_db[q]
        assert t == pytest.approx(np.exp(weights.flat[GAMMA]) * short / s, rel=1e-9)


def test_what_the_encoder_reads_is_bounded_and_its_direct_path_is_linear(rng):
    predictor = make_predictor(McsTable.nr_pdsch(1), rng)
    encoder, x = predictor.encoder, np.zeros((3, ft.N_FEATURES))
    x[:, 0], x[1, 1], x[2, 1] = 10.0, 0.4, 0.8
    direct = np.zeros_like(encoder.direct)
    direct[:3, 0] = 0.5  # the three corrections, by the first lag
    reading = replace(encoder, direct=direct)(x)
    flat = replace(encoder, direct=np.zeros_like(direct))(x)
    assert np.allclose(reading.mu_db - flat.mu_db, [[0.0], [0.2], [0.4]], atol=1e-3)
    wild = replace(encoder, b3=np.repeat((1e3, -1e3, 1e3), 3))(x)
    assert np.allclose(wild.mu_db, 10.0 + MAX_DELTA_DB)
    assert np.allclose(wild.sigma_db, MIN_SIGMA_DB)
    assert np.allclose(wild.tilt, LARGEST_TILT)


def test_weights_have_names_in_the_order_of_the_flat_vector():
    shape = Shape(orders=3, layers=3, width=5)
    weights = Weights(shape, np.arange(float(shape.n_weights)))
    assert weights.gamma == GAMMA
    assert weights.offset_db == OFFSET
    assert weights.order_db.tolist() == [2, 3, 4]
    named = [*weights.W, weights.b, weights.v, weights.w, weights.u]
    rest = np.concatenate([array.ravel() for array in named])
    assert np.array_equal(rest, np.arange(shape.n_calibration, shape.n_weights))
    weights.order_db[1] = -7.0
    assert weights.flat[3] == -7.0


def test_weights_of_another_length_or_not_finite_are_refused(plain_predictor):
    for bad in (np.zeros(3), np.full(plain_predictor.shape.n_weights, np.nan)):
        with pytest.raises(ValueError, match=r"shape|finite"):
            replace(plain_predictor, offline=bad)


def test_a_shape_or_an_encoder_for_other_modulation_orders_than_the_tables_is_refused(plain_predictor, rng):
    four = make_predictor(McsTable.nr_pdsch(2), rng)
    for change in ({"shape": four.shape, "offline": four.offline}, {"encoder": four.encoder}):
        with pytest.raises(ValueError, match=r"4.*'nr-pdsch-1' has 3"):
            replace(plain_predictor, **change)


@pytest.mark.parametrize("bad", [{"orders": 0}, {"orders": 17}, {"layers": 9}, {"width": 1}])
def test_a_shape_out_of_range_is_refused(bad):
    with pytest.raises(ValueError, match=r"give 1 to 8 layers|1 to 16 modulation orders"):
        Shape(**({"orders": 3} | bad))
