#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every link adapter through every simulated world, on the test seeds.

All adapters face the same channels and the same ACK draws. Peers have the settings that `bench/peers.py`
chose on the validation seeds, LightTune those of `bench/search.py`; nothing was chosen by looking at these
figures. Intervals are 95 % over seeds. Some fifteen minutes.
"""

from functools import partial
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from gnuradio.lighttune.core.predictor import Predictor
from gnuradio.lighttune.core.rules import ForwardForward, Spsa
from gnuradio.lighttune.sim.batch import BatchAdapter
from gnuradio.lighttune.sim.peers import BatchGenie, BatchOlla, BatchSalad, BatchThompson, BatchTrendOlla

import common
from backprop import BackpropTuner
from peers import chosen
from protocol import SHIFTED, TEST_SEEDS

BEST = "OLLA, best single"
TREND = "trend OLLA"
MATCHED = "OLLA at 10 %"
ALWAYS = {"always": True}


def peer(predictor: Predictor, n: int, kind: type, seed: int | None = None, **settings: Any) -> BatchAdapter:
    """A peer of the predictor's table; ``seed`` for those that draw."""
    drawn = {} if seed is None else {"rng": np.random.default_rng(seed)}
    return kind(predictor.table, n, **drawn, **settings)


def genie(predictor: Predictor, n: int) -> BatchAdapter:
    """The bound."""
    return BatchGenie(predictor.table)


def backprop(predictor: Predictor, n: int, optimizer: str) -> BatchAdapter:
    """LightTune tuned by backpropagation on every block."""
    import torch

    torch.set_num_threads(1)
    rule = partial(BackpropTuner, optimizer, n_links=n)
    return common.light_tune(predictor, n, rule=rule, trigger=ALWAYS)


def adapters() -> dict[str, tuple[common.Build, dict[str, Any]]]:
    """What is compared, by name."""
    olla = {"kind": BatchOlla}
    per_world = {world: olla | chosen("OLLA", world) for world in common.ALL_WORLDS}
    target = {"objective": "target", "bler_target": 0.1}
    return {
        "OLLA, defaults": (peer, olla),
        BEST: (peer, olla | chosen("OLLA")),
        "OLLA, best of each world": (peer, {"per_world": per_world}),
        TREND: (peer, {"kind": BatchTrendOlla} | chosen("trend OLLA")),
        "SALAD": (peer, {"kind": BatchSalad, "seed": 1} | chosen("SALAD")),
        "Thompson sampling": (peer, {"kind": BatchThompson, "seed": 1} | chosen("Thompson")),
        "LightTune, un-tuned": (common.light_tune, {"tuned": False}),
        "LightTune": (common.light_tune, {}),
        "LightTune, always on": (common.light_tune, {"trigger": ALWAYS}),
        "forward-forward, always on": (common.light_tune, {"rule": ForwardForward, "trigger": ALWAYS}),
        "SPSA, always on": (common.light_tune, {"rule": Spsa, "trigger": ALWAYS}),
        "backprop SGD, always on": (backprop, {"optimizer": "sgd"}),
        "backprop Adam, always on": (backprop, {"optimizer": "adam"}),
        MATCHED: (peer, olla | chosen("OLLA", matched=True)),
        "LightTune at 10 %": (common.light_tune, {"policy": target}),
        "genie": (genie, {}),
    }  # fmt: skip


def world_rows(runs: list[dict[str, common.Figures]]) -> list[list[str]]:
    """A line for each adapter of one world."""
    lines = []
    for name in runs[0]:
        ours = "LightTune" in name or "always" in name
        cells = [
            f"{common.mean(runs, name, 'goodput'):.3f}",
            "" if name == BEST else common.with_interval(common.relative(runs, name, BEST)),
            f"{common.mean(runs, name, 'residual_bler'):.3f}",
        ]
        for figure in ("error", "window_error", "near_error", "near_window_error"):
            known = name != "genie" and not (figure.startswith("near") and not ours)
            cells.append(f"{common.mean(runs, name, figure):.3f}" if known else "")
        cells.append(f"{100 * common.mean(runs, name, 'tuned'):.1f}" if ours else "")
        lines.append([name, *cells])
    return lines


def summary_rows(results: common.Results) -> list[list[str]]:
    """Each adapter's gain over the best single OLLA, world by world, and the mean of the shifted ones."""
    names = [name for name in results["nominal"][0] if name != BEST]
    return [
        [
            name,
            common.with_interval(common.over_worlds(results, name, BEST)),
            *(common.with_interval(common.relative(results[w], name, BEST)) for w in common.ALL_WORLDS),
        ]
        for name in names
    ]


