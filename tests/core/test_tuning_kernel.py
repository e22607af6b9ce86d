# SPDX-License-Identifier: GPL-3.0-or-later
"""What is learnt from a few blocks by compiled functions is what numpy would have learnt from them."""

import threading
import time
from dataclasses import dataclass

import numpy as np
import pytest
from gnuradio.lighttune.core.compiled_learning import CompiledLearning
from gnuradio.lighttune.core.features import LinkHistory
from gnuradio.lighttune.core.guards import GuardPolicy
from gnuradio.lighttune.core.predictor import Predictor
from gnuradio.lighttune.core.rules import ForwardForward, LocalHead
from gnuradio.lighttune.core.trigger import TriggerPolicy
from gnuradio.lighttune.core.tuner import Tuner
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import random_predictor, random_table

LINKS = 5


def in_numpy(*args, **settings) -> Tuner:
    tuner = Tuner(*args, **settings)
    tuner._compiled = None
    return tuner


def slots(predictor: Predictor, rng: np.random.Generator, n: int, biases_db: np.ndarray):
    """Features, MCS and ACK of a block of each link, of ``n`` slots."""
    history, snr_db = LinkHistory(biases_db.shape), rng.uniform(0, 20, biases_db.shape)
    low, high = predictor.table.threshold.min() - 1, predictor.table.threshold.max() + 1
    for _ in range(n):
        snr_db = np.clip(snr_db + rng.normal(0, 1.5, snr_db.shape), low, high)
        history.report(snr_db + biases_db)
        bler = predictor.table.bler(snr_db)
        mcs = np.argmin(np.abs(bler - rng.uniform(0.05, 0.6, (len(snr_db), 1))), axis=1)
        ack = rng.random(len(mcs)) >= bler[np.arange(len(mcs)), mcs]
        yield history.features(), mcs, ack


def assert_same(one: Tuner, other: Tuner) -> None:
    known, theirs = one.rows(one.links), other._arrays()
    for name, array in one._arrays().items():
        np.testing.assert_allclose(array[known], theirs[name][known], rtol=1e-6, atol=1e-9, err_msg=name)


@settings(max_examples=40, derandomize=True)  # a threshold met within rounding is no fault
@given(
    seed=st.integers(0, 2**32 - 1),
    rule=st.sampled_from((LocalHead(), ForwardForward(), LocalHead(layer_rate=5.0, offset_rate=3.0))),
    policy=st.sampled_from((TriggerPolicy(), TriggerPolicy(always=True), TriggerPolicy(on=4.0, hold=3))),
    guards=st.sampled_from((GuardPolicy(), GuardPolicy(radius=0.5, margin=0.5, rest=20))),
)
def test_the_compiled_tuner_learns_what_numpys_does(seed, rule, policy, guards):
    rng = np.random.default_rng(seed)
    predictor = random_predictor(rng, random_table(rng))
    compiled, reference = (make(predictor, rule, policy, guards, LINKS) for make in (Tuner, in_numpy))
    assert compiled._compiled is not None
    for features, mcs, ack in slots(predictor, rng, 120, rng.uniform(-6, 6, LINKS)):
        links = rng.permutation(LINKS)[: rng.integers(1, LINKS + 1)]
        sample = links, features[links], mcs[links], ack[links]
        np.testing.assert_array_equal(compiled.learn(*sample), reference.learn(*sample))
    assert_same(compiled, reference)


@pytest.mark.parametrize("rule", [LocalHead(), ForwardForward()])
def test_every_branch_of_it_was_taken(rule, plain_predictor, rng):
    """Links that tune, rest, are rolled back and handed to OLLA.

    Tuning on noise is chaotic: what differs by rounding comes to differ by more. So both go on from the same
    state now and then.
    """
    policy, guards = TriggerPolicy(on=5.0), GuardPolicy(margin=1.0, max_rollbacks=2, rest=50)
    compiled, reference = (make(plain_predictor, rule, policy, guards, LINKS) for make in (Tuner, in_numpy))
    links, rested = np.arange(LINKS), 0
    for slot, (features, mcs, ack) in enumerate(slots(plain_predictor, rng, 1500, np.linspace(-4, 4, LINKS))):
        if slot % 200 > 150:
            ack = rng.random(LINKS) < 0.5  # nothing that could be learnt
        compiled.learn(links, features, mcs, ack)
        reference.learn(links, features, mcs, ack)
        rested += int((compiled.guard.resting > 0).sum())
        if slot % 50 == 49:
            assert_same(compiled, reference)
            for name, array in compiled._arrays().items():
                array[...] = reference._arrays()[name]
    assert (compiled._updates > 20).all()
    assert compiled.trigger.fired.sum() > LINKS
    assert compiled.guard.rollbacks.sum() > 2
    assert rested > 50


