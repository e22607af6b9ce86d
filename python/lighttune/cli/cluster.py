# SPDX-License-Identifier: GPL-3.0-or-later
"""Dask for the commands that have many independent pieces of work: a cluster of this machine's, or another.

Dask sends Python objects (pickle) between its processes: whoever can reach a scheduler can run code on it.
A cluster of our own listens on the loopback interface alone; another one must be trusted.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

_TLS = ("tls_ca", "tls_cert", "tls_key")
_ANSWER_S = 20  # for the scheduler's answer
_WORKERS_S = 20  # for its first worker


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--workers``, ``--scheduler`` and the TLS files."""
    group = parser.add_argument_group("where the work is done")
    add = group.add_argument
    add("--workers", type=int, metavar="N",
        help="processes of this machine's (default: one for each core)")  # fmt: skip
    add(
        "--scheduler",
        metavar="ADDRESS",
        help="an existing Dask scheduler, tcp://HOST:PORT or tls://HOST:PORT, instead. Dask runs whatever"
        " code it is sent, in both directions: use only a cluster and a network that you trust",
    )
    add("--tls-ca", type=Path, metavar="FILE", help="for tls://: certificate of the authority, PEM")
    add("--tls-cert", type=Path, metavar="FILE", help="for tls://: our own certificate, PEM")
    add("--tls-key", type=Path, metavar="FILE", help="for tls://: its key, PEM")


def check_options(args: argparse.Namespace) -> None:
    """Raise `ValueError` for what cannot go together, before anything is started."""
    if args.workers is not None and args.workers < 1:
        raise ValueError(f"--workers {args.workers}: give 1 or more")
    files = {name: getattr(args, name) for name in _TLS}
    given = [path for path in files.values() if path is not None]
    if args.scheduler is None:
        if given:
            raise ValueError(f"--tls-... {given[0]}: goes with --scheduler tls://HOST:PORT alone")
        return
    protocol = args.scheduler.partition("://")[0]
    if protocol not in ("tcp", "tls"):
        raise ValueError(f"--scheduler {args.scheduler!r}: give tcp://HOST:PORT or tls://HOST:PORT")
    if (protocol == "tls") != (len(given) == len(files)) or len(given) not in (0, len(files)):
        raise ValueError("a tls:// scheduler needs --tls-ca, --tls-cert and --tls-key, a tcp:// one none")
    for name, path in files.items():
        if path is not None and not path.is_file():
            raise FileNotFoundError(f"--{name.replace('_', '-')} {path}: there is no such file")


@contextmanager
def connect(args: argparse.Namespace, most: int) -> Iterator[Any]:
    """A client of the scheduler that the options name, or of a cluster of our own that ends with it.

    Args:
        args: with the options of `add_options`, checked.
        most: workers that could have work to do, at most.

    Raises:
        ValueError: Dask is not installed.
        ConnectionError: the scheduler cannot be reached, or has no workers.
    """
    try:
        from dask.system import CPU_COUNT
        from distributed import Client, LocalCluster
        from distributed.security import Security
    except ImportError as error:
        raise ValueError(
            f"{error.name} is not installed: see the extra 'campaign' in pyproject.toml"
        ) from error
    # What goes wrong is told by us, and not over the progress bar.
    for name in ("distributed", "distributed.client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    if args.scheduler is None:
        n = max(1, min(args.workers or CPU_COUNT, most))
        with (
            LocalCluster(
                n_workers=n,
                threads_per_worker=1,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",
                scheduler_kwargs={"dashboard": False},
                silence_logs=logging.CRITICAL,
            ) as cluster,
            Client(cluster, set_as_default=False) as client,
        ):
            yield client
        return
    security = Security(
        tls_ca_file=args.tls_ca and str(args.tls_ca),
        tls_client_cert=args.tls_cert and str(args.tls_cert),
        tls_client_key=args.tls_key and str(args.tls_key),
        require_encryption=args.scheduler.startswith("tls"),
    )
    try:
        client = Client(args.scheduler, security=security, timeout=_ANSWER_S, set_as_default=False)
    except (OSError, TimeoutError) as error:
        raise ConnectionError(
            f"no scheduler answers at {args.scheduler}: start one with `dask scheduler` ({error})"
        ) from error
    with client:
        try:
            client.wait_for_workers(1, timeout=_WORKERS_S)
        except TimeoutError as error:
            raise ConnectionError(
                f"the scheduler at {args.scheduler} has no workers: start some with"
                f" `dask worker {args.scheduler}`"
            ) from error
        yield client


def completed(
    client: Any, function: Callable[..., Any], items: Sequence[Any], **shared: Any
) -> Iterator[tuple[int, Any]]:
    """Call ``function(item, **shared)`` on the workers.

    A piece of work whose worker dies is given to another one.

    Args:
        function: of a module that the workers can import.
        shared: arguments of all calls; sent to each worker once.

    Yields:
        Place of the item and what came of it, in the order in which they end: a result, or the exception.

    Raises:
        ConnectionError: the scheduler is lost.
    """
    from distributed import as_completed

    run = uuid4().hex[:8]  # another client's pieces of work never have our names
    # A task, and not scattered data: those are gone with the worker that has them.
    common = {
        name: client.submit(_same, value, key=f"{name}-{run}", pure=False) for name, value in shared.items()
    }
    keys = [f"{function.__name__}-{run}-{place}" for place in range(len(items))]
    places = {key: place for place, key in enumerate(keys)}
    futures = client.map(function, items, key=keys, pure=False, batch_size=1000, **common)
    waiting = as_completed(futures, loop=client.loop)
    del futures  # what has ended is let go, on the workers too
    for future in waiting:
        if future.status == "cancelled" or client.status != "running":
            raise ConnectionError("the connection to the Dask scheduler is lost")
        try:
            came = future.exception() if future.status == "error" else future.result()
        except OSError as error:  # while it was fetched; the function's own errors are not raised here
            raise ConnectionError("the connection to the Dask scheduler is lost") from error
        yield places[future.key], came
        future.release()


def _same(value: Any) -> Any:
    return value
