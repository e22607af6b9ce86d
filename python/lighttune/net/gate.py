# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may connect to a server, and for which links and names it may speak.

The list of who is allowed is a folder of public key files, whose owners may speak for any link; or a text
file with a public key file and its links in each line:

    rx-host.key     0-15
    bench-b.key     16-31, 40
    monitor.key                  # any link
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import zmq
from zmq.utils import z85

from .curve import PUBLIC, check_plain, read_public, read_secret
from .fields import MAX_LINK
from .identity import HOST_NAME

_ZAP = "inproc://zeromq.zap.01"  # where libzmq asks whether a client may connect (RFC 27)
_AT_ONCE = 64  # requests that are answered before the server goes on
_RANGE = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?")


class Gate:
    """Decides which clients may connect to a server's socket, and what they may speak for.

    Nothing in it waits: a server polls its sockets in its own thread (`watching`), and hands it the poller's
    events (`attend`).

    Args:
        context: the server's own.
        key: the server's secret file; empty for plain text, from anybody.
        allowed: who may connect: a folder of ``*.key`` files, or a list (see above); read once.
        insecure: plain text may go beyond this machine.

    Attributes:
        refused: connections that were turned away so far, by cause.
        names: of the keys that are allowed; none in plain text.

    Raises:
        OSError: a file cannot be read.
        ValueError: a file is not a key, the secret one may be read by others, nobody is allowed, or there is
            a key without a list, or the reverse.
    """

    def __init__(
        self,
        context: zmq.Context,
        key: str | os.PathLike = "",
        allowed: str | os.PathLike = "",
        insecure: bool = False,
    ) -> None:
        if bool(key) != bool(allowed):
            raise ValueError(
                f"key = {os.fspath(key)!r}, allowed = {os.fspath(allowed)!r}: give both of them, or none for "
                "plain text"
            )
        self.refused: Counter[str] = Counter()
        self._context = context
        self._watches = 0
        self._insecure = insecure
        self._keys = read_secret(key) if key else None
        grants = _grants(Path(allowed)) if key else {}
        self.names = {name for name, _ in grants.values()}
        self._name_of = {public: name for public, (name, _) in grants.items()}
        self._links_of = dict(grants.values())
        self._monitor: zmq.Socket | None = None
        self._zap: zmq.Socket | None = None
        if self._keys is not None:
            self._zap = context.socket(zmq.REP)
            self._zap.linger = 0
            self._zap.bind(_ZAP)

    def bind(self, socket: zmq.Socket, endpoint: str) -> str:
        """Bind a socket for those only who are allowed; returns where it listens.

        Raises:
            OSError: the endpoint cannot be listened on.
            ValueError: it goes beyond this machine, there are no keys, and nobody said ``insecure``.
        """
        if self._keys is None:
            check_plain(endpoint, self._insecure)
        else:
            socket.curve_server = True
            socket.curve_publickey, socket.curve_secretkey = self._keys
            socket.zap_domain = b"lighttune"
        try:
            socket.bind(endpoint)
        except zmq.ZMQError as error:
            raise OSError(
                f"cannot listen on {endpoint!r}: {error}; give a free endpoint such as tcp://127.0.0.1:5557"
            ) from error
        return socket.getsockopt_string(zmq.LAST_ENDPOINT)

    @contextmanager
    def watching(self, socket: zmq.Socket, poller: zmq.Poller) -> Iterator[None]:
        """Have the poller report what `attend` has to do for the bound socket."""
        # Those that fail before anybody is asked: another mechanism, another server's key, a replay.
        self._watches += 1
        address = f"inproc://lighttune.failed.{self._watches}"  # a new one: the last may not be closed yet
        socket.monitor(address, zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL)
        self._monitor = self._context.socket(zmq.PAIR)
        self._monitor.rcvhwm = 0  # who tells of them is ZeroMQ's thread, which must not wait for us
        self._monitor.connect(address)
        own = [self._monitor] if self._zap is None else [self._monitor, self._zap]
        for each in own:
            poller.register(each, zmq.POLLIN)
        try:
            yield
        finally:
            for each in own:
                poller.unregister(each)
            socket.monitor(None, 0)
            self._monitor.close(linger=0)
            self._monitor = None

    def attend(self, events: dict) -> Counter[str]:
        """Answer what libzmq asks; returns how many connections were turned away, by cause."""
        refused: Counter[str] = Counter()
        if self._zap is not None and self._zap in events:
            refused["key not allowed"] = sum(not self._admit(request) for request in _all(self._zap))
        if self._monitor is not None and self._monitor in events:
            refused["handshake failed"] = sum(1 for _ in _all(self._monitor))
        self.refused += refused
        return refused

    def peer(self, frames: list[zmq.Frame]) -> str:
        """The name of the key that a message (without its route) came with; empty in plain text."""
        return "" if self._keys is None else frames[0]["User-Id"]

    def may_speak(self, peer: str, links: int | np.ndarray) -> bool | np.ndarray:
        """Whether a key may speak for a link, or for each of several."""
        allowed = self._links_of.get(peer)
        if allowed is None:
            return True if np.isscalar(links) else np.ones(len(links), bool)
        return allowed[links]

    def may_be_called(self, peer: str, host: str) -> bool:
        """Whether a key's owner may use a host name: the key's own, or that with a dot and more behind it."""
        if self._keys is None:
            return True
        owners = [name for name in self.names if host == name or host.startswith(f"{name}.")]
        return peer == max(owners, key=len, default=None)

    def close(self) -> None:
        """Close its socket."""
        if self._zap is not None:
            self._zap.close(linger=0)

    def _admit(self, request: list[bytes]) -> bool:
        version, number, _, _, _, mechanism, *credentials = request
        key = z85.encode(credentials[0]) if mechanism == b"CURVE" and credentials else b""
        name = self._name_of.get(key)
        verdict = (b"200", b"OK", name.encode()) if name is not None else (b"400", b"not on the list", b"")
        self._zap.send_multipart([version, number, *verdict, b""])
        return name is not None


