#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each part earns: features, guards, probing; and ceilings. Test seeds, some fifteen minutes.

Features are taken away before training: each row is a predictor of its own, trained on the same samples
(fewer than the shipped one's, so that there is time for all of them) and run un-tuned. Guards and probing
are switched off one by one in the tuner and selector as shipped; the guards also with learning rates ten
times too high, which is what they are there for. Ceilings are predictors trained on a world's own channels
instead of the wide family, and the best calibration in hindsight (`hindsight.py`).
"""

import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from gnuradio.lighttune.core import features as ft
from gnuradio.lighttune.core.checkpoint import save_predictor
from gnuradio.lighttune.core.mcs import McsTable
from gnuradio.lighttune.core.rules import LocalHead
from gnuradio.lighttune.sim import WORLDS, training_batch
from gnuradio.lighttune.sim.dataset import rollout
from gnuradio.lighttune.sim.family import FAMILY
from gnuradio.lighttune.sim.peers import BatchOlla

import common
import hindsight
from peers import chosen
from protocol import PART, SHIFTED, TEST_SEEDS, TRAINING_SEED
from worlds import BEST, peer

NAMES = list(ft.NAMES)
ERRORS = ("error", "near_error", "window_error", "near_window_error")
GROUPS = {
    "reports before the last": [n for n in NAMES if n.startswith("lag_")],
    "running mean": ["mean_db"],
    "spread and structure function": [n for n in NAMES if "spread" in n or "structure" in n],
    "structure function": [n for n in NAMES if "structure" in n],
    "age of the report": ["log_age_slots"],
    "ACK/NACK surprise": ["surprise_fast", "surprise_slow"],
    "everything but the last report": [n for n in NAMES if n not in ("snr_db", "length_logit")],
}
"""What is taken away. The block length is not among them: it enters by the closed form, not by the
network."""

OFF = 1e9  # a guard with this bound never acts
GUARDS = {
    "as shipped": {},
    "no projection": {
        "guards": {"radius": OFF, "max_offset_db": OFF, "max_order_db": OFF, "max_gamma": 10.0},
    },
    "no bound on the step": {"guards": {"max_step": OFF, "max_step_db": OFF}},
    "no rollback": {"guards": {"margin": OFF}},
    "no fallback to OLLA": {"fallback": False},
    "none of them": {
        "guards": {"radius": OFF, "max_offset_db": OFF, "max_order_db": OFF, "max_gamma": 10.0,
                   "max_step": OFF, "max_step_db": OFF, "margin": OFF},
        "fallback": False,
    },
}  # fmt: skip
BUDGETS = (0.0, 0.005, 0.01, 0.02, 0.05)


def small_model(path: Path, without: list[str], world: str | None, quick: bool) -> None:
    """Train a predictor on fewer links than the shipped one, without some features or on a world's own
    channels."""
    import torch
    from gnuradio.lighttune.core.training import Samples, TrainingPlan, train

    torch.set_num_threads(1)
    table, rng = McsTable.amc(), np.random.default_rng(TRAINING_SEED)
    recipe = FAMILY if world is None else WORLDS[world]
    columns = [NAMES.index(name) for name in without]
    predictor, parts = None, []
    for _ in range(2):
        for _ in range(1 if quick else 3):
            drawn = rollout(training_batch(rng, 20 if quick else 250, 256, table, recipe), rng, predictor)
            drawn[0][:, columns] = 0.0
            parts.append(drawn)
        samples = Samples(*(np.concatenate(column) for column in zip(*parts, strict=True)))
        plan = TrainingPlan(encoder_epochs=1 if quick else 8, layer_epochs=1 if quick else 4)
        predictor = train(table, samples, TRAINING_SEED, plan)
        # What was taken away must stay away on the air: an infinite scale makes it 0 for the network.
        scale, mean = predictor.encoder.scale.copy(), predictor.encoder.mean.copy()
        away = [c - ft.SHAPE.start for c in columns]
        scale[away], mean[away] = OFF, 0.0
        predictor = replace(predictor, encoder=replace(predictor.encoder, scale=scale, mean=mean))
    save_predictor(predictor, path)


def gain_row(label: str, results: common.Results, name: str, extra: tuple[str, ...] = ()) -> list[str]:
    """Gain over the best single OLLA: shifted and each world; then some figures' means over the shifted
    worlds."""
    cells = [
        label,
        common.with_interval(common.over_worlds(results, name, BEST)),
        *(f"{common.interval(common.relative(results[w], name, BEST))[0]:+.1f}" for w in results),
    ]
    cells += [f"{np.mean([common.mean(results[w], name, f) for w in SHIFTED]):.3f}" for f in extra]
    return cells


def hindsight_row(world: str, figures: common.Figures) -> list[str]:
    """What the best calibration in hindsight takes off each error of the un-tuned predictor, in percent."""
    return [world, *(f"{100 * (figures[f'hindsight_{name}'] / figures[name] - 1):+.1f}" for name in ERRORS)]


def main() -> None:
    args = common.parser(__doc__).parse_args()
    page = common.page(args, "ablation")
    size, seeds = common.size_and_seeds(args.short, TEST_SEEDS[:3], PART)
    reference = {BEST: (peer, {"kind": BatchOlla} | chosen("OLLA"))}
    un_tuned = {"un-tuned": (common.light_tune, {"tuned": False})}
    head = ("", "shifted", *common.ALL_WORLDS)
    with tempfile.TemporaryDirectory() as folder:
        wanted = {"all features": ([], None)} | {f"without {g}": (names, None) for g, names in GROUPS.items()}
        wanted |= {world: ([], world) for world in common.ALL_WORLDS}
        paths = {label: Path(folder) / f"{i}.safetensors" for i, label in enumerate(wanted)}
        print(f"training {len(wanted)} small predictors")
        jobs = [
            common.workers().submit(small_model, paths[label], *what, args.short)
            for label, what in wanted.items()
        ]
        for job in jobs:
            job.result()
        features = [
            gain_row(
                label,
                common.measure(reference | un_tuned, seeds, size, title=label, model=paths[label]),
                "un-tuned",
                ("error", "near_error"),
            )
            for label in list(wanted)[: 1 + len(GROUPS)]
        ]
        ceilings = []
        for world in common.ALL_WORLDS:
            own = common.measure(un_tuned, seeds, size, (world,), f"trained on {world}", paths[world])[world]
            tuned = {"un-tuned": un_tuned["un-tuned"], "tuned": (common.light_tune, {})}
            ours = common.measure(tuned, seeds, size, (world,), f"{world}: as shipped")[world]
            for label, runs, name in (
                ("trained on this world, un-tuned", own, "un-tuned"),
                ("shipped, un-tuned", ours, "un-tuned"),
                ("shipped, tuned with the trigger", ours, "tuned"),
            ):
                cells = (f"{common.mean(runs, name, figure):.3f}" for figure in ("goodput", *ERRORS))
                ceilings.append([world, label, *cells])

        known = {w: common.workers().submit(hindsight.ceilings, w, seeds, size) for w in common.ALL_WORLDS}
        in_hindsight = [hindsight_row(world, job.result()) for world, job in known.items()]

    rates = {"as shipped": LocalHead(), "ten times too high": LocalHead(1.0, 1.0, 0.1, 0.3)}
    guards = []
    for label, rule in rates.items():
        adapters = {
            name: (
                common.light_tune,
                {"rule": partial(replace, rule), "trigger": {"always": True}} | settings,
            )
            for name, settings in GUARDS.items()
        }
        results = common.measure(reference | adapters, seeds, size, title=f"guards, rates {label}")
        guards += [gain_row(f"{label}: {name}", results, name, ("error", "near_error")) for name in adapters]
    adapters = {
        f"{100 * budget:g} %": (common.light_tune, {"policy": {"probe_budget": budget}}) for budget in BUDGETS
    }
    results = common.measure(reference | adapters, seeds, size, title="probing")
    probing = []
    for name in adapters:
        nominal = common.with_interval(common.relative(results["nominal"], name, "0 %"), 2)
        probed = 100 * common.mean(results["nominal"], name, "probed")
        row = gain_row(name, results, name, ("near_error",))
        probing.append([row[0], nominal, f"{probed:.2f}", *row[1:]])

    lines = [
        "# What each part earns",
        "",
        f"{size.links} links of {size.slots} slots in each world of each of the seeds {seeds[0]} to",
        f"{seeds[-1]} (test). Goodput over the best single OLLA in percent (mean of the shifted worlds with",
        "its 95 % interval over seeds, then each world); prediction errors (slot-wise) are means of the",
        "shifted worlds. Written by `bench/ablation.py`.",
        "",
        "## Features",
        "",
        "Predictors trained without them, on fewer samples than the shipped one; all un-tuned.",
        "",
        *common.table((*head, "error: sent", "near the best"), features),
        "",
        "## Guards",
        "",
        "Tuned on every block, so that there is something to guard against; with the rates as shipped, and",
        "ten times too high.",
        "",
        *common.table((*head, "error: sent", "near the best"), guards),
        "",
        "## Probing",
        "",
        "*Cost*: goodput in the nominal world over that without probing. *Probes*: share of its slots.",
        "",
        *common.table(("budget", "cost, %", "probes, %", *head[1:], "error: near the best"), probing),
        "",
        "## Ceilings",
        "",
        "The same network trained on a world's own channels, shifts included: what is left of the",
        "prediction error is the fades that no report foretells (slot-wise), or drift that only the link",
        "itself shows (as a rate).",
        "",
        *common.table(
            (
                "world", "predictor", "goodput", "error: sent", "near the best", "sent, as a rate",
                "near, as a rate",
            ),
            ceilings,
        ),
        "",
        "The best *calibration in hindsight*: what it takes off the un-tuned predictor's errors, in percent,",
        "where gamma, offset and the orders' offsets of each link are fitted to the true BLERs of all the",
        "MCS near the best, once for each stretch between two shifts. No tuner of these weights, which sees",
        "one outcome of one MCS per slot, can be expected to do better near the best MCS; at the MCS that",
        "was sent it can, because it also follows what changes within a stretch, and sends other MCS.",
        "",
        *common.table(
            ("world", "error: sent", "near the best", "sent, as a rate", "near, as a rate"), in_hindsight
        ),
    ]  # fmt: skip
    common.write_page(page, "bench/ablation.py", lines)


if __name__ == "__main__":
    main()
