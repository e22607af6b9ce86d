# SPDX-License-Identifier: GPL-3.0-or-later
"""SALAD: the SINR inferred from ACKs and NACKs alone, by descent on their cross-entropy."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import replace

import numpy as np

from ..core.mcs import McsTable, sigmoid
from ..core.messages import Csi, Decision
from ..core.pending import PendingBlocks
from ..core.selection import most_efficient_within
from .base import Baseline

LEARNING_RATES = np.linspace(0.1, 1.9, 19)
"""Learning rates in dB² among which distillation chooses: those of the authors' code."""

_BLER_RANGE = (
    0.05,
    0.95,
)  # authors' code: predicted BLERs are clipped to this before they teach or are tested
_SLOPE_RANGE_DB = (0.5, 2.0)  # authors' code: of the slope that divides the gradient
_TARGET_RANGE = (0.001, 0.99)  # authors' code: of the instantaneous BLER target
_REMEMBERED = 300  # authors' code: outcomes that the teacher sees
_KNOTS = (2, 4, 8, 16)  # of the teacher's piecewise linear SINR; the authors' code tries 2, 4, ..., 18
_ROUGHNESS = 0.05  # weight of a squared step between two knots, per dB²: a 3 dB step costs half a nat
_MARGIN_DB = 3.0  # the estimate stays this close to the table's thresholds: beyond, outcomes tell nothing
_UNKNOWN = 0.5  # predicted BLER before there is an estimate, as in `TableOnly`


