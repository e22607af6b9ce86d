# SPDX-License-Identifier: GPL-3.0-or-later
"""CURVE on ZeroMQ sockets: only who is on a list may connect, and nobody else reads or writes along.

Keys are files in ZeroMQ's certificate format: NAME.key is public and may be copied about, NAME.key_secret
stays on its machine. A server has its own secret file and a folder with the public files of those who may
connect; a client has its own secret file and the server's public one.
"""

from __future__ import annotations

import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

import zmq
import zmq.auth
from zmq.utils import z85

from .identity import HOST_NAME

_PUBLIC, _SECRET = ".key", ".key_secret"
_ZAP = "inproc://zeromq.zap.01"  # where libzmq asks whether a client may connect (RFC 27)


def make_keys(folder: str | os.PathLike, name: str) -> tuple[Path, Path]:
    """Write a new pair of keys; returns the public and the secret file, which only its owner may read.

    Raises:
        ValueError: the name is not 1 to 64 of ``A-Z a-z 0-9 . _ -``, beginning with a letter or digit.
        FileExistsError: there are keys of this name: nothing is overwritten.
        OSError: the folder cannot be written to.
    """
    if not HOST_NAME.fullmatch(name):
        raise ValueError(
            f"name = {name!r}: give 1 to 64 of A-Z a-z 0-9 . _ -, beginning with a letter or digit"
        )
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    targets = folder / (name + _PUBLIC), folder / (name + _SECRET)
    for target in targets:
        if target.exists():
            raise FileExistsError(f"{target} exists: give another name, or remove both files of it")
    with tempfile.TemporaryDirectory(dir=folder) as private:  # nobody else can look in there
        for made, target, mode in zip(
            zmq.auth.create_certificates(private, name), targets, (0o644, 0o600), strict=True
        ):
            os.chmod(made, mode)
            os.link(made, target)
    return targets


@dataclass(frozen=True)
class ClientKeys:
    """A client's keys: its own, and the server's public one; each 40 characters of Z85.

    Raises:
        OSError: `read`: a file cannot be read.
        ValueError: `read`: a file is not a key, or the secret one may be read by others.
    """

    public: bytes
    secret: bytes
    server: bytes

    @staticmethod
    def read(key: str | os.PathLike, server_key: str | os.PathLike) -> ClientKeys:
        """From the client's secret file and the server's public one."""
        return ClientKeys(*_secret(key), _public(server_key))

    def secure(self, socket: zmq.Socket) -> None:
        """Have this socket speak to that server alone; call it before ``connect``."""
        socket.curve_publickey, socket.curve_secretkey = self.public, self.secret
        socket.curve_serverkey = self.server


class Gate:
    """Decides which clients may connect to the sockets of a context; made before any of them is bound.

    Poll its `socket` in the thread of the server's socket, and call `answer` when something is there.

    Args:
        context: the server's own.
        key: the server's secret file.
        allowed: folder with the public files (``*.key``) of those who may connect; read once.

    Attributes:
        socket: see above.
        refused: clients that were turned away so far.

    Raises:
        OSError: a file cannot be read.
        ValueError: a file is not a key, the secret one may be read by others, or nobody is allowed.
    """

    def __init__(self, context: zmq.Context, key: str | os.PathLike, allowed: str | os.PathLike) -> None:
        self._public, self._secret = _secret(key)
        files = sorted(Path(allowed).glob("*" + _PUBLIC))
        if not files:
            raise ValueError(
                f"allowed = {os.fspath(allowed)!r}: no *{_PUBLIC} file there; copy the clients' into it"
            )
        self._names = {_public(file): file.stem for file in files}
        self.refused = 0
        self.socket = context.socket(zmq.REP)
        self.socket.linger = 0
        self.socket.bind(_ZAP)

    def secure(self, socket: zmq.Socket) -> None:
        """Let only those in who are allowed; call it before ``bind``."""
        socket.curve_server = True
        socket.curve_publickey, socket.curve_secretkey = self._public, self._secret
        socket.zap_domain = b"lighttune"

    def answer(self) -> None:
        """Answer one request, if there is one. A client's ``User-Id`` is the name of its file."""
        try:
            version, request, _, _, _, mechanism, *credentials = self.socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return
        key = z85.encode(credentials[0]) if mechanism == b"CURVE" and credentials else b""
        name = self._names.get(key)
        self.refused += name is None
        verdict = (b"200", b"OK", name.encode()) if name is not None else (b"400", b"not on the list", b"")
        self.socket.send_multipart([version, request, *verdict, b""])


def is_local(endpoint: str) -> bool:
    """Only this machine can reach the endpoint."""
    return endpoint.startswith(("ipc://", "inproc://", "tcp://127.", "tcp://localhost:", "tcp://[::1]:"))


def _public(path: str | os.PathLike) -> bytes:
    return _load(path)[0]


def _secret(path: str | os.PathLike) -> tuple[bytes, bytes]:
    public, secret = _load(path)
    if secret is None:
        raise ValueError(f"{os.fspath(path)}: a public key; give the {_SECRET} file")
    if os.stat(path).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ValueError(f"{os.fspath(path)}: others may read this secret key; 'chmod 600' it")
    return public, secret


def _load(path: str | os.PathLike) -> tuple[bytes, bytes | None]:
    if not Path(path).is_file():
        raise FileNotFoundError(f"{os.fspath(path)}: no such key file; 'lighttune keys' makes them")
    try:
        public, secret = zmq.auth.load_certificate(path)
        for key in (public, secret):
            if key is not None and len(z85.decode(key)) != 32:
                raise ValueError
    except (ValueError, KeyError, IndexError, UnicodeDecodeError):
        raise ValueError(f"{os.fspath(path)}: not a key file; 'lighttune keys' makes them") from None
    return public, secret
