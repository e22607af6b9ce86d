# SPDX-License-Identifier: GPL-3.0-or-later
r"""How good predicted BLERs were, judged by outcomes.

With ``p`` the predicted BLER of a block and ``n`` its outcome (1 for NACK), means over blocks:

    log_loss   mean of -ln(p) where n = 1, -ln(1 - p) where n = 0, in nats
    brier      mean of (p - n)^2
    ece        expected calibration error: sum over bins of p of (share of blocks) |mean p - mean n|
    predicted, observed   mean of p, mean of n
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BINS = 10
"""Bins of equal width in p: fixed edges, so that two predictors are judged alike."""

_CLIP = 1e-6  # a prediction of exactly 0 or 1 would cost an infinite log loss
_Z95 = 1.959964


@dataclass(frozen=True, eq=False)
class Reliability:
    """Blocks by predicted BLER; arrays of shape ``(BINS,)``, NaN where a bin is empty.

    Args:
        blocks: in each bin.
        predicted, observed: mean of p, share of NACKs.
        low, high: 95 % interval of that share (Wilson).
    """

    blocks: np.ndarray
    predicted: np.ndarray
    observed: np.ndarray
    low: np.ndarray
    high: np.ndarray


def scores(bler: np.ndarray, nack: np.ndarray) -> dict[str, float]:
    """The figures above, and ``blocks``.

    Args:
        bler: predicted, ``(n,)``, finite.
        nack: outcomes, bool or 0 and 1, ``(n,)``.

    Returns:
        NaN for all but ``blocks`` where there are none.
    """
    if not len(bler):
        return {"blocks": 0} | dict.fromkeys(("log_loss", "brier", "ece", "predicted", "observed"), np.nan)
    p, n = np.clip(bler, _CLIP, 1 - _CLIP), np.asarray(nack, float)
    bins = reliability(bler, nack)
    return {
        "blocks": len(p),
        "log_loss": float(-(n * np.log(p) + (1 - n) * np.log(1 - p)).mean()),
        "brier": float(((bler - n) ** 2).mean()),
        "ece": float(np.nansum(bins.blocks * np.abs(bins.predicted - bins.observed)) / len(p)),
        "predicted": float(np.mean(bler)),
        "observed": float(n.mean()),
    }


def reliability(bler: np.ndarray, nack: np.ndarray) -> Reliability:
    """Share of NACKs by predicted BLER; arguments as of `scores`."""
    place = np.minimum((np.asarray(bler) * BINS).astype(int), BINS - 1)
    blocks = np.bincount(place, minlength=BINS).astype(float)
    with np.errstate(invalid="ignore", divide="ignore"):
        predicted = np.bincount(place, bler, BINS) / blocks
        observed = np.bincount(place, np.asarray(nack, float), BINS) / blocks
    return Reliability(blocks, predicted, observed, *wilson(observed, blocks))


def wilson(share: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """95 % interval of a share that was observed on ``n`` independent blocks (E. B. Wilson, JASA 22, 1927).

    Returns:
        Its ends, of the arguments' shape; NaN where ``n`` is 0.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        middle = (share + _Z95**2 / (2 * n)) / (1 + _Z95**2 / n)
        half = _Z95 / (1 + _Z95**2 / n) * np.sqrt(share * (1 - share) / n + (_Z95 / (2 * n)) ** 2)
    return middle - half, middle + half
