# SPDX-License-Identifier: GPL-3.0-or-later
"""Families of adversaries: what may go wrong with a link on purpose, by a few numbers from 0 to 1.

Each family turns a point of a unit cube into one link's course and, where it reacts to what is sent, a
jammer. The first coordinate is the mean SINR, which every family shares.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from gnuradio.lighttune.core.mcs import McsTable

import course as c
from course import Course, link_at
from drive import Jammer
from situations import snr_range_db

Attack = tuple[Course, Callable[[], Jammer] | None]
"""A link's course, and what makes a fresh jammer for each adapter that is driven through it."""

Draw = tuple[McsTable, np.random.Generator, int]
"""What an attack is drawn with: table, random generator, slots."""


@dataclass(frozen=True)
class Family:
    """Adversaries of one kind.

    Args:
        name: a few words.
        parameters: how to read each coordinate after the first: name, lowest and highest value, and whether
            the scale is logarithmic.
        make: called with what it draws with, the mean SINR in dB and the parameters' values.
        snr_db: the SINRs from which the first coordinate chooses; empty for anywhere in the table's range.
    """

    name: str
    parameters: tuple[tuple[str, float, float, bool], ...]
    make: Callable[..., Attack]
    snr_db: tuple[float, ...] = ()

    @property
    def dimensions(self) -> int:
        """Of the unit cube."""
        return 1 + len(self.parameters)

    def values(self, table: McsTable, point: np.ndarray) -> dict[str, float]:
        """The mean SINR in dB (``snr_db``) and the parameters at a point of the unit cube."""
        low, high = snr_range_db(table)
        if self.snr_db:
            snr_db = self.snr_db[min(int(point[0] * len(self.snr_db)), len(self.snr_db) - 1)]
        else:
            snr_db = low + (high - low) * float(point[0])
        values = {"snr_db": snr_db}
        for (name, least, most, logarithmic), at in zip(self.parameters, point[1:].tolist(), strict=True):
            values[name] = least * (most / least) ** at if logarithmic else least + (most - least) * at
        return values

    def attack(self, table: McsTable, rng: np.random.Generator, slots: int, point: np.ndarray) -> Attack:
        """One link at that point."""
        return self.make((table, rng, slots), **self.values(table, point))


def _still(draw: Draw, snr_db: float, report_delay: float = 1) -> Course:
    table, rng, n = draw
    return link_at(table, rng, np.full(n, snr_db), report_delay=int(report_delay))


def _phase(n: int, period: float) -> np.ndarray:
    return np.arange(n) / round(period) % 1.0


def rank(table: McsTable) -> np.ndarray:
    """Each MCS's place on the ladder of spectral efficiency, from 0 to 1, shape ``(n_mcs,)``."""
    return np.argsort(table.by_efficiency) / (len(table) - 1)


def pulses(draw: Draw, snr_db: float, period: float, duty: float, loss: float) -> Attack:
    """Losses at every MCS in pulses."""
    on = _phase(draw[2], period) < duty
    return c.lossy(_still(draw, snr_db), np.where(on, loss, 0.0)[:, None]), None


def jam_by_mcs(draw: Draw, snr_db: float, lowest: float, width: float, loss: float) -> Attack:
    """A reactive jammer that strikes a stretch of the ladder."""
    place = rank(draw[0])
    struck = ((place >= lowest) & (place <= lowest + width)).tolist()
    return _still(draw, snr_db), lambda: lambda slot, mcs: loss if struck[mcs] else 0.0


def mask(draw: Draw, snr_db: float, share: float, pattern: float) -> Attack:
    """A set of MCS that never decode."""
    table = draw[0]
    broken = np.random.default_rng(int(1e6 * pattern)).random(len(table)) < share
    return c.lossy(_still(draw, snr_db), broken), None


def lying_reports(draw: Draw, snr_db: float, error_db: float, noise_db: float, wild: float) -> Attack:
    """Reports that are off, noisy, and a share of which is anything."""
    link, (table, rng, n) = _still(draw, snr_db), draw
    noisy = link.report_db + error_db + noise_db * rng.standard_normal(n)
    anything = rng.uniform(*snr_range_db(table), n)
    return replace(link, report_db=np.where(rng.random(n) < wild, anything, noisy)), None


def periodic_reports(draw: Draw, snr_db: float, period: float, swing_db: float, mean_db: float) -> Attack:
    """Reports whose error is a square wave."""
    sign = np.where(_phase(draw[2], period) < 0.5, 1.0, -1.0)
    return c.reports_off(_still(draw, snr_db), mean_db + swing_db * sign), None


def square_wave(
    draw: Draw, snr_db: float, period: float, depth_db: float, duty: float, delay: float, bias_db: float
) -> Attack:
    """The SINR falls in a square wave, and reports are late and biased."""
    table, rng, n = draw
    path = snr_db - depth_db * (_phase(n, period) < duty)
    return c.reports_off(link_at(table, rng, path, report_delay=int(delay)), bias_db), None


