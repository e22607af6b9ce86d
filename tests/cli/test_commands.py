# SPDX-License-Identifier: GPL-3.0-or-later
"""The `lighttune` command: the demo's main job on a small scale, training, and its error messages."""

import json
from pathlib import Path

import pytest
from gnuradio import lighttune
from gnuradio.lighttune.cli.main import main
from gnuradio.lighttune.core.link_files import load_model, shipped_models
from gnuradio.lighttune.training.held_out import held_out_losses
from safetensors import safe_open


def test_the_demo_runs_both_adapters_over_the_real_modem_and_writes_its_files(tmp_path, capsys):
    figures, picture = tmp_path / "demo.json", tmp_path / "demo.png"
    assert main(["demo", "--packets", "90", "--json", str(figures), "--plot", str(picture)]) == 0
    shown = capsys.readouterr().out
    for words in ("goodput", "residual BLER", "BLER prediction", "tuned on", "decision latency"):
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
    # Both runs meet the same channel and the same noise: their first reports agree, as far as two MCS do.
    first = [document["packets"][run]["snr_db"][0] for run in ("olla", "lighttune")]
    assert first[0] == pytest.approx(first[1], abs=0.3)
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_shipped_networks_say_how_they_were_trained_and_beat_the_beliefs():
    for name in shipped_models():
        path = Path(lighttune.__file__).parent / "models/links" / f"{name}.safetensors"
        with safe_open(path, framework="numpy") as file:
            notes = json.loads(file.metadata()["lighttune"])["notes"]
        assert int(notes["seed"]) < 1000  # none of the validation and test seeds of bench/protocol.py
        loss = held_out_losses(load_model(name), 1, 1, 256)
        assert loss["least"] < loss["network"] < loss["reports"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["demo", "--packets", "3"], "packets = 3: give 30 or more"),
        (["demo", "--seed", "-1"], "--seed -1"),
        (["demo", "--plot", "/nowhere/at/all.png"], "no folder /nowhere/at"),
        (["train", "--files", "0"], "--files 0: give 1 to 64"),
        (["train", "--out", "/nowhere/model"], "no folder /nowhere"),
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
