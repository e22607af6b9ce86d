#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Searches the tuner's settings on the validation seeds: rates of every rule, then thresholds of the trigger.

Rates are compared always on, by the goodput gained over OLLA in the shifted worlds; gamma's is lower than
that alone would have it, so that in no world the error near the best MCS exceeds the un-tuned one's. Of the
trigger's thresholds those win that keep most of it within the budget of slots: 30 % in each shifted world,
3 % in the nominal one. The page says which settings won; the defaults in `core/rules.py` and
`core/trigger.py` are set by hand from it. Some twelve minutes.
"""

from functools import partial
from typing import Any

from gnuradio.lighttune.core.predictor import Predictor
from gnuradio.lighttune.core.rules import ForwardForward, LocalHead, Spsa
from gnuradio.lighttune.sim.batch import BatchAdapter
from gnuradio.lighttune.sim.peers import BatchOlla

import common
from protocol import PART, SHIFTED, VALIDATION_SEEDS

RATES: dict[str, tuple[Any, list[dict[str, float]]]] = {
    "local_head": (
        LocalHead,
        [
            {"offset_rate": offset, "layer_rate": layer}
            for offset in (0.05, 0.1, 0.35)
            for layer in (0.01, 0.03)
        ]
        + [{"gamma_rate": gamma} for gamma in (0.001, 0.01, 0.03)]
        + [{"order_rate": 0.03}, {"order_rate": 0.2}],
    ),
    "forward_forward": (
        ForwardForward,
        [
            {"offset_rate": offset, "layer_rate": layer}
            for offset in (0.1, 0.35)
            for layer in (0.001, 0.003, 0.01)
        ],
    ),
    "spsa": (
        Spsa,
        [
            {"offset_rate": offset, "order_rate": order, "layer_rate": layer}
            for offset, order in ((0.1, 0.03), (0.1, 0.1), (0.35, 0.1))
            for layer in (1e-5, 1e-4)
        ],
    ),
}
THRESHOLDS = [
    *({"rise": 0.0, "trial": 1.0, "on": on} for on in (7, 10, 14)),  # the same threshold for ever
    *({"on": on} for on in (12, 15, 20)),
    *({"again": again} for again in (1.5, 4.0)),
    *({"memory": memory} for memory in (300, 600, 1200)),
    *({"rise": rise} for rise in (0.25, 1.0)),
    *({"trial": trial} for trial in (20, 200)),
    *({"hold": hold} for hold in (12, 48)),
]


def olla(predictor: Predictor, n: int) -> BatchAdapter:
    """The reference: OLLA at its defaults."""
    return BatchOlla(predictor.table, n)


def text(settings: dict[str, float]) -> str:
    """``on 20, again 4``."""
    return ", ".join(f"{key.removesuffix('_rate')} {value:g}" for key, value in settings.items())


def rows(results: common.Results, names: dict[str, str]) -> list[list[str]]:
    """A line for each setting: gain in each world, shares, errors against the un-tuned predictor."""
    lines = []
    for name, label in names.items():
        gains = [common.relative(results[w], name, "OLLA") for w in common.ALL_WORLDS]
        errors = [
            common.interval(common.over_worlds(results, name, "un-tuned", figure))[0]
            for figure in ("error", "near_error", "window_error", "near_window_error")
        ]
        shares = [100 * common.mean(results[w], name, "tuned") for w in SHIFTED]
        lines.append(
            [
                label,
                f"{common.interval(common.over_worlds(results, name, 'OLLA'))[0]:+.2f}",
                *(f"{common.interval(gain)[0]:+.2f}" for gain in gains),
                f"{sum(shares) / len(shares):.1f} ({max(shares):.1f})",
                f"{100 * common.mean(results['nominal'], name, 'tuned'):.1f}",
                *(f"{error:+.0f}" for error in errors),
            ]
        )
    return lines


HEAD = (
    "setting", "shifted", *common.ALL_WORLDS, "tuned: shifted (most)", "nominal",
    "error", "near", "window", "near window",
)  # fmt: skip


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--only", choices=("rates", "trigger"), help="one half of the search")
    args = parser.parse_args()
    page = common.page(args, "search")
    size, seeds = common.size_and_seeds(args.short, VALIDATION_SEEDS[:2], PART)
    always = {"always": True}
    base = {
        "OLLA": (olla, {}),
        "un-tuned": (common.light_tune, {"tuned": False}),
        "always on": (common.light_tune, {"trigger": always}),
    }
    lines = [
        "# Settings of the tuner, searched on the validation seeds",
        "",
        f"{size.links} links of {size.slots} slots, seeds {', '.join(map(str, seeds))}. Gain in goodput",
        "over OLLA at its defaults, in percent (*shifted*: mean of the shifted worlds); share of slots that",
        "were tuned, in percent; change of the BLER prediction error against the un-tuned predictor, in",
        "percent, mean of the shifted worlds: at the MCS that was sent, within 3 MCS of the best, and both",
        "as rates over windows of 100 slots. Settings that are not named are the defaults.",
    ]
    if args.only != "trigger":
        for rule, (make, grid) in RATES.items():
            names = {f"{rule} {text(s)}": text(s) for s in (grid[:2] if args.short else grid)}
            tried = {
                name: (common.light_tune, {"rule": partial(make, **s), "trigger": always})
                for name, s in zip(names, grid, strict=False)
            }
            results = common.measure(base | tried, seeds, size, title=rule)
            lines += ["", f"## {rule}, always on", "", *common.table(HEAD, rows(results, names))]
    if args.only != "rates":
        grid = THRESHOLDS[:2] if args.short else THRESHOLDS
        names = {text(s): text(s) for s in grid}
        tried = {text(s): (common.light_tune, {"trigger": s}) for s in grid}
        results = common.measure(base | tried, seeds, size, title="trigger")
        names = {"always on": "always on"} | names
        lines += ["", "## Trigger, local_head", "", *common.table(HEAD, rows(results, names))]
    common.write_page(page, "bench/search.py", lines)


if __name__ == "__main__":
    main()
