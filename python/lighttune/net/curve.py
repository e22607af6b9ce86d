# SPDX-License-Identifier: GPL-3.0-or-later
"""CURVE on ZeroMQ sockets: only who is on a list may connect, and nobody else reads or writes along.

Keys are files in ZeroMQ's certificate format: NAME.key is public and may be copied about, NAME.key_secret
stays on its machine. A server has its own secret file and the public files of those who may connect (`gate`);
a client has its own secret file and the server's public one.
"""

from __future__ import annotations

import os
import stat
import struct
import tempfile
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import zmq
import zmq.auth
from zmq.utils import z85

from .identity import HOST_NAME

PUBLIC, _SECRET = ".key", ".key_secret"


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
    targets = folder / (name + PUBLIC), folder / (name + _SECRET)
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
        return ClientKeys(*read_secret(key), read_public(server_key))

    def secure(self, socket: zmq.Socket) -> None:
        """Have this socket speak to that server alone; call it before ``connect``."""
        socket.curve_publickey, socket.curve_secretkey = self.public, self.secret
        socket.curve_serverkey = self.server


def client_keys(
    endpoint: str, key: str | os.PathLike = "", server_key: str | os.PathLike = "", insecure: bool = False
) -> ClientKeys | None:
    """The keys with which to connect to an endpoint; None for plain text.

    Raises:
        OSError: a file cannot be read.
        ValueError: there is only one of both files; there is none, and `check_plain` refuses; or as
            `ClientKeys.read`.
    """
    if bool(key) != bool(server_key):
        raise ValueError(
            f"key = {os.fspath(key)!r}, server_key = {os.fspath(server_key)!r}: give both of them, or none"
            " for plain text"
        )
    if key:
        return ClientKeys.read(key, server_key)
    check_plain(endpoint, insecure)
    return None


def check_plain(endpoint: str, insecure: bool) -> None:
    """Refuse to speak with other machines in plain text, unless that is wanted.

    Raises:
        ValueError: other machines can be reached by this endpoint, and ``insecure`` is False.
    """
    if "://" in endpoint and not (insecure or is_local(endpoint)):  # else it is none, and no socket takes it
        raise ValueError(
            f"{endpoint!r} goes beyond this machine, in plain text, which anybody on the way could read"
            " and forge: make keys ('lighttune keys --help' tells how) and give them; or, on a network that"
            " nobody else is on, insecure=True (--insecure)"
        )


def is_local(endpoint: str) -> bool:
    """Only this machine can reach the endpoint."""
    kind, _, address = endpoint.partition("://")
    if kind != "tcp":
        return kind in ("ipc", "inproc")
    host = address.rpartition(":")[0].strip("[]")
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def read_public(path: str | os.PathLike) -> bytes:
    """The key in a public file, 40 characters of Z85.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not a key.
    """
    return _load(path)[0]


def read_secret(path: str | os.PathLike) -> tuple[bytes, bytes]:
    """The public and the secret key in a secret file, 40 characters of Z85 each.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not a secret key, or others may read it.
    """
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
    except (ValueError, KeyError, IndexError, UnicodeDecodeError, struct.error):  # z85 raises the last
        raise ValueError(f"{os.fspath(path)}: not a key file; 'lighttune keys' makes them") from None
    return public, secret
