# SPDX-License-Identifier: GPL-3.0-or-later
"""How a link's figures are written for people: with units, and a dash where nothing is known."""

from __future__ import annotations

import math
from fractions import Fraction

from .link_view import LinkView
from .mcs import McsTable

UNKNOWN = "\u2013"

_MODULATIONS = {1: "BPSK", 2: "QPSK", 3: "8-PSK"}


def decibels(value: float) -> str:
    """Such as ``"19.3 dB"``."""
    return UNKNOWN if math.isnan(value) else f"{value:.1f} dB"


def percent(share: float) -> str:
    """A share in [0, 1], such as ``"12.0 %"``."""
    return UNKNOWN if math.isnan(share) else f"{100 * share:.1f} %"


def bit_rate(bps: float) -> str:
    """Bits per second with three digits, such as ``"84.2 kbit/s"``."""
    if math.isnan(bps):
        return UNKNOWN
    for factor, unit in ((1e9, "Gbit/s"), (1e6, "Mbit/s"), (1e3, "kbit/s")):
        if bps >= 0.9995 * factor:
            return f"{bps / factor:#.3g}".rstrip(".") + f" {unit}"
    return f"{bps:.0f} bit/s"


def mcs_name(table: McsTable | None, mcs: int) -> str:
    """Modulation and code rate, such as ``"64-QAM 3/4"``; empty where the table is not known."""
    if table is None or mcs >= len(table):
        return ""
    order, rate = table.modulation_order[mcs], table.code_rate[mcs]
    short = Fraction(rate).limit_denominator(8)
    text = str(short) if abs(short - rate) < 1e-6 else f"{rate:.2f}"
    return f"{_MODULATIONS.get(order, f'{2**order}-QAM')} {text}"


def trigger_state(link: LinkView) -> str:
    """``"tuning"``, ``"at rest"``, ``"given up"`` (the guards did, for a while), or a dash: not known."""
    if not link.healthy:
        return "given up"
    if "tuning" not in link.tuner:
        return UNKNOWN
    return "tuning" if link.tuner["tuning"] is True else "at rest"


def tuner_count(link: LinkView, key: str) -> int:
    """A count of the tuner's status, 0 where it is not there."""
    value = link.tuner.get(key)
    return value if isinstance(value, int) else 0
