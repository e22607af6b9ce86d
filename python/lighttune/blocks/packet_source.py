# SPDX-License-Identifier: GPL-3.0-or-later
"""`packet_source`: packets of random bytes at a steady pace, for trials."""

from __future__ import annotations

import numpy as np
import pmt

from ..modem.pmt_vectors import u8vector
from ._block import MessageBlock


class packet_source(MessageBlock):
    """Sends a PDU of random bytes every ``period_s``, ``packets`` of them.

    Ports: ``pdu_out`` (message, PDU of u8vector without metadata), ``status`` (see `MessageBlock.status`:
    ``sent``). A `message_strobe` with a `random_pdu` does nearly the same, but knows no end, and stopping
    that of GNU Radio 3.10.5 can abort the program (its `stop` waits where an interruption throws).

    Args:
        n_bytes: bytes of each packet, 1 to 4095.
        period_s: seconds from one packet to the next, 0.0005 to 0.25.
        packets: how many to send; 0 for no end.
        seed: of the bytes.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(self, n_bytes: int = 128, period_s: float = 0.01, packets: int = 0, seed: int = 1) -> None:
        if not isinstance(n_bytes, int) or not 1 <= n_bytes <= 4095:
            raise ValueError(f"n_bytes = {n_bytes!r}: give 1 to 4095")
        if not 0.0005 <= period_s <= 0.25:
            raise ValueError(f"period_s = {period_s!r}: give 0.0005 to 0.25 s")
        if not isinstance(packets, int) or packets < 0:
            raise ValueError(f"packets = {packets!r}: give how many, or 0 for no end")
        super().__init__("packet_source", outputs=("pdu_out",), tick_s=period_s)
        self._n_bytes = n_bytes
        self._packets = packets
        self._rng = np.random.default_rng(seed)

    @property
    def sent(self) -> int:
        """Packets sent so far."""
        return self.counters["sent"]

    def details(self) -> dict[str, int]:
        return {"sent": self.sent}

    def tick(self) -> None:
        if self._packets and self.sent >= self._packets:
            return
        self.counters.add("sent")
        self.publish("pdu_out", pmt.cons(pmt.make_dict(), u8vector(self._rng.bytes(self._n_bytes))))
