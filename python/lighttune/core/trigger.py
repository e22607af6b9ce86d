# SPDX-License-Identifier: GPL-3.0-or-later
r"""When to tune: only while the predictor performs worse than a threshold.

The predictor's performance is judged against a few ways in which it could be wrong. With ``z`` the logit of
the BLER that was predicted for the block that was sent, and ``n`` its outcome (1 for NACK), each alternative
``a`` has a logit of its own,

    z_a = z - scale * shift_db     the SINR is higher than the predictor thinks, by -3, -1.5, 1.5, 3 dB
    z_a = z / 2                    the waterfall is half as steep, or there is a floor

(``scale``: slope of the logit over the SINR, `predictor.Activations`). The evidence for it, in nats, is
E. S. Page's cumulative sum of log-likelihood ratios (Biometrika 41, 1954):

    g_a <- max(0, g_a + log P(n | z_a) - log P(n | z))

For a predictor that is right every ``g_a`` falls back to 0 again and again: its mean step is minus a
Kullback-Leibler divergence. One that is too optimistic, too pessimistic or too steep lets one of them rise.
Tuning starts when the largest exceeds a threshold and ends when all are below ``off``. Evidence that has
exceeded the threshold is spent: from then on it is the tuned predictor that is judged.

A link whose predictor was never wrong deserves patience: small flaws, which every link has, would make the
statistic fire now and then. Where something shifted more is likely to come, and then it fires more than once;
and a new link has earned no trust yet. So the threshold lies between ``on``, for a link in peace, and
``again``, for one that is new or fired several times lately:

    alert <- min(1, alert + rise) where it fires, else alert (1 - 1 / memory); 0 at first
    threshold = on - (on - again) max(alert, exp(-blocks so far / trial))
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SHIFTS_DB = np.array([-3.0, -1.5, 1.5, 3.0])
LARGEST_LOGIT = 8.0
LARGEST_LOSS = 5.0  # of evidence, by one outcome that the predictor foresaw
LARGEST_GAIN = 2.5  # by one against all odds: an accident, that alone must not fire at any alert


@dataclass(frozen=True)
class TriggerPolicy:
    """Thresholds of the trigger.

    Args:
        on: evidence in nats that starts tuning on a link in peace.
        again: the same on a new link and at full alert, 0 < again <= on.
        memory: blocks over which alert fades, 1 or more.
        rise: what a firing adds to the alert, within [0, 1].
        trial: blocks over which a new link earns trust, above 0.
        off: evidence below which tuning ends, 0 < off <= again.
        hold: blocks after the last firing for which tuning goes on at least, 0 or more.
        always: tune on every block: the reference that the trigger is judged against.

    Raises:
        ValueError: a value is out of range.
    """

    on: float = 17.5
    again: float = 2.6
    memory: float = 600.0
    rise: float = 0.5
    trial: float = 60.0
    off: float = 1.0
    hold: int = 24
    always: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.off <= self.again <= self.on < np.inf:
            raise ValueError(
                f"on = {self.on!r}, again = {self.again!r}, off = {self.off!r}: give 0 < off <= again <= on"
            )
        if not 1 <= self.memory < np.inf:
            raise ValueError(f"memory = {self.memory!r}: give 1 block or more")
        if not 0 <= self.rise <= 1:
            raise ValueError(f"rise = {self.rise!r}: give what a firing adds to the alert, 0 to 1")
        if not 0 < self.trial < np.inf:
            raise ValueError(f"trial = {self.trial!r}: give a number of blocks above 0")
        if self.hold < 0:
            raise ValueError(f"hold = {self.hold!r}: give 0 blocks or more")


def page_sum(evidence: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Page's cumulative sum after one more log-likelihood ratio ``step``; both in nats, of any shape."""
    return np.maximum(evidence + np.clip(step, -LARGEST_LOSS, LARGEST_GAIN), 0.0)


class Trigger:
    """The evidence against the predictors of ``capacity`` links, addressed by row."""

    def __init__(self, policy: TriggerPolicy, capacity: int) -> None:
        self.policy = policy
        self.evidence = np.zeros((capacity, len(SHIFTS_DB) + 1))
        self.alert = np.zeros(capacity)
        self.newness = np.ones(capacity)
        self.active = np.full(capacity, policy.always)
        self.held = np.zeros(capacity, np.int64)
        self.fired = np.zeros(capacity, np.int64)

    def update(self, rows: np.ndarray, logit: np.ndarray, scale: np.ndarray, nack: np.ndarray) -> np.ndarray:
        """Take one outcome for each row (each row once).

        Args:
            rows: which links.
            logit: of the predicted BLER of the block that was sent.
            scale: slope of that logit over the SINR, per dB, above 0.
            nack: 1.0 for NACK, 0.0 for ACK.

        Returns:
            Which rows should tune, bool ``(n_rows,)``.
        """
        policy = self.policy
        sign = (1.0 - 2.0 * nack)[:, None]
        alternatives = np.empty((len(rows), len(SHIFTS_DB) + 1))
        logit = np.minimum(np.maximum(logit, -LARGEST_LOGIT), LARGEST_LOGIT)
        alternatives[:, :-1] = logit[:, None] - scale[:, None] * SHIFTS_DB
        alternatives[:, -1] = 0.5 * logit
        step = np.logaddexp(0.0, sign * logit[:, None]) - np.logaddexp(0.0, sign * alternatives)
        evidence = page_sum(self.evidence[rows], step)
        largest = evidence.max(axis=1)
        alert = self.alert[rows]
        watched = np.maximum(alert, self.newness[rows])
        fire = largest > policy.on - (policy.on - policy.again) * watched
        self.newness[rows] *= np.exp(-1.0 / policy.trial)
        risen = np.minimum(alert + policy.rise, 1.0)
        self.alert[rows] = np.where(fire, risen, alert * (1.0 - 1.0 / policy.memory))
        evidence[fire] = 0.0
        self.evidence[rows] = evidence
        was = self.active[rows]
        stop = was & (largest < policy.off) & (self.held[rows] >= policy.hold)
        self.held[rows] = np.where(fire, 0, self.held[rows] + 1)
        self.fired[rows] += fire & ~was
        self.active[rows] = (was | fire) & ~stop | policy.always
        return self.active[rows]

    def forget(self, rows: np.ndarray) -> None:
        """Drop the evidence of these rows: the weights that it speaks of are gone."""
        self.evidence[rows] = 0.0
