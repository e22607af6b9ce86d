# SPDX-License-Identifier: GPL-3.0-or-later
"""Training in rounds: it learns, the same seed gives the same network, and an interrupted run goes on."""

import json
import re
from dataclasses import asdict, replace

import numpy as np
import pytest
from gnuradio.lighttune.cli.main import main
from gnuradio.lighttune.core import make_link, network
from gnuradio.lighttune.core.link_files import load_model
from gnuradio.lighttune.core.link_model import LinkModel
from gnuradio.lighttune.core.mcs import McsTable
from gnuradio.lighttune.core.tensors import read_tensors
from gnuradio.lighttune.training import rounds
from gnuradio.lighttune.training.held_out import held_out_losses
from gnuradio.lighttune.training.rounds import QUICK, Plan, clear, train_network

torch = pytest.importorskip("torch", reason="training needs torch: tools/setup.sh installs it")

TABLE = McsTable.amc()
SEED = 7
TINY = Plan(rounds=2, files=2, groups=1, blocks=64, steps=70, epochs=1, batch=8)


def quiet(what, share):
    """No progress is shown."""


class InterruptAt:
    """Ctrl-C when progress is told for the n-th time."""

    def __init__(self, at):
        self.left = at

    def __call__(self, what, share):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing interrupted: its folder, its network, and what it told on its way."""
    told, work = [], tmp_path_factory.mktemp("whole")
    net = train_network(TABLE, SEED, TINY, work, lambda *what: told.append(what))
    return work, net, told


def contents(work):
    return {path.name: path.read_bytes() for path in work.iterdir()}


def test_progress_names_each_stage_and_only_rises(whole):
    _, _, told = whole
    stages = [what for what, _ in told]
    assert stages[:3] == ["round 1 of 2: drawing links"] * 2 + ["round 1 of 2: fitting"]
    assert re.fullmatch(r"round 1 of 2: fitting, log loss \d\.\d{3}", stages[3])
    assert re.fullmatch(r"round 2 of 2: fitting, log loss \d\.\d{3}", stages[-1])
    shares = [share for _, share in told]
    assert shares == sorted(shares)
    assert shares[0] == 0
    assert shares[-1] == pytest.approx(1)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(whole, tmp_path):
    work, net, _ = whole
    again = train_network(TABLE, SEED, TINY, tmp_path / "again", quiet)
    assert net.dtype == again.dtype == np.float32
    assert net.tobytes() == again.tobytes()
    assert contents(work) == contents(tmp_path / "again")
    assert np.isfinite(net).all()
    assert len(net) == network.size(len(TABLE.orders))
    other = train_network(TABLE, SEED + 1, TINY, tmp_path / "other", quiet)
    assert not np.array_equal(net, other)


def test_neither_torch_s_random_numbers_nor_its_threads_are_touched_or_matter(whole, tmp_path):
    torch.manual_seed(1)
    torch.rand(5)
    before, threads = torch.random.get_rng_state(), torch.get_num_threads()
    assert np.array_equal(train_network(TABLE, SEED, TINY, tmp_path, quiet), whole[1])
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.get_num_threads() == threads


def test_a_run_that_was_interrupted_anywhere_ends_with_the_same_files(whole, tmp_path):
    work, net, told = whole
    for at in range(len(told)):
        parts = tmp_path / str(at)
        with pytest.raises(KeyboardInterrupt):
            train_network(TABLE, SEED, TINY, parts, InterruptAt(at))
        assert np.array_equal(train_network(TABLE, SEED, TINY, parts, quiet), net)
        assert contents(parts) == contents(work)


def test_a_run_that_is_interrupted_again_and_again_goes_forward(whole, tmp_path):
    """Each time one more step is done; a fit takes as many steps as it has files to go through."""
    for at in (1, 1, 3, 1, 1, 4):
        with pytest.raises(KeyboardInterrupt):
            train_network(TABLE, SEED, TINY, tmp_path, InterruptAt(at))
    assert contents(tmp_path).keys() >= {"links_0_1.safetensors", "network_0.safetensors"}
    assert np.array_equal(train_network(TABLE, SEED, TINY, tmp_path, quiet), whole[1])


def test_what_is_done_is_not_done_again(whole):
    work, net, _ = whole

    def never(what, share):
        raise AssertionError(what)

    assert np.array_equal(train_network(TABLE, SEED, TINY, work, never), net)


def test_files_that_were_lost_are_made_anew_from_the_network_that_made_them(whole, tmp_path):
    work, net, _ = whole
    lost = {"links_0_0.safetensors", "links_1_1.safetensors", "network_1.safetensors"}
    for name, blob in contents(work).items():
        if name not in lost:
            (tmp_path / name).write_bytes(blob)
    assert np.array_equal(train_network(TABLE, SEED, TINY, tmp_path, quiet), net)
    assert contents(tmp_path) == contents(work)


def test_a_garbled_file_is_named_with_the_remedy(whole, tmp_path):
    for name, blob in contents(whole[0]).items():
        (tmp_path / name).write_bytes(blob)
    (tmp_path / "network_1.safetensors").unlink()
    (tmp_path / "links_1_0.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"links_1_0\.safetensors is truncated.* remove it"):
        train_network(TABLE, SEED, TINY, tmp_path, quiet)
    (tmp_path / "links_1_0.safetensors").unlink()
    assert np.array_equal(train_network(TABLE, SEED, TINY, tmp_path, quiet), whole[1])


@pytest.mark.parametrize(
    "other",
    [
        {"seed": SEED + 1},
        {"plan": replace(TINY, rate=1e-3)},
        {"table": McsTable.named("wifi")},
    ],
    ids=["seed", "plan", "table"],
)
def test_the_folder_of_another_run_is_refused_and_left_alone(whole, other):
    work, before = whole[0], contents(whole[0])
    run = {"table": TABLE, "seed": SEED, "plan": TINY} | other
    with pytest.raises(ValueError, match="another table, seed, plan or version: remove it") as refused:
        train_network(**run, work=work, progress=quiet)
    assert "\n" not in str(refused.value)
    assert contents(work) == before


def test_the_folder_says_whose_it_is(whole):
    about = json.loads((whole[0] / "run.json").read_text())
    assert about["seed"] == SEED
    assert about["plan"] == asdict(TINY)
    assert about["table"] == TABLE.digest


def test_clearing_leaves_what_is_not_ours(whole, tmp_path):
    for name, blob in contents(whole[0]).items():
        (tmp_path / name).write_bytes(blob)
    (tmp_path / ".links_1_0.safetensors.x.part").touch()
    (tmp_path / "thesis.txt").touch()
    clear(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    (tmp_path / "thesis.txt").unlink()
    clear(tmp_path)
    assert not tmp_path.exists()


def test_a_table_that_the_simulator_cannot_draw_is_refused_at_once(tmp_path):
    orders = tuple(10 if order == max(TABLE.modulation_order) else order for order in TABLE.modulation_order)
    table = replace(TABLE, modulation_order=orders)
    with pytest.raises(ValueError, match=r"no EESM beta for modulation order \[10\]: the simulator knows"):
        train_network(table, SEED, TINY, tmp_path / "work", quiet)
    assert not (tmp_path / "work").exists()


def test_training_lowers_the_log_loss_of_links_that_it_has_not_seen(tmp_path):
    zeros = LinkModel(TABLE, np.zeros(network.size(len(TABLE.orders)), np.float32))
    before = held_out_losses(zeros, 1, 4, 256)
    plan = Plan(rounds=1, files=1, groups=6, blocks=384, steps=432, epochs=3, first_rate=8e-3, batch=16)
    after = held_out_losses(LinkModel(TABLE, train_network(TABLE, 1, plan, tmp_path, quiet)), 1, 4, 256)
    assert after["network"] < 0.8 * before["network"]  # 0.56 to 0.62 with seeds 1 to 3
    for losses in (before, after):
        assert losses["least"] < min(losses[name] for name in ("mixture", "network", "reports", "acks"))


def test_the_command_writes_a_model_that_a_link_can_use(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--quick", "--table", "wifi", "--out", "wifi.safetensors"]) == 0
    assert load_model("wifi.safetensors").table == McsTable.named("wifi")
    assert make_link("wifi.safetensors").select().mcs >= 0
    assert not list(tmp_path.glob("out/training-*"))
    assert "the network alone" in capsys.readouterr().out
    notes = json.loads(read_tensors(tmp_path / "wifi.safetensors")[1]["lighttune"])["notes"]
    assert notes["seed"] == "1"
    assert notes["rounds"] == str(QUICK.rounds)
    assert 0 < float(notes["log loss, network"]) < 2


def test_the_command_goes_on_after_ctrl_c_and_writes_the_same_file(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(rounds, "QUICK", TINY)
    command = ["train", "--quick", "--seed", "3", "--out"]
    assert main([*command, "whole.safetensors", "--keep", "--work", "kept"]) == 0
    assert (tmp_path / "kept/network_1.safetensors").is_file()
    draw = rounds._draw

    def interrupted(path, table, seed, plan, number, place):
        if (number, place) == (1, 1):
            raise KeyboardInterrupt
        draw(path, table, seed, plan, number, place)

    monkeypatch.setattr(rounds, "_draw", interrupted)
    capsys.readouterr()
    assert main([*command, "parts.safetensors"]) == 130
    said = capsys.readouterr()
    assert "the same command goes on from out/training-amc-3-quick" in said.out
    assert said.err == "lighttune: interrupted\n"
    assert not (tmp_path / "parts.safetensors").exists()
    monkeypatch.setattr(rounds, "_draw", draw)
    assert main([*command, "parts.safetensors"]) == 0
    whole, parts = ((tmp_path / f"{name}.safetensors").read_bytes() for name in ("whole", "parts"))
    assert whole == parts
    assert not list(tmp_path.glob("out/*"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--quick"], "--quick needs --out"),
        (["--seed", "-1"], "--seed -1"),
        (["--out", "nowhere/x.safetensors"], "there is no folder"),
        (["--from", "a.log", "--quick"], "--quick: goes without --from"),
        (["--from", "a.log", "--work", "x"], "--work: goes without --from"),
        (["--held-out", "last"], "--held-out: goes with --from alone"),
        (["--plot", "x.png"], "--plot: goes with --from alone"),
    ],
)
def test_a_wrong_call_is_told_in_one_line(arguments, said, capsys):
    assert main(["train", *arguments]) == 1
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1
