# SPDX-License-Identifier: GPL-3.0-or-later
"""The vote: the mixture is never much worse than its best expert, and nonsense loses its say."""

import math

import numpy as np
import pytest
from gnuradio.lighttune.core import link_kernel, make_link, network
from gnuradio.lighttune.core.link import Link
from gnuradio.lighttune.core.link_model import LinkModel
from gnuradio.lighttune.core.mcs import McsTable
from gnuradio.lighttune.core.messages import Csi
from gnuradio.lighttune.core.record import N_EXPERTS, N_SENT, NET, TOLD_BLER

TABLE = McsTable.amc()


def losses(predictions, nacks):
    """Log loss of the mixture and of each expert, in nats, over a sequence of outcomes."""
    model = LinkModel(TABLE)
    links, sent, mixture = model.links(1), np.zeros(N_SENT), 0.0
    links[0]["vote"][:] = 1 / N_EXPERTS
    for p, nack in zip(predictions, nacks, strict=True):
        vote = links[0]["vote"].copy()
        assert vote.sum() == pytest.approx(1.0)
        mixed = float(vote @ p)
        mixture -= math.log(mixed if nack else 1 - mixed)
        sent[TOLD_BLER : TOLD_BLER + N_EXPERTS] = p
        link_kernel.vote(links, 0, model.policy, sent, float(nack))
    each = -np.where(nacks[:, None], np.log(predictions), np.log(1 - predictions))
    return mixture, each


def bound(n, stretches):
    a = link_kernel.VOTE_SHARE
    k = stretches - 1
    return math.log(N_EXPERTS) + k * math.log(N_EXPERTS / a) + (n - 1 - k) * math.log(1 / (1 - a))


@pytest.mark.parametrize("seed", range(20))
def test_the_bound_holds_for_experts_and_outcomes_of_any_kind(seed):
    """Against the best expert of each stretch, chosen in hindsight: Herbster and Warmuth's theorem."""
    rng = np.random.default_rng(seed)
    n, stretches = 600, int(rng.integers(1, 6))
    predictions = 1 / (1 + np.exp(-rng.normal(0, 3, (n, N_EXPERTS))))
    best = np.repeat(rng.integers(0, N_EXPERTS, stretches), -(-n // stretches))[:n]
    # An adversary: outcomes that suit one expert for a while, and that the mixture likes least otherwise.
    suits = rng.random(n) < predictions[np.arange(n), best]
    nacks = np.where(rng.random(n) < 0.8, suits, predictions.mean(axis=1) < 0.5)
    mixture, each = losses(predictions, nacks)
    edges = np.flatnonzero(np.diff(best)) + 1
    hindsight = sum(part.sum(axis=0).min() for part in np.split(each, edges))
    assert mixture - hindsight <= bound(n, len(edges) + 1)


@pytest.mark.parametrize("nonsense", ["nan", "inf", "noise", "huge"])
def test_a_network_of_nonsense_loses_its_vote_and_the_link_goes_on(nonsense, rng):
    size = network.size(len(TABLE.orders))
    net = {
        "nan": np.full(size, np.nan),
        "inf": np.full(size, np.inf),
        "noise": rng.standard_normal(size),
        "huge": 1e6 * rng.standard_normal(size),
    }[nonsense]
    link, carried, n = Link(LinkModel(TABLE, net)), 0.0, 1500
    for _ in range(n):
        link.report(Csi(14.0 + 0.25 * rng.standard_normal()))
        decision = link.select()
        assert 0 < decision.bler < 1
        ack = bool(rng.random() >= TABLE.bler(14.0)[decision.mcs])
        carried += link.model.gain[decision.mcs] * ack
        link.feedback(decision.seq, ack)
    assert link.status().votes["network"] < 0.5
    assert carried / n > 0.93 * (link.model.gain * (1 - TABLE.bler(14.0))).max()
    assert np.isfinite(link.snapshot()["link"]["hidden"]).all()


def test_the_blers_of_the_network_rise_along_every_ladder_whatever_its_weights(rng):
    model = LinkModel(TABLE, 0.3 * rng.standard_normal(network.size(len(TABLE.orders))))
    links, work = model.links(1), np.zeros((N_EXPERTS + 1, len(TABLE)))
    for _ in range(50):
        network.report(links, 0, float(rng.uniform(-5, 30)))
        link_kernel.weigh(links, 0, model.rows, model.policy, model.net, 1.0, 0.0, work)
        bler = work[NET]
        assert ((bler > 0) & (bler < 1)).all()
        for order in range(len(TABLE.orders)):
            ladder = np.flatnonzero(TABLE.order_of == order)
            assert (np.diff(bler[ladder]) >= 0).all()


def test_status_says_what_is_wrong_in_words(rng):
    link = make_link(table=TABLE)
    for _ in range(3000):
        link.report(Csi(30.0 + 0.2 * rng.standard_normal()))
        decision = link.select()
        link.feedback(decision.seq, bool(rng.random() >= max(0.15, TABLE.bler(30.0)[decision.mcs])))
    said = " ".join(link.status().sentences())
    assert "of packets are lost at every MCS" in said
    assert "does not decode" not in said


def test_a_link_goes_on_where_its_snapshot_was_taken(rng):
    first, second = make_link(table=TABLE), make_link(table=TABLE)
    for _ in range(200):
        first.report(Csi(12.0 + rng.standard_normal()))
        first.feedback(first.select().seq, bool(rng.random() < 0.8))
    second.restore(first.snapshot())
    for _ in range(50):
        choices = {adapter.select(seq=200).mcs for adapter in (first, second)}
        assert len(choices) == 1
        for adapter in (first, second):
            adapter.feedback(200, True)


@pytest.mark.parametrize("spoil", ["dtype", "nan", "negative", "vote"])
def test_a_snapshot_that_is_no_link_is_refused(spoil):
    link = make_link(table=TABLE)
    record = link.snapshot()
    if spoil == "dtype":
        record = record.view(np.uint8)
    elif spoil == "nan":
        record["link"]["hidden"][0, 3] = np.nan
    elif spoil == "negative":
        record["link"]["weights"][0, 0, 0, 0, 0] = -1.0
    else:
        record["link"]["vote"] = 0.0
    with pytest.raises(ValueError, match="the link's state"):
        link.restore(record)
