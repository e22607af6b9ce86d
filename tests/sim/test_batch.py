# SPDX-License-Identifier: GPL-3.0-or-later
"""All links in lockstep: every batch adapter chooses as its one-link twin does."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from gnuradio.lighttune.baselines import Genie, Olla, Salad, TableOnly, ThompsonSampling, TrendOlla
from gnuradio.lighttune.baselines.thompson import draw_constrained as draw_constrained_of_one
from gnuradio.lighttune.core.link import Link
from gnuradio.lighttune.core.link_files import load_model
from gnuradio.lighttune.core.link_model import LinkModel
from gnuradio.lighttune.core.link_tuner import LinkTuner
from gnuradio.lighttune.core.mcs import McsTable
from gnuradio.lighttune.core.messages import Csi, LinkAdapter
from gnuradio.lighttune.core.selection import SelectionPolicy
from gnuradio.lighttune.core.tuning import TuningPolicy
from gnuradio.lighttune.sim import Trace, World, make_world, run, summary
from gnuradio.lighttune.sim.batch import BatchAdapter, run_batch
from gnuradio.lighttune.sim.batch_link import BatchLink
from gnuradio.lighttune.sim.peers import (
    BatchGenie,
    BatchOlla,
    BatchSalad,
    BatchThompson,
    BatchTrendOlla,
    draw_constrained,
)

TABLE = McsTable.amc()
LINKS = 3


def seeded(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture(scope="module", params=["mixture", "snr_bias_jump"])
def world(request) -> World:
    return make_world(request.param, TABLE, 11, n_links=LINKS, n_slots=800)


def assert_same_run(together: Trace, apart: Trace) -> None:
    """Every slot of every link is the same. BLERs may differ in the last bits: numpy takes another path
    through an array than through a number."""
    for name in ("mcs", "ack", "goodput", "probe", "version"):
        np.testing.assert_array_equal(getattr(together, name), getattr(apart, name), err_msg=name)
    for name in ("bler", "true_bler"):
        np.testing.assert_allclose(getattr(together, name), getattr(apart, name), rtol=2e-6, err_msg=name)


@pytest.fixture(scope="module")
def model() -> LinkModel:
    return load_model("amc")


@dataclass(frozen=True)
class Twins:
    together: Callable[[int], BatchAdapter]
    apart: Callable[[int], LinkAdapter]


TWINS = {
    "OLLA": Twins(lambda n: BatchOlla(TABLE, n), lambda link: Olla(TABLE)),
    "OLLA, other settings": Twins(
        lambda n: BatchOlla(TABLE, n, 0.25, 1.5, (-3.0, 2.0)),
        lambda link: Olla(TABLE, target=0.25, delta_up_db=1.5, offset_range_db=(-3.0, 2.0)),
    ),
    "table": Twins(lambda n: BatchOlla(TABLE, n, delta_up_db=0.0), lambda link: TableOnly(TABLE)),
    "trend OLLA": Twins(lambda n: BatchTrendOlla(TABLE, n), lambda link: TrendOlla(TABLE)),
    "trend OLLA, other settings": Twins(
        lambda n: BatchTrendOlla(
            TABLE, n, 0.2, 1.0, level_gain=0.5, slope_gain=0.8, lead_db=2.0, step_db=1.0
        ),
        lambda link: TrendOlla(
            TABLE, target=0.2, delta_up_db=1.0, level_gain=0.5, slope_gain=0.8, lead_db=2.0, step_db=1.0
        ),
    ),
    "SALAD": Twins(
        lambda n: BatchSalad(TABLE, n, seeded(), probe_share=0.0),
        lambda link: Salad(TABLE, seeded(), probe_share=0.0),
    ),
    "SALAD that always probes": Twins(
        lambda n: BatchSalad(TABLE, n, seeded(), 0.2, 0.7, 50, 0.01, 1.0, window=8, probe_target=0.8),
        lambda link: Salad(
            TABLE, seeded(), target=0.2, learning_rate=0.7, distil_every=50, integral_gain=0.01,
            probe_share=1.0, window=8, probe_target=0.8,
        ),
    ),
    "genie": Twins(lambda n: BatchGenie(TABLE), lambda link: Genie(TABLE)),
}  # fmt: skip


@pytest.mark.parametrize("delay", [1, 4])
@pytest.mark.parametrize("name", TWINS)
def test_a_peer_chooses_as_its_twin_does_slot_by_slot(name, delay, world):
    twins = TWINS[name]
    together = run_batch(twins.together(LINKS), world, feedback_delay_slots=delay)
    assert_same_run(together, run(twins.apart, world, feedback_delay_slots=delay))


def test_the_trend_begins_anew_after_a_long_silence_and_a_jump_back():
    together, apart = BatchTrendOlla(TABLE, 2), [TrendOlla(TABLE), TrendOlla(TABLE)]
    slots = [*range(1, 40), *range(120, 200), *range(150, 260)]
    for slot in slots:
        for link, adapter in enumerate(apart):
            if link == 0 or slot % 5 == 0:  # the second link's reports are rarer
                from_db = 8.0 + 5.0 * np.sin(0.2 * slot)
                together.report(np.array([link]), np.array([from_db]), np.array([slot - 1]))
                adapter.report(Csi(from_db, seq=slot - 1))
        mcs, bler = together.select(slot)
        for link, adapter in enumerate(apart):
            decision = adapter.select(seq=slot)
            assert mcs[link] == decision.mcs
            assert bler[link] == pytest.approx(decision.bler, rel=1e-9)
            adapter.feedback(slot, slot % 7 != 0)
        together.feedback(slot, np.full(2, slot % 7 != 0))


class Scripted:
    """Stands in for a generator: its samples depend on the posterior alone, and smoothly, so that one link's
    and many links' are alike although they come in another order."""

    def beta(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.clip(a / (a + b) + 0.2 * np.sin(5 * a + 3 * b), 0.01, 0.99)

    def random(self, size: int | None = None) -> float | np.ndarray:
        return 0.4 if size is None else np.full(size, 0.4)


@pytest.mark.parametrize(
    ("target", "memory_blocks", "delay"), [(None, None, 4), (0.1, None, 1), (None, 150.0, 1), (0.1, 150.0, 4)]
)
def test_thompson_sampling_counts_and_mixes_as_its_twin_does(target, memory_blocks, delay, world):
    settings = {"target": target, "memory_blocks": memory_blocks, "flat_prior": 0.1, "prior_strength": 4.0}
    together = BatchThompson(TABLE, LINKS, Scripted(), **settings)
    apart = [ThompsonSampling(TABLE, Scripted(), **settings) for _ in range(LINKS)]
    trace = run_batch(together, world, feedback_delay_slots=delay)
    assert_same_run(trace, run(lambda link: apart[link], world, feedback_delay_slots=delay))
    assert len(np.unique(trace.mcs)) > 4
    for link, adapter in enumerate(apart):
        for snr_db in np.arange(-5.0, 30.0):
            row, cqi = np.array([link]), np.array([adapter.cqi(snr_db)])
            # Forgetting many outcomes at once rounds otherwise than one by one.
            np.testing.assert_allclose(
                together.counts(row, cqi)[0], adapter.counts(snr_db), rtol=1e-10, atol=1e-12
            )


def test_thompson_sampling_with_one_generator_fares_as_with_one_for_each_link():
    world = make_world("mixture", TABLE, 12, n_links=8, n_slots=1000)
    for settings in ({"flat_prior": 0.1}, {"target": None, "flat_prior": 0.01, "memory_blocks": 500.0}):
        together = summary(run_batch(BatchThompson(TABLE, 8, seeded(), **settings), world))
        apart = summary(run(lambda i, s=settings: ThompsonSampling(TABLE, seeded(i), **s), world))
        # Runs that differ in their generators' seeds alone differ by a standard deviation of 0.5 %.
        assert together["goodput"] == pytest.approx(apart["goodput"], rel=0.02)
        assert together["residual_bler"] == pytest.approx(apart["residual_bler"], abs=0.02)


def test_salad_with_one_generator_fares_as_with_one_for_each_link():
    world = make_world("mixture", TABLE, 12, n_links=8, n_slots=1000)
    together = run_batch(BatchSalad(TABLE, 8, seeded(), distil_every=None), world)
    apart = run(lambda link: Salad(TABLE, seeded(link), distil_every=None), world)
    assert summary(together)["goodput"] == pytest.approx(summary(apart)["goodput"], rel=0.02)
    assert together.probe.mean() == pytest.approx(apart.probe.mean(), rel=0.2)
    assert apart.probe.mean() > 0.02


def test_rows_of_arms_are_drawn_as_one_is(rng):
    success = rng.random((400, 6))
    value = success * np.arange(1.0, 7.0)
    least = rng.uniform(0.3, 1.1, 400)  # now and then, no arm is good enough
    least[::10] = np.nan
    arms = draw_constrained(success, value, least, Scripted())
    for row in range(400):
        if np.isnan(least[row]):
            expected = int(np.argmax(value[row]))
        else:
            expected = draw_constrained_of_one(success[row], value[row], least[row], Scripted())
        assert arms[row] == expected


def apart_and_together(
    model: LinkModel, world: World, policy: TuningPolicy | None, delay: int = 1
) -> tuple[Trace, Trace]:
    together = run_batch(BatchLink(model, LINKS, policy), world, feedback_delay_slots=delay, predict=True)
    apart = run(
        lambda link: Link(model, tuner=None if policy is None else LinkTuner(model, policy, max_links=1)),
        world,
        feedback_delay_slots=delay,
        predict=lambda link, decision: link.bler(),
    )
    return apart, together


@pytest.mark.parametrize(
    ("policy", "delay"),
    [(None, 1), (TuningPolicy(), 4), (TuningPolicy(always=True), 1), (TuningPolicy(always=True), 4)],
)
def test_lighttune_chooses_and_tunes_as_its_twin_does(policy, delay, world, model):
    apart, together = apart_and_together(model, world, policy, delay)
    assert_same_run(together, apart)
    np.testing.assert_array_equal(together.near_bler, apart.near_bler)
    np.testing.assert_allclose(together.near_true, apart.near_true, rtol=1e-6)
    assert together.probe.any()
    if policy is None or policy.always:
        assert (together.version.max(axis=1) > 0).all() == (policy is not None)


def test_at_a_target_the_share_of_failures_is_held_as_by_its_twin(world, model):
    apart, together = apart_and_together(
        LinkModel(TABLE, model.net, SelectionPolicy("target", bler_target=0.05)), world, None
    )
    assert_same_run(together, apart)
    free = run_batch(BatchLink(model, LINKS), world)
    assert summary(together)["residual_bler"] < summary(free)["residual_bler"]


def test_links_of_a_pool_all_take_the_curves_that_one_of_them_tunes(world, model):
    policy = TuningPolicy(always=True)
    pooled = run_batch(BatchLink(model, LINKS, policy, pool=True), world)
    # Every outcome of every link moves the same curves.
    assert (pooled.version.max(axis=1) > 2 * world.n_slots).all()
    alone = run_batch(BatchLink(model, LINKS, policy), world)
    assert (alone.version.max(axis=1) < world.n_slots).all()


def test_a_link_in_several_rows_with_different_settings_runs_as_in_runs_of_their_own(world):
    links, target, step = np.array([2, 0, 2, 2]), np.array([0.1, 0.1, 0.3, 0.3]), np.array([0.5, 0.2, 0.5, 2])

    def run_rows(make: Callable[..., BatchAdapter], **settings: np.ndarray) -> None:
        rows = run_batch(make(4, **settings), world, links=links)
        for row, link in enumerate(links):
            own = {name: values[row] for name, values in settings.items()}
            alone = run_batch(make(1, **own), world, links=np.array([link]))
            assert_same_run(
                Trace(**{name: getattr(rows, name)[row : row + 1] for name in COLUMNS}),
                Trace(**{name: getattr(alone, name) for name in COLUMNS}),
            )
        assert len({rows.goodput[row].sum() for row in (0, 2, 3)}) == 3

    run_rows(lambda n, **s: BatchOlla(TABLE, n, **s), target=target, delta_up_db=step)
    run_rows(lambda n, **s: BatchTrendOlla(TABLE, n, **s), target=target, delta_up_db=step)
    run_rows(
        lambda n, **s: BatchSalad(TABLE, n, seeded(), **s),
        target=target,
        learning_rate=np.array([1.0, 0.5, 0.3, 1.5]),
        distil_every=np.array([0, 60, 200, 0]),
        integral_gain=np.array([0.02, 0.02, 0.01, 0.1]),
        probe_share=np.array([0.0, 1.0, 0.0, 1.0]),
    )
    run_rows(
        lambda n, **s: BatchThompson(TABLE, n, Scripted(), **s),
        target=np.array([0.1, np.nan, np.nan, 0.3]),
        flat_prior=np.array([0.01, 0.1, 0.1, 1.0]),
        prior_strength=np.array([10.0, 1.0, 4.0, 10.0]),
        memory_blocks=np.array([np.inf, 100.0, np.inf, 500.0]),
    )


COLUMNS = ("mcs", "bler", "true_bler", "ack", "goodput", "probe", "version", "latency_s")


def test_feedback_cannot_come_before_the_block(world):
    with pytest.raises(ValueError, match="feedback_delay_slots = 0"):
        run_batch(BatchGenie(TABLE), world, feedback_delay_slots=0)


def test_a_genie_that_was_told_nothing_says_so():
    with pytest.raises(RuntimeError, match="reveal"):
        BatchGenie(TABLE).select(0)
