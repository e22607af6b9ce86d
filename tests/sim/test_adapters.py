# SPDX-License-Identifier: GPL-3.0-or-later
"""Adapters by name: each kind is the batch adapter that it says, with the settings that were asked for."""

import numpy as np
import pytest
from gnuradio.lighttune.core.checkpoint import load_model
from gnuradio.lighttune.core.guards import GuardPolicy
from gnuradio.lighttune.core.rules import ForwardForward, Spsa
from gnuradio.lighttune.core.selection import SelectionPolicy
from gnuradio.lighttune.core.trigger import TriggerPolicy
from gnuradio.lighttune.core.tuner import Tuner
from gnuradio.lighttune.sim import make_world, run_batch
from gnuradio.lighttune.sim.adapters import KINDS, complete, make_adapter
from gnuradio.lighttune.sim.batch import BatchLightTune
from gnuradio.lighttune.sim.peers import BatchGenie, BatchOlla, BatchSalad, BatchThompson, BatchTrendOlla

LINKS, SLOTS = 2, 100


@pytest.fixture(scope="module")
def predictor():
    return load_model("amc")


@pytest.fixture(scope="module")
def world(predictor):
    return make_world("mixture", predictor.table, 7, LINKS, SLOTS)


def rng():
    return np.random.default_rng(1)


def tuned(predictor, rule="local_head", trigger=None, guards=None, policy=None, fallback=True):
    tuner = Tuner(predictor, rule, trigger, guards, LINKS)
    return BatchLightTune(predictor, LINKS, policy, tuner, fallback)


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
    ("untuned", {}, lambda p: BatchLightTune(p, LINKS)),
    (
        "untuned",
        {"policy.objective": "target"},
        lambda p: BatchLightTune(p, LINKS, SelectionPolicy("target")),
    ),
    ("lighttune", {}, tuned),
    (
        "lighttune",
        {"rule": "forward_forward", "rule.theta": 2, "trigger.always": True, "fallback": False},
        lambda p: tuned(p, ForwardForward(theta=2.0), TriggerPolicy(always=True), fallback=False),
    ),
    (
        "lighttune",
        {"rule": "spsa", "rule.seed": 5, "trigger.on": 4, "guards.radius": 0.1, "policy.probe_budget": 0.1},
        lambda p: tuned(
            p,
            Spsa(seed=5),
            TriggerPolicy(on=4.0),
            GuardPolicy(radius=0.1),
            SelectionPolicy(probe_budget=0.1),
        ),
    ),
]


@pytest.mark.parametrize(("kind", "given", "direct"), SAME, ids=lambda value: str(value)[:40])
def test_a_kind_with_settings_runs_as_the_adapter_that_was_made_by_hand(
    kind, given, direct, predictor, world
):
    settings = complete(kind, given, predictor.table)
    by_name = run_batch(make_adapter(kind, settings, predictor, LINKS, rng()), world)
    by_hand = run_batch(direct(predictor), world)
    assert np.array_equal(by_name.mcs, by_hand.mcs)
    assert np.array_equal(by_name.bler, by_hand.bler)


def test_every_kind_is_tried_above():
    assert {kind for kind, _, _ in SAME} == set(KINDS)


def test_completing_adds_the_defaults_and_makes_equal_numbers_equal(predictor):
    assert complete("olla", {"target": 0.1}, predictor.table) == complete("olla", {}, predictor.table)
    whole, text = (complete("olla", {"delta_up_db": v}, predictor.table) for v in (1, "1e0"))
    assert whole["delta_up_db"] == text["delta_up_db"] == 1.0
    assert isinstance(whole["delta_up_db"], float)
    assert complete("lighttune", {"rule": "spsa"}, predictor.table)["rule.layer_size"] == 0.01


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
        ("untuned", {"trigger.on": 3}, "'trigger.on' is no setting of 'untuned'"),
        ("untuned", {"policy.objective": "speed"}, "policy: objective = 'speed': give 'goodput' or"),
        ("lighttune", {"rule": "sgd"}, "rule = 'sgd': give one of local_head, forward_forward, spsa"),
        ("lighttune", {"rule.theta": 2}, "'rule.theta' is no setting of 'lighttune'"),
        ("lighttune", {"rule.offset_rate": -1}, "rule.offset_rate = -1.0: give a learning rate of 0"),
        ("lighttune", {"rule": "spsa", "rule.seed": -1}, "rule.seed = -1: give 0 or more"),
        ("lighttune", {"trigger.always": "x"}, "trigger.always = 'x': give true or false"),
        ("lighttune", {"trigger.on": 1}, "trigger: on = 1.0"),
        ("lighttune", {"guards.radius": 0}, "guards: radius = 0.0: give a positive"),
    ],
)
def test_a_bad_setting_is_named_with_what_is_allowed(kind, given, message, predictor):
    with pytest.raises(ValueError, match=message):
        complete(kind, given, predictor.table)
