# SPDX-License-Identifier: GPL-3.0-or-later
"""How well a model predicts on links of the family that it was not trained on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..core.link_model import LinkModel
from ..core.record import BLIND, NET, TOLD
from ..sim.drive import drive
from .family import draw_scripts

_STREAM = 2**31  # where a training's seed has the number of a round


def held_out_losses(model: LinkModel, seed: int, groups: int, n_blocks: int) -> dict[str, float]:
    """Mean log loss in nats of the blocks that the model sends, against their true BLERs.

    Args:
        model: drives the links, as on the air: nothing is sent away from its choice.
        seed: the training's; the links are others than the training's.
        groups: of `family.GROUP` links each.
        n_blocks: of each link.

    Returns:
        Of the ``"mixture"`` that decides; of the ``"network"`` alone; of the ``"reports"``, which is the
        belief that is told them, or where none has come yet the blind one; of the ``"acks"``, the blind
        belief; and the ``"least"`` that is possible, which the true BLERs themselves have.
    """
    rng = np.random.default_rng([seed, _STREAM])
    true, predicted = [], []
    for _ in range(groups):
        for script in draw_scripts(rng, model.table, n_blocks):
            run = drive(model.links(1), 0, model, replace(script, away=np.zeros(0, np.int64)))
            each = run.experts
            told = np.where(np.isnan(each[:, TOLD]), each[:, BLIND], each[:, TOLD])
            bler = script.bler[np.arange(n_blocks), run.mcs]
            true.append(bler)
            predicted.append(np.stack([run.bler, each[:, NET], told, each[:, BLIND], bler]))
    label, rows = np.concatenate(true).astype(float), np.concatenate(predicted, axis=1).astype(float)
    rows = rows.clip(1e-6, 1.0 - 1e-6)
    losses = -(label * np.log(rows) + (1.0 - label) * np.log(1.0 - rows)).mean(axis=1)
    names = ("mixture", "network", "reports", "acks", "least")
    return {name: float(loss) for name, loss in zip(names, losses, strict=True)}
