# SPDX-License-Identifier: GPL-3.0-or-later
"""Goes on with the training of a predictor on a testbed's own outcomes; needs torch, as `training` does.

It begins with the predictor that the testbed has used, moves all of it a little, and keeps the epoch that is
best on samples that it does not train on. Training from scratch does worse: a log has a few thousand blocks
of a few links, a hundredth of what a predictor is trained on, and all of them near the MCS that were sent, so
that nothing says what the others would do (measured by `bench/retraining.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from .predictor import Predictor
from .training import Samples, TorchPredictor, TrainingPlan, epochs_of, tensors_of


@dataclass(frozen=True)
class RetrainingPlan:
    """Epochs of the encoder and of the layers, Adam's first learning rates of both, batch size."""

    encoder_epochs: int = 20
    layer_epochs: int = 10
    encoder_rate: float = 3e-4
    layer_rate: float = 1e-3
    batch: int = 512


def retrain(
    predictor: Predictor,
    samples: Samples,
    validation: Samples,
    seed: int,
    plan: RetrainingPlan | None = None,
    progress: Callable[[str, float, float], None] = lambda stage, share, loss: None,
) -> Predictor:
    """Train further; the same samples, seed and torch build give the same weights.

    Args:
        predictor: to begin with; it stays as it is.
        samples: outcomes at MCS of its table.
        validation: outcomes that decide which epoch is kept; that may be the beginning.
        progress: called after every epoch with the stage, the share done, and the log loss in validation.

    Raises:
        ValueError: there are no samples in one of the two, or some are not finite.
    """
    for name, some in (("training", samples), ("validation", validation)):
        if not len(some) or not np.isfinite(some.features).all():
            raise ValueError(f"{len(some)} {name} samples: give at least one, all finite")
    plan = plan or RetrainingPlan()
    torch.manual_seed(seed)
    model = TorchPredictor.of(predictor).float()
    data, held = tensors_of(samples), tensors_of(validation)
    total = plan.encoder_epochs + plan.layer_epochs
    best = _Best(model, held)

    def encoder_loss(f: torch.Tensor, m: torch.Tensor, n: torch.Tensor) -> torch.Tensor:
        x, t = model.margin(f, m)
        logits = model.local_logits(x, t, m)
        return F.binary_cross_entropy_with_logits(sum(logits) / len(logits), n)

    done = 0
    for stage, loss, parameters, epochs, rate in (
        ("encoder", encoder_loss, model.encoder_parameters(), plan.encoder_epochs, plan.encoder_rate),
        ("layers", model.layer_loss, model.layers.parameters(), plan.layer_epochs, plan.layer_rate),
    ):
        for _ in epochs_of(parameters, loss, data, TrainingPlan(rate=rate, batch=plan.batch), epochs):
            done += 1
            model.project_signs()
            progress(stage, done / total, best.consider())
        best.restore()
    return model.export(predictor.offline)


class _Best:
    """The weights that were best in validation."""

    def __init__(self, model: TorchPredictor, held: tuple[torch.Tensor, ...]) -> None:
        self._model, self._held = model, held
        self._loss = float("inf")
        self.consider()

    def consider(self) -> float:
        """Take the weights as they are if they are better than any before; returns their loss."""
        with torch.no_grad():
            f, m, n = self._held
            x, t = self._model.margin(f, m)
            logits = self._model.local_logits(x, t, m)
            loss = F.binary_cross_entropy_with_logits(sum(logits) / len(logits), n).item()
        if loss < self._loss:
            self._loss = loss
            self._weights = {name: value.clone() for name, value in self._model.state_dict().items()}
        return loss

    def restore(self) -> None:
        """Go back to them."""
        self._model.load_state_dict(self._weights)
