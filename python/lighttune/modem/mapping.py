# SPDX-License-Identifier: GPL-3.0-or-later
"""Gray-mapped constellations and their max-log soft demapper (IEEE 802.11-2020, 17.3.5.8).

Square QAM is two independent Gray PAM axes, so the demapper works per axis: a max-log LLR of a PAM is a
fixed piecewise linear function of the received value, tabulated once (but for two levels, where it is one
line) and scaled by the carrier's SNR.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

ORDERS = (1, 2, 4, 6, 8)
_GRID = 32  # table points per half level distance: error below 1/64 of it, far under the noise
_REACH = 2.0  # the table covers twice the outermost level; beyond it LLRs saturate anyway


def axis_bits(order: int) -> int:
    """Bits per real axis."""
    return max(order // 2, 1)


@lru_cache(maxsize=8)
def pam_labels(bits: int) -> np.ndarray:
    """Gray labels of the levels -(M-1), ..., M-1, first bit first, shape ``(2**bits, bits)``, uint8."""
    level = np.arange(2**bits)
    gray = level ^ (level >> 1)
    return (gray[:, None] >> np.arange(bits - 1, -1, -1) & 1).astype(np.uint8)


def scale(order: int) -> float:
    """Factor that gives unit mean power to levels ..., -3, -1, 1, 3, ... on every axis in use."""
    levels = 2 ** axis_bits(order)
    axes = 1 if order == 1 else 2
    return 1 / np.sqrt(axes * (levels**2 - 1) / 3)


@lru_cache(maxsize=8)
def constellation(order: int) -> np.ndarray:
    """Points by label (first bit most significant), unit mean power, shape ``(2**order,)``, complex64.

    Raises:
        ValueError: ``order`` is not 1, 2, 4, 6 or 8.
    """
    if order not in ORDERS:
        raise ValueError(f"order = {order!r}: give one of {ORDERS} bits per symbol")
    bits = axis_bits(order)
    labels = pam_labels(bits) @ (1 << np.arange(bits - 1, -1, -1))
    axis = np.empty(2**bits)
    axis[labels] = np.arange(2**bits) * 2 - (2**bits - 1)
    points = axis.astype(complex) if order == 1 else axis[:, None] + 1j * axis[None, :]
    return (points.ravel() * scale(order)).astype(np.complex64)


def modulate(bits: np.ndarray, order: int) -> np.ndarray:
    """Map bits to points.

    Args:
        bits: shape ``(n * order,)``, 0 or 1.

    Returns:
        Points, shape ``(n,)``, complex64.
    """
    labels = bits.reshape(-1, order) @ (1 << np.arange(order - 1, -1, -1))
    return constellation(order)[labels]


@lru_cache(maxsize=8)
def _llr_table(order: int) -> tuple[np.ndarray, float, int]:
    """Max-log LLR against the received value: ``(table, steps per unit, middle)``.

    LLR = min over points with bit 0 of |y - x|^2 less the same over points with bit 1: the log-likelihood
    ratio in nats is this times 1 / N0 (complex noise power). Positive means bit 1.
    """
    bits = axis_bits(order)
    labels = pam_labels(bits)
    levels = (np.arange(2**bits) * 2 - (2**bits - 1)) * scale(order)
    middle = int(_REACH * 2**bits * _GRID)
    y = np.arange(-middle, middle + 1) / _GRID * scale(order)
    distance = (y[:, None] - levels) ** 2
    table = np.stack(
        [
            distance[:, labels[:, b] == 0].min(axis=1) - distance[:, labels[:, b] == 1].min(axis=1)
            for b in range(bits)
        ],
        axis=1,
    )
    return table.astype(np.float32), _GRID / scale(order), middle


def soft_demap(points: np.ndarray, weight: np.ndarray, order: int) -> np.ndarray:
    """Max-log LLRs of equalised points, positive for bit 1.

    Args:
        points: equalised to unit mean power, shape ``(symbols, carriers)``, finite.
        weight: SNR of each carrier (linear, any common factor), shape ``(carriers,)``.
        order: bits per symbol.

    Returns:
        LLRs in transmission order, shape ``(symbols * carriers * order,)``, float32; they are true
        log-likelihood ratios in nats where ``weight`` is |H|^2 / N0.
    """
    if order == 1:
        axes = np.ascontiguousarray(points.real)[..., None]
    else:
        axes = np.ascontiguousarray(points, np.complex64).view(np.float32).reshape(*points.shape, 2)
    if order <= 2:  # two levels: no table needed
        return (axes * (weight[:, None] * (4 * scale(order))).astype(np.float32)).ravel()
    table, steps, middle = _llr_table(order)
    index = axes * np.float32(steps)
    index += np.float32(middle + 0.5)  # the conversion to integers rounds down
    np.minimum(np.maximum(index, 0, out=index), np.float32(2 * middle), out=index)
    llr = table.take(index.astype(np.intp), axis=0).reshape(*points.shape, order)
    llr *= weight[:, None].astype(np.float32, copy=False)
    return llr.ravel()
