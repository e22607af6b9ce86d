# SPDX-License-Identifier: GPL-3.0-or-later
"""What `lighttune usrp-gain` makes of its measurements: which gains to use, or what stands in the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

MAX_CLIPPED = 1e-4  # of the bursts' samples
MIN_RECEIVED = 0.9  # of the packets that the host did not lose
FLAT_DB = 1.0  # an SNR this close to the best is as good
STRONG_DB = 15.0  # QPSK 1/2 needs some 5 dB: what is lost here is not too weak

FOUND, NO_GAINS, HOST_TOO_SLOW = 0, 1, 3
"""Exit status of the command."""

_LATE = (
    "samples reached the radio too late: end other programs, use USB 3, set the CPU's governor to performance"
)
_BEHIND = "received samples were taken too late: end other programs, or lower --samp-rate"
REMEDIES = {
    "underruns": _LATE,
    "late": _LATE,
    "not sent": "the radio took no samples: see what it says on the terminal",
    "sequence errors": "samples were lost between computer and radio: cable, USB port, net.core.wmem_max",
    "overruns": _BEHIND,
    "receiver behind": _BEHIND,
    "dropped": "amc_tx or amc_rx dropped packets: see the log",
}
"""What to do, by the cause for which the host lost packets."""


@dataclass(frozen=True)
class Point:
    """What a pair of gains gave.

    Args:
        tx_gain_db: transmit gain.
        rx_gain_db: receive gain.
        sent: packets.
        received: packets.
        snr_db: the packets' median.
        level_dbfs: the loudest piece of the bursts.
        peak_dbfs: the largest sample.
        clipped: share of the bursts' samples.
        lost: packets that were lost on the host's own side, by cause (a key of `REMEDIES`): they say nothing
            of the link.
    """

    tx_gain_db: float
    rx_gain_db: float
    sent: int
    received: int
    snr_db: float
    level_dbfs: float
    peak_dbfs: float
    clipped: float
    lost: Mapping[str, int] = field(default_factory=dict)

    @property
    def host_lost(self) -> int:
        """Packets that were lost on the host's own side."""
        return sum(self.lost.values())

    @property
    def judged(self) -> int:
        """Packets that tell of the link: all others."""
        return self.sent - self.host_lost

    @property
    def verdict(self) -> str:
        """``clips``; ``host`` (it lost more packets than it left); ``good``; ``lossy`` (packets are lost that
        are strong enough); or ``weak``."""
        if self.clipped > MAX_CLIPPED:
            return "clips"
        if self.host_lost > self.judged:
            return "host"
        if self.received >= MIN_RECEIVED * self.judged:
            return "good"
        return "lossy" if self.snr_db >= STRONG_DB else "weak"  # without any packet the SNR is NaN: weak


@dataclass(frozen=True)
class Advice:
    """What to do: the pair of gains to use, or None; a text for people; the exit status."""

    best: Point | None
    text: str
    status: int


def recommend(points: list[Point]) -> Advice:
    """The lowest gains (transmit gain first) within `FLAT_DB` of the best SNR of what is good; where nothing
    is, what stands in the way. What the host lost is never taken for the link."""
    by_verdict: dict[str, list[Point]] = {
        name: [p for p in points if p.verdict == name] for name in ("good", "host", "lossy", "clips", "weak")
    }
    host = _unjudged(by_verdict["host"], len(points))
    if good := by_verdict["good"]:
        top = max(p.snr_db for p in good)
        best = min((p for p in good if p.snr_db >= top - FLAT_DB), key=lambda p: (p.tx_gain_db, p.rx_gain_db))
        text = (
            f"Use --tx-gain {best.tx_gain_db:g} --rx-gain {best.rx_gain_db:g}: SNR {best.snr_db:.1f} dB, "
            f"peaks {-best.peak_dbfs:.1f} dB below full scale."
        )
        return Advice(best, f"{text} {host}".rstrip(), FOUND)
    link = _what_the_link_lacks(by_verdict)
    if host:
        return Advice(None, f"{host} Then run this again. {link}".rstrip(), HOST_TOO_SLOW)
    return Advice(None, link, NO_GAINS)


def lost_by_cause(points: Iterable[Point]) -> str:
    """As ``overruns 12, underruns 1``; empty if nothing was lost."""
    return ", ".join(f"{cause} {count}" for cause, count in _by_cause(points))


def _by_cause(points: Iterable[Point]) -> list[tuple[str, int]]:
    """What was lost by its cause, the most frequent first."""
    counts: Counter[str] = Counter()
    for point in points:
        counts.update(point.lost)
    return [(cause, count) for cause, count in counts.most_common() if count]


def _unjudged(points: list[Point], of: int) -> str:
    if not points:
        return ""
    remedies = dict.fromkeys(REMEDIES[cause] for cause, _ in _by_cause(points))
    return (
        f"This computer, not the link, lost most packets at {len(points)} of {of} pairs of gains "
        f"({lost_by_cause(points)}), which cannot be judged: {'; '.join(remedies)}."
    )


def _what_the_link_lacks(by_verdict: Mapping[str, list[Point]]) -> str:
    lossy, clips, weak = by_verdict["lossy"], by_verdict["clips"], by_verdict["weak"]
    if lossy:
        top = max(p.snr_db for p in lossy)
        return (
            f"Packets are lost at up to {top:.1f} dB of SNR where nothing clips and this computer lost none: "
            "look for another transmitter on this frequency, a transmitter that saturates, or a loose cable."
        )
    if clips and weak:
        return (
            "What is loud enough clips, and the rest is too weak: try gains in between, in smaller steps; if "
            "there is nothing in between, check cable, antenna ports and frequency."
        )
    if clips:
        return "Everything clips: lower the gains, or put more attenuation into the cable."
    if weak:
        return (
            "Too few packets arrive, and nothing clips: raise the gains, check cable, antenna ports, "
            "frequency and clocks."
        )
    return ""
