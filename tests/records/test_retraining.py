# SPDX-License-Identifier: GPL-3.0-or-later
"""`lighttune train --from`: an impaired testbed's logs make a better network, or nothing is written."""

from dataclasses import replace

import numpy as np
import pytest
from gnuradio.lighttune.baselines import Olla
from gnuradio.lighttune.cli.main import main
from gnuradio.lighttune.core.link import Link
from gnuradio.lighttune.core.link_files import load_model, save_model
from gnuradio.lighttune.core.link_model import LinkModel
from gnuradio.lighttune.core.mcs import McsTable
from gnuradio.lighttune.records.log import blocks_of, sessions
from gnuradio.lighttune.records.writer import LogWriter
from gnuradio.lighttune.sim.conditions import Conditions, Recipe
from gnuradio.lighttune.sim.drive import Script, drive
from gnuradio.lighttune.sim.realise import realise

from simulated import simulated_log

pytest.importorskip("torch", reason="torch is not installed (tools/setup.sh does it)")
from gnuradio.lighttune.records.retraining import RetrainingPlan, read_sequences, retrain_on, split

MODEL = load_model("amc")
TABLE = MODEL.table


def record(folder, seeds, slots=700, **conditions):
    for seed in seeds:
        recipe = Recipe(((0.0, replace(Conditions(), **conditions)),))
        world = realise("bed", recipe, TABLE, seed, 3, slots)
        simulated_log(folder, MODEL, world, lambda link: Link(MODEL))


@pytest.fixture(scope="module")
def impaired(tmp_path_factory):
    """Three sessions of a testbed whose receiver is worse than its curves, with reports 2 dB too high."""
    folder = tmp_path_factory.mktemp("impaired")
    record(folder, (1, 2, 3), evm=0.1, floor=0.02, slope_factor=3.0, report_bias_db=2.0)
    return folder


def test_an_impaired_testbed_s_own_logs_improve_the_network(impaired, tmp_path, capsys):
    out, picture = tmp_path / "bench.safetensors", tmp_path / "reliability.png"
    assert main(["train", "--from", str(impaired), "--out", str(out), "--plot", str(picture)]) == 0
    shown = capsys.readouterr().out
    rows = {line.split("│")[1].strip(): [float(c) for c in line.split("│")[2:7]]
            for line in shown.splitlines() if line.startswith("│")}  # fmt: skip
    before, after = rows["before"], rows["after"]
    assert (
        after[0] < before[0] - 0.001
    )  # log loss, nats: the network adapts by itself, what is left is little
    assert rows["as recorded"] == before  # a link that is given what was sent predicts what it predicted
    assert "held-out" in shown
    assert picture.read_bytes().startswith(b"\x89PNG")
    new = load_model(out)
    assert new.table == TABLE
    assert 0 < np.abs(new.net - MODEL.net).max() < 0.1
    again = tmp_path / "again.safetensors"
    assert main(["train", "--from", str(impaired), "--out", str(again)]) == 0
    assert again.read_bytes() == out.read_bytes()


def test_what_is_not_better_is_not_written(tmp_path, capsys):
    """Trained where half of all packets are lost at any SINR, held out where none are."""
    record(tmp_path, (1,), 600, floor=0.5)
    record(tmp_path, (2,), 150)
    out = tmp_path / "bench.safetensors"
    assert main(["train", "--from", str(tmp_path), "--out", str(out)]) == 1
    assert "nothing written" in capsys.readouterr().out
    assert not out.exists()


