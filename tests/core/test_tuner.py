# SPDX-License-Identifier: GPL-3.0-or-later
"""The tuner learns what the offline model does not know, and survives bad rules and bad samples."""

from dataclasses import dataclass

import numpy as np
import pytest
from gnuradio.lighttune.core.features import N_FEATURES, LinkHistory
from gnuradio.lighttune.core.guards import GuardPolicy
from gnuradio.lighttune.core.predictor import OFFSET
from gnuradio.lighttune.core.rules import RULES, LocalHead
from gnuradio.lighttune.core.trigger import TriggerPolicy
from gnuradio.lighttune.core.tuner import Tuner, TunerFull

ALWAYS = TriggerPolicy(always=True)


def samples(predictor, rng, n, bias_db=0.0):
    """Blocks near their threshold, reports ``bias_db`` too high: features, mcs, ack, true BLER.

    But for the bias the predictor is right: the outcomes are drawn from it.
    """
    history, out = LinkHistory(), []
    right = predictor.weights()
    right.flat[OFFSET] = -bias_db
    for i in range(n):
        history.report(12 + 4 * np.sin(i / 40) + bias_db)
        features = history.features()
        bler = predictor.bler(right, features)
        mcs = int(np.clip(np.sum(bler < 0.5) - rng.integers(0, 3), 0, len(predictor.table) - 1))
        out.append((features, mcs, bool(rng.random() >= bler[mcs]), bler[mcs]))
    features, mcs, ack, true = (np.array(column) for column in zip(*out, strict=True))
    return features, mcs, ack, true


def error(predictor, flat, features, mcs, true):
    return np.abs(predictor.bler(predictor.weights(flat), features, mcs[:, None])[:, 0] - true).mean()


@pytest.mark.parametrize("rule", sorted(RULES))
@pytest.mark.parametrize("bias_db", [-3.0, 3.0])
@pytest.mark.parametrize("trigger", [ALWAYS, TriggerPolicy()])
def test_tuning_halves_the_error_of_a_biased_report(rng, plain_predictor, rule, bias_db, trigger):
    features, mcs, ack, true = samples(plain_predictor, rng, 600, bias_db)
    tuner = Tuner(plain_predictor, rule, trigger)
    tuned = []
    for row in range(600):
        now = slice(row, row + 1)
        if row >= 400:  # a constant step leaves noise: one set of weights may be an unlucky one
            tuned.append(error(plain_predictor, tuner.model(0)[1], features[now], mcs[now], true[now]))
        tuner.learn(0, features[row], mcs[row], ack[row])
    last = slice(400, None)
    untuned = error(plain_predictor, plain_predictor.offline, features[last], mcs[last], true[last])
    assert np.mean(tuned) < 0.5 * untuned
    assert tuner.state(0)["offset_db"] == pytest.approx(-bias_db, abs=1.5)


def test_reports_that_are_suddenly_right_again_do_not_leave_a_link_pessimistic(plain_predictor, rng):
    """Only ACKs come then; the evidence in them is enough."""
    tuner = Tuner(plain_predictor)
    for bias_db in (4.0, 0.0):
        features, mcs, ack, _ = samples(plain_predictor, rng, 300, bias_db)
        for row in range(300):
            tuner.learn(0, features[row], mcs[row], ack[row])
    assert tuner.state(0)["offset_db"] == pytest.approx(0.0, abs=1.5)


def test_a_link_that_needs_no_tuning_is_seldom_tuned(rng, plain_predictor):
    features, mcs, ack, _ = samples(plain_predictor, rng, 1500)
    tuner = Tuner(plain_predictor)
    for row in range(len(mcs)):
        tuner.learn(0, features[row], mcs[row], ack[row])
    assert tuner.state(0)["updates"] < 0.25 * len(mcs)


