# SPDX-License-Identifier: GPL-3.0-or-later
"""The compiled decision of one link is numpy's, whatever the link, the weights and the table."""

import itertools
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from gnuradio.lighttune.baselines.olla import Olla
from gnuradio.lighttune.core import kernel
from gnuradio.lighttune.core.adapter import LightTune, Selector
from gnuradio.lighttune.core.checkpoint import load_model
from gnuradio.lighttune.core.compiled import SWITCH
from gnuradio.lighttune.core.link_decider import CompiledLink, PlainLink, link_decider
from gnuradio.lighttune.core.messages import Csi
from gnuradio.lighttune.core.predictor import Predictor
from gnuradio.lighttune.core.selection import SelectionPolicy
from gnuradio.lighttune.core.tuner import Tuner
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import random_predictor, random_table
from patience import HANG_S

ROOT = Path(__file__).resolve().parents[2]


def pair(predictor: Predictor, policy: SelectionPolicy) -> tuple[PlainLink, CompiledLink]:
    return PlainLink(predictor, policy), CompiledLink(predictor, policy, kernel)


@settings(max_examples=60, derandomize=True)  # a tie within rounding is no fault
@given(
    seed=st.integers(0, 2**32 - 1),
    objective=st.sampled_from(("goodput", "target")),
    budget=st.sampled_from((0.0, 0.01, 0.2)),
    below=st.sampled_from((0.0, 2.0, 20.0)),
)
def test_the_compiled_decision_is_numpys(seed, objective, budget, below):
    rng = np.random.default_rng(seed)
    predictor = random_predictor(rng, random_table(rng))
    plain, compiled = pair(predictor, SelectionPolicy(objective, 0.1, budget, below))
    snr_db = rng.uniform(-10, 30)
    for slot in range(40):
        if slot % 10 == 9:
            weights = rng.normal(0, 0.5, predictor.shape.n_weights)
            plain.load(slot, weights)
            compiled.load(slot, weights)
        if slot == 0 or rng.random() < 0.8:
            snr_db += rng.normal(0, 3)
            plain.report(snr_db)
            compiled.report(snr_db)
        bits = [None, 1, 512, 8 * 1500][rng.integers(4)]
        a, b = (link.decide(int(rng.integers(1, 2)), bits) for link in (plain, compiled))
        np.testing.assert_allclose(a.features, b.features, rtol=3e-7, atol=1e-12)  # rounded to float32
        np.testing.assert_allclose(compiled.bler(), plain.bler(), rtol=1e-5)  # by as much
        assert (a.mcs, a.version, a.probe) == (b.mcs, b.version, b.probe)
        assert a.bler == pytest.approx(b.bler, rel=1e-5)
        nack = float(rng.random() < 0.3)
        plain.outcome(a.features, a.mcs, a.bler, nack)
        compiled.outcome(b.features, b.mcs, b.bler, nack)


@pytest.mark.parametrize("model", ["amc", "nr-pdsch-1-sionna", "wifi"])
def test_a_link_that_is_tuned_goes_the_same_way(model, rng):
    """Thousands of decisions that feed back on each other: no difference builds up."""
    predictor, policy = load_model(model), SelectionPolicy("target")
    adapters = [
        LightTune(Selector(predictor, Olla(predictor.table), policy, decider=link), Tuner(predictor))
        for link in pair(predictor, policy)
    ]
    low = predictor.table.threshold.min()
    walk = low + 10 + 8 * np.sin(np.arange(2000) / 60) + rng.normal(0, 1.5, 2000)
    for slot, snr_db in enumerate(walk.tolist()):
        sent = []
        for adapter in adapters:
            adapter.report(Csi(snr_db + 3.0, seq=max(slot - 2, 0)))  # too good: the trigger fires
            sent.append(adapter.select(seq=slot))
        a, b = sent
        assert (a.mcs, a.version, a.probe) == (b.mcs, b.version, b.probe), slot
        assert a.bler == pytest.approx(b.bler, rel=1e-6)
        ack = bool(rng.random() >= predictor.table.bler(snr_db)[a.mcs])
        for adapter in adapters:
            adapter.feedback(slot, ack)
    assert a.version > 20  # it was tuned


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_a_bler_that_is_not_finite_is_no_choice_and_spends_nothing(value, plain_predictor):
    weights = plain_predictor.weights().flat
    weights[:] = value
    for link in pair(plain_predictor, SelectionPolicy()):
        link.report(12.0)
        link.load(1, weights)
        assert np.isnan(link.decide(1, None).bler)
        link.load(2, plain_predictor.weights().flat)
        assert np.isfinite(link.decide(1, None).bler)


