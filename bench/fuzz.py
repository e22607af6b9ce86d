# SPDX-License-Identifier: GPL-3.0-or-later
"""Fuzzes whatever takes input from outside, guided by coverage (atheris): docs/results/fuzz.md.

Every message handler of every block, the modem's header and receiver, the frames of all protocols, model,
state, curve and campaign files, and logs (`fuzzing`). A finding is an exception that is not the documented
one, a message that is neither taken nor counted as dropped, more than 2 GiB of memory, or more than 10 s for
one input; its input is kept in ``build/fuzz``, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

MEMORY_MIB, INPUT_S = 2048, 10
FINDINGS = Path("build/fuzz")
TOGETHER = "all"
# numba compiles these: it must find them as they were written.
_COMPILED = [
    *(f"core.{name}" for name in ("belief", "network", "link_kernel", "tuning", "kernel", "tuning_kernel")),
    "sim.drive",
    "sim.batch_link",
]
_PACKAGE = "gnuradio.lighttune"
_SHORT_INPUTS = 3000


@dataclass(frozen=True)
class Outcome:
    """What became of a target.

    Args:
        name: of the target.
        inputs: that were run; of these ``taken``, the others were refused as documented.
        edges: of the module's byte code that were reached.
        memory_mib: of the process, at most.
        seconds: that it took.
        finding: the last lines of the log, where it ended early.
    """

    name: str
    inputs: int
    taken: int
    edges: int
    memory_mib: int
    seconds: float
    finding: str = ""


def child(name: str, arguments: list[str]) -> None:
    """Fuzz one target in this process; libFuzzer ends it."""
    import atheris

    with atheris.instrument_imports(
        include=[_PACKAGE], exclude=[f"{_PACKAGE}.{module}" for module in _COMPILED]
    ):
        from fuzzing.targets import TARGETS, together
    import numpy as np

    np.seterr(all="ignore")
    target = together() if name == TOGETHER else TARGETS[name]
    folder = Path(tempfile.mkdtemp(dir=os.environ["FUZZ_SCRATCH"]))
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(target.seeds()):
        (corpus / f"seed-{number}").write_bytes(seed)
    (folder / "files").mkdir()
    feed, taken = target.make(folder / "files"), 0
    tally = os.open(os.environ["FUZZ_TALLY"], os.O_WRONLY)

    def one(data: bytes) -> None:
        nonlocal taken
        taken += feed(data)
        os.pwrite(tally, b"%d" % taken, 0)  # libFuzzer ends the process without a last word

    limits = [f"-rss_limit_mb={MEMORY_MIB}", f"-timeout={INPUT_S}", f"-max_len={target.largest}"]
    atheris.Setup([sys.argv[0], *limits, *arguments, str(corpus)], one)
    atheris.Fuzz()


def fuzz(name: str, inputs: int, seconds: int) -> Outcome:
    """Fuzz one target in a process of its own."""
    FINDINGS.mkdir(parents=True, exist_ok=True)
    prefix = FINDINGS / (name.replace(" ", "_").replace(",", "") + "-")
    with tempfile.TemporaryDirectory() as scratch:
        tally = Path(scratch) / "taken"
        tally.write_text("0")
        command = [sys.executable, __file__, "--child", name, "--", f"-runs={inputs}", "-seed=1"]
        command += [f"-max_total_time={seconds}", f"-artifact_prefix={prefix}", "-print_final_stats=1"]
        began = time.monotonic()
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
            env=os.environ | {"FUZZ_SCRATCH": scratch, "FUZZ_TALLY": str(tally), "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        taken = int(tally.read_text())
    log, took = done.stdout, time.monotonic() - began
    Path(f"{prefix}log.txt").write_text(log)
    return Outcome(
        name,
        _last(r"number_of_executed_units: (\d+)", log) or _last(r"^#(\d+)", log),
        taken,
        _last(r"cov: (\d+)", log),
        _last(r"peak_rss_mb:\s+(\d+)", log),
        took,
        "" if done.returncode == 0 else _traceback(log),
    )


def _last(pattern: str, text: str) -> int:
    found = re.findall(pattern, text, re.MULTILINE)
    return int(found[-1]) if found else 0


def _traceback(log: str) -> str:
    """The first exception in a log, or its end."""
    begin = log.find("Traceback (most recent call last)")
    lines = log[begin:].splitlines() if begin >= 0 else log.splitlines()[-20:]
    return "\n".join(line for line in lines[:40] if not line.startswith(("==", "MS:", "0x")))


def shares(inputs: int) -> dict[str, int]:
    """How many inputs each target gets."""
    from fuzzing.targets import TARGETS

    whole = sum(target.share for target in TARGETS.values())
    return {name: max(1, round(inputs * target.share / whole)) for name, target in TARGETS.items()}


def run(work: dict[str, int], seconds: int, jobs: int) -> Iterator[Outcome]:
    """Fuzz these targets, so many at a time."""
    from rich.progress import Progress

    with Progress(transient=True) as progress, ThreadPoolExecutor(jobs) as pool:
        task = progress.add_task("fuzzing", total=len(work))
        for outcome in pool.map(lambda item: fuzz(*item, seconds), work.items()):
            progress.update(task, advance=1, description=outcome.name)
            yield outcome


def report(outcomes: Sequence[Outcome]) -> list[str]:
    """The page."""
    from common import table

    rows = [
        [
            o.name, f"{o.inputs:,}", f"{100 * o.taken / max(o.inputs, 1):.0f} %", str(o.edges),
            f"{o.memory_mib}", f"{o.seconds:.0f}", str(int(bool(o.finding))),
        ]
        for o in outcomes
    ]  # fmt: skip
    total = sum(o.inputs for o in outcomes)
    head = ["target", "inputs", "taken", "edges", "memory, MiB", "time, s", "findings"]
    return [
        "# Hostile input",
        "",
        f"{total:,} inputs, {sum(bool(o.finding) for o in outcomes)} findings. Coverage-guided fuzzing with",
        "atheris; each target in a process of its own. An input is taken, or refused with the documented",
        "error; a block's input is up to eight messages, each of which is taken or dropped, counted once and",
        "by its cause. Edges are those of this module's byte code that were reached since the target was",
        "made. Memory is of the whole process.",
        "",
        *table(head, rows),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--out", type=Path, metavar="DIR", help="folder to write to (default: docs/results)")
    made.add_argument("--short", action="store_true", help="a few seconds for all targets; needs --out")
    made.add_argument("--inputs", type=int, default=10**6, help="of all targets (default: %(default)d)")
    made.add_argument("--seconds", type=int, default=240, help="for each at most (default: %(default)d)")
    made.add_argument("--jobs", type=int, default=os.cpu_count(), help="at a time (default: %(default)d)")
    made.add_argument("--only", metavar="NAME", action="append", help="a target; may be repeated")
    made.add_argument("--child", help=argparse.SUPPRESS)
    made.add_argument("rest", nargs="*", help=argparse.SUPPRESS)
    args = made.parse_args(arguments)
    if args.child:
        child(args.child, args.rest)
    try:
        import atheris  # noqa: F401
    except ImportError:
        raise SystemExit("atheris is missing: run `make setup`") from None
    from common import page, write_page

    path = page(args, "fuzz")
    work = {TOGETHER: min(args.inputs, _SHORT_INPUTS)} if args.short else shares(args.inputs)
    if args.only:
        work = {name: inputs for name, inputs in shares(args.inputs).items() if name in args.only}
    if not work:
        raise SystemExit(f"--only {args.only}: give some of {', '.join(shares(1))}")
    outcomes = list(run(work, args.seconds, args.jobs))
    write_page(path, "bench/fuzz.py", report(outcomes))
    for outcome in outcomes:
        if outcome.finding:
            print(f"\n{outcome.name}: see {FINDINGS}\n{outcome.finding}", file=sys.stderr)
    return int(any(outcome.finding for outcome in outcomes))


if __name__ == "__main__":
    raise SystemExit(main())
