# SPDX-License-Identifier: GPL-3.0-or-later
"""How fast the tuner service is: 10,000 links of 4 hosts at 10 feedbacks per second each, then as many as it
takes.

    python bench/speed_service.py            # some 60 s; the service and its load take a core each

The service is the real `lighttune serve`. The hosts are DEALER sockets of one process that speaks the wire
format: each link's SINR walks, its MCS is the one of most expected goodput, its outcomes are drawn from its
curve; every tenth link's receiver needs 2 dB more, so that there is something to tune.
"""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import zmq
from gnuradio.lighttune.core.link_files import load_model
from gnuradio.lighttune.core.link_tuner import LinkTuner
from gnuradio.lighttune.core.mcs import sigmoid
from gnuradio.lighttune.net import wire

HOSTS, LINKS, ROUNDS = 4, 2500, 30
FEEDBACK_HZ = 10.0  # of each link
_SPREAD_DB = 1.0  # of what the predictor holds possible
CHUNK = 250  # samples of a message
WARM_S, SUSTAINED_S, SATURATED_S = 6.0, 20.0, 10.0
"""Seconds: links are new at first, and a new link has earned no trust."""


@dataclass
class Phase:
    """What a load saw: samples that it offered, sent and was told to be learnt, and how long that took."""

    seconds: float
    offered: int
    sent: int
    learnt: int
    models: int
    delay_s: np.ndarray


class Traffic:
    """What the links of all hosts have to say, ``ROUNDS`` times over: outcomes are drawn anew each time."""

    def __init__(self, links: int) -> None:
        rng = np.random.default_rng(5)
        table, n = load_model("amc").table, HOSTS * links
        gain, self.records, self.bler = table.goodput_if_acked(), [], []
        mean = rng.uniform(2.0, 28.0, n)
        off = np.where(rng.random(n) < 0.1, 2.0, 0.0)
        snr = mean + rng.normal(0.0, 2.0, n)
        width = np.hypot(table.slope, _SPREAD_DB)
        for _ in range(ROUNDS):
            snr += 0.1 * (mean - snr) + rng.normal(0.0, 0.7, n)
            logit = (table.threshold - snr[:, None]) / width
            mcs = (gain * (1.0 - sigmoid(logit))).argmax(axis=1)
            z, k = logit[np.arange(n), mcs], 1.0 / width[mcs]
            records = np.zeros(n, wire.SAMPLE)
            records["link"], records["mcs"] = np.arange(n) % links, mcs
            records["features"] = np.stack([z, k, np.ones(n)], axis=1)
            self.records.append(records)
            self.bler.append(sigmoid(z + k * off))
        self.rng, self.links, self.at = rng, links, 0

    def chunk(self) -> tuple[int, np.ndarray]:
        """The next ``CHUNK`` samples, hosts in turn: host and records."""
        turn, host = divmod(self.at, HOSTS)
        per_host = self.links // CHUNK
        round_, place = divmod(turn, per_host)
        part = slice(host * self.links + place * CHUNK, host * self.links + (place + 1) * CHUNK)
        records = self.records[round_ % ROUNDS][part]
        records["ack"] = self.rng.random(CHUNK) >= self.bler[round_ % ROUNDS][part]
        records["seq"] = round_
        self.at += 1
        return host, records


