# SPDX-License-Identifier: GPL-3.0-or-later
"""Curves change hands whole and with their own version, however often they do while decisions are made.

A tuner whose step is always the same makes curves that their version alone determines. Whoever decides with a
mixture of two versions, or with one version's curves under another's number, gives itself away in the BLER
that it predicts.
"""

import sys
import threading

import numpy as np
import pytest
from gnuradio.lighttune.core.link import Link
from gnuradio.lighttune.core.link_tuner import LinkTuner
from gnuradio.lighttune.core.messages import Csi
from gnuradio.lighttune.core.tuning import TuningPolicy

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


def curves_of(model, version):
    """0.02 dB more for every MCS and slopes by 0.3 % larger with every version."""
    n_mcs = len(model.table)
    return np.concatenate([np.full(n_mcs, 0.02), np.full(n_mcs, 0.003)]) * version


class SteadyTuner(LinkTuner):
    def learn_rows(self, rows, features, mcs, nack):
        n_mcs = len(self.model.table)
        for row in rows:
            one = self._tuned[row]
            one["updates"] += 1
            curves = curves_of(self.model, one["updates"])
            one["shift_db"][:n_mcs], one["log_slope"][:n_mcs] = curves[:n_mcs], curves[n_mcs:]
        return np.ones(len(rows), bool)


def link_of(model):
    link = Link(model)
    link.report(Csi(12.0))
    return link


def check(model, decisions):
    """Every decision's BLER is that of its version's curves; returns how many versions there were."""
    known = {}
    for decision in decisions:
        if decision.version not in known:
            link = link_of(model)
            link.load(decision.version, curves_of(model, decision.version))
            link.select()
            known[decision.version] = link.bler()
        bler = known[decision.version][decision.mcs]
        assert decision.bler == pytest.approx(bler, rel=2e-3), decision.version
    return len(known)


def test_the_check_would_notice(plain_model):
    link, n_mcs = link_of(plain_model), len(plain_model.table)
    link.load(3, curves_of(plain_model, 4))
    with pytest.raises(AssertionError):
        check(plain_model, [link.select()])
    torn = curves_of(plain_model, 200)
    torn[n_mcs:] = 0.0
    link.load(200, torn)
    with pytest.raises(AssertionError):
        check(plain_model, [link.select()])


def test_a_link_that_is_loaded_from_another_thread_all_the_time_decides_on_whole_curves(plain_model, rng):
    link = link_of(plain_model)
    models = [(k, curves_of(plain_model, k)) for k in range(VERSIONS)]
    end, loads = threading.Event(), 0

    def load():
        nonlocal loads
        while not end.is_set():
            link.load(*models[rng.integers(VERSIONS)])  # far apart: a mixture would show
            loads += 1

    loader = threading.Thread(target=load)
    loader.start()
    decisions = [link.select() for _ in range(4000)]
    while loads < 1000 or len({decision.version for decision in decisions}) < 50:
        decisions.append(link.select())
    end.set()
    loader.join()
    assert check(plain_model, decisions) >= 50


def test_models_of_a_service_arrive_whole_and_are_decided_on_whole(plain_model):
    tuner = SteadyTuner(plain_model, TuningPolicy(always=True), max_links=64)
    links = {number: link_of(plain_model) for number in range(8)}
    with ThreadedService(plain_model, tuner=tuner) as service:
        host = Host(plain_model, service.endpoint)
        take, swaps = host.take, 0

        def load(models):
            nonlocal swaps
            take(models)
            for number, version, weights in zip(models.links, models.versions, models.weights, strict=True):
                assert weights == pytest.approx(curves_of(plain_model, int(version)), abs=1e-4)
                links[int(number)].load(int(version), weights)
                swaps += 1

        host.client._on_models = load
        decisions = []
        with host.wait_heard():
            for version in range(VERSIONS):
                host.send(range(8))
                if version % 10 == 9:  # a swap at least every so often
                    until(lambda version=version: host.version(0) >= version)
                decisions += [link.select() for link in links.values()]
            while min(link.version for link in links.values()) < VERSIONS:
                decisions += [link.select() for link in links.values()]
                assert len(decisions) < 10**6
            until(lambda: host.client.under_way == 0)
    assert swaps > 100
    assert check(plain_model, decisions) > 10
