# SPDX-License-Identifier: GPL-3.0-or-later
"""Training samples from a world: what a link adapter would have seen, and how its blocks ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..core.features import N_FEATURES, LinkHistory
from ..core.mcs import McsTable, sigmoid
from ..core.predictor import Predictor
from ..core.selection import at, choose
from .conditions import Recipe
from .family import FAMILY, training_batch
from .link import NEAR
from .realise import World

SKIP = 24
"""First slots of a world, which give no samples: the history is still filling."""

LINKS_AT_ONCE = 250
"""Links of a batch. Another number would draw other training sets from the same seeds."""

_LEAN_SD_DB, _WOBBLE_SD_DB = 1.5, 1.5  # a link's policy leans one way; single blocks scatter around it
_LEAN_SD_STEPS, _WOBBLE_SD_STEPS = 0.7, 0.7  # the same in places of the ladder, where a predictor decides


@dataclass(frozen=True, eq=False)
class Batch:
    """Some links of a training set, and the seed of all chance in them."""

    seed: np.random.SeedSequence
    n_links: int


def batches(seed: np.random.SeedSequence, n_links: int) -> list[Batch]:
    """Split a training set into batches that can be drawn in any order, by any number of workers.

    Batch ``k`` is the same in every set of that seed that has at least ``LINKS_AT_ONCE (k + 1)`` links.

    Args:
        seed: of the set; it is left as it is.
        n_links: of the set, 1 or more.
    """
    return [
        Batch(
            np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, k)),
            min(LINKS_AT_ONCE, n_links - start),
        )
        for k, start in enumerate(range(0, n_links, LINKS_AT_ONCE))
    ]


def draw(
    batch: Batch, n_slots: int, table: McsTable, recipe: Recipe = FAMILY, predictor: Predictor | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Channels of a family, and a `rollout` over them: it depends on the arguments alone.

    Args:
        batch: one of `batches`.
        n_slots: of each link, more than `SKIP`.
        table, recipe: as in `training_batch`.
        predictor: as in `rollout`.
    """
    rng = np.random.default_rng(batch.seed)
    return rollout(training_batch(rng, batch.n_links, n_slots, table, recipe), rng, predictor)


def rollout(
    world: World, rng: np.random.Generator, predictor: Predictor | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Send a block in every slot of every link; note what was known, and how likely a block fails.

    A training set must cover the predictor's doubts on both sides, so each link's policy leans one way and
    each block wobbles around it. Around what: without a predictor, the MCS that the last report asks for by
    the table; with one, the MCS that it would choose. A predictor that is only trained on the first kind
    meets, once it decides itself, features that it has never seen (those of the ACK/NACK stream) and just
    those MCS that it thinks too well of (S. Ross, G. Gordon, D. Bagnell, "A reduction of imitation learning
    and structured prediction to no-regret online learning", AISTATS 2011).

    The simulator knows the true BLER of every MCS, so samples need not be outcomes of what was sent: every
    other one is of an MCS up to `NEAR` places away, and all are labelled with their BLER. The ACK/NACK
    stream that the features see is that of the blocks that were sent.

    Returns:
        ``features (n, N_FEATURES)`` float32, ``mcs (n,)``, true BLER ``(n,)`` float32, with
        ``n = n_links * (n_slots - SKIP)``, slot by slot.

    Raises:
        ValueError: the world is not longer than `SKIP`.
    """
    if world.n_slots <= SKIP:
        raise ValueError(f"{world.n_slots} slots: samples begin at slot {SKIP}")
    n_links, n_slots = world.n_links, world.n_slots
    table = world.table
    choose_mcs = _near_table(world, rng) if predictor is None else _near_predictor(world, rng, predictor)
    history = LinkHistory((n_links,))
    features = np.empty((n_slots, n_links, N_FEATURES), np.float32)
    mcs = np.empty((n_slots, n_links), np.int64)
    bler = np.empty((n_slots, n_links), np.float32)
    place = np.argsort(table.by_efficiency)
    for slot in range(n_slots):
        reported = world.reported_db[:, slot]
        history.report(reported)
        features[slot] = history.features(slot - world.measured_at[:, slot])
        sent, true = choose_mcs(slot, features[slot]), world.bler_at(slot)
        nack = world.draws[:, slot] < at(true, sent)
        history.outcome(nack - sigmoid((table.threshold[sent] - reported) / table.slope[sent]))
        away = rng.integers(-NEAR, NEAR + 1, n_links) * rng.integers(0, 2, n_links)
        mcs[slot] = table.by_efficiency[np.clip(place[sent] + away, 0, len(table) - 1)]
        bler[slot] = at(true, mcs[slot])
    return features[SKIP:].reshape(-1, N_FEATURES), mcs[SKIP:].ravel(), bler[SKIP:].ravel()


ChooseMcs = Callable[[int, np.ndarray], np.ndarray]


def _near_table(world: World, rng: np.random.Generator) -> ChooseMcs:
    table, shape = world.table, (world.n_links, world.n_slots)
    # The highest MCS whose threshold, and those of all below it, lie under the level.
    steps = np.maximum.accumulate(table.threshold[table.by_efficiency])
    lean = rng.normal(0.0, _LEAN_SD_DB, (world.n_links, 1))
    level = world.reported_db + lean + rng.normal(0.0, _WOBBLE_SD_DB, shape)
    mcs = table.by_efficiency[np.maximum(np.searchsorted(steps, level) - 1, 0)]
    return lambda slot, features: mcs[:, slot]


def _near_predictor(world: World, rng: np.random.Generator, predictor: Predictor) -> ChooseMcs:
    table, weights, gain = world.table, predictor.weights(), world.table.goodput_if_acked()
    place = np.argsort(table.by_efficiency)
    lean = rng.normal(0.0, _LEAN_SD_STEPS, world.n_links)

    def choose_mcs(slot: int, features: np.ndarray) -> np.ndarray:
        best = place[choose(predictor.bler(weights, features), gain, table)]
        steps = np.round(lean + rng.normal(0.0, _WOBBLE_SD_STEPS, world.n_links)).astype(int)
        return table.by_efficiency[np.clip(best + steps, 0, len(table) - 1)]

    return choose_mcs
