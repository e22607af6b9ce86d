# SPDX-License-Identifier: GPL-3.0-or-later
"""Fitting: torch and the compiled core compute the same from the same weights."""

import numpy as np
import pytest
from gnuradio.lighttune.core import network
from gnuradio.lighttune.core.link_model import LinkModel
from gnuradio.lighttune.core.mcs import McsTable
from gnuradio.lighttune.core.record import N_INPUTS, NET
from gnuradio.lighttune.sim.drive import drive
from gnuradio.lighttune.training.family import draw_scripts

torch = pytest.importorskip("torch", reason="training needs torch: tools/setup.sh installs it")
from gnuradio.lighttune.training.fit import TorchNetwork  # noqa: E402

TABLE = McsTable.amc()
N = 150
# Both add in float32, in other orders, and the core's sigmoid is a table that is right to 5e-5.
SAME = 2e-4


@pytest.fixture(scope="module")
def net():
    """One whose weights are all at work."""
    torch.manual_seed(3)
    found = TorchNetwork(TABLE)
    with torch.no_grad():
        for parameter in found.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    found.standardise(np.random.default_rng(1).normal(0.3, 1.5, (2, 50, N_INPUTS)).astype(np.float32))
    return found


def scripts():
    """A plain link; one that hears nothing but verdicts; one with two lengths and late verdicts."""
    drawn = [s for seed in range(6) for s in draw_scripts(np.random.default_rng(seed), TABLE, N)]
    silent = next(s for s in drawn if np.isnan(s.report_db).all() and not s.length.any())
    late = next(s for s in drawn if np.ptp(s.length) > 0 and np.median(s.due - np.arange(N)) > 2)
    return {"plain": drawn[1], "no reports": silent, "lengths, late verdicts": late}


SCRIPTS = scripts()


@pytest.fixture(params=SCRIPTS)
def driven(request, net):
    """The script, its run behind this network, and what torch makes of the same inputs: (n_steps, n_mcs)."""
    script, model = SCRIPTS[request.param], LinkModel(TABLE, net.export())
    run = drive(model.links(1), 0, model, script, record=True)
    length = np.where(run.block >= 0, script.length[run.block], 0.0).astype(np.float32)
    with torch.no_grad():
        arrays = (torch.as_tensor(array[None]) for array in (run.inputs, run.anchor_db, length))
        bler, _ = net(*arrays, None)
    return script, model, run, length, bler[0].numpy()


def test_step_by_step_they_give_the_same_bler_of_every_mcs(driven):
    _, model, run, length, theirs = driven
    links, mine = model.links(1), np.zeros((len(run.block), len(TABLE)))
    for step, inputs in enumerate(run.inputs):
        x = inputs.copy()
        network.standardise(model.net, x)
        network.step(links, 0, model.net, x)
        network.predict(
            links, 0, model.net, x, model.rows, model.policy, run.anchor_db[step], length[step], mine[step]
        )
    assert np.ptp(mine, axis=0).max() > 0.1  # the history does something
    np.testing.assert_allclose(theirs, mine, atol=SAME)


def test_a_driven_link_reads_and_predicts_what_training_will_see(driven):
    """The inputs that are recorded are those from which the core predicted each block that it sent."""
    script, _, run, _, theirs = driven
    decided = run.block >= 0
    assert np.array_equal(run.block[decided], np.arange(len(script.bler)))
    of_sent = theirs[decided][np.arange(len(run.mcs)), run.mcs]
    predicted = run.experts[:, NET]
    asked = np.isfinite(predicted)
    assert asked.mean() > 0.9
    np.testing.assert_allclose(of_sent[asked], predicted[asked], atol=SAME)


def test_what_is_exported_and_taken_back_is_the_same_network(net):
    other = TorchNetwork(TABLE)
    other.take(net.export())
    assert len(net.export()) == network.size(len(TABLE.orders))
    assert np.array_equal(net.export(), other.export())
    inputs = torch.randn(1, 20, N_INPUTS)
    with torch.no_grad():
        one, same = (each(inputs, torch.zeros(1, 20), torch.zeros(1, 20), None)[0] for each in (net, other))
    assert torch.equal(one, same)


def test_inputs_are_standardised_by_the_plain_links_and_the_steps_that_were_taken():
    inputs = np.random.default_rng(2).normal(5.0, 3.0, (4, 400, N_INPUTS)).astype(np.float32)
    inputs[::2] *= 100.0  # the others, to which anything may happen
    inputs[:, 300:] = 0.0  # after a link's end
    found = TorchNetwork(TABLE)
    found.standardise(inputs)
    # 600 normal values: the mean is right to 0.12 and the deviation to 0.09 (one standard error).
    np.testing.assert_allclose(found.mean.numpy(), 5.0, atol=0.6)
    np.testing.assert_allclose(1 / found.inverse_std.numpy(), 3.0, atol=0.5)
