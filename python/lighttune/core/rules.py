# SPDX-License-Identifier: GPL-3.0-or-later
r"""Tuning rules: how one observed ACK or NACK moves the adaptive layers, by forward passes only.

`LocalHead` and `ForwardForward` return the descent direction of *local* losses: each layer's loss depends on
that layer's weights and on its input, no derivative passes from one layer to another. The closed form is the
zeroth layer: its logit is ``t``, its loss the logistic one, its weights ``offset_db`` and ``gamma``. With
``n = 1`` for a NACK and ``y' = 2n - 1``:

    d loss / d offset_db = d loss / d order_db[q] = -(sigmoid(t) - n) * scale,      q: the order that was sent
    d loss / d gamma = (sigmoid(t) - n) * t

`Spsa` has no derivative at all: it compares two forward passes of the whole predictor.

Which algorithm LightTune (arXiv 2604.12406) uses in detail is not public to us; the first two are ours, the
third is published and here to compare with.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from .mcs import sigmoid
from .predictor import GAMMA, OFFSET, Activations, Predictor, Reading, Weights


@dataclass(frozen=True)
class Outcome:
    """One block of each link, as a rule sees it: what was known, what was sent, how it ended.

    Args:
        features: as decided on, shape ``(n_links, N_FEATURES)``.
        mcs: that was sent, shape ``(n_links, 1)``: the one candidate of `Predictor.forward`.
        encoded: what the predictor's encoder makes of ``features``.
        nack: 1.0 for NACK, 0.0 for ACK, shape ``(n_links,)``.
    """

    features: np.ndarray
    mcs: np.ndarray
    encoded: Reading
    nack: np.ndarray


class Rule(Protocol):
    """A tuning rule: a name and `direction`."""

    @property
    def name(self) -> str:
        """As in `RULES`."""

    def direction(
        self, predictor: Predictor, weights: Weights, act: Activations, outcome: Outcome
    ) -> np.ndarray:
        """Step to *add* to ``weights.flat``, learning rates included.

        Args:
            weights: one row per link, ``flat`` of shape ``(n_links, n_weights)``.
            act: the forward pass of these weights over the MCS that was sent (one candidate for each link).
            outcome: the block that was sent, for whoever needs another pass, and how it ended.

        Returns:
            shape ``(n_links, n_weights)``.
        """


@dataclass(frozen=True)
class _LayerLocal(ABC):
    """What the layer-local rules share: the zeroth layer, and the way from the units to the weights."""

    offset_rate: float = 0.1
    order_rate: float = 0.1
    gamma_rate: float = 0.003  # with 0.01 goodput is 0.2 % higher, the error of MCS not sent too
    layer_rate: float = 0.03

    def direction(
        self, predictor: Predictor, weights: Weights, act: Activations, outcome: Outcome
    ) -> np.ndarray:
        step, nack = np.zeros_like(weights.flat), outcome.nack
        t, k, scale = act.t[:, 0], act.k[:, 0], act.scale[:, 0]
        residual = sigmoid(t) - nack
        step[:, GAMMA] = -self.gamma_rate * residual * np.clip(t, -4.0, 4.0)
        step[:, OFFSET] = self.offset_rate * residual * scale
        moved = Weights(weights.shape, step)
        order = predictor.table.order_of[outcome.mcs]
        np.put_along_axis(moved.order_db, order, (self.order_rate * residual * scale)[:, None], axis=1)
        signs, h = predictor.shape.signs, act.h[:, 0]
        d_units, d_labels = self.local(act, signs, weights.u, nack)
        d_units = np.where(h > 0, -self.layer_rate * d_units, 0.0)
        moved.u[...] = -self.layer_rate * d_labels
        moved.b[...] = d_units
        moved.v[...] = d_units * signs * t[:, None, None]
        moved.w[...] = d_units * signs * k[:, None, None]
        for layer, (matrix, r) in enumerate(zip(moved.W, act.r, strict=True)):
            matrix[...] = d_units[:, layer, :, None] * r[:, None, :]
        return step

    @abstractmethod
    def local(
        self, act: Activations, signs: np.ndarray, u: np.ndarray, nack: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Derivatives of each layer's own loss by its ``h`` and its ``u``: ``(n_links, layers, width)``."""


