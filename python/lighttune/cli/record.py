# SPDX-License-Identifier: GPL-3.0-or-later
"""`lighttune record`: what a flowgraph's telemetry says, into a log."""

from __future__ import annotations

import argparse
import math
import signal
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.link_files import load_model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..net.telemetry import Message, Subscriber
    from ..records.writer import LogWriter

_HELP = """\
Record what a flowgraph's telemetry block publishes into a log: reports, decisions, feedback, the tuner's
versions, and what every block says of itself.

    lighttune record tcp://127.0.0.1:5558 logs/bench --model amc --note antenna=dipole

The flowgraph may start, stop and start again meanwhile: every start of it, as every call, begins a new
session in DIRECTORY. Ctrl-C and SIGTERM end it cleanly; whatever else ends it costs the last seconds at most.

Then:   lighttune report logs/bench
        lighttune replay logs/bench --adapter olla
        lighttune train --from logs/bench --out bench.safetensors
"""
_SHOW_S, _WAIT_S, _REST_S = 0.5, 0.1, 1.0


def add_parser(commands: Any) -> None:
    """Add the sub-command."""
    parser = commands.add_parser(
        "record",
        help="record a flowgraph's telemetry into a log",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("endpoint", metavar="ENDPOINT", help="of the telemetry block, as tcp://127.0.0.1:5558")
    add("directory", metavar="DIRECTORY", type=Path, help="of the log; made if need be")
    add("--model", default="", metavar="NAME",
        help="the selector's model, a name or a file: its MCS table and fingerprint are noted (default: the"
        " table that the selector names)")  # fmt: skip
    add("--note", action="append", default=[], metavar="NAME=TEXT", help="keep with the session; repeat it")
    add("--rotate-mb", type=float, default=64.0, metavar="MB",
        help="close a part of the log at this size (default: %(default)s)")  # fmt: skip
    add("--rotate-s", type=float, default=300.0, metavar="S",
        help="or at this age, and turn it into Parquet (default: %(default)s)")  # fmt: skip
    add("--weights", action="store_true", help="keep the tuner's weights too, some 5 kB for each model")
    add("--seconds", type=float, default=0.0, metavar="S", help="end after so long (default: when told to)")
    add("--quiet", action="store_true", help="no live display")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Record until told to end; returns the exit status."""
    from rich.console import Console

    from ..net.telemetry import Subscriber
    from ..records.writer import LogWriter, Rotation

    notes = dict(_note(text) for text in args.note)
    rotation = Rotation(args.rotate_mb, args.rotate_s)
    model = load_model(args.model) if args.model else None
    console = Console(stderr=True)
    end_s = time.monotonic() + args.seconds if args.seconds else math.inf
    rows: Counter[str] = Counter()
    lost: Counter[str] = Counter()
    with (
        Subscriber(args.endpoint) as subscriber,
        _told_to_end() as told,
        _display(console, args.quiet) as show,
    ):
        recording = _Recording(subscriber, lambda: bool(told) or time.monotonic() >= end_s, show)
        first = None
        while True:  # a session for each start of the flowgraph
            writer = LogWriter(args.directory, model, notes, rotation, args.weights, args.endpoint)
            console.print(f"recording {args.endpoint} into {writer.folder}, Ctrl-C ends it", soft_wrap=True)
            try:
                first = recording.session(writer, first)
            finally:
                writer.close()
                rows += writer.rows
                lost += writer.lost
            if first is None:
                break
    for table, n in sorted(rows.items()):
        console.print(f"  {table:10s}{n:10d}")
    for cause, n in sorted(lost.items()):
        console.print(f"  lost, {cause}: {n}")
    if not rows:
        console.print("nothing came: is there a telemetry block at this endpoint, and connected?")
    return 0


class _Recording:
    """Takes messages from a subscriber until it is over.

    Args:
        over: whether it is.
        show: called now and then with the writer.
    """

    def __init__(
        self, subscriber: Subscriber, over: Callable[[], bool], show: Callable[[LogWriter], None]
    ) -> None:
        self._subscriber, self._over, self._show = subscriber, over, show
        self._told: Counter[str] = Counter()

    def session(self, writer: LogWriter, message: Message | None) -> Message | None:
        """Record a session from ``message`` on; returns the first message of the next one, or None."""
        publisher = None if message is None else message.session
        next_show_s = 0.0
        while True:
            if message is not None:
                if publisher not in (None, message.session):
                    return message
                publisher = message.session
                self._losses(writer)
                writer.write(message.kind, message.fields, message.time_s)
            now_s = time.monotonic()
            if message is None or now_s >= next_show_s:
                writer.flush()
            if now_s >= next_show_s:
                next_show_s = now_s + _SHOW_S
                self._show(writer)
            if self._over():
                self._rest(writer)
                return None
            message = self._subscriber.receive(_WAIT_S)

    def _rest(self, writer: LogWriter) -> None:
        """What is here already, when it is over."""
        end_s = time.monotonic() + _REST_S
        while time.monotonic() < end_s and (message := self._subscriber.receive(0.0)) is not None:
            writer.write(message.kind, message.fields, message.time_s)
        self._losses(writer)

    def _losses(self, writer: LogWriter) -> None:
        """Have the log say what never came or was no message."""
        subscriber = self._subscriber
        now = {"telemetry: missed": subscriber.missed, "telemetry: malformed": subscriber.malformed.total()}
        for cause, n in now.items():
            writer.lose(cause, n - self._told[cause])
            self._told[cause] = n


def _note(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ValueError(f"--note {text!r}: give NAME=TEXT")
    return name, value


@contextmanager
def _told_to_end() -> Iterator[list[int]]:
    """A list that SIGINT and SIGTERM append to."""
    told: list[int] = []
    before = {
        n: signal.signal(n, lambda number, _: told.append(number)) for n in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _display(console: Any, quiet: bool) -> Iterator[Callable[[LogWriter], None]]:
    if quiet or not console.is_terminal:
        yield lambda writer: None
        return
    from rich.status import Status

    with Status("waiting for telemetry", console=console) as status:

        def show(writer: LogWriter) -> None:
            rows, lost = writer.rows, writer.lost.total()
            parts = [f"{rows[name]} {name}" for name in ("csi", "decision", "feedback", "model", "status")]
            parts += [f"[red]{lost} lost[/red]"] if lost else []
            status.update(", ".join(parts) if rows else "waiting for telemetry")

        yield show
