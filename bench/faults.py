#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fault matrix: what each fault costs, and how long until it is forgotten. Writes docs/results/faults.md.

    python bench/faults.py --short --out out/faults     # a minute, to see that it runs

In the simulator LightTune and OLLA, the real adapters, stand behind the same faults; on real blocks and
processes the tuner's process and service are killed, frozen, slowed and started anew under load, and files
are spoilt. The seeds are its own: nothing was chosen on them.
"""

from collections.abc import Sequence
from concurrent.futures import as_completed
from pathlib import Path

import numpy as np
from gnuradio.lighttune.sim.faults import Faults
from matplotlib.figure import Figure
from rich.progress import Progress

from common import page, parser, plot_beside, table, with_interval, workers, write_page
from fault_files import files
from fault_processes import processes
from fault_rows import ROWS, WORLDS, Fault, Outcome, measure, over_olla, recovery, span

SEEDS = (8003, 8004, 8005)  # 8001 and 8002 were looked at while `core.doubt` was made
LINKS, SLOTS = 3, 1500
LIARS = {
    "ACK told as NACK": lambda share: Faults(ack_flip=share),
    "NACK told as ACK": lambda share: Faults(nack_flip=share),
    "both": lambda share: Faults(ack_flip=share, nack_flip=share),
}
SHARES = (0.01, 0.1, 0.3, 0.5)
LOSS_ALLOWED = -2.0  # percent of OLLA's goodput

Outcomes = dict[tuple[str, str], list[Outcome]]


def simulate(
    rows: Sequence[Fault], worlds: Sequence[str], seeds: Sequence[int], links: int, slots: int
) -> Outcomes:
    """All rows in all worlds."""
    found: Outcomes = {}
    with Progress() as bar:
        task = bar.add_task("simulated faults", total=len(rows) * len(worlds))
        jobs = {
            workers().submit(_one, row, world, seeds, links, slots): (row.name, world)
            for row in rows
            for world in worlds
        }
        for job in as_completed(jobs):
            found[jobs[job]] = job.result()
            bar.advance(task)
    return found


def _one(row: Fault, world: str, seeds: Sequence[int], links: int, slots: int) -> list[Outcome]:
    return [measure(row, world, seed, links, slots) for seed in seeds]


def liars(shares: Sequence[float]) -> list[Fault]:
    """A row for each kind of liar and share of lies."""
    return [Fault(f"{kind} {share}", "", lie(share)) for kind, lie in LIARS.items() for share in shares]


def matrix(found: Outcomes, rows: Sequence[Fault]) -> list[str]:
    """The table of the simulated rows."""
    lines = []
    for row in rows:
        cells = [row.name, row.how]
        for world in WORLDS:
            outcomes = found[row.name, world]
            cells.append(with_interval([over_olla(o) for o in outcomes]))
        lasts = span(row, 1000)[1] >= 1000 and not row.slots
        back = [None if lasts else recovery(found[row.name, world]) for world in WORLDS]
        cells.append(
            "lasts" if lasts else " / ".join("not within the run" if b is None else f"{b}" for b in back)
        )
        outcomes = [o for world in WORLDS for o in found[row.name, world]]
        counts = sum((o.counts for o in outcomes), start=type(outcomes[0].counts)())
        counted = [f"{name}: {n}" for name, n in counts.items() if n]
        cells += [f"{100 * np.mean([o.by_olla for o in outcomes]):.1f}", ", ".join(counted) or "-"]
        lines.append(cells)
    head = ["fault", "how", *(f"{w}, %" for w in WORLDS), "recovery, slots", "OLLA decides, %", "counted"]
    return table(head, lines)


def failures(found: Outcomes, names: Sequence[str]) -> list[str]:
    """The rows below what is allowed."""
    return [
        f"{name} ({world})"
        for name in names
        for world in WORLDS
        if np.mean([over_olla(o) for o in found[name, world]]) < LOSS_ALLOWED
    ]


def poison(found: Outcomes, shares: Sequence[float], plot: Path) -> list[str]:
    """The table of the liars, and its plot."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    axes = figure.subplots(1, len(LIARS), sharey=True)
    lines = []
    for axis, kind in zip(axes, LIARS, strict=True):
        for world, style in zip(WORLDS, ("-", "--"), strict=True):
            ours, theirs = [], []
            for share in shares:
                outcomes = found[f"{kind} {share}", world]
                olla = [o.olla.mean() for o in found["none", world]]
                ours.append([100 * (1 - o.lighttune.mean() / o.healthy.mean()) for o in outcomes])
                theirs.append([100 * (1 - o.olla.mean() / h) for o, h in zip(outcomes, olla, strict=True)])
                over = with_interval([over_olla(o) for o in outcomes])
                cells = [f"{100 * share:g}", with_interval(ours[-1]), with_interval(theirs[-1]), over]
                lines.append([f"{kind}, {world}", *cells])
            for values, name, colour in ((ours, "LightTune", "C0"), (theirs, "OLLA", "C1")):
                axis.plot(
                    np.array(shares) * 100,
                    np.mean(values, axis=1),
                    style,
                    color=colour,
                    marker=".",
                    label=f"{name}, {world}",
                )
        axis.set(title=kind, xlabel="lies, %")
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("goodput lost, %")
    axes[0].legend(fontsize=7)
    figure.savefig(plot, dpi=130)
    head = ["liar", "lies, %", "LightTune loses, %", "OLLA loses, %", "LightTune over OLLA, %"]
    return table(head, lines)


