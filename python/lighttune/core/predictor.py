# SPDX-License-Identifier: GPL-3.0-or-later
r"""The BLER predictor: one network reads the link, closed forms give the BLER of every MCS.

**Encoder** (trained offline, frozen on the air). The shape features ``x`` (`features.SHAPE`) go through two
tanh layers to three numbers for each modulation order ``q``: the effective SINR of the coming block is
predicted as ``N(mu_q, sigma_q^2)`` with ``mu_q = snr_db + delta_q(x)``, and ``tilt_q`` says how that moves
along the order's ladder. (A block's effective SINR depends on its modulation and code rate: over
frequency-selective fading it falls short of the reported SINR by more, the lower the order.) Averaging an
MCS's logistic waterfall over that normal gives, to within the usual logistic-normal approximation (MacKay
1992), another logistic with a wider scale:

    t(m) = exp(gamma) / s(m)
           * (threshold(m) + tilt_q above(m) + slope(m) length_logit - mu_q - offset_db - order_db[q]),
    s(m) = sqrt(slope(m)^2 + (sqrt(3) / pi sigma_q)^2),                         q: the order of MCS m

with ``above(m)`` the threshold over the middle of its order's ladder and ``tilt_q > -1``.

**Adaptive layers** (tuned on the air; they and the calibration ``offset_db``, ``gamma``, ``order_db`` are the
*weights* that travel).
Layer ``l`` with ``n`` units of fixed signs ``s_j = +1, -1, +1, ...`` sees the link through ``r_{l-1}``
(``r_0 = x``) and the candidate through ``t`` and its scaled threshold ``k``:

    a_l  = W_l r_{l-1} + b_l                     link only, one row for all candidates
    h_l  = relu(a_l + s * (v_l t + w_l k))       v_l, w_l >= 0
    c_l  = 2 * sum_j s_j u_lj h_lj               u_l >= 0
    r_l  = relu(a_l) / rms(relu(a_l))            what the next layer sees
    z_l  = t + c_l                               the layer's own logit of the BLER

and the prediction is ``p = sigmoid(mean_l z_l)``. Read as forward-forward, the label ``y' = +1`` (NACK) or
``-1`` (ACK) enters every layer as ``h_l + s u_l y'``, and ``c_l`` is half the difference of the two squared
norms (see `rules`). Read as local heads, ``2 s u_l`` is each layer's logistic read-out. One network, two
local losses.

Because ``s_j u_lj s_j v_lj >= 0``, every ``c_l`` is non-decreasing in ``t`` and in ``k``. So for all
weights that `project_signs` lets through, the BLER is non-increasing in the SINR (all reports raised
together, the features' shape unchanged), non-decreasing in spectral efficiency on one modulation order's
ladder (where ``s`` is one and ``threshold`` rises), and strictly inside (0, 1).

This form is this project's: of LightTune (arXiv 2604.12406) only the abstract is public to us.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np

from . import features as ft
from .mcs import McsTable, sigmoid

N_SHAPE = ft.SHAPE.stop - ft.SHAPE.start
LOGISTIC_STD = np.pi / np.sqrt(3)  # standard deviation of the unit logistic distribution
MAX_DELTA_DB = 15.0  # the encoder may correct a report by this much at most
MIN_SIGMA_DB = 0.05
LARGEST_TILT = 0.8  # below 1: thresholds keep their order along a ladder
GAMMA, OFFSET = 0, 1  # the first weights: log of the slope, SINR offset in dB; the orders' offsets follow


@dataclass(frozen=True)
class Shape:
    """Sizes of what is tuned: ``layers`` (1 to 8) of ``width`` units (2 to 256), and the offsets of the
    table's ``orders`` (1 to 16).

    Raises:
        ValueError: a size is out of range.
    """

    orders: int
    layers: int = 2
    width: int = 16

    def __post_init__(self) -> None:
        if not 1 <= self.layers <= 8 or not 2 <= self.width <= 256:
            raise ValueError(f"{self.layers} layers of {self.width}: give 1 to 8 layers of 2 to 256 units")
        if not 1 <= self.orders <= 16:
            raise ValueError(f"orders = {self.orders}: a table has 1 to 16 modulation orders")

    @property
    def n_calibration(self) -> int:
        """Weights before the layers': the slope, the offset, and the offset of each modulation order."""
        return 2 + self.orders

    def inputs(self, layer: int) -> int:
        """Inputs of a layer: the shape features for the first, the layer before it for the others."""
        return N_SHAPE if layer == 0 else self.width

    @cached_property
    def n_weights(self) -> int:
        """Length of the flat weight vector."""
        return self.n_calibration + sum(self.width * (self.inputs(i) + 4) for i in range(self.layers))

    @cached_property
    def signs(self) -> np.ndarray:
        """Fixed signs of a layer's units, shape ``(width,)``: half of them raise the BLER, half lower it."""
        return np.where(np.arange(self.width) % 2 == 0, 1.0, -1.0)


