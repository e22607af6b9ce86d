# SPDX-License-Identifier: GPL-3.0-or-later
"""OLLA, the outer-loop link adaptation that networks use: a SINR offset that ACKs and NACKs move."""

from __future__ import annotations

import math

from ..core.mcs import McsTable
from .table import TableOnly


class Olla(TableOnly):
    r"""Table look-up at the reported SINR plus an offset that keeps the BLER at a target.

    A NACK lowers the offset by ``delta_up_db``, an ACK raises it by

        delta_down_db = delta_up_db * target / (1 - target)

    so that the offset is at rest where a share ``target`` of the blocks fails, whatever is wrong with the
    reports or the curves. (The names are the literature's: *up* is the step of the back-off.)

    K. I. Pedersen et al., "Frequency domain scheduling for OFDMA with limited and noisy channel feedback",
    IEEE VTC 2007-Fall; the same law sets the power in A. Sampath, P. Sarath Kumar, J. M. Holtzman, "On
    setting reverse link power control targets in a CDMA system", IEEE VTC 1997.

    Args:
        table: the link's MCS.
        target: share of first transmissions that may fail, inside (0, 1).
        delta_up_db: fall of the offset at a NACK in dB, above 0.
        offset_range_db: lowest and highest offset in dB.
        offset_db: offset to begin with, within the range.
        pending_limit: blocks that may wait for feedback.

    Raises:
        ValueError: an argument is out of range or not finite.

    Example:
        >>> olla = Olla(McsTable.nr_pdsch(1))
        >>> olla.report(Csi(snr_db=12.0))
        >>> decision = olla.select()
        >>> olla.feedback(decision.seq, ack=False), olla.offset_db
        (True, -0.5)
    """

    def __init__(
        self,
        table: McsTable,
        *,
        target: float = 0.1,
        delta_up_db: float = 0.5,
        offset_range_db: tuple[float, float] = (-10.0, 10.0),
        offset_db: float = 0.0,
        pending_limit: int = 4096,
    ) -> None:
        super().__init__(table, target, pending_limit)
        if not 0 < delta_up_db < math.inf:
            raise ValueError(f"delta_up_db = {delta_up_db!r}: give a step above 0 dB (TableOnly has none)")
        low, high = offset_range_db
        if not -math.inf < low < high < math.inf:
            raise ValueError(f"offset_range_db = {offset_range_db!r}: give a lower and a higher offset in dB")
        if not low <= offset_db <= high:
            raise ValueError(f"offset_db = {offset_db!r}: give an offset within {low} to {high} dB")
        self._range_db = (float(low), float(high))
        self._up_db = delta_up_db
        self._down_db = delta_up_db * target / (1.0 - target)
        self._offset_db = float(offset_db)

    @property
    def offset_db(self) -> float:
        """What is added to the reported SINR, in dB."""
        return self._offset_db

    def _learn(self, ack: bool) -> None:
        low, high = self._range_db
        step = self._down_db if ack else -self._up_db
        self._offset_db = min(max(self._offset_db + step, low), high)

    def observe(self, snr_db: float, mcs: int, ack: bool, bits: int | None = None) -> None:
        """Learn from the first transmission of a block whose MCS someone else chose.

        The offset moves only where the outcome tells how the own choice would have ended: what fails at an
        MCS no more efficient than the own choice would have failed there too, and what succeeds at one at
        least as efficient would have succeeded.

        Args:
            snr_db: the SINR that was reported when that block was sent, in dB.
            mcs: that was sent.
            ack: its outcome.
            bits: its information bits; None for the table's reference length.
        """
        own = self._mcs_at(snr_db, bits)
        efficiency = self.table.spectral_efficiency
        if (efficiency[mcs] >= efficiency[own]) if ack else (efficiency[mcs] <= efficiency[own]):
            self._learn(ack)
