# SPDX-License-Identifier: GPL-3.0-or-later
"""`lighttune keys`: make the keys with which hosts know each other."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

_HELP = """\
Make the keys with which two hosts know each other, and encrypt what they say.

On each host, once:

    lighttune keys --name tx-host        writes keys/tx-host.key and keys/tx-host.key_secret

The .key file is public: copy the receiver's host's one into a folder on the transmitter's host (say,
allowed/), and the transmitter's host's one to the receiver's host. The .key_secret file stays on its host.

    lighttune.feedback_receiver("tcp://*:5557", key="keys/tx-host.key_secret",
                                allowed="allowed")
    lighttune.feedback_sender("tcp://tx-host:5557", key="keys/rx-host.key_secret",
                              server_key="keys/tx-host.key")

Who is in the folder may speak for any link. To bound that, give a list in its place, a line for each key:

    rx-host.key     0-15
    bench-b.key     16-31, 40

For a tuner service it is the same: "lighttune serve --help".
"""


def add_parser(commands: Any) -> None:
    """Add the sub-command."""
    parser = commands.add_parser(
        "keys",
        help="make the keys with which hosts know each other",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--name", required=True, help="of this host, as others will call it")
    parser.add_argument(
        "--folder", type=Path, default=Path("keys"), help="to write to (default: %(default)s)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the files; returns the exit status."""
    from ..net.curve import make_keys

    public, secret = make_keys(args.folder, args.name)
    print(f"public, to be copied to the other hosts: {public}")
    print(f"secret, stays here:                      {secret}")
    return 0
