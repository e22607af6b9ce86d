#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""How to train a predictor on a testbed's own logs: further from the shipped one, or from scratch?

A testbed is a channel family whose conditions stay: four links for 2,000 slots make a session, sent by
LightTune as shipped. The candidates learn from one or six sessions (another one chooses the epoch), and are
judged twice: on the blocks of two held-out sessions, and, which a log cannot say, by the goodput that they
reach when they decide themselves on fresh channels. Some five minutes.
"""

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from gnuradio.lighttune.baselines import Olla
from gnuradio.lighttune.core.adapter import LightTune, Selector
from gnuradio.lighttune.core.checkpoint import load_model
from gnuradio.lighttune.core.messages import Decision
from gnuradio.lighttune.core.predictor import Predictor
from gnuradio.lighttune.core.retraining import RetrainingPlan, retrain
from gnuradio.lighttune.core.training import Samples, TrainingPlan, train
from gnuradio.lighttune.core.tuner import Tuner
from gnuradio.lighttune.records.calibration import scores
from gnuradio.lighttune.sim.conditions import Conditions, Recipe
from gnuradio.lighttune.sim.link import run
from gnuradio.lighttune.sim.realise import World, realise
from rich.progress import track

SHIPPED = load_model("amc")
PLAIN = Conditions()
BEDS = {
    "as the training family": PLAIN,
    "reports 3 dB too high": replace(PLAIN, report_bias_db=3.0),
    "impaired receiver, reports 2 dB too high": replace(
        PLAIN, evm=0.1, floor=0.02, slope_factor=3.0, report_bias_db=2.0
    ),
}
LINKS = 4
FIRST_SEED = 610_000  # beyond those of training, validation and test
HOT = RetrainingPlan(encoder_rate=1e-3, layer_rate=3e-3)
WAYS: dict[str, Callable[[Samples, Samples], Predictor]] = {
    "further": lambda samples, validation: retrain(SHIPPED, samples, validation, 1),
    "further, rates three times higher": lambda samples, validation: retrain(
        SHIPPED, samples, validation, 1, HOT
    ),
    "from scratch": lambda samples, validation: train(
        SHIPPED.table, joined([samples, validation]), 1, TrainingPlan(batch=512)
    ),
}


def world(bed: str, seed: int, slots: int) -> World:
    return realise(bed, Recipe(((0.0, BEDS[bed]),)), SHIPPED.table, seed, LINKS, slots)


def adapter(predictor: Predictor, tuned: bool) -> LightTune:
    tuner = Tuner(predictor, max_links=1) if tuned else None
    return LightTune(Selector(predictor, Olla(predictor.table)), tuner)


def session(bed: str, seed: int, slots: int) -> Samples:
    """What a log of the shipped predictor, tuned on the air, holds of every block."""
    decided: list[tuple[int, Decision]] = []

    class Noted(LightTune):
        def select(self, bits: int | None = None, seq: int | None = None) -> Decision:
            decision = super().select(bits, seq)
            decided.append((self.link, decision))
            return decision

    def make(link: int) -> LightTune:
        plain = adapter(SHIPPED, True)
        noted = Noted(plain.selector, plain.tuner)
        noted.link = link
        return noted

    trace = run(make, world(bed, seed, slots))
    some = [(link, d) for link, d in decided if d.features.size]
    nack = [float(not trace.ack[link, d.seq]) for link, d in some]
    return Samples(
        np.array([d.features for _, d in some]), np.array([d.mcs for _, d in some]), np.array(nack)
    )


def joined(parts: list[Samples]) -> Samples:
    return Samples(*(np.concatenate([getattr(p, n) for p in parts]) for n in ("features", "mcs", "nack")))


def judged(predictor: Predictor, samples: Samples) -> dict[str, float]:
    offline, parts = predictor.weights(), np.array_split(np.arange(len(samples)), 32)
    bler = [predictor.bler(offline, samples.features[r], samples.mcs[r, None])[:, 0] for r in parts]
    return scores(np.concatenate(bler), samples.nack > 0.5)


def goodput(predictor: Predictor, bed: str, tuned: bool, slots: int) -> float:
    """Bits per symbol of two fresh sessions that this predictor decides."""
    seeds = (FIRST_SEED + 900, FIRST_SEED + 901)
    traces = [run(lambda link: adapter(predictor, tuned), world(bed, seed, slots)) for seed in seeds]
    return float(np.mean([trace.goodput.mean() for trace in traces]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="in miniature, to see that it runs")
    parser.add_argument("--out", type=Path, default=Path("docs/results"), help="(default: %(default)s)")
    args = parser.parse_args()
    slots = 250 if args.short else 2000
    lines = [
        "<!-- written by `bench/retraining.py` -->",
        "# Training on a testbed's own logs",
        "",
        f"A session is {LINKS} links for {slots} blocks each, sent by LightTune as shipped. Log loss (nats)"
        " and ECE are those of the held-out sessions' blocks; goodput (bits per symbol) is what the predictor"
        " reaches when it decides on fresh channels of the testbed, as trained and tuned on the air.",
        "",
        "| testbed | sessions | training | log loss | ECE | goodput, untuned | goodput, tuned |",
        "|---|---|---|---|---|---|---|",
    ]
    for bed in track(BEDS, description="testbeds"):
        logs = [session(bed, FIRST_SEED + k, slots) for k in range(9)]
        validation, test = logs[6], joined(logs[7:])

        def row(sessions: int, way: str, predictor: Predictor, bed: str = bed, test: Samples = test) -> str:
            of = judged(predictor, test)
            reached = [goodput(predictor, bed, tuned, slots) for tuned in (False, True)]
            figures = (of["log_loss"], of["ece"], *reached)
            return f"| {bed} | {sessions} | {way} | " + " | ".join(f"{f:.3f}" for f in figures) + " |"

        lines.append(row(0, "none: as shipped", SHIPPED))
        for sessions in (1, 6):
            samples = joined(logs[:sessions])
            lines += [row(sessions, way, make(samples, validation)) for way, make in WAYS.items()]
    lines += [
        "",
        "`lighttune train --from` trains further. A predictor from scratch has at best the same goodput, also"
        " where its log loss of what was sent comes out lower: a log says nothing of MCS that were not sent.",
        "",
    ]
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "retraining.md").write_text("\n".join(lines))


if __name__ == "__main__":
    main()
