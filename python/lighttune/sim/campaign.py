# SPDX-License-Identifier: GPL-3.0-or-later
"""A cell of a campaign: one adapter through one world of one seed, and how it is run.

A cell's result depends on the cell alone, not on where, when or after which others it ran. Its `Cell.id` is a
hash of all that it depends on, so that a cell that was run need not be run again. `campaign_spec` makes the
cells of a grid.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import socket
import time
import traceback
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import numpy as np

from .. import __version__
from ..core.link_model import LinkModel
from ..core.mcs import McsTable
from .adapters import make_adapter
from .batch import run_batch
from .link import Trace
from .metrics import summary, tuned_slots
from .realise import World
from .worlds import make_world


@dataclass(frozen=True)
class Variant:
    """An adapter with one combination of settings.

    Args:
        label: its name in tables and plots.
        kind: a key of `adapters.KINDS`.
        settings: all of them, as JSON with sorted keys: it is what is hashed, sent and written.
    """

    label: str
    kind: str
    settings: str


@dataclass(frozen=True)
class Cell:
    """One run: a world of one seed, and one adapter with its settings.

    Args:
        world, seed, links, slots: as in `worlds.make_world`.
        feedback_delay_slots: as in `run_batch`.
        variant: the adapter.
        table: `McsTable.digest`.
        model: 12 digits of the model's fingerprint; empty for adapters that only take its table.
        version: of this package.
    """

    world: str
    seed: int
    links: int
    slots: int
    feedback_delay_slots: int
    variant: Variant
    table: str
    model: str
    version: str = __version__

    @property
    def id(self) -> str:
        """Twenty hexadecimal digits, the same for cells that give the same result: labels do not count."""
        content = [getattr(self, f.name) for f in fields(self) if f.name != "variant"]
        text = json.dumps([*content, self.variant.kind, self.variant.settings])
        return hashlib.sha256(text.encode()).hexdigest()[:20]


@lru_cache(maxsize=1)
def _world(name: str, table: McsTable, seed: int, links: int, slots: int) -> World:
    return make_world(name, table, seed, links, slots)


def simulate(cell: Cell, model: LinkModel) -> Trace:
    """Run a cell: its adapter, fresh, through its world."""
    world = _world(cell.world, model.table, cell.seed, cell.links, cell.slots)
    # Entropy of its own: the world's streams come from the seed alone.
    rng = np.random.default_rng([cell.seed, 1])
    settings = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in json.loads(cell.variant.settings).items()
    }
    adapter = make_adapter(cell.variant.kind, settings, model, cell.links, rng)
    return run_batch(adapter, world, feedback_delay_slots=cell.feedback_delay_slots, predict=True)


def figures(trace: Trace) -> dict[str, float]:
    """`metrics.summary`, and the shares of slots whose curves had just changed and that were probes."""
    shares = {"tuned": float(tuned_slots(trace).mean()), "probed": float(trace.probe.mean())}
    return summary(trace) | shares


def run_cell(cell: Cell, model: LinkModel) -> dict[str, Any]:
    """Run a cell and tell all about it: what it was, how it ended, where and when.

    Never raises: what goes wrong is told in ``status`` (``"finished"`` or ``"failed"``) and ``traceback``.
    """
    began, started = time.perf_counter(), datetime.now(UTC)
    try:
        if cell.version != __version__:
            raise RuntimeError(f"gr-lighttune is {__version__} here, the campaign's is {cell.version}")
        outcome = {"status": "finished", "traceback": ""} | figures(simulate(cell, model))
    except Exception:
        outcome = {"status": "failed", "traceback": traceback.format_exc()}
    where = {
        "host": socket.gethostname(),
        "process": os.getpid(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "started": started,
        "duration_s": time.perf_counter() - began,
    }
    return describe(cell) | outcome | where


def describe(cell: Cell) -> dict[str, Any]:
    """What a cell is, as columns of a table."""
    plain = {f.name: getattr(cell, f.name) for f in fields(cell) if f.name != "variant"}
    return {"id": cell.id} | plain | {"kind": cell.variant.kind, "settings": cell.variant.settings}
