# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts of the service: who is welcome, who is heard, who left, and whose samples come next."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from .backlog import Backlog
from .journal import say
from .wire import Hello, Refusal, Refused, Welcome

HOST_TIMEOUT_S = 5.0
"""A host that was not heard for so long is lost; its name is free for another."""

FORGET_S = 600.0
"""A host that has been gone for so long gives its links' places to others; their states are archived."""


@dataclass
class Host:
    """A host that was welcomed.

    Attributes:
        route: its ZeroMQ routing id; None while it is gone.
        peer: name of its key; empty in plain text.
        backlog: samples that wait.
        taken: samples since WELCOME that are off our hands; negative while older ones still wait.
    """

    name: str
    session: int
    backlog: Backlog
    heard_s: float
    route: bytes | None = None
    taken: int = 0
    peer: str = ""


class Hosts:
    """All hosts, by name and by route.

    Args:
        model: HELLO of the service's own model: hosts must have the same.
        max_hosts: that are kept at most.
        window: samples that a host may have under way, and that may wait for it here.
        share: hosts that are kept of one peer at most.
    """

    def __init__(self, model: Hello, max_hosts: int, window: int, share: int) -> None:
        self.model = model
        self.max_hosts = max_hosts
        self.window = window
        self.share = share
        self._by_name: dict[str, Host] = {}
        self._by_route: dict[bytes, Host] = {}
        self._forgotten: list[str] = []  # since `long_gone` was asked last
        self._turn = 0  # whose samples come first

    def __len__(self) -> int:
        return len(self._by_route)

    def at(self, route: bytes, peer: str = "") -> Host | None:
        """The peer's host at a route. (A route may be another's by now: whoever connects may name it.)"""
        host = self._by_route.get(route)
        return host if host is not None and host.peer == peer else None

    def named(self, name: str) -> Host | None:
        """The host of that name, heard or gone."""
        return self._by_name.get(name)

    def present(self) -> list[Host]:
        """The hosts that are heard."""
        return list(self._by_route.values())

    def waiting(self) -> int:
        """Samples of all hosts that wait."""
        return sum(len(host.backlog) for host in self._by_name.values())

    def hello(self, route: bytes, hello: Hello, now_s: float, peer: str = "") -> Welcome | Refused:
        """Let a host in, or say why not."""
        difference = self.model.difference(hello)
        if difference is not None:
            return Refused(Refusal.MODEL, f"this service tunes another model ({difference})")
        host = self._by_name.get(hello.host)
        if host is None:
            its_own = [host for host in self._by_name.values() if host.peer == peer]
            if len(its_own) >= self.share and not self._forget_one(its_own):
                return Refused(Refusal.FULL, f"this service has its {self.share} hosts")
            if len(self._by_name) >= self.max_hosts and not self._forget_one(list(self._by_name.values())):
                return Refused(Refusal.FULL, f"this service has its {self.max_hosts} hosts")
            host = self._by_name[hello.host] = Host(hello.host, hello.session, Backlog(self.window), now_s)
        elif host.route is not None and host.session != hello.session:
            return Refused(Refusal.NAME, f"another host is called {hello.host}: give each a name of its own")
        again = host.session == hello.session
        before = self._by_route.get(route)
        if before is not None:  # one that goes by another name now
            self._part(before)
        self._part(host)
        host.session, host.route, host.heard_s, host.peer = hello.session, route, now_s, peer
        host.taken = -len(host.backlog)
        self._by_route[route] = host
        say(logging.INFO, "host joined", host=host.name, hosts=len(self), reconnected=again)
        return Welcome(self.window)

    def leave(self, host: Host) -> None:
        """A host said BYE."""
        self._part(host)
        say(logging.INFO, "host left", host=host.name, hosts=len(self))

    def lose_silent(self, now_s: float) -> None:
        """Part with hosts that have not been heard for `HOST_TIMEOUT_S`."""
        for host in self.present():
            if now_s - host.heard_s > HOST_TIMEOUT_S:
                self._part(host)
                silent_s = round(now_s - host.heard_s, 1)
                say(logging.WARNING, "host lost", host=host.name, silent_s=silent_s, hosts=len(self))

    def long_gone(self, now_s: float) -> list[str]:
        """Forget hosts that have been gone for `FORGET_S`; returns all that were forgotten since the last
        call."""
        for host in _gone(self._by_name.values()):
            if now_s - host.heard_s > FORGET_S:
                self._forget(host)
        forgotten, self._forgotten = self._forgotten, []
        return forgotten

    def take(self, n: int) -> list[tuple[Host, np.ndarray]]:
        """``n`` of the samples that wait at most, each host's oldest, shared out evenly; and whose they
        are."""
        waiting = [host for host in self._by_name.values() if len(host.backlog)]
        share = max(1, n // max(1, len(waiting)))
        self._turn += 1
        first = self._turn % max(1, len(waiting))
        parts = []
        for host in waiting[first:] + waiting[:first]:
            parts.append((host, host.backlog.take(min(share, n))))
            n -= len(parts[-1][1])
            if n == 0:
                break
        return parts

    def _part(self, host: Host) -> None:
        if host.route is not None:
            del self._by_route[host.route]
            host.route = None

    def _forget(self, host: Host) -> None:
        del self._by_name[host.name]
        self._forgotten.append(host.name)

    def _forget_one(self, hosts: list[Host]) -> bool:
        """Forget the one of these hosts that has been gone the longest; False if none is gone."""
        gone = _gone(hosts)
        if gone:
            self._forget(min(gone, key=lambda host: host.heard_s))
        return bool(gone)


def _gone(hosts: Iterable[Host]) -> list[Host]:
    return [host for host in hosts if host.route is None and not len(host.backlog)]
