# SPDX-License-Identifier: GPL-3.0-or-later
r"""What a trace is worth.

With ``p`` the predicted and ``q`` the true BLER of a block, ``n`` its outcome (1 for NACK) and means over
blocks:

    goodput        mean of the information bits per symbol that arrived: a slot has the same symbols whatever
        is sent
    residual_bler  mean of n
    error          mean of |p - q|
    error_rms      sqrt(mean of (p - q)^2)
    window_error   mean over links and windows of `WINDOW` slots of |mean of p - mean of q|
    log_loss       mean of -ln(p) where n = 1, -ln(1 - p) where n = 0, in nats

The error is that of the MCS that was sent; the *near* error is taken over the MCS within three places of the
best one, sent or not: it shows a predictor that is right only where it goes (the *near* window error: one
mean for each of those places).

A slot's true BLER is all but 0 or 1, and whether it is depends on a fade that no report can foretell: most of
``error`` is that, and no predictor removes it. A BLER is a rate: ``window_error`` asks whether the predicted
one is right over a stretch of blocks, as one would measure it on the air.
"""

from __future__ import annotations

import numpy as np

from ..core import guards
from .link import Trace

WINDOW = 100
"""Slots over which `window_error` takes rates."""

_CLIP = 1e-6  # a prediction of exactly 0 or 1 would cost an infinite log loss


def error(predicted: np.ndarray, true: np.ndarray) -> float:
    """Mean absolute error of predicted BLERs; NaN entries do not count."""
    return float(np.nanmean(np.abs(predicted - true)))


def error_rms(predicted: np.ndarray, true: np.ndarray) -> float:
    """Root mean square error of predicted BLERs; NaN entries do not count."""
    return float(np.sqrt(np.nanmean((predicted - true) ** 2)))


def window_error(predicted: np.ndarray, true: np.ndarray) -> float:
    """Error of predicted BLER as a rate over windows of `WINDOW` slots; NaN entries do not count.

    Args:
        predicted, true: shape ``(n_links, n_slots)`` or ``(n_links, n_slots, n_places)``; a last window that
            is not full is dropped, but for the only one.
    """
    n_links, n_slots = predicted.shape[:2]
    window = min(WINDOW, n_slots)
    n = n_slots // window
    off = (predicted - true)[:, : n * window].reshape(n_links, n, window, *predicted.shape[2:])
    counted = np.isfinite(off).sum(axis=2)
    means = np.nansum(off, axis=2) / np.maximum(counted, 1)
    return float(np.abs(means[counted > 0]).mean())


def log_loss(predicted: np.ndarray, ack: np.ndarray) -> np.ndarray:
    """Log loss in nats of each prediction against its outcome, clipped at 1e-6 from 0 and 1; shape kept."""
    return guards.log_loss(np.clip(np.asarray(predicted, float), _CLIP, 1 - _CLIP), np.logical_not(ack))


def summary(trace: Trace, slots: slice = slice(None)) -> dict[str, float]:
    """The figures above over all links, and ``near_error``, ``near_error_rms``, ``near_window_error`` where
    the trace
    has them.

    Args:
        slots: which slots count, for instance those after a shift.
    """
    bler, true, ack = trace.bler[:, slots], trace.true_bler[:, slots], trace.ack[:, slots]
    figures = {
        "goodput": float(trace.goodput[:, slots].mean(dtype=float)),
        "residual_bler": float(1 - ack.mean()),
        "error": error(bler, true),
        "error_rms": error_rms(bler, true),
        "window_error": window_error(bler, true),
        "log_loss": float(log_loss(bler, ack).mean()),
    }
    if trace.near_bler is not None and trace.near_true is not None:
        near, near_true = trace.near_bler[:, slots], trace.near_true[:, slots]
        figures |= {
            "near_error": error(near, near_true),
            "near_error_rms": error_rms(near, near_true),
            "near_window_error": window_error(near, near_true),
        }
    return figures


def tuned_slots(trace: Trace) -> np.ndarray:
    """Slots, all but the first, whose weights had just changed: bool, ``(n_links, n_slots - 1)``."""
    return (np.diff(trace.version, axis=1) > 0) & (trace.version[:, 1:] > 0)  # -1 to 0 is the first report


def windowed(values: np.ndarray, window: int) -> tuple[np.ndarray, np.ndarray]:
    """A curve over time: the mean over links and over windows that follow each other.

    Args:
        values: per slot, such as ``trace.goodput`` or ``~trace.ack``, shape ``(n_links, n_slots)``.
        window: slots in a window, 1 or more; a last one that is not full is dropped.

    Returns:
        Middle slot of each window, and the means, both of shape ``(n_windows,)``.

    Raises:
        ValueError: ``window`` is below 1 or longer than the run.
    """
    n_links, n_slots = values.shape
    if not 1 <= window <= n_slots:
        raise ValueError(f"window = {window!r}: give 1 to {n_slots} slots")
    n = n_slots // window
    means = np.asarray(values[:, : n * window], float).reshape(n_links, n, window).mean(axis=(0, 2))
    return (np.arange(n) + 0.5) * window, means
