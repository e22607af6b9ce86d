# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixed MCS, and the genie."""

import numpy as np
import pytest
from gnuradio.lighttune.baselines import FixedMcs, Genie
from gnuradio.lighttune.core.mcs import McsTable
from gnuradio.lighttune.core.messages import Csi

TABLE = McsTable.nr_pdsch(1)


def test_fixed_mcs_never_changes_and_predicts_from_the_table():
    adapter = FixedMcs(TABLE, 7)
    assert adapter.select().bler == 0.5
    adapter.report(Csi(TABLE.threshold[7] - 0.2))
    decision = adapter.select()
    assert adapter.feedback(decision.seq, False)
    assert adapter.select().mcs == decision.mcs == 7
    assert decision.bler == pytest.approx(TABLE.bler(TABLE.threshold[7] - 0.2)[7])


@pytest.mark.parametrize("mcs", [-1, 29, 2.5, float("nan")])
def test_an_mcs_that_the_table_lacks_is_refused(mcs):
    with pytest.raises(ValueError, match="0 to 28"):
        FixedMcs(TABLE, mcs)


def test_the_genie_maximises_true_goodput():
    genie = Genie(TABLE)
    bler = np.ones(len(TABLE))
    bler[[3, 20]] = 0.0, 0.5  # half of MCS 20's blocks carry more than all of MCS 3's
    genie.reveal(bler)
    decision = genie.select()
    assert (decision.mcs, decision.bler) == (20, 0.5)


def test_the_genie_with_a_target_keeps_to_it_and_falls_back_to_the_most_robust_mcs():
    genie = Genie(TABLE, "target")
    bler = np.ones(len(TABLE))
    bler[[3, 20]] = 0.0, 0.5
    genie.reveal(bler)
    assert genie.select().mcs == 3
    genie.reveal(np.ones(len(TABLE)))
    decision = genie.select()
    assert decision.mcs == TABLE.most_robust
    assert 0.99 < decision.bler < 1.0


def test_a_genie_that_was_told_nothing_says_so():
    with pytest.raises(RuntimeError, match="reveal"):
        Genie(TABLE).select()


@pytest.mark.parametrize("bler", [np.zeros(3), np.full(29, np.nan), np.full(29, 1.5)])
def test_a_revelation_that_is_no_probability_per_mcs_is_refused(bler):
    with pytest.raises(ValueError, match="probability"):
        Genie(TABLE).reveal(bler)


def test_an_unknown_objective_is_refused():
    with pytest.raises(ValueError, match="'speed'"):
        Genie(TABLE, "speed")
