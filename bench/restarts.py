#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Flowgraphs that start, stop, lock and unlock many times in a row: writes docs/results/restarts.md.

The whole loop (selector, tuner, modem, noise, ACK merger), with the tuner in a thread, in a process of its
own, and in a service; and with feedback and telemetry over ZeroMQ. Each round starts the flowgraph, waits for
a packet's feedback, locks and unlocks it, and stops it. Threads, file descriptors, processes and shared
mappings (GNU Radio's buffers) are counted after every round; the exit status is 1 if there are more at the
end than after the first few rounds.
"""

import argparse
import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pmt
from gnuradio import analog, blocks, gr, lighttune
from gnuradio.lighttune.modem.numerology import noise_power
from rich.progress import Progress

from common import page, resident_kib, table, write_page

PATIENCE_S = 120.0
WARM_ROUNDS = 5
"""Rounds after which the counts must not rise: pools of threads and caches are filled by then."""


@dataclass
class Counts:
    """What this process holds, after every round."""

    threads: list[int] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)
    processes: list[int] = field(default_factory=list)
    mappings: list[int] = field(default_factory=list)
    resident_kib: list[float] = field(default_factory=list)

    def take(self) -> None:
        """Count; what is about to end is given a moment."""
        gc.collect()
        now = _held()
        for _ in range(100):
            if not self.threads or all(n <= before for n, before in zip(now, self.first, strict=True)):
                break
            time.sleep(0.02)
            now = _held()
        for column, n in zip(self._columns, now, strict=True):
            column.append(n)
        self.resident_kib.append(resident_kib())

    @property
    def _columns(self) -> tuple[list[int], ...]:
        return self.threads, self.descriptors, self.processes, self.mappings

    @property
    def first(self) -> tuple[int, ...]:
        """Threads, descriptors, processes and shared mappings when all was warm."""
        warm = min(WARM_ROUNDS, len(self.threads)) - 1
        return tuple(column[warm] for column in self._columns)

    @property
    def last(self) -> tuple[int, ...]:
        """The same at the end."""
        return tuple(column[-1] for column in self._columns)

    @property
    def leaked(self) -> bool:
        """There are more at the end."""
        return any(last > first for first, last in zip(self.first, self.last, strict=True))


def _held() -> tuple[int, ...]:
    tasks = [task for task in Path("/proc/self/task").iterdir()]
    children = 0
    for task in tasks:
        with suppress(OSError):  # it ended meanwhile
            children += len((task / "children").read_text().split())
    with Path("/proc/self/maps").open() as maps:
        mappings = sum(line.split(maxsplit=2)[1][3] == "s" for line in maps)
    return len(tasks), len(os.listdir("/proc/self/fd")), children, mappings


class Link(gr.top_block):
    """The loop over a channel with noise only.

    Args:
        tuner: its arguments besides the defaults.
        network: feedback goes over ZeroMQ, and telemetry is published.
    """

    def __init__(self, network: bool = False, **tuner: str) -> None:
        super().__init__()
        self.selector, self.tuner = lighttune.mcs_selector(), lighttune.tuner(always=True, **tuner)
        self.tx, self.rx = lighttune.amc_tx(gap_samples=300), lighttune.amc_rx(on_overload="wait")
        self.merge = lighttune.ack_merge()
        noise = analog.noise_source_c(analog.GR_GAUSSIAN, noise_power(20.0) ** 0.5, 3)
        adder = blocks.add_cc()
        self.connect(self.tx, (adder, 0))
        self.connect(noise, (adder, 1))
        self.connect(adder, self.rx)
        self.told: gr.basic_block = self.rx  # GNU Radio keeps no Python block alive: we must
        if network:
            self.told = lighttune.feedback_receiver("tcp://127.0.0.1:*")
            self.sender = lighttune.feedback_sender(self.told.endpoint)
            self.telemetry = lighttune.telemetry("tcp://127.0.0.1:*")
            self.msg_connect(self.rx, "csi", self.sender, "csi")
            self.msg_connect(self.rx, "feedback", self.sender, "feedback")
            self.msg_connect(self.selector, "decision", self.telemetry, "decision")
        for source, out, sink, port in (
            (self.selector, "pdu_out", self.tx, "pdu_in"),
            (self.selector, "decision", self.merge, "decision"),
            (self.selector, "decision", self.tuner, "decision"),
            (self.told, "csi", self.selector, "csi"),
            (self.told, "feedback", self.merge, "feedback"),
            (self.merge, "feedback", self.selector, "feedback"),
            (self.merge, "feedback", self.tuner, "feedback"),
            (self.tuner, "model", self.selector, "model"),
        ):
            self.msg_connect(source, out, sink, port)

    def exchange(self) -> None:
        """Send packets until one is ACKed.

        Raises:
            TimeoutError: none was.
        """
        pdu = pmt.cons(pmt.make_dict(), pmt.init_u8vector(64, [7] * 64))
        before, end_s = self.selector.counters["acks"], time.monotonic() + PATIENCE_S
        while self.selector.counters["acks"] == before:
            if time.monotonic() > end_s:
                raise TimeoutError(f"no packet was ACKed in {PATIENCE_S:g} s: {self.selector.status()}")
            self.selector.to_basic_block()._post(pmt.intern("pdu_in"), pdu)
            time.sleep(0.01)


def turn(link: Link) -> None:
    """One round of a flowgraph."""
    link.start()
    try:
        link.exchange()
        link.lock()
        link.unlock()
        link.exchange()
    finally:
        link.stop()
        link.wait()


def again(make: Callable[[], Link]) -> Callable[[], None]:
    """Rounds of one flowgraph."""
    link = make()
    return lambda: turn(link)


def anew(make: Callable[[], Link]) -> Callable[[], None]:
    """Rounds of a flowgraph that is made for each."""
    return lambda: turn(make())


@contextmanager
def service() -> Iterator[str]:
    """A `lighttune serve`; yields its endpoint."""
    command = [sys.executable, "-m", "gnuradio.lighttune.cli", "serve", "--bind", "tcp://127.0.0.1:*"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            line = next(line for line in process.stderr if '"listening"' in line)
            yield line.split('"endpoint": "')[1].split('"')[0]
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=PATIENCE_S)


def measure(rounds: int, kinds: Sequence[str] = ()) -> dict[str, tuple[Counts, float]]:
    """Counts and seconds by kind of flowgraph."""
    results: dict[str, tuple[Counts, float]] = {}
    needed = not kinds or any("service" in kind for kind in kinds)
    with service() if needed else nullcontext("") as endpoint, Progress(transient=True) as progress:
        work = {
            "tuner in a thread, started again": lambda: again(Link),
            "tuner in a thread, made anew": lambda: anew(Link),
            "tuner in a process, started again": lambda: again(lambda: Link(mode="process")),
            "tuner in a process, made anew": lambda: anew(lambda: Link(mode="process")),
            "tuner in a service, started again": lambda: again(lambda: Link(endpoint=endpoint, host="a")),
            "tuner in a service, made anew": lambda: anew(lambda: Link(endpoint=endpoint, host="b")),
            "feedback and telemetry over ZeroMQ, started again": lambda: again(lambda: Link(network=True)),
            "feedback and telemetry over ZeroMQ, made anew": lambda: anew(lambda: Link(network=True)),
        }
        for name in kinds or work:
            counts, one, began = Counts(), work[name](), time.monotonic()
            task = progress.add_task(name, total=rounds)
            for _ in range(rounds):
                one()
                counts.take()
                progress.advance(task)
            results[name] = counts, time.monotonic() - began
            del one
            progress.remove_task(task)
    return results


def report(results: dict[str, tuple[Counts, float]]) -> list[str]:
    """The page."""
    rows = []
    for name, (counts, seconds) in results.items():
        held = [f"{a} -> {b}" for a, b in zip(counts.first, counts.last, strict=True)]
        half = counts.resident_kib[len(counts.resident_kib) // 2]
        growth = (counts.resident_kib[-1] - half) / max(1, len(counts.resident_kib) // 2)
        rows.append([name, str(len(counts.threads)), *held, f"{growth:+.1f}", f"{seconds:.0f}"])
    held = ["threads", "descriptors", "child processes", "shared mappings"]
    head = ["flowgraph", "rounds", *held, "KiB per round", "time, s"]
    return [
        "# Starts and stops",
        "",
        "Each round starts the whole loop, waits for an ACK, locks and unlocks it, waits for another ACK,",
        f"and stops it. Counts are those after round {WARM_ROUNDS} and after the last one; memory is the",
        "growth per round over the second half. The service of the third pair is the one child process.",
        "",
        *table(head, rows),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--out", type=Path, metavar="DIR", help="folder to write to (default: docs/results)")
    made.add_argument("--short", action="store_true", help="8 rounds of each; needs --out")
    made.add_argument("--rounds", type=int, default=200, help="of each kind (default: %(default)d)")
    args = made.parse_args(arguments)
    path = page(args, "restarts")
    results = measure(8 if args.short else args.rounds)
    write_page(path, "bench/restarts.py", report(results))
    leaked = [name for name, (counts, _) in results.items() if counts.leaked]
    for name in leaked:
        counts = results[name][0]
        print(
            f"{name}: {counts.first} threads, descriptors, processes, mappings became {counts.last}",
            file=sys.stderr,
        )
    return int(bool(leaked))


if __name__ == "__main__":
    raise SystemExit(main())
