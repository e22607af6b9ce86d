# SPDX-License-Identifier: GPL-3.0-or-later
"""`lighttune serve`: tune the links of many hosts in one process."""

from __future__ import annotations

import argparse
import logging
import math
import os
import shutil
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..core.link_files import load_model
from ..core.link_tuner import LinkTuner
from ..core.tuning import TuningPolicy

_HELP = """\
Tune the curves of many links for many hosts.

Run it where the hosts can reach it, and give every host's tuner block its endpoint:

    lighttune serve --bind tcp://192.168.10.2:5555 --key keys/service.key_secret --allowed allowed \\
        --state tuner.state --metrics-port 9464
    lighttune.tuner(model="amc", endpoint="tcp://192.168.10.2:5555", key="keys/bench-a.key_secret",
                    server_key="service.key")

Hosts and service must use the same model. Two hosts may use the same link numbers. A host that loses the
service goes on with its last curves and comes back by itself; a service that is started anew with the same
--state goes on with what it had learnt. SIGTERM and Ctrl-C save the state and end it.

Plain text goes no further than this machine (ipc://, tcp://127.0.0.1). Beyond it the service wants keys,
which "lighttune keys" makes: --allowed is a folder with the hosts' public files, or a list whose lines may
also say for which links each may speak, as "bench-a.key  0-15". A host is called as its key's file, or that
with a dot and more behind it. --insecure does without keys, on a network that nobody else is on.

The log is on standard error, one JSON object a line.
"""


def add_parser(commands: Any) -> None:
    """Add the sub-command."""
    parser = commands.add_parser(
        "serve",
        help="tune the links of many hosts in one process",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--bind", default="tcp://127.0.0.1:5555", help="ZeroMQ endpoint (default: %(default)s)")
    add("--key", default="", metavar="FILE", help="own secret key (default: plain text)")
    add("--allowed", default="", metavar="WHO", help="folder, or list, of the hosts' public keys; with --key")
    add("--insecure", action="store_true", help="plain text beyond this machine, from anybody")
    add("--model", default="amc", help="the hosts' model: a shipped one or a file (default: %(default)s)")
    add("--state", type=Path, metavar="FILE", help="keep the links' states here (default: nowhere)")
    add("--save-s", type=float, default=30.0, metavar="S", help="save them so often (default: %(default)s)")
    add(
        "--metrics-port", type=int, metavar="N", help="answer Prometheus on 127.0.0.1:N/metrics (0: any port)"
    )
    add("--max-links", type=int, default=16384, metavar="N",
        help="links in memory, 12 KiB each; of further ones the least recently heard are put away"
        " (default: %(default)s)")  # fmt: skip
    add("--max-hosts", type=int, default=256, metavar="N", help="hosts at a time (default: %(default)s)")
    add("--queue-limit", type=int, default=16384, metavar="N",
        help="samples of each host that may wait; the oldest is dropped beyond it"
        " (default: %(default)s)")  # fmt: skip
    add("--rate-hz", type=float, default=math.inf, metavar="HZ",
        help="samples that are learnt per second at most (default: as many as come)")  # fmt: skip
    add("--pool", action="store_true", help="all links are of one PHY: what one teaches holds for all")
    add(
        "--always",
        action="store_true",
        help="tune on every sample, not only while a link's trigger asks for it",
    )
    add("--private", action="store_true", help=argparse.SUPPRESS)  # child of a tuner block: see net/child.py
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit status."""
    from ..net.journal import written_to

    if not 1 <= args.max_links <= 2**20:
        raise ValueError(f"--max-links {args.max_links}: give 1 to {2**20}")
    if args.metrics_port is not None and not 0 <= args.metrics_port <= 65535:
        raise ValueError(f"--metrics-port {args.metrics_port}: give 0 to 65535")
    policy = replace(TuningPolicy(), always=args.always)
    tuner = LinkTuner(load_model(args.model), policy, args.max_links, args.pool)
    with written_to(sys.stderr, logging.WARNING if args.private else logging.INFO):
        _serve(args, tuner)
    return 0


def _serve(args: argparse.Namespace, tuner: LinkTuner) -> None:
    from ..net.curve import is_local
    from ..net.journal import say
    from ..net.service import Service, ServiceSettings

    settings = ServiceSettings(args.rate_hz, args.queue_limit, args.max_hosts, args.save_s)
    watch_fd = sys.stdin.fileno() if args.private else None
    service = Service(tuner, args.bind, args.state, settings, watch_fd, args.key, args.allowed, args.insecure)
    if args.private:
        os.nice(5)  # the flowgraph's decisions go first
    ends = (signal.SIGTERM, signal.SIGINT)
    for number in ends:
        signal.signal(number, lambda *_: service.stop())
    signal.pthread_sigmask(
        signal.SIG_UNBLOCK, ends
    )  # a flowgraph's threads block them, and a child inherits that
    if args.metrics_port is not None:
        port = service.metrics.serve(args.metrics_port)
        say(logging.INFO, "metrics", url=f"http://127.0.0.1:{port}/metrics")
    if not (args.key or is_local(args.bind)):
        say(
            logging.WARNING,
            "open to all",
            reason="hosts are not authenticated: let only them reach this endpoint",
        )
    service.run()
    if service.orphaned:
        shutil.rmtree(args.state.parent, ignore_errors=True)  # nobody else will
