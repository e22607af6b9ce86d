# SPDX-License-Identifier: GPL-3.0-or-later
"""A tuner service for tests: the real one, in a thread or as `lighttune serve`, and hosts that speak to
it."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from typing import Any

import numpy as np
import zmq
from gnuradio.lighttune.core.link_model import LinkModel
from gnuradio.lighttune.core.link_tuner import LinkTuner
from gnuradio.lighttune.core.tuning import TuningPolicy
from gnuradio.lighttune.net import wire
from gnuradio.lighttune.net.client import TunerClient
from gnuradio.lighttune.net.service import Service, ServiceSettings

from flowgraph import until
from patience import WAIT_S


class ThreadedService:
    """`Service.run` in a thread; tunes on every sample unless told otherwise."""

    def __init__(
        self, model: LinkModel, bind="tcp://127.0.0.1:*", tuner=None, state=None, key="", allowed="",
        **settings: Any,
    ) -> None:  # fmt: skip
        tuner = tuner or LinkTuner(model, TuningPolicy(always=True), max_links=64)
        self.service = Service(tuner, bind, state, ServiceSettings(**settings), key=key, allowed=allowed)
        self.endpoint = self.service.endpoint
        self.thread = threading.Thread(target=self.service.run, daemon=True)
        self.thread.start()

    def count(self, name: str, **labels: str) -> float:
        return self.service.metrics.registry.get_sample_value(f"lighttune_{name}", labels) or 0.0

    def dropped(self, cause: str) -> float:
        return self.count("dropped_total", cause=cause)

    def __enter__(self) -> "ThreadedService":
        return self

    def __exit__(self, *_: object) -> None:
        self.service.stop()
        self.thread.join(WAIT_S)
        assert not self.thread.is_alive()


class Served:
    """`lighttune serve` as a process, with its log."""

    def __init__(self, *arguments: str, bind: str = "tcp://127.0.0.1:*") -> None:
        command = [sys.executable, "-m", "gnuradio.lighttune.cli", "serve", "--bind", bind]
        self.process = subprocess.Popen(
            [*command, "--metrics-port", "0", *arguments], stderr=subprocess.PIPE, text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        self.log: list[dict[str, Any]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.metrics_url = until(lambda: self.events("metrics"), "the service to start")[0]["url"]
        self.endpoint = self.events("listening")[0]["endpoint"]

    def _read(self) -> None:
        for line in self.process.stderr:
            self.log.append(json.loads(line))  # a line that is no JSON fails the test: nothing more is read

    def events(self, name: str) -> list[dict[str, Any]]:
        return [event for event in self.log if event["event"] == name]

    def metrics(self) -> dict[str, float]:
        text = urllib.request.urlopen(self.metrics_url, timeout=WAIT_S).read().decode()
        pairs = (line.rpartition(" ")[::2] for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, value in pairs}

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, and wait until it is gone; its exit status."""
        self.process.send_signal(number)
        status = self.process.wait(WAIT_S)
        self._reader.join(WAIT_S)
        return status

    def __enter__(self) -> "Served":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._reader.join(WAIT_S)
        self.process.stderr.close()


class Host:
    """A `TunerClient` that remembers what came."""

    def __init__(self, model: LinkModel, endpoint: str, name: str = "host-a", **arguments: Any) -> None:
        self.models: dict[int, tuple[int, np.ndarray]] = {}
        self.dropped: Counter[str] = Counter()
        self.client = TunerClient(
            model,
            endpoint,
            name,
            self.take,
            lambda cause, n: self.dropped.update({cause: n}),
            **arguments,
        )
        self.seq = 0

    def take(self, models: wire.Models) -> None:
        for link, version, weights in zip(models.links, models.versions, models.weights, strict=True):
            self.models[int(link)] = int(version), weights.copy()

    def version(self, link: int) -> int:
        """Of the link's last model; 0 if none came."""
        return self.models[link][0] if link in self.models else 0

    def send(self, links: Any, ack: bool = False, mcs: int = 10, logit: float = 0.0) -> None:
        self.client.submit(samples(links, ack, mcs, logit))

    def __enter__(self) -> "Host":
        if self.client._thread is None:
            self.client.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.client.stop()
        assert not [t for t in threading.enumerate() if t is self.client._thread]

    def wait_heard(self, timeout_s: float = WAIT_S) -> "Host":
        self.__enter__()
        until(lambda: self.client.away is None, f"{self.client.away}", timeout_s)
        return self


def samples(links: Any, ack: bool = False, mcs: int = 10, logit: float = 0.0) -> np.ndarray:
    """One sample of each of these links, of a block that was as likely to fail as not."""
    records = np.zeros(len(np.atleast_1d(links)), wire.SAMPLE)
    records["link"], records["ack"], records["mcs"] = links, ack, mcs
    records["features"] = logit, 2.0, 1.0
    return records


class RawHost:
    """A DEALER socket that sends what the test likes."""

    def __init__(self, endpoint: str) -> None:
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.connect(endpoint)

    def send(self, *frames: bytes) -> None:
        self.socket.send_multipart(frames)

    def say(self, message: wire.Message) -> None:
        self.send(wire.encode(message))

    def hear(self, kind: type, timeout_s: float = WAIT_S) -> Any:
        """The next message of that kind; others are skipped."""
        end_s = time.monotonic() + timeout_s
        while self.socket.poll(max(0.0, end_s - time.monotonic()) * 1e3):
            message = wire.decode(self.socket.recv())
            if isinstance(message, kind):
                return message
        raise AssertionError(f"no {kind.__name__} came")

    def __enter__(self) -> "RawHost":
        return self

    def __exit__(self, *_: object) -> None:
        self.context.destroy(linger=0)
