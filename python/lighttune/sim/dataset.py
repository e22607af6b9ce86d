# SPDX-License-Identifier: GPL-3.0-or-later
"""Training samples from a world: what a link adapter would have seen, and how its blocks ended."""

from __future__ import annotations

import numpy as np

from ..core.features import N_FEATURES, LinkHistory
from .realise import World

SKIP = 24
"""First slots of a world, which give no samples: the history is still filling."""

_LEVEL_SD_DB, _WOBBLE_SD_DB = 1.5, 1.5  # a link's policy leans one way; single blocks scatter around it


def rollout(world: World, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Send a block in every slot of every link, at an MCS near the one that the last report asks for.

    A training set must cover the predictor's doubts on both sides: the policy is a table look-up at the
    reported SINR plus a random lean of the link and a random wobble of the block, so that some links send
    too high and some too low.

    Returns:
        ``features (n, N_FEATURES)`` float32, ``mcs (n,)``, ``nack (n,)`` of 0.0 and 1.0, with
        ``n = n_links * (n_slots - SKIP)``, slot by slot.

    Raises:
        ValueError: the world is not longer than `SKIP`.
    """
    if world.n_slots <= SKIP:
        raise ValueError(f"{world.n_slots} slots: samples begin at slot {SKIP}")
    n_links, n_slots = world.n_links, world.n_slots
    table = world.table
    ladder = table.by_efficiency
    # The highest MCS whose threshold, and those of all below it, lie under the level.
    steps = np.maximum.accumulate(table.threshold[ladder])
    lean = rng.normal(0.0, _LEVEL_SD_DB, n_links)
    level = world.reported_db + lean[:, None] + rng.normal(0.0, _WOBBLE_SD_DB, (n_links, n_slots))
    mcs = ladder[np.maximum(np.searchsorted(steps, level) - 1, 0)]
    nack = (world.draws < world.bler(mcs)).astype(np.float32)
    waterfall = (table.threshold[mcs] - world.reported_db) / table.slope[mcs]
    surprise = nack - 1.0 / (1.0 + np.exp(np.clip(-waterfall, -30, 30)))

    history = LinkHistory((n_links,))
    features = np.empty((n_slots - SKIP, n_links, N_FEATURES), np.float32)
    for slot in range(n_slots):
        history.report(world.reported_db[:, slot])
        if slot >= SKIP:
            features[slot - SKIP] = history.features(slot - world.measured_at[:, slot])
        history.outcome(surprise[:, slot])
    kept = slice(SKIP, None)
    return features.reshape(-1, N_FEATURES), mcs[:, kept].T.ravel(), nack[:, kept].T.ravel()