def error_rows(results: common.Results, name: str) -> list[list[str]]:
    """Change of the prediction error against the un-tuned predictor, world by world."""
    lines = []
    for world in (*SHIFTED, "mean of the shifted", "nominal"):
        cells = []
        for figure in ("error", "near_error", "window_error", "near_window_error"):
            if world in results:
                values = common.relative(results[world], name, "LightTune, un-tuned", figure)
            else:
                values = common.over_worlds(results, name, "LightTune, un-tuned", figure)
            cells.append(common.with_interval(values))
        lines.append([world, *cells])
    return lines


def goals(results: common.Results) -> list[list[str]]:
    """The project's own bars, and what was measured."""
    ours, always = "LightTune", "LightTune, always on"
    gain = common.over_worlds(results, ours, BEST)
    kept = [100 * a / b for a, b in zip(gain, common.over_worlds(results, always, BEST), strict=True)]
    gap = [
        np.mean(
            [
                (run[ours]["goodput"] - run[BEST]["goodput"])
                / (run["genie"]["goodput"] - run[BEST]["goodput"])
                for run in seed_runs
            ]
        )
        * 100
        for seed_runs in zip(*(results[w] for w in SHIFTED), strict=True)
    ]
    worst = {
        figure: max((common.interval(common.relative(results[w], ours, "LightTune, un-tuned", figure))[0], w)
                    for w in common.ALL_WORLDS)
        for figure in ("error", "window_error")
    }  # fmt: skip
    lowest = min(
        (common.interval(common.relative(results[w], ours, "LightTune, un-tuned"))[0], w)
        for w in common.ALL_WORLDS
    )
    shares = {w: 100 * common.mean(results[w], ours, "tuned") for w in common.ALL_WORLDS}
    most = max((shares[w], w) for w in SHIFTED)
    un_tuned = "LightTune, un-tuned"
    return [
        ["goodput over the best single OLLA, mean of the shifted worlds, %", "+6 (goal +10)",
         common.with_interval(gain)],
        ["share of the genie's lead over it, %", "(goal 60)", common.with_interval(gap, 0)],
        ["goodput over the trend-extrapolating OLLA, %", "interval above 0",
         common.with_interval(common.over_worlds(results, ours, TREND))],
        ["at a 10 % BLER target, goodput over OLLA, %", "+3 (goal +6)",
         common.with_interval(common.over_worlds(results, "LightTune at 10 %", MATCHED))],
        ["prediction error at the MCS that was sent, tuned over un-tuned, %", "-35 (goal -48.8)",
         common.with_interval(common.over_worlds(results, ours, un_tuned, "error"))],
        ["the same from the first shift on, %", "",
         common.with_interval(common.over_worlds(results, ours, un_tuned, "shifted_error"))],
        ["the same as a rate over 100 slots, %", "",
         common.with_interval(common.over_worlds(results, ours, un_tuned, "window_error"))],
        ["within 3 MCS of the best, %", "-35 (goal -48.8)",
         common.with_interval(common.over_worlds(results, ours, un_tuned, "near_error"))],
        ["the same from the first shift on, %", "",
         common.with_interval(common.over_worlds(results, ours, un_tuned, "shifted_near_error"))],
        ["the same as a rate over 100 slots, %", "",
         common.with_interval(common.over_worlds(results, ours, un_tuned, "near_window_error"))],
        ["the trigger keeps of the always-on gain over the best single OLLA, %", "90",
         common.with_interval(kept, 0)],
        ["slots tuned in the shifted world that asks for most, %", "at most 30",
         f"{most[0]:.1f} ({most[1]})"],
        ["slots tuned in the nominal world, %", "at most 3", f"{shares['nominal']:.1f}"],
        ["goodput, tuned over un-tuned, in the worst world, %", "at least -2",
         f"{lowest[0]:+.1f} ({lowest[1]})"],
        ["prediction error (MCS that was sent), tuned over un-tuned, in the worst world, %", "at most +2",
         f"{worst['error'][0]:+.1f} ({worst['error'][1]}); as a rate {worst['window_error'][0]:+.1f} "
         f"({worst['window_error'][1]})"],
    ]  # fmt: skip


