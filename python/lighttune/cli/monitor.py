# SPDX-License-Identifier: GPL-3.0-or-later
"""`lighttune monitor`: what the links of a flowgraph are doing, in the terminal and for Prometheus."""

from __future__ import annotations

import argparse
import io
import re
import select
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..net.listener import Listener

_HELP = """\
Show what the links of a running flowgraph are doing: MCS, SNR, BLER predicted and observed, goodput, whose
predictions decide, what is believed of the reports and of losses, the tuner's state, what is out of the
ordinary, and what was dropped.

    lighttune monitor tcp://127.0.0.1:5558            live; q or Ctrl-C leaves
    lighttune monitor tcp://127.0.0.1:5558 --once     listen for 3 s, print, and end: for scripts

The flowgraph needs a telemetry block: lighttune.telemetry(endpoint="tcp://127.0.0.1:5558").

    lighttune monitor tcp://127.0.0.1:5558 --metrics-port 9108

answers Prometheus on http://127.0.0.1:9108/metrics besides, and without a terminal does nothing else; the
Grafana board is docs/grafana/lighttune.json (installed: share/gr-lighttune/grafana).
"""
_WIDTH = 170  # of what is printed where there is no terminal
_PERIOD_S = 0.25
_REST = 24  # lines of the screen that are not links


def add_parser(commands: Any) -> None:
    """Add the sub-command."""
    parser = commands.add_parser(
        "monitor",
        help="show what the links of a running flowgraph are doing",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("endpoint", metavar="ENDPOINT", help="of the telemetry block, as tcp://127.0.0.1:5558")
    add("--once", action="store_true", help="print once and end; exit status 1 if nothing was heard")
    add("--seconds", type=float, default=3.0, metavar="S",
        help="how long --once listens (default: %(default)s)")  # fmt: skip
    add("--svg", type=Path, metavar="FILE", help="write what --once prints as a picture, too")
    add("--metrics-port", type=int, metavar="N",
        help="answer Prometheus on 127.0.0.1:N/metrics (0: any port)")  # fmt: skip
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Show the links until told to end; returns the exit status."""
    if not 0 < args.seconds <= 86400:
        raise ValueError(f"--seconds {args.seconds}: give a time above 0 and up to 86400 s")
    if args.metrics_port is not None and not 0 <= args.metrics_port <= 65535:
        raise ValueError(f"--metrics-port {args.metrics_port}: give 0 to 65535")
    if args.svg is not None and not args.once:
        raise ValueError("--svg: give --once, too")
    terminal = sys.stdout.isatty()
    if not (terminal or args.once) and args.metrics_port is None:
        raise ValueError("standard output is no terminal: give --once, or --metrics-port")
    from ..net.listener import Listener

    with Listener(args.endpoint) as listener, _metrics(listener, args.metrics_port), _told_to_end() as ended:
        if args.once:
            return _once(listener, args.seconds, args.svg, ended)
        if terminal:
            _live(listener, ended)
        else:
            while not ended():
                listener.listen(_PERIOD_S)
    return 0


def _once(listener: Listener, seconds: float, svg: Path | None, ended: Callable[[], bool]) -> int:
    from rich.console import Console

    from .monitor_screen import screen

    left = max(1, round(seconds / _PERIOD_S))
    while left > 0 and not ended():
        listener.listen(min(seconds, _PERIOD_S))
        listener.sample()
        left -= 1
    console = Console() if sys.stdout.isatty() else Console(width=_WIDTH)
    console.print(screen(listener, 10_000, console.width))
    if svg is not None:
        drawing = Console(width=_WIDTH, record=True, file=io.StringIO(), force_terminal=True)
        drawing.print(screen(listener, 10_000, _WIDTH))
        text = drawing.export_svg(title="lighttune monitor")
        svg.write_text(re.sub(r"@font-face \{.*?\}", "", text, flags=re.DOTALL))  # no fonts from elsewhere
    return 0 if listener.heard_s is not None else 1


def _live(listener: Listener, ended: Callable[[], bool]) -> None:
    from rich.console import Console, Group
    from rich.live import Live
    from rich.text import Text

    from .monitor_screen import screen

    console = Console()
    with _keys() as pressed, Live(console=console, screen=True, auto_refresh=False) as live:
        while not ended() and "q" not in pressed():
            listener.listen(_PERIOD_S)
            listener.sample()
            picture = screen(listener, max(1, console.height - _REST), console.width)
            live.update(Group(picture, Text("q or Ctrl-C leaves", "dim")), refresh=True)


@contextmanager
def _metrics(listener: Listener, port: int | None) -> Iterator[None]:
    """Answer Prometheus meanwhile, if there is a port to."""
    if port is None:
        yield
        return
    from ..net.link_metrics import LinkMetrics

    metrics = LinkMetrics(listener)
    print(f"metrics: http://127.0.0.1:{metrics.serve(port)}/metrics", file=sys.stderr, flush=True)
    try:
        yield
    finally:
        metrics.close()


@contextmanager
def _told_to_end() -> Iterator[Callable[[], bool]]:
    """Whether SIGTERM or Ctrl-C came."""
    told: list[int] = []
    before = {
        number: signal.signal(number, lambda n, _: told.append(n))
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield lambda: bool(told)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _keys() -> Iterator[Callable[[], str]]:
    """The keys that were pressed since the last call, read without waiting and without Enter."""
    if not sys.stdin.isatty():
        yield lambda: ""
        return
    import os
    import termios
    import tty

    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    tty.setcbreak(terminal)
    try:
        yield (
            lambda: (
                os.read(terminal, 64).decode(errors="replace")
                if select.select([terminal], [], [], 0)[0]
                else ""
            )
        )
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
