# SPDX-License-Identifier: GPL-3.0-or-later
"""Entry point of the `lighttune` command."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

_DESCRIPTION = """\
Link adaptation with a neural BLER predictor that keeps learning on the air, for GNU Radio.

Start with:   lighttune demo
It runs a real flowgraph (OFDM samples through a fading channel) twice over the same packets and the same
channel, once with OLLA and once with LightTune, and shows what each made of it.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status (0 done, 1 failed, 2 wrong usage, 130 interrupted)."""
    # Our matrices are small: threads of the linear algebra library would only fight with the flowgraph's.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # A block's thread may wait this long for another's Python code; the default of 5 ms is many packets.
    sys.setswitchinterval(0.5e-3)
    from .. import __version__
    from . import campaign, demo, modem_curves, serve, train

    parser = argparse.ArgumentParser(
        prog="lighttune", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"gr-lighttune {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in (demo, train, campaign, modem_curves, serve):
        module.add_parser(commands)
    args = parser.parse_args(argv)
    try:
        return args.run(args)
    except KeyboardInterrupt:
        print("lighttune: interrupted", file=sys.stderr)
        return 130
    except (ValueError, OSError) as error:
        print(f"lighttune: {error}", file=sys.stderr)
        return 1
