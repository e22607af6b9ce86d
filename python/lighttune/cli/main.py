# SPDX-License-Identifier: GPL-3.0-or-later
"""Entry point of the `lighttune` command."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

_DESCRIPTION = """\
Link adaptation with a neural BLER predictor that keeps learning on the air, for GNU Radio.

Start with:   lighttune demo
It runs a real flowgraph (OFDM samples through a fading channel) twice over the same packets and the same
channel, once with OLLA and once with LightTune, and shows what each made of it.
"""


class _Terminated(KeyboardInterrupt):
    """SIGTERM: it ends a command as Ctrl-C does."""


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM raises `_Terminated` in here; commands may have handlers of their own."""
    if threading.current_thread() is not threading.main_thread():  # where Python sets no handlers
        yield
        return

    def terminate(number: int, frame: object) -> None:
        raise _Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status (0 done, 1 failed, 2 wrong usage, 130 and 143 ended by SIGINT
    and SIGTERM)."""
    # Our matrices are small: threads of the linear algebra library would only fight with the flowgraph's.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # A block's thread may wait this long for another's Python code; the default of 5 ms is many packets.
    sys.setswitchinterval(0.5e-3)
    from .. import __version__
    from . import campaign, demo, keys, modem_curves, monitor, record, replay, report, serve, train, usrp_gain

    parser = argparse.ArgumentParser(
        prog="lighttune", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"gr-lighttune {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    link = demo, usrp_gain, monitor, record, report, replay
    for module in (*link, train, modem_curves, campaign, serve, keys):
        module.add_parser(commands)
    args = parser.parse_args(argv)
    try:
        with _terminable():
            return args.run(args)
    except KeyboardInterrupt as end:
        print("lighttune: interrupted", file=sys.stderr)
        return 143 if isinstance(end, _Terminated) else 130
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] in ("gnuradio", "lighttune"):
            raise  # a fault of ours
        print(
            f"lighttune: this needs the Python module {error.name}, which is not installed: "
            "see docs/install.md, or pyproject.toml for its version",
            file=sys.stderr,
        )
        return 1
    except (ValueError, OSError) as error:
        print(f"lighttune: {error}", file=sys.stderr)
        return 1
