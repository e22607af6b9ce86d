# SPDX-License-Identifier: GPL-3.0-or-later
"""What the simulated benchmarks share: jobs over worlds and seeds, figures, intervals, and how a table is
written."""

import argparse
import multiprocessing
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from gnuradio.lighttune.core.checkpoint import load_model
from gnuradio.lighttune.core.guards import GuardPolicy
from gnuradio.lighttune.core.mcs import McsTable
from gnuradio.lighttune.core.predictor import Predictor
from gnuradio.lighttune.core.selection import SelectionPolicy
from gnuradio.lighttune.core.trigger import TriggerPolicy
from gnuradio.lighttune.core.tuner import Tuner
from gnuradio.lighttune.sim import Trace, World, make_world, run_batch, stack, summary
from gnuradio.lighttune.sim.batch import BatchAdapter, BatchLightTune
from gnuradio.lighttune.sim.campaign_summary import interval
from gnuradio.lighttune.sim.metrics import tuned_slots
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from protocol import FULL, SHIFTED, SHORT, VALIDATION_SEEDS, Size

Figures = dict[str, float]
Results = dict[str, list[dict[str, Figures]]]
ALL_WORLDS = ("nominal", *SHIFTED)


def tuned_share(trace: Trace) -> float:
    """Share of `metrics.tuned_slots`."""
    return float(tuned_slots(trace).mean())


def of_seed(trace: Trace, place: int, links: int) -> Trace:
    """The rows of one seed of a stacked world."""
    rows = slice(place * links, (place + 1) * links)
    return Trace(*(None if v is None else v[rows] for v in vars(trace).values()))


def figures(trace: Trace, world: World) -> Figures:
    """`sim.summary`, its errors from the first shift on under ``shifted_...``, and the shares of slots tuned
    and probed."""
    since = summary(trace, slice(world.shifts[0] if world.shifts else 0, None))
    shifted = {f"shifted_{name}": value for name, value in since.items() if name.endswith("error")}
    shares = {"tuned": tuned_share(trace), "probed": float(trace.probe.mean())}
    return summary(trace) | shifted | shares


@cache
def workers(jobs: int | None = None) -> Executor:
    """So many processes, as many as there are cores by default, for as long as the program runs.

    They are spawned, not forked: threads of this process (a pool's, a progress bar's) may hold a lock at any
    time, and nobody releases the copy that a fork makes of it.
    """
    return ProcessPoolExecutor(jobs or os.cpu_count(), multiprocessing.get_context("spawn"))


Build = Callable[..., BatchAdapter]
"""Makes a fresh adapter of a world's table: called with the predictor, the number of links, and settings."""


def measure(
    adapters: dict[str, tuple[Build, dict[str, Any]]],
    seeds: Sequence[int],
    size: Size,
    worlds: Sequence[str] = ALL_WORLDS,
    title: str = "",
    model: str | Path = "amc",
    figures_of: Callable[[Trace, World], Figures] = figures,
) -> Results:
    """Run every adapter through every world, all seeds at once, in as many processes as there are cores.

    Args:
        adapters: by name: a function of this module's importers, and its settings. Settings may be given for
            each world by a dictionary under the key ``"per_world"``.
        model: that ships, or a model file.
        figures_of: makes the figures of one seed's trace.

    Returns:
        ``results[world][seed's place][adapter]``: figures.
    """
    results: Results = {world: [{} for _ in seeds] for world in worlds}
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f}"),
    )
    with Progress(*columns, TimeRemainingColumn()) as bar:
        task = bar.add_task(title, total=len(worlds) * len(adapters))
        jobs = {}
        for world in worlds:
            for name, (build, settings) in adapters.items():
                of_world = settings.get("per_world", {}).get(world, settings)
                job = workers().submit(_one, world, tuple(seeds), size, build, of_world, model, figures_of)
                jobs[job] = world, name
        for done in as_completed(jobs):
            world, name = jobs[done]
            for seed, values in enumerate(done.result()):
                results[world][seed][name] = values
            bar.advance(task)
    return {w: [{name: run[name] for name in adapters} for run in runs] for w, runs in results.items()}


