# SPDX-License-Identifier: GPL-3.0-or-later
"""Worlds differ in what their names say, and in nothing else."""

from dataclasses import replace

import numpy as np
import pytest
from gnuradio.lighttune.core.mcs import McsTable
from gnuradio.lighttune.sim import WORLDS, World, make_world, training_batch
from gnuradio.lighttune.sim.conditions import Conditions, Recipe
from gnuradio.lighttune.sim.family import FAMILY
from gnuradio.lighttune.sim.realise import PREROLL, beta_of, realise

TABLE = McsTable.nr_pdsch(2)
N_LINKS, N_SLOTS = 20, 3000
FIRST = slice(0, N_SLOTS // 4)  # before the earliest shift of any world


@pytest.fixture(scope="module")
def worlds() -> dict[str, World]:
    return {name: make_world(name, TABLE, 7, N_LINKS, N_SLOTS) for name in WORLDS}


def test_the_same_seed_gives_the_same_world_and_another_seed_another(worlds):
    again, other = (make_world("mixture", TABLE, seed, N_LINKS, N_SLOTS) for seed in (7, 8))
    for name in ("snr_db", "reported_db", "measured_at", "draws", "threshold_db"):
        assert np.array_equal(getattr(again, name), getattr(worlds["mixture"], name))
    assert not np.allclose(other.snr_db, again.snr_db)
    assert not np.allclose(other.draws, again.draws)


@pytest.mark.parametrize("name", WORLDS)
def test_all_worlds_of_a_seed_have_the_same_draws_and_begin_alike(name, worlds):
    world, nominal = worlds[name], worlds["nominal"]
    assert np.array_equal(world.draws, nominal.draws)
    off_db = world.threshold_db - nominal.threshold_db  # the PHY's, for all links alike
    assert np.allclose(off_db, off_db[:1])
    assert off_db.any() == (name == "wrong_curves")  # this table's curves are the formula's
    assert (world.slope_db != TABLE.slope).any() == (name == "wrong_curves")
    assert np.allclose(world.snr_db[:, FIRST], nominal.snr_db[:, FIRST], atol=1e-3)
    # A report may fall on either side of a rounding limit.
    assert (world.reported_db[:, FIRST] == nominal.reported_db[:, FIRST]).mean() > 0.99


@pytest.mark.parametrize("name", WORLDS)
def test_a_world_is_finite_and_its_reports_lie_in_the_past_and_never_go_back(name, worlds):
    world = worlds[name]
    age = np.arange(N_SLOTS) - world.measured_at
    assert np.isfinite(world.snr_db).all()
    assert np.isfinite(world.reported_db).all()
    assert (age >= 1).all()
    assert (age <= 8).all()
    assert (np.diff(world.measured_at, axis=1) >= 0).all()
    assert ((world.draws >= 0) & (world.draws < 1)).all()


def test_a_nominal_report_is_the_sinr_of_its_slot_rounded_and_noisy(worlds):
    world = worlds["nominal"]
    late = np.arange(PREROLL, N_SLOTS)
    truth = np.take_along_axis(world.snr_db[:, :, -1], world.measured_at[:, late], axis=1)
    error = world.reported_db[:, late] - truth
    # Noise of 0.3 to 0.7 dB, rounding to 0.5 dB, and a larger beta than the 130 of the highest rate.
    assert abs(np.median(error)) < 0.2
    assert np.median(np.abs(error)) < 0.7
    assert np.allclose(world.reported_db, np.round(world.reported_db * 2) / 2)


def test_the_bias_jumps_up_and_then_down(worlds):
    difference = worlds["snr_bias_jump"].reported_db - worlds["nominal"].reported_db
    third = N_SLOTS // 3
    assert worlds["snr_bias_jump"].shifts == (third, 2 * third)
    assert np.allclose(difference[:, third + 8 : 2 * third], 3.0, atol=0.51)
    assert np.allclose(difference[:, 2 * third + 8 :], -3.0, atol=0.51)
    assert np.allclose(worlds["snr_bias_jump"].snr_db, worlds["nominal"].snr_db, atol=1e-3)


def test_a_faster_doppler_moves_the_channel_faster_and_reports_age(worlds):
    world = worlds["doppler_shift"]
    change = np.abs(np.diff(world.snr_db[:, :, 1], axis=1))
    first, second = world.shifts
    assert change[:, first:second].mean() > 3 * change[:, :first].mean()
    age = np.arange(N_SLOTS) - world.measured_at
    assert age[:, :second].max() <= 4
    assert age[:, second + 8 :].min() >= 5


def test_a_burst_of_interference_costs_its_power_and_no_report_shows_it(worlds):
    world, nominal = worlds["interference"], worlds["nominal"]
    # On flat links the loss of effective SINR is the rise of the noise: 10 lg(1 + 10^0.8) = 8.64 dB.
    flat = make_world_with(Conditions(burst_inr_db=8.0), delay_spread=(1e-3, 2e-3))
    quiet = make_world_with(Conditions(), delay_spread=(1e-3, 2e-3))
    loss = (quiet.snr_db - flat.snr_db)[:, :, 0]
    burst = loss > 1.0
    assert np.allclose(loss[burst], 8.64, atol=0.05)
    assert np.allclose(loss[~burst], 0.0, atol=1e-3)
    # 30 slots on, 120 off; about 20 bursts in each of 20 links.
    assert burst.mean() == pytest.approx(0.2, abs=0.03)
    assert np.array_equal(world.reported_db, nominal.reported_db)


def make_world_with(conditions: Conditions, **population) -> World:
    recipe = Recipe(((0.0, conditions),), replace(FAMILY.population, **population))
    return realise("test", recipe, TABLE, 7, N_LINKS, N_SLOTS)


def test_an_impaired_receiver_has_a_ceiling_a_floor_and_wider_waterfalls(worlds):
    world = worlds["impairment"]
    after = slice(world.shifts[0], None)
    assert world.snr_db[:, after].max() <= 20.0  # EVM of 10 %
    assert world.snr_db[:, : world.shifts[0]].max() > 20.0
    assert world.bler(np.array(0))[:, after].min() >= 0.02
    assert (world.slope_factor[after] == 3.0).all()


def test_the_two_ways_to_ask_for_the_true_bler_agree(worlds, rng):
    world = worlds["mixture"]
    mcs = rng.integers(0, len(TABLE), (N_LINKS, N_SLOTS))
    whole = world.bler(mcs, bits=4096)
    for link in (0, 13):
        row = world.bler_of_link(link, bits=4096)[np.arange(N_SLOTS), mcs[link]]
        assert np.allclose(whole[link], row)
        part = world.bler(mcs[link : link + 1], slice(link, link + 1), 4096)
        assert np.array_equal(part[0], whole[link])


def test_a_nominal_unjittered_world_fails_as_its_table_says():
    world = make_world_with(Conditions(), threshold_jitter_db=0.0)
    order = 2 * np.searchsorted(TABLE.orders, 6)
    ladder = np.flatnonzero(np.array(TABLE.modulation_order) == 6)
    for mcs, end in ((ladder[0], order), (ladder[-1], order + 1)):
        expected = TABLE.bler(world.snr_db[3, :, end])[:, mcs]
        assert np.allclose(world.bler_of_link(3)[:, mcs], expected, atol=1e-6)
    between = world.effective_db(world.snr_db[3])[:, ladder]
    assert (np.diff(between, axis=1) >= 0).all()  # a higher rate weighs its weak subcarriers less


def test_betas_are_those_of_the_literature_and_rise_with_rate_and_order():
    beta = beta_of(McsTable.nr_pdsch(2))
    assert beta[[0, 4, 5, 10, 11, 19, 20, 27]] == pytest.approx(
        [1.60, 1.79, 4.27, 6.50, 10.97, 29.94, 56.48, 132.54], rel=0.05
    )
    for ladder in (range(5), range(5, 11), range(11, 20), range(20, 28)):
        assert (np.diff(beta[list(ladder)]) > 0).all()


def test_every_modulation_order_of_the_module_has_a_beta_and_others_are_refused():
    bpsk_too = McsTable("b", (1, 2), (0.5, 0.5), (-2.0, 1.0), (0.3, 0.3))
    assert make_world("nominal", bpsk_too, 1, 2, 100).snr_db.shape == (2, 100, 4)
    with pytest.raises(ValueError, match=r"order \[3\]"):
        make_world("nominal", McsTable("8psk", (3,), (0.5,), (5.0,), (0.3,)), 1, 2, 100)


@pytest.mark.parametrize(
    ("name", "n_links", "n_slots"), [("paradise", 1, 100), ("mixture", 0, 100), ("mixture", 1, 3)]
)
def test_an_unknown_world_or_an_empty_one_is_refused(name, n_links, n_slots):
    with pytest.raises(ValueError, match=r"nominal, snr_bias_jump|needs 1 and 4"):
        make_world(name, TABLE, 1, n_links, n_slots)


@pytest.mark.parametrize("delay", [(0, 2), (3, 2), (1, 17)])
def test_a_report_delay_out_of_range_is_refused(delay):
    with pytest.raises(ValueError, match="report_delay_slots"):
        make_world_with(Conditions(report_delay_slots=delay))


def test_a_clean_links_reports_are_neither_noisy_nor_rounded_and_the_others_are_both():
    rough = Conditions(report_bias_db=2.0, report_noise_db=(0.5, 0.5), report_step_db=(0.5, 0.5))
    smooth = replace(rough, report_noise_db=(0.0, 0.0), report_step_db=(0.0, 0.0))
    clean = make_world_with(smooth, clean_share=0.0).reported_db
    noisy = make_world_with(rough, clean_share=0.0).reported_db
    assert np.array_equal(make_world_with(rough, clean_share=1.0).reported_db, clean)  # the bias remains
    assert (noisy == np.round(noisy * 2) / 2).all()
    mixed = make_world_with(rough, clean_share=0.5).reported_db
    as_clean, as_noisy = ((mixed == other).all(axis=1) for other in (clean, noisy))
    assert (as_clean != as_noisy).all()
    assert 4 <= as_clean.sum() <= 16  # of 20 links: beyond that in one seed of 400


def test_half_the_links_of_the_training_family_are_clean():
    all_clean = replace(FAMILY, population=replace(FAMILY.population, clean_share=1.0))
    family, clean = (
        training_batch(np.random.default_rng(3), 1000, 32, TABLE, recipe) for recipe in (FAMILY, all_clean)
    )
    same = (family.reported_db == clean.reported_db).all(axis=1)
    assert same.mean() == pytest.approx(0.5, abs=0.065)  # 1000 links: four standard deviations


def test_a_world_has_ten_thousand_slots_of_a_hundred_links_unless_told_otherwise():
    world = make_world("mixture", TABLE, 1)  # 1.4 s measured
    assert world.snr_db.shape == (100, 10_000, 8)
    assert np.isfinite(world.snr_db).all()


def test_the_training_family_covers_what_it_promises(rng):
    batch = training_batch(rng, 2000, 256, TABLE)
    age = np.arange(256) - batch.measured_at
    assert (age == age[:, :1]).all()
    assert np.bincount(age[:, 0], minlength=9)[1:].min() > 2000 / 8 * 0.75
    assert batch.reported_db.min() < TABLE.threshold.min() - 5
    assert batch.reported_db.max() > TABLE.threshold.max() + 5
    assert (batch.threshold_db - TABLE.threshold).std() == pytest.approx(0.3, abs=0.01)
    # Slow, fast, flat and selective links: the change from slot to slot spans two orders of magnitude.
    change = np.abs(np.diff(batch.snr_db[:, :, 0], axis=1)).mean(axis=1)
    assert np.quantile(change, 0.99) > 30 * np.quantile(change, 0.01)


def test_the_training_family_is_as_repeatable_as_its_generator():
    a, b = (training_batch(np.random.default_rng(3), 5, 64, TABLE) for _ in range(2))
    assert np.array_equal(a.reported_db, b.reported_db)
    assert np.array_equal(a.snr_db, b.snr_db)
