# SPDX-License-Identifier: GPL-3.0-or-later
"""`lighttune usrp-gain`: find the gains of a USRP link."""

from __future__ import annotations

import argparse
from typing import Any

_HELP = """\
Step through transmit and receive gains, send packets at each, and say which gains to use.

Transmitter and receiver must be at this host: on two channels of one USRP, or on two USRPs (--rx-uhd-args).
First put 40 dB of attenuators into the cable between them: it is the receiver that breaks. Start
with low gains, and read docs/usrp.md.

    lighttune usrp-gain --uhd-args serial=30AD123 --freq 915e6 --tx-gains 0:60:10 --rx-gains 0:50:10

For every pair of gains: packets received, SNR, level of the bursts, highest sample, clipped samples of the
bursts, and packets that this computer lost itself (overruns, underruns): those are sent anew, as many again
at most, and say nothing of the link. The recommendation is the lowest gains within 1 dB of the best SNR where
nothing clips.

exit status: 0 gains are found, 1 no gains will do (what to change is said), or the radio cannot be used,
3 this computer lost too much to judge the gains (run it again; what to change is said)
"""


def add_parser(commands: Any) -> None:
    """Add the sub-command."""
    parser = commands.add_parser(
        "usrp-gain",
        help="find the gains of a USRP link",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--uhd-args", default="", help="the device, as serial=30AD123 (default: any)")
    add("--rx-uhd-args", default="", help="the receiver's, if it is another one")
    add("--samp-rate", type=float, default=1e6, help="samples per second (default: %(default)g)")
    add("--freq", type=float, default=915e6, help="centre frequency in Hz (default: %(default)g)")
    add("--tx-gains", default="0:60:10", metavar="FROM:TO:STEP", help="in dB (default: %(default)s)")
    add("--rx-gains", default="0:60:10", metavar="FROM:TO:STEP", help="in dB (default: %(default)s)")
    add("--tx-antenna", default="", help="antenna port, as TX/RX (default: the radio's)")
    add("--rx-antenna", default="", help="antenna port, as RX2 (default: the radio's)")
    add("--tx-channel", type=int, default=0, help="which of the radio's channels (default: %(default)s)")
    add("--rx-channel", type=int, default=1, help="(default: %(default)s)")
    add("--clock-source", default="", help="internal or external (default: as it is)")
    add("--packets", type=int, default=20, help="at each pair of gains, 5 to 60 (default: %(default)s)")
    parser.set_defaults(run=run)


def steps(text: str, option: str) -> list[float]:
    """The gains of ``FROM:TO:STEP``, both ends included, or of a single number.

    Raises:
        ValueError: it is neither.
    """
    try:
        numbers = [float(part) for part in text.split(":")]
    except ValueError:
        numbers = []
    if len(numbers) == 1:
        return numbers
    if len(numbers) != 3 or numbers[2] <= 0 or numbers[1] < numbers[0]:
        raise ValueError(f"{option} {text}: give FROM:TO:STEP in dB, as 0:60:10, or one number")
    first, last, step = numbers
    return [first + i * step for i in range(int((last - first) / step + 1e-9) + 1)]


def run(args: argparse.Namespace) -> int:
    """Measure, show the table, recommend. Status 1: no gains will do; 3: the host is too slow to tell."""
    tx_gains, rx_gains = steps(args.tx_gains, "--tx-gains"), steps(args.rx_gains, "--rx-gains")
    if not 5 <= args.packets <= 60:
        raise ValueError(f"--packets {args.packets}: give 5 to 60")

    from rich.console import Console
    from rich.progress import track

    from .usrp_advice import lost_by_cause, recommend
    from .usrp_sounder import Sounder

    console = Console()
    sounder = Sounder(args, tx_gains[0], rx_gains[0])
    pairs = [(tx, rx) for tx in tx_gains for rx in rx_gains]
    points = []
    try:
        sounder.begin()
        for tx, rx in track(pairs, "measuring", console=console):
            points.append(sounder.measure(tx, rx, args.packets))
    finally:
        sounder.stop()
        sounder.wait()
    console.print(_table(points))
    if lost := lost_by_cause(points):
        console.print(f"Packets that this computer lost itself: {lost}. docs/usrp.md says what that means.")
    advice = recommend(points)
    console.print(advice.text)
    return advice.status


def _table(points: list[Any]) -> Any:
    from rich.table import Table

    table = Table(title="Gains of the USRP link")
    columns = "TX gain, dB|RX gain, dB|packets|SNR, dB|bursts, dBFS|peak, dBFS|clipped|lost here"
    for column in columns.split("|"):
        table.add_column(column, justify="right")
    for p in points:
        snr = f"{p.snr_db:.1f}" if p.received else "-"
        table.add_row(
            f"{p.tx_gain_db:g}", f"{p.rx_gain_db:g}", f"{p.received}/{p.judged}", snr,
            f"{p.level_dbfs:.1f}", f"{p.peak_dbfs:.1f}", f"{100 * p.clipped:.2f} %",
            f"{p.host_lost}",
        )  # fmt: skip
    return table
