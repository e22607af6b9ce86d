# SPDX-License-Identifier: GPL-3.0-or-later
"""Offline training: torch and numpy compute the same, the same seed gives the same weights, and it learns."""

import numpy as np
import pytest
from gnuradio.lighttune.core import features as ft
from gnuradio.lighttune.core.guards import log_loss
from gnuradio.lighttune.core.mcs import McsTable
from gnuradio.lighttune.core.predictor import N_SHAPE, Shape

pytest.importorskip("torch", reason="torch is not installed (tools/setup.sh does it)")
import torch
from gnuradio.lighttune.core.training import Samples, TorchPredictor, TrainingPlan, train

TABLE = McsTable.nr_pdsch(1)
QUICK = TrainingPlan(encoder_epochs=6, layer_epochs=2, batch=512, hidden=16)


def drifting_samples(rng, n=20000):
    """The SINR of the next block lies half the last step further on, with 0.5 dB of noise: history tells."""
    x = np.zeros((n, ft.N_FEATURES), np.float32)
    x[:, 0] = rng.uniform(0, 20, n)
    x[:, 1:8] = rng.normal(0, 3, (n, 7))
    snr = x[:, 0] - 0.5 * x[:, 1] + rng.normal(0, 0.5, n)
    mcs = np.clip(np.searchsorted(TABLE.threshold, snr) + rng.integers(-2, 2, n), 0, 28)
    bler = np.take_along_axis(TABLE.bler(snr), mcs[:, None], axis=1)[:, 0]
    return Samples(x, mcs, (rng.random(n) < bler).astype(np.float32))


@pytest.mark.parametrize("shape", [Shape(orders=3), Shape(orders=3, layers=3, width=7)])
def test_the_torch_and_the_numpy_forward_passes_agree_to_1e_6(rng, shape):
    torch.manual_seed(0)
    mean, scale = rng.normal(0, 1, N_SHAPE), rng.uniform(0.5, 2, N_SHAPE)
    model = TorchPredictor(TABLE, mean, scale, 24, shape).double()
    with torch.no_grad():
        model.direct.weight.normal_(0, 0.2)
        for layer in model.layers:
            layer["u"].uniform_(0, 0.5)
    x = rng.normal(0, 3, (500, ft.N_FEATURES))
    x[:, 0] = rng.uniform(-10, 30, 500)
    mcs = rng.integers(0, 29, 500)
    with torch.no_grad():
        features, index = torch.as_tensor(x), torch.as_tensor(mcs)
        standard, t = model.margin(features, index)
        theirs = torch.stack(model.local_logits(standard, t, index)).mean(dim=0).numpy()
    predictor = model.export()
    # export() rounds the weights that travel to float32; compare the arithmetic on equal weights.
    exact = predictor.weights()
    for index, layer in enumerate(model.layers):
        for name in ("W", "b", "v", "w", "u"):
            getattr(exact, name)[index][...] = layer[name].detach().numpy()
    mine = predictor.forward(exact, x, mcs[:, None]).logit[:, 0]
    assert np.abs(mine - theirs).max() < 1e-6


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(rng):
    samples = drifting_samples(rng, 2000)
    a, b, c = (train(TABLE, samples, seed, QUICK) for seed in (5, 5, 6))
    assert np.array_equal(a.offline, b.offline)
    assert np.array_equal(a.encoder.w2, b.encoder.w2)
    assert not np.array_equal(a.offline, c.offline)


def test_training_learns_what_the_history_tells(rng):
    stages = []
    predictor = train(TABLE, drifting_samples(rng), 1, QUICK, progress=lambda *now: stages.append(now))
    fresh = drifting_samples(np.random.default_rng(99))
    bler = predictor.bler(predictor.weights(), fresh.features, fresh.mcs[:, None])[:, 0]
    looked_up = np.take_along_axis(TABLE.bler(fresh.features[:, 0]), fresh.mcs[:, None], axis=1)[:, 0]
    assert log_loss(bler, fresh.nack).mean() < 0.6 * log_loss(looked_up, fresh.nack).mean()
    assert [s for s, _, _ in stages] == ["encoder"] * 6 + ["layers"] * 2
    assert stages[-1][1] == 1.0


def test_trained_layers_satisfy_the_sign_constraints(rng):
    predictor = train(TABLE, drifting_samples(rng, 4000), 1, QUICK)
    weights = predictor.weights()
    assert min(weights.v.min(), weights.w.min(), weights.u.min()) >= 0


def test_no_samples_and_samples_that_are_not_finite_are_refused():
    empty = Samples(np.zeros((0, ft.N_FEATURES), np.float32), np.zeros(0, int), np.zeros(0))
    with pytest.raises(ValueError, match="0 training samples"):
        train(TABLE, empty, 1)
    wild = Samples(np.full((3, ft.N_FEATURES), np.nan, np.float32), np.zeros(3, int), np.zeros(3))
    with pytest.raises(ValueError, match="finite"):
        train(TABLE, wild, 1)
