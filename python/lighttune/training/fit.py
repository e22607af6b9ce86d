# SPDX-License-Identifier: GPL-3.0-or-later
"""Fitting the network to sequences, by backpropagation through time: offline, in torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from ..core import network
from ..core.mcs import McsTable
from ..core.predictor import LARGEST_TILT, LOGISTIC_STD, MAX_DELTA_DB, MIN_SIGMA_DB
from ..core.record import HIDDEN, N_INPUTS
from .sequences import Sequences

CHUNK = 128
"""Steps through which the gradient goes back."""


class TorchNetwork(nn.Module):
    """`core.network` in torch."""

    def __init__(self, table: McsTable) -> None:
        super().__init__()
        outputs = 3 * len(table.orders) + 1
        for name, array in (
            ("threshold", table.threshold), ("slope", table.slope), ("above_middle", table.above_middle_db),
            ("mean", np.zeros(N_INPUTS)), ("inverse_std", np.ones(N_INPUTS)),
        ):  # fmt: skip
            self.register_buffer(name, torch.as_tensor(np.array(array), dtype=torch.float32))
        self.register_buffer("order_of", torch.as_tensor(table.order_of.copy()))
        self.orders = len(table.orders)
        self.gru = nn.GRU(N_INPUTS, HIDDEN, batch_first=True)
        self.head = nn.Linear(HIDDEN + N_INPUTS, HIDDEN)
        self.out = nn.Linear(HIDDEN, outputs)
        self.bypass = nn.Linear(N_INPUTS, outputs, bias=False)
        nn.init.zeros_(self.bypass.weight)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(
        self, inputs: torch.Tensor, anchor_db: torch.Tensor, length: torch.Tensor, hidden: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """BLER of every MCS ``(n, steps, n_mcs)``, and the hidden state after the last step."""
        x = ((inputs - self.mean) * self.inverse_std).clip(-8.0, 8.0)
        remembered, hidden = self.gru(x, hidden)
        h = torch.tanh(self.head(torch.cat([remembered, x], dim=-1)))
        mu, spread, tilt, floor = (self.out(h) + self.bypass(x)).split([self.orders] * 3 + [1], dim=-1)
        mu = anchor_db[..., None] + MAX_DELTA_DB * torch.tanh(mu / MAX_DELTA_DB)
        sigma = (MIN_SIGMA_DB + F.softplus(spread)) / LOGISTIC_STD
        tilt = LARGEST_TILT * torch.tanh(tilt)
        floor = network.LARGEST_LOSS * torch.sigmoid(floor + network.LOSS_BIAS)
        mu, sigma, tilt = (part[..., self.order_of] for part in (mu, sigma, tilt))
        needed = self.threshold + tilt * self.above_middle + self.slope * length[..., None]
        logit = (needed - mu) / torch.hypot(self.slope, sigma)
        return floor + (1.0 - floor) * torch.sigmoid(logit.clip(-15.0, 15.0)), hidden

    def standardise(self, inputs: np.ndarray) -> None:
        """Take centre and scale of the inputs from ``(n, steps, N_INPUTS)``: those of the family's plain
        links, every other one. Wild reports would make all else small."""
        flat = inputs[1::2].reshape(-1, N_INPUTS)
        flat = flat[np.abs(flat).sum(axis=1) > 0].astype(np.float64)
        self.mean.copy_(torch.as_tensor(flat.mean(axis=0)))
        self.inverse_std.copy_(torch.as_tensor(1.0 / (flat.std(axis=0) + 1e-2)))

    def take(self, flat: np.ndarray) -> None:
        """Take all from the flat vector that `export` gives."""
        arrays, start = {}, 0
        for name, shape in network.parts(self.orders).items():
            size = int(np.prod(shape))
            arrays[name] = torch.as_tensor(flat[start : start + size].reshape(shape))
            start += size
        with torch.no_grad():
            for own, its in (
                (self.mean, "mean"), (self.inverse_std, "inverse_std"), (self.gru.weight_ih_l0.T, "input"),
                (self.gru.bias_ih_l0, "input_bias"), (self.gru.weight_hh_l0.T, "recurrent"),
                (self.gru.bias_hh_l0, "recurrent_bias"), (self.head.weight[:, :HIDDEN].T, "head"),
                (self.head.weight[:, HIDDEN:].T, "head_inputs"), (self.head.bias, "head_bias"),
                (self.out.weight.T, "out"), (self.bypass.weight.T, "bypass"), (self.out.bias, "out_bias"),
            ):  # fmt: skip
                own.copy_(arrays[its])

    def export(self) -> np.ndarray:
        """The flat vector, in the order of `core.network.parts`."""
        head, head_inputs = self.head.weight[:, :HIDDEN].T, self.head.weight[:, HIDDEN:].T
        arrays = (
            self.mean, self.inverse_std, self.gru.weight_ih_l0.T, self.gru.bias_ih_l0,
            self.gru.weight_hh_l0.T, self.gru.bias_hh_l0, head, head_inputs, self.head.bias,
            self.out.weight.T, self.bypass.weight.T, self.out.bias,
        )  # fmt: skip
        return np.concatenate([a.detach().contiguous().numpy().ravel() for a in arrays]).astype(np.float32)


@contextmanager
def reproducible(seed: int) -> Iterator[None]:
    """The same chance and the same sums each time; afterwards torch's threads and generator are as before."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums in one order
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)


def fit(
    model: TorchNetwork,
    files: Sequence[Callable[[], Sequences]],
    epochs: int,
    rate: float,
    batch: int = 48,
    progress: Callable[[float, float], None] = lambda share, loss: None,
) -> None:
    """Adam with a one-cycle schedule through every file, ``epochs`` times.

    Args:
        files: each read when it is its turn.
        epochs: times that every file is gone through.
        rate: highest learning rate.
        batch: links at a time.
        progress: called after every file with the share done and the file's mean loss.
    """
    links, length = files[0]().inputs.shape[:2]
    steps = len(files) * epochs * -(-links // batch) * -(-length // CHUNK)
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.2)
    turns = [index for _ in range(epochs) for index in torch.randperm(len(files)).tolist()]
    for done, index in enumerate(turns, 1):
        file, losses = files[index](), []
        for rows in torch.randperm(links).split(batch):
            for loss in _losses(model, file, rows.numpy()):
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                losses.append(loss.item())
                schedule.step()
        progress(done / len(turns), float(np.mean(losses)))


def _losses(model: TorchNetwork, file: Sequences, rows: np.ndarray) -> Iterator[torch.Tensor]:
    """Log loss of one chunk after the other; the gradient goes back to its beginning."""
    hidden = None
    for start in range(0, file.inputs.shape[1], CHUNK):
        part = slice(start, start + CHUNK)
        inputs, anchor, length, target, weight = (
            torch.as_tensor(array[rows, part].astype(np.float32))
            for array in (file.inputs, file.anchor_db, file.length, file.target, file.weight)
        )
        total = weight.sum()
        bler, hidden = model(inputs, anchor, length, hidden)
        hidden = hidden.detach()
        bler = bler.clip(1e-6, 1.0 - 1e-6)
        loss = -(target * bler.log() + (1.0 - target) * (1.0 - bler).log())
        yield (weight * loss).sum() / total.clip(min=1.0)
