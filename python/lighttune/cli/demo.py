# SPDX-License-Identifier: GPL-3.0-or-later
"""`lighttune demo`: the main job. OLLA, then LightTune, over the same packets and the same channel."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

FULL, QUICK = 3000, 600  # packets of each run
STALL_S = 30.0

_HELP = """\
Run a real flowgraph twice over the same packets and the same channel realisation: first OLLA chooses the MCS
of every packet, then LightTune does. Packets are OFDM-modulated, pass a Rayleigh-fading channel of 3 paths
whose mean SNR walks about 21 dB, and are received again, all in GNU Radio blocks. In mid-run the SNR reports
become 4 dB too high; then they are right again, but the receiver's front end has an IQ imbalance that adds an
image at -20 dB to whatever it receives.

You get a table, and with --plot and --json a picture and all figures.
"""


def add_parser(commands: Any) -> None:
    """Add the sub-command."""
    parser = commands.add_parser(
        "demo",
        help="the main job: OLLA against LightTune over IQ samples",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--quick", action="store_true", help=f"{QUICK} packets a run instead of {FULL}")
    add("--packets", type=int, metavar="N", help="packets of each run, 30 or more")
    add("--seed", type=int, default=7, help="of channel, noise and payloads (default: %(default)s)")
    add("--plot", type=Path, metavar="FILE", help="write a plot (.png, .pdf, .svg)")
    add("--json", type=Path, metavar="FILE", help="write all figures and the per-packet record")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run both adapters, show the table, write what was asked for; returns the exit status."""
    from rich.console import Console

    from . import demo_figures
    from .demo_link import make_scenario

    for option in (args.plot, args.json):
        if option is not None and not option.resolve().parent.is_dir():
            raise FileNotFoundError(f"{option}: there is no folder {option.resolve().parent}")
    if not 0 <= args.seed < 2**31:
        raise ValueError(f"--seed {args.seed}: give 0 to {2**31 - 1}")
    packets = args.packets if args.packets is not None else QUICK if args.quick else FULL
    scenario = make_scenario(packets, args.seed)
    console = Console()
    records = _run_both(scenario, console)
    figures = demo_figures.figures(scenario, records)
    console.print(demo_figures.table(scenario, figures))
    if args.json is not None:
        command = {name: str(getattr(args, name)) for name in ("quick", "packets", "seed")}
        document = {"command": command, "figures": figures, "packets": demo_figures.per_packet(records)}
        args.json.write_text(json.dumps(document, indent=1) + "\n")
        console.print(f"figures: {args.json}")
    if args.plot is not None:
        from .demo_plot import plot

        plot(args.plot, scenario, records)
        console.print(f"plot: {args.plot}")
    return 0


def _run_both(scenario: Any, console: Any) -> dict[str, Any]:
    """Both runs under a progress bar; their records."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    from .demo_link import DemoLink

    columns = (
        TextColumn("{task.description:10s}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f} packets, {task.fields[delivered]} delivered"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    records = {}
    with Progress(*columns, console=console) as bar:
        for adapter, title in (("olla", "OLLA"), ("lighttune", "LightTune")):
            task = bar.add_task(title, total=scenario.packets, delivered=0)
            link = DemoLink(scenario, adapter)
            try:  # a flowgraph that is dropped while it runs hangs
                link.begin()
                for sent, delivered in _follow(link):
                    bar.update(task, completed=sent, delivered=delivered)
            finally:
                records[adapter] = link.end()
    return records


def _follow(link: Any) -> Any:
    """Yield packets sent and delivered, until the last packet's fate is known.

    Raises:
        OSError: nothing happened for `STALL_S`.
    """
    last, since_s = -1, time.monotonic()
    while not link.finished.wait(0.1):
        if link.source.next != last:
            last, since_s = link.source.next, time.monotonic()
        elif time.monotonic() - since_s > STALL_S:
            raise OSError(f"the flowgraph stalled: nothing happened for {STALL_S:.0f} s after packet {last}")
        yield link.source.next, link.source.acked
    yield link.source.next, link.source.acked
