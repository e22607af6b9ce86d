# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a session's outcomes are the channel's: how many packets the hosts lost, or judged too late."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .log import Blocks, Session

LIMIT = 0.03
"""Share of a session's packets from which on it is broken."""

_LATE = ("late verdict", "late, duplicate or unknown")  # the second: as version 0.1.0 counted them
_NOT_LOST = "stopped"


@dataclass(frozen=True)
class Health:
    """What a session's blocks said of packets that ended without the channel's word.

    Args:
        packets: that were decided.
        late: share of them whose verdict came too late.
        dropped: share of them that the receiver dropped because it was behind, or the radio lost.
        erased: shares of them that were erased, by cause.
        unknown: share of them of which no end was recorded.
    """

    packets: int
    late: float
    dropped: float
    erased: Mapping[str, float]
    unknown: float

    @property
    def broken(self) -> bool:
        """Whether too many outcomes are the hosts': nothing should learn from the session."""
        return max(self.late, self.dropped, sum(self.erased.values()), self.unknown) > LIMIT

    def __str__(self) -> str:
        """In words; empty where it is not broken."""
        if not self.broken:
            return ""
        told = []
        if self.late > LIMIT:
            told.append(f"{_percent(self.late)} of the verdicts came after their packets were given up")
        if self.dropped > LIMIT:
            told.append(f"the receiver's host dropped or lost {_percent(self.dropped)} of the packets")
        if (erased := sum(self.erased.values())) > LIMIT:
            causes = sorted(self.erased.items(), key=lambda item: -item[1])[:3]
            which = ", ".join(f"{cause} {_percent(share)}" for cause, share in causes)
            told.append(f"{_percent(erased)} of the packets were erased ({which})")
        elif self.unknown > LIMIT:
            told.append(f"of {_percent(self.unknown)} of the packets no end was recorded")
        return f"{'; '.join(told)}: its outcomes say more of the hosts than of the channel"


def health_of(session: Session, blocks: Blocks) -> Health:
    """What a session's statuses, and its blocks, say.

    Args:
        session: with statuses of `ack_merge` and `amc_rx`, for all that can be known.
        blocks: of the session.
    """
    late, dropped, erased = 0, 0, Counter[str]()
    for name, said in _last_statuses(session):
        counts = {str(cause): n for cause, n in _counts(said.get("dropped")) if n > 0}
        if name == "ack_merge":
            late += sum(n for cause, n in counts.items() if cause.partition(": ")[2] in _LATE)
            erased.update(dict(_counts(said.get("erased"))))
            if "erased" not in said and isinstance(said.get("erasures"), int):
                erased["cause not said"] += said["erasures"]
        elif name == "amc_rx":
            dropped += sum(n for cause, n in counts.items() if cause.startswith("samples: "))
    erased.pop(_NOT_LOST, None)
    n = max(len(blocks), 1)
    unknown = float((~blocks.ended).sum())
    return Health(
        len(blocks),
        min(late / n, 1.0),
        min(dropped / n, 1.0),
        {cause: min(count / n, 1.0) for cause, count in erased.items() if count > 0},
        unknown / n,
    )


def _last_statuses(session: Session) -> Iterator[tuple[str, dict[str, Any]]]:
    status = session.table("status", ["block", "fields"])
    for name, text in dict(zip(status["block"], status["fields"], strict=True)).items():
        try:
            said = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if isinstance(said, dict):
            yield name, said


def _counts(said: Any) -> Iterator[tuple[str, int]]:
    for cause, n in said.items() if isinstance(said, dict) else ():
        if isinstance(n, int):
            yield str(cause), n


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
