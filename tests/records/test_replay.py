# SPDX-License-Identifier: GPL-3.0-or-later
"""Replay: the adapter that made a log makes it again; others are judged by what the log knows."""

import json
from dataclasses import replace as changed

import numpy as np
import pytest
from gnuradio.lighttune.baselines import Olla
from gnuradio.lighttune.baselines.salad import Salad
from gnuradio.lighttune.baselines.thompson import ThompsonSampling
from gnuradio.lighttune.baselines.trend_olla import TrendOlla
from gnuradio.lighttune.cli.main import main
from gnuradio.lighttune.core.link import Link
from gnuradio.lighttune.core.link_files import load_model, save_model
from gnuradio.lighttune.core.link_model import LinkModel
from gnuradio.lighttune.core.link_tuner import LinkTuner
from gnuradio.lighttune.core.mcs import McsTable
from gnuradio.lighttune.core.tuning import TuningPolicy
from gnuradio.lighttune.records.calibration import reliability, scores
from gnuradio.lighttune.records.followers import FOLLOWERS, follower_maker
from gnuradio.lighttune.records.log import blocks_of, sessions
from gnuradio.lighttune.records.replay import judge, ratio, replay
from gnuradio.lighttune.records.writer import LogWriter, Rotation
from gnuradio.lighttune.sim.worlds import make_world

from simulated import simulated_log

MODEL = load_model("amc")
TABLE = MODEL.table
LINKS, SLOTS = 3, 800


MAKERS = {
    "olla": lambda link: Olla(TABLE),
    "trend_olla": lambda link: TrendOlla(TABLE),
    "salad": lambda link: Salad(TABLE, np.random.default_rng(link)),
    "thompson": lambda link: ThompsonSampling(TABLE, np.random.default_rng(link)),
    "untuned": lambda link: Link(MODEL),
    "lighttune": lambda link: Link(MODEL, tuner=LinkTuner(MODEL, TuningPolicy(always=True), max_links=1)),
}
GIVEN = {"lighttune": {"tuning.always": True}}
"""Settings by adapter, as it is made here."""


@pytest.fixture(scope="module")
def world():
    return make_world("snr_bias_jump", TABLE, 40001, LINKS, SLOTS)


@pytest.fixture(scope="module")
def made(tmp_path_factory, world):
    """A log of every adapter, and its decisions."""
    logs = {}
    for name, make in MAKERS.items():
        folder, decisions = simulated_log(
            tmp_path_factory.mktemp(name), MODEL, world, make, bits=2048 if name == "olla" else None
        )
        logs[name] = sessions([folder])[0], decisions
    return logs


def follow(session, name, model=MODEL, **more):
    make = follower_maker(name, GIVEN.get(name, {}) | more, model, np.random.default_rng)
    return replay(session, TABLE, make)


@pytest.mark.parametrize("name", MAKERS)
def test_the_adapter_that_made_the_log_decides_as_it_did(made, name):
    session, decisions = made[name]
    done = follow(session, name)
    flat = [d for link in decisions.values() for d in link]
    assert len(flat) == LINKS * SLOTS
    assert done.mcs.tolist() == [d.mcs for d in flat]
    assert done.bler.tolist() == [d.bler for d in flat]
    assert done.version.tolist() == [d.version for d in flat]
    assert np.array_equal(done.mcs, done.blocks.mcs)
    if name == "lighttune":
        assert done.version.max() > 0  # it was tuned, and not the same as untuned
    predicted = np.isfinite(done.sent_bler)
    assert predicted.mean() > 0.98
    if name != "thompson":  # whose own figure is that of its sample
        assert done.sent_bler[predicted] == pytest.approx(done.bler[predicted], abs=1e-6)


def test_the_agreement_of_a_log_with_itself_is_complete_and_nothing_is_left_open(made):
    session, _ = made["olla"]
    verdict = judge([follow(session, "olla")], TABLE)
    assert (verdict.agreement, verdict.higher, verdict.lower, verdict.decided) == (1, 0, 0, 1)
    assert verdict.matched[0] == pytest.approx(verdict.goodput)
    assert verdict.bounds == pytest.approx((verdict.goodput,) * 2)
    assert verdict.predicted == pytest.approx(verdict.recorded, abs=1e-5)