class Salad(Baseline):
    r"""SALAD, self-adaptive link adaptation.

    With ``s`` the SINR estimate in dB, ``p = clip(BLER_m(s))`` the table's BLER of the block's MCS at it, and
    ``n`` its outcome (1 for NACK), every outcome moves the estimate down the gradient of the cross-entropy
    ``-n ln p - (1 - n) ln(1 - p)``:

        s <- s + learning_rate (p - n) / slope_db[m].

    Upward probing by hypothesis test: over the last ``window`` outcomes,

        score = sum(p - n) / sqrt(sum(p (1 - p)))

    is about standard normal if ``s`` is right, and large if it is too low. While ``score > probe_score``, a
    share ``probe_share`` of the blocks is chosen for a BLER of ``probe_target`` instead of ``target``.
    Integral control: the most efficient MCS is sent whose BLER at ``s`` is at most

        tau = (target or probe_target) + integral_gain * sum over all outcomes of (target - n)

    so that the long-term share of failures is ``target``, whatever is wrong with the curves.

    The learning rate adapts by distillation: after every ``distil_every`` outcomes a teacher fits a piecewise
    linear SINR to the last 300 of them at once, by the same cross-entropy; the student (the update above) is
    replayed over them at each of `LEARNING_RATES`, and the rate whose path comes closest to the teacher's in
    mean square is kept.

    R. Wiesmayr, L. Maggi, S. Cammerer, J. Hoydis, F. Aït Aoudia, A. Keller, "SALAD: Self-adaptive link
    adaptation", arXiv 2510.05784, 2025. At hand were the abstract, and the behaviour and defaults of the code
    that the authors published with it (NVlabs/salad, under a licence of its own: nothing of it is used here).
    A later abstract no longer names distillation: ``distil_every=None`` holds the rate. Ours is:

    - The start: the first report sets the estimate, and no other is read. With ``initial_snr_db`` none is,
      as published: the estimate begins there, and the link needs no reports at all.
    - The teacher minimises the cross-entropy by damped Newton steps, not by 500 steps of gradient descent;
      number of knots validated on every other outcome, then refitted to all; a weak penalty on steps between
      knots, where the code has none by default. Candidates start from the student's estimate of 300 outcomes
      ago, not from the first one of all.
    - Bounds, for a link that lives long: the estimate stays within 3 dB of the table's thresholds; the sum
      of the integral control stays where it moves ``tau`` by at most 1, and stands still when the ladder ends
      (an ACK at the most efficient MCS, a NACK at the most robust). The code has none of them.
    - Block lengths shift the curves (`McsTable.length_logit`).

    Args:
        table: the link's MCS.
        rng: draws which blocks probe.
        target: share of first transmissions that may fail, inside (0, 1).
        initial_snr_db: where the estimate begins, in dB; None for the first report.
        learning_rate: step of the descent in dB², above 0; distillation replaces it.
        distil_every: outcomes between two adaptations of the learning rate, 10 or more; None holds it.
        integral_gain: of the BLER target per failure too few, 0 or more.
        window: outcomes in the hypothesis test, 1 or more.
        probe_score: standard deviations above which the estimate counts as too low.
        probe_share: of the blocks that probe meanwhile, within [0, 1]; 0 never probes.
        probe_target: BLER that a probe is chosen for, from ``target`` up to below 1.
        pending_limit: blocks that may wait for feedback.

    Raises:
        ValueError: an argument is out of range.

    Example:
        >>> salad = Salad(McsTable.nr_pdsch(1), np.random.default_rng(1), initial_snr_db=12.0)
        >>> salad.feedback(salad.select().seq, ack=False), salad.estimate_db < 12.0
        (True, True)
    """

    def __init__(
        self,
        table: McsTable,
        rng: np.random.Generator,
        *,
        target: float = 0.1,
        initial_snr_db: float | None = None,
        learning_rate: float = 1.0,
        distil_every: int | None = 200,
        integral_gain: float = 0.02,
        window: int = 15,
        probe_score: float = 0.25,
        probe_share: float = 0.15,
        probe_target: float = 0.95,
        pending_limit: int = 4096,
    ) -> None:
        super().__init__(table, pending_limit)
        if not 0 < target < 1:
            raise ValueError(f"target = {target!r}: give a BLER inside (0, 1)")
        if initial_snr_db is not None and not math.isfinite(initial_snr_db):
            raise ValueError(f"initial_snr_db = {initial_snr_db!r}: give dB, or None for the first report")
        if not 0 < learning_rate < math.inf:
            raise ValueError(f"learning_rate = {learning_rate!r}: give a step above 0 dB²")
        if distil_every is not None and not distil_every >= 10:
            raise ValueError(f"distil_every = {distil_every!r}: give 10 outcomes or more, or None for never")
        if not 0 <= integral_gain < math.inf:
            raise ValueError(f"integral_gain = {integral_gain!r}: give 0 or more")
        if not window >= 1:
            raise ValueError(f"window = {window!r}: give 1 outcome or more")
        if not math.isfinite(probe_score):
            raise ValueError(f"probe_score = {probe_score!r}: give a number of standard deviations")
        if not 0 <= probe_share <= 1:
            raise ValueError(f"probe_share = {probe_share!r}: give a share within 0 and 1")
        if not target <= probe_target < 1:
            raise ValueError(f"probe_target = {probe_target!r}: give a BLER from the target up to below 1")
        self.target = target
        self.learning_rate = learning_rate
        self._rng = rng
        self._range_db = (
            float(table.threshold.min()) - _MARGIN_DB,
            float(table.threshold.max()) + _MARGIN_DB,
        )
        self._estimate_db = None if initial_snr_db is None else self._bounded(initial_snr_db)
        self._distil_every = distil_every
        self._integral_gain = integral_gain
        self._tilt = 0.0  # what the integral adds to the target
        self._probe_score, self._probe_share, self._probe_target = probe_score, probe_share, probe_target
        self._tested: deque[tuple[float, int]] = deque(maxlen=window)  # predicted BLER, outcome
        # Estimate before the outcome, threshold and slope of the block's curve, outcome.
        self._history: deque[tuple[float, float, float, int]] = deque(maxlen=_REMEMBERED)
        self._outcomes = 0
        self._probing = False
        self._sent: PendingBlocks[tuple[int, int | None, bool]] = PendingBlocks(pending_limit)

    @property
    def estimate_db(self) -> float | None:
        """The inferred SINR in dB; None before there is one."""
        return self._estimate_db

    @property
    def score(self) -> float:
        """The hypothesis test's statistic: above 0 if the estimate looks too low."""
        variance = sum(p * (1 - p) for p, _ in self._tested)
        return sum(p - nack for p, nack in self._tested) / math.sqrt(variance) if variance else 0.0

    def report(self, csi: Csi) -> None:
        """Begin with the receiver's first report; none is read after it, or where the start was given."""
        super().report(csi)
        if self._estimate_db is None:
            self._estimate_db = self._bounded(csi.snr_db)

    def select(self, bits: int | None = None, seq: int | None = None) -> Decision:
        """Choose the MCS of the next block; see `Baseline.select`."""
        decision = replace(super().select(bits, seq), probe=self._probing)
        self._sent.add(decision.seq, (decision.mcs, bits, self._estimate_db is not None))
        return decision

    def feedback(self, seq: int, ack: bool, attempt: int = 0) -> bool:
        """Infer from the outcome of block ``seq``; see `Baseline.feedback`."""
        known = super().feedback(seq, ack, attempt)
        sent = self._sent.pop(seq) if attempt == 0 else None
        if sent is not None and sent[2]:
            self._infer(sent[0], sent[1], int(not ack))
        return known

    def _choose(self, bits: int | None) -> tuple[int, float]:
        self._probing = False
        if self._estimate_db is None:
            return self.table.most_robust, _UNKNOWN
        bler, gain = self.table.bler(self._estimate_db, bits), self.table.goodput_if_acked(bits)

        def most_efficient(target: float) -> int:
            tau = min(max(target + self._tilt, _TARGET_RANGE[0]), _TARGET_RANGE[1])
            return most_efficient_within(bler, gain, self.table, tau)

        mcs = most_efficient(self.target)
        if self.score > self._probe_score and self._rng.random() < self._probe_share:
            plain, mcs = mcs, most_efficient(self._probe_target)
            self._probing = mcs != plain
        return mcs, float(bler[mcs])

    def _infer(self, mcs: int, bits: int | None, nack: int) -> None:
        if self._estimate_db is None:
            return
        slope = self.table.slope_db[mcs]
        threshold = self.table.threshold_db[mcs] + slope * float(self.table.length_logit(bits))
        before = self._estimate_db
        after, p = student_step(before, threshold, slope, nack, self.learning_rate)
        self._estimate_db = self._bounded(float(after))
        self._tested.append((float(p), nack))
        self._history.append((before, threshold, slope, nack))
        if mcs != (self.table.most_robust if nack else self.table.by_efficiency[-1]):
            self._tilt = min(max(self._tilt + self._integral_gain * (self.target - nack), -1.0), 1.0)
        self._outcomes += 1
        if self._distil_every is not None and self._outcomes % self._distil_every == 0:
            self.learning_rate = distil(*np.array(self._history).T)

    def _bounded(self, snr_db: float) -> float:
        return min(max(snr_db, self._range_db[0]), self._range_db[1])


