#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every link adapter through every simulated world, on a validation seed.

All adapters face the same channels and the same ACK draws. Intervals are 95 % of a paired bootstrap over
links. These are validation figures: defaults of the tuner and the trigger were chosen by looking at such
worlds. Takes about ten minutes.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from gnuradio.lighttune.baselines import Genie, Olla, Salad, TableOnly, ThompsonSampling, TrendOlla
from gnuradio.lighttune.core.adapter import LightTune, Selector
from gnuradio.lighttune.core.checkpoint import load_model
from gnuradio.lighttune.core.messages import LinkAdapter
from gnuradio.lighttune.core.predictor import Predictor
from gnuradio.lighttune.core.trigger import TriggerPolicy
from gnuradio.lighttune.core.tuner import Tuner
from gnuradio.lighttune.sim import WORLDS, Trace, make_world, run
from rich.progress import Progress

SEED = 202  # validation; no test seed has been used for anything yet
REFERENCE = "OLLA"


def adapters(predictor: Predictor) -> dict[str, Callable[[int], LinkAdapter]]:
    """What is compared, by name; each makes an adapter for a link."""
    table = predictor.table

    def ours(tuner: Callable[[], Tuner | None]) -> Callable[[int], LinkAdapter]:
        return lambda link: LightTune(Selector(predictor, Olla(table)), tuner())

    def tuned(rule: str, always: bool = False) -> Callable[[], Tuner]:
        return lambda: Tuner(predictor, rule, TriggerPolicy(always=always), max_links=1)

    return {
        "table": lambda link: TableOnly(table),
        REFERENCE: lambda link: Olla(table),
        "trend OLLA": lambda link: TrendOlla(table),
        "SALAD": lambda link: Salad(table, np.random.default_rng(link)),
        "Thompson": lambda link: ThompsonSampling(table, np.random.default_rng(link)),
        "LightTune, un-tuned": ours(lambda: None),
        "LightTune": ours(tuned("local_head")),
        "LightTune, always on": ours(tuned("local_head", always=True)),
        "LightTune, forward-forward": ours(tuned("forward_forward")),
        "genie": lambda link: Genie(table),
    }


def gain_interval(goodput: np.ndarray, reference: np.ndarray) -> tuple[float, float, float]:
    """Gain in goodput over the reference in percent, with its 95 % interval; one row for each link."""
    rng = np.random.default_rng(0)
    picks = rng.integers(0, len(goodput), (2000, len(goodput)))
    a, b = goodput.mean(axis=1), reference.mean(axis=1)
    low, high = np.percentile(100 * (a[picks].mean(axis=1) / b[picks].mean(axis=1) - 1), (2.5, 97.5))
    return float(100 * (a.mean() / b.mean() - 1)), float(low), float(high)


def row(name: str, trace: Trace, reference: Trace) -> str:
    """A line of a world's table."""
    gain, low, high = gain_interval(trace.goodput, reference.goodput)
    steps = (np.diff(trace.version, axis=1) > 0) & (trace.version[:, 1:] > 0)  # -1 to 0 is the first report
    tuned = steps.mean() if "LightTune" in name else np.nan
    error = np.abs(trace.bler - trace.true_bler).mean()
    cells = (
        f"{trace.goodput.mean():.3f}",
        "" if name == REFERENCE else f"{gain:+.1f} ({low:+.1f} to {high:+.1f})",
        f"{1 - trace.ack.mean():.3f}",
        "" if name == "genie" else f"{error:.3f}",
        f"{100 * tuned:.0f}" if np.isfinite(tuned) else "",
    )
    return f"| {name} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--links", type=int, default=10, help="default: %(default)s")
    parser.add_argument("--slots", type=int, default=1500, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=SEED, help="of the worlds (default: %(default)s)")
    parser.add_argument(
        "--out", type=Path, default=Path("docs/results/worlds.md"), help="default: %(default)s"
    )
    args = parser.parse_args()
    predictor = load_model("amc")
    compared = adapters(predictor)
    command = f"bench/worlds.py --links {args.links} --slots {args.slots} --seed {args.seed}"
    lines = [
        f"<!-- written by `{command}`; do not edit -->",
        "# Simulated worlds, validation seed",
        "",
        f"{args.links} links of {args.slots} slots in each world, MCS of the reference modem.",
        f"Written by `{command}`.",
        "",
        "Goodput in information bits per symbol, overhead counted. Gain over OLLA with the 95 %",
        "interval of a paired bootstrap over links. Prediction error: mean of |predicted - true| BLER",
        "at the MCS that was sent. Tuned: share of slots that were tuned on. All peers have their",
        "defaults, not tuned to these worlds: OLLA's step is 0.5 dB and its target 0.1, and some",
        "links are too weak for any MCS to reach that target. Defaults of the tuner and the trigger",
        "were chosen by looking at worlds of other seeds; these are not test figures.",
    ]
    with Progress() as bar:
        task = bar.add_task("worlds", total=len(WORLDS) * len(compared))
        for world_name in WORLDS:
            world = make_world(world_name, predictor.table, args.seed, args.links, args.slots)
            traces = {}
            for name, make in compared.items():
                bar.update(task, description=f"{world_name}: {name}")
                traces[name] = run(make, world)
                bar.advance(task)
            head = "| adapter | goodput | gain over OLLA, % | residual BLER | prediction error | tuned, % |"
            lines += ["", f"## {world_name}", "", head, "|---|---:|---:|---:|---:|---:|"]
            lines += [row(name, trace, traces[REFERENCE]) for name, trace in traces.items()]
    args.out.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
