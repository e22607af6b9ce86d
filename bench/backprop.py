# SPDX-License-Identifier: GPL-3.0-or-later
"""Backpropagation as a tuning rule: the reference that the forward-only rules are compared with.

The same network, trigger and guards as theirs; only the step differs. The loss is the whole predictor's on
the block that was sent,

    L(w) = softplus(-y' logit(w)),   logit = mean over layers of z_l,   y' = 1 for NACK, -1 for ACK,

and its gradient passes from the logit through all adaptive layers and the closed form (gamma and the
offsets). The package itself has no such rule: it lives here, and needs torch.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from gnuradio.lighttune.core import features as ft
from gnuradio.lighttune.core.predictor import (
    GAMMA,
    LOGISTIC_STD,
    OFFSET,
    Activations,
    Predictor,
    Shape,
    Weights,
)
from gnuradio.lighttune.core.rules import Outcome
from torch.nn import functional as F

OPTIMIZERS = ("sgd", "adam")
# Gamma, the offset and the orders' offsets (dB), the layers; of SGD those of the layer-local rules.
_RATES = {"sgd": (0.01, 0.1, 0.1, 0.03), "adam": (0.005, 0.1, 0.1, 0.002)}


def log_loss(predictor: Predictor, flat: torch.Tensor, outcome: Outcome) -> torch.Tensor:
    """Log loss in nats of every link's block, ``(n_links,)``, for weights ``flat (n_links, n_weights)``.

    The equations are those of `lighttune.core.predictor`, written once more in torch, for a batch of weights.
    """

    def tensor(array: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(array, dtype=flat.dtype)

    n, shape, table, mcs = len(flat), predictor.shape, predictor.table, outcome.mcs[:, 0]
    order, link = table.order_of[mcs], np.arange(n)
    x = tensor(outcome.encoded.x)
    mu, sigma, tilt = (tensor(of_order[link, order]) for of_order in outcome.encoded[1:])
    slope, threshold = tensor(table.slope[mcs]), tensor(table.threshold[mcs])
    scale = torch.exp(flat[:, GAMMA]) / torch.hypot(slope, sigma / LOGISTIC_STD)
    margin = threshold + tilt * tensor(table.above_middle_db[mcs])
    margin = margin + slope * tensor(ft.length_logit(outcome.features))
    order_db = flat[:, OFFSET + 1 : shape.n_calibration][link, order]
    t = scale * (margin - mu - flat[:, OFFSET] - order_db)
    k = (threshold - float(table.threshold.mean())) / 10.0
    signs = tensor(shape.signs)
    units = shape.layers * shape.width
    b, v, w, u = (
        part.reshape(n, shape.layers, shape.width) for part in flat[:, -4 * units :].split(units, 1)
    )
    start, r, logits = shape.n_calibration, x, []
    for layer in range(shape.layers):
        size = shape.width * shape.inputs(layer)
        matrix = flat[:, start : start + size].reshape(n, shape.width, shape.inputs(layer))
        start += size
        a = torch.einsum("nij,nj->ni", matrix, r) + b[:, layer]
        h = F.relu(a + signs * (v[:, layer] * t[:, None] + w[:, layer] * k[:, None]))
        logits.append(t + 2.0 * torch.einsum("ni,ni->n", h, signs * u[:, layer]))
        a = F.relu(a)
        r = a / torch.sqrt((a**2).mean(dim=1, keepdim=True) + 1e-6)
    logit = torch.stack(logits, dim=1).mean(dim=1)
    return F.softplus((1.0 - 2.0 * tensor(outcome.nack)) * logit)


@dataclass
class BackpropTuner:
    """A `Rule` that backpropagates: give it to `Tuner` in place of a rule's name.

    With ``g`` a link's gradient, ``sgd`` steps by ``-rate * g``; ``adam`` (Kingma and Ba, arXiv 1412.6980) by
    ``-rate * m_hat / (sqrt(v_hat) + eps)``, where ``rate`` is then about the size of one step.

    A rule is not told which links it steps for. Adam's moments are therefore kept by the place in the batch:
    give the rule to one tuner, and let that tuner have one link, or a fixed set of links that all report in
    every call (the tuner then keeps their order). The moments also move on blocks on which a link's trigger
    rests while another's does not, and outlive a rollback. SGD has no state and no such limits.

    Args:
        optimizer: one of `OPTIMIZERS`.
        offset_rate, order_rate, gamma_rate, layer_rate: learning rates; None for the optimiser's own.
        beta1, beta2, eps: Adam's.
        n_links: of a batch that grows until each link has had its first report: a call that brings fewer
            makes no step. None for a batch that is whole from the first call on.

    Raises:
        ValueError: there is no such optimiser; or, from Adam, a call brings another number of links.
    """

    optimizer: str = "sgd"
    offset_rate: float | None = None
    order_rate: float | None = None
    gamma_rate: float | None = None
    layer_rate: float | None = None
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    n_links: int | None = None
    _moments: tuple[np.ndarray, np.ndarray] | None = field(default=None, init=False, repr=False)
    _steps: int = field(default=0, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.optimizer not in OPTIMIZERS:
            raise ValueError(f"optimizer = {self.optimizer!r}: there are {', '.join(OPTIMIZERS)}")

    @property
    def name(self) -> str:
        """For tables."""
        return f"backprop_{self.optimizer}"

    def direction(
        self, predictor: Predictor, weights: Weights, act: Activations, outcome: Outcome
    ) -> np.ndarray:
        """As `Rule.direction`; ``act`` is not used: torch makes its own forward pass."""
        if self.n_links is not None and len(weights.flat) < self.n_links:
            return np.zeros_like(weights.flat)
        flat = torch.tensor(weights.flat, dtype=torch.float64, requires_grad=True)
        log_loss(predictor, flat, outcome).sum().backward()
        gradient = flat.grad.numpy()
        return -self._rates(weights.shape) * (gradient if self.optimizer == "sgd" else self._adam(gradient))

    def _rates(self, shape: Shape) -> np.ndarray:
        given = (self.gamma_rate, self.offset_rate, self.order_rate, self.layer_rate)
        pairs = zip(given, _RATES[self.optimizer], strict=True)
        rates = [own if rate is None else rate for rate, own in pairs]
        return np.repeat(rates, (1, 1, shape.orders, shape.n_weights - shape.n_calibration))

    def _adam(self, gradient: np.ndarray) -> np.ndarray:
        if self._moments is None:
            self._moments = np.zeros_like(gradient), np.zeros_like(gradient)
        first, second = self._moments
        if first.shape != gradient.shape:
            raise ValueError(
                f"{len(gradient)} links: this rule's moments are of {len(first)}, one row for each"
            )
        self._steps += 1
        first += (1.0 - self.beta1) * (gradient - first)
        second += (1.0 - self.beta2) * (gradient**2 - second)
        m_hat = first / (1.0 - self.beta1**self._steps)
        v_hat = second / (1.0 - self.beta2**self._steps)
        return m_hat / (np.sqrt(v_hat) + self.eps)