Numbers = float | np.ndarray


def student_step(
    snr_db: Numbers, threshold_db: float, slope_db: float, nack: float, rate: Numbers
) -> tuple[np.ndarray, np.ndarray]:
    """One step of the descent: the estimates after it, and the (clipped) BLERs that were predicted before."""
    p = np.minimum(np.maximum(sigmoid((threshold_db - snr_db) / slope_db), _BLER_RANGE[0]), _BLER_RANGE[1])
    scale = min(max(slope_db, _SLOPE_RANGE_DB[0]), _SLOPE_RANGE_DB[1])
    return snr_db + rate * (p - nack) / scale, p


def distil(start_db: np.ndarray, threshold_db: np.ndarray, slope_db: np.ndarray, nack: np.ndarray) -> float:
    """The one of `LEARNING_RATES` at which the student follows the teacher best.

    Args:
        start_db: the student's estimate before each outcome; the replay begins at the first.
        threshold_db, slope_db: of the curve of each block's MCS.
        nack: outcomes; all arrays in the order of time, shape ``(n,)``.
    """
    teacher = teach(start_db, threshold_db, slope_db, nack)
    student = np.full(len(LEARNING_RATES), start_db[0])
    error = np.zeros(len(LEARNING_RATES))
    for i in range(len(nack)):
        student, _ = student_step(student, threshold_db[i], slope_db[i], nack[i], LEARNING_RATES)
        error += (student - teacher[i]) ** 2
    return float(LEARNING_RATES[np.argmin(error)])


def teach(
    start_db: np.ndarray, threshold_db: np.ndarray, slope_db: np.ndarray, nack: np.ndarray
) -> np.ndarray:
    """SINR in dB at each outcome, fitted to all at once; arguments as in `distil`, returns shape ``(n,)``."""
    odd = np.arange(len(nack)) % 2 == 1

    def held_out_loss(n_knots: int) -> float:
        snr = _fit(n_knots, start_db, threshold_db, slope_db, nack, ~odd)
        return _cross_entropy(snr[odd], threshold_db[odd], slope_db[odd], nack[odd])

    best = min((k for k in _KNOTS if 2 * k <= len(nack)), key=held_out_loss)
    return _fit(best, start_db, threshold_db, slope_db, nack, np.full(len(nack), True))


def _cross_entropy(
    snr_db: np.ndarray, threshold_db: np.ndarray, slope_db: np.ndarray, nack: np.ndarray
) -> float:
    p = sigmoid((threshold_db - snr_db) / slope_db)
    return float(-np.log(np.where(nack > 0, p, 1 - p)).sum())


def _fit(
    n_knots: int,
    start_db: np.ndarray,
    threshold_db: np.ndarray,
    slope_db: np.ndarray,
    nack: np.ndarray,
    seen: np.ndarray,
) -> np.ndarray:
    """Piecewise linear SINR of least cross-entropy on the outcomes ``seen``, at all outcomes."""
    place = np.linspace(0, n_knots - 1, len(nack))
    basis = np.maximum(0.0, 1 - np.abs(place[:, None] - np.arange(n_knots)))  # hats: shape (n, n_knots)
    step = np.diff(np.eye(n_knots), axis=0)
    stiffness = 2 * _ROUGHNESS * step.T @ step
    b, threshold, slope, outcome = basis[seen], threshold_db[seen], slope_db[seen], nack[seen]
    knots = np.full(n_knots, start_db.mean())
    best, least = knots, math.inf
    for _ in range(15):
        snr = b @ knots
        loss = _cross_entropy(snr, threshold, slope, outcome) + knots @ stiffness @ knots / 2
        if loss < least:
            best, least = knots, loss
        p = sigmoid((threshold - snr) / slope)
        gradient = b.T @ ((outcome - p) / slope) + stiffness @ knots
        curvature = (b.T * (p * (1 - p) / slope**2)) @ b + stiffness + 1e-3 * np.eye(n_knots)
        # A waterfall is flat away from its middle: no step is longer than the way across one.
        move = np.clip(np.linalg.solve(curvature, gradient), -1.0, 1.0)
        if np.abs(move).max() < 0.02:  # dB: far below what an outcome can tell
            break
        knots = knots - move
    return basis @ best
