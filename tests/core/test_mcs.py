# SPDX-License-Identifier: GPL-3.0-or-later
"""MCS tables."""

import dataclasses
import json

import numpy as np
import pytest
from gnuradio.lighttune.core.mcs import TABLES, McsTable, sigmoid, snr_at_capacity_db


@pytest.mark.parametrize(
    ("table", "n_mcs", "lowest", "highest"),
    [(1, 29, 0.2344, 5.5547), (2, 28, 0.2344, 7.4063), (3, 29, 0.0586, 4.5234)],
)
def test_nr_tables_have_the_spectral_efficiencies_of_ts_38214(table, n_mcs, lowest, highest):
    t = McsTable.nr_pdsch(table)
    assert len(t) == n_mcs
    assert t.spectral_efficiency[0] == pytest.approx(lowest, abs=5e-5)
    assert t.spectral_efficiency[-1] == pytest.approx(highest, abs=5e-5)


def test_a_table_number_that_3gpp_does_not_have_is_refused():
    with pytest.raises(ValueError, match=r"4.*1, 2 and 3"):
        McsTable.nr_pdsch(4)


def test_capacity_of_bpsk_and_qpsk_at_half_rate_is_the_textbook_one():
    # Es/N0 of -2.82 dB for BPSK at 1/2 bit; QPSK is two BPSK in quadrature, 3.01 dB more.
    assert snr_at_capacity_db(1, 0.5) == pytest.approx(-2.82, abs=0.02)
    assert snr_at_capacity_db(2, 1.0) == pytest.approx(0.19, abs=0.02)


def test_bler_falls_with_snr_and_its_inverse_inverts_it():
    t = McsTable.nr_pdsch(2)
    snr = np.linspace(-20, 40, 61)
    bler = t.bler(snr)
    assert bler.shape == (61, len(t))
    assert (np.diff(bler, axis=0) <= 0).all()
    at = t.snr_at_bler_db(0.1)
    assert np.allclose([t.bler(s)[m] for m, s in enumerate(at)], 0.1)


def test_longer_blocks_fail_more_often_as_independent_stretches_do():
    t = McsTable.nr_pdsch(1)
    short, long = t.bler(t.threshold[5] + 1.5, bits=1024)[5], t.bler(t.threshold[5] + 1.5, bits=4096)[5]
    assert long == pytest.approx(1 - (1 - short) ** 4, rel=0.05)


def test_sigmoid_stays_strictly_inside_the_unit_interval_even_in_single_precision():
    p = sigmoid(np.array([-1e9, 1e9, 0.0])).astype(np.float32)
    assert ((p > 0) & (p < 1)).all()


@pytest.mark.parametrize(
    "change",
    [
        {"code_rate": (0.5, 0.4)},
        {"threshold_db": (3.0, 3.0)},
        {"slope_db": (0.3, 0.4)},
        {"slope_db": (0.3, -0.3)},
        {"slope_db": (0.3, float("nan"))},
        {"code_rate": (0.5, 1.5)},
        {"modulation_order": (2,)},
        {"reference_bits": 0},
        {"overhead_symbols": -1.0},
    ],
)
def test_a_table_that_is_out_of_order_or_range_is_refused(change):
    good = McsTable("t", (2, 2), (0.5, 0.75), (1.0, 3.0), (0.3, 0.3))
    with pytest.raises(ValueError, match="MCS table 't'"):
        dataclasses.replace(good, **change)


def test_the_digest_follows_the_figures_and_not_the_name():
    a = McsTable.nr_pdsch(1)
    assert dataclasses.replace(a, name="other").digest == a.digest
    assert dataclasses.replace(a, overhead_symbols=10.0).digest != a.digest


def test_orders_are_the_ladders_whatever_the_indices():
    t = McsTable(
        "shuffled",
        (4, 2, 1, 2, 4, 2),
        (0.5, 0.25, 0.5, 0.5, 0.75, 0.75),
        (8.0, -2.0, -3.0, 1.0, 12.0, 5.0),
        (0.3,) * 6,
    )
    assert t.orders.tolist() == [1, 2, 4]
    assert t.order_of.tolist() == [2, 1, 0, 1, 2, 1]
    assert np.array_equal(t.orders[t.order_of], t.modulation_order)
    assert t.above_middle_db.tolist() == [-2.0, -3.5, 0.0, -0.5, 2.0, 3.5]  # middles: 10, 1.5, and its own


@pytest.mark.parametrize("name", TABLES)
def test_every_named_table_has_ladders_around_their_middles(name):
    t = McsTable.named(name)
    for q, order in enumerate(t.orders):
        ladder = t.order_of == q
        assert (np.array(t.modulation_order)[ladder] == order).all()
        above = t.above_middle_db[ladder]
        assert above.min() == pytest.approx(-above.max())
        assert np.ptp(above) == pytest.approx(np.ptp(t.threshold[ladder]))
    assert t.name == name


def test_the_table_measured_in_sionna_has_mcs_3_to_28_of_nr_table_1():
    measured, standard = McsTable.named("nr-pdsch-1-sionna"), McsTable.nr_pdsch(1)
    assert len(measured) == 26
    assert measured.modulation_order == standard.modulation_order[3:]
    assert np.allclose(measured.code_rate, standard.code_rate[3:], atol=1e-4)
    # The other table's thresholds are capacity plus 1 dB; those of the codes differ by up to 1.1 dB.
    assert np.abs(measured.threshold - standard.threshold[3:]).max() < 1.3


def test_an_unknown_table_is_refused_with_the_names_of_all():
    with pytest.raises(ValueError, match=r"nr-pdsch-9.*amc, nr-pdsch-1-sionna, wifi, nr-pdsch-1,"):
        McsTable.named("nr-pdsch-9")


def test_overhead_makes_a_fast_mcs_worth_less_for_short_packets():
    t = dataclasses.replace(McsTable.nr_pdsch(1), overhead_symbols=100.0)
    assert t.goodput_if_acked(bits=10**7)[-1] == pytest.approx(t.spectral_efficiency[-1], rel=1e-3)
    assert t.goodput_if_acked(bits=100)[-1] < 1.0


@pytest.mark.parametrize(
    "curves", [{}, {"schema": 2}, {"schema": 1}, {"schema": 1, "mcs": [{}], "payload_bytes": 128}]
)
def test_curves_of_another_schema_or_without_a_key_are_refused(curves):
    with pytest.raises(ValueError, match=r"schema|lack"):
        McsTable.from_curves("x", curves)


def test_a_table_is_found_by_name_or_in_a_curves_file(tmp_path):
    assert McsTable.named("nr-pdsch-2") == McsTable.nr_pdsch(2)
    rows = [
        {"modulation_order": 2, "code_rate": 0.5, "threshold_db": 3.0, "slope_db": 0.4},
        {"modulation_order": 2, "code_rate": 0.75, "threshold_db": 6.0, "slope_db": 0.4},
    ]
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"schema": 1, "payload_bytes": 100, "overhead_symbols": 10, "mcs": rows}))
    table = McsTable.named(str(path))
    assert (table.name, len(table), table.reference_bits) == ("mine", 2, 800)


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"schema": 1}'])
def test_a_curves_file_that_is_missing_or_garbled_is_refused_by_name(tmp_path, text):
    path = tmp_path / "mine.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ValueError, match=r"mine\.json"):
        McsTable.named(str(path))
