# SPDX-License-Identifier: GPL-3.0-or-later
"""The `lighttune` command: the demo's main job on a small scale, training, and its error messages."""

import json
from pathlib import Path

import pytest
from gnuradio import lighttune
from gnuradio.lighttune.cli.main import main
from gnuradio.lighttune.core.checkpoint import load_predictor, shipped_models
from safetensors import safe_open

from helpers import needs_torch

LOSSES = ("what the labels leave open", "predictor", "table at the last report")


def test_the_demo_runs_both_adapters_over_the_real_modem_and_writes_its_files(tmp_path, capsys):
    figures, picture = tmp_path / "demo.json", tmp_path / "demo.png"
    assert main(["demo", "--packets", "90", "--json", str(figures), "--plot", str(picture)]) == 0
    shown = capsys.readouterr().out
    for words in ("goodput", "residual BLER", "BLER prediction error", "tuned on", "decision latency"):
        assert words in shown
    document = json.loads(figures.read_text())
    for run in ("olla", "lighttune"):
        of_run = document["figures"][run]
        packets = document["packets"][run]
        assert len(packets["mcs"]) == 90
        assert None not in packets["mcs"]
        assert None not in packets["ack"]  # every packet's fate is known, time-outs included
        assert 0 <= of_run["all"]["residual_bler"] < 0.6
        assert of_run["all"]["goodput_kbps"] > 50
        assert of_run["decision_latency_us"]["p99"] >= of_run["decision_latency_us"]["median"] > 0
    # Both runs meet the same channel and the same noise: their first reports agree.
    first = [document["packets"][run]["snr_db"][0] for run in ("olla", "lighttune")]
    assert first[0] == pytest.approx(first[1])
    assert picture.read_bytes().startswith(b"\x89PNG")


@needs_torch
def test_training_writes_the_same_file_for_the_same_seed(tmp_path, capsys):
    files = [tmp_path / f"{i}.safetensors" for i in range(3)]
    for path, seed in zip(files, ("3", "3", "4"), strict=True):
        sizes = ["--links", "40", "--slots", "60", "--epochs", "2"]
        assert main(["train", "--table", "nr-pdsch-2", "--seed", seed, "--out", str(path), *sizes]) == 0
    a, b, c = (path.read_bytes() for path in files)
    assert a == b != c
    assert len(load_predictor(files[0]).table) == 28
    shown = capsys.readouterr().out
    assert "held-out" in shown
    with safe_open(files[0], framework="numpy") as file:
        notes = json.loads(file.metadata()["lighttune"])["notes"]
    losses = [float(notes[name]) for name in LOSSES]
    for name, loss in zip(LOSSES, losses, strict=True):
        assert f"{name:24s} {loss:.4f}" in shown
    assert losses == sorted(losses)  # what is open < the predictor, after two epochs < the table
    assert losses[1] < 0.8 * losses[2]


def test_the_shipped_models_say_how_they_were_trained_and_beat_the_table():
    for name in shipped_models():
        path = Path(lighttune.__file__).parent / "models" / f"{name}.safetensors"
        with safe_open(path, framework="numpy") as file:
            notes = json.loads(file.metadata()["lighttune"])["notes"]
        assert notes["table"] == name
        assert int(notes["seed"]) == 1  # the training seed of bench/protocol.py
        left_open, predictor, looked_up = (float(notes[loss]) for loss in LOSSES)
        assert left_open < predictor < 0.5 * looked_up


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["demo", "--packets", "3"], "packets = 3: give 30 or more"),
        (["demo", "--seed", "-1"], "--seed -1"),
        (["demo", "--plot", "/nowhere/at/all.png"], "no folder /nowhere/at"),
        pytest.param(["train", "--links", "0"], "--links 0: give 1 or more", marks=needs_torch),
        pytest.param(["train", "--out", "/nowhere/model"], "no folder /nowhere", marks=needs_torch),
    ],
)
def test_a_bad_argument_ends_with_one_line_that_names_it(arguments, message, capsys):
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_help_says_where_to_start(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    assert "lighttune demo" in capsys.readouterr().out
