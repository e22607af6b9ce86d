# SPDX-License-Identifier: GPL-3.0-or-later
"""What a link that lost its tuner carries on its last weights, with and without the watch over them.

    python bench/last_weights.py             # a minute; the figures in the docstring of `core.watch`

The last weights are the offline ones. Where the watch finds that they no longer fit, OLLA decides from then
on.
"""

import numpy as np
from gnuradio.lighttune.core.checkpoint import load_model
from gnuradio.lighttune.core.watch import Watch
from gnuradio.lighttune.sim import Trace, make_world, run_batch
from gnuradio.lighttune.sim.batch import BatchLightTune
from gnuradio.lighttune.sim.peers import BatchOlla

import common
from protocol import VALIDATION_SEEDS

SEEDS = VALIDATION_SEEDS[:2]


def watched(model: Trace, olla: Trace) -> tuple[np.ndarray, int]:
    """Goodput, ``(n_links, n_slots)``, of the model until the watch fires and OLLA's after that; how many
    fell."""
    goodput, fallen = model.goodput.copy(), 0
    for link in range(len(goodput)):
        watch = Watch()
        for slot in np.flatnonzero(model.version[link] >= 0):
            watch.observe(float(model.bler[link, slot]), not model.ack[link, slot])
            if not watch.fits:
                goodput[link, slot + 1 :] = olla.goodput[link, slot + 1 :]
                fallen += 1
                break
    return goodput, fallen


def measure(links: int = 20, slots: int = 3000) -> list[str]:
    """Markdown lines: goodput over OLLA's (at its defaults) in percent, mean of the seeds."""
    predictor = load_model("amc")
    lines = ["| world | last weights | watched | links that fell to OLLA |", "|---|---:|---:|---:|"]
    for name in common.ALL_WORLDS:
        alone, guarded, fallen = [], [], 0
        for seed in SEEDS:
            world = make_world(name, predictor.table, seed, links, slots)
            model = run_batch(BatchLightTune(predictor, links), world)
            olla = run_batch(BatchOlla(predictor.table, links), world)
            goodput, n = watched(model, olla)
            base, fallen = olla.goodput.mean(), fallen + n
            alone.append(100 * (model.goodput.mean() / base - 1))
            guarded.append(100 * (goodput.mean() / base - 1))
        share = f"{fallen} of {links * len(SEEDS)}"
        lines.append(f"| {name} | {np.mean(alone):+.1f} | {np.mean(guarded):+.1f} | {share} |")
    return lines


if __name__ == "__main__":
    print(*measure(), sep="\n")
