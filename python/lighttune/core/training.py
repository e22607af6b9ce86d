# SPDX-License-Identifier: GPL-3.0-or-later
"""Offline training of the predictor: the one place in the package that needs torch, and backpropagates.

The encoder is trained through the closed form on the log loss of sampled ACK/NACKs. Then, with the encoder
frozen, each adaptive layer is trained on its own local loss, as it will be on the air.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from . import features as ft
from .mcs import McsTable
from .predictor import (
    LARGEST_TILT,
    LOGISTIC_STD,
    MAX_DELTA_DB,
    MIN_SIGMA_DB,
    N_SHAPE,
    Encoder,
    Predictor,
    Shape,
)


@dataclass(frozen=True)
class Samples:
    """``features (n, N_FEATURES)``, ``mcs (n,)``, and ``nack (n,)``: how a block at it ended (1.0 for NACK,
    0.0 for ACK), or the probability of a NACK where a simulator knows it."""

    features: np.ndarray
    mcs: np.ndarray
    nack: np.ndarray

    def __len__(self) -> int:
        return len(self.mcs)


@dataclass(frozen=True)
class TrainingPlan:
    """Epochs of the encoder and of the layers, Adam's first learning rate, batch size, hidden units."""

    encoder_epochs: int = 15
    layer_epochs: int = 6
    rate: float = 3e-3
    batch: int = 4096
    hidden: int = 96


