# SPDX-License-Identifier: GPL-3.0-or-later
"""The belief finds out what is wrong with a link: offset, floor, broken MCS; with reports and without."""

import numpy as np
import pytest
from gnuradio.lighttune.core import belief, link_kernel
from gnuradio.lighttune.core.link_model import LinkModel
from gnuradio.lighttune.core.mcs import McsTable, sigmoid
from gnuradio.lighttune.core.network import report
from gnuradio.lighttune.core.record import BLIND, N_STEPS, STEP_DB, TOLD

MODEL = LinkModel(McsTable.named("nr-pdsch-1-sionna"))
TABLE = MODEL.table


def live(snr_db, n=600, bias_db=0.0, loss=0.0, broken=(), reports=True, seed=1):
    """A link at a steady SINR for ``n`` blocks: its record, and its goodput over the best fixed MCS."""
    rng, links, work = np.random.default_rng(seed), MODEL.links(1), np.zeros((4, len(TABLE)))
    bler = loss + (1 - loss) * TABLE.bler(snr_db)
    bler[list(broken)] = 1.0
    carried = 0.0
    for _ in range(n):
        if reports:
            report(links, 0, snr_db + bias_db + 0.25 * rng.standard_normal())
        mcs = link_kernel.select(
            links, 0, MODEL.rows, MODEL.policy, MODEL.net, MODEL.gain, 1.0, 0.0, -1, work
        )
        nack = float(rng.random() < bler[mcs])
        carried += MODEL.gain[mcs] * (1 - nack)
        link_kernel.outcome(links, 0, MODEL.rows, MODEL.policy, MODEL.net, links[0]["sent"].copy(), nack, 1.0)
    return links[0], carried / n / (MODEL.gain * (1 - bler)).max()


def test_the_table_of_the_sigmoid_is_the_sigmoid():
    z = np.linspace(-20, 20, 4001)
    close = np.array([belief.sigmoid(x) for x in z])
    assert np.abs(close - sigmoid(z)).max() < 5e-5
    assert ((close > 0) & (close < 1)).all()


def test_weights_are_a_probability_and_stay_one():
    link, _ = live(10.0)
    assert link["weights"].min() >= 0
    for which in (TOLD, BLIND):
        assert link["weights"][which].sum() == pytest.approx(1.0, abs=1e-4)  # single precision, 2420 terms


def test_one_outcome_is_bayes_rule():
    """Against the same sum in plain numpy, shares and drift left out of neither."""
    links = MODEL.links(1)
    before = links[0]["weights"][TOLD].astype(float)
    mcs, reference = 12, 9.0
    belief.outcome(links, 0, TOLD, MODEL.rows, MODEL.policy, mcs, reference, 0.0, 1.0, 0)
    d = (np.arange(N_STEPS) - N_STEPS // 2) * MODEL.policy[STEP_DB]
    stray = np.array(belief.STRAY_DB)[list(belief.SPREAD_OF)] / (np.pi / np.sqrt(3))
    scale = np.hypot(TABLE.slope[mcs], stray)[:, None, None]
    arrives = sigmoid((reference + d - TABLE.threshold[mcs]) / scale)
    fine = 1 - (1 - np.array(belief.LOSSES[0])[None, :, None]) * arrives
    b = belief.BROKEN_PRIOR
    after = before * (b * belief.BROKEN_BLER + (1 - b) * fine)
    after /= after.sum()
    kinds = np.outer(belief.MODE_PRIOR, belief.LOSS_PRIOR)[:, :, None]
    prior = belief.prior(*MODEL.policy[STEP_DB : STEP_DB + 4])[TOLD]
    jump = belief.JUMP_SHARES[TOLD]
    after = (1 - jump) * after + jump * after.sum(2, keepdims=True) * prior
    after = (1 - belief.SWITCH_SHARE) * after + belief.SWITCH_SHARE * after.sum((0, 1)) * kinds
    np.testing.assert_allclose(links[0]["weights"][TOLD], after, atol=2e-6)  # a table's sigmoid, float32


@pytest.mark.parametrize("bias_db", [-3.0, 3.0, 17.0])
def test_reports_that_are_off_cost_little(bias_db):
    _, share = live(10.0, n=1500, bias_db=bias_db)
    assert share > 0.94


def test_a_link_without_reports_finds_its_sinr():
    link, share = live(12.0, n=1500, reports=False)
    assert share > 0.95
    assert MODEL.middle_db + link["centre_db"][BLIND] == pytest.approx(12.0, abs=1.5)


def test_losses_at_every_mcs_cost_little():
    _, share = live(24.0, n=1500, loss=0.15)
    assert share > 0.9


def test_losses_are_told_from_a_low_sinr_where_low_mcs_fail_too():
    """A NACK at the highest MCS alone may be either; as many at the lowest are nothing else than losses."""
    rng, links = np.random.default_rng(2), MODEL.links(1)
    for _ in range(800):
        mcs = int(rng.integers(len(TABLE)))
        nack = float(rng.random() < 0.15 + 0.85 * TABLE.bler(24.0)[mcs])
        belief.outcome(links, 0, BLIND, MODEL.rows, MODEL.policy, mcs, MODEL.middle_db, 0.0, nack, 1)
    assert links[0]["loss"][BLIND] == pytest.approx(0.15, abs=0.07)  # a grid of five floors
    assert MODEL.middle_db + links[0]["centre_db"][BLIND] > 18.0


def test_an_mcs_that_never_decodes_is_found_and_left_alone():
    best = int(np.argmax(MODEL.gain * (1 - TABLE.bler(12.0))))
    link, share = live(12.0, n=1500, broken=(best,))
    assert link["broken"][best] > 25 * belief.BROKEN_PRIOR
    assert np.delete(link["broken"][: len(TABLE)], best).max() < 5 * belief.BROKEN_PRIOR
    assert share > 0.94


def test_nothing_that_arrives_is_no_number():
    """Outcomes that no hypothesis explains: the filter starts anew instead of dividing by nothing."""
    links = MODEL.links(1)
    for step in range(4000):
        mcs = 0 if step % 2 else len(TABLE) - 1
        belief.outcome(links, 0, TOLD, MODEL.rows, MODEL.policy, mcs, 0.0, 0.0, float(step % 2), 1)
    assert np.isfinite(links[0]["weights"]).all()
    assert links[0]["weights"][TOLD].sum() == pytest.approx(1.0, abs=1e-4)
