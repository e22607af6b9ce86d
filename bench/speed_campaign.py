# SPDX-License-Identifier: GPL-3.0-or-later
"""What Dask and the Parquet files cost a campaign: cells per second against a plain loop over the same cells.

    OMP_NUM_THREADS=1 python bench/speed_campaign.py     # some three minutes

Loop, one worker and two workers take turns. Elapsed time depends on what else the machine does, processor
time (of this process and the workers) much less: its ratio is the overhead.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from gnuradio.lighttune.cli import cluster
from gnuradio.lighttune.cli.campaign_store import Store
from gnuradio.lighttune.core.link_model import LinkModel
from gnuradio.lighttune.sim.campaign import Cell, run_cell
from gnuradio.lighttune.sim.campaign_spec import parse

import common

ROUNDS = 5
SPECS: dict[str, dict[str, Any]] = {
    "tiny: OLLA, 2 links x 100 slots": {
        "seeds": 100, "links": 2, "slots": 100, "adapters": {"OLLA": {"kind": "olla"}},
    },
    "small: OLLA and LightTune, 10 links x 400 slots": {
        "seeds": 6, "links": 10, "slots": 400,
        "adapters": {"OLLA": {"kind": "olla"}, "LightTune": {"kind": "lighttune"}},
    },
}  # fmt: skip


def cpu_s() -> float:
    """Processor time so far of this process and its workers."""
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def timed(work: Callable[[], object]) -> np.ndarray:
    """Elapsed and processor time of a call in seconds."""
    began, before = time.perf_counter(), cpu_s()
    work()
    return np.array([time.perf_counter() - began, cpu_s() - before])


def loop(cells: Sequence[Cell], model: LinkModel) -> np.ndarray:
    """All cells one after the other, kept nowhere: elapsed and processor time."""
    return timed(lambda: [run_cell(cell, model) for cell in cells])


def on_workers(cells: Sequence[Cell], model: LinkModel, workers: int) -> np.ndarray:
    """All cells as `lighttune campaign` runs them, each kept in a file: elapsed and processor time, without
    the start of the workers."""

    def work() -> None:
        for _, row in cluster.completed(client, run_cell, cells, model=model):
            store.write(row)

    options = argparse.Namespace(workers=workers, scheduler=None)
    # A cluster of its own each time: another one, idle, would be counted too.
    with (
        tempfile.TemporaryDirectory() as folder,
        Store(Path(folder)) as store,
        cluster.connect(options, workers) as client,
    ):
        client.run(run_cell, cells[0], model)
        return timed(work)


def measure(scale: float = 1.0) -> list[str]:
    """Run all; returns markdown lines. ``scale`` takes away seeds and rounds (for a test that it runs)."""
    lines = []
    for name, document in SPECS.items():
        seeds = {"first": 1, "count": max(1, round(document["seeds"] * scale))}
        campaign = parse({"worlds": ["nominal", "mixture"], **document, "seeds": seeds})
        cells, model = campaign.cells(), campaign.model
        loop(cells, model)  # what is only done once
        seconds = np.array(
            [
                [loop(cells, model), *(on_workers(cells, model, n) for n in (1, 2))]
                for _ in range(max(1, round(ROUNDS * scale)))
            ]
        )
        ratios, middle = np.median(seconds / seconds[:, :1], axis=0), np.median(seconds, axis=0)
        ways = ("plain loop", "1 worker", "2 workers")
        for way, (elapsed, _), (slower, dearer) in zip(ways, middle, ratios, strict=True):
            lines.append([f"{name}: {way}", f"{len(cells) / elapsed:.1f}", f"{slower:.2f}", f"{dearer:.2f}"])
    return common.table(("cells, and who ran them", "cells/s", "elapsed / loop", "processor / loop"), lines)


if __name__ == "__main__":
    print(*measure(), sep="\n")
