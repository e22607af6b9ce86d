#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Freeze what the core does in every world: MCS, ACKs and weights' versions of a few links.

A change of the code is held to these traces (tests/core/test_golden.py). A change of the algorithm writes
them anew, and its message says so:

    bench/golden.py --write tests/golden/worlds.npz
"""

import argparse
from pathlib import Path

import numpy as np
from gnuradio.lighttune.core.checkpoint import load_model
from gnuradio.lighttune.sim import WORLDS, make_world, run_batch

import common
from protocol import VALIDATION_SEEDS

LINKS, SLOTS = 3, 1500
FORMS = {"tuned": {}, "un-tuned": {"tuned": False}}


def traces() -> dict[str, np.ndarray]:
    """``world/form/what``: MCS (int8), ACK (bool) and version (int16), each ``(LINKS, SLOTS)``."""
    predictor, found = load_model("amc"), {}
    for name in WORLDS:
        world = make_world(name, predictor.table, VALIDATION_SEEDS[0], LINKS, SLOTS)
        for form, settings in FORMS.items():
            trace = run_batch(common.light_tune(predictor, LINKS, **settings), world)
            found[f"{name}/{form}/mcs"] = trace.mcs.astype(np.int8)
            found[f"{name}/{form}/ack"] = trace.ack
            found[f"{name}/{form}/version"] = trace.version.astype(np.int16)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", type=Path, required=True, metavar="FILE", help="where to")
    args = parser.parse_args()
    np.savez_compressed(args.write, **traces())
    print(f"wrote {args.write} ({args.write.stat().st_size} bytes)")


if __name__ == "__main__":
    main()
