# SPDX-License-Identifier: GPL-3.0-or-later
"""Link features: what is known of a link when its next MCS is chosen.

The same arithmetic serves one link (arrays of shape ``(...,)`` with no leading axis) and a batch of links in
offline training (leading axis ``n_links``), so that the network is trained on what it will see.
"""

from __future__ import annotations

from types import EllipsisType

import numpy as np

HISTORY = 8
"""Reports that are remembered: with 8 instead of 4 nothing more was gained in the design study."""

STRUCTURE_LAGS = (2, 4, 7)
"""Reports apart over which the structure function is kept, besides 1 (the spread)."""

# Places in a feature vector.
SNR, LAGS, MEAN, SPREAD, STRUCTURE = 0, slice(1, HISTORY), 8, 9, slice(10, 13)
AGE, FAST, SLOW, LENGTH = 13, 14, 15, 16

N_FEATURES = 17
SHAPE = slice(1, 16)
"""The features that say how the channel moves: all but the reported SINR itself and the block length."""

NAMES = (
    "snr_db",
    *(f"lag_{k}_db" for k in range(1, HISTORY)),
    "mean_db",
    "log_spread_db",
    *(f"log_structure_{k}" for k in STRUCTURE_LAGS),
    "log_age_slots",
    "surprise_fast",
    "surprise_slow",
    "length_logit",
)

MEAN_GAIN = 1 / 32  # running mean and spread of the reports: longer than the history, shorter than a walk
SPREAD_FLOOR_DB2 = 0.01
_BEFORE = [k - 1 for k in STRUCTURE_LAGS]  # places in the history as it stands before a report
FAST_GAIN, SLOW_GAIN = 1 / 4, 1 / 32  # memory of the ACK/NACK surprise: a burst, and a bias
MAX_AGE_SLOTS = 1000.0

Rows = EllipsisType | np.ndarray
"""Some links of a batch: indices, or `...` for all of them (or the only one)."""


class LinkHistory:
    """Reports and outcomes of a link, or of a batch of links, condensed into features.

    Args:
        batch: leading shape: ``()`` for one link, ``(n_links,)`` for a batch.

    A feature vector holds, in the order of `NAMES`: the last reported SINR (dB); the seven reports before
    it, relative to it (dB); the running mean of the reports, relative to it (dB); log of the running spread
    (RMS difference of successive reports, dB); the structure function: log of the RMS difference of reports
    2, 4 and 7 apart over that of successive ones, which tells fast fading from noisy reports; log of the
    report's age in slots; the surprise of the ACK/NACK stream over about 4 and 32 blocks (mean of ``nack -
    BLER``, where BLER is the table's at the reported SINR, so that the feature does not depend on the model
    that reads it); and the logit that the block's length adds (`McsTable.length_logit`).
    """

    def __init__(self, batch: tuple[int, ...] = ()) -> None:
        self.reports = np.zeros((*batch, HISTORY))
        self.mean = np.zeros(batch)
        self.spread2 = np.full(batch, 1.0)  # dB^2: a walk of 1 dB per report until known better
        self.structure2 = np.full((*batch, len(STRUCTURE_LAGS)), 1.0)  # dB^2
        self.fast = np.zeros(batch)
        self.slow = np.zeros(batch)
        self.seen = np.zeros(batch, bool)

    def report(self, snr_db: float | np.ndarray, rows: Rows = ...) -> None:
        """Take one SINR report in dB of each of some links (all by default)."""
        snr = np.asarray(snr_db, float)
        first = ~self.seen[rows]
        before = np.where(first[..., None], snr[..., None], self.reports[rows])
        mean = np.where(first, snr, self.mean[rows])
        step = snr - before[..., 0]
        self.spread2[rows] += np.where(first, 0.0, MEAN_GAIN * (step**2 - self.spread2[rows]))
        self.mean[rows] = mean + MEAN_GAIN * (snr - mean)
        apart2 = (snr[..., None] - before[..., _BEFORE]) ** 2
        self.structure2[rows] += np.where(first[..., None], 0.0, MEAN_GAIN * (apart2 - self.structure2[rows]))
        self.reports[rows] = np.concatenate([snr[..., None], before[..., :-1]], axis=-1)
        self.seen[rows] = True

    def outcome(self, surprise: float | np.ndarray, rows: Rows = ...) -> None:
        """Take one outcome as ``nack - BLER`` with the table's BLER at the reported SINR, within [-1, 1]."""
        self.fast[rows] += FAST_GAIN * (surprise - self.fast[rows])
        self.slow[rows] += SLOW_GAIN * (surprise - self.slow[rows])

    def features(
        self, age_slots: float | np.ndarray = 1.0, length_logit: float | np.ndarray = 0.0
    ) -> np.ndarray:
        """Features of the coming block, shape ``batch + (N_FEATURES,)``, float32.

        Args:
            age_slots: slots from the measurement of the last report to the coming block, 1 or more.
            length_logit: `McsTable.length_logit` of the block.
        """
        x = np.empty((*self.mean.shape, N_FEATURES), np.float32)
        snr = self.reports[..., 0]
        x[..., SNR] = snr
        x[..., LAGS] = self.reports[..., 1:] - snr[..., None]
        x[..., MEAN] = self.mean - snr
        x[..., SPREAD] = 0.5 * np.log(self.spread2 + SPREAD_FLOOR_DB2)
        x[..., STRUCTURE] = 0.5 * np.log(self.structure2 + SPREAD_FLOOR_DB2) - x[..., SPREAD, None]
        x[..., AGE] = np.log(np.clip(age_slots, 1.0, MAX_AGE_SLOTS))
        x[..., FAST] = self.fast
        x[..., SLOW] = self.slow
        x[..., LENGTH] = length_logit
        return x


def snr_db(features: np.ndarray) -> np.ndarray:
    """The last reported SINR in dB."""
    return features[..., SNR]


def length_logit(features: np.ndarray) -> np.ndarray:
    """The logit that the block's length adds."""
    return features[..., LENGTH]
