# SPDX-License-Identifier: GPL-3.0-or-later
"""Thompson sampling: a bandit that counts ACKs per MCS and reported SINR, and asks no channel model."""

from __future__ import annotations

import math

import numpy as np

from ..core.mcs import McsTable
from ..core.messages import Decision
from ..core.pending import PendingBlocks
from .base import Baseline

_MARGIN_DB = 3.0  # bins reach this far beyond the table's thresholds: there, all MCS fail or all succeed
_UNKNOWN = 0.5  # predicted BLER before the first report, as in `TableOnly`


class ThompsonSampling(Baseline):
    r"""Samples each MCS's probability of an ACK from its posterior, and sends what is best if it is so.

    The reported SINR is quantised to a CQI ``c``, bins of ``bin_db``. For each MCS ``m`` and CQI

        P(ACK | m, c) ~ Beta(flat + w (1 - p0) + acks[m, c],  flat + w p0 + nacks[m, c])

    with ``p0`` the table's AWGN BLER at the bin's centre, ``w = prior_strength`` blocks of belief in it, and
    ``flat = flat_prior`` of each outcome, whatever the MCS. Before every block one ``s[m]`` is drawn from
    each posterior of the present CQI (Thompson sampling); with ``r[m]`` the information bits per symbol of an
    ACKed block, the MCS is

        argmax_m r[m] s[m]                                              without a target,
        drawn from  argmax_x sum x[m] r[m] s[m]
                    subject to sum x[m] s[m] >= 1 - target, sum x[m] = 1, x >= 0       with one:

    the published linear program. Its optimum mixes two MCS at most, one that meets the target and one that
    does not, and is found here over all such pairs in closed form.

    V. Saxena, J. Jaldén, "Bayesian link adaptation under a BLER target", IEEE SPAWC 2020. Only the title and
    the simulation code that the authors released with it were at hand (bayesla-link-adaptation on GitHub;
    nothing of it is used here); the posterior, the linear program, the AWGN prior and its weight of 10 blocks
    are as that code has them. Ours, because the code leaves it open or does otherwise:

    - The CQI is uniform in dB, not the index of the MCS with 10 % AWGN BLER, and its edge bins are open.
    - Where no sampled MCS meets the target, the one most likely to succeed is sent; the code draws any.
    - Without a target, plain maximum goodput: for comparison with adapters that have none.
    - Blocks of all lengths share their counts; the length only enters ``r``. The prior is that of the
      table's reference length.
    - Forgetting: with ``memory_blocks``, every outcome first multiplies all counts by
      ``1 - 1 / memory_blocks``, and what is forgotten returns to the prior. The code's bandit never forgets.

    The arms are independent: an ACK at one MCS says nothing of the MCS below it, nor of the next bin. That is
    the method, and why it learns slowly where bins and MCS are many. Two costs, so that nobody has to find
    them out again. The flat prior makes each hopeless MCS of each bin fail many times before it is left
    alone: on one short draw of the nominal world (seed 90002, 2,000 slots) 1 instead of 0.01 took 2 % of the
    goodput with a target of 10 % and 20 % without one. And a firm AWGN prior is blind to reports that are too
    low: at 10 blocks, the next MCS up all but never draws an ``s`` that would pay for it (2 dB too low was
    not found out in 6,000 blocks; with 1 block it was).

    Args:
        table: the link's MCS.
        rng: draws the samples.
        target: share of first transmissions that may fail, inside (0, 1); None maximises goodput.
        bin_db: width of a CQI bin in dB, above 0.
        prior_strength: blocks that the AWGN prior is worth, 0 or more.
        flat_prior: ACKs and NACKs that every MCS is believed to have had beside it, 0.001 or more.
        memory_blocks: time constant of forgetting in outcomes, above 1; None never forgets.
        pending_limit: blocks that may wait for feedback.

    Raises:
        ValueError: an argument is out of range.

    Example:
        >>> adapter = ThompsonSampling(McsTable.nr_pdsch(1), np.random.default_rng(1))
        >>> adapter.report(Csi(snr_db=12.0))
        >>> adapter.feedback(adapter.select().seq, ack=True)
        True
    """

    def __init__(
        self,
        table: McsTable,
        rng: np.random.Generator,
        *,
        target: float | None = 0.1,
        bin_db: float = 1.0,
        prior_strength: float = 10.0,
        flat_prior: float = 1.0,
        memory_blocks: float | None = None,
        pending_limit: int = 4096,
    ) -> None:
        super().__init__(table, pending_limit)
        if target is not None and not 0 < target < 1:
            raise ValueError(f"target = {target!r}: give a BLER inside (0, 1), or None to maximise goodput")
        if not 0.01 <= bin_db < math.inf:
            raise ValueError(f"bin_db = {bin_db!r}: give a width of 0.01 dB or more")
        if not 0 <= prior_strength < math.inf:
            raise ValueError(f"prior_strength = {prior_strength!r}: give 0 blocks or more")
        if not 0.001 <= flat_prior < math.inf:  # a Beta distribution needs two positive parameters
            raise ValueError(f"flat_prior = {flat_prior!r}: give 0.001 blocks or more")
        if memory_blocks is not None and not 1 < memory_blocks < math.inf:
            raise ValueError(f"memory_blocks = {memory_blocks!r}: give above 1 block, or None to keep all")
        self.target = target
        self._rng = rng
        self._bin_db = bin_db
        self._lowest = math.floor((table.threshold.min() - _MARGIN_DB) / bin_db)
        highest = math.ceil((table.threshold.max() + _MARGIN_DB) / bin_db)
        p0 = table.bler(np.arange(self._lowest, highest + 1) * bin_db)
        # Index 0: ACKs, 1: NACKs; shape (2, n_bins, n_mcs).
        self._prior = flat_prior + prior_strength * np.stack([1 - p0, p0])
        self._counts = np.zeros_like(self._prior)
        self._keep = 1.0 if memory_blocks is None else 1 - 1 / memory_blocks
        self._sent: PendingBlocks[tuple[int, int]] = PendingBlocks(pending_limit)  # (bin, MCS)

    def cqi(self, snr_db: float) -> int:
        """Index of the bin of a reported SINR, 0 for the lowest."""
        return min(max(round(snr_db / self._bin_db) - self._lowest, 0), self._prior.shape[1] - 1)

    def counts(self, snr_db: float) -> np.ndarray:
        """ACKs and NACKs remembered of each MCS in the bin of ``snr_db``, shape ``(2, n_mcs)``."""
        return self._counts[:, self.cqi(snr_db)].copy()

    def posterior(self, snr_db: float) -> np.ndarray:
        """The Beta posteriors' two parameters in the bin of ``snr_db``, shape ``(2, n_mcs)``."""
        cqi = self.cqi(snr_db)
        return self._prior[:, cqi] + self._counts[:, cqi]

    def bler(self, snr_db: float) -> np.ndarray:
        """Posterior mean of every MCS's BLER in the bin of ``snr_db``, shape ``(n_mcs,)``."""
        ack, nack = self.posterior(snr_db)
        return nack / (ack + nack)

    def select(self, bits: int | None = None, seq: int | None = None) -> Decision:
        """Choose the MCS of the next block; see `Baseline.select`."""
        decision = super().select(bits, seq)
        cqi = -1 if self.snr_db is None else self.cqi(self.snr_db)
        self._sent.add(decision.seq, (cqi, decision.mcs))
        return decision

    def feedback(self, seq: int, ack: bool, attempt: int = 0) -> bool:
        """Count the outcome of block ``seq`` for the CQI it was chosen at; see `Baseline.feedback`."""
        known = super().feedback(seq, ack, attempt)
        sent = self._sent.pop(seq) if attempt == 0 else None
        if sent is not None and sent[0] >= 0:
            if self._keep < 1:
                self._counts *= self._keep
            self._counts[0 if ack else 1, sent[0], sent[1]] += 1
        return known

    def _choose(self, bits: int | None) -> tuple[int, float]:
        if self.snr_db is None:
            return self.table.most_robust, _UNKNOWN
        ack, nack = self.posterior(self.snr_db)
        success = self._rng.beta(ack, nack)
        value = success * self.table.goodput_if_acked(bits)
        if self.target is None:
            mcs = int(np.argmax(value))
        else:
            mcs = draw_constrained(success, value, 1 - self.target, self._rng)
        return mcs, float(nack[mcs] / (ack[mcs] + nack[mcs]))


def draw_constrained(success: np.ndarray, value: np.ndarray, least: float, rng: np.random.Generator) -> int:
    """Draw from the mixture of arms with the highest mean value among those with mean success >= ``least``.

    Args:
        success, value: of each arm, shape ``(n_arms,)``.
    """
    best = int(np.argmax(value))
    if success[best] >= least:
        return best
    safe, risky = np.flatnonzero(success >= least), np.flatnonzero(success < least)
    if not safe.size:
        return int(np.argmax(success))
    # Share of the safe arm at which the pair just meets the constraint; shape (safe, risky).
    share = (least - success[risky]) / (success[safe, None] - success[risky])
    mixed = share * value[safe, None] + (1 - share) * value[risky]
    i, j = np.unravel_index(np.argmax(mixed), mixed.shape)
    pure = int(safe[np.argmax(value[safe])])
    if value[pure] >= mixed[i, j]:
        return pure
    return int(safe[i]) if rng.random() < share[i, j] else int(risky[j])
