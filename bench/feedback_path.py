#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""The feedback path between two hosts and over the air: writes docs/results/feedback.md (some 10 minutes).

Real flowgraphs in real time: two network namespaces with a bad network between them, then both directions of
a link as samples, each direction on a channel of its own and both on one. The first takes root.
"""

from typing import Any

import numpy as np
from gnuradio.lighttune.net.feedback_writer import REPEATS
from rich.progress import Progress

import feedback_air as air
import feedback_hosts as hosts
import feedback_network as network
from common import page, parser, table, write_page

ADAPTERS = {"olla": "OLLA", "lighttune": "LightTune"}
NETWORK = {"delay": 0.02, "loss": 0.1}
WORSE = {"delay": 0.02, "jitter": 0.03, "loss": 0.3, "duplicate": 0.1}
OUTAGE = 0.3, 0.6
_OUTAGE = ["time-out", "", "goodput, kbit/s", "mean MCS, 50 to 75 %", "lost packets", "wrong", "erased"]
_AIR = ["", "", "goodput, kbit/s", "lost packets", "frames sent", "frames lost", "verdicts", "erased"]
_AIR += ["wrong", "unanswered"]

Run = dict[str, dict[str, Any]]


def account(run: Run) -> dict[str, int]:
    """Where a run's frames went, by the two ends and the network.

    Raises:
        AssertionError: a counter is wrong.
    """
    sender, receiver = run["rx"]["feedback_sender"], run["tx"]["feedback_receiver"]
    relay, merge, selector = run["relay"], run["tx"]["ack_merge"], run["tx"]["selector"]
    dropped = receiver["dropped"]
    duplicates = dropped.pop("frame: duplicate", 0)
    told = len(run["rx"]["acks"]) + sender["missed"]
    assert relay["came"] == sender["frames"]
    tail = sender["frames"] - receiver["frames"] - receiver["lost"]  # lost after the last one that came
    assert 0 <= tail <= REPEATS, (sender, receiver)
    assert receiver["lost"] + tail == relay["lost"]
    assert duplicates == relay["duplicated"]
    assert relay["passed"] == receiver["frames"] + duplicates
    assert not dropped
    assert selector["decisions"] == len(run["tx"]["mcs"]) == merge["verdicts"] + len(run["tx"]["erased"])
    assert run["tx"]["repeated"] == 0
    assert selector["acks"] + selector["nacks"] == merge["verdicts"]
    wrong = sum(ack != run["rx"]["acks"].get(seq, False) for seq, ack in run["tx"]["acks"].items())
    return {
        "packets": selector["decisions"], "sent": sender["frames"], "taken": receiver["frames"],
        "lost": receiver["lost"], "tail": tail, "duplicates": duplicates,
        "reordered": receiver["reordered"], "told": told,
        "verdicts": receiver["verdicts"], "erased": len(run["tx"]["erased"]), "wrong": wrong,
    }  # fmt: skip


def _of(figure: str) -> list[str]:
    return [f"{name}, {figure}" for name in ADAPTERS.values()]


def bler(run: Run) -> float:
    """Share of the packets that did not arrive."""
    return 1 - sum(run["rx"]["acks"].values()) / len(run["tx"]["mcs"])


def two_hosts(packets: int, seeds: range, progress: Progress) -> list[str]:
    """Goodput and counters, for each seed's channel and network."""
    task = progress.add_task("two hosts", total=2 * len(seeds) + 1)
    rows, counts, gains = [], [], []
    for seed in seeds:
        runs = {}
        for adapter in ADAPTERS:
            runs[adapter] = network.run_link(adapter, packets, seed, **NETWORK)
            counts.append((f"{ADAPTERS[adapter]}, channel {seed}", account(runs[adapter])))
            progress.advance(task)
        goodput = {name: network.goodput_kbps(run) for name, run in runs.items()}
        gains.append(100 * (goodput["lighttune"] / goodput["olla"] - 1))
        rows.append(
            [str(seed), *(f"{goodput[a]:.0f}" for a in ADAPTERS), f"{gains[-1]:+.1f} %"]
            + [f"{100 * bler(runs[a]):.1f} %" for a in ADAPTERS]
            + ["{:.0f}, {:.0f}".format(*runs[a]["tx"]["delay_ms"]) for a in ADAPTERS]
        )
    counts.append(("OLLA, the worse network", account(network.run_link("olla", packets, 1, **WORSE))))
    progress.advance(task)
    head = ["channel", *(f"{name}, kbit/s" for name in ADAPTERS.values()), "gain"]
    fields = list(counts[0][1])
    return [
        "",
        f"{packets} packets of {hosts.PAYLOAD_BYTES} bytes, one every {1e3 * hosts.PERIOD_S:.0f} ms,"
        f" through a Rayleigh-fading channel ({hosts.DOPPLER_HZ:g} Hz, three taps, mean SNR"
        f" {hosts.MEAN_SNR_DB:g} dB). Every feedback frame takes 20 ms, and 10 % are lost. The receiver's"
        f" monotonic clock is {network.AHEAD_S} s ahead. Goodput is over the time that bursts are on the"
        " air.",
        "",
        *table([*head, *_of("lost packets"), *_of("delay of verdicts, ms")], rows),
        "",
        f"Mean gain {np.mean(gains):+.1f} %. Channel and network repeat exactly; the schedulers do not. The"
        " delay (median, 99th percentile) is from the decision to the verdict: of the network, the burst, the"
        " modem and what else this machine did. Where it is too slow the source waits for the receiver.",
        "",
        "### Every counter",
        "",
        "`sent = taken + lost + tail` (lost too, with none thereafter to show the gap), and both ends agree"
        " with the network, which counts for itself; the program stops where one does not. The worse"
        " network: 20 to 50 ms, so that frames overtake each other, 30 % lost, 10 % twice. `told` are the"
        " verdicts that the receiver knew, `wrong` those that arrived as something else.",
        "",
        *table(["", *fields], [[name, *(str(c[f]) for f in fields)] for name, c in counts]),
    ]


