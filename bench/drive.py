# SPDX-License-Identifier: GPL-3.0-or-later
"""Drives one link adapter through a `course.Course`, slot by slot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from gnuradio.lighttune.core.messages import LinkAdapter

from course import Course

Jammer = Callable[[int, int], float]
"""Sees the slot and the MCS that is sent in it; returns the chance that it destroys the block."""


@dataclass(frozen=True, eq=False)
class Driven:
    """What an adapter did, arrays of shape ``(n,)``.

    Args:
        mcs: sent.
        told_bler: that the adapter predicted for it.
        lost: what the jammer added.
        ack: whether the block decoded, whatever was told.
        goodput: expected information bits per symbol of the slots that count (`Course.goodput`).
    """

    mcs: np.ndarray
    told_bler: np.ndarray
    lost: np.ndarray
    ack: np.ndarray
    goodput: float


def drive(adapter: LinkAdapter, course: Course, jammer: Jammer | None = None) -> Driven:
    """Send one block in every slot.

    Before each choice come the slot's report, then the verdicts that are due. A verdict carries the attempt
    (0 for the first) at which the block decoded or was given up; nothing is told of the attempts before it.

    Args:
        adapter: fresh, of the course's MCS table.
        course: all that happens.
        jammer: fresh, if there is one; it reacts to what is sent.
    """
    n, reports, due = len(course), course.reports, course.due
    # Plain lists: reading numpy scalars one by one would take longer than OLLA does.
    attempts = list(zip(course.bler.tolist(), course.draws.tolist(), strict=True))
    told = course.told.astype(int).tolist()
    hidden = None if course.hidden is None else course.hidden.astype(int).tolist()
    bits: list[int | None] = [None] * n if course.bits is None else course.bits.tolist()
    ack, last, mcs, bler, lost = [False] * n, [0] * n, [0] * n, [0.0] * n, [0.0] * n
    for slot in range(n):
        csi = reports[slot]
        if csi is not None and (not course.report_needs_ack or csi.seq is None or ack[csi.seq]):
            adapter.report(csi)
        for seq in due[slot]:
            if hidden is not None and hidden[ack[seq]][seq]:
                continue
            adapter.feedback(seq, bool(told[ack[seq]][seq]), last[seq])
        decision = adapter.select(bits[slot], slot)
        mcs[slot], bler[slot] = sent, _ = decision.mcs, decision.bler
        if jammer is not None:
            lost[slot] = jammer(slot, sent)
        for attempt, (fails, draws) in enumerate(attempts):
            fail = fails[slot][sent]
            last[slot] = attempt
            if draws[slot] >= fail + (1 - fail) * lost[slot]:
                ack[slot] = True
                break
    sent_mcs, jammed = np.array(mcs), np.array(lost)
    return Driven(sent_mcs, np.array(bler), jammed, np.array(ack), course.goodput(sent_mcs, jammed))
