# SPDX-License-Identifier: GPL-3.0-or-later
"""Weights change hands whole and with their own version, however often they do while decisions are made.

A rule whose step is always the same makes weights that their version alone determines: ``offline + version *
step``. Whoever decides with a mixture of two versions, or with one version's weights under another's number,
gives itself away in the BLER that it predicts.
"""

import sys
import threading
from dataclasses import dataclass, field

import numpy as np
import pytest
from gnuradio.lighttune.baselines import Olla
from gnuradio.lighttune.core.adapter import Selector
from gnuradio.lighttune.core.guards import GuardPolicy
from gnuradio.lighttune.core.messages import Csi
from gnuradio.lighttune.core.predictor import OFFSET
from gnuradio.lighttune.core.rules import LocalHead
from gnuradio.lighttune.core.trigger import TriggerPolicy
from gnuradio.lighttune.core.tuner import Tuner

from flowgraph import until
from served import Host, ThreadedService

VERSIONS = 250


@pytest.fixture(autouse=True)
def threads_that_take_turns_often():
    """Every 20 us instead of 5 ms: so that a swap may fall anywhere in a decision."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(20e-6)
    yield
    sys.setswitchinterval(before)


def step_of(predictor):
    """-0.02 dB and 0.01 of every bias: 250 of them stay within the guards' bounds."""
    step = predictor.weights(np.zeros(predictor.shape.n_weights))
    step.flat[OFFSET] = -0.02
    step.b[...] = 0.002
    return step.flat


@dataclass(frozen=True)
class Steady(LocalHead):
    step: np.ndarray = field(default=None, repr=False)

    def direction(self, predictor, weights, act, outcome):
        return np.tile(self.step, (len(weights.flat), 1))


def check(predictor, decisions):
    """Every decision's BLER is that of its version's weights; returns how many versions there were."""
    step, known = step_of(predictor), {}
    for decision in decisions:
        if decision.version not in known:
            known[decision.version] = predictor.weights(predictor.offline + decision.version * step)
        bler = predictor.bler(known[decision.version], decision.features)[decision.mcs]
        assert decision.bler == pytest.approx(bler, rel=2e-3), decision.version
    return len(known)


def selector_of(predictor):
    selector = Selector(predictor, Olla(predictor.table))
    selector.report(Csi(12.0))
    return selector


def test_the_check_would_notice(plain_predictor):
    step, selector = step_of(plain_predictor), selector_of(plain_predictor)
    selector.load(3, plain_predictor.offline + 4 * step)
    with pytest.raises(AssertionError):
        check(plain_predictor, [selector.select()])
    torn = plain_predictor.offline + 200 * step
    torn[OFFSET] = 0.0
    selector.load(200, torn)
    with pytest.raises(AssertionError):
        check(plain_predictor, [selector.select()])


def test_a_selector_that_is_loaded_from_another_thread_all_the_time_decides_on_whole_weights(
    plain_predictor, rng
):
    step, selector = step_of(plain_predictor), selector_of(plain_predictor)
    models = [(k, plain_predictor.offline + k * step) for k in range(VERSIONS)]
    end, loads = threading.Event(), 0

    def load():
        nonlocal loads
        while not end.is_set():
            selector.load(*models[rng.integers(VERSIONS)])  # far apart: a mixture would show
            loads += 1

    loader = threading.Thread(target=load)
    loader.start()
    decisions = [selector.select() for _ in range(4000)]
    while loads < 1000 or len({decision.version for decision in decisions}) < 50:
        decisions.append(selector.select())
    end.set()
    loader.join()
    assert check(plain_predictor, decisions) >= 50


def test_models_of_a_service_arrive_whole_and_are_decided_on_whole(plain_predictor):
    rule, loose = Steady(step=step_of(plain_predictor)), GuardPolicy(margin=1e9)
    tuner = Tuner(plain_predictor, rule, TriggerPolicy(always=True), loose, max_links=64)
    selectors = {link: selector_of(plain_predictor) for link in range(8)}
    with ThreadedService(plain_predictor, tuner=tuner) as service:
        host = Host(plain_predictor, service.endpoint)
        take, swaps, step = host.take, 0, step_of(plain_predictor)

        def load(models):
            nonlocal swaps
            take(models)
            for link, version, healthy, weights in zip(
                models.links, models.versions, models.healthy, models.weights, strict=True
            ):
                assert weights == pytest.approx(plain_predictor.offline + version * step, abs=1e-4)
                selectors[int(link)].load(int(version), weights, bool(healthy))
                swaps += 1

        host.client._on_models = load
        decisions = []
        with host.wait_heard():
            for version in range(VERSIONS):
                host.send(range(8))
                if version % 10 == 9:  # a swap at least every so often
                    until(lambda version=version: host.version(0) >= version)
                decisions += [selector.select() for selector in selectors.values()]
            while min(selector.version for selector in selectors.values()) < VERSIONS:
                decisions += [selector.select() for selector in selectors.values()]
                assert len(decisions) < 10**6
            until(lambda: host.client.under_way == 0)
    assert swaps > 100
    assert check(plain_predictor, decisions) > 10
