# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulated rows of the fault matrix in short: no fault takes LightTune below OLLA."""

import numpy as np
import pytest
from gnuradio.lighttune.baselines import FixedMcs
from gnuradio.lighttune.core.mcs import McsTable
from gnuradio.lighttune.sim import make_world
from gnuradio.lighttune.sim.faults import Faults, Faulty
from gnuradio.lighttune.sim.link import run

from fault_rows import ROWS, Fault, measure, over_olla

LINKS, SLOTS, SEED = 3, 1200, 8001
SHORT = [row for row in ROWS if not row.slots > SLOTS]
NOISE = 5.0  # percent, of so short a run: the allowance is 2 % over the long one, in docs/results/faults.md


@pytest.mark.parametrize("row", SHORT, ids=lambda row: row.name)
def test_goodput_stays_at_ollas_behind_the_same_fault(row):
    assert over_olla(measure(row, "mixture", SEED, LINKS, SLOTS)) > -2.0 - NOISE


def counts(name):
    (row,) = (row for row in ROWS if row.name == name)
    return measure(row, "nominal", SEED, LINKS, SLOTS).counts


def test_what_goes_wrong_is_counted():
    lost = counts("25 % of feedback lost")["lost"]
    assert lost == pytest.approx(0.25 * LINKS * SLOTS, rel=0.1)
    twice = counts("duplicates")
    assert twice["repeated"] - 30 <= twice["not pending"] <= twice["repeated"]  # some still under way
    assert counts("reports absurd")["refused"] > 100
    assert counts("reports wild")["outliers"] > 50
    assert counts("sequence wrap-around") == counts("none") == {}


@pytest.mark.parametrize("stuck", [True, False])
def test_all_ack_and_all_nack_are_survived(stuck):

    row = Fault("", "", Faults(stuck=stuck), slots=600)
    outcome = measure(row, "nominal", SEED, LINKS, 1500)
    assert over_olla(outcome) > -2.0 - NOISE
    left = slice(outcome.end + 150, None)
    assert outcome.lighttune[left].mean() > 0.9 * outcome.healthy[left].mean()


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5])
def test_a_liar_costs_no_more_than_it_costs_olla(share):

    row = Fault("", "", Faults(ack_flip=share, nack_flip=share))
    outcome = measure(row, "nominal", SEED, LINKS, SLOTS)
    assert over_olla(outcome) > -2.0 - NOISE
    if share == 0.5:
        assert outcome.by_olla > 0.25  # the guards saw that no SINR explains it


def test_two_adapters_meet_the_same_faults():
    table = McsTable.amc()
    world, told = make_world("nominal", table, SEED, 1, 500), []
    for mcs in (0, len(table) - 1):
        faults = Faults(
            loss=0.3, duplicate=0.2, jitter_slots=5, report=lambda snr, draw: snr if draw < 0.5 else None
        )
        faulty = Faulty(lambda mcs=mcs: FixedMcs(table, mcs), faults, np.random.default_rng(3))
        run(lambda link, faulty=faulty: faulty, world)
        told.append({k: v for k, v in faulty.counts.items() if k != "wrong"})
    assert told[0] == told[1]


@pytest.mark.parametrize(("name", "value"), [("loss", 1.5), ("ack_flip", -0.1), ("delay_slots", -1)])
def test_a_bad_fault_is_named(name, value):
    with pytest.raises(ValueError, match=f"{name} = {value}"):
        Faults(**{name: value})
