# SPDX-License-Identifier: GPL-3.0-or-later
"""What happens to one link, slot by slot, drawn before any adapter is driven through it (common random
numbers).

`link_at` draws a plain link; every other function takes a course and returns one in which something else goes
wrong. They combine: ``told_late(reports_off(link_at(table, rng, snr_db), 4.0), 50)``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from gnuradio.lighttune.core.mcs import McsTable, sigmoid
from gnuradio.lighttune.core.messages import Csi

SLOT_S = 1e-3
"""Time from one block to the next, where nothing else is said."""

REPORT_NOISE_DB = 0.25
"""Standard deviation of a report in a good receiver."""


@dataclass(frozen=True, eq=False)
class Course:
    """All that happens to one link in ``n`` slots; the block of slot ``t`` has the sequence number ``t``.

    Args:
        table: the adapter's MCS.
        snr_db: true SINR, ``(n,)``.
        bler: chance that each HARQ attempt fails at each MCS if those before it failed, ``(attempts, n,
            n_mcs)``.
        draws: uniform over [0, 1), ``(attempts, n)``; an attempt decodes where its draw is not below its
            BLER.
        report_db: handed over before the slot's choice, in dB, ``(n,)``; NaN for none.
        measured_at: block on which that was measured, int ``(n,)``; negative where the report does not say.
        time_s: of the slot, ``(n,)``; reports carry it.
        told_at: slot before whose choice the verdict on each block arrives, int ``(n,)``; ``n`` for never.
        told: the verdict that is told of a block that failed and of one that decoded, bool ``(2, n)``.
        counted: slots whose goodput counts, bool ``(n,)``.
        hidden: blocks whose verdict never comes if they failed, and if they decoded, bool ``(2, n)``; None
            for none.
        bits: information bits of each block, int ``(n,)``; None for the table's reference length.
        report_needs_ack: a report arrives only if the block on which it was measured decoded.
    """

    table: McsTable
    snr_db: np.ndarray
    bler: np.ndarray
    draws: np.ndarray
    report_db: np.ndarray
    measured_at: np.ndarray
    time_s: np.ndarray
    told_at: np.ndarray
    told: np.ndarray
    counted: np.ndarray
    hidden: np.ndarray | None = None
    bits: np.ndarray | None = None
    report_needs_ack: bool = False

    def __len__(self) -> int:
        return len(self.snr_db)

    @cached_property
    def reports(self) -> list[Csi | None]:
        """What is handed over in each slot."""
        return [
            None if np.isnan(db) else Csi(db, seq=seq if seq >= 0 else None, time_s=time)
            for db, seq, time in zip(
                self.report_db.tolist(), self.measured_at.tolist(), self.time_s.tolist(), strict=True
            )
        ]

    @cached_property
    def due(self) -> list[list[int]]:
        """The blocks whose verdicts arrive in each slot, oldest first."""
        due: list[list[int]] = [[] for _ in range(len(self))]
        for seq, slot in enumerate(self.told_at.tolist()):
            if slot < len(self):
                due[slot].append(seq)
        return due

    @cached_property
    def gain(self) -> np.ndarray:
        """Information bits per symbol of each block if it decodes, ``(n, n_mcs)``."""
        if self.bits is None:
            return np.tile(self.table.goodput_if_acked(), (len(self), 1))
        of_length = {bits: self.table.goodput_if_acked(int(bits)) for bits in np.unique(self.bits)}
        return np.array([of_length[bits] for bits in self.bits])

    def goodput(self, mcs: np.ndarray, lost: float | np.ndarray = 0.0) -> float:
        """Information bits per symbol that a choice of MCS carries in the slots that count: expected over the
        draws, so that luck is no part of it. Every HARQ attempt takes a slot of its own.

        Args:
            mcs: sent in each slot, ``(n,)``.
            lost: what a jammer added to the chance of loss, ``(n,)``.
        """
        slots = np.arange(len(self))
        alive = np.ones(len(self))
        carried, airtime = np.zeros(len(self)), np.zeros(len(self))
        for bler in self.bler:
            decodes = (1 - bler[slots, mcs]) * (1 - lost)
            airtime += alive
            carried += alive * decodes
            alive = alive * (1 - decodes)
        carried = carried * self.gain[slots, mcs]
        return float(carried[self.counted].sum() / airtime[self.counted].sum())

    def best_fixed(self) -> tuple[int, float]:
        """The fixed MCS that carries most in hindsight, and its goodput."""
        carried = [self.goodput(np.full(len(self), m)) for m in range(len(self.table))]
        return int(np.argmax(carried)), max(carried)


def link_at(
    table: McsTable,
    rng: np.random.Generator,
    snr_db: np.ndarray,
    *,
    jitter_db: float = 0.0,
    report_delay: int = 1,
) -> Course:
    """A link with right reports of every block and a verdict on every block before the next one.

    Args:
        table: the link's MCS.
        rng: draws noise and outcomes.
        snr_db: true SINR, ``(n,)``.
        jitter_db: standard deviation of the true thresholds about the table's.
        report_delay: blocks from a measurement to its report, 1 or more.
    """
    n = len(snr_db)
    threshold = table.threshold + jitter_db * rng.standard_normal(len(table))
    measured_at = np.arange(n) - report_delay
    report_db = snr_db[np.maximum(measured_at, 0)] + REPORT_NOISE_DB * rng.standard_normal(n)
    return Course(
        table=table,
        snr_db=snr_db,
        bler=sigmoid((threshold - snr_db[:, None]) / table.slope)[None],
        draws=rng.random((1, n)),
        report_db=report_db,
        measured_at=measured_at,
        time_s=SLOT_S * np.arange(n),
        told_at=np.arange(n) + 1,
        told=np.array([[False] * n, [True] * n]),
        counted=np.ones(n, bool),
    )


def lossy(course: Course, loss: float | np.ndarray) -> Course:
    """Blocks are lost besides, with a chance that broadcasts to ``(n, n_mcs)``."""
    return replace(course, bler=1 - (1 - course.bler) * (1 - np.asarray(loss)))


def reports_off(course: Course, error_db: float | np.ndarray) -> Course:
    """Reports are too high by ``error_db``, a number or of shape ``(n,)``."""
    return replace(course, report_db=course.report_db + error_db)


def reports_only(course: Course, where: np.ndarray) -> Course:
    """Reports come only in the slots ``where``, bool ``(n,)``."""
    return replace(course, report_db=np.where(where, course.report_db, np.nan))


def unreported(course: Course) -> Course:
    """No report ever comes."""
    return reports_only(course, np.zeros(len(course), bool))


def told_late(course: Course, delay: int) -> Course:
    """Every verdict comes ``delay`` blocks after its block."""
    return replace(course, told_at=np.arange(len(course)) + delay)


def told_together(course: Course, group: int) -> Course:
    """Verdicts come ``group`` at once."""
    return replace(course, told_at=(np.arange(len(course)) // group + 1) * group)


def told_only(course: Course, where: np.ndarray) -> Course:
    """Only the blocks ``where`` get a verdict, bool ``(n,)``."""
    return replace(course, told_at=np.where(where, course.told_at, len(course)))


def told_as(course: Course, where: np.ndarray, failed: bool, decoded: bool) -> Course:
    """Failed blocks among ``where`` are told as ``failed``, decoded ones as ``decoded`` (True: ACK)."""
    lie = np.array([[failed], [decoded]])
    return replace(course, told=np.where(where, lie, course.told))


def counted_only(course: Course, where: np.ndarray) -> Course:
    """Only the slots ``where`` count, bool ``(n,)``."""
    return replace(course, counted=where)
