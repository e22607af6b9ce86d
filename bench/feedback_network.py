# SPDX-License-Identifier: GPL-3.0-or-later
"""Network namespaces for the two hosts of `feedback_hosts` and for the bad network between them.

The receiver's host runs in a time namespace too: its monotonic clock is days ahead.
"""

import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gnuradio.lighttune.modem.framing import burst_samples

from feedback_hosts import FEEDBACK, PAYLOAD_BYTES, RELAY, SAMP_RATE

AHEAD_S = 200_000  # of the receiver's clock: two days
_HOSTS = str(Path(__file__).with_name("feedback_hosts.py"))


@functools.cache
def missing() -> str:
    """Why there can be no such hosts on this machine; empty if there can."""
    if os.geteuid() != 0:
        return "needs root, for network namespaces"
    try:
        with namespaces():
            command = [*_in("rx", ahead=True), "true"]
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    except FileNotFoundError as error:
        return f"needs {error.filename}"
    except subprocess.CalledProcessError as error:
        return f"needs network and time namespaces ({error.stderr.strip()})"
    return ""


@contextlib.contextmanager
def namespaces() -> Iterator[None]:
    """Namespaces of the two hosts and of the network between them, with the wires; gone at the end."""
    names = {host: _name(host) for host in ("tx", "mid", "rx")}
    try:
        for name in names.values():
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
        for (a, a_address), (b, b_address) in (
            (("rx", "10.77.1.1"), ("mid", "10.77.1.2")),
            (("tx", "10.77.2.1"), ("mid", "10.77.2.2")),
            (("tx", "10.77.3.1"), ("rx", "10.77.3.2")),
        ):
            ends = f"to-{b}", f"to-{a}"
            _ip(
                "-n",
                names[a],
                "link",
                "add",
                ends[0],
                "type",
                "veth",
                "peer",
                "name",
                ends[1],
                "netns",
                names[b],
            )
            for host, end, address in ((a, ends[0], a_address), (b, ends[1], b_address)):
                _ip("-n", names[host], "address", "add", f"{address}/24", "dev", end)
                _ip("-n", names[host], "link", "set", end, "up")
        yield
    finally:
        for name in names.values():
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)


def run_link(
    adapter: str,
    packets: int,
    seed: int = 1,
    on_timeout: str = "erasure",
    timeout_s: float = 1.0,
    outage: tuple[float, float] | None = None,
    **network: float,
) -> dict[str, dict[str, Any]]:
    """Run the two hosts and the network until all packets are out and their verdicts are in.

    Args:
        adapter: ``"olla"`` or ``"lighttune"``.
        on_timeout, timeout_s: of the transmitter's `ack_merge`.
        outage: from when to when, as shares of the run, the network loses everything.
        network: ``delay``, ``jitter`` (s), ``loss``, ``duplicate`` (shares) of the relay.

    Returns:
        What each said: ``tx``, ``rx``, ``relay``.
    """
    options = [f"--{name}={value}" for name, value in network.items()]
    with namespaces(), contextlib.ExitStack() as stack:

        def begin(host: str, *command: str, ahead: bool = False) -> subprocess.Popen[str]:
            process = subprocess.Popen(
                [*_in(host, ahead), sys.executable, *command], stdout=subprocess.PIPE, text=True,
                start_new_session=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
            )  # fmt: skip
            stack.callback(_kill, process)
            return process

        relay = begin(
            "mid", str(Path(__file__).with_name("feedback_relay.py")),
            "--listen", RELAY, "--connect", FEEDBACK, "--seed", str(seed), *options,
        )  # fmt: skip
        rx = begin("rx", _HOSTS, "rx", "--seed", str(seed), ahead=True)
        tx = begin(
            "tx", _HOSTS, "tx", "--seed", str(seed), "--adapter", adapter, "--packets", str(packets),
            "--on-timeout", on_timeout, "--timeout", str(timeout_s),
            "--at", *(str(int(share * packets)) for share in outage or ()),
        )  # fmt: skip
        _expect(tx, "sending")
        for number in (signal.SIGUSR1, signal.SIGUSR2) if outage else ():
            _expect(tx, "passed")
            os.killpg(relay.pid, number)
        _expect(tx, "sent")
        results = {}
        for name, process in (("rx", rx), ("tx", tx), ("relay", relay)):
            os.killpg(process.pid, signal.SIGTERM)
            results[name] = json.loads(process.communicate(timeout=120)[0])
            time.sleep(0.5)  # what is under way arrives
        return results


def goodput_kbps(result: dict[str, dict[str, Any]]) -> float:
    """Payload bits that arrived over the time that all bursts were on the air."""
    airtime_s = sum(burst_samples(mcs, PAYLOAD_BYTES) for mcs in result["tx"]["mcs"]) / SAMP_RATE
    return 8e-3 * PAYLOAD_BYTES * sum(result["rx"]["acks"].values()) / airtime_s


def _name(host: str) -> str:
    return f"lighttune-{os.getpid()}-{host}"


def _in(host: str, ahead: bool = False) -> list[str]:
    """How a command is run on a host."""
    clock = [
        "unshare",
        "--time",
        "--monotonic",
        str(AHEAD_S),
        "--boottime",
        str(AHEAD_S),
        "--fork",
        "--kill-child",
    ]
    return ["ip", "netns", "exec", _name(host), *(clock if ahead else [])]


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


def _expect(process: subprocess.Popen[str], word: str) -> None:
    line = process.stdout.readline()
    if line != f"{word}\n":
        raise RuntimeError(f"a host said {line!r} where {word!r} was due: see its standard error")


def _kill(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
