# SPDX-License-Identifier: GPL-3.0-or-later
"""How a link's figures are written for people: with units, and a dash where nothing is known."""

from __future__ import annotations

import math
from fractions import Fraction

from .link_view import LinkView, View
from .mcs import McsTable

UNKNOWN = "\u2013"

EXPERT_NAMES = {"network": "the network", "reports": "the reports", "acks": "the ACKs"}
"""Whose predictions may weigh most, in words."""

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


def decider(link: LinkView) -> str:
    """Who chose the last MCS: the expert whose predictions weigh most (``"network"``, ``"reports"``,
    ``"ACKs"``), ``"model"`` while that is not known, or ``"OLLA"``; empty before the first decision."""
    if link.mcs is None:
        return ""
    if link.version is None:
        return "OLLA"
    return EXPERT_NAMES.get(link.belief.expert, "the model").removeprefix("the ")


def curves(link: LinkView) -> str:
    """Whose curves the last decision was made with; empty where there are none."""
    if link.version is None:
        return ""
    return f"tuned curves, version {link.version}" if link.version else "the model's curves"


def offset(link: LinkView) -> str:
    """What the reports are held to be off by; ``"-3.1 dB \u00b1 0.4"``: the SINR is that much lower."""
    belief = link.belief
    if math.isnan(belief.offset_db):
        return UNKNOWN
    width = "" if math.isnan(belief.width_db) else f" \u00b1 {belief.width_db:.1f}"
    return f"{belief.offset_db:+.1f} dB{width}"


def tuner_state(view: View, link: LinkView) -> str:
    """``"tuning"``, ``"at rest"``, ``"away"`` or ``"silent"`` (see `View.tuner`), or a dash: not known."""
    if view.tuner in ("away", "silent"):
        return view.tuner
    if "tuning" not in link.tuner:
        return UNKNOWN
    return "tuning" if link.tuner["tuning"] is True else "at rest"


def tuner_count(link: LinkView, key: str) -> int:
    """A count of the tuner's status, 0 where it is not there."""
    value = link.tuner.get(key)
    return value if isinstance(value, int) else 0


def tuner_shift_db(link: LinkView) -> float:
    """The largest shift of a threshold that the tuner found, in dB; NaN where it is not told."""
    value = link.tuner.get("largest_shift_db")
    return value if isinstance(value, float) else math.nan
