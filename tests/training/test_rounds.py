# SPDX-License-Identifier: GPL-3.0-or-later
"""The network's training: what it trains on, that torch and the compiled core agree, and that it goes on."""

import numpy as np
import pytest
from gnuradio.lighttune.cli.main import main
from gnuradio.lighttune.core import load_model, make_link, network
from gnuradio.lighttune.core.link_model import LinkModel
from gnuradio.lighttune.core.mcs import McsTable
from gnuradio.lighttune.core.record import SHARE
from gnuradio.lighttune.sim.drive import drive
from gnuradio.lighttune.training.family import draw_scripts

torch = pytest.importorskip("torch", reason="training needs torch: tools/setup.sh installs it")
from gnuradio.lighttune.training.fit import TorchNetwork  # noqa: E402
from gnuradio.lighttune.training.rounds import QUICK, train_network  # noqa: E402

TABLE = McsTable.amc()


def quiet(what, share):
    """No progress is shown."""


def test_the_family_holds_what_links_do():
    rng = np.random.default_rng(4)
    scripts = [script for _ in range(12) for script in draw_scripts(rng, TABLE, 200)]
    reported = np.array([np.isfinite(script.report_db).mean() for script in scripts])
    assert (reported == 0).any()  # ACK and NACK alone
    assert ((reported > 0) & (reported < 0.3)).any()
    assert any(script.with_ack for script in scripts)
    assert any((script.due > 205).any() for script in scripts if (script.due >= 200).mean() > 0.3)  # missing
    assert any(np.ptp(script.length) > 0 for script in scripts)
    for script in scripts:
        assert ((script.bler >= 0) & (script.bler <= 1)).all()
        assert (script.due > np.arange(200)).all()
        assert np.isfinite(script.age).all()


def test_torch_and_the_compiled_core_give_the_same_blers():
    """The kernel's sigmoid is a table (5e-5), its votes are pinned, and 0.2 % of every BLER is the prior that
    the MCS is broken."""
    torch.manual_seed(3)
    net = TorchNetwork(TABLE)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    model = LinkModel(TABLE, net.export())
    model.policy[SHARE] = 0.0
    links = model.links(1)
    links["vote"] = 0.0, 0.0, 1.0
    links["broken"] = 0.0
    script = draw_scripts(np.random.default_rng(5), TABLE, 60)[1]  # a plain one
    run = drive(links, 0, model, script, record=True, every=True)
    with torch.no_grad():
        inputs, anchor = torch.as_tensor(run.inputs[None]), torch.as_tensor(run.anchor_db[None])
        bler, _ = net(inputs, anchor, torch.zeros(anchor.shape), None)
    # From the first outcome on the core thinks of broken MCS again: the share of an MCS grows from its prior.
    np.testing.assert_allclose(bler[0, 0], run.all_bler[0], atol=2e-3)
    assert np.median(np.abs(bler[0].numpy()[run.block >= 0] - run.all_bler)) < 2e-3


def test_an_interrupted_training_ends_with_the_same_network(tmp_path):
    whole = train_network(TABLE, 7, QUICK, tmp_path / "whole", quiet)
    seen = []

    def interrupt(what, share):
        seen.append(what)
        if "round 2" in what and "fitting" in what and seen.count("stopped") == 0:
            seen.append("stopped")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_network(TABLE, 7, QUICK, tmp_path / "parts", interrupt)
    resumed = train_network(TABLE, 7, QUICK, tmp_path / "parts", quiet)
    assert np.array_equal(whole, resumed)
    assert np.isfinite(whole).all()
    assert len(whole) == network.size(len(TABLE.orders))
    with pytest.raises(ValueError, match="another table, seed or plan"):
        train_network(TABLE, 8, QUICK, tmp_path / "parts", quiet)


def test_the_command_writes_a_model_that_a_link_can_use(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--network", "--quick", "--table", "wifi", "--out", "wifi.safetensors"]) == 0
    assert load_model("wifi.safetensors").table == McsTable.named("wifi")
    assert make_link("wifi.safetensors").select().mcs >= 0
    assert not list(tmp_path.glob("out/training-*"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--quick"], "--quick needs --out"),
        (["--seed", "-1"], "--seed -1"),
        (["--out", "nowhere/x.safetensors"], "there is no folder"),
    ],
)
def test_a_wrong_call_is_told_in_one_line(arguments, said, capsys):
    assert main(["train", "--network", *arguments]) != 0
    assert said in capsys.readouterr().err
