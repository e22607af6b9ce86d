# SPDX-License-Identifier: GPL-3.0-or-later
"""Training samples: what an adapter would have known, and true BLERs of what was sent and its neighbours."""

from dataclasses import replace

import numpy as np
import pytest
from gnuradio.lighttune.core.features import N_FEATURES, NAMES
from gnuradio.lighttune.core.mcs import McsTable
from gnuradio.lighttune.core.predictor import OFFSET, Predictor
from gnuradio.lighttune.core.selection import choose
from gnuradio.lighttune.sim import World, training_batch
from gnuradio.lighttune.sim import dataset as ds
from gnuradio.lighttune.sim.dataset import LINKS_AT_ONCE, SKIP, batches, draw, rollout
from gnuradio.lighttune.sim.link import NEAR

from helpers import make_predictor

TABLE = McsTable.amc()
N_LINKS, N_SLOTS = 60, 120
KEPT = N_SLOTS - SKIP


@pytest.fixture(scope="module")
def world() -> World:
    return training_batch(np.random.default_rng(5), N_LINKS, N_SLOTS, TABLE)


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return make_predictor(TABLE, np.random.default_rng(1), depth=0.3)


def drawn(world, predictor=None, seed=2):
    """Samples by slot and link: features ``(slots, links, N_FEATURES)``, mcs and BLER ``(slots, links)``."""
    features, mcs, bler = rollout(world, np.random.default_rng(seed), predictor)
    shape = (world.n_slots - SKIP, world.n_links)
    return features.reshape(*shape, N_FEATURES), mcs.reshape(shape), bler.reshape(shape)


def feature(features, name):
    return features[..., NAMES.index(name)]


def places(mcs):
    return np.argsort(TABLE.by_efficiency)[mcs]


@pytest.mark.parametrize("near", ["the table", "a predictor"])
def test_samples_are_of_the_world_slot_by_slot(world, predictor, near):
    features, mcs, bler = drawn(world, predictor if near == "a predictor" else None)
    assert (features.dtype, bler.dtype) == (np.float32, np.float32)
    assert np.isfinite(features).all()
    late = np.arange(SKIP, N_SLOTS)
    assert np.array_equal(feature(features, "snr_db"), world.reported_db[:, late].T)
    age = (late - world.measured_at[:, late]).T
    assert np.allclose(feature(features, "log_age_slots"), np.log(age))
    true = np.stack([np.take_along_axis(world.bler_at(t), mcs[t - SKIP][:, None], 1)[:, 0] for t in late])
    assert np.allclose(bler, true)
    assert (np.abs(feature(features, "surprise_fast")) < 1).all()
    assert feature(features, "surprise_slow").std() > 0.02  # blocks fail, and the features see it


@pytest.mark.parametrize("near", ["the table", "a predictor"])
def test_the_same_generator_gives_the_same_samples_and_another_seed_others(world, predictor, near):
    sender = predictor if near == "a predictor" else None
    (a, b, c) = (rollout(world, np.random.default_rng(seed), sender) for seed in (2, 2, 3))
    assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
    assert not np.array_equal(a[1], c[1])


def away_from(best, mcs):
    return places(mcs) - places(best)


def test_without_lean_and_wobble_every_sample_lies_near_what_the_predictor_chooses(
    world, predictor, monkeypatch
):
    monkeypatch.setattr(ds, "_LEAN_SD_STEPS", 0.0)
    monkeypatch.setattr(ds, "_WOBBLE_SD_STEPS", 0.0)
    features, mcs, _ = drawn(world, predictor)
    best = choose(predictor.bler(predictor.weights(), features), TABLE.goodput_if_acked(), TABLE)
    away = away_from(best, mcs)
    inside = (places(best) >= NEAR) & (places(best) < len(TABLE) - NEAR)
    assert inside.mean() > 0.1
    assert np.abs(away).max() <= NEAR
    # Half are what was sent, and one in seven of the others is too.
    share = np.bincount(away[inside] + NEAR, minlength=2 * NEAR + 1) / inside.sum()
    assert share[NEAR] == pytest.approx(0.5 + 0.5 / 7, abs=0.06)
    assert np.delete(share, NEAR) == pytest.approx(np.full(2 * NEAR, 0.5 / 7), abs=0.03)