class Load:
    """The hosts: sends at a rate, as far as each one's credit allows, and notes when what was learnt."""

    def __init__(self, endpoint: str, links: int) -> None:
        self.traffic = Traffic(links)
        self.context, self.poller = zmq.Context(), zmq.Poller()
        self.sockets = [self.context.socket(zmq.DEALER) for _ in range(HOSTS)]
        self.sent, self.taken, self.window = [0] * HOSTS, [0] * HOSTS, [0] * HOSTS
        self.under_way: list[list[tuple[int, float]]] = [[] for _ in range(HOSTS)]
        self.models = 0
        self.delay_s: list[tuple[float, int]] = []
        self.beat_s = 0.0
        for i, socket in enumerate(self.sockets):
            socket.connect(endpoint)
            socket.send(wire.encode(wire.Hello.of(load_model("amc"), f"host-{i}", i)))
            self.poller.register(socket, zmq.POLLIN)
        while not all(self.window):
            self.receive(1.0)

    def receive(self, timeout_s: float) -> None:
        ready = dict(self.poller.poll(timeout_s * 1e3))
        now_s = time.perf_counter()
        for i, socket in enumerate(self.sockets):
            while socket in ready:
                try:
                    message = wire.decode(socket.recv(zmq.NOBLOCK))
                except zmq.Again:
                    break
                match message:
                    case wire.Welcome(window):
                        self.window[i] = window
                    case wire.Models(links):
                        self.models += len(links)
                    case wire.Credit(taken):
                        self.taken[i] = taken
                        waiting = self.under_way[i]
                        while waiting and waiting[0][0] <= taken:
                            self.delay_s.append((now_s - waiting.pop(0)[1], CHUNK))
                    case wire.Refused(_, reason):
                        raise RuntimeError(reason)

    def phase(self, rate_hz: float, seconds: float) -> Phase:
        """Offer ``rate_hz`` (infinite: all that is let through) for that long."""
        self.delay_s, before, models = [], (sum(self.sent), sum(self.taken)), self.models
        begin_s = time.perf_counter()
        chunks = 0
        while (now_s := time.perf_counter() - begin_s) < seconds:
            due = min(now_s * rate_hz / CHUNK, chunks + HOSTS)
            while chunks < due:
                host, records = self.traffic.chunk()
                chunks += 1
                if self.sent[host] - self.taken[host] + CHUNK > self.window[host]:
                    continue  # no credit: a host would drop its oldest; here it is the newest
                self.sockets[host].send(wire.encode(wire.Samples(records)))
                self.sent[host] += CHUNK
                self.under_way[host].append((self.sent[host], time.perf_counter()))
            if rate_hz < np.inf:
                pause_s = chunks * CHUNK / rate_hz - (time.perf_counter() - begin_s)
            else:
                pause_s = 0.001
            self.receive(max(0.0, pause_s))
        seconds = time.perf_counter() - begin_s
        return Phase(
            seconds, chunks * CHUNK, sum(self.sent) - before[0], sum(self.taken) - before[1],
            self.models - models, np.array([delay for delay, _ in self.delay_s]),
        )  # fmt: skip


def drive(
    endpoint: str, links: int, phases: list[tuple[float, float]], results: multiprocessing.Queue
) -> None:
    """The load's process: every phase's figures go into the queue."""
    load = Load(endpoint, links)
    for rate_hz, seconds in phases:
        results.put(load.phase(rate_hz, seconds))


class Served:
    """A `lighttune serve` of our own."""

    def __init__(self, *arguments: str) -> None:
        command = [
            sys.executable, "-m", "gnuradio.lighttune.cli", "serve", "--bind", "tcp://127.0.0.1:*",
            "--metrics-port", "0", *arguments,
        ]  # fmt: skip
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
        self.endpoint, self.metrics_url = self.event("listening")["endpoint"], self.event("metrics")["url"]

    def event(self, name: str) -> dict:
        for line in self.process.stderr:
            event = json.loads(line)
            if event["event"] == name:
                return event
        raise RuntimeError(f"the service ended before it said {name!r}")

    def metrics(self) -> dict[str, float]:
        text = urllib.request.urlopen(self.metrics_url, timeout=60).read().decode()
        pairs = (line.rpartition(" ")[::2] for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, value in pairs}

    def rss_bytes(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) * 1024

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)
        self.process.stderr.close()


def run(
    links: int, phases: list[tuple[float, float]], *arguments: str
) -> tuple[list[Phase], dict[str, float]]:
    """One service under these phases of load: what the load saw, and what the service says of itself."""
    served = Served(*arguments)
    try:
        empty = served.rss_bytes()
        results: multiprocessing.Queue = multiprocessing.get_context("spawn").Queue()
        load = multiprocessing.get_context("spawn").Process(
            target=drive, args=(served.endpoint, links, phases, results), daemon=True
        )
        load.start()
        seen, cpu_s, updates = [], [], []
        for _, seconds in phases:
            seen.append(results.get(timeout=seconds + 600))
            cpu_s.append(served.cpu_s())
            updates.append(served.metrics().get("lighttune_updates_total", 0.0))
        load.join()
        about = served.metrics()
        about["bytes_per_link"] = (served.rss_bytes() - empty) / max(about["lighttune_links"], 1)
        about["cpu_share"] = (cpu_s[1] - cpu_s[0]) / seen[1].seconds
        about["updates_share"] = (updates[1] - updates[0]) / max(seen[1].learnt, 1)
    finally:
        served.close()
    return seen, about