def test_links_in_one_batch_learn_as_they_would_alone(rng, plain_predictor):
    columns = [samples(plain_predictor, rng, 40, bias) for bias in (-3.0, 0.0, 3.0)]
    alone = []
    for link, (features, mcs, ack, _) in enumerate(columns):
        tuner = Tuner(plain_predictor, trigger=ALWAYS)
        for row in range(40):
            tuner.learn(link, features[row], mcs[row], ack[row])
        alone.append(tuner.model(link)[1])
    together = Tuner(plain_predictor, trigger=ALWAYS)
    links = np.tile([0, 1, 2], 40)
    features, mcs, ack = (
        np.stack([c[i] for c in columns], axis=1).reshape(120, -1).squeeze() for i in range(3)
    )
    together.learn(links.tolist(), features, mcs, ack)
    for link in range(3):
        assert np.allclose(together.model(link)[1], alone[link], atol=1e-6)
        assert together.state(link)["updates"] == 40


def test_links_keep_their_own_state_up_to_the_limit(rng, plain_predictor):
    features, mcs, ack, _ = samples(plain_predictor, rng, 20, 3.0)
    tuner = Tuner(plain_predictor, trigger=ALWAYS, max_links=20)
    for link in range(20):
        tuner.learn([link] * 20, features, mcs, ack)
    first = tuner.model(0)
    for link in range(1, 20):
        assert np.array_equal(first[1], tuner.model(link)[1])
        assert tuner.state(link)["samples"] == 20
    with pytest.raises(TunerFull, match="20 links"):
        tuner.learn(99, features[0], 1, True)


@dataclass(frozen=True)
class Insane(LocalHead):
    """A rule gone mad."""

    value: float = np.nan

    def direction(self, predictor, weights, act, outcome):
        return np.full_like(weights.flat, self.value)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_rule_that_writes_garbage_never_gets_it_published(rng, plain_predictor, value):
    features, mcs, ack, _ = samples(plain_predictor, rng, 30)
    tuner = Tuner(plain_predictor, Insane(value=value), ALWAYS)
    healthy = []
    for row in range(30):
        tuner.learn(0, features[row], mcs[row], ack[row])
        _, weights, ok = tuner.model(0)
        assert np.isfinite(weights).all()
        healthy.append(ok)
    assert not healthy[-1]
    assert tuner.state(0)["rollbacks"] >= GuardPolicy().max_rollbacks


def test_the_end_of_a_rest_is_told(plain_predictor, rng):
    features, mcs, ack, _ = samples(plain_predictor, rng, 30)
    tuner = Tuner(plain_predictor, Insane(), ALWAYS, GuardPolicy(rest=5))
    told = []
    for row in range(30):
        before = tuner.model(0)[2]
        told.append(tuner.learn(0, features[row], mcs[row], ack[row])[0])
        assert told[-1] or tuner.model(0)[2] == before


def test_a_rule_that_does_harm_is_rolled_back(rng, plain_predictor):
    features, mcs, ack, true = samples(plain_predictor, rng, 1200)
    uphill = LocalHead(offset_rate=-0.3, gamma_rate=-0.05, layer_rate=-0.05)
    tuner = Tuner(plain_predictor, uphill, ALWAYS)
    worst = 0.0
    for row in range(len(mcs)):
        tuner.learn(0, features[row], mcs[row], ack[row])
    assert tuner.state(0)["rollbacks"] > 0
    worst = error(plain_predictor, tuner.model(0)[1], features, mcs, true)
    assert worst < 0.5


@pytest.mark.parametrize(
    ("features", "mcs", "message"),
    [
        (np.full(N_FEATURES, np.nan), 3, "finite"),
        (np.zeros(N_FEATURES), 29, "29"),
        (np.zeros(N_FEATURES), -1, "-1"),
        (np.zeros((2, N_FEATURES)), 3, "1 links"),
    ],
)
def test_a_bad_sample_is_refused_and_changes_nothing(plain_predictor, features, mcs, message):
    tuner = Tuner(plain_predictor, trigger=ALWAYS)
    with pytest.raises(ValueError, match=message):
        tuner.learn(0, features, mcs, True)
    assert tuner.links == []