@dataclass(frozen=True)
class Weights:
    """A flat weight vector (..., n_weights) and named views of it: writing to a view writes to ``flat``.

    ``W`` has one matrix (..., width, inputs) for each layer; ``b, v, w, u`` are (..., layers, width).
    """

    shape: Shape
    flat: np.ndarray

    @cached_property
    def offset_db(self) -> np.ndarray:
        """Correction of the SINR in dB, shape (...)."""
        return self.flat[..., OFFSET]

    @cached_property
    def gamma(self) -> np.ndarray:
        """Log of the factor on the closed form's slope, shape (...)."""
        return self.flat[..., GAMMA]

    @cached_property
    def order_db(self) -> np.ndarray:
        """Correction of each modulation order's SINR in dB, shape (..., orders)."""
        return self.flat[..., 2 : 2 + self.shape.orders]

    @cached_property
    def W(self) -> tuple[np.ndarray, ...]:
        """What each layer makes of its input."""
        start, matrices = self.shape.n_calibration, []
        for layer in range(self.shape.layers):
            width, inputs = self.shape.width, self.shape.inputs(layer)
            part = self.flat[..., start : start + width * inputs]
            matrices.append(part.reshape(*self.flat.shape[:-1], width, inputs))
            start += width * inputs
        return tuple(matrices)

    @cached_property
    def b(self) -> np.ndarray:
        """Biases."""
        return self._per_unit(4)

    @cached_property
    def v(self) -> np.ndarray:
        """Weights of the margin ``t``."""
        return self._per_unit(3)

    @cached_property
    def w(self) -> np.ndarray:
        """Weights of the scaled threshold ``k``."""
        return self._per_unit(2)

    @cached_property
    def u(self) -> np.ndarray:
        """Label weights, or halved read-outs."""
        return self._per_unit(1)

    def _per_unit(self, from_the_end: int) -> np.ndarray:
        size, total = self.shape.layers * self.shape.width, self.shape.n_weights
        part = self.flat[..., total - from_the_end * size : total - (from_the_end - 1) * size]
        return part.reshape(*self.flat.shape[:-1], self.shape.layers, self.shape.width)


class Reading(NamedTuple):
    """What the encoder makes of features: standardised shape ``x (..., d)``; and of each modulation order the
    predicted SINR ``mu_db``, its spread ``sigma_db``, and ``tilt``, all ``(..., orders)``."""

    x: np.ndarray
    mu_db: np.ndarray
    sigma_db: np.ndarray
    tilt: np.ndarray


@dataclass(frozen=True)
class Encoder:
    """The frozen network: standardisation of the shape features and three dense layers.

    Shapes, with ``d = N_SHAPE``, ``k`` hidden units and ``q`` modulation orders: ``mean, scale (d,)``,
    ``w1 (k, d)``, ``b1 (k,)``, ``w2 (k, k)``, ``b2 (k,)``, ``w3 (3 q, k)``, ``b3 (3 q,)``, and ``direct
    (3 q, d)``, which goes past the hidden units: extrapolating clean reports is linear, and wants precision.
    """

    mean: np.ndarray
    scale: np.ndarray
    w1: np.ndarray
    b1: np.ndarray
    w2: np.ndarray
    b2: np.ndarray
    w3: np.ndarray
    b3: np.ndarray
    direct: np.ndarray

    def __call__(self, features: np.ndarray) -> Reading:
        """Read features ``(..., N_FEATURES)``."""
        x = np.minimum(np.maximum((features[..., ft.SHAPE] - self.mean) / self.scale, -8.0), 8.0)
        h = np.tanh(x @ self.w1.T + self.b1)
        h = np.tanh(h @ self.w2.T + self.b2)
        out = h @ self.w3.T + x @ self.direct.T + self.b3
        q = out.shape[-1] // 3
        delta = MAX_DELTA_DB * np.tanh(out[..., :q] / MAX_DELTA_DB)
        sigma = MIN_SIGMA_DB + np.logaddexp(0.0, out[..., q : 2 * q])
        tilt = LARGEST_TILT * np.tanh(out[..., 2 * q :])
        return Reading(x, ft.snr_db(features)[..., None] + delta, sigma, tilt)


@dataclass(frozen=True)
class Activations:
    """A forward pass over ``C`` candidates: what the tuning rules need of it.

    ``scale (..., C)`` is ``exp(gamma) / s``; ``t (..., C)``; ``k (..., C)``; ``r`` has each layer's input
    ``(..., inputs)``; ``h (..., C, layers, width)`` are the units, ``z (..., C, layers)`` the local logits;
    ``logit (..., C)`` is the prediction's.
    """

    scale: np.ndarray
    t: np.ndarray
    k: np.ndarray
    r: tuple[np.ndarray, ...]
    h: np.ndarray
    z: np.ndarray
    logit: np.ndarray