def bare_hz(links: int, seconds: float) -> float:
    """Samples per second that `LinkTuner.learn_rows` alone takes on this traffic: the peer, and the wall."""
    traffic = Traffic(links)
    tuner = LinkTuner(load_model("amc"), max_links=HOSTS * links)
    rows = tuner.rows(np.arange(HOSTS * links))
    learnt, busy_s = 0, 0.0
    while busy_s < seconds:
        parts = [traffic.chunk() for _ in range(HOSTS)]
        records = np.concatenate([records for _, records in parts])
        at = np.concatenate([rows[host * links + records["link"].astype(int)] for host, records in parts])
        features, mcs = records["features"].astype(float), records["mcs"].astype(np.int64)
        begin_s = time.perf_counter()
        tuner.learn_rows(at, features, mcs, 1.0 - records["ack"])
        busy_s += time.perf_counter() - begin_s
        learnt += len(records)
    return learnt / busy_s


def measure(scale: float = 1.0) -> list[str]:
    """Run all; returns markdown lines. ``scale`` below 1 makes it short and small."""
    links = max(CHUNK, int(LINKS * scale))
    goal_hz = HOSTS * links * FEEDBACK_HZ
    steady = [(goal_hz, WARM_S * scale), (goal_hz, SUSTAINED_S * scale), (np.inf, SATURATED_S * scale)]
    with TemporaryDirectory() as folder:
        state = ["--state", f"{folder}/state", "--save-s", str(10 * scale)]
        (_, sustained, saturated), about = run(links, steady, *state)
    bare = bare_hz(links, 4.0 * scale)
    (_, always), _ = run(links, [(goal_hz, 3.0 * scale), (np.inf, SATURATED_S * scale)], "--always")
    dropped = sum(v for name, v in about.items() if name.startswith("lighttune_dropped_total"))
    p50, p99 = np.percentile(sustained.delay_s, [50, 99]) * 1e3
    save_s = about["lighttune_save_seconds_sum"] / about["lighttune_save_seconds_count"]
    held_back = 1.0 - sustained.sent / sustained.offered
    lines = [
        f"{HOSTS} hosts, {HOSTS * links:,} links, 10 feedbacks/s each ({goal_hz:,.0f}/s) for "
        f"{sustained.seconds:.0f} s; then as many as the service takes.",
        "",
        "| | |",
        "|---|---:|",
        f"| offered, feedbacks/s | {sustained.offered / sustained.seconds:,.0f} |",
        f"| learnt, feedbacks/s | {sustained.learnt / sustained.seconds:,.0f} |",
        f"| held back by the window (a host drops these), share | {held_back:.2%} |",
        f"| dropped by the service, samples | {dropped:,.0f} |",
        f"| sent to learnt and confirmed, ms: median | {p50:.1f} |",
        f"| the same, p99 | {p99:.1f} |",
        f"| models sent, per second | {sustained.models / sustained.seconds:,.0f} |",
        f"| updates, share of feedbacks | {about['updates_share']:.1%} |",
        f"| the service's CPU time, cores | {about['cpu_share']:.2f} |",
        f"| saturates at, feedbacks/s | {saturated.learnt / saturated.seconds:,.0f} |",
        f"| the same, tuning on every feedback | {always.learnt / always.seconds:,.0f} |",
        f"| `LinkTuner.learn_rows` alone on this traffic (the wall), feedbacks/s | {bare:,.0f} |",
        f"| saturation over that | {saturated.learnt / saturated.seconds / bare:.2f} |",
        f"| saving the state of all links meanwhile, s | {save_s:.2f} |",
        f"| resident memory per link, KiB | {about['bytes_per_link'] / 1024:.1f} |",
    ]
    return lines


if __name__ == "__main__":
    print(*measure(), sep="\n")
