# SPDX-License-Identifier: GPL-3.0-or-later
"""Adapters by name: each kind is the batch adapter that it says, with the settings that were asked for."""

import numpy as np
import pytest
from gnuradio.lighttune.core.link_files import load_model
from gnuradio.lighttune.core.link_model import LinkModel
from gnuradio.lighttune.core.selection import SelectionPolicy
from gnuradio.lighttune.core.tuning import TuningPolicy
from gnuradio.lighttune.sim import make_world, run_batch
from gnuradio.lighttune.sim.adapters import KINDS, complete, make_adapter
from gnuradio.lighttune.sim.batch_link import BatchLink
from gnuradio.lighttune.sim.peers import BatchGenie, BatchOlla, BatchSalad, BatchThompson, BatchTrendOlla

LINKS, SLOTS = 2, 100


@pytest.fixture(scope="module")
def model():
    return load_model("amc")


@pytest.fixture(scope="module")
def world(model):
    return make_world("mixture", model.table, 7, LINKS, SLOTS)


def rng():
    return np.random.default_rng(1)


SAME = [
    ("olla", {}, lambda p: BatchOlla(p.table, LINKS)),
    (
        "olla",
        {"target": 0.3, "offset_range_db": [-1, 1]},
        lambda p: BatchOlla(p.table, LINKS, 0.3, offset_range_db=(-1.0, 1.0)),
    ),
    ("trend_olla", {"level_gain": 0.4}, lambda p: BatchTrendOlla(p.table, LINKS, level_gain=0.4)),
    ("salad", {"distil_every": None}, lambda p: BatchSalad(p.table, LINKS, rng(), distil_every=None)),
    ("thompson", {"target": None}, lambda p: BatchThompson(p.table, LINKS, rng(), target=None)),
    ("genie", {}, lambda p: BatchGenie(p.table)),
    ("untuned", {}, lambda p: BatchLink(p, LINKS)),
    (
        "untuned",
        {"policy.objective": "target", "policy.bler_target": 0.2},
        lambda p: BatchLink(LinkModel(p.table, p.net, SelectionPolicy("target", 0.2)), LINKS),
    ),
    ("lighttune", {}, lambda p: BatchLink(p, LINKS, TuningPolicy())),
    (
        "lighttune",
        {"tuning.always": True, "tuning.prior_db": 3, "pool": True},
        lambda p: BatchLink(p, LINKS, TuningPolicy(always=True, prior_db=3.0), pool=True),
    ),
]


@pytest.mark.parametrize(("kind", "given", "direct"), SAME, ids=lambda value: str(value)[:40])
def test_a_kind_with_settings_runs_as_the_adapter_that_was_made_by_hand(kind, given, direct, model, world):
    settings = complete(kind, given, model.table)
    by_name = run_batch(make_adapter(kind, settings, model, LINKS, rng()), world)
    by_hand = run_batch(direct(model), world)
    assert np.array_equal(by_name.mcs, by_hand.mcs)
    assert np.array_equal(by_name.bler, by_hand.bler)


def test_every_kind_is_tried_above():
    assert {kind for kind, _, _ in SAME} == set(KINDS)


def test_completing_adds_the_defaults_and_makes_equal_numbers_equal(model):
    assert complete("olla", {"target": 0.1}, model.table) == complete("olla", {}, model.table)
    whole, text = (complete("olla", {"delta_up_db": v}, model.table) for v in (1, "1e0"))
    assert whole["delta_up_db"] == text["delta_up_db"] == 1.0
    assert isinstance(whole["delta_up_db"], float)
    assert complete("lighttune", {}, model.table)["tuning.hold"] == TuningPolicy().hold


@pytest.mark.parametrize(
    ("kind", "given", "message"),
    [
        ("ola", {}, "kind = 'ola': give one of olla, trend_olla"),
        ("olla", {"targt": 0.1}, "'targt' is no setting of 'olla': there are target, delta_up_db"),
        ("olla", {"target": 1.5}, "target = 1.5: give a BLER inside"),
        ("olla", {"target": float("nan")}, "target = nan: give a finite number"),
        ("olla", {"target": "high"}, "target = 'high': give a finite number"),
        ("olla", {"target": None}, "target = None: give a finite number"),
        ("olla", {"offset_range_db": [3]}, r"offset_range_db = \[3\]: give two numbers"),
        ("salad", {"window": 1.5}, "window = 1.5: give a whole number"),
        ("salad", {"probe_target": 0.01}, "probe_target = 0.01: give a BLER"),
        ("thompson", {"memory_blocks": 0}, "memory_blocks = 0.0: give above 1 block"),
        ("genie", {"target": 0.1}, "'target' is no setting of 'genie': there are none"),
        ("untuned", {"tuning.on": 3}, "'tuning.on' is no setting of 'untuned'"),
        ("untuned", {"policy.probe_budget": 0.1}, "'policy.probe_budget' is no setting of 'untuned'"),
        ("untuned", {"policy.objective": "speed"}, "policy: objective = 'speed': give 'goodput' or"),
        ("lighttune", {"policy.bler_target": 1}, "policy: bler_target = 1.0: give a probability"),
        ("lighttune", {"tuning.always": "x"}, "tuning.always = 'x': give true or false"),
        ("lighttune", {"tuning.on": 0}, "tuning: on = 0.0: give a positive"),
        ("lighttune", {"tuning.hold": 0.5}, "tuning.hold = 0.5: give a whole number"),
        ("lighttune", {"pool": 1}, "pool = 1: give true or false"),
    ],
)
def test_a_bad_setting_is_named_with_what_is_allowed(kind, given, message, model):
    with pytest.raises(ValueError, match=message):
        complete(kind, given, model.table)