def _one(
    world_name: str,
    seeds: tuple[int, ...],
    size: Size,
    build: Build,
    settings: dict[str, Any],
    model: str | Path,
    figures_of: Callable[[Trace, World], Figures],
) -> list[Figures]:
    world, predictor = stacked(world_name, seeds, size), load_model(model)
    trace = run_batch(build(predictor, world.n_links, **settings), world, predict=True)
    return [figures_of(of_seed(trace, place, size.links), world) for place in range(len(seeds))]


@lru_cache(maxsize=1)
def stacked(name: str, seeds: tuple[int, ...], size: Size) -> World:
    """A world of the reference modem's MCS table, the links of all seeds in it."""
    table = McsTable.amc()
    return stack([make_world(name, table, seed, size.links, size.slots) for seed in seeds])


def light_tune(
    predictor: Predictor,
    n: int,
    rule: Any = "local_head",
    trigger: dict[str, Any] | None = None,
    guards: dict[str, Any] | None = None,
    policy: dict[str, Any] | None = None,
    fallback: bool = True,
    tuned: bool = True,
) -> BatchAdapter:
    """LightTune with some of its settings changed; ``rule`` is a name, or a function that makes one.

    Un-tuned is the predictor as it was trained, whatever comes of it: OLLA never takes over from it.
    """
    made = rule if isinstance(rule, str) else rule()
    tuner = Tuner(predictor, made, TriggerPolicy(**(trigger or {})), GuardPolicy(**(guards or {})), n)
    tuner = tuner if tuned else None
    return BatchLightTune(predictor, n, SelectionPolicy(**(policy or {})), tuner, fallback and tuned)


def relative(
    runs: list[dict[str, Figures]], name: str, reference: str, figure: str = "goodput"
) -> list[float]:
    """A figure of one adapter over that of another in percent, seed by seed."""
    return [100.0 * (run[name][figure] / run[reference][figure] - 1.0) for run in runs]


def over_worlds(
    results: Results,
    name: str,
    reference: str,
    figure: str = "goodput",
    worlds: Sequence[str] = SHIFTED,
) -> list[float]:
    """Mean over worlds of `relative`, seed by seed."""
    return list(np.mean([relative(results[world], name, reference, figure) for world in worlds], axis=0))


def mean(runs: list[dict[str, Figures]], name: str, figure: str) -> float:
    """A figure's mean over seeds."""
    return float(np.mean([run[name][figure] for run in runs]))


def with_interval(values: Iterable[float], digits: int = 1) -> str:
    """``+6.0 ± 0.4``."""
    middle, half = interval(values)
    return f"{middle:+.{digits}f}" + ("" if np.isnan(half) else f" ± {half:.{digits}f}")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a markdown table, with the first column aligned left and the others right."""
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    return [*lines, *("| " + " | ".join(row) + " |" for row in rows)]


def parser(doc: str | None) -> argparse.ArgumentParser:
    """The command line that the simulated benchmarks share."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--out", type=Path, metavar="DIR", help="folder to write to (default: docs/results)")
    made.add_argument(
        "--short",
        action="store_true",
        help="two seeds, few links and slots, to see that it runs; needs --out",
    )
    return made


def page(args: argparse.Namespace, name: str) -> Path:
    """The page that `parser`'s arguments ask for.

    Raises:
        SystemExit: a short run would overwrite the documents.
    """
    if args.short and args.out is None:
        raise SystemExit("--short needs --out DIR: it must not write into docs")
    return (args.out or Path("docs/results")) / f"{name}.md"


def size_and_seeds(short: bool, seeds: Sequence[int], full: Size = FULL) -> tuple[Size, tuple[int, ...]]:
    """What `parser`'s arguments ask for; a short run stays away from the test seeds."""
    return (SHORT, VALIDATION_SEEDS[:2]) if short else (full, tuple(seeds))


def write_page(path: Path, command: str, lines: Iterable[str]) -> None:
    """Write a page of docs/results, and say so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([f"<!-- written by `{command}`; do not edit -->", *lines]) + "\n")
    print(f"wrote {path}")


def plot_beside(page: Path, name: str) -> Path:
    """Where a page's plot goes: a folder of the page's name beside it."""
    folder = page.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    return folder / name


def resident_kib() -> float:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024
