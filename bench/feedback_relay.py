#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""A bad network for the feedback path: relays frames between a feedback_sender and a feedback_receiver, late,
in another order, twice, or not at all. What it did to the senders' REPORTs is written as JSON on standard
output when it gets SIGTERM."""

import argparse
import heapq
import itertools
import json
import math
import signal
import time
from collections import Counter
from dataclasses import dataclass

import numpy as np
import zmq
from gnuradio.lighttune.net.feedback_frame import Kind

_KIND = 3  # place of the kind in a frame


@dataclass(frozen=True)
class Impairment:
    """What happens to a frame, drawn for each by itself, both ways.

    Args:
        delay_s: every frame takes so long.
        jitter_s: and this much more at most, uniformly: a later frame may overtake.
        loss: share that is lost.
        duplicate: share that comes twice, each copy with a jitter of its own.
    """

    delay_s: float = 0.02
    jitter_s: float = 0.0
    loss: float = 0.1
    duplicate: float = 0.0


class Relay:
    """Listens on one endpoint, connects to another, one connection for each that comes."""

    def __init__(self, listen: str, connect: str, impairment: Impairment, seed: int) -> None:
        self.counts: Counter[str] = Counter(
            {name: 0 for name in ("came", "lost", "duplicated", "passed", "under_way")}
        )
        self.down = False
        self._connect = connect
        self._impairment = impairment
        self._rng = np.random.default_rng(seed)
        self._context = zmq.Context()
        self._front = self._context.socket(zmq.ROUTER)
        self._front.bind(listen)
        self._poller = zmq.Poller()
        self._poller.register(self._front, zmq.POLLIN)
        self._backs: dict[bytes, zmq.Socket] = {}
        self._routes: dict[zmq.Socket, bytes] = {}
        self._under_way: list[tuple[float, int, bytes, bool, bytes]] = []
        self._tickets = itertools.count()
        self.ending = False

    def run(self) -> None:
        """Relay until `ending` is set."""
        while not self.ending:
            next_s = self._under_way[0][0] if self._under_way else math.inf
            wait_s = min(max(next_s - time.monotonic(), 0.0), 0.1)
            for socket, _ in self._poller.poll(math.ceil(wait_s * 1e3)):
                self._take(socket)
            while self._under_way and self._under_way[0][0] <= time.monotonic():
                self._deliver(*heapq.heappop(self._under_way)[2:])
        self.counts["under_way"] = sum(forth and _is_report(f) for _, _, _, forth, f in self._under_way)
        self._context.destroy(linger=0)

    def _take(self, socket: zmq.Socket) -> None:
        forth = socket is self._front
        if forth:
            route, frame = socket.recv_multipart()
            self._back(route)
        else:
            route, frame = self._routes[socket], socket.recv()
        counted = forth and _is_report(frame)
        self.counts["came"] += counted
        if self.down or self._rng.random() < self._impairment.loss:
            self.counts["lost"] += counted
            return
        twice = self._rng.random() < self._impairment.duplicate
        self.counts["duplicated"] += twice and counted
        for _ in range(1 + twice):
            at_s = (
                time.monotonic() + self._impairment.delay_s + self._impairment.jitter_s * self._rng.random()
            )
            heapq.heappush(self._under_way, (at_s, next(self._tickets), route, forth, frame))

    def _deliver(self, route: bytes, forth: bool, frame: bytes) -> None:
        self.counts["passed"] += forth and _is_report(frame)
        if forth:
            self._backs[route].send(frame)
        else:
            self._front.send_multipart([route, frame])

    def _back(self, route: bytes) -> None:
        if route not in self._backs:
            socket = self._context.socket(zmq.DEALER)
            socket.connect(self._connect)
            self._backs[route], self._routes[socket] = socket, route
            self._poller.register(socket, zmq.POLLIN)


def _is_report(frame: bytes) -> bool:
    return len(frame) > _KIND and frame[_KIND] == Kind.REPORT


def main() -> None:
    """Relay until SIGTERM; SIGUSR1 breaks the network, SIGUSR2 mends it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--listen", default="tcp://*:5557", help="where the sender connects to")
    parser.add_argument("--connect", required=True, help="where the receiver listens")
    parser.add_argument("--delay", type=float, default=0.02, help="seconds (default: %(default)s)")
    parser.add_argument("--jitter", type=float, default=0.0, help="seconds at most (default: %(default)s)")
    parser.add_argument("--loss", type=float, default=0.1, help="share (default: %(default)s)")
    parser.add_argument("--duplicate", type=float, default=0.0, help="share (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    impairment = Impairment(args.delay, args.jitter, args.loss, args.duplicate)
    relay = Relay(args.listen, args.connect, impairment, args.seed)

    def end(*_: object) -> None:
        relay.ending = True

    def down(number: int, _: object) -> None:
        relay.down = number == signal.SIGUSR1

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGUSR1, down)
    signal.signal(signal.SIGUSR2, down)
    relay.run()
    print(json.dumps(relay.counts), flush=True)


if __name__ == "__main__":
    main()