def _all(socket: zmq.Socket) -> Iterator[list[bytes]]:
    """What has come, up to a limit."""
    for _ in range(_AT_ONCE):
        try:
            yield socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return


def _grants(allowed: Path) -> dict[bytes, tuple[str, np.ndarray | None]]:
    """Who is on the list: the name of each key, and a mask of its links, or None for any."""
    if allowed.is_dir():
        lines = [(str(file), file, "") for file in sorted(allowed.glob("*" + PUBLIC))]
    elif allowed.is_file():
        lines = list(_lines(allowed))
    else:
        raise FileNotFoundError(
            f"allowed = {str(allowed)!r}: no such folder of public keys, and no such list"
        )
    if not lines:
        raise ValueError(f"allowed = {str(allowed)!r}: no *{PUBLIC} file there; copy the clients' into it")
    grants: dict[bytes, tuple[str, np.ndarray | None]] = {}
    for where, file, links in lines:
        public, name = read_public(file), file.stem
        if not HOST_NAME.fullmatch(name):
            raise ValueError(
                f"{where}: the file's name is that of its owner, and may not be {name!r}; rename it"
            )
        if public in grants or name in {known for known, _ in grants.values()}:
            raise ValueError(f"{where}: this key, or one of this name, is there already; remove one of both")
        grants[public] = name, _mask(where, links)
    return grants


def _lines(allowed: Path) -> Iterator[tuple[str, Path, str]]:
    try:
        text = allowed.read_text()
    except UnicodeDecodeError:
        raise ValueError(f"allowed = {str(allowed)!r}: not a text file") from None
    for number, line in enumerate(text.splitlines(), 1):
        file, *links = line.partition("#")[0].split(maxsplit=1)[:2] or [""]
        if file:
            yield f"{allowed}:{number}", allowed.parent / file, "".join(links)


def _mask(where: str, links: str) -> np.ndarray | None:
    if not links.strip():
        return None
    mask = np.zeros(MAX_LINK + 1, bool)
    for part in links.split(","):
        match = _RANGE.fullmatch(part.strip())
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if not first <= last <= MAX_LINK:
            raise ValueError(f"{where}: {part.strip()!r} is no range of links; give such as 0-15, 40")
        mask[first : last + 1] = True
    return mask