@dataclass(frozen=True, eq=False)  # one is itself: what is derived from it is kept by identity
class Predictor:
    """A BLER predictor as trained offline: ``p(features, mcs)`` for the MCS of one table.

    Args:
        table: the MCS that it predicts for.
        encoder: the frozen network.
        offline: flat weights of the adaptive layers as trained, shape ``(shape.n_weights,)``.
        shape: sizes of what is tuned.

    Raises:
        ValueError: the weights have another length than ``shape`` asks for, or are not finite; or the shape
            or the encoder are for another number of modulation orders than the table has.
    """

    table: McsTable
    encoder: Encoder
    offline: np.ndarray = field(repr=False)
    shape: Shape

    def __post_init__(self) -> None:
        orders = len(self.table.orders)
        if self.shape.orders != orders or len(self.encoder.b3) != 3 * orders:
            raise ValueError(
                f"a predictor of {self.shape.orders} and an encoder of {len(self.encoder.b3) / 3:g}"
                f" modulation orders: table {self.table.name!r} has {orders}"
            )
        check_weights(self.offline, self.shape)

    def weights(self, flat: np.ndarray | None = None) -> Weights:
        """Named views of ``flat`` (..., n_weights), or of a copy of the offline weights."""
        return Weights(self.shape, self.offline.astype(float) if flat is None else np.asarray(flat, float))

    @cached_property
    def scaled_threshold(self) -> np.ndarray:
        """``k`` of every MCS, shape ``(n_mcs,)``."""
        return (self.table.threshold - self.table.threshold.mean()) / 10.0

    def forward(
        self,
        weights: Weights,
        features: np.ndarray,
        mcs: np.ndarray | slice = slice(None),
        encoded: Reading | None = None,
    ) -> Activations:
        """Run the network for some candidates of each link.

        Args:
            weights: of one link, or of a batch (leading axes as in ``features``).
            features: shape (..., N_FEATURES).
            mcs: candidates: a slice for all links alike, or indices of shape (..., C).
            encoded: what `Encoder` makes of ``features``, where the caller has it already.
        """
        reading = self.encoder(features) if encoded is None else encoded
        x, order = reading.x, self.table.order_of[mcs]
        sent_db, spread_db, tilt, order_db = (
            _of_order(values, order)
            for values in (reading.mu_db, reading.sigma_db, reading.tilt, weights.order_db)
        )
        slope = self.table.slope[mcs]
        scale = np.exp(weights.gamma)[..., None] / np.hypot(slope, spread_db / LOGISTIC_STD)
        margin = self.table.threshold[mcs] + tilt * self.table.above_middle_db[mcs]
        margin = margin + slope * ft.length_logit(features)[..., None]
        t = scale * (margin - sent_db - order_db - weights.offset_db[..., None])
        k = self.scaled_threshold[mcs]
        signs, r, inputs = self.shape.signs, x, []
        trunk = np.empty((*x.shape[:-1], *weights.b.shape[-2:]))
        for index, matrix in enumerate(weights.W):
            inputs.append(r)
            product = r @ matrix.T if matrix.ndim == 2 else np.matmul(matrix, r[..., None])[..., 0]
            trunk[..., index, :] = product + weights.b[..., index, :]
            a = np.maximum(trunk[..., index, :], 0.0)
            r = a / np.sqrt(np.einsum("...i,...i->...", a, a) / a.shape[-1] + 1e-6)[..., None]
        h = (signs * weights.v)[..., None, :, :] * t[..., None, None]
        h += (signs * weights.w)[..., None, :, :] * k[..., None, None]
        h += trunk[..., None, :, :]
        np.maximum(h, 0.0, out=h)
        z = t[..., None] + 2.0 * np.einsum("...cln,...ln->...cl", h, signs * weights.u)
        return Activations(scale, t, np.broadcast_to(k, t.shape), tuple(inputs), h, z, z.mean(axis=-1))

    def bler(
        self, weights: Weights, features: np.ndarray, mcs: np.ndarray | slice = slice(None)
    ) -> np.ndarray:
        """Predicted BLER of the candidates, inside (0, 1), shape (..., C); arguments as `forward`."""
        return sigmoid(self.forward(weights, features, mcs).logit)


def _of_order(values: np.ndarray, order: np.ndarray) -> np.ndarray:
    """From values of each modulation order (..., orders), those of the candidates' orders: (C,) or (...,
    C)."""
    if order.ndim == 1:
        return values[..., order]
    values = np.broadcast_to(values, (*order.shape[:-1], values.shape[-1]))
    return np.take_along_axis(values, order, axis=-1)


def check_weights(flat: np.ndarray, shape: Shape) -> None:
    """Refuse a flat weight vector that the predictor cannot use.

    Raises:
        ValueError: wrong length, or a weight is not finite.
    """
    if flat.shape != (shape.n_weights,):
        raise ValueError(f"weights of shape {flat.shape}: this predictor has ({shape.n_weights},)")
    if not np.isfinite(flat).all():
        raise ValueError(f"{np.count_nonzero(~np.isfinite(flat))} of {flat.size} weights are not finite")


def project_signs(weights: Weights) -> None:
    """Clip ``v``, ``w`` and ``u`` of every layer at 0, in place: what keeps the predictor monotone."""
    for array in (weights.v, weights.w, weights.u):
        np.maximum(array, 0.0, out=array)
