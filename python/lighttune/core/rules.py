# SPDX-License-Identifier: GPL-3.0-or-later
r"""Tuning rules: how one observed ACK or NACK moves the adaptive layers, by forward passes only.

Every rule returns the descent direction of *local* losses: each layer's loss depends on that layer's
weights and on its input, no derivative passes from one layer to another. The closed form is the zeroth
layer: its logit is ``t``, its loss the logistic one, its weights ``offset_db`` and ``gamma``. With ``n =
1`` for a NACK and ``y' = 2n - 1``:

    d loss / d offset_db = -(sigmoid(t) - n) * scale        d loss / d gamma = (sigmoid(t) - n) * t

Which algorithm LightTune (arXiv 2604.12406) uses in detail is not public to us; these two are ours.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from .mcs import sigmoid
from .predictor import GAMMA, OFFSET, Activations, Predictor, Weights


class Rule(Protocol):
    """A tuning rule: a name and `direction`."""

    @property
    def name(self) -> str:
        """As in `RULES`."""

    def direction(
        self, predictor: Predictor, weights: Weights, act: Activations, nack: np.ndarray
    ) -> np.ndarray:
        """Step to *add* to ``weights.flat``, learning rates included.

        Args:
            weights: one row per link, ``flat`` of shape ``(n_links, n_weights)``.
            act: the forward pass of these weights over the MCS that was sent (one candidate for each link).
            nack: 1.0 for NACK, 0.0 for ACK, shape ``(n_links,)``.

        Returns:
            shape ``(n_links, n_weights)``.
        """


@dataclass(frozen=True)
class _LayerLocal(ABC):
    """What the layer-local rules share: the zeroth layer, and the way from the units to the weights."""

    offset_rate: float = 0.35
    gamma_rate: float = 0.01
    layer_rate: float = 0.01

    def direction(
        self, predictor: Predictor, weights: Weights, act: Activations, nack: np.ndarray
    ) -> np.ndarray:
        step = np.zeros_like(weights.flat)
        t, k, scale = act.t[:, 0], act.k[:, 0], act.scale[:, 0]
        residual = sigmoid(t) - nack
        step[:, OFFSET] = self.offset_rate * residual * scale
        step[:, GAMMA] = -self.gamma_rate * residual * np.clip(t, -4.0, 4.0)
        signs, h = predictor.shape.signs, act.h[:, 0]
        d_units, d_labels = self.local(act, signs, weights.u, nack)
        d_units = np.where(h > 0, -self.layer_rate * d_units, 0.0)
        moved = Weights(weights.shape, step)
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


RULES: dict[str, type[LocalHead] | type[ForwardForward]] = {
    "local_head": LocalHead,
    "forward_forward": ForwardForward,
}


def make_rule(name: str) -> Rule:
    """The rule of that name with its default rates.

    Raises:
        ValueError: no rule has this name.
    """
    if name not in RULES:
        raise ValueError(f"rule = {name!r}: there are {', '.join(sorted(RULES))}")
    return RULES[name]()