def test_a_large_call_is_numpys_unless_it_is_asked_for_otherwise(plain_predictor, rng):
    """Whichever it is, the outcome is the same; and beyond `compiled_up_to` it is numpy's to the last bit."""
    kinds = [in_numpy(plain_predictor), Tuner(plain_predictor), Tuner(plain_predictor, compiled_up_to=100)]
    links = np.arange(40)
    for features, mcs, ack in slots(plain_predictor, rng, 60, np.linspace(-4, 4, 40)):
        for tuner in kinds:
            tuner.learn(links, features, mcs, ack)
    reference, default, compiled = kinds
    np.testing.assert_array_equal(default._flat[links], reference._flat[links])
    assert not np.array_equal(compiled._flat[links], reference._flat[links])
    assert_same(compiled, reference)


def test_a_links_samples_are_learnt_in_order(plain_predictor, rng):
    compiled, reference = (
        make(plain_predictor, trigger=TriggerPolicy(always=True)) for make in (Tuner, in_numpy)
    )
    samples = list(slots(plain_predictor, rng, 20, np.zeros(1)))
    features, mcs, ack = (np.concatenate(column) for column in zip(*samples, strict=True))
    compiled.learn([7] * 20, features, mcs, ack)
    for one in range(20):
        reference.learn(7, features[one], mcs[one], ack[one])
    assert_same(compiled, reference)


def test_an_insane_step_is_rolled_back_there_too(plain_predictor, rng):
    tuner = Tuner(plain_predictor, LocalHead(layer_rate=np.inf), TriggerPolicy(always=True))
    for features, mcs, ack in slots(plain_predictor, rng, 10, np.zeros(1)):
        tuner.learn(0, features[0], mcs[0], ack[0])
        assert np.isfinite(tuner.model(0)[1]).all()
    assert tuner.state(0)["rollbacks"] > 0


def test_what_was_not_compiled_is_learnt_by_numpy(plain_predictor):
    class Other(LocalHead):
        pass

    assert CompiledLearning.of(Tuner(plain_predictor, "spsa")) is None
    assert CompiledLearning.of(Tuner(plain_predictor, Other())) is None
    assert CompiledLearning.of(Tuner(plain_predictor, "forward_forward")) is not None


def test_a_policy_that_says_more_than_was_compiled_is_numpys(plain_predictor):
    @dataclass(frozen=True)
    class Newer(TriggerPolicy):
        patience: float = 1.0

    assert CompiledLearning.of(Tuner(plain_predictor, trigger=Newer())) is None


def test_other_threads_go_on_while_it_learns(plain_predictor, rng):
    """The GIL is given up: a thread that counts gets as far beside a long call as beside a sleep."""
    tuner = Tuner(plain_predictor, trigger=TriggerPolicy(always=True))
    features, mcs, ack = next(slots(plain_predictor, rng, 1, np.zeros(1)))
    n = 30_000
    rows = tuner.rows([0] * n)
    many = rows, np.repeat(features.astype(float), n, axis=0), np.repeat(mcs, n), np.repeat(1.0 - ack, n)
    ticks, end = [], threading.Event()

    def count() -> None:
        while not end.is_set():
            ticks.append(time.monotonic())
            time.sleep(0.001)

    thread = threading.Thread(target=count)
    thread.start()
    began = time.monotonic()
    tuner._compiled.learn(tuner, *many)
    ended = time.monotonic()
    end.set()
    thread.join()
    during = [t for t in ticks if began < t < ended]
    assert len(during) > 10  # none, were the GIL held
