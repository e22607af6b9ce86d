# SPDX-License-Identifier: GPL-3.0-or-later
"""What a log says as figures: over time, by link, by cause. `lighttune report` shows them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from ..core.link_view import EXPERTS, Belief
from ..core.mcs import McsTable
from .calibration import scores, wilson
from .health import Health, health_of
from .log import Blocks, Session, blocks_of, check_mcs, sizes_of, symbols_of

WINDOWS = 120
"""Windows that the time is divided into at most."""

_DIGITS = 5  # of a link's number
_BLOCKS_PER_WINDOW = 25  # at least, on average: fewer say little of a BLER


@dataclass(frozen=True, eq=False)
class States:
    """What blocks said of their state: when, and how many of how many links.

    Args:
        time_s: of each status on the log's time.
        share: of links that are tuned on now (of the tuner), or that an expert decides for (of the selector).
    """

    time_s: np.ndarray
    share: np.ndarray


@dataclass(frozen=True, eq=False)
class Beliefs:
    """What the selector held of one link, as its status said; arrays of shape ``(n,)``, NaN where it did not.

    Args:
        time_s: of each status on the log's time.
        offset_db: SINR less what was reported, in dB.
        width_db: standard deviation of that, in dB.
        loss: share of packets that are lost at every MCS.
        experts: how many times each expert's predictions weighed most.
        says: the last sentences.
    """

    time_s: np.ndarray
    offset_db: np.ndarray
    width_db: np.ndarray
    loss: np.ndarray
    experts: Counter[str]
    says: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Summary:
    """A log's sessions, one behind the other.

    Args:
        sessions: of the log.
        blocks: of all of them; ``time_s`` and ``end_s`` on the log's time.
        snr_time_s, snr_link, snr_db: of every report.
        starts_s, duration_s: where each session begins on the log's time, and the end of the last one. Time
            between sessions does not count.
        tuning: `States` of the tuner.
        experts: `States` of the selector by expert, in the order of `EXPERTS`.
        beliefs: by link.
        versions: models that the tuner published.
        dropped: messages dropped in the flowgraph, by block and cause, as last said.
        lost: messages that are not in the log, by cause.
        damage: what could not be read, by session and cause.
        health: of each session.
    """

    sessions: list[Session]
    table: McsTable | None
    blocks: Blocks
    snr_time_s: np.ndarray
    snr_link: np.ndarray
    snr_db: np.ndarray
    starts_s: list[float]
    duration_s: float
    tuning: States
    experts: dict[str, States]
    beliefs: dict[int, Beliefs]
    versions: int
    dropped: Counter[tuple[str, str]]
    lost: Counter[str]
    damage: Counter[tuple[str, str]]
    health: list[Health]

    @property
    def nack(self) -> np.ndarray:
        """First transmissions that failed, of those whose end is known."""
        return ~self.blocks.ack[self.blocks.ended]

    def scores(self, link: int | None = None) -> dict[str, float]:
        """`calibration.scores` of what was predicted, of all links or one."""
        some = self.blocks.ended if link is None else self.blocks.ended & (self.blocks.link == link)
        return scores(self.blocks.bler[some], ~self.blocks.ack[some])

    def bits(self) -> np.ndarray:
        """Payload of each block; the table's reference length, or 1, where it is not known."""
        if self.table is None:
            return np.maximum(self.blocks.bits, 1)
        return sizes_of(self.table, self.blocks)

    def symbols(self) -> np.ndarray | None:
        """Symbols that each block cost with all its transmissions; None where the MCS table is not known."""
        if self.table is None:
            return None
        once = symbols_of(self.table, self.blocks.mcs, self.bits())
        return once * np.maximum(self.blocks.attempts, 1)

    def goodput_bps(self) -> float:
        """Payload that arrived, in bits per second."""
        return (
            float((self.bits() * self.blocks.delivered).sum() / self.duration_s) if self.duration_s else 0.0
        )

    def edges_s(self) -> np.ndarray:
        """Edges of the windows of time."""
        n = int(np.clip(len(self.blocks) // _BLOCKS_PER_WINDOW, 1, WINDOWS))
        return np.linspace(0.0, max(self.duration_s, 1e-3), n + 1)


def summarise(found: Sequence[Session], table: McsTable | None) -> Summary:
    """Read the sessions, in their order.

    Args:
        table: the sessions' MCS table, if known.

    Raises:
        ValueError: a session has an MCS that the table has not.
    """
    parts, reports, starts = [], [], []
    tuning: list[tuple[float, float]] = []
    beliefs: list[tuple[float, int, Belief]] = []
    dropped: Counter[tuple[str, str]] = Counter()
    lost: Counter[str] = Counter()
    health = []
    begin, versions = 0.0, 0
    for session in found:
        blocks, csi, status = blocks_of(session), session.table("csi"), session.table("status")
        if table is not None:
            check_mcs(session, blocks, table)
        health.append(health_of(session, blocks))
        times = [blocks.time_s, blocks.end_s[blocks.ended], csi["time_s"], status["time_s"]]
        first, last = _span(times)
        shift = begin - first
        starts.append(begin)
        parts.append((blocks, shift))
        reports.append((csi["time_s"] + shift, csi["link"], csi["snr_db"]))
        _read_status(status, shift, tuning, beliefs, dropped)
        losses = session.table("loss")
        for cause, n in zip(losses["cause"], losses["lost"].tolist(), strict=True):
            lost[cause] += n
        versions += len(session.table("model", ["number"])["number"])
        begin += last - first
    snr_time_s, snr_link, snr_db = (np.concatenate(column) for column in zip(*reports, strict=True))
    damage = Counter({(s.name, cause): n for s in found for cause, n in s.damage.items()})
    return Summary(
        list(found), table, _joined(parts), snr_time_s, snr_link, snr_db, starts, begin, _states(tuning),
        _experts(beliefs), _beliefs(beliefs), versions, dropped, lost, damage, health,
    )  # fmt: skip


def _span(times: list[np.ndarray]) -> tuple[float, float]:
    some = [t for t in times if len(t)]
    return (min(t.min() for t in some), max(t.max() for t in some)) if some else (0.0, 0.0)


def _joined(parts: list[tuple[Blocks, float]]) -> Blocks:
    columns: dict[str, Any] = {}
    for field in fields(Blocks):
        shifted = field.name in ("time_s", "end_s")
        columns[field.name] = np.concatenate(
            [getattr(b, field.name) + shift if shifted else getattr(b, field.name) for b, shift in parts]
        )
    return Blocks(**columns)


def _read_status(
    status: dict[str, Any],
    shift: float,
    tuning: list[tuple[float, float]],
    beliefs: list[tuple[float, int, Belief]],
    dropped: Counter[tuple[str, str]],
) -> None:
    last: dict[str, dict[str, Any]] = {}
    for time_s, block, text in zip(status["time_s"].tolist(), status["block"], status["fields"], strict=True):
        try:
            said = json.loads(text)
        except ValueError:
            continue
        if not isinstance(said, dict):
            continue
        last[block] = said
        states = said.get("state")
        if isinstance(states, dict) and states:
            on = [bool(s.get("tuning")) for s in states.values() if isinstance(s, dict)]
            tuning.append((time_s + shift, sum(on) / max(len(on), 1)))
        held = said.get("beliefs")
        for link, belief in held.items() if isinstance(held, dict) else ():
            if isinstance(belief, dict) and link.isdecimal() and len(link) <= _DIGITS:
                beliefs.append((time_s + shift, int(link), Belief.told(belief)))
    for block, said in last.items():
        causes = said.get("dropped")
        for cause, n in causes.items() if isinstance(causes, dict) else ():
            if isinstance(n, int):
                dropped[block, str(cause)] += n


def _experts(told: list[tuple[float, int, Belief]]) -> dict[str, States]:
    """Of how many of the links that a status told of each expert decided."""
    at: dict[float, Counter[str]] = {}
    for time_s, _, belief in told:
        at.setdefault(time_s, Counter())[belief.expert] += 1
    return {
        expert: _states([(time_s, votes[expert] / votes.total()) for time_s, votes in at.items()])
        for expert in EXPERTS
    }


def _beliefs(told: list[tuple[float, int, Belief]]) -> dict[int, Beliefs]:
    by_link: dict[int, list[tuple[float, Belief]]] = {}
    for time_s, link, belief in told:
        by_link.setdefault(link, []).append((time_s, belief))
    found = {}
    for link, said in by_link.items():
        columns = np.array([(t, b.offset_db, b.width_db, b.loss) for t, b in said], float).T
        experts = Counter(b.expert for _, b in said if b.expert)
        found[link] = Beliefs(*columns, experts=experts, says=said[-1][1].says)
    return found


def _states(said: list[tuple[float, float]]) -> States:
    array = np.array(said, float).reshape(-1, 2)
    return States(array[:, 0], array[:, 1])


@dataclass(frozen=True, eq=False)
class Window:
    """BLER in windows of time; arrays of shape ``(n_windows,)``, NaN where nothing ended.

    Args:
        blocks: that ended, by when they were sent.
        predicted, observed: mean of the prediction, share of first transmissions that failed.
        low, high: 95 % interval of ``observed`` (Wilson).
    """

    blocks: np.ndarray
    predicted: np.ndarray
    observed: np.ndarray
    low: np.ndarray
    high: np.ndarray


def bler_over_time(summary: Summary) -> Window:
    """Predicted and observed BLER in the windows of `Summary.edges_s`."""
    edges, blocks = summary.edges_s(), summary.blocks
    ended = blocks.ended
    place = np.clip(np.searchsorted(edges, blocks.time_s[ended], "right") - 1, 0, len(edges) - 2)
    n = np.bincount(place, minlength=len(edges) - 1).astype(float)
    with np.errstate(invalid="ignore", divide="ignore"):
        predicted = np.bincount(place, blocks.bler[ended], len(n)) / n
        observed = np.bincount(place, (~blocks.ack[ended]).astype(float), len(n)) / n
    return Window(n, predicted, observed, *wilson(observed, n))