def outage(packets: int, progress: Progress) -> list[str]:
    """What a time-out should mean: the network is gone for a while."""
    task = progress.add_task("outage", total=4)
    rows = []
    for on_timeout in ("nack", "erasure"):
        for adapter, name in ADAPTERS.items():
            run = network.run_link(adapter, packets, 1, on_timeout, 1.0, OUTAGE, **NETWORK)
            after = slice(int(0.5 * packets), int(0.75 * packets))
            seen = run["tx"]["acks"]
            wrong = sum(ack != run["rx"]["acks"].get(seq, False) for seq, ack in seen.items())
            goodput, mcs = network.goodput_kbps(run), np.mean(run["tx"]["mcs"][after])
            figures = f"{goodput:.0f}", f"{mcs:.1f}", f"{100 * bler(run):.1f} %"
            counts = str(wrong), str(len(run["tx"]["erased"]))
            rows.append([on_timeout, name, *figures, *counts])
            progress.advance(task)
    return [
        "",
        "## When the network is gone for a while",
        "",
        f"{packets} packets; from 30 to 60 % of the run every frame is lost. `ack_merge` at the transmitter"
        " gives a packet up after 1 s: as a NACK, or as an erasure.",
        "",
        *table(_OUTAGE, rows),
    ]


def over_the_air(packets: int, progress: Progress) -> list[str]:
    """FDD and TDD."""
    rows = []
    for duplex in ("fdd", "tdd"):
        for adapter, name in ADAPTERS.items():
            task = progress.add_task(f"{duplex}, {name}", total=packets)
            top = air.OverTheAir(duplex, adapter, packets)
            top.run_all(lambda ended, task=task: progress.update(task, completed=ended))
            seen = top.result()
            sent, taken = seen["feedback_to_pdu"], seen["pdu_to_feedback"]
            assert sent["frames"] == seen["reverse_amc_tx_sent"] >= taken["frames"] + taken["lost"]
            assert seen["wrong"] == 0
            assert len(top.sent.acks) + len(top.sent.erased) == packets
            counts = sent["frames"], sent["frames"] - taken["frames"], seen["verdicts"], seen["erased"]
            held = seen.get("stop_and_wait", {}).get("timeouts", "")
            figures = f"{seen['goodput_kbps']:.0f}", f"{100 * seen['bler']:.1f} %"
            rows.append([duplex.upper(), name, *figures, *map(str, (*counts, seen["wrong"], held))])
    return [
        "",
        "## Over the air",
        "",
        f"{packets} packets; forward channel as above; the reverse channel fades likewise around 5 dB. TDD:"
        f" one packet in flight, an answer {1e3 * air.TURNAROUND_S:g} ms after its verdict, and without one"
        f" the next packet after {1e3 * air.TURN_S:g} ms. Frames are lost where the reverse receiver misses a"
        " header or a CRC.",
        "",
        *table(_AIR, rows),
        "",
        "No verdict is lost with a lost frame: the next one repeats it. Erased are packets at the very end,"
        " whose frame was lost, or whose header, with no later verdict to tell; and, on a machine that is too"
        f" slow, those whose verdict came after `ack_merge`'s {air.TIMEOUT_S:g} s.",
    ]


def main() -> None:
    """Run everything and write the page."""
    args = parser(__doc__).parse_args()
    path = page(args, "feedback")
    packets, seeds = (150, range(1, 2)) if args.short else (2000, range(1, 4))
    lines = ["# The feedback path", "", "What it is and how it is used: [docs/feedback.md](../feedback.md)."]
    with Progress(transient=True) as progress:
        lines += ["", "## Two hosts"]
        if network.missing():
            lines += ["", f"Not measured on this machine: {network.missing()}."]
        else:
            lines += two_hosts(packets, seeds, progress)
            lines += outage(packets, progress)
        lines += over_the_air(packets, progress)
    write_page(path, "bench/feedback_path.py", lines)


if __name__ == "__main__":
    main()
