# SPDX-License-Identifier: GPL-3.0-or-later
"""`lighttune train --from`: a biased testbed's logs make a better predictor, or nothing is written."""

from dataclasses import replace

import numpy as np
import pytest
from gnuradio.lighttune.baselines import Olla
from gnuradio.lighttune.cli.main import main
from gnuradio.lighttune.core.adapter import LightTune, Selector
from gnuradio.lighttune.core.checkpoint import load_model, load_predictor
from gnuradio.lighttune.core.tuner import Tuner
from gnuradio.lighttune.records.log import sessions
from gnuradio.lighttune.sim.conditions import Conditions, Recipe
from gnuradio.lighttune.sim.realise import realise

from helpers import make_predictor
from simulated import simulated_log

pytest.importorskip("torch", reason="torch is not installed (tools/setup.sh does it)")
from gnuradio.lighttune.core.retraining import RetrainingPlan, retrain
from gnuradio.lighttune.core.training import Samples, TorchPredictor
from gnuradio.lighttune.records.retraining import split

PREDICTOR = load_model("amc")
TABLE = PREDICTOR.table


def lighttune(link):
    return LightTune(Selector(PREDICTOR, Olla(TABLE)), Tuner(PREDICTOR, max_links=1))


def record(folder, seeds, bias_db=3.0, slots=700):
    for seed in seeds:
        recipe = Recipe(((0.0, replace(Conditions(), report_bias_db=bias_db)),))
        world = realise("bed", recipe, TABLE, seed, 3, slots)
        simulated_log(folder, PREDICTOR, world, lighttune)


@pytest.fixture(scope="module")
def biased(tmp_path_factory):
    """Three sessions of a testbed whose reports are 3 dB too high."""
    folder = tmp_path_factory.mktemp("biased")
    record(folder, (1, 2, 3))
    return folder


def test_a_biased_testbed_s_own_logs_correct_the_predictor(biased, tmp_path, capsys):
    out, picture = tmp_path / "bench.safetensors", tmp_path / "reliability.png"
    assert main(["train", "--from", str(biased), "--out", str(out), "--plot", str(picture)]) == 0
    shown = capsys.readouterr().out
    rows = {line.split("│")[1].strip(): [float(c) for c in line.split("│")[2:7]]
            for line in shown.splitlines() if line.startswith("│")}  # fmt: skip
    before, after = rows["before"], rows["after"]
    assert after[0] < before[0] - 0.02  # log loss, nats
    assert after[2] < before[2]  # ECE
    assert "held-out" in shown
    assert picture.read_bytes().startswith(b"\x89PNG")
    new = load_predictor(out)
    assert new.table == TABLE
    # What was learnt is that reports are too high: the same report now means a higher BLER.
    features = np.zeros((1, 17), np.float32)
    features[0, 0] = 12.0
    bler = [p.bler(p.weights(), features)[0] for p in (PREDICTOR, new)]
    assert bler[1].sum() > bler[0].sum() + 0.1
    again = tmp_path / "again.safetensors"
    assert main(["train", "--from", str(biased), "--out", str(again)]) == 0
    assert again.read_bytes() == out.read_bytes()


def test_what_is_not_better_is_not_written(tmp_path, capsys):
    """Trained on reports that are too high, held out where they are too low."""
    record(tmp_path, (1,), 4.0, 300)
    record(tmp_path, (2,), -3.0, 300)
    out = tmp_path / "bench.safetensors"
    assert main(["train", "--from", str(tmp_path), "--out", str(out)]) == 1
    assert "nothing written" in capsys.readouterr().out
    assert not out.exists()


def test_sessions_are_held_out_as_asked_and_never_trained_on(biased):
    found = sessions([biased])
    train, test = split(found, (), 0.2)
    assert (len(train), len(test)) == (2, 1)
    assert test[0].name == max(s.name for s in found)
    train, test = split(found, (found[0].name,), 0.2)
    assert [s.name for s in test] == [found[0].name]
    assert found[0] not in train


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--out", "x.safetensors", "--table", "nr-pdsch-1"], "but the logs are of 'amc'"),
        (["--out", "x.safetensors", "--model", "nr-pdsch-1-sionna"], "give a --model of the log's table"),
        (["--out", "x.safetensors", "--held-out", "nobody"], "no session 'nobody'"),
        (["--out", "nowhere/x.safetensors"], "there is no folder"),
        ([], "--from wants --out"),
    ],
)
def test_wrong_arguments_are_named_with_a_remedy(biased, tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--from", str(biased), *arguments]) == 1
    assert words in capsys.readouterr().err.replace("\n", " ")


def test_one_session_and_sessions_of_two_tables_are_refused(biased, tmp_path, capsys):
    one = next(iter(biased.glob("2*")))
    assert main(["train", "--from", str(one), "--out", str(tmp_path / "x")]) == 1
    assert "give two or more" in capsys.readouterr().err
    other = make_predictor(load_model("nr-pdsch-1-sionna").table, np.random.default_rng(1))
    world = realise("bed", Recipe(((0.0, Conditions()),)), other.table, 1, 1, 50)
    simulated_log(tmp_path / "other", other, world, lambda link: Olla(other.table))
    assert main(["train", "--from", str(biased), str(tmp_path / "other"), "--out", str(tmp_path / "x")]) == 1
    assert "different MCS tables" in capsys.readouterr().err


def test_it_begins_with_the_predictor_as_it_is(rng):
    """The torch twin of a predictor says what it says, and without epochs it comes back unchanged."""
    features = rng.normal(0, 1, (200, 17)).astype(np.float32)
    features[:, 0] = rng.uniform(0, 25, 200)
    samples = Samples(features, rng.integers(0, len(TABLE), 200), (rng.random(200) < 0.3).astype(float))
    same = retrain(PREDICTOR, samples, samples, 1, RetrainingPlan(encoder_epochs=0, layer_epochs=0))
    for name in ("w1", "b3", "direct", "mean"):
        assert getattr(same.encoder, name) == pytest.approx(getattr(PREDICTOR.encoder, name), abs=1e-5)
    assert same.offline == pytest.approx(PREDICTOR.offline, abs=1e-6)
    tuned = PREDICTOR.offline.copy()
    tuned[:2] = 0.5, -0.25  # offset and slope are kept
    assert TorchPredictor.of(PREDICTOR).export(tuned).offline[:2].tolist() == [0.5, -0.25]
    with pytest.raises(ValueError, match="0 validation samples"):
        retrain(PREDICTOR, samples, Samples(features[:0], samples.mcs[:0], samples.nack[:0]), 1)
