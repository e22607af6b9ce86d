# SPDX-License-Identifier: GPL-3.0-or-later
"""Training in rounds: draw links behind the network so far, fit, and again behind the better one.

In the first round the beliefs alone drive the links. All that is drawn or fitted goes to a folder. A run that
was interrupted goes on from there, and ends with the same weights as one that was not: what is drawn depends
on the seed, the round and the file alone, and a fit that was interrupted begins again.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from .. import __version__
from ..core import network
from ..core.files import replace
from ..core.link_model import LinkModel
from ..core.mcs import McsTable
from ..core.tensors import dump_tensors, read_tensors
from ..sim.realise import beta_of
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
"""Called with what is being done and the share done of the whole, by time."""

_DRAWING = 1.2  # time that a file takes to be drawn, in those that it takes to be gone through once
_RUN = "run.json"


def train_network(table: McsTable, seed: int, plan: Plan, work: Path, progress: Progress) -> np.ndarray:
    """Train a network for a table; the same table, seed and plan give the same weights (on processors and
    builds that round alike).

    Args:
        seed: 0 or more.
        work: folder for what is drawn and fitted; made if need be, gone on from if it has something. The
            default plan fills 1 to 2 GB.
        progress: see `Progress`.

    Returns:
        The flat vector of `core.network`, float32.

    Raises:
        ValueError: the folder holds a run of another table, seed, plan or version; or the table has a
            modulation order that the simulator does not know.
    """
    from .fit import TorchNetwork, fit, reproducible

    beta_of(table)  # refuses what cannot be drawn
    _claim(work, {"table": table.digest, "seed": seed, "plan": asdict(plan), "version": __version__})
    edges = _edges(plan)
    for number in range(plan.rounds):
        if _fitted(work, number).is_file():
            continue
        name = f"round {number + 1} of {plan.rounds}"
        paths = []
        for back in (1, 0) if number else (0,):
            for place in range(plan.files):
                path = work / f"links_{number - back}_{place}.safetensors"
                paths.append(path)
                if not path.is_file():
                    share = np.interp(place / plan.files, (0, 1), edges[2 * number : 2 * number + 2])
                    progress(f"{name}: drawing links", float(share))
                    _draw(path, table, seed, plan, number - back, place)
        begin, end = edges[2 * number + 1 : 2 * number + 3]

        def report(
            share: float, loss: float, name: str = name, begin: float = begin, end: float = end
        ) -> None:
            progress(f"{name}: fitting, log loss {loss:.3f}", begin + (end - begin) * share)

        progress(f"{name}: fitting", float(begin))
        rate, files = plan.rate if number else plan.first_rate, [partial(_read, path) for path in paths]
        with reproducible(int(np.random.SeedSequence([seed, number]).generate_state(1)[0])):
            net = TorchNetwork(table)
            if number:
                net.take(_weights(table, work, number))
            else:
                net.standardise(files[0]().inputs)
            fit(net, files, plan.epochs, rate, plan.batch, report)
        _write(_fitted(work, number), {"network": net.export()})
    return _weights(table, work, plan.rounds)


def clear(work: Path) -> None:
    """Remove what `train_network` wrote, and the folder if nothing else is in it."""
    for path in (*work.glob("links_*_*.safetensors"), *work.glob("network_*.safetensors"), work / _RUN):
        path.unlink(missing_ok=True)
    for part in work.glob(".*.safetensors.*.part"):  # of a run that was killed
        part.unlink(missing_ok=True)
    if not any(work.iterdir()):
        work.rmdir()


def _edges(plan: Plan) -> np.ndarray:
    """Shares of the whole at which each round's drawing and its fitting begin, in turn, and 1."""
    parts = [0.0]
    for number in range(plan.rounds):
        parts += [plan.files * _DRAWING, plan.files * min(number + 1, 2) * plan.epochs]
    return np.cumsum(parts) / np.sum(parts)


def _claim(work: Path, run: dict) -> None:
    work.mkdir(parents=True, exist_ok=True)
    about = work / _RUN
    text = json.dumps(run, sort_keys=True)
    if not about.is_file():
        replace(about, lambda file: file.write(text.encode()))
    elif about.read_text(errors="replace") != text:
        raise ValueError(
            f"{work} holds a training of another table, seed, plan or version: remove it, or give another"
            " folder"
        )


def _draw(path: Path, table: McsTable, seed: int, plan: Plan, number: int, place: int) -> None:
    model = LinkModel(table, _weights(table, path.parent, number))
    rng = np.random.default_rng([seed, number, place])
    _write(path, vars(make_sequences(model, rng, plan.groups, plan.blocks, plan.steps)))


def _fitted(work: Path, number: int) -> Path:
    """The file of the network that this round gives."""
    return work / f"network_{number}.safetensors"


def _weights(table: McsTable, work: Path, number: int) -> np.ndarray:
    """Of the network that this round begins with; zeros for the first."""
    if number == 0:
        return np.zeros(network.size(len(table.orders)), np.float32)
    return _tensors(_fitted(work, number - 1))["network"]


def _write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    blob = dump_tensors(arrays, {})
    replace(path, lambda file: file.write(blob))


def _tensors(path: Path) -> dict[str, np.ndarray]:
    try:
        return read_tensors(path)[0]
    except ValueError as error:
        raise ValueError(f"{error}: remove it, and the same command makes it anew") from error


def _read(path: Path) -> Sequences:
    return Sequences(**_tensors(path))
