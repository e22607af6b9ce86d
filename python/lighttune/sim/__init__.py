# SPDX-License-Identifier: GPL-3.0-or-later
"""Link simulation without samples: fading, worlds, a slot-by-slot link, and metrics.

>>> world = make_world("snr_bias_jump", McsTable.nr_pdsch(1), seed=1, n_links=10, n_slots=2000)
>>> trace = run(lambda link: Olla(world.table), world)
>>> summary(trace)["goodput"]
"""

from .batch import run_batch
from .family import training_batch
from .link import Trace, run
from .metrics import summary, windowed
from .realise import stack
from .worlds import WORLDS, World, make_world

__all__ = [
    "WORLDS",
    "Trace",
    "World",
    "make_world",
    "run",
    "run_batch",
    "stack",
    "summary",
    "training_batch",
    "windowed",
]
