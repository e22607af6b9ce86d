# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults of real processes: a flowgraph at 500 decisions per second whose tuner is killed, frozen, slowed,
started anew.

LightTune's chain and OLLA's stand in one flowgraph and are driven slot by slot over the same channel with the
same draws; what happens to the tuner's process or to `lighttune serve` happens meanwhile.
"""

import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from gnuradio import gr
from gnuradio.lighttune.blocks import mcs_selector, olla_selector, tuner
from gnuradio.lighttune.core.mcs import McsTable
from rich.progress import Progress

from common import table
from speed_blocks import PACKET_BYTES, Chain

SLOT_S = 0.002
_LOOK = 10  # slots between two looks at the selector's state
_GAIN = McsTable.amc().goodput_if_acked(8 * PACKET_BYTES)
_AT_S = 3.0  # when things begin to go wrong


class Link(Chain):
    """A chain that counts what it carries."""

    carried = 0.0

    def _send(self) -> float:
        taken = super()._send()
        self.carried += _GAIN[self.sink.mcs] * self._acks[self._slot - 1]
        return taken


class Log(logging.Handler):
    """Keeps what the blocks log, and when."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[tuple[float, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.add(f"host     {record.getMessage()}")

    def add(self, text: str) -> None:
        self.lines.append((time.monotonic(), text))