def draw(found: Outcomes, rows: Sequence[Fault], plot: Path) -> None:
    """Every row's goodput over OLLA's."""
    figure = Figure(figsize=(8, 0.26 * len(rows) + 1), layout="constrained")
    axis = figure.subplots()
    places = np.arange(len(rows))[::-1]
    for world, shift in zip(WORLDS, (0.15, -0.15), strict=True):
        values = np.array([[over_olla(o) for o in found[row.name, world]] for row in rows])
        axis.errorbar(values.mean(axis=1), places + shift, xerr=values.std(axis=1), fmt=".", label=world)
    axis.axvline(0, color="black", linewidth=0.8)
    axis.axvline(LOSS_ALLOWED, color="red", linewidth=0.8, linestyle="--")
    axis.set(yticks=places, xlabel="goodput over OLLA's behind the same fault, %")
    axis.set_yticklabels([row.name for row in rows], fontsize=8)
    axis.legend(fontsize=8)
    figure.savefig(plot, dpi=130)


def main(arguments: Sequence[str] | None = None) -> None:
    made = parser(__doc__)
    made.add_argument("--only", choices=("simulated", "real"), help="one half, to look at")
    args = made.parse_args(arguments)
    path = page(args, "faults")
    seeds, links, slots = (SEEDS[:2], 2, 900) if args.short else (SEEDS, LINKS, SLOTS)
    shares = SHARES[-1:] if args.short else SHARES
    rows = [row for row in ROWS if not args.short or row.slots < slots]
    lines = ["# Faults", ""]
    if args.only != "real":
        lines += simulated(path, rows, seeds, links, slots, shares)
    if args.only != "simulated":
        lines += [*processes(args.short), *files()]
    write_page(path, "bench/faults.py", lines)


def simulated(
    path: Path, rows: Sequence[Fault], seeds: Sequence[int], links: int, slots: int, shares: Sequence[float]
) -> list[str]:
    """The half of the page that the simulator gives."""
    found = simulate([*rows, *liars(shares)], WORLDS, seeds, links, slots)
    draw_to, poison_to = plot_beside(path, "matrix.png"), plot_beside(path, "poison.png")
    draw(found, rows, draw_to)
    below = failures(found, [row.name for row in rows])
    verdict = "Below that is: " + ", ".join(below) + "." if below else "None is below that."
    return [
        "The aim: goodput never falls below that of OLLA in the same conditions minus 2 %. What each costs,",
        "and how long until it is forgotten. [trust.md](../trust.md) says what is guarded against and how.",
        "",
        "## In the simulator",
        "",
        f"LightTune and OLLA at its defaults, the very objects of the blocks, stand behind the same faults:"
        f" {len(seeds)} seeds of their own, {links} links of {slots} slots of 1 ms each. Goodput is"
        " LightTune's over OLLA's from the beginning of the fault to the end, with the interval over seeds."
        " Recovery is the time from the end of the fault (a restart has none: from the restart) until the"
        " goodput of 100 slots is 95 % of what it is without it: nominal / mixture.",
        "",
        verdict,
        "",
        *matrix(found, rows),
        "",
        f"![Goodput over OLLA's]({path.stem}/{draw_to.name})",
        "",
        "## Poisoned feedback",
        "",
        "A peer that lies about a share of the blocks, all the time. Lost is what LightTune and OLLA each"
        " carry less than without lies.",
        "",
        *poison(found, shares, poison_to),
        "",
        f"![What a liar costs]({path.stem}/{poison_to.name})",
        "",
    ]


if __name__ == "__main__":
    main()
