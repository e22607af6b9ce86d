# SPDX-License-Identifier: GPL-3.0-or-later
"""What follows from a block's length, remembered: the decision path asks for the same few lengths again and
again."""

from __future__ import annotations

import numpy as np

from .mcs import McsTable

_MOST = 256  # lengths that are remembered


class BlockLengths:
    """`McsTable.length_logit` and `McsTable.goodput_if_acked` of block lengths.

    Args:
        table: the links' MCS.
    """

    def __init__(self, table: McsTable) -> None:
        self._table = table
        self._known: dict[int | None, tuple[float, np.ndarray]] = {}

    def of(self, bits: int | None) -> tuple[float, np.ndarray]:
        """The logit, and the goodput of every MCS, float64 ``(n_mcs,)``; not to be written to.

        Args:
            bits: information bits of the block; None for the table's reference length.
        """
        found = self._known.get(bits)
        if found is None:
            if len(self._known) >= _MOST:
                self._known.clear()
            table = self._table
            found = float(table.length_logit(bits)), np.asarray(table.goodput_if_acked(bits), float)
            self._known[bits] = found
        return found