@pytest.mark.parametrize("name", ["olla", "trend_olla", "untuned", "lighttune"])
def test_the_true_goodput_of_other_choices_lies_within_the_bounds(made, world, name):
    """The simulator knows how the adapter's own choices would have ended in the same slots."""
    session, _ = made["salad"]
    done = follow(session, name)
    verdict = judge([done], TABLE)
    assert 0.02 < verdict.agreement < 0.98
    gain, true = TABLE.goodput_if_acked(), []
    for link, slot, mcs, ended in zip(
        done.blocks.link, done.blocks.seq, done.mcs, done.blocks.ended, strict=True
    ):
        if ended:
            acked = world.draws[link, slot] >= world.bler_of_link(link)[slot, mcs]
            true.append(gain[mcs] * acked)
    low, high = verdict.bounds
    assert low <= np.mean(true) <= high
    assert low < high
    same = (done.mcs == done.blocks.mcs)[done.blocks.ended]
    assert verdict.matched[0] == pytest.approx(np.mean(np.array(true)[same]))


def test_an_adapter_is_not_told_how_its_own_choice_would_have_ended(made):
    """With outcomes exchanged where it disagrees, an adapter that only learns from its own choices decides
    the same."""
    session, _ = made["olla"]
    before = follow(session, "thompson")
    feedback = session.table("feedback")
    differs = {(k, s) for k, s, a, b in zip(before.blocks.link, before.blocks.seq, before.mcs,
                                           before.blocks.mcs, strict=True) if a != b}  # fmt: skip
    assert len(differs) > 100
    flip = np.array([(k, s) in differs for k, s in zip(feedback["link"], feedback["seq"], strict=True)])
    original = session.table

    def table(name, columns=None):
        found = original(name, columns)
        return found | {"ack": found["ack"] ^ flip} if name == "feedback" else found

    session.table = table
    after = follow(session, "thompson")
    session.table = original
    assert np.array_equal(before.mcs, after.mcs)
    assert np.array_equal(before.bler, after.bler)


def test_tuning_on_a_log_improves_the_prediction_where_the_curves_are_wrong(made):
    """Every other modulation needs 2.5 dB less than the table says, and the others 2.5 dB more."""
    session, _ = made["olla"]
    off_db = 2.5 * (-1.0) ** TABLE.order_of
    wrong = changed(TABLE, name="wrong", threshold_db=tuple(np.array(TABLE.threshold_db) + off_db))
    loss = {
        name: judge([follow(session, *how, LinkModel(wrong), **more)], TABLE).predicted["log_loss"]
        for name, how, more in (
            ("untuned", ["untuned"], {}),
            ("tuned", ["lighttune"], {"tuning.prior_db": 2.0}),
            ("pooled", ["lighttune"], {"tuning.prior_db": 2.0, "pool": True}),
        )
    }
    assert loss["tuned"] < loss["untuned"]
    assert loss["pooled"] < loss["untuned"]
    assert loss["pooled"] != loss["tuned"]


def test_blocks_without_an_end_and_reports_without_a_number_are_followed(tmp_path, world):
    folder, decisions = simulated_log(
        tmp_path, MODEL, world, MAKERS["olla"], range(1), lose=lambda link, slot: slot % 7 == 0
    )
    session = sessions([folder])[0]
    done = follow(session, "olla")
    assert done.mcs.tolist() == [d.mcs for d in decisions[0]]
    assert (~done.blocks.ended).sum() == pytest.approx(SLOTS / 7, abs=2)
    assert judge([done], TABLE).ended == done.blocks.ended.sum()


def test_a_log_of_another_table_is_refused(made, tmp_path):
    session, _ = made["olla"]
    small = McsTable("small", (2,), (0.5,), (3.0,), (0.5,))
    with pytest.raises(ValueError, match="table 'small' only 0 to 0"):
        replay(session, small, lambda link: None)
    with pytest.raises(ValueError, match="genie"):
        follower_maker("genie", {}, MODEL, np.random.default_rng)


