# SPDX-License-Identifier: GPL-3.0-or-later
"""The modem's ten modulation and coding schemes: the ladder of IEEE 802.11ac (VHT MCS 0-9)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mcs:
    """One modulation and coding scheme.

    Args:
        index: position on the ladder, 0..9.
        modulation: name of the constellation.
        bits_per_symbol: coded bits per carrier: 1, 2, 4, 6 or 8.
        rate: (numerator, denominator) of the code rate after puncturing.
    """

    index: int
    modulation: str
    bits_per_symbol: int
    rate: tuple[int, int]

    @property
    def name(self) -> str:
        """For people, such as ``"QPSK 3/4"``."""
        return f"{self.modulation} {self.rate[0]}/{self.rate[1]}"

    @property
    def code_rate(self) -> float:
        """Information bits per coded bit."""
        return self.rate[0] / self.rate[1]


MCS: tuple[Mcs, ...] = tuple(
    Mcs(index, modulation, bits, rate)
    for index, (modulation, bits, rate) in enumerate(
        (
            ("BPSK", 1, (1, 2)),
            ("QPSK", 2, (1, 2)),
            ("QPSK", 2, (3, 4)),
            ("16-QAM", 4, (1, 2)),
            ("16-QAM", 4, (3, 4)),
            ("64-QAM", 6, (2, 3)),
            ("64-QAM", 6, (3, 4)),
            ("64-QAM", 6, (5, 6)),
            ("256-QAM", 8, (3, 4)),
            ("256-QAM", 8, (5, 6)),
        )
    )
)
"""IEEE 802.11-2020, Tables 21-30 ff., one spatial stream."""
