# SPDX-License-Identifier: GPL-3.0-or-later
"""The decision itself: reports and outcomes in, one MCS per link out. It knows no sequence numbers.

`adapter.Selector` drives it for one link of a radio, `sim.batch` for all links of a world at once.
"""

from __future__ import annotations

import numpy as np

from . import features as ft
from .features import LinkHistory, Rows
from .mcs import sigmoid
from .predictor import Predictor, Weights
from .selection import PriceControl, Prober, SelectionPolicy, choose


class Decider:
    """History, predictor, price and probing of one link or of a batch.

    Args:
        predictor: as trained offline.
        policy: what to maximise, and how much to probe.
        batch: ``()`` for one link, ``(n_links,)`` for many. All shapes below begin with it, or with the
            shape of the links that ``rows`` picks.

    Attributes:
        history: of the reports and outcomes.
        weights: that decide, flat, ``batch + (n_weights,)``; replaced by one assignment.
        price: of a failure, under a BLER target.
    """

    def __init__(self, predictor: Predictor, policy: SelectionPolicy, batch: tuple[int, ...] = ()) -> None:
        self.predictor = predictor
        self.policy = policy
        self.history = LinkHistory(batch)
        self.weights = np.broadcast_to(predictor.offline, (*batch, predictor.shape.n_weights)).astype(float)
        largest = float(predictor.table.goodput_if_acked().max())
        self.price = PriceControl(policy, largest, batch)
        self._prober = Prober(predictor.table, policy, batch)

    def decide(
        self, features: np.ndarray, gain: np.ndarray, rows: Rows = ...
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Choose.

        Args:
            features: `LinkHistory.features` of the coming block, ``batch + (N_FEATURES,)``.
            gain: `McsTable.goodput_if_acked`, ``(n_mcs,)``.

        Returns:
            MCS, ``batch``; predicted BLER of every MCS, ``batch + (n_mcs,)``; whether the MCS is a probe.
        """
        weights = Weights(self.predictor.shape, self.weights[rows])
        bler = self.predictor.bler(weights, features)
        greedy = choose(bler, gain, self.predictor.table, self.price.price[rows])
        mcs = self._prober.consider(greedy, bler, gain, rows)
        return mcs, bler, mcs != greedy

    def outcome(
        self,
        features: np.ndarray,
        mcs: int | np.ndarray,
        bler: float | np.ndarray,
        nack: float | np.ndarray,
        rows: Rows = ...,
    ) -> None:
        """Take the outcome of a first transmission that was decided on ``features``.

        Args:
            features: ``batch + (N_FEATURES,)``.
            mcs: that was sent, ``batch``.
            bler: that was predicted for it, ``batch``.
            nack: 1.0 for NACK, 0.0 for ACK, ``batch``.
        """
        table = self.predictor.table
        short = (table.threshold[mcs] - ft.snr_db(features)) / table.slope[mcs] + ft.length_logit(features)
        self.history.outcome(nack - sigmoid(short), rows)
        self._prober.observe(bler, rows)
        self.price.outcome(nack, rows)
