# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults between a link and its adapter: what is lost, late, repeated, wrong or restarted on the way.

`Faulty` is a link adapter around another one. `link.run` drives it as it drives any, and what it passes on is
what would still come through. Draws depend on the generator alone, not on what the adapter does: two adapters
with generators of one seed meet the same faults.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..core.messages import MAX_SEQ, Csi, Decision, LinkAdapter

Report = Callable[[float, float], float | None]
"""What is reported instead of a SINR in dB, given a draw from [0, 1); None where the report is lost."""


@dataclass(frozen=True)
class Faults:
    """What goes wrong in the slots from ``begin`` until before ``end``; before and after that, nothing does.

    Args:
        begin, end: slots, counted from 0.
        loss: share of feedback that never comes.
        loss_is_nack: what is lost is told as NACK at once, as `ack_merge` does after its time-out.
        duplicate: share of feedback that comes a second time, later.
        delay_slots: by which feedback is late.
        jitter_slots: by up to so many more slots, for each block by itself: the order is lost.
        ack_flip, nack_flip: shares of ACKs told as NACKs, and of NACKs told as ACKs.
        stuck: all feedback says so: True for ACK, False for NACK.
        deaf: the receiver is away: neither reports nor feedback come, nor what was under way.
        report: what becomes of the reports.
        time_s: of the reports, by slot: a clock that jumps.
        restart: the adapter's state is lost at ``begin``.
        first_seq: number of the first block: they wrap at 2^32. It holds in all slots.

    Raises:
        ValueError: a share is outside [0, 1], or a number of slots is negative.
    """

    begin: int = 0
    end: int = 2**62
    loss: float = 0.0
    loss_is_nack: bool = False
    duplicate: float = 0.0
    delay_slots: int = 0
    jitter_slots: int = 0
    ack_flip: float = 0.0
    nack_flip: float = 0.0
    stuck: bool | None = None
    deaf: bool = False
    report: Report | None = None
    time_s: Callable[[int], float] | None = None
    restart: bool = False
    first_seq: int = 0

    def __post_init__(self) -> None:
        for name in ("loss", "duplicate", "ack_flip", "nack_flip"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} = {getattr(self, name)!r}: give a share from 0 to 1")
        for name in ("begin", "delay_slots", "jitter_slots", "first_seq"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} = {getattr(self, name)!r}: give 0 or more")


class Faulty:
    """An adapter behind faults.

    Args:
        make: a fresh adapter; called again where it restarts.
        faults: what goes wrong.
        rng: draws from the same state are the same faults.

    Attributes:
        adapter: the one that decides now.
        counts: what happened, by name, as ``lost``, ``repeated``, ``not pending``, ``refused`` (reports that
            no receiver can have measured, which `Csi` refuses).
    """

    def __init__(self, make: Callable[[], LinkAdapter], faults: Faults, rng: np.random.Generator) -> None:
        self.adapter = make()
        self.counts: Counter[str] = Counter()
        self._make, self._faults, self._rng = make, faults, rng
        self._slot = 0
        self._under_way: list[tuple[int, int, int, bool]] = []  # (due, order, slot, ack): a heap
        self._order = 0

    @property
    def _now(self) -> bool:
        return self._faults.begin <= self._slot < self._faults.end

    def _seq(self, slot: int) -> int:
        return (slot + self._faults.first_seq) & MAX_SEQ

    def report(self, csi: Csi) -> None:
        """Pass a report on, or what becomes of it."""
        draw, faults = self._rng.random(), self._faults
        snr_db: float | None = csi.snr_db
        if self._now and faults.deaf:
            snr_db = None
        elif self._now and faults.report is not None:
            snr_db = faults.report(csi.snr_db, draw)
        if snr_db is None:
            self.counts["reports lost"] += 1
            return
        time_s = None if faults.time_s is None else faults.time_s(self._slot)
        seq = None if csi.seq is None else self._seq(csi.seq)
        try:
            self.adapter.report(Csi(snr_db, seq, time_s))
        except ValueError:
            self.counts["refused"] += 1

    def feedback(self, seq: int, ack: bool, attempt: int = 0) -> bool:
        """Take the outcome of the block of slot ``seq``; it comes to the adapter before some later block."""
        lost, repeated, flipped, late = self._rng.random(4)
        faults, due = self._faults, self._slot
        if self._now:
            if faults.deaf or (lost < faults.loss and not faults.loss_is_nack):
                self.counts["lost"] += 1
                return True
            told = ack if faults.stuck is None else faults.stuck
            if flipped < (faults.ack_flip if ack else faults.nack_flip):
                told = not ack
            told &= lost >= faults.loss
            self.counts["wrong"] += told != ack
            due += faults.delay_slots + int(late * (faults.jitter_slots + 1))
            self._put(due, seq, told)
            if repeated < faults.duplicate:
                self.counts["repeated"] += 1
                self._put(due + 1 + int(late * 10), seq, told)
        else:
            self._put(due, seq, ack)
        return True

    def _put(self, due: int, slot: int, ack: bool) -> None:
        heapq.heappush(self._under_way, (due, self._order, slot, ack))
        self._order += 1

    def select(self, bits: int | None = None, seq: int | None = None) -> Decision:
        """Deliver the feedback that is due, and have the adapter choose."""
        faults = self._faults
        if self._slot == faults.begin:
            if faults.restart:
                self.adapter = self._make()
                self.counts["restarts"] += 1
            if faults.deaf:
                self.counts["lost"] += len(self._under_way)
                self._under_way.clear()
        while self._under_way and self._under_way[0][0] <= self._slot:
            _, _, slot, ack = heapq.heappop(self._under_way)
            if not self.adapter.feedback(self._seq(slot), ack):
                self.counts["not pending"] += 1
        decision = self.adapter.select(bits, self._seq(self._slot))
        self._slot += 1
        return decision
