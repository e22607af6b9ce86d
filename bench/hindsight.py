# SPDX-License-Identifier: GPL-3.0-or-later
"""The best calibration in hindsight: how much of the prediction error any tuning of it could have removed.

The calibration (`gamma`, `offset_db` and `order_db` of `core.predictor`) of each link is fitted to the *true*
BLER of the MCS near the best one and of the MCS that the un-tuned predictor sent, in all slots of each
stretch between two shifts: what a tuner would have that knew the future and saw the outcome of every MCS.
"""

from itertools import pairwise

import numpy as np
import torch
from gnuradio.lighttune.core.checkpoint import load_model
from gnuradio.lighttune.core.predictor import Predictor
from gnuradio.lighttune.sim import World, run_batch
from gnuradio.lighttune.sim.batch import BatchLightTune
from gnuradio.lighttune.sim.link import near_best
from gnuradio.lighttune.sim.metrics import error, window_error

import common
from protocol import Size


class _Recorder(BatchLightTune):
    """The un-tuned predictor; its features and the MCS that it sent, slot by slot."""

    def __init__(self, predictor: Predictor, n: int) -> None:
        super().__init__(predictor, n)
        self.features: list[np.ndarray] = []
        self.sent: list[np.ndarray] = []

    def select(self, slot: int) -> tuple[np.ndarray, np.ndarray]:
        mcs, bler = super().select(slot)
        self.features.append(self._sent[slot][0])
        self.sent.append(mcs.copy())
        return mcs, bler


def ceilings(world_name: str, seeds: tuple[int, ...], size: Size) -> common.Figures:
    """Prediction errors of the un-tuned predictor at the MCS that it sends and near the best one, slot-wise
    and as rates, and under ``hindsight_...`` those of the best calibration in hindsight."""
    torch.set_num_threads(1)
    world, predictor = common.stacked(world_name, seeds, size), load_model("amc")
    recorder = _Recorder(predictor, world.n_links)
    run_batch(recorder, world)
    features, sent = np.stack(recorder.features, axis=1), np.stack(recorder.sent, axis=1)
    ends = [0, *world.shifts, world.n_slots]
    parts = [_fit(predictor, world, features, sent, a, b) for a, b in pairwise(ends)]
    before, fitted, true = (np.concatenate(column, axis=1) for column in zip(*parts, strict=True))
    figures = {}
    for label, predicted in (("", before), ("hindsight_", fitted)):
        figures[f"{label}error"] = error(predicted[..., 0], true[..., 0])
        figures[f"{label}window_error"] = window_error(predicted[..., 0], true[..., 0])
        figures[f"{label}near_error"] = error(predicted[..., 1:], true[..., 1:])
        figures[f"{label}near_window_error"] = window_error(predicted[..., 1:], true[..., 1:])
    return figures


def _fit(
    predictor: Predictor, world: World, features: np.ndarray, sent: np.ndarray, start: int, stop: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Predicted BLER before and after the fit, and the true one, of slots ``start`` to ``stop``: shape
    ``(n_links, stop - start, 1 + near MCS)``, NaN where the table ends."""
    bler = np.stack([world.bler_at(slot) for slot in range(start, stop)], axis=1)
    gain = world.table.goodput_if_acked()
    near = near_best(bler.reshape(-1, bler.shape[-1]), gain, world.table).reshape(*bler.shape[:2], -1)
    mcs = np.concatenate([sent[:, start:stop, None], near], axis=2)
    outside, mcs = mcs < 0, np.maximum(mcs, 0)
    act = predictor.forward(predictor.weights(), features[:, start:stop], mcs)
    t, logit, scale, true = (
        torch.tensor(v, dtype=torch.float64)
        for v in (act.t, act.logit, act.scale, np.take_along_axis(bler, mcs, axis=2))
    )
    order = torch.tensor(world.table.order_of[mcs])
    weight = torch.tensor(~outside, dtype=torch.float64)
    n_calibration = predictor.shape.n_calibration
    calibration = torch.zeros(len(mcs), 1, n_calibration, dtype=torch.float64, requires_grad=True)

    def fitted() -> torch.Tensor:
        gamma, offset, orders = calibration[..., :1], calibration[..., 1:2], calibration[..., 2:]
        order_db = torch.gather(orders.expand(-1, mcs.shape[1], -1), 2, order)
        return torch.exp(gamma) * (t - scale * (offset + order_db)) + logit - t

    optimizer = torch.optim.LBFGS([calibration], max_iter=60, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        losses = torch.nn.functional.binary_cross_entropy_with_logits(fitted(), true, reduction="none")
        # The penalty decides only where an order was never near: there anything fits.
        total = (weight * losses).sum() / 1000.0 + 1e-3 * (calibration**2).sum()
        total.backward()
        return total

    optimizer.step(loss)
    with torch.no_grad():
        arrays = [torch.sigmoid(logit).numpy(), torch.sigmoid(fitted()).numpy(), true.numpy()]
    return tuple(np.where(outside, np.nan, array) for array in arrays)