def test_blocks_are_sent_around_what_the_predictor_chooses_on_both_sides(world, predictor):
    features, mcs, _ = drawn(world, predictor)
    best = choose(predictor.bler(predictor.weights(), features), TABLE.goodput_if_acked(), TABLE)
    away = away_from(best, mcs)
    middle = (places(best) >= 3) & (places(best) < len(TABLE) - 3)
    assert abs(away[middle].mean()) < 0.35  # the leans of some 60 links: 0.7 / sqrt(60) = 0.1 each way
    assert (away[middle] <= -2).mean() > 0.08
    assert (away[middle] >= 2).mean() > 0.08
    # A link leans one way: its mean is not that of the others.
    means = [away[:, i][middle[:, i]].mean() for i in range(N_LINKS) if middle[:, i].sum() > 40]
    assert np.std(means) > 0.4


def test_a_pessimistic_predictor_sends_lower_mcs_and_sees_fewer_failures(world):
    plain = make_predictor(TABLE, np.random.default_rng(1))
    flat = plain.offline.copy()
    flat[OFFSET] = -4.0
    (seen, mcs, _), (below, lower, _) = (drawn(world, p) for p in (plain, replace(plain, offline=flat)))
    # Where all MCS fail for sure, none is the best.
    fair = world.reported_db.mean(axis=1) > TABLE.threshold.min() + 6.0
    assert fair.sum() > 20
    assert places(lower)[:, fair].mean() < places(mcs)[:, fair].mean() - 1.0
    fewer = feature(below, "surprise_slow")[:, fair].mean()
    assert fewer < 0.9 * feature(seen, "surprise_slow")[:, fair].mean()


def test_near_the_table_blocks_are_sent_around_the_reported_sinr(world):
    features, mcs, _ = drawn(world)
    steps = np.maximum.accumulate(TABLE.threshold[TABLE.by_efficiency])
    asked = np.maximum(np.searchsorted(steps, feature(features, "snr_db")) - 1, 0)
    away = places(mcs) - asked
    middle = (asked >= 3) & (asked < len(TABLE) - 3)
    assert abs(away[middle].mean()) < 0.4
    assert (away[middle] <= -1).mean() > 0.15
    assert (away[middle] >= 1).mean() > 0.15


def test_batches_are_drawn_alike_in_any_order_and_beside_any_others(predictor):
    seed = np.random.SeedSequence(3).spawn(2)[1]
    many, few, again = (batches(seed, n) for n in (2 * LINKS_AT_ONCE + 7, LINKS_AT_ONCE, LINKS_AT_ONCE))
    assert [batch.n_links for batch in many] == [LINKS_AT_ONCE, LINKS_AT_ONCE, 7]
    there = [draw(batch, 30, TABLE, predictor=predictor) for batch in many]
    back = [draw(batch, 30, TABLE, predictor=predictor) for batch in reversed(many)][::-1]
    alone = [draw(batch, 30, TABLE, predictor=predictor) for batch in (*few, *again)]
    for one, other in zip((*there, there[0], there[0]), (*back, *alone), strict=True):
        assert all(np.array_equal(x, y) for x, y in zip(one, other, strict=True))
    assert not np.array_equal(there[0][0], there[1][0])
    others = batches(np.random.SeedSequence(3).spawn(2)[0], 7)
    assert not np.array_equal(draw(others[0], 30, TABLE)[0], draw(many[2], 30, TABLE)[0])


def test_a_world_without_a_slot_for_a_sample_is_refused():
    short = training_batch(np.random.default_rng(5), 2, SKIP, TABLE)
    with pytest.raises(ValueError, match=f"{SKIP} slots"):
        rollout(short, np.random.default_rng(1))
