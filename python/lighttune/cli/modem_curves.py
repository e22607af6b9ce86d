# SPDX-License-Identifier: GPL-3.0-or-later
"""``lighttune modem-curves``: measure BLER against SNR of every MCS of the reference modem."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ..modem import curves
from ..modem.framing import MAX_PAYLOAD
from ..modem.mcs import MCS

_DESCRIPTION = """\
Measure the block error rate of the reference modem against SNR, for every MCS, in AWGN.

Packets of random bytes pass through the real flowgraph: amc_tx, a carrier frequency offset, noise, amc_rx
with its synchronisation, channel estimate and GNU Radio's Viterbi decoder. A packet without an ACK is an
error, whether its payload or its header was lost. SNR is Es/N0 on the occupied carriers.

Each MCS is measured from 1.5 dB below to 2 dB above the 10 % point of its union bound, and a logistic curve
is fitted by maximum likelihood, with one slope per modulation order. The predictor's and OLLA's MCS
tables for this modem come from the JSON file.
"""

_EPILOG = """\
examples:
  lighttune modem-curves --packets 100                    a quick look: about a minute
  lighttune modem-curves --mcs 4 --packets 1000           one MCS (16-QAM 3/4), finely
  lighttune modem-curves --packets 800 --json python/lighttune/models/amc_curves.json \\
      --plot docs/results/modem/bler.png --table docs/results/modem/bler.md
                                                          the shipped curves, anew
"""


def _count(low: int, high: int):
    def convert(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text!r}: give an integer from {low} to {high}")
        return value

    return convert


def add_parser(subparsers: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """Add the sub-command ``modem-curves``."""
    parser = subparsers.add_parser(
        "modem-curves",
        help="measure BLER against SNR of every MCS of the reference modem",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_arguments(parser)
    parser.set_defaults(run=run)
    return parser


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    indices = _count(0, len(MCS) - 1)
    parser.add_argument(
        "--packets",
        type=_count(1, 10**6),
        default=400,
        help="packets per point, 8 points per MCS (default 400)",
    )
    parser.add_argument(
        "--payload-bytes", type=_count(1, MAX_PAYLOAD), default=128, help="payload of a packet (default 128)"
    )
    parser.add_argument(
        "--mcs", type=indices, nargs="+", help="only these MCS, 0 (BPSK 1/2) to 9 (256-QAM 5/6); default all"
    )
    parser.add_argument(
        "--seed", type=_count(0, 2**32 - 1), default=1, help="of payloads and noise (default 1)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the curves and their fit")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the curves (PNG, SVG or PDF)")
    parser.add_argument("--table", type=Path, metavar="FILE", help="write the table in Markdown")


def run(args: argparse.Namespace) -> int:
    """Measure, print the table, write what was asked for; returns the exit status."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from .modem_point import run_point  # needs GNU Radio

    indices = sorted(set(args.mcs)) if args.mcs else list(range(len(MCS)))

    def errors(mcs: int, snr_db: float, packets: int, payload_bytes: int, seed: int) -> int:
        progress.update(task, description=f"{MCS[mcs].name:>12} at {snr_db:5.2f} dB")
        return run_point(mcs, snr_db, packets, payload_bytes, seed).errors

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        task = progress.add_task("", total=len(indices) * len(curves.OFFSETS_DB))
        measured = curves.measure(
            indices, args.packets, args.payload_bytes, args.seed, errors, lambda: progress.advance(task)
        )
    result = curves.document(measured, args.payload_bytes, args.seed)
    print(curves.markdown_table(result))
    for path, content in (
        (args.json, lambda: json.dumps(result, indent=1) + "\n"),
        (args.table, lambda: curves.markdown_table(result)),
    ):
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content())
    if args.plot is not None:
        args.plot.parent.mkdir(parents=True, exist_ok=True)
        plot(result, args.plot)
    return 0


def plot(result: dict, path: Path) -> None:
    """Draw measured points, fits and bounds of a `curves.document`."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import numpy as np

    from ..modem import framing, union_bound

    figure, axes = plt.subplots(figsize=(9, 5))
    info_bits = framing.info_bits(result["payload_bytes"])
    for row, colour in zip(
        result["mcs"], plt.cm.viridis(np.linspace(0, 0.9, len(result["mcs"]))), strict=True
    ):
        snr = np.array(row["snr_db"])
        fine = np.linspace(snr[0] - 0.5, snr[-1] + 0.5, 60)
        bler = np.array(row["errors"]) / np.array(row["packets"])
        scheme = MCS[row["index"]]
        axes.plot(snr, np.where(bler > 0, bler, np.nan), "o", ms=3.5, color=colour)
        fit = 1 / (1 + np.exp((fine - row["threshold_db"]) / row["slope_db"]))
        axes.plot(fine, fit, "-", color=colour, label=row["name"])
        bound = [union_bound.bler_bound(scheme, s, info_bits) for s in fine]
        axes.plot(fine, bound, ":", color=colour, lw=1)
    axes.set(yscale="log", ylim=(1e-3, 1.1), xlabel="Es/N0 on the occupied carriers (dB)", ylabel="BLER")
    axes.set_title(
        f"Reference modem, {result['payload_bytes']} bytes: measured (dots), fit (lines), bound (dotted)"
    )
    axes.grid(True, which="both", alpha=0.25)
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    plt.close(figure)


def main(argv: list[str] | None = None) -> int:
    """Run the sub-command alone: ``python -m gnuradio.lighttune.cli.modem_curves``."""
    parser = argparse.ArgumentParser(
        description=_DESCRIPTION, epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    _add_arguments(parser)
    return run(parser.parse_args(argv))


if __name__ == "__main__":
    raise SystemExit(main())
