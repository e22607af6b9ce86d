# SPDX-License-Identifier: GPL-3.0-or-later
r"""What a selector does not believe although its tuner is heard: reports, its model, or the feedback.

**Reports** more than 30 dB from the one before are left alone, until the next one is there too.

**The model.** With ``z`` the logit of the BLER that was predicted for the block that was sent, and ``n`` its
outcome (1 for NACK), two of Page's cumulative sums of log-likelihood ratios, in nats (`watch.Misfit`), ask
whether it is far off, whoever wrote its weights:

    optimistic    z + 3 against z, over 60
    pessimistic   z - 7 against z, over 24, and over 2 while the reports stand still, and so say nothing of
        the channel: such a model sends low and sees only ACKs, and what tells is that the few blocks above
        (the probes) arrive against all odds. (With z - 3 a model that says 5 % of 1 % is out most of the
        time. On cables that is any model trained on fading; it costs little, and OLLA is no better.)

Then the fallback decides for 200 blocks, from whose outcomes the tuner learns too, and until a report moves.
Meanwhile the model is asked what it thinks of the fallback's blocks, and gets another trial if the sums over
these are below 8 (optimistic) and 60 in the end, else another 200 blocks. Each time that it fails a trial the
rest is four times as long, and a quarter of the evidence for optimism does, but 8 nats at least.

**Weights that jump.** New weights that move the calibration of some modulation order by more than 10 dB are
asked about 50 of the fallback's blocks before they decide: a tuner that rolls back or starts anew may do so,
but also one that is out of its mind.

**The feedback.** A block that the table would carry at 10 dB less than was reported fails only in a burst or
a deep fade, so a third sum asks whether the outcomes are the link's at all:

    inconsistent  a NACK of such a block: log(0.5 / 0.1); an ACK: log(0.5 / 0.9); any other block: -0.02

Above 12 no SINR near the reports explains the feedback: somebody lies, or something is broken. The predictor
would follow it down to the end of its ladder; the fallback, whose offset ends at -10 dB, decides until the
sum is below 1 again.

The thresholds were chosen on a validation seed so that in the simulated worlds, where nobody lies and the
tuner does its work, doubt changes next to nothing.
"""

from __future__ import annotations

import math

import numpy as np

from .mcs import McsTable
from .predictor import OFFSET
from .watch import Misfit

MISFIT = "the outcomes are not those that the model predicts"
JUMPED = "the model has only just moved this far"
INCONSISTENT = "no SINR near the reports explains the feedback"

_OUTLIER_DB = 30.0  # no link's SINR moves so far from one report to the next
_STANDING = 64  # equal reports in a row
_OPTIMISTIC, _PESSIMISTIC, _PESSIMISTIC_STANDING, _INCONSISTENT = 60.0, 24.0, 2.0, 12.0
_LEAST, _PESSIMISTIC_ASIDE = 8.0, 60.0
_BETTER = 7.0  # logits
_REST, _LONGEST_REST = 200, 6400  # blocks
_TRIAL, _JUMP_DB = 50, 10.0
_PEACE = 2000  # blocks of the model's without doubt after which the next rest is a short one again
_EASY_DB, _EASY_LOGIT = 10.0, -4.0  # less than was reported; and the table's logit there, a BLER of 2 %
_NACK, _ACK, _OTHER = math.log(0.5 / 0.1), math.log(0.5 / 0.9), -0.02
_LARGEST = 24.0  # of the inconsistency: what it takes to trust again does not grow with time


class Doubt:
    """The evidence against one link's reports, model and feedback.

    Args:
        table: the link's MCS.

    Attributes:
        reason: why the model must not decide; None while it may.
        outliers: reports that were left alone.
    """

    def __init__(self, table: McsTable) -> None:
        self.reason: str | None = None
        self.outliers = 0
        self._easy_db = [
            float(t + _EASY_DB - _EASY_LOGIT * s)
            for t, s in zip(table.threshold_db, table.slope_db, strict=True)
        ]
        self._n_orders = len(table.orders)
        self._last_db = self._odd_db = math.nan
        self._equal = 0
        self._misfit = Misfit(_BETTER)  # of the model's own blocks
        self._aside = Misfit(_BETTER)  # of the fallback's, while it rests
        self._inconsistent = 0.0
        self._rest = _REST
        self._left = self._peace = 0
        self._rests_for = MISFIT

    def believes(self, snr_db: float) -> bool:
        """Take a report in dB; whether the model and the fallback may have it."""
        near = not abs(snr_db - self._last_db) > _OUTLIER_DB  # the first one is
        if not near and not abs(snr_db - self._odd_db) <= _OUTLIER_DB:
            self._odd_db = snr_db
            self.outliers += 1
            return False
        self._equal = self._equal + 1 if snr_db == self._last_db else 0
        self._last_db, self._odd_db = snr_db, math.nan
        return True

    def loaded(self, before: np.ndarray, after: np.ndarray) -> None:
        """Take note that these flat weights, ``(n_weights,)``, decide from now on in the place of those."""
        moved = (after - before)[OFFSET : 2 + self._n_orders]
        if np.abs(moved[0] + moved[1:]).max() > _JUMP_DB:
            if not self._left:
                self._rests_for, self._aside = JUMPED, Misfit(_BETTER)
            self._left = max(self._left, _TRIAL)
            self._tell()

    def outcome(self, snr_db: float, mcs: int, bler: float, nack: bool, own: bool) -> None:
        """Take the outcome of a block.

        Args:
            snr_db: the report that it was sent on.
            mcs: that was sent.
            bler: that the model predicted for it, inside (0, 1); NaN where it was not asked.
            nack: its outcome.
            own: the model chose it, and not the fallback.
        """
        standing = self._equal >= _STANDING
        if own:
            self._judge(bler, nack, standing)
        elif self._left and not math.isnan(bler):
            self._aside.observe(bler, nack)
        step = _OTHER if snr_db <= self._easy_db[mcs] else _NACK if nack else _ACK
        self._inconsistent = min(max(0.0, self._inconsistent + step), _LARGEST)
        if self._left and not standing:
            self._left -= 1
            aside = self._aside
            if not self._left and (aside.optimistic > _LEAST or aside.pessimistic > _PESSIMISTIC_ASIDE):
                self._begin_rest(_REST)
        self._tell()

    def _tell(self) -> None:
        if self._inconsistent > _INCONSISTENT:
            self.reason = INCONSISTENT
        elif self.reason != INCONSISTENT or self._inconsistent < 1.0:
            self.reason = self._rests_for if self._left else None

    def _begin_rest(self, blocks: int) -> None:
        self._left, self._rests_for, self._aside = blocks, MISFIT, Misfit(_BETTER)

    def _judge(self, bler: float, nack: bool, standing: bool) -> None:
        """Weigh what the model predicted for a block of its own."""
        misfit = self._misfit
        misfit.observe(bler, nack)
        self._peace += 1
        if self._peace == _PEACE:
            self._rest = _REST
        if self._left:
            return
        optimistic = max(_OPTIMISTIC * _REST / self._rest, _LEAST)
        pessimistic = _PESSIMISTIC_STANDING if standing else _PESSIMISTIC
        if misfit.optimistic > optimistic or misfit.pessimistic > pessimistic:
            self._begin_rest(self._rest)
            self._rest, self._peace = min(4 * self._rest, _LONGEST_REST), 0
            self._misfit = Misfit(_BETTER)
