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

Then the fallback decides for 200 blocks, from whose outcomes the tuner learns too, and until a report moves,
and the model has another trial. Each time that it fails again the rest is four times as long, and a quarter
of the evidence for optimism does, but 8 nats at least.

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

from .mcs import McsTable
from .watch import Misfit

MISFIT = "the outcomes are not those that the model predicts"
INCONSISTENT = "no SINR near the reports explains the feedback"

_OUTLIER_DB = 30.0  # no link's SINR moves so far from one report to the next
_STANDING = 64  # equal reports in a row
_OPTIMISTIC, _PESSIMISTIC, _PESSIMISTIC_STANDING, _INCONSISTENT = 60.0, 24.0, 2.0, 12.0
_LEAST = 8.0
_BETTER = 7.0  # logits
_REST, _LONGEST_REST = 200, 6400  # blocks
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
        self._last_db = self._odd_db = math.nan
        self._equal = 0
        self._misfit = Misfit(_BETTER)
        self._inconsistent = 0.0
        self._rest = _REST
        self._left = self._peace = 0

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

    def outcome(self, snr_db: float, mcs: int, bler: float, nack: bool, own: bool) -> None:
        """Take the outcome of a block.

        Args:
            snr_db: the report that it was sent on.
            mcs: that was sent.
            bler: that was predicted for it, inside (0, 1).
            nack: its outcome.
            own: the model chose it, and not the fallback.
        """
        standing = self._equal >= _STANDING
        if own:
            self._judge(bler, nack, standing)
        step = _OTHER if snr_db <= self._easy_db[mcs] else _NACK if nack else _ACK
        self._inconsistent = min(max(0.0, self._inconsistent + step), _LARGEST)
        if self._left and not standing:
            self._left -= 1
        if self._inconsistent > _INCONSISTENT:
            self.reason = INCONSISTENT
        elif self.reason != INCONSISTENT or self._inconsistent < 1.0:
            self.reason = MISFIT if self._left else None

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
            self._left, self._rest, self._peace = self._rest, min(4 * self._rest, _LONGEST_REST), 0
            self._misfit = Misfit(_BETTER)
