# SPDX-License-Identifier: GPL-3.0-or-later
"""What links do to an adapter in the field, by name: each situation draws a few `course.Course`.

SINRs are drawn over the whole MCS table, one in each part of it, unless a situation names its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from gnuradio.lighttune.core.mcs import McsTable

import course as c
from course import Course, link_at
from frames import mixed_frames
from retransmissions import final_verdicts

Make = Callable[[McsTable, np.random.Generator, int], list[Course]]

LOSS_SNR_DB = (12.0, 20.0, 26.0)
JUMP_DB = 4.0
JUMPS = (0.0, JUMP_DB, 0.0, -JUMP_DB, 0.0)
"""Errors of the reports of `reports_jump`, in dB, of equal stretches one after the other."""

MOST_LIES = 300  # blocks a liar lies for, and as many are given to recover from it
MIXED = "frames of 20 and 1,500 bytes, 10 Hz"


@dataclass(frozen=True)
class Situation:
    """One thing that links do.

    Args:
        name: a few words.
        make: draws its links: called with the MCS table, a random generator, and the number of slots.
        reported: some report comes, ever.
    """

    name: str
    make: Make
    reported: bool = True


def snr_range_db(table: McsTable) -> tuple[float, float]:
    """SINRs at which the table's links live: its lowest MCS decodes, and up to 2 dB above its highest
    threshold."""
    return float(table.threshold.min()) + 1.5, float(table.threshold.max()) + 2.0


def some_snr_db(table: McsTable, rng: np.random.Generator, links: int = 2) -> np.ndarray:
    """One SINR in each of ``links`` equal parts of the table's range, in dB."""
    low, high = snr_range_db(table)
    return low + (high - low) * (np.arange(links) + rng.random(links)) / links


def walk_db(table: McsTable, rng: np.random.Generator, n: int, step_db: float) -> np.ndarray:
    """A random walk of the SINR in dB, turned back at the ends of the table's range, ``(n,)``."""
    low, high = snr_range_db(table)
    path = rng.uniform(0, high - low) + step_db * np.cumsum(rng.standard_normal(n))
    return low + np.abs((path + (high - low)) % (2 * (high - low)) - (high - low))


def still(
    table: McsTable,
    rng: np.random.Generator,
    n: int,
    change: Callable[[Course], Course],
    jitter_db: float = 0.0,
) -> list[Course]:
    """Links whose SINR stands still, each with the same change."""
    snrs = some_snr_db(table, rng)
    return [change(link_at(table, rng, np.full(n, snr), jitter_db=jitter_db)) for snr in snrs]


def walking(
    table: McsTable,
    rng: np.random.Generator,
    n: int,
    change: Callable[[Course], Course],
    step_db: float = 0.1,
) -> list[Course]:
    """Links whose SINR walks, each with the same change."""
    return [change(link_at(table, rng, walk_db(table, rng, n, step_db))) for _ in range(2)]


