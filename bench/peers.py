#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tunes what LightTune is compared with on the validation seeds: no peer runs on a default by accident.

Every setting faces the same channels and the same ACK draws. Writes the choices to bench/peers.json, which
the main benchmark reads (`chosen`), and tables and a heat map to docs/results. Some ten minutes on two cores.
"""

import argparse
import json
from collections.abc import Callable
from concurrent.futures import as_completed
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from gnuradio.lighttune.core.mcs import McsTable
from gnuradio.lighttune.sim import WORLDS, make_world
from gnuradio.lighttune.sim.batch import BatchAdapter, run_batch
from gnuradio.lighttune.sim.peers import BatchGenie, BatchOlla, BatchSalad, BatchThompson, BatchTrendOlla
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from common import workers
from protocol import SHIFTED, VALIDATION_SEEDS, Size

ROOT = Path(__file__).resolve().parent.parent
CHOICES = ROOT / "bench" / "peers.json"
SIZE = Size(16, 4000)
TINY = Size(2, 120)
MATCHED = 0.1
"""BLER target at which OLLA and trend OLLA are also tuned by their step alone."""

Setting = dict[str, float | None]

TARGETS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4)
STEPS_DB = (0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 3.0)
OLLA_GRID: list[Setting] = [{"target": t, "delta_up_db": u} for t, u in product(TARGETS, STEPS_DB)]


def _salad(target: float, rate: float | None, integral_gain: float, probe_share: float) -> Setting:
    """A fixed learning rate, or None for distillation."""
    rest = {"target": target, "integral_gain": integral_gain, "probe_share": probe_share}
    if rate is None:
        return {"learning_rate": 1.0, "distil_every": 200, **rest}
    return {"learning_rate": rate, "distil_every": None, **rest}


SALAD_GRID = [
    _salad(0.1, None, 0.02, 0.15),  # the default
    _salad(0.1, None, 0.02, 0.0),
    _salad(0.1, None, 0.05, 0.15),
    _salad(0.1, 0.5, 0.02, 0.15),
    _salad(0.1, 1.0, 0.02, 0.0),
    _salad(0.1, 1.0, 0.02, 0.15),
    _salad(0.1, 1.0, 0.05, 0.15),
    _salad(0.1, 1.5, 0.005, 0.0),
    _salad(0.1, 1.5, 0.02, 0.0),
    _salad(0.1, 1.5, 0.02, 0.05),
    _salad(0.1, 1.5, 0.05, 0.0),
    _salad(0.1, 2.0, 0.02, 0.0),
    _salad(0.1, 2.0, 0.05, 0.0),
    _salad(0.2, None, 0.02, 0.15),
    _salad(0.2, 1.0, 0.005, 0.0),
    _salad(0.2, 1.0, 0.005, 0.15),
    _salad(0.2, 1.5, 0.005, 0.0),
    _salad(0.3, None, 0.02, 0.15),
    _salad(0.3, 0.2, 0.05, 0.0),
    _salad(0.3, 0.5, 0.005, 0.15),
]


def _thompson(target: float | None, flat: float, strength: float, memory: float | None) -> Setting:
    return {"target": target, "flat_prior": flat, "prior_strength": strength, "memory_blocks": memory}


_AIMS = (None, 0.1, 0.2, 0.3)
THOMPSON_GRID = [
    _thompson(0.1, 1.0, 10.0, None),  # the default
    _thompson(0.2, 1.0, 10.0, None),
    *(_thompson(aim, 0.01, 10.0, memory) for aim, memory in product(_AIMS, (None, 4000.0, 1000.0))),
    *(_thompson(aim, 0.1, 10.0, None) for aim in _AIMS),
    _thompson(0.1, 0.01, 1.0, 1000.0),
    _thompson(0.3, 0.01, 1.0, 1000.0),
]

NONE = {"target": np.nan, "memory_blocks": np.inf, "distil_every": 0}
"""What a batch adapter reads as None in an array."""


@dataclass(frozen=True)
class Peer:
    """The settings that are tried, the one that is the default, and how to make an adapter of many rows."""

    grid: list[Setting]
    default: Setting
    make: Callable[[McsTable, int, np.random.Generator, dict], BatchAdapter]


PEERS = {
    "OLLA": Peer(
        OLLA_GRID, {"target": 0.1, "delta_up_db": 0.5}, lambda table, n, rng, s: BatchOlla(table, n, **s)
    ),
    "trend OLLA": Peer(
        OLLA_GRID, {"target": 0.1, "delta_up_db": 0.5}, lambda table, n, rng, s: BatchTrendOlla(table, n, **s)
    ),
    "SALAD": Peer(SALAD_GRID, SALAD_GRID[0], lambda table, n, rng, s: BatchSalad(table, n, rng, **s)),
    "Thompson": Peer(
        THOMPSON_GRID, THOMPSON_GRID[0], lambda table, n, rng, s: BatchThompson(table, n, rng, **s)
    ),
}


def chosen(name: str, world: str | None = None, *, matched: bool = False) -> Setting:
    """The setting that was chosen on the validation seeds, as keyword arguments of the adapter.

    Args:
        name: a key of `PEERS`.
        world: the best for this world alone; None for the best single one over the shifted worlds.
        matched: of OLLA and trend OLLA, the best at a target of 0.1.

    Raises:
        ValueError: there is no such choice.
    """
    choices = json.loads(CHOICES.read_text())["adapters"]
    try:
        if matched:
            return choices[name][f"target_{MATCHED}"]
        return choices[name]["single"] if world is None else choices[name]["per_world"][world]
    except KeyError as error:
        raise ValueError(f"{CHOICES.name} has no {error} for {name!r}") from error


def columns(grid: list[Setting], n_links: int) -> dict[str, np.ndarray]:
    """Settings of each row, setting by setting, each for all links, ``(len(grid) n_links,)``."""
    values = {key: [NONE[key] if s[key] is None else s[key] for s in grid] for key in grid[0]}
    return {key: np.repeat(np.asarray(v, float), n_links) for key, v in values.items()}


def job(world_name: str, seed: int, size: Size) -> dict[str, np.ndarray]:
    """Mean goodput and share of failures of every setting and the genie in a world, ``(2, n_settings)``."""
    table = McsTable.amc()
    world = make_world(world_name, table, seed, size.links, size.slots)
    links = np.arange(size.links)

    def figures(adapter: BatchAdapter, n_settings: int) -> np.ndarray:
        trace = run_batch(adapter, world, links=np.tile(links, n_settings))
        each = (n_settings, -1)
        goodput = trace.goodput.reshape(each).mean(axis=1, dtype=float)
        return np.stack([goodput, 1 - trace.ack.reshape(each).mean(axis=1)])

    rng = np.random.default_rng([seed, list(WORLDS).index(world_name)])
    out = {"genie": figures(BatchGenie(table), 1)}
    for name, peer in PEERS.items():
        n_rows = len(peer.grid) * size.links
        adapter = peer.make(table, n_rows, rng, columns(peer.grid, size.links))
        out[name] = figures(adapter, len(peer.grid))
    return out


def measure(size: Size, seeds: tuple[int, ...]) -> dict[str, np.ndarray]:
    """The figures of all jobs by adapter, ``(n_worlds, n_seeds, 2, n_settings)``."""
    parts: dict[tuple[int, int], dict[str, np.ndarray]] = {}
    bar = Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with bar:
        task = bar.add_task("worlds x seeds", total=len(WORLDS) * len(seeds))
        waiting = {
            workers().submit(job, world, seed, size): (w, s)
            for w, world in enumerate(WORLDS)
            for s, seed in enumerate(seeds)
        }
        for done in as_completed(waiting):
            parts[waiting[done]] = done.result()
            bar.advance(task)
    return {
        name: np.array([[parts[w, s][name] for s in range(len(seeds))] for w in range(len(WORLDS))])
        for name in ("genie", *PEERS)
    }


class Results:
    """Goodput relative to OLLA at its defaults, and the choices that follow from it.

    Args:
        figures: see `measure`.

    Attributes:
        goodput: of OLLA at its defaults in each world, bits per symbol, ``(n_worlds,)``.
        relative: goodput over that, by adapter, ``(n_worlds, n_settings)``.
        shifted: its mean over the shifted worlds, by adapter, ``(n_settings,)``.
        shifted_by_seed: the same of each seed, ``(n_seeds, n_settings)``.
        failures: share of failures, by adapter, ``(n_worlds, n_settings)``.
    """

    def __init__(self, figures: dict[str, np.ndarray]) -> None:
        default = PEERS["OLLA"].grid.index(PEERS["OLLA"].default)
        reference = figures["OLLA"][:, :, 0, default]
        counted = [list(WORLDS).index(world) for world in SHIFTED]
        self.goodput = reference.mean(axis=1)
        self.relative, self.shifted, self.shifted_by_seed, self.failures = {}, {}, {}, {}
        for name, array in figures.items():
            self.relative[name] = array[:, :, 0].mean(axis=1) / self.goodput[:, None]
            self.shifted[name] = self.relative[name][counted].mean(axis=0)
            by_seed = array[:, :, 0] / reference[:, :, None]
            self.shifted_by_seed[name] = by_seed[counted].mean(axis=0)
            self.failures[name] = array[:, :, 1].mean(axis=1)

    def single(self, name: str) -> int:
        """Place in the grid of the best setting over the shifted worlds."""
        return int(np.argmax(self.shifted[name]))

    def per_world(self, name: str) -> np.ndarray:
        """The same of the best setting of each world, ``(n_worlds,)``."""
        return np.argmax(self.relative[name], axis=1)

    def matched(self, name: str) -> int:
        """The same of the best setting over the shifted worlds among those with a target of `MATCHED`."""
        own = np.array([setting["target"] == MATCHED for setting in PEERS[name].grid])
        return int(np.argmax(np.where(own, self.shifted[name], -np.inf)))

    def choices(self) -> dict[str, dict]:
        """Chosen settings, by adapter, as `chosen` reads them."""
        out: dict[str, dict] = {}
        for name, peer in PEERS.items():
            best = self.per_world(name)
            out[name] = {
                "single": peer.grid[self.single(name)],
                "per_world": {world: peer.grid[best[w]] for w, world in enumerate(WORLDS)},
            }
            if "OLLA" in name:
                out[name][f"target_{MATCHED}"] = peer.grid[self.matched(name)]
        return out


def words(setting: Setting) -> str:
    """A setting as a cell of a table."""
    short = {"delta_up_db": "step", "integral_gain": "gain", "probe_share": "probing", "flat_prior": "flat"}
    short |= {"prior_strength": "prior", "memory_blocks": "memory", "learning_rate": "rate"}
    parts = []
    for key, value in setting.items():
        if key == "distil_every" or (key == "learning_rate" and setting["distil_every"]):
            parts += [f"distilled every {value}"] if key == "distil_every" and value else []
        else:
            text = "none" if value is None else f"{value:g}"
            parts.append(f"{short.get(key, key)} {text}" + (" dB" if key == "delta_up_db" else ""))
    return ", ".join(parts)


def report(results: Results, command: str, size: Size, seeds: tuple[int, ...]) -> str:
    """The tables, in Markdown."""
    worlds = list(WORLDS)

    def cells(name: str, picks: np.ndarray) -> tuple[list[str], list[str]]:
        at = np.arange(len(worlds)), picks
        relative, failures = results.relative[name][at], results.failures[name][at]
        mean = np.mean([relative[worlds.index(w)] for w in SHIFTED])
        return [f"{mean:.3f}", *(f"{v:.3f}" for v in relative)], [f"{v:.3f}" for v in failures]

    rows = []
    for name, peer in PEERS.items():
        rows.append((f"{name}, default", cells(name, np.full(len(worlds), peer.grid.index(peer.default)))))
        if "OLLA" in name:
            at = results.matched(name)
            rows.append((f"{name}, best step at target {MATCHED}", cells(name, np.full(len(worlds), at))))
        rows.append((f"{name}, best single", cells(name, np.full(len(worlds), results.single(name)))))
        rows.append((f"{name}, best of each world", cells(name, results.per_world(name))))
    rows.append(("genie", cells("genie", np.zeros(len(worlds), int))))
    head, line = " | ".join(worlds), "---:|" * len(worlds)
    lines = [
        f"<!-- written by `{command}`; do not edit -->",
        "# The peers, tuned on the validation seeds",
        "",
        f"MCS of the reference modem; {size.links} links of {size.slots} slots in each world of each of the",
        f"seeds {', '.join(map(str, seeds))}. Written by `{command}`.",
        "",
        "Goodput relative to OLLA at its defaults (target 0.1, step 0.5 dB) on the same channels and the",
        "same ACK draws. *Shifted*: mean over the worlds in which something shifts, all but the nominal one.",
        "*Best single*: the setting with the highest such mean. *Best of each world*: the highest of each",
        "world, which nobody could know beforehand. Settings were picked by the very figures that stand",
        "here: these flatter the peers a little, and are not test figures.",
        "",
        f"| adapter | shifted | {head} |",
        f"|---|---:|{line}",
        *(f"| {name} | {' | '.join(relative)} |" for name, (relative, _) in rows),
        "",
        "OLLA's defaults carry "
        + ", ".join(f"{g:.3f} ({w})" for w, g in zip(worlds, results.goodput, strict=True))
        + " information bits per symbol.",
        "",
        "## Share of first transmissions that failed",
        "",
        f"| adapter | {head} |",
        f"|---|{line}",
        *(f"| {name} | {' | '.join(failures)} |" for name, (_, failures) in rows),
        "",
        "## Chosen settings",
        "",
        "| adapter | for | setting | shifted | lowest and highest of a seed |",
        "|---|---|---|---:|---:|",
    ]
    for name, peer in PEERS.items():
        picks = [("all shifted worlds", results.single(name))]
        picks += [(f"target {MATCHED}", results.matched(name))] if "OLLA" in name else []
        picks += list(zip(worlds, results.per_world(name), strict=True))
        for purpose, at in picks:
            by_seed = results.shifted_by_seed[name][:, at]
            lines.append(
                f"| {name} | {purpose} | {words(peer.grid[at])} | {results.shifted[name][at]:.3f} "
                f"| {by_seed.min():.3f} to {by_seed.max():.3f} |"
            )
    lines += ["", "## OLLA", "", "![Goodput by target and step](peers/olla.png)"]
    for name in ("SALAD", "Thompson"):
        lines += ["", f"## {name}", "", f"| setting | shifted | {head} |", f"|---|---:|{line}"]
        for at in np.argsort(-results.shifted[name]):
            figures = [results.shifted[name][at], *results.relative[name][:, at]]
            cells_ = " | ".join(f"{v:.3f}" for v in figures)
            lines.append(f"| {words(PEERS[name].grid[at])} | {cells_} |")
    return "\n".join(lines) + "\n"


def plot(results: Results, path: Path) -> None:
    """Heat maps of OLLA's and trend OLLA's grids."""
    names = ("OLLA", "trend OLLA")
    maps = [100 * (results.shifted[name].reshape(len(TARGETS), len(STEPS_DB)) - 1) for name in names]
    figure, axes = plt.subplots(1, 2, figsize=(10.5, 4.2), layout="constrained", sharey=True)
    low, high = min(m.min() for m in maps), max(m.max() for m in maps)
    for axis, name, values in zip(axes, names, maps, strict=True):
        image = axis.imshow(values, origin="lower", aspect="auto", vmin=low, vmax=high, cmap="viridis")
        axis.set_xticks(range(len(STEPS_DB)), [f"{v:g}" for v in STEPS_DB])
        axis.set_yticks(range(len(TARGETS)), [f"{v:g}" for v in TARGETS])
        axis.set(title=name, xlabel="step at a NACK, delta_up (dB)")
        for (row, column), value in np.ndenumerate(values):
            dark = value < low + 0.6 * (high - low)
            axis.text(
                column,
                row,
                f"{value:+.1f}",
                ha="center",
                va="center",
                fontsize=8,
                color="white" if dark else "black",
            )
    axes[0].set_ylabel("BLER target")
    figure.colorbar(image, ax=axes, label="goodput over OLLA's defaults, shifted worlds (%)")
    figure.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--size", type=int, nargs=2, metavar=("LINKS", "SLOTS"), default=(SIZE.links, SIZE.slots),
        help="of every world of every seed (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--short", action="store_true", help="a tiny run, to see that it runs; needs --out")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="write all there, and not into bench and docs/results"
    )
    args = parser.parse_args()
    if args.short and args.out is None:
        parser.error("--short needs --out DIR: it must not write into docs")
    size, seeds = (TINY, VALIDATION_SEEDS[:1]) if args.short else (Size(*args.size), VALIDATION_SEEDS)
    command = "bench/peers.py" + (" --short" if args.short else f" --size {size.links} {size.slots}")
    documents, choices = ROOT / "docs" / "results", CHOICES
    if args.out is not None:
        documents, choices = args.out, args.out / CHOICES.name
    (documents / "peers").mkdir(parents=True, exist_ok=True)
    results = Results(measure(size, seeds))
    document = {"command": command, "adapters": results.choices()}
    choices.write_text(json.dumps(document, indent=1) + "\n")
    text = report(results, command, size, seeds)
    (documents / "peers.md").write_text(text)
    plot(results, documents / "peers" / "olla.png")
    print(text)


if __name__ == "__main__":
    main()