class TorchPredictor(nn.Module):
    """The predictor's forward pass in torch; equations in `predictor`."""

    def __init__(
        self, table: McsTable, mean: np.ndarray, scale: np.ndarray, hidden: int, shape: Shape
    ) -> None:
        super().__init__()
        self.table, self.shape = table, shape
        kinds = {
            "mean": mean,
            "scale": scale,
            "threshold": table.threshold,
            "slope": table.slope,
            "above_middle": table.above_middle_db,
            "signs": shape.signs,
        }
        for name, array in kinds.items():
            self.register_buffer(name, torch.as_tensor(array, dtype=torch.float64))
        self.register_buffer("order_of", torch.as_tensor(table.order_of))
        self.dense = nn.ModuleList(
            [nn.Linear(N_SHAPE, hidden), nn.Linear(hidden, hidden), nn.Linear(hidden, 3 * shape.orders)]
        )
        self.direct = nn.Linear(N_SHAPE, 3 * shape.orders, bias=False)
        nn.init.zeros_(self.direct.weight)
        self.layers = nn.ModuleList(nn.ParameterDict(self._fresh_layer(i)) for i in range(shape.layers))

    def _fresh_layer(self, index: int) -> dict[str, nn.Parameter]:
        n, inputs = self.shape.width, self.shape.inputs(index)
        return {
            "W": nn.Parameter(torch.randn(n, inputs) / inputs**0.5),
            "b": nn.Parameter(torch.empty(n).uniform_(-1.5, 1.5)),  # hinges spread over the range of t and k
            "v": nn.Parameter(0.3 * torch.randn(n).abs()),
            "w": nn.Parameter(0.3 * torch.randn(n).abs()),
            "u": nn.Parameter(torch.zeros(n)),  # the layers start silent: the closed form alone decides
        }

    def encoder_parameters(self) -> Iterator[nn.Parameter]:
        """What the first stage of the training moves."""
        yield from self.dense.parameters()
        yield from self.direct.parameters()

    def margin(self, features: torch.Tensor, mcs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Standardised shape ``(n, d)`` and closed-form logit ``t (n,)``."""
        x = ((features[:, ft.SHAPE] - self.mean) / self.scale).clip(-8.0, 8.0)
        h = torch.tanh(self.dense[0](x))
        out = self.dense[2](torch.tanh(self.dense[1](h))) + self.direct(x)
        delta, spread, tilt = (
            part.gather(1, self.order_of[mcs][:, None])[:, 0] for part in out.split(self.shape.orders, dim=1)
        )
        mu = ft.snr_db(features) + MAX_DELTA_DB * torch.tanh(delta / MAX_DELTA_DB)
        sigma = MIN_SIGMA_DB + F.softplus(spread)
        slope = self.slope[mcs]
        scale = torch.hypot(slope, sigma / LOGISTIC_STD)
        margin = self.threshold[mcs] + LARGEST_TILT * torch.tanh(tilt) * self.above_middle[mcs]
        return x, (margin + slope * ft.length_logit(features) - mu) / scale

    def local_logits(self, x: torch.Tensor, t: torch.Tensor, mcs: torch.Tensor) -> list[torch.Tensor]:
        """Every layer's own logit ``z_l (n,)``; no gradient passes from one layer to another."""
        k = (self.threshold[mcs] - self.threshold.mean()) / 10.0
        r, logits = x.detach(), []
        for layer in self.layers:
            a = F.linear(r, layer["W"], layer["b"])
            h = F.relu(a + self.signs * (layer["v"] * t[:, None] + layer["w"] * k[:, None]))
            logits.append(t + 2.0 * (h @ (self.signs * layer["u"])))
            a = F.relu(a)
            r = (a / torch.sqrt((a**2).mean(dim=1, keepdim=True) + 1e-6)).detach()
        return logits

    def layer_loss(self, f: torch.Tensor, m: torch.Tensor, n: torch.Tensor) -> torch.Tensor:
        """Mean of the layers' own log losses, the encoder left as it is, on features ``(n, N_FEATURES)``, MCS
        ``(n,)`` and outcomes ``(n,)``; the signs are put right first."""
        self.project_signs()
        with torch.no_grad():
            x, t = self.margin(f, m)
        logits = self.local_logits(x, t, m)
        return sum(F.binary_cross_entropy_with_logits(z, n) for z in logits) / len(logits)

    def project_signs(self) -> None:
        """As `predictor.project_signs`."""
        with torch.no_grad():
            for layer in self.layers:
                for name in ("v", "w", "u"):
                    layer[name].clamp_(min=0.0)

    @classmethod
    def of(cls, predictor: Predictor) -> TorchPredictor:
        """A model that begins with a predictor's weights."""
        encoder, weights = predictor.encoder, predictor.weights()
        model = cls(predictor.table, encoder.mean, encoder.scale, len(encoder.b1), predictor.shape)

        def put(parameter: torch.Tensor, array: np.ndarray) -> None:
            parameter.copy_(torch.as_tensor(array))

        with torch.no_grad():
            for i, layer in enumerate(model.dense, 1):
                put(layer.weight, getattr(encoder, f"w{i}"))
                put(layer.bias, getattr(encoder, f"b{i}"))
            put(model.direct.weight, encoder.direct)
            for index, own in enumerate(model.layers):
                put(own["W"], weights.W[index])
                for name in ("b", "v", "w", "u"):
                    put(own[name], getattr(weights, name)[index])
        return model

    def export(self, calibration: np.ndarray | None = None) -> Predictor:
        """The numpy predictor with these weights.

        Args:
            calibration: weights whose first `Shape.n_calibration` are taken over; None for zeros.
        """

        def array(tensor: torch.Tensor) -> np.ndarray:
            return tensor.detach().numpy().astype(float)

        dense = {f"{kind}{i}": array(getattr(layer, attribute)) for i, layer in enumerate(self.dense, 1)
                 for kind, attribute in (("w", "weight"), ("b", "bias"))}  # fmt: skip
        encoder = Encoder(
            mean=array(self.mean), scale=array(self.scale), direct=array(self.direct.weight), **dense
        )
        blank = Predictor(self.table, encoder, np.zeros(self.shape.n_weights, np.float32), self.shape)
        weights = blank.weights()
        for index, layer in enumerate(self.layers):
            weights.W[index][...] = array(layer["W"])
            for name in ("b", "v", "w", "u"):
                getattr(weights, name)[index] = array(layer[name])
        if calibration is not None:
            weights.flat[: self.shape.n_calibration] = calibration[: self.shape.n_calibration]
        return Predictor(self.table, encoder, weights.flat.astype(np.float32), self.shape)


def train(
    table: McsTable,
    samples: Samples,
    seed: int,
    plan: TrainingPlan | None = None,
    shape: Shape | None = None,
    progress: Callable[[str, float, float], None] = lambda stage, share, loss: None,
) -> Predictor:
    """Train a predictor; the same samples, seed and torch build give the same weights.

    Args:
        progress: called after every epoch with the stage's name, the share done of the whole training, and
            the mean log loss.

    Raises:
        ValueError: no samples, or some that are not finite.
    """
    if not len(samples) or not np.isfinite(samples.features).all():
        raise ValueError(f"{len(samples)} training samples: give at least one, all finite")
    plan = plan or TrainingPlan()
    torch.manual_seed(seed)
    shape_features = samples.features[:, ft.SHAPE]
    model = TorchPredictor(
        table,
        shape_features.mean(axis=0),
        shape_features.std(axis=0) + 1e-3,
        plan.hidden,
        shape or Shape(len(table.orders)),
    ).float()
    data = tensors_of(samples)
    total = plan.encoder_epochs + plan.layer_epochs

    def encoder_loss(f: torch.Tensor, m: torch.Tensor, n: torch.Tensor) -> torch.Tensor:
        return F.binary_cross_entropy_with_logits(model.margin(f, m)[1], n)

    for epoch, loss in enumerate(
        epochs_of(model.encoder_parameters(), encoder_loss, data, plan, plan.encoder_epochs), 1
    ):
        progress("encoder", epoch / total, loss)

    epochs = epochs_of(model.layers.parameters(), model.layer_loss, data, plan, plan.layer_epochs)
    for epoch, loss in enumerate(epochs, plan.encoder_epochs + 1):
        progress("layers", epoch / total, loss)
    model.project_signs()
    return model.export()


def tensors_of(samples: Samples) -> tuple[torch.Tensor, ...]:
    """Features, MCS and outcomes, as the losses take them."""
    kinds = {"features": torch.float32, "mcs": torch.int64, "nack": torch.float32}
    return tuple(torch.as_tensor(getattr(samples, name), dtype=kind) for name, kind in kinds.items())


def epochs_of(
    parameters: Iterator[nn.Parameter],
    loss_of: Callable[..., torch.Tensor],
    data: tuple[torch.Tensor, ...],
    plan: TrainingPlan,
    epochs: int,
) -> Iterator[float]:
    """Run Adam with a cosine schedule; yields each epoch's mean loss."""
    n = len(data[1])
    optimizer = torch.optim.Adam(parameters, lr=plan.rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, epochs * -(-n // plan.batch)))
    for _ in range(epochs):
        losses = []
        for rows in torch.randperm(n).split(plan.batch):
            optimizer.zero_grad()
            loss = loss_of(*(column[rows] for column in data))
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        yield float(np.mean(losses))