def sawtooth(
    draw: Draw, snr_db: float, period: float, depth_db: float, falling: float, delay: float
) -> Attack:
    """The SINR climbs and falls back, or falls and climbs back, behind late reports."""
    table, rng, n = draw
    phase = _phase(n, period)
    path = snr_db - depth_db * (phase if falling > 0.5 else 1 - phase)
    return link_at(table, rng, path, report_delay=int(delay)), None


def flipped(draw: Draw, snr_db: float, of_acks: float, of_nacks: float) -> Attack:
    """Shares of ACKs and of NACKs that are told as the other."""
    link, (_, rng, n) = _still(draw, snr_db), draw
    told = np.stack([rng.random(n) < of_nacks, rng.random(n) >= of_acks])
    return replace(link, told=told), None


def selective(draw: Draw, snr_db: float, acks_lost: float, nacks_lost: float) -> Attack:
    """Feedback that is lost with another chance for ACKs than for NACKs."""
    link, (_, rng, n) = _still(draw, snr_db), draw
    drawn = rng.random(n)
    return replace(link, hidden=np.stack([drawn < nacks_lost, drawn < acks_lost])), None


def jam_rises(draw: Draw, snr_db: float, lasts: float, loss: float) -> Attack:
    """Whenever the MCS rises, losses for a while."""
    place = rank(draw[0]).tolist()

    def fresh() -> Jammer:
        before, until = -1.0, -1

        def jam(slot: int, mcs: int) -> float:
            nonlocal before, until
            if place[mcs] > before >= 0:
                until = slot + round(lasts)
            before = place[mcs]
            return loss if slot < until else 0.0

        return jam

    return _still(draw, snr_db), fresh


def jam_habits(draw: Draw, snr_db: float, memory: float, loss: float) -> Attack:
    """The MCS that was sent most of late is struck: whoever settles is hit."""
    n_mcs = len(draw[0])

    def fresh() -> Jammer:
        use = [0.0] * n_mcs

        def jam(slot: int, mcs: int) -> float:
            strikes = use[mcs] > 0 and use[mcs] >= max(use)
            for m in range(n_mcs):
                use[m] *= 1 - 1 / memory
            use[mcs] += 1
            return loss if strikes else 0.0

        return jam

    return _still(draw, snr_db), fresh


def losses(draw: Draw, snr_db: float, loss: float) -> Attack:
    """Packets are lost at every MCS, independently."""
    return c.lossy(_still(draw, snr_db), loss), None


def late_verdicts(draw: Draw, snr_db: float, delay: float, period: float, swing_db: float) -> Attack:
    """Verdicts are late while the error of the reports swings."""
    error_db = swing_db * np.where(_phase(draw[2], period) < 0.5, 1.0, -1.0)
    return c.told_late(c.reports_off(_still(draw, snr_db), error_db), round(delay)), None


_LOSS = ("loss", 0.2, 1.0, False)
_PERIOD = ("period", 2.0, 600.0, True)
_DEPTH = ("depth_db", 0.5, 15.0, False)

FAMILIES = (
    Family("pulses", (_PERIOD, ("duty", 0.05, 0.6, False), _LOSS), pulses),
    Family("jam some MCS", (("lowest", 0.0, 1.0, False), ("width", 0.0, 1.0, False), _LOSS), jam_by_mcs),
    Family("masks", (("share", 0.05, 0.7, False), ("pattern", 0.0, 1.0, False)), mask),
    Family(
        "lying reports",
        (("error_db", -20.0, 20.0, False), ("noise_db", 0.0, 6.0, False), ("wild", 0.0, 0.9, False)),
        lying_reports,
    ),
    Family(
        "periodic report errors",
        (_PERIOD, ("swing_db", 0.5, 12.0, False), ("mean_db", -6.0, 6.0, False)),
        periodic_reports,
    ),
    Family(
        "biased square waves",
        (
            _PERIOD,
            _DEPTH,
            ("duty", 0.1, 0.9, False),
            ("delay", 1.0, 20.0, True),
            ("bias_db", -6.0, 6.0, False),
        ),
        square_wave,
    ),
    Family("sawtooth", (_PERIOD, _DEPTH, ("falling", 0.0, 1.0, False), ("delay", 1.0, 20.0, True)), sawtooth),
    Family("flipped feedback", (("of_acks", 0.0, 0.4, False), ("of_nacks", 0.0, 0.9, False)), flipped),
    Family(
        "selective feedback", (("acks_lost", 0.0, 0.97, False), ("nacks_lost", 0.0, 0.97, False)), selective
    ),
    Family("jam when the MCS rises", (("lasts", 1.0, 60.0, True), _LOSS), jam_rises),
    Family("jam the habit", (("memory", 2.0, 200.0, True), _LOSS), jam_habits),
    Family("independent losses", (("loss", 0.05, 0.25, False),), losses, snr_db=(12.0, 20.0)),
    Family(
        "late verdicts, swinging reports",
        (("delay", 2.0, 120.0, True), _PERIOD, ("swing_db", 0.0, 6.0, False)),
        late_verdicts,
    ),
)
"""All of them."""
