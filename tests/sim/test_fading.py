# SPDX-License-Identifier: GPL-3.0-or-later
"""Fading has the textbook's statistics."""

import numpy as np
import pytest
from gnuradio.lighttune.sim.fading import N_TAPS, draw_scattering, effective_snr_db, power_gains

SLOT_S = 1e-3


def gains(rng, n_links=400, n_slots=200, doppler_hz=50.0, delay_spread=0.0, rician_k=0.0) -> np.ndarray:
    scattering = draw_scattering(rng, np.full(n_links, delay_spread), np.full(n_links, rician_k))
    return power_gains(scattering, np.full((n_links, 1), doppler_hz), (n_slots,), SLOT_S)


def bessel_j0(x: np.ndarray) -> np.ndarray:
    angle = (np.arange(512) + 0.5) / 512 * np.pi
    return np.cos(np.asarray(x)[..., None] * np.sin(angle)).mean(axis=-1)


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def test_power_decorrelates_as_the_square_of_clarkes_autocorrelation(rng):
    # The power of a complex Gaussian process with autocorrelation J0 has J0^2. 2,000 independent links: the
    # standard error of a correlation is 0.02.
    power = gains(rng, n_links=2000, n_slots=60)[:, :, 0]
    lags = np.array([1, 3, 5, 7, 10, 12, 20, 40])
    measured = [correlation(power[:, :-lag], power[:, lag:]) for lag in lags]
    assert np.allclose(measured, bessel_j0(2 * np.pi * 50.0 * SLOT_S * lags) ** 2, atol=0.05)


def test_without_a_steady_wave_the_envelope_is_rayleigh(rng):
    power = gains(rng, n_links=2000, n_slots=40)[:, :, 0]
    assert power.mean() == pytest.approx(1.0, abs=0.05)
    for level in (0.05, 0.5, 2.0):  # the power is exponential
        assert (power < level).mean() == pytest.approx(1 - np.exp(-level), abs=0.02)


@pytest.mark.parametrize("k", [1.0, 10.0])
def test_a_steady_wave_narrows_the_spread_of_the_power_as_rice_has_it(k, rng):
    power = gains(rng, n_links=3000, n_slots=20, rician_k=k)[:, :, 0]
    assert power.mean() == pytest.approx(1.0, abs=0.03)
    assert power.var() == pytest.approx((1 + 2 * k) / (1 + k) ** 2, rel=0.1)


def test_flat_fading_is_the_same_on_every_subcarrier_and_a_long_echo_is_not(rng):
    flat = gains(rng, delay_spread=0.0)
    assert np.allclose(flat, flat[:, :, :1], rtol=1e-4, atol=1e-5)
    neighbours = [
        correlation(g[:, :, :-1], g[:, :, 1:]) for g in (gains(rng, delay_spread=s) for s in (0.1, 1.0, 4.0))
    ]
    assert neighbours[0] > 0.98 > neighbours[1] > 0.6 > 0.3 > neighbours[2]


def test_taps_have_the_rms_delay_spread_that_was_asked_for(rng):
    spread = np.array([0.1, 1.0, 4.0])
    scattering = draw_scattering(rng, spread, np.zeros(3))
    power = (scattering.amplitude[:, :N_TAPS] ** 2).sum(axis=2)
    delay = scattering.delay[:, :N_TAPS]
    mean = (power * delay).sum(axis=1)
    rms = np.sqrt((power * delay**2).sum(axis=1) - mean**2)
    assert np.allclose(power.sum(axis=1), 1.0)
    assert np.allclose(rms, spread)


def test_the_channel_is_continuous_where_the_doppler_changes(rng):
    scattering = draw_scattering(rng, np.full(50, 1.0), np.zeros(50))
    changing = power_gains(scattering, np.tile([2.0, 3.0], (50, 1)), (100, 100), SLOT_S)
    steps = np.abs(np.diff(changing, axis=1)).max(axis=(0, 2))
    assert steps[99] < 2 * np.median(steps)


def test_stretches_of_equal_doppler_are_one_stretch(rng):
    scattering = draw_scattering(rng, np.full(5, 1.0), np.ones(5))
    split = power_gains(scattering, np.full((5, 3), 40.0), (70, 1, 129), SLOT_S)
    whole = power_gains(scattering, np.full((5, 1), 40.0), (200,), SLOT_S)
    assert np.allclose(split, whole, rtol=1e-3, atol=1e-3)


def test_the_effective_sinr_of_a_flat_channel_is_its_sinr():
    flat = np.full((1, 1, 16), 0.5)
    for beta in (1.0, 20.0):
        assert effective_snr_db(flat, 13.0, beta)[0, 0] == pytest.approx(13.0 - 3.0103, abs=1e-4)


def test_the_effective_sinr_lies_between_the_weakest_subcarrier_and_the_mean(rng):
    g = gains(rng, n_links=5, n_slots=20, delay_spread=1.0).astype(float)
    weakest, mean = 10 * np.log10(g.min(axis=-1)), 10 * np.log10(g.mean(axis=-1))
    small, middle, large = (effective_snr_db(g, 20.0, b) - 20.0 for b in (1e-4, 5.0, 1e5))
    assert np.allclose(small, weakest, atol=0.1)
    assert np.allclose(large, mean, atol=0.1)
    assert ((weakest <= middle + 1e-4) & (middle <= mean + 1e-4)).all()


def test_two_subcarriers_follow_the_formula():
    g = np.array([[[0.5, 2.0]]])
    expected = -5.0 * np.log((np.exp(-5.0 / 5.0) + np.exp(-20.0 / 5.0)) / 2)
    assert effective_snr_db(g, 10.0, 5.0)[0, 0] == pytest.approx(10 * np.log10(expected), abs=1e-4)


def test_extreme_sinrs_neither_overflow_nor_underflow():
    g = np.array([[[1e-9, 1.0], [1.0, 1.0]]])
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        for snr_db in (-60.0, 80.0):
            assert np.isfinite(effective_snr_db(g, snr_db, 1.67)).all()
