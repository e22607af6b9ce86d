# SPDX-License-Identifier: GPL-3.0-or-later
"""Link features: what is known of a link when its next MCS is chosen.

The same arithmetic serves one link (arrays of shape ``(...,)`` with no leading axis) and a batch of links in
offline training (leading axis ``n_links``), so that the network is trained on what it will see.
"""

from __future__ import annotations

import numpy as np

HISTORY = 8
"""Reports that are remembered: with 8 instead of 4 nothing more was gained in the design study."""

_SNR, _LAGS, _MEAN, _SPREAD, _AGE, _FAST, _SLOW, _LENGTH = 0, slice(1, HISTORY), 8, 9, 10, 11, 12, 13

N_FEATURES = 14
SHAPE = slice(1, 13)
"""The features that say how the channel moves: all but the reported SINR itself and the block length."""

NAMES = (
    "snr_db",
    *(f"lag_{k}_db" for k in range(1, HISTORY)),
    "mean_db",
    "log_spread_db",
    "log_age_slots",
    "surprise_fast",
    "surprise_slow",
    "length_logit",
)

_MEAN_GAIN = 1 / 32  # running mean and spread of the reports: longer than the history, shorter than a walk
_SPREAD_FLOOR_DB2 = 0.01
_FAST_GAIN, _SLOW_GAIN = 1 / 4, 1 / 32  # memory of the ACK/NACK surprise: a burst, and a bias
_MAX_AGE_SLOTS = 1000.0


class LinkHistory:
    """Reports and outcomes of a link, or of a batch of links, condensed into features.

    Args:
        batch: leading shape: ``()`` for one link, ``(n_links,)`` for a batch.

    A feature vector holds, in the order of `NAMES`: the last reported SINR (dB); the seven reports before
    it, relative to it (dB); the running mean of the reports, relative to it (dB); log of the running spread
    (RMS difference of successive reports, dB); log of the report's age in slots; the surprise of the
    ACK/NACK stream over about 4 and 32 blocks (mean of ``nack - BLER``, where BLER is the table's at the
    reported SINR, so that the feature does not depend on the model that reads it); and the logit that the
    block's length adds (`McsTable.length_logit`).
    """

    def __init__(self, batch: tuple[int, ...] = ()) -> None:
        self.reports = np.zeros((*batch, HISTORY))
        self.mean = np.zeros(batch)
        self.spread2 = np.full(batch, 1.0)  # dB^2: a walk of 1 dB per report until known better
        self.fast = np.zeros(batch)
        self.slow = np.zeros(batch)
        self.seen = False

    def report(self, snr_db: float | np.ndarray) -> None:
        """Take one SINR report in dB (per link)."""
        snr = np.asarray(snr_db, float)
        if not self.seen:
            self.reports[...] = snr[..., None]
            self.mean = snr.copy()
            self.seen = True
            return
        step = snr - self.reports[..., 0]
        self.spread2 = self.spread2 + _MEAN_GAIN * (step**2 - self.spread2)
        self.mean = self.mean + _MEAN_GAIN * (snr - self.mean)
        self.reports[..., 1:] = self.reports[..., :-1].copy()
        self.reports[..., 0] = snr

    def outcome(self, surprise: float | np.ndarray) -> None:
        """Take one outcome as ``nack - BLER`` with the table's BLER at the reported SINR, within [-1, 1]."""
        self.fast = self.fast + _FAST_GAIN * (surprise - self.fast)
        self.slow = self.slow + _SLOW_GAIN * (surprise - self.slow)

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
        x[..., _SNR] = snr
        x[..., _LAGS] = self.reports[..., 1:] - snr[..., None]
        x[..., _MEAN] = self.mean - snr
        x[..., _SPREAD] = 0.5 * np.log(self.spread2 + _SPREAD_FLOOR_DB2)
        x[..., _AGE] = np.log(np.clip(age_slots, 1.0, _MAX_AGE_SLOTS))
        x[..., _FAST] = self.fast
        x[..., _SLOW] = self.slow
        x[..., _LENGTH] = length_logit
        return x


def snr_db(features: np.ndarray) -> np.ndarray:
    """The last reported SINR in dB."""
    return features[..., _SNR]


def length_logit(features: np.ndarray) -> np.ndarray:
    """The logit that the block's length adds."""
    return features[..., _LENGTH]
