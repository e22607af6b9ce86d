#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the trigger costs and keeps: gain against share of slots tuned, detection delays, false alarms; test
seeds.

The threshold in peace (`TriggerPolicy.on`) is swept, everything else stays at its default. Some five minutes.
"""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from gnuradio.lighttune.core.trigger import TriggerPolicy
from gnuradio.lighttune.sim import Trace, World
from gnuradio.lighttune.sim.peers import BatchOlla

import common
from peers import chosen
from protocol import SHIFTED, TEST_SEEDS
from worlds import BEST, peer

THRESHOLDS = (5.0, 8.0, 12.0, TriggerPolicy().on, 30.0, 60.0)
NO_WAY_BACK = "default, no rollback"
QUIET_SLOTS = 50
"""A link counts for a detection delay if it was not tuned in so many slots before the shift."""


def figures(trace: Trace, world: World) -> common.Figures:
    """`common.figures`, and how tuning began: after shifts, and where nothing had shifted yet."""
    tuned = np.zeros(trace.mcs.shape, bool)
    tuned[:, 1:] = common.tuned_slots(trace)
    begins = tuned.copy()
    begins[:, 1:] &= ~tuned[:, :-1]
    delays, missed = [], 0
    for begin, end in zip(world.shifts, (*world.shifts[1:], world.n_slots), strict=False):
        for link in tuned:
            if link[max(begin - QUIET_SLOTS, 0) : begin].any():
                continue
            hit = np.flatnonzero(link[begin:end])
            delays.append(float(hit[0]) if hit.size else np.inf)
            missed += not hit.size
    before = world.shifts[0] if world.shifts else world.n_slots
    return common.figures(trace, world) | {
        "alarms": 1000.0 * float(begins[:, :before].mean()),
        "delay_median": float(np.median(delays)) if delays else np.nan,
        "delay_p90": float(np.quantile(delays, 0.9, method="higher")) if delays else np.nan,
        "missed": missed / len(delays) if delays else np.nan,
    }


def plot(results: common.Results, names: dict[str, str], path: Path) -> None:
    """Gain against share of slots tuned: the mean of the shifted worlds, and each."""
    figure, axes = plt.subplots(figsize=(8, 5), constrained_layout=True)
    for world in (*SHIFTED, None):
        share, gain, half = [], [], []
        for name in names:
            worlds = SHIFTED if world is None else (world,)
            share.append(100 * np.mean([common.mean(results[w], name, "tuned") for w in worlds]))
            middle, width = common.interval(common.over_worlds(results, name, BEST, worlds=worlds))
            gain.append(middle)
            half.append(np.nan_to_num(width))
        style: dict[str, Any] = {"lw": 2.5, "color": "black"} if world is None else {"lw": 1, "alpha": 0.8}
        axes.errorbar(
            share, gain, half, marker="o", ms=4, capsize=2, label=world or "mean of the shifted", **style
        )
    axes.set_xlabel("slots tuned, %  (0: never, 100: always)")
    axes.set_xscale("symlog", linthresh=1)
    axes.set_xticks([0, 1, 2, 5, 10, 20, 30, 50, 100], [0, 1, 2, 5, 10, 20, 30, 50, 100])
    axes.axvline(30, color="0.6", ls=":", lw=1)
    axes.set_ylabel("goodput over the best single OLLA, %")
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def delay(of_seeds: list[float]) -> str:
    """Median over seeds of a quantile of the delays; empty where that many shifts were not answered."""
    middle = np.nanmedian(of_seeds)
    return f"{middle:.0f}" if np.isfinite(middle) else ""


def main() -> None:
    args = common.parser(__doc__).parse_args()
    page = common.page(args, "trigger")
    size, seeds = common.size_and_seeds(args.short, TEST_SEEDS[:4])
    swept = {f"on {on:g}": {"trigger": {"on": on}} for on in THRESHOLDS}
    names = {"never": "never"} | {name: name for name in reversed(swept)} | {"always": "always"}
    adapters = {
        BEST: (peer, {"kind": BatchOlla} | chosen("OLLA")),
        "never": (common.light_tune, {"tuned": False}),
        **{name: (common.light_tune, settings) for name, settings in swept.items()},
        "always": (common.light_tune, {"trigger": {"always": True}}),
        NO_WAY_BACK: (common.light_tune, {"guards": {"margin": 1e9}}),
    }
    results = common.measure(adapters, seeds, size, title="thresholds x worlds", figures_of=figures)
    picture = common.plot_beside(page, "curve.png")
    plot(results, names, picture)
    always = common.interval(common.over_worlds(results, "always", BEST))[0]
    rows = []
    for name in (*names, NO_WAY_BACK):
        gain = common.over_worlds(results, name, BEST)
        shares = [100 * common.mean(results[w], name, "tuned") for w in SHIFTED]
        default = name == f"on {TriggerPolicy().on:g}"
        rows.append(
            [
                f"**{name}** (default)" if default else name,
                common.with_interval(gain),
                f"{100 * common.interval(gain)[0] / always:.0f}",
                f"{np.mean(shares):.1f} ({max(shares):.1f})",
                f"{100 * common.mean(results['nominal'], name, 'tuned'):.1f}",
                common.with_interval(common.over_worlds(results, name, "never", "window_error"), 0),
                common.with_interval(common.over_worlds(results, name, "never", "near_error")),
                f"{common.mean(results['nominal'], name, 'alarms'):.2f}" if name.startswith("on") else "",
            ]
        )
    default = f"on {TriggerPolicy().on:g}"
    delays = [
        [
            world,
            *(
                delay([run[default][figure] for run in results[world]])
                for figure in ("delay_median", "delay_p90")
            ),
            f"{100 * np.nanmean([run[default]['missed'] for run in results[world]]):.0f}",
        ]
        for world in SHIFTED
    ]
    policy = TriggerPolicy()
    lines = [
        "# The trigger",
        "",
        f"{size.links} links of {size.slots} slots, seeds {seeds[0]} to {seeds[-1]} (test). The threshold",
        f"in peace is swept (nats of evidence; a new link begins at {policy.again:g}, each firing brings it",
        f"nearer to that, and it returns over {policy.memory:g} blocks). A slot in which a link",
        "goes back to earlier weights counts as tuned. Written by `bench/trigger.py`.",
        "",
        *common.table(
            (
                "threshold", "goodput over best single OLLA, shifted, %", "of always on, %",
                "slots tuned, shifted (most), %", "nominal, %", "prediction error as a rate over never, %",
                "near the best MCS, %",
                "false alarms per 1000 nominal slots",
            ),
            rows,
        ),
        "",
        f"![Gain against share of slots tuned](trigger/{picture.name})",
        "",
        "## Detection delay at the default",
        "",
        "Slots from a shift to the first step, for links that were not tuned in the 50 slots before it. A",
        "shift that leaves a link's predictions right needs no step: a shift is *not answered* where none",
        "came before the next, and a delay is left out where so many were not answered.",
        "",
        *common.table(("world", "median", "90 %", "not answered, %"), delays),
    ]  # fmt: skip
    common.write_page(page, "bench/trigger.py", lines)


if __name__ == "__main__":
    main()
