# SPDX-License-Identifier: GPL-3.0-or-later
r"""Whether weights that nobody tunes any more still fit: for a selector whose tuner is away.

The predictions are judged against the two ways in which weights grow stale: the channel turned out better or
worse than they think. With ``z`` the logit of the BLER that was predicted for the block that was sent, and
``n`` its outcome (1 for NACK), the alternatives are ``z - 3`` and ``z + 3``, and the evidence for each, in
nats, is Page's cumulative sum of log-likelihood ratios, as in `trigger`:

    g_a <- max(0, g_a + log P(n | z_a) - log P(n | z))

The trigger asks whether tuning would help, this one whether OLLA would do better, which takes worse: so the
shift and the threshold are large. They were chosen in the simulated worlds (`bench/last_weights.py`:
validation seeds, the offline weights as last ones). Goodput over OLLA's at its defaults, with this watch /
without it, in percent: nominal 5.8 / 5.8, snr_bias_jump 1.9 / 1.5, doppler_shift 8.6 / 8.6, interference 3.8
/ 6.5, impairment 5.4 / 3.4, mixture 5.0 / 2.0. With a shift of 2 and 17 nats, links fall in the nominal world
already.
"""

from __future__ import annotations

import math

from .trigger import LARGEST_LOGIT

_SHIFT = 3.0
_THRESHOLD = 50.0


class Misfit:
    """The evidence in nats that one link's predictions are far off, in either direction.

    Args:
        better: by how much the alternative's logit is lower, for a channel that is better than predicted.

    Attributes:
        pessimistic: that the channel is better than they say.
        optimistic: that it is worse.
    """

    def __init__(self, better: float = _SHIFT) -> None:
        self._better = better
        self.pessimistic = self.optimistic = 0.0

    def observe(self, bler: float, nack: bool) -> None:
        """Take the outcome of a block whose BLER was predicted, inside (0, 1)."""
        logit = math.log(bler / (1.0 - bler)) if 0.0 < bler < 1.0 else math.copysign(math.inf, bler - 0.5)
        logit = min(max(logit, -LARGEST_LOGIT), LARGEST_LOGIT)
        now = _surprise(logit, nack)
        self.pessimistic = max(0.0, self.pessimistic + now - _surprise(logit - self._better, nack))
        self.optimistic = max(0.0, self.optimistic + now - _surprise(logit + _SHIFT, nack))


class Watch:
    """The evidence against one link's weights.

    Args:
        threshold: evidence in nats beyond which the weights no longer fit, above 0.
    """

    def __init__(self, threshold: float = _THRESHOLD) -> None:
        self._threshold = threshold
        self._misfit = Misfit()
        self.fits = True

    def observe(self, bler: float, nack: bool) -> None:
        """Take the outcome of a first transmission whose BLER was predicted, inside (0, 1)."""
        self._misfit.observe(bler, nack)
        if max(self._misfit.pessimistic, self._misfit.optimistic) > self._threshold:
            self.fits = False  # for good: once OLLA decides, nothing tells how the weights would do


def _surprise(logit: float, nack: bool) -> float:
    """Log loss in nats of one outcome."""
    return math.log1p(math.exp(-logit if nack else logit))