@dataclass(frozen=True)
class LocalHead(_LayerLocal):
    r"""Each layer has a logistic read-out ``2 s u`` and learns by its own delta rule.

    Loss of layer ``l``: ``softplus(-y' z_l)``, with ``z_l = t + 2 sum_j s_j u_j h_j``; so with
    ``e = sigmoid(z_l) - n``

        d loss / d h_j = 2 e s_j u_j        d loss / d u_j = 2 e s_j h_j
    """

    name: str = "local_head"

    def local(
        self, act: Activations, signs: np.ndarray, u: np.ndarray, nack: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        error = 2.0 * (sigmoid(act.z[:, 0]) - nack[:, None])[..., None] * signs
        return error * u, error * act.h[:, 0]


@dataclass(frozen=True)
class ForwardForward(_LayerLocal):
    r"""Hinton's forward-forward with flipped labels as negatives (arXiv 2212.13345).

    The label enters every layer: ``a(y) = h + s u y'``. Goodness of layer ``l`` for a label,

        g(y) = y' t + |a(y)|^2 - theta

    and its loss ``softplus(-g(y)) + softplus(g(1 - y))`` for the observed label and the flipped one. At given
    features the label 1 is the positive with probability P(NACK) and the negative otherwise, so the loss
    that a free ``g(1)`` sees is the logistic one and its optimum is ``sigmoid(g(1)) = P(NACK)``; likewise
    ``sigmoid(g(0)) = P(ACK)``. Hence, with ``|a(1)|^2 - |a(0)|^2 = 4 sum_j s_j u_j h_j``,

        (g(1) - g(0)) / 2 = t + 2 sum_j s_j u_j h_j = z_l

    is the logit of the BLER, exactly so where both optima are reached. That needs ``g(1) = -g(0)``, or
    ``|h|^2 + |u|^2 = theta``, and the loss drives the units there. One ``theta`` for all inputs cannot have
    it everywhere: where ``c = (g(1) + g(0)) / 2`` is left over, the loss is least at

        (sigmoid(z_l - c) + sigmoid(z_l + c)) / 2 = P(NACK),

    so the layer's own logit is then more extreme than the log odds.

    With ``e+ = sigmoid(-g(y))`` and ``e- = sigmoid(g(1 - y))``

        d loss / d h = -2 e+ a(y) + 2 e- a(1 - y)        d loss / d u = s y' (-2 e+ a(y) - 2 e- a(1 - y))
    """

    layer_rate: float = 0.01  # three times that loses a third of the gain: bench/search.py
    theta: float = 4.0
    name: str = "forward_forward"

    def local(
        self, act: Activations, signs: np.ndarray, u: np.ndarray, nack: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        h, label = act.h[:, 0], (2.0 * nack - 1.0)[:, None]
        shift = signs * u * label[..., None]
        positive, negative = h + shift, h - shift
        margin = label * act.t
        g_positive = margin + np.einsum("...i,...i->...", positive, positive) - self.theta
        g_negative = -margin + np.einsum("...i,...i->...", negative, negative) - self.theta
        pull = -2.0 * sigmoid(-g_positive)[..., None] * positive
        push = 2.0 * sigmoid(g_negative)[..., None] * negative
        return pull + push, signs * label[..., None] * (pull - push)


@dataclass
class Spsa:
    r"""Zeroth order, by two forward passes (J. C. Spall, IEEE Trans. Automatic Control 37, 1992).

    The loss is the whole predictor's on the block that was sent, ``L(w) = softplus(-y' logit(w))``. With a
    fresh vector ``D`` of independent signs (-1 or 1, each with probability 1/2) for every link and block, and
    sizes ``c_i`` of the perturbation,

        g_i = (L(w + c D) - L(w - c D)) / (2 c_i) * D_i        step_i = -rate_i * g_i

    (``c D`` by coordinates; MeZO, arXiv 2305.17333, is the same with normal ``D`` and one ``c``). Over ``D``
    the mean of ``g`` is the gradient up to a term of order ``c^2``; its price is the variance

        Var g_i = sum over j other than i of (c_j / c_i)^2 (dL/dw_j)^2 + O(c^2)

    so the sizes decide who disturbs whom. A dB of offset and one layer's weight differ in what they do to the
    logit: offset, gamma and the layers have a size and a rate each. A layer's weight is one of hundreds, and
    its rate is smaller than the layer-local rules' by about that factor.

    The passes may take weights that the guards would not (``u < 0``); only steps change the model.

    Args:
        offset_rate, order_rate, gamma_rate, layer_rate: learning rates.
        offset_size, gamma_size, layer_size: ``c`` of the offsets (dB), of gamma and of the layers' weights.
        seed: of the signs. A rule draws for all links of a call at once, so its steps depend on the seed and
            on the calls so far: the same seed and the same calls give the same steps.

    Raises:
        ValueError: a size is not positive and finite.
    """

    offset_rate: float = 0.1
    order_rate: float = 0.03
    gamma_rate: float = 0.01
    layer_rate: float = 1e-4
    offset_size: float = 0.1
    gamma_size: float = 0.02
    layer_size: float = 0.01
    seed: int = 0
    name: str = "spsa"
    _rng: np.random.Generator = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("offset_size", "gamma_size", "layer_size"):
            if not 0 < getattr(self, name) < np.inf:
                raise ValueError(f"{name} = {getattr(self, name)!r}: give a positive, finite number")
        self._rng = np.random.default_rng(self.seed)

    def direction(
        self, predictor: Predictor, weights: Weights, act: Activations, outcome: Outcome
    ) -> np.ndarray:
        shape = weights.shape
        repeats = (1, 1, shape.orders, shape.n_weights - shape.n_calibration)
        size = np.repeat((self.gamma_size, self.offset_size, self.offset_size, self.layer_size), repeats)
        rate = np.repeat((self.gamma_rate, self.offset_rate, self.order_rate, self.layer_rate), repeats)
        signs = 2.0 * self._rng.integers(0, 2, weights.flat.shape) - 1.0
        label = 2.0 * outcome.nack - 1.0

        def loss(flat: np.ndarray) -> np.ndarray:
            again = predictor.forward(
                Weights(weights.shape, flat), outcome.features, outcome.mcs, outcome.encoded
            )
            return np.logaddexp(0.0, -label * again.logit[:, 0])

        rise = loss(weights.flat + size * signs) - loss(weights.flat - size * signs)
        return -rate / (2.0 * size) * rise[:, None] * signs


RULES: dict[str, Callable[[], Rule]] = {
    "local_head": LocalHead,
    "forward_forward": ForwardForward,
    "spsa": Spsa,
}


def make_rule(name: str) -> Rule:
    """The rule of that name with its default rates.

    Raises:
        ValueError: no rule has this name.
    """
    if name not in RULES:
        raise ValueError(f"rule = {name!r}: there are {', '.join(sorted(RULES))}")
    return RULES[name]()