def test_scores_and_bins_are_those_of_their_definitions(rng):
    bler = np.array([0.05, 0.05, 0.95, 0.31])
    nack = np.array([False, True, True, False])
    got = scores(bler, nack)
    assert got["log_loss"] == pytest.approx(-np.log([0.95, 0.05, 0.95, 0.69]).mean())
    assert got["brier"] == pytest.approx(np.mean([0.05**2, 0.95**2, 0.05**2, 0.31**2]))
    assert got["ece"] == pytest.approx((2 * 0.45 + 0.05 + 0.31) / 4)
    bins = reliability(bler, nack)
    assert bins.blocks.tolist() == [2, 0, 0, 1, 0, 0, 0, 0, 0, 1]
    assert bins.observed[[0, 3, 9]].tolist() == [0.5, 0.0, 1.0]
    # Wilson's interval for 5 of 10 is 0.2366 to 0.7634 in any textbook.
    half = reliability(np.full(10, 0.45), np.arange(10) < 5)
    assert (half.low[4], half.high[4]) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    # A calibrated predictor: the error that is left is that of the bins' counts.
    p = rng.random(20000)
    assert scores(p, rng.random(20000) < p)["ece"] < 0.02
    assert scores(np.empty(0), np.empty(0))["blocks"] == 0


def test_the_interval_of_a_ratio_covers_the_truth_of_correlated_blocks(rng):
    """Blocks in runs of the same channel: an interval that took them as independent would be too narrow."""
    covered = 0
    for _ in range(200):
        level = np.repeat(rng.random(60), 50)
        weight = rng.random(3000) < 0.5
        estimate, half = ratio((rng.random(3000) < level) * weight, weight)
        covered += abs(estimate - 0.5) < half
    assert covered > 0.88 * 200  # 95 % if the batches of 100 held whole runs; they hold two


def test_the_command_shows_and_writes_what_it_found(made, tmp_path, capsys):
    folder = made["olla"][0].folder
    figures = tmp_path / "replay.json"
    arguments = ["--adapter", "olla", "--adapter", "lighttune", "--set", "tuning.always=true",
                 "--set", "pool=true", "--json", str(figures)]  # fmt: skip
    assert main(["replay", str(folder), *arguments]) == 0
    shown = capsys.readouterr().out
    for words in ("as recorded", "agrees", "2400 blocks of 1 session(s)", "at least"):
        assert words in shown
    document = json.loads(figures.read_text())
    assert document["olla"]["agreement"] == 1
    assert 0 < document["lighttune"]["bounds"][0] < document["lighttune"]["bounds"][1]
    assert set(document) == {"olla", "lighttune"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--adapter", "magic"], "give one of olla"),
        (["--set", "nonsense=3"], "no such setting"),
        (["--set", "nonsense"], "give NAME=VALUE"),
        (["--adapter", "olla", "--set", "target=7"], "target"),
        (["--model", "other.safetensors"], "give a --model of the log's table"),
    ],
)
def test_wrong_arguments_are_named_with_a_remedy(made, tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    save_model(LinkModel(McsTable.named("nr-pdsch-2")), "other.safetensors")
    assert main(["replay", str(made["olla"][0].folder), *arguments]) == 1
    assert words in capsys.readouterr().err.replace("\n", " ")


def test_a_log_that_names_no_table_asks_for_the_model(tmp_path, capsys):
    writer = LogWriter(tmp_path, rotation=Rotation())
    writer.write("csi", {"link": 0, "snr_db": 3.0}, 1.0)
    writer.close()
    assert main(["replay", str(tmp_path)]) == 1
    assert "give --model" in capsys.readouterr().err.replace("\n", " ")
    assert main(["replay", str(tmp_path), "--model", "amc"]) == 0
    assert len(blocks_of(sessions([tmp_path])[0])) == 0


def test_every_kind_but_the_genie_can_follow():
    assert set(FOLLOWERS) == set(MAKERS)