def plot(results: common.Results, path: Path) -> None:
    """Gains with their intervals, and prediction errors, world by world."""
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(10, 8), constrained_layout=True)
    shown = (
        TREND,
        "SALAD",
        "Thompson sampling",
        "LightTune, un-tuned",
        "LightTune",
        "LightTune, always on",
        "genie",
    )
    colours = ("0.75", "0.6", "0.45", "tab:orange", "tab:blue", "tab:cyan", "tab:green")
    place = np.arange(len(common.ALL_WORLDS))
    for i, (name, colour) in enumerate(zip(shown, colours, strict=True)):
        values = [common.interval(common.relative(results[w], name, BEST)) for w in common.ALL_WORLDS]
        middle, half = np.array(values).T
        top.bar(place + (i - 3) * 0.12, middle, 0.12, yerr=np.nan_to_num(half), label=name, color=colour,
                error_kw={"lw": 0.8})  # fmt: skip
    top.axhline(0, color="black", lw=0.8)
    top.set_ylabel("goodput over the best single OLLA, %")
    top.set_xticks(place, common.ALL_WORLDS)
    top.legend(ncols=4, fontsize="small", loc="upper left")
    top.set_ylim(top=1.3 * top.get_ylim()[1])
    styles = (
        ("window_error", "MCS that was sent, as a rate over 100 slots", -0.3),
        ("near_window_error", "within 3 MCS of the best, as a rate", 0.1),
    )
    for figure_name, label, start in styles:
        for i, (name, colour) in enumerate(zip(shown[3:6], colours[3:6], strict=True)):
            heights = [common.mean(results[w], name, figure_name) for w in common.ALL_WORLDS]
            hatch = "" if start < 0 else "//"
            bottom.bar(place + start + i * 0.12, heights, 0.12, color=colour, hatch=hatch, edgecolor="white",
                       label=f"{name}: {label}")  # fmt: skip
    bottom.set_ylabel("error of the predicted BLER")
    bottom.set_xticks(place, common.ALL_WORLDS)
    bottom.legend(fontsize="small", ncols=2, loc="upper left")
    bottom.set_ylim(top=1.45 * bottom.get_ylim()[1])
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    args = common.parser(__doc__).parse_args()
    page = common.page(args, "worlds")
    size, seeds = common.size_and_seeds(args.short, TEST_SEEDS)
    results = common.measure(adapters(), seeds, size, title="adapters x worlds")
    picture = common.plot_beside(page, "gains.png")
    plot(results, picture)
    errors = ("MCS that was sent", "within 3 of the best", "sent, as a rate", "near, as a rate")
    lines = [
        "# Simulated worlds, test seeds",
        "",
        f"{size.links} links of {size.slots} slots in each world of each of the seeds {seeds[0]} to",
        f"{seeds[-1]}, MCS of the reference modem with its measured curves. Every adapter faces the same",
        "channels and the same ACK draws. Settings were chosen on the validation seeds (`bench/peers.py`,",
        "`bench/search.py`). Intervals: 95 % over seeds (Student's t). Written by `bench/worlds.py`.",
        "",
        "LightTune (arXiv 2604.12406) is known to us by its abstract; its figures (up to 48.8 % lower BLER",
        "prediction error, up to 15.5 % more throughput than a table-based OLLA) were measured on other",
        "channels. These are ours.",
        "",
        "## What was asked, and what was measured",
        "",
        *common.table(("figure", "asked", "measured"), goals(results)),
        "",
        "A slot's true BLER is all but 0 or 1 and depends on a fade that reports cannot foretell: most of",
        "the slot-wise prediction error is that, also of a predictor that was trained on the very world, and",
        "of the best calibration in hindsight ([ceilings](ablation.md#ceilings)). *As a rate*: mean over",
        "windows of 100 slots of |mean predicted - mean true BLER|, what a link would measure.",
        "",
        f"![Gains and prediction errors](worlds/{picture.name})",
        "",
        "## Goodput over the best single OLLA, %",
        "",
        *common.table(("adapter", "shifted", *common.ALL_WORLDS), summary_rows(results)),
        "",
        "## BLER prediction error, tuned with the trigger against un-tuned, %",
        "",
        *common.table(("world", *errors), error_rows(results, "LightTune")),
        "",
        "Always on:",
        "",
        *common.table(("world", *errors), error_rows(results, "LightTune, always on")),
    ]
    head = (
        "adapter", "goodput", "over best single OLLA, %", "residual BLER", "error: sent", "as a rate",
        "near the best", "as a rate", "tuned, %",
    )  # fmt: skip
    for world in common.ALL_WORLDS:
        lines += ["", f"## {world}", "", *common.table(head, world_rows(results[world]))]
    common.write_page(page, "bench/worlds.py", lines)


if __name__ == "__main__":
    main()