class Service:
    """`lighttune serve` as a process."""

    def __init__(self, log: Log, folder: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.endpoint = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        self._log, self._state = log, f"{folder}/state"
        self.start()

    def start(self) -> None:
        """Start it, anew if need be."""
        command = [sys.executable, "-m", "gnuradio.lighttune.cli", "serve", "--bind", self.endpoint]
        self.process = subprocess.Popen(
            [*command, "--state", self._state, "--save-s", "0.5", "--always"],
            stderr=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        threading.Thread(target=self._read, args=(self.process,), daemon=True).start()

    def _read(self, process: subprocess.Popen) -> None:
        for line in process.stderr or ():
            try:
                said = json.loads(line)
            except ValueError:
                said = {"event": line.strip()}
            if said["event"] != "saved":
                rest = {k: v for k, v in said.items() if k not in ("time", "event", "level")}
                words = " ".join(f"{k}={v}" for k, v in rest.items())
                self._log.add(f"service  {said['event']} {words}".rstrip())

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def end(self) -> None:
        """Whatever state it is in."""
        self.process.kill()
        self.process.wait()


@dataclass
class Story:
    """What happened: times in seconds after the fault began, None for never."""

    name: str
    how: str
    over_olla: float = float("nan")
    decisions: int = 0
    slowest_s: float = 0.0
    other_mode: str = "-"
    handed_over_s: float | None = None
    back_s: float | None = None
    tuned_s: float | None = None
    counts: dict[str, int] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)


Act = tuple[float, Callable[[], Any]]


def play(
    name: str, how: str, log: Log, tuner_block: Any, acts: list[Act], seconds: float, patience_s: float = 30.0
) -> Story:
    """Drive both chains for so long, and do what is due meanwhile.

    Args:
        acts: what to do, and when, in seconds after everything runs; the first is the fault.
        seconds: that it takes at least; where the tuner went away, it goes on until that is back.
        patience_s: no longer than this; a busy machine takes long to start a process.
    """
    selector = mcs_selector()
    ours, olla = Link(selector, tuner_block), Link(olla_selector())
    top = gr.top_block()
    for chain in (ours, olla):
        chain.connect(top)
    story, left = Story(name, how), list(acts)
    top.start()
    try:
        _wait_heard(tuner_block)
        began_line, began_s, fault_s = len(log.lines), time.monotonic(), None
        models, mode, tuned_before, waits = 0, "heard", False, False
        slot = -1
        while (slot := slot + 1) * SLOT_S < seconds or (waits and slot * SLOT_S < seconds + patience_s):
            while left and slot * SLOT_S >= left[0][0]:
                left.pop(0)[1]()
                if fault_s is None:
                    fault_s, tuned_before = time.monotonic(), ours.models > 0
                    ours.carried = olla.carried = 0.0
            story.slowest_s = max(story.slowest_s, float(ours.drive(1, SLOT_S / 2)[0]))
            olla.drive(1, SLOT_S / 2)
            if fault_s is None or slot % _LOOK:
                continue
            after_s, now = time.monotonic() - fault_s, selector.status()["tuner"]
            if now != "heard" and story.handed_over_s is None:
                story.handed_over_s, story.other_mode = after_s, now
            elif story.handed_over_s is not None and now == "heard" and mode != "heard":
                story.back_s, models = after_s, ours.models
            elif story.back_s is not None and story.tuned_s is None and ours.models > models:
                story.tuned_s = after_s
            mode, waits = now, story.handed_over_s is not None and story.tuned_s is None
        story.decisions = slot
        story.over_olla = 100.0 * (ours.carried / olla.carried - 1.0)
        time.sleep(0.5)
        story.counts = ours.losses() | {"tuned before": int(tuned_before)}
    finally:
        top.stop()
        top.wait()
    story.log = [f"{at - began_s:6.2f} s  {_short(text)}" for at, text in log.lines[began_line:]][:14]
    return story


def _wait_heard(tuner_block: Any) -> None:
    end_s = time.monotonic() + 60.0
    while tuner_block.status()["service"] != "heard":
        if time.monotonic() > end_s:
            raise RuntimeError(f"the tuner is not heard: {tuner_block.status()}")
        time.sleep(0.05)


def _short(text: str) -> str:
    """Without what differs from run to run and machine to machine."""
    text = re.sub(r"(tcp://127\.0\.0\.1:)\d+|ipc://\S+", "ENDPOINT", text)
    return re.sub(r"(file|state)=\S+/", r"\1=", text)[:110]


def _slowly(pid: int, seconds: float) -> None:
    """Let a process run for 5 ms of every 100 ms only, for so long."""

    def work() -> None:
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            os.kill(pid, signal.SIGSTOP)
            time.sleep(0.095)
            os.kill(pid, signal.SIGCONT)
            time.sleep(0.005)

    threading.Thread(target=work, daemon=True).start()


def _freeze_us(seconds: float) -> None:
    """Freeze this very process: for the flowgraph the clock jumps."""
    pid = os.getpid()
    subprocess.Popen(["sh", "-c", f"kill -STOP {pid}; sleep {seconds}; kill -CONT {pid}"])
    time.sleep(0.1)


def stories(short: bool) -> list[Story]:
    """All of them, or the two that every test run plays."""
    log = Log()
    logger = logging.getLogger("gnuradio.lighttune")
    level = logger.level
    logger.addHandler(log)
    logger.setLevel(logging.INFO)
    told = []
    try:
        plays = _plays(log)[:: 3 if short else 1]
        with Progress() as bar, tempfile.TemporaryDirectory() as folder:
            task = bar.add_task("real processes", total=len(plays))
            for place, one in enumerate(plays):
                os.mkdir(f"{folder}/{place}")
                told.append(one(f"{folder}/{place}"))
                bar.advance(task)
    finally:
        logger.removeHandler(log)
        logger.setLevel(level)
    return told


def _plays(log: Log) -> list[Callable[[str], Story]]:
    def process(name: str, how: str, act: Callable[[Any], Any], seconds: float) -> Callable[[str], Story]:
        def one(folder: str) -> Story:
            block = tuner(always=True, mode="process")
            return play(name, how, log, block, [(_AT_S, lambda: act(block))], seconds)

        return one

    def service(
        name: str, how: str, acts: Callable[[Service], list[Act]], seconds: float
    ) -> Callable[[str], Story]:
        def one(folder: str) -> Story:
            served = Service(log, folder)
            try:
                block = tuner(always=True, endpoint=served.endpoint, host="bench-a")
                return play(name, how, log, block, acts(served), seconds)
            finally:
                served.end()

        return one

    def send(number: int) -> Callable[[Any], None]:
        return lambda block: os.kill(block.status()["pid"], number)

    def killed(served: Service) -> list[Act]:
        return [(_AT_S, lambda: served.signal(signal.SIGKILL)), (_AT_S + 3.0, served.start)]

    def frozen(served: Service) -> list[Act]:
        thaw = _AT_S + 4.0
        return [
            (at, lambda n=n: served.signal(n)) for at, n in ((_AT_S, signal.SIGSTOP), (thaw, signal.SIGCONT))
        ]

    def restarted(served: Service) -> list[Act]:
        return [(_AT_S, lambda: served.signal(signal.SIGTERM)), (_AT_S + 0.5, served.start)]

    return [
        process("tuner process killed", "SIGKILL", send(signal.SIGKILL), 12.0),
        process("tuner process frozen", "SIGSTOP; the block replaces it", send(signal.SIGSTOP), 18.0),
        process(
            "tuner process slow",
            "runs 5 % of the time for 4 s",
            lambda b: _slowly(b.status()["pid"], 4.0),
            9.0,
        ),
        service("service killed", "SIGKILL; started anew 3 s later", killed, 14.0),
        service("service frozen", "SIGSTOP, SIGCONT 4 s later", frozen, 12.0),
        service("service restarted", "SIGTERM; started anew 0.5 s later", restarted, 12.0),
        process("flowgraph frozen", "SIGSTOP for 3 s: its clock jumps", lambda b: _freeze_us(3.0), 8.0),
    ]


def processes(short: bool) -> list[str]:
    """This part of the page."""
    told = stories(short)
    rows = []
    for story in told:
        counts = ", ".join(f"{k}: {v}" for k, v in story.counts.items() if k != "tuned before") or "none"
        rows.append([
            story.name, story.how, f"{story.over_olla:+.1f}", f"{story.decisions:,}",
            f"{1e3 * story.slowest_s:.0f}",
            *(_seconds(v) for v in (story.handed_over_s, story.back_s, story.tuned_s)), counts,
        ])  # fmt: skip
    head = [
        "fault", "how", "goodput over OLLA's, %", "decisions, all made", "slowest, ms", "noticed, s",
        "tuner back, s", "tuned curves, s", "dropped",
    ]  # fmt: skip
    lines = [
        "## Real processes under load",
        "",
        "A flowgraph of 500 decisions per second whose tuner lives in another process; reports are 1.5 dB too"
        " high. Times are from the fault on: until the selector says that its tuner is away, until the"
        " tuner is heard again, and until curves that it tuned since have come. Goodput counts from the"
        " fault to the end, beside OLLA over the same channel with the same draws.",
        "",
        *table(head, rows),
        "",
    ]
    for story in told:
        lines += [
            f"{story.name.capitalize()}: the selector's `tuner` was `{story.other_mode}`; the logs say",
            "",
        ]
        lines += ["```", *(story.log or ["(nothing)"]), "```", ""]
    return lines


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
