# SPDX-License-Identifier: GPL-3.0-or-later
"""The wide family of channels that the predictor is trained on offline."""

from __future__ import annotations

import numpy as np

from ..core.mcs import McsTable
from .conditions import Conditions, Population, Recipe
from .realise import World, realise

FAMILY = Recipe(
    stretches=(
        (
            0.0,
            Conditions(
                doppler_hz=(1.0, 200.0),
                report_delay_slots=(1, 8),
                report_noise_db=(0.0, 1.5),
                report_step_db=(0.0, 1.0),
            ),
        ),
    ),
    population=Population(
        snr_margin_db=(-3.0, 5.0),
        delay_spread=(0.1, 6.0),
        flat_share=0.05,
        rician_share=0.2,
        beta_jitter=0.2,
        clean_share=0.5,
        threshold_jitter_db=0.3,
    ),
)
"""No bias, no interference, no impairment: those are for the tuner to find out on the air.

Half the links have clean reports: only they teach how far a fade can be foretold.
"""


def training_batch(
    rng: np.random.Generator, n_links: int, n_slots: int, table: McsTable, recipe: Recipe = FAMILY
) -> World:
    """Draw links of the family, each with its own Doppler, mean SNR, delay spread, receiver and curves.

    A block's features come from ``world.reported_db`` and ``world.measured_at`` (finite from slot 0 on), its
    label from ``world.bler(mcs)`` and ``world.draws``.

    Args:
        rng: all chance comes from here.
        n_links, n_slots: at least 1 each.
        table: the MCS; mean SNRs span its thresholds.
        recipe: the family.
    """
    seed = int(rng.integers(2**63))
    return realise("family", recipe, table, seed, n_links, n_slots)
