# SPDX-License-Identifier: GPL-3.0-or-later
"""Training in rounds: draw links behind the network so far, fit, and again behind the better one.

All that is drawn or fitted goes to a folder. A run that was interrupted goes on from there, and ends with the
same file as one that was not.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ..core import network
from ..core.files import replace
from ..core.link_model import LinkModel
from ..core.mcs import McsTable
from ..core.tensors import dump_tensors, read_tensors
from .sequences import Sequences, make_sequences


@dataclass(frozen=True)
class Plan:
    """Rounds, files of each, groups of links of each file, blocks and steps of each link; epochs over the
    files of a round and of the one before, the first and the later rounds' learning rate, links at a time."""

    rounds: int = 3
    files: int = 4
    groups: int = 16
    blocks: int = 2048
    steps: int = 2304
    epochs: int = 6
    first_rate: float = 4e-3
    rate: float = 3e-3
    batch: int = 32


QUICK = Plan(rounds=2, files=1, groups=2, blocks=256, steps=288, epochs=1, batch=16)
"""Seconds instead of half an hour, to see that it runs."""

Progress = Callable[[str, float], None]
"""Called with what is being done and the share done of the whole."""


def train_network(table: McsTable, seed: int, plan: Plan, work: Path, progress: Progress) -> np.ndarray:
    """Train a network for a table; the same table, seed and plan give the same weights (on processors and
    builds that round alike).

    Args:
        work: folder for what is drawn and fitted; made if need be, gone on from if it has something.
        progress: see `Progress`.

    Returns:
        The flat vector of `core.network`, float32.

    Raises:
        ValueError: the folder holds a run of another table, seed or plan; or the table has a modulation order
            that the simulator does not know.
    """
    import torch

    from .fit import TorchNetwork, fit

    torch.set_num_threads(1)  # sums in one order
    _claim(work, {"table": table.digest, "seed": seed, "plan": asdict(plan)})
    net, flat = TorchNetwork(table), np.zeros(network.size(len(table.orders)), np.float32)
    paths: list[Path] = []
    for number in range(plan.rounds):
        name = f"round {number + 1} of {plan.rounds}"
        for place in range(plan.files):
            progress(f"{name}: drawing links", (number + 0.5 * place / plan.files) / plan.rounds)
            path = work / f"{number}_{place}.safetensors"
            if not path.is_file():
                rng = np.random.default_rng([seed, number, place])
                made = make_sequences(LinkModel(table, flat), rng, plan.groups, plan.blocks, plan.steps)
                _write(path, vars(made))
            paths.append(path)
        fitted = work / f"round_{number}.safetensors"
        if fitted.is_file():
            net.take(read_tensors(fitted)[0]["network"])
        else:
            torch.manual_seed(seed + number)
            if number == 0:
                net = TorchNetwork(table)
                net.standardise(_read(paths[0]).inputs)

            def report(share: float, loss: float, number: int = number, name: str = name) -> None:
                progress(f"{name}: fitting, log loss {loss:.3f}", (number + 0.5 + 0.5 * share) / plan.rounds)

            rate = plan.rate if number else plan.first_rate
            files = [partial(_read, path) for path in paths[-2 * plan.files :]]
            fit(net, files, plan.epochs, rate, plan.batch, report)
            _write(fitted, {"network": net.export()})
        flat = net.export()
    return flat


def _claim(work: Path, run: dict) -> None:
    work.mkdir(parents=True, exist_ok=True)
    about = work / "run.json"
    text = json.dumps(run, sort_keys=True)
    if about.is_file() and about.read_text() != text:
        raise ValueError(
            f"{work} holds a training of another table, seed or plan: remove it, or name another"
        )
    replace(about, lambda file: file.write(text.encode()))


def _write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    blob = dump_tensors(arrays, {})
    replace(path, lambda file: file.write(blob))


def _read(path: Path) -> Sequences:
    return Sequences(**read_tensors(path)[0])