def test_links_of_one_predictor_do_not_touch_each_other(plain_predictor):
    one, other = (CompiledLink(plain_predictor, SelectionPolicy(), kernel) for _ in range(2))
    one.report(20.0)
    other.report(2.0)
    alone = one.decide(1, None)
    other.decide(1, None)
    other.load(1, np.zeros(plain_predictor.shape.n_weights))
    again = one.decide(1, None)
    assert again.bler == alone.bler
    np.testing.assert_array_equal(again.features, alone.features)


@pytest.mark.parametrize("kind", [PlainLink, CompiledLink])
def test_weights_and_their_version_change_hands_whole(kind, plain_predictor):
    """One thread replaces the weights as fast as it can; each decision is wholly of the version it names."""
    links = dict(zip((PlainLink, CompiledLink), pair(plain_predictor, SelectionPolicy()), strict=True))
    stressed, calm, rng = (
        links[kind],
        link_decider(plain_predictor, SelectionPolicy()),
        np.random.default_rng(0),
    )
    sets = [plain_predictor.weights(rng.normal(0, 0.5, plain_predictor.shape.n_weights)) for _ in range(8)]
    for link in (stressed, calm):
        link.report(12.0)
    expected = []
    for version, weights in enumerate(sets):
        calm.load(version, weights.flat)
        calm.decide(1, None)
        expected.append(calm.bler().copy())
    end = threading.Event()

    def load() -> None:
        stressed.load(0, sets[0].flat)
        started.set()
        for version in itertools.cycle(range(len(sets))):
            stressed.load(version, sets[version].flat)
            if end.is_set():
                return

    started = threading.Event()
    loader = threading.Thread(target=load)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # so that the threads take turns in the middle of everything
    try:
        loader.start()
        started.wait(60)
        seen = set()
        for _ in range(3000):
            choice = stressed.decide(1, None)
            np.testing.assert_allclose(stressed.bler(), expected[choice.version], rtol=1e-5)
            seen.add(choice.version)
    finally:
        end.set()
        loader.join()
        sys.setswitchinterval(interval)
    assert len(seen) > 1


def test_numpy_decides_where_the_switch_says_so(plain_predictor, monkeypatch):
    assert isinstance(link_decider(plain_predictor, SelectionPolicy()), CompiledLink)
    monkeypatch.setenv(SWITCH, "0")
    assert isinstance(link_decider(plain_predictor, SelectionPolicy()), PlainLink)


def python(program: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True, text=True, timeout=HANG_S, check=False, env={**os.environ, **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


DECIDE = """
import numpy as np
from gnuradio.lighttune.core.checkpoint import load_model
from gnuradio.lighttune.core.compiled import SWITCH
from gnuradio.lighttune.core.link_decider import link_decider
from gnuradio.lighttune.core.selection import SelectionPolicy
link = link_decider(load_model("amc"), SelectionPolicy())
link.report(12.0)
print(type(link).__name__, link.decide(1, 1024).mcs)
"""


def test_where_no_cache_can_be_written_it_is_compiled_all_the_same():
    """A read-only install of a user without a home: numba finds no place and says so by an exception."""
    nowhere = "from numba.core import caching; caching.CacheImpl._locator_classes = []\n"
    assert "CompiledLink" in python(nowhere + DECIDE)


def test_no_call_compiles_whatever_its_arguments_are():
    """All signatures are given; an argument of another type is refused instead of compiled for."""
    for name in ("report", "features", "decide", "outcome"):
        function = getattr(kernel, name)
        assert len(function.signatures) == 1
        assert not function._can_compile
