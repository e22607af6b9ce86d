# SPDX-License-Identifier: GPL-3.0-or-later
"""Constellations and the soft demapper."""

import numpy as np
import pytest
from gnuradio.lighttune.modem import mapping


@pytest.mark.parametrize("order", mapping.ORDERS)
def test_constellations_have_unit_power_and_gray_labels(order):
    points = mapping.constellation(order)
    assert np.mean(np.abs(points) ** 2) == pytest.approx(1, abs=1e-5)
    distance = np.abs(points[:, None] - points[None, :]) + 10 * np.eye(len(points))
    for a, b in zip(*np.nonzero(distance < 1.01 * distance.min()), strict=True):
        assert int(a ^ b).bit_count() == 1  # nearest neighbours differ in one bit


@pytest.mark.parametrize("order", mapping.ORDERS)
def test_clean_points_demap_to_their_bits(order, rng):
    bits = rng.integers(0, 2, 48 * order * 3)
    llr = mapping.soft_demap(mapping.modulate(bits, order).reshape(3, 48), np.ones(48), order)
    assert np.array_equal(llr > 0, bits == 1)


@pytest.mark.parametrize("order", mapping.ORDERS)
def test_the_table_agrees_with_the_search_over_all_points(order, rng):
    snr = 10 ** (mapping.axis_bits(order) * 6 / 10)
    sent = mapping.constellation(order)[rng.integers(0, 2**order, (4, 48))]
    noise = rng.standard_normal((4, 48)) + 1j * rng.standard_normal((4, 48))
    y = (sent + noise / np.sqrt(2 * snr)).astype(np.complex64)
    weight = rng.uniform(0.2, 2, 48) * snr
    points = mapping.constellation(order)
    distance = np.abs(y[..., None] - points) ** 2
    label = np.arange(2**order)
    expected = np.empty((4, 48, order))
    for bit in range(order):
        one = label >> (order - 1 - bit) & 1 == 1
        expected[..., bit] = distance[..., ~one].min(-1) - distance[..., one].min(-1)
    expected *= weight[:, None]
    got = mapping.soft_demap(y, weight, order).reshape(4, 48, order)
    # Rounding to 1/32 of half a level distance moves an LLR by at most its slope times 1/64.
    slope = 4 * snr * 2 * mapping.scale(order) * 2 ** mapping.axis_bits(order) * mapping.scale(order) / 64
    assert np.abs(got - expected).max() < slope


def test_an_unknown_order_is_refused():
    with pytest.raises(ValueError, match="order = 3"):
        mapping.constellation(3)