def test_what_was_read_from_a_log_is_what_the_network_read_on_the_air(tmp_path, rng):
    """Verdicts late, in bundles and lost: the steps are those of `sim.drive`, which training reads too."""
    n = 300
    bler = np.tile(TABLE.bler(14.0), (n, 1)).astype(np.float32)
    script = Script(bler, rng.random(n).astype(np.float32), np.full(n, np.nan, np.float32), np.ones(n),
                    np.arange(n) // 4 * 4 + 4, np.zeros(n))  # fmt: skip
    run = drive(MODEL.links(1), 0, MODEL, script, record=True)
    writer = LogWriter(tmp_path, MODEL)
    for slot in range(n):
        for block in range(slot - 4, slot) if slot % 4 == 0 and slot else ():
            fields = {"link": 0, "seq": block, "ack": bool(run.ack[block]), "attempt": 0}
            writer.write("feedback", fields, slot * 1e-3)
        fields = {"link": 0, "seq": slot, "mcs": int(run.mcs[slot]), "bler": float(run.bler[slot]),
                  "features": np.empty(0, np.float32), "version": 0, "probe": False}  # fmt: skip
        writer.write("decision", fields, slot * 1e-3)
    writer.flush()
    (session,) = sessions([tmp_path])
    read = read_sequences(MODEL, [session])
    steps = len(run.block)
    assert steps > n  # outcomes that it read by themselves
    assert read.inputs.shape[:2] == (1, steps)
    assert np.array_equal(read.inputs[0], run.inputs)
    decided = np.flatnonzero(run.block >= 0)
    assert read.anchor_db[0, decided] == pytest.approx(run.anchor_db[decided])
    ended = blocks_of(session).ended
    expected = np.zeros((steps, len(TABLE)))
    expected[decided[ended], run.mcs[ended]] = 1.0
    assert np.array_equal(read.weight[0], expected)
    assert read.target[0].sum() == (~run.ack[ended]).sum()


def test_long_sessions_are_fitted_in_stretches_that_each_block_counts_in_once(impaired, monkeypatch):
    found = sessions([impaired])
    whole = read_sequences(MODEL, found[:1])
    monkeypatch.setattr("gnuradio.lighttune.records.retraining._STRETCH", 200)
    monkeypatch.setattr("gnuradio.lighttune.records.retraining._WARM", 50)
    parts = read_sequences(MODEL, found[:1])
    assert parts.inputs.shape[:2] == (12, 250)
    assert parts.weight.sum(dtype=float) == whole.weight.sum(dtype=float)
    assert parts.target.sum(dtype=float) == whole.target.sum(dtype=float)
    assert np.array_equal(parts.inputs[1], whole.inputs[0, 150:400])
    assert not parts.weight[1, :50].any()


def test_without_epochs_the_network_comes_back_as_it_was(impaired):
    found = sessions([impaired])
    same = retrain_on(MODEL, found[:1], found[1:2], 1, plan=RetrainingPlan(epochs=1, rate=1e-12))
    assert same.model.net == pytest.approx(MODEL.net, abs=1e-6)
    assert same.scores["after"] == pytest.approx(same.scores["before"], abs=1e-4)


def test_sessions_are_held_out_as_asked_and_never_trained_on(impaired):
    found = sessions([impaired])
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
        (["--out", "x.safetensors", "--model", "other.safetensors"], "give a --model of the log's table"),
        (["--out", "x.safetensors", "--model", "beliefs.safetensors"], "no network ships for the MCS table"),
        (["--out", "x.safetensors", "--held-out", "nobody"], "no session 'nobody'"),
        (["--out", "nowhere/x.safetensors"], "there is no folder"),
        ([], "--from wants --out"),
    ],
)
def test_wrong_arguments_are_named_with_a_remedy(impaired, tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    save_model(LinkModel(McsTable.named("nr-pdsch-2")), "other.safetensors")
    save_model(LinkModel(TABLE), "beliefs.safetensors")
    assert main(["train", "--from", str(impaired), *arguments]) == 1
    assert words in capsys.readouterr().err.replace("\n", " ")


def test_one_session_and_sessions_of_two_tables_are_refused(impaired, tmp_path, capsys):
    one = next(iter(impaired.glob("2*")))
    assert main(["train", "--from", str(one), "--out", str(tmp_path / "x")]) == 1
    assert "give two or more" in capsys.readouterr().err
    other = LinkModel(McsTable.named("nr-pdsch-1-sionna"))
    world = realise("bed", Recipe(((0.0, Conditions()),)), other.table, 1, 1, 50)
    simulated_log(tmp_path / "other", other, world, lambda link: Olla(other.table))
    assert (
        main(["train", "--from", str(impaired), str(tmp_path / "other"), "--out", str(tmp_path / "x")]) == 1
    )
    assert "different MCS tables" in capsys.readouterr().err
