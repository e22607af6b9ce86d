# SPDX-License-Identifier: GPL-3.0-or-later
"""The union bound, the fit of the waterfalls, and the command that measures them."""

import argparse
import itertools
import json
import math

import numpy as np
import pytest
from gnuradio.lighttune.cli import modem_curves
from gnuradio.lighttune.core.mcs import McsTable
from gnuradio.lighttune.modem import curves, framing, union_bound
from gnuradio.lighttune.modem.coding import PUNCTURING, convolve, punctured_positions
from gnuradio.lighttune.modem.mcs import MCS

# Paths per puncturing period from the free distance on: Haccoun and Begin, IEEE Trans. Commun. 37 (1989).
PUBLISHED = {
    (1, 2): {10: 11, 12: 38, 14: 193, 16: 1331},
    (2, 3): {6: 1, 7: 16, 8: 48, 9: 158},
    (3, 4): {5: 8, 6: 31, 7: 160, 8: 892},
    (5, 6): {4: 14, 5: 69, 6: 654, 7: 4996},
}


@pytest.mark.parametrize("rate", PUBLISHED)
def test_distance_spectra_agree_with_the_published_ones(rate):
    spectrum = union_bound.distance_spectrum(rate)
    period = len(PUNCTURING[rate])
    assert min(spectrum) == min(PUBLISHED[rate])
    for distance, paths in PUBLISHED[rate].items():
        assert spectrum[distance] * period == pytest.approx(paths)


@pytest.mark.parametrize("rate", PUBLISHED)
def test_no_short_error_is_lighter_than_the_free_distance(rate):
    kept = punctured_positions(rate, 60)
    for start in range(20, 20 + len(PUNCTURING[rate])):
        for pattern in range(1, 64):
            bits = np.zeros(60, np.uint8)
            bits[start : start + 7] = [pattern >> i & 1 for i in range(7)]
            assert convolve(bits)[kept].sum() >= min(PUBLISHED[rate])


def test_bpsk_pairwise_errors_are_those_of_gaussian_noise():
    snr_db, d = 1.0, 10
    kappa, curvature = union_bound.bit_metric(1, snr_db)
    saddlepoint = 2 * math.exp(d * kappa) / math.sqrt(2 * math.pi * d * curvature)
    exact = 0.5 * math.erfc(math.sqrt(d * 10 ** (snr_db / 10)))
    assert saddlepoint == pytest.approx(exact, rel=0.06)  # the approximation's known excess, 1 / (4 d snr)


def test_the_bound_falls_with_snr_and_rises_along_the_ladder():
    for scheme in MCS:
        bounds = [union_bound.bler_bound(scheme, snr_db, 1056) for snr_db in np.arange(-2, 30, 2)]
        assert all(a >= b for a, b in itertools.pairwise(bounds))
    table = union_bound.table(1056)
    assert table == sorted(table)


def test_the_fit_finds_the_curves_that_made_the_counts(rng):
    thresholds, slope = (15.0, 16.4), 0.4
    made = []
    for index, threshold in zip((5, 6), thresholds, strict=True):
        snr = tuple(threshold + np.linspace(-1.5, 1.5, 8))
        p = 1 / (1 + np.exp((np.array(snr) - threshold) / slope))
        errors = tuple(int(e) for e in rng.binomial(2000, p))
        made.append(curves.Curve(MCS[index], snr, (2000,) * 8, errors, threshold))
    fitted, fitted_slope = curves.fit(made)
    assert fitted == pytest.approx(thresholds, abs=0.05)
    assert fitted_slope == pytest.approx(slope, rel=0.06)


@pytest.mark.parametrize("errors", [(0,) * 8, (20,) * 8, (20,) * 4 + (0,) * 4])
def test_the_fit_exists_for_any_counts(errors):
    curve = curves.Curve(MCS[0], tuple(np.arange(8.0)), (20,) * 8, errors, 3.0)
    (threshold,), slope = curves.fit([curve])
    assert math.isfinite(threshold)
    assert math.isfinite(slope)


def test_the_command_measures_writes_and_draws(tmp_path, capsys):
    parser = argparse.ArgumentParser()
    modem_curves.add_parser(parser.add_subparsers())
    files = [tmp_path / "new" / name for name in ("curves.json", "bler.png", "bler.md")]
    arguments = ["modem-curves", "--packets", "8", "--payload-bytes", "16", "--mcs", "0", "4", "--seed", "3"]
    args = parser.parse_args(
        [*arguments, "--json", str(files[0]), "--plot", str(files[1]), "--table", str(files[2])]
    )
    assert args.run(args) == 0
    result = json.loads(files[0].read_text())
    assert [row["index"] for row in result["mcs"]] == [0, 4]
    assert all(row["packets"] == [8] * 8 for row in result["mcs"])
    assert all(row["errors"][0] > row["errors"][-1] for row in result["mcs"])
    assert files[1].read_bytes().startswith(b"\x89PNG")
    assert "16-QAM 3/4" in files[2].read_text()
    assert "16-QAM 3/4" in capsys.readouterr().out


@pytest.mark.parametrize(
    "bad", [["--packets", "0"], ["--mcs", "10"], ["--payload-bytes", "x"], ["--seed", "-1"]]
)
def test_the_command_names_bad_arguments(bad, capsys):
    with pytest.raises(SystemExit):
        modem_curves.main(bad)
    assert bad[0] in capsys.readouterr().err


def test_the_shipped_curves_make_a_table_whose_airtime_is_the_modems():
    table = McsTable.amc()
    assert len(table) == len(MCS)
    shipped = json.loads(
        (modem_curves.Path(curves.__file__).parents[1] / "models/amc_curves.json").read_text()
    )
    air = shipped["airtime"]
    for scheme in MCS:
        coded = math.ceil((8 * (128 + air["crc_bytes"]) + air["tail_bits"]) / scheme.code_rate - 1e-9)
        symbols = math.ceil(coded / (air["data_carriers"] * scheme.bits_per_symbol))
        samples = air["preamble_samples"] + air["symbol_samples"] * (air["header_symbols"] + symbols)
        assert samples == framing.burst_samples(scheme.index, 128)
    assert shipped["overhead_symbols"] == 48 * (air["preamble_samples"] // 80 + air["header_symbols"])
