# SPDX-License-Identifier: GPL-3.0-or-later
"""The peer: outer-loop link adaptation as a block, with the ports of `mcs_selector`."""

from __future__ import annotations

from typing import Any

import pmt

from ..baselines import Olla
from ..core.mcs import McsTable
from ._selector import SelectorBlock


class olla_selector(SelectorBlock):
    """Chooses the MCS of every PDU by OLLA: a table lookup at the reported SNR plus an offset.

    ACKs raise the offset, NACKs lower it, in the proportion that settles at the target BLER.
    A drop-in for `mcs_selector`: the same ports and messages; ``model`` is accepted and ignored.

    Args:
        table: ``"amc"`` (the reference modem), ``"nr-pdsch-1"``, ``"nr-pdsch-2"``, ``"nr-pdsch-3"``, or an
            `McsTable`.
        target: BLER that the offset is driven to, inside (0, 1).
        delta_up_db: how far a NACK lowers the SNR, in dB, above 0; an ACK raises it by
            ``delta_up_db * target / (1 - target)``.
        max_links: links that are kept at most, 1 to 65536.

    Raises:
        ValueError: an argument is out of range, or no table has this name.
    """

    def __init__(
        self,
        table: str | McsTable = "amc",
        target: float = 0.1,
        delta_up_db: float = 0.5,
        max_links: int = 1024,
    ) -> None:
        table = table if isinstance(table, McsTable) else McsTable.named(table)

        def make() -> Olla:
            return Olla(table, target=target, delta_up_db=delta_up_db)

        make()  # a bad argument shows here, not at the first PDU
        super().__init__("olla_selector", table, make, max_links)

    def take_model(self, message: pmt.pmt_base) -> None:
        self.counters.add("models_ignored")

    def details(self) -> dict[str, Any]:
        return {**super().details(), "mode": "olla"}
