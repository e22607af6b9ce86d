# SPDX-License-Identifier: GPL-3.0-or-later
"""The link that `bench/field.py` and `bench/adversaries.py` put to the test, and what it is compared with."""

import argparse
import os
from functools import lru_cache

import numpy as np
from gnuradio.lighttune.baselines.olla import Olla
from gnuradio.lighttune.baselines.salad import Salad
from gnuradio.lighttune.core import make_link
from gnuradio.lighttune.core.adapter import LightTune, Selector
from gnuradio.lighttune.core.checkpoint import load_model
from gnuradio.lighttune.core.link_files import shipped_models
from gnuradio.lighttune.core.mcs import McsTable
from gnuradio.lighttune.core.messages import Csi, LinkAdapter
from gnuradio.lighttune.core.predictor import Predictor
from gnuradio.lighttune.core.tuner import Tuner

import common
from peers import chosen

CORE = "LIGHTTUNE_BENCH_CORE"
"""Environment variable: ``first`` puts the first form of the core to the test, which the blocks still use."""


def make_adapter(table_name: str) -> LinkAdapter:
    """A fresh link for that MCS table: what is put to the test."""
    if os.environ.get(CORE) == "first":
        predictor = _predictor(table_name)
        return LightTune(Selector(predictor, Olla(predictor.table)), Tuner(predictor, max_links=1))
    return make_link(table_name) if table_name in shipped_models() else make_link(table=table_name)


def arguments(doc: str | None) -> argparse.Namespace:
    """What `bench/field.py` and `bench/adversaries.py` were called with; puts ``--core`` into force, which
    worker processes take over by the environment.

    Raises:
        SystemExit: the documents would be overwritten with other figures than theirs.
    """
    parser = common.parser(doc)
    add = parser.add_argument
    add("--validation", action="store_true", help="on the validation seeds; needs --out")
    add("--jobs", type=int, default=os.cpu_count(), help="processes (default: one per core)")
    add(
        "--core",
        choices=("second", "first"),
        default="second",
        help="form of the learning core: core.make_link, or what the blocks still use; first needs --out",
    )
    args = parser.parse_args()
    if args.core == "first" and args.out is None:
        raise SystemExit("--core first needs --out DIR: docs/results holds the second form's figures")
    if args.validation and args.out is None:
        raise SystemExit("--validation needs --out DIR: docs/results holds the test seeds' figures")
    os.environ[CORE] = args.core
    return args


def seeds_of(args: argparse.Namespace, validation: tuple[int, ...], test: tuple[int, ...]) -> tuple[int, ...]:
    """The seeds that `arguments` ask for; a short run takes two and stays away from the test seeds."""
    if args.short:
        return validation[:2]
    return validation if args.validation else test


@lru_cache(maxsize=3)
def _predictor(table_name: str) -> Predictor:
    return load_model(table_name)


TABLES = ("amc", "wifi", "nr-pdsch-1-sionna")
"""MCS tables with measured curves and a shipped model."""

OLLA_SETTINGS = (
    {"target": 0.1, "delta_up_db": 0.1},
    {"target": 0.1, "delta_up_db": 0.5},
    {"target": 0.2, "delta_up_db": 0.1},
    {"target": 0.2, "delta_up_db": 0.5},
    {"target": 0.3, "delta_up_db": 0.1},
    {"target": 0.3, "delta_up_db": 0.5},
    chosen("OLLA"),
)
"""The best of these in hindsight is a situation's tuned OLLA."""

ALONE_SETTINGS = tuple(OLLA_SETTINGS[place] for place in (1, 3, 6))
"""The three that stand beside SALAD where nothing is reported."""

_BEYOND_DB = 3.0  # an estimate that goes further beyond the table's thresholds learns nothing more
_OFFSETS_DB = (
    -40.0,
    10.0,
)  # wide enough for any wrong report; up no further than OLLA's default: it winds up


def tuned_olla(table: McsTable, setting: dict, reported: bool = True) -> Olla:
    """OLLA with offsets wide enough for any wrong report; where nothing is reported, with a constant stand-in
    for the report, from which its offset reaches all of the table."""
    if reported:
        return Olla(table, offset_range_db=_OFFSETS_DB, **setting)
    low, high = table.threshold.min() - _BEYOND_DB, table.threshold.max() + _BEYOND_DB
    reach = (high - low) / 2
    olla = Olla(table, offset_range_db=(-reach, reach), **setting)
    olla.report(Csi((low + high) / 2))
    return olla


def salad(table: McsTable, seed: int) -> Salad:
    """SALAD without reports, from the middle of the table, with the settings of `bench/peers.py`."""
    middle = (table.threshold.min() + table.threshold.max()) / 2
    return Salad(table, np.random.default_rng(seed), initial_snr_db=float(middle), **chosen("SALAD"))
