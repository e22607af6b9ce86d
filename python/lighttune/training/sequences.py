# SPDX-License-Identifier: GPL-3.0-or-later
"""What the network is trained on: what it read, step by step, and the true BLERs of the blocks it decided."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core.link_kernel import FIRST_VOTE_ALONE
from ..core.link_model import LinkModel
from ..core.record import N_INPUTS
from ..sim.drive import Script, drive
from ..sim.link import near_best
from .family import GROUP, draw_scripts

FAR_WEIGHT = 0.15
"""Of an MCS more than `sim.link.NEAR` places from the best one, in the loss."""


@dataclass(frozen=True, eq=False)
class Sequences:
    """Links side by side, each as long as the longest; the first axis is the link's.

    Args:
        inputs: what the network read, float32 ``(n, steps, N_INPUTS)``.
        target: told BLER of every MCS, float16 ``(n, steps, n_mcs)``.
        weight: of each in the loss, float16, 0 where nothing was decided, ``(n, steps, n_mcs)``.
        anchor_db: float32 ``(n, steps)``.
        length: `McsTable.length_logit`, float32 ``(n, steps)``.
    """

    inputs: np.ndarray
    target: np.ndarray
    weight: np.ndarray
    anchor_db: np.ndarray
    length: np.ndarray


def make_sequences(
    model: LinkModel, rng: np.random.Generator, groups: int, n_blocks: int, steps: int
) -> Sequences:
    """Draw links of the family, and let the model drive them.

    Args:
        model: with a network of zeros, only the beliefs decide.
        groups: of `family.GROUP` links each.
        n_blocks: of each link.
        steps: that are kept of each.
    """
    n, n_mcs = groups * GROUP, len(model.table)
    made = Sequences(
        np.zeros((n, steps, N_INPUTS), np.float32),
        np.zeros((n, steps, n_mcs), np.float16),
        np.zeros((n, steps, n_mcs), np.float16),
        np.zeros((n, steps), np.float32),
        np.zeros((n, steps), np.float32),
    )
    links = model.links(1)
    for group in range(groups):
        for place, script in enumerate(draw_scripts(rng, model.table, n_blocks)):
            links[:] = model.links(1)
            if not model.net.any():
                links["vote"] = FIRST_VOTE_ALONE
            _fill(made, group * GROUP + place, model, links, script)
    return made


def _fill(made: Sequences, row: int, model: LinkModel, links: np.ndarray, script: Script) -> None:
    run = drive(links, 0, model, script, record=True)
    n = min(len(run.block), made.inputs.shape[1])
    block = run.block[:n]
    decided = np.flatnonzero(block >= 0)
    made.inputs[row, :n] = run.inputs[:n]
    made.anchor_db[row, :n] = run.anchor_db[:n]
    made.length[row, decided] = script.length[block[decided]]
    bler = script.bler[block[decided]]
    made.target[row, decided] = bler
    weight = np.full(bler.shape, FAR_WEIGHT, np.float16)
    near = near_best(bler, model.gain, model.table)
    rows, places = np.nonzero(near >= 0)
    weight[rows, near[rows, places]] = 1.0
    made.weight[row, decided] = weight