def test_an_unknown_link_has_the_offline_model(plain_predictor):
    version, weights, healthy = Tuner(plain_predictor).model(7)
    assert (version, healthy) == (0, True)
    assert np.array_equal(weights, plain_predictor.offline)


@dataclass
class OfTheWholeBatch:
    """A rule that the tuner asks for the steps of all links."""

    rule: LocalHead
    name: str = "whole"

    def direction(self, predictor, weights, act, outcome):
        return self.rule.direction(predictor, weights, act, outcome)


def test_links_that_rest_need_no_step(rng, plain_predictor):
    """With the steps of the links that tune alone, all come out as if every link's had been computed."""
    biases = np.linspace(-4, 4, 9)
    of_link = [samples(plain_predictor, rng, 400, bias) for bias in biases]
    links = np.arange(len(biases))
    tuners = [Tuner(plain_predictor, rule) for rule in (LocalHead(), OfTheWholeBatch(LocalHead()))]
    shares = []
    for slot in range(400):
        features, mcs, ack, _ = (np.stack(c) for c in zip(*(
            [column[slot] for column in columns] for columns in of_link
        ), strict=True))  # fmt: skip
        changed, reference = (tuner.learn(links, features, mcs, ack) for tuner in tuners)
        np.testing.assert_array_equal(changed, reference)
        shares.append(changed.mean())
    assert 0.05 < np.mean(shares) < 0.95  # some links tuned while others rested
    for one, other in zip(*(tuner.models(links) for tuner in tuners), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


def run_through(tuner, predictor, rng, *biases: float, blocks: int = 600) -> list[tuple[int, float]]:
    """Through stretches of reports that are off by ``biases`` dB: each one's updates, and the offset then."""
    told = []
    for bias in biases:
        before = tuner.state(0).get("updates", 0)
        features, mcs, ack, _ = samples(predictor, rng, blocks, bias)
        for row in range(blocks):
            tuner.learn(0, features[row], mcs[row], ack[row])
        told.append((tuner.state(0)["updates"] - before, float(tuner.model(0)[1][OFFSET])))
    return told


def test_a_link_remembers_what_it_had_learnt_and_goes_back_without_tuning(rng, plain_predictor):
    """Reports that are right, then 4 dB off, and so on in turn: only the first time must be learnt."""
    tuner = Tuner(plain_predictor)
    (_, _), (learning, there), (_, back), (again, there_again), (_, back_again) = run_through(
        tuner, plain_predictor, rng, 0.0, 4.0, 0.0, 4.0, 0.0
    )
    assert there < -1.5
    assert there_again < -1.5
    assert abs(back) < 1.0
    assert abs(back_again) < 1.0
    assert learning > 20
    assert again < learning / 2
    assert tuner.state(0)["rollbacks"] >= 3
    assert tuner.state(0)["healthy"]


def test_after_harm_a_link_has_the_weights_again_that_it_had_reached(rng, plain_predictor):
    """Tuned to a bias, then harmed: what was learnt is not lost."""
    tuner = Tuner(plain_predictor)
    ((_, reached),) = run_through(tuner, plain_predictor, rng, 4.0)
    assert reached < -1.5
    features, mcs, ack, _ = samples(plain_predictor, rng, 600, 4.0)
    sane, tuner.rule = tuner.rule, OfTheWholeBatch(LocalHead(offset_rate=-20.0))
    tuner.trigger.active[:] = True
    for row in range(3):
        tuner.learn(0, features[row], mcs[row], ack[row])
    tuner.rule = sane
    run_through(tuner, plain_predictor, rng, 4.0, blocks=300)
    assert tuner.model(0)[1][OFFSET] == pytest.approx(reached, abs=1.5)