def wave_db(kind: str, table: McsTable, rng: np.random.Generator, n: int) -> np.ndarray:
    """SINR in dB, ``(n,)``: ``"steps"`` to anywhere every 300 blocks; a ``"sine"`` of 400 to 800 blocks over
    most of the range; a ``"walk"`` of 0.2 dB a block."""
    low, high = snr_range_db(table)
    if kind == "steps":
        return np.repeat(rng.uniform(low, high, n // 300 + 1), 300)[:n]
    if kind == "sine":
        turns = np.arange(n) / rng.uniform(400, 800) + rng.random()
        return (low + high) / 2 + 0.4 * (high - low) * np.sin(2 * np.pi * turns)
    return walk_db(table, rng, n, 0.2)


def alone(kind: str, together: int, table: McsTable, rng: np.random.Generator, n: int) -> list[Course]:
    """ACK and NACK are all that comes, ``together`` at once."""
    courses = [link_at(table, rng, wave_db(kind, table, rng, n)) for _ in range(2)]
    return [c.told_together(c.unreported(course), together) for course in courses]


def lost(loss: float, table: McsTable, rng: np.random.Generator, n: int) -> list[Course]:
    """A share of packets is lost at every MCS."""
    return [c.lossy(link_at(table, rng, np.full(n, snr)), loss) for snr in LOSS_SNR_DB]


def reports_fall_silent(table: McsTable, rng: np.random.Generator, n: int) -> list[Course]:
    """30 dB, then 6 dB; a report comes only with a packet that decoded. From the fall on."""
    fall = n // 4
    snr_db = np.where(np.arange(n) < fall, 30.0, 6.0)
    silent = replace(link_at(table, rng, snr_db), report_needs_ack=True)
    return [c.counted_only(silent, np.arange(n) >= fall)]


def jumps_at(n: int) -> list[int]:
    """Slots at which the reports of `reports_jump` jump."""
    return [n * k // len(JUMPS) for k in range(1, len(JUMPS))]


def reports_jump(table: McsTable, rng: np.random.Generator, n: int) -> list[Course]:
    """Reports jump up and down; the 150 blocks after each jump count."""
    slots = np.arange(n)
    error_db = np.array(JUMPS)[np.searchsorted(jumps_at(n), slots, side="right")]
    after = np.zeros(n, bool)
    for jump in jumps_at(n):
        after[jump : jump + 150] = True
    return still(table, rng, n, lambda link: c.counted_only(c.reports_off(link, error_db), after))


def masked(several: bool, table: McsTable, rng: np.random.Generator, n: int) -> list[Course]:
    """The MCS that would be best never decodes, or three of it and its neighbours."""

    def mask(link: Course) -> Course:
        ladder = table.by_efficiency
        place = max(int(np.argmax(ladder == link.best_fixed()[0])), 1)  # the lowest always works
        broken = [ladder[place]]
        if several:
            near = ladder[max(place - 2, 1) : place + 3]
            broken += rng.choice(near[near != ladder[place]], 2, replace=False).tolist()
        return c.lossy(link, np.isin(np.arange(len(table)), broken))

    return still(table, rng, n, mask)


def pulsed(link: Course) -> Course:
    """Pulses of period 17 that take 70 % of the packets a fifth of the time."""
    return c.lossy(link, np.where(np.arange(len(link)) % 17 < 0.2 * 17, 0.7, 0.0)[:, None])


def paused(table: McsTable, rng: np.random.Generator, n: int) -> list[Course]:
    """Four pauses of two minutes; after each the SINR is another, and the first report comes with the first
    block sent."""
    stretch = np.arange(n) * 5 // n
    courses = []
    for _ in range(2):
        link = link_at(table, rng, rng.uniform(*snr_range_db(table), 5)[stretch])
        courses.append(replace(link, time_s=link.time_s + 120.0 * stretch))
    return courses


def liar(failed: bool, decoded: bool, table: McsTable, rng: np.random.Generator, n: int) -> list[Course]:
    """Verdicts are wrong for 300 blocks, then right; counted from 300 blocks after the lies."""
    begins, lies = n // 4, min(MOST_LIES, n // 8)
    lied = (np.arange(n) >= begins) & (np.arange(n) < begins + lies)
    after = np.arange(n) >= begins + 2 * lies
    return still(table, rng, n, lambda link: c.counted_only(c.told_as(link, lied, failed, decoded), after))


def _nacks(table: McsTable, rng: np.random.Generator, n: int) -> list[Course]:
    return still(table, rng, n, lambda link: c.told_as(link, rng.random(n) < 0.1, False, False))


def _too_high(table: McsTable, rng: np.random.Generator, n: int) -> list[Course]:
    return still(table, rng, n, lambda link: c.reports_off(link, rng.uniform(14, 20)))


def _harq(table: McsTable, rng: np.random.Generator, n: int) -> list[Course]:
    return still(table, rng, n, lambda link: final_verdicts(link, rng))


def _every(period: int, link: Course) -> np.ndarray:
    return np.arange(len(link)) % period == 0


def _rounded(link: Course) -> Course:
    return replace(link, report_db=2 * np.round(link.report_db / 2))


def _constant(link: Course) -> Course:
    return replace(link, report_db=np.full(len(link), float(np.mean(snr_range_db(link.table)))))


def _one_verdict_in_20(table: McsTable, rng: np.random.Generator, n: int) -> list[Course]:
    def sparse(link: Course) -> Course:
        return c.told_only(c.reports_off(link, rng.normal(0, 2)), _every(20, link))

    return still(table, rng, n, sparse)


_ALONE = [
    Situation(f"ACK/NACK only: {kind}, {'six at once' if together > 1 else 'one at a time'}",
              partial(alone, kind, together), reported=False)
    for kind in ("steps", "sine", "walk") for together in (1, 6)
]  # fmt: skip

SITUATIONS = (
    Situation("static, right reports", partial(still, change=lambda link: link)),
    Situation("static, reports 3 dB low", partial(still, change=lambda link: c.reports_off(link, -3.0))),
    Situation("static, reports 3 dB high", partial(still, change=lambda link: c.reports_off(link, 3.0))),
    Situation("static, thresholds off by N(0, 1 dB)",
              partial(still, change=lambda link: link, jitter_db=1.0)),
    *_ALONE,
    *(Situation(f"{100 * loss:.0f} % lost at every MCS", partial(lost, loss)) for loss in (0.05, 0.1, 0.25)),
    Situation("10 % of ACKs told as NACKs", _nacks),
    Situation("reports 14 to 20 dB too high", _too_high),
    Situation("reports only with ACKs, 30 to 6 dB", reports_fall_silent),
    Situation("reports jump by 4 dB: 150 blocks after", reports_jump),
    Situation("verdicts 50 late, reports +4 dB",
              partial(still, change=lambda link: c.told_late(c.reports_off(link, 4.0), 50))),
    Situation("the best MCS never decodes", partial(masked, False)),
    Situation("three near the best never decode", partial(masked, True)),
    Situation("pulses: period 17, 20 %, 70 % lost", partial(still, change=pulsed)),
    Situation("HARQ tells the final verdict only", _harq),
    Situation(MIXED, mixed_frames),
    Situation("a verdict for one block in 20", _one_verdict_in_20),
    Situation("a report every 200 blocks",
              partial(walking, change=lambda link: c.reports_only(link, _every(200, link)))),
    Situation("reports rounded to 2 dB", partial(walking, change=_rounded)),
    Situation("constant reports", partial(walking, change=_constant)),
    Situation("pauses of minutes, then another SNR", paused),
    Situation("after 300 inverted verdicts", partial(liar, True, False)),
    Situation("after 300 false NACKs", partial(liar, False, False)),
)  # fmt: skip
"""All of them; the names are unique."""
