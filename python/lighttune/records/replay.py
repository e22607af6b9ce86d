# SPDX-License-Identifier: GPL-3.0-or-later
r"""Replay: a log's reports and outcomes through any link adapter, and what can be said of it from them.

The log holds outcomes only of what was sent. So of an adapter that chooses otherwise,

- its predictions for the MCS that were sent can be judged on every block that ended;
- its choices can be compared, block by block, with what was sent;
- its goodput is observed only on the blocks where it agrees (`matched`), and those are not a fair sample: an
  adapter that agrees on easy blocks alone looks well;
- over all blocks its goodput lies between two bounds (`bounds`), if one thing is granted: whatever failed
  would have failed at a more efficient MCS too, and what arrived would have arrived at a less efficient one.
  Blocks that this decides count as decided, the others as failed in the lower and as arrived in the upper
  bound.

No outcome is made up. And the log is one that somebody else's choices made: had the adapter sent its own, its
later feedback, and with it its later choices, would have been others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.mcs import McsTable
from ..core.messages import Csi
from ..sim.campaign_summary import interval
from .calibration import Reliability, reliability, scores
from .followers import Follower
from .log import Blocks, Session, blocks_of, check_mcs, sizes_of, symbols_of

BATCH = 100
"""Blocks in a row that count as one observation in an interval: neighbours have the same channel."""

_CSI, _FEEDBACK, _DECISION = range(3)


@dataclass(frozen=True, eq=False)
class Replayed:
    """What an adapter made of a session; arrays of shape ``(n,)``, a place for each of its blocks.

    Args:
        blocks: of the session.
        mcs: that the adapter would have sent.
        bler: that it predicts for that.
        sent_bler: that it predicts for the MCS that was sent; NaN where it predicts nothing.
        version: of its weights or curves.
    """

    blocks: Blocks
    mcs: np.ndarray
    bler: np.ndarray
    sent_bler: np.ndarray
    version: np.ndarray


def replay(
    session: Session,
    table: McsTable,
    make: Callable[[int], Follower],
    progress: Callable[[float], None] = lambda share: None,
) -> Replayed:
    """Feed a session's events, in their order, through a fresh adapter for each link.

    Args:
        session: that was recorded.
        table: the MCS table of the session and of the adapters.
        make: makes the adapter of a link.
        progress: called now and then with the share done.

    Raises:
        ValueError: the session has an MCS that the table has not.
    """
    csi, blocks = session.table("csi"), blocks_of(session)
    check_mcs(session, blocks, table)
    n = len(blocks)
    mcs, version = np.zeros(n, np.int64), np.zeros(n, np.int64)
    bler, sent_bler = np.full(n, np.nan), np.full(n, np.nan)
    followers: dict[int, Follower] = {}
    kinds, rows = _in_order(csi["number"], blocks)
    # Plain lists: reading numpy scalars one by one takes longer.
    links = {_CSI: csi["link"].tolist(), _DECISION: blocks.link.tolist(), _FEEDBACK: blocks.link.tolist()}
    reports, report_seq = csi["snr_db"].tolist(), csi["seq"].tolist()
    seq, sent, bits, ack = blocks.seq.tolist(), blocks.mcs.tolist(), blocks.bits.tolist(), blocks.ack.tolist()
    for done, (kind, row) in enumerate(zip(kinds.tolist(), rows.tolist(), strict=True)):
        link = links[kind][row]
        if link not in followers:
            followers[link] = make(link)
        follower = followers[link]
        if kind == _CSI:
            measured = report_seq[row]
            follower.report(Csi(reports[row], None if measured < 0 else measured))
        elif kind == _DECISION:
            choice = follower.select(None if bits[row] < 0 else bits[row], seq[row], sent[row])
            mcs[row], bler[row], version[row] = choice.mcs, choice.bler, choice.version
            if choice.all_bler is not None:
                sent_bler[row] = choice.all_bler[sent[row]]
            elif choice.mcs == sent[row]:
                sent_bler[row] = choice.bler
        else:
            follower.outcome(seq[row], sent[row], ack[row])
        if done % 4096 == 0:
            progress(done / len(kinds))
    progress(1.0)
    return Replayed(blocks, mcs, bler, sent_bler, version)


def _in_order(reports: np.ndarray, blocks: Blocks) -> tuple[np.ndarray, np.ndarray]:
    """Kind and row of every event in the order of the log; no block ends before it is sent."""
    ended = np.flatnonzero(blocks.ended)
    ends = np.maximum(blocks.end_number[ended], blocks.number[ended])
    kinds = np.repeat([_CSI, _DECISION, _FEEDBACK], [len(reports), len(blocks), len(ended)])
    rows = np.concatenate([np.arange(len(reports)), np.arange(len(blocks)), ended])
    place = np.concatenate([reports, blocks.number, ends])
    late = np.concatenate([np.zeros(len(reports) + len(blocks)), np.ones(len(ended))])
    order = np.lexsort((late, place))
    return kinds[order], rows[order]


@dataclass(frozen=True)
class Verdict:
    """What a replay says of an adapter. Goodput in bits per symbol, overhead counted.

    Args:
        blocks: decisions in the log; ``ended``: those whose end is known. All that follows is of these.
        predicted: `calibration.scores` of the adapter's BLER for the MCS that was sent, where it has one;
            ``recorded``: of what was predicted when the log was recorded, on the same blocks.
        reliability: of the adapter, on the same blocks.
        agreement: share of blocks for which it would have sent the same MCS; ``higher``, ``lower``: a more,
            a less efficient one.
        goodput: of what was sent.
        matched: goodput where it agrees, and half the 95 % interval of that; NaN where it never does.
        bounds: between which its goodput over all these blocks lies, see the module's text.
        decided: share of blocks whose outcome the bounds know.
    """

    blocks: int
    ended: int
    predicted: dict[str, float]
    recorded: dict[str, float]
    reliability: Reliability
    agreement: float
    higher: float
    lower: float
    goodput: float
    matched: tuple[float, float]
    bounds: tuple[float, float]
    decided: float


def judge(parts: list[Replayed], table: McsTable) -> Verdict:
    """What the replays of one or more sessions say together."""

    def joined(name: str, of: Callable[[Replayed], Any] = lambda part: part) -> np.ndarray:
        return np.concatenate([getattr(of(part), name)[part.blocks.ended] for part in parts])

    def logged(name: str) -> np.ndarray:
        return joined(name, lambda part: part.blocks)

    sent, own, ack = logged("mcs"), joined("mcs"), logged("ack")
    bits = np.concatenate([sizes_of(table, part.blocks)[part.blocks.ended] for part in parts])
    gain_sent, gain_own = (bits / symbols_of(table, mcs, bits) for mcs in (sent, own))
    efficiency = table.spectral_efficiency
    higher, lower = efficiency[own] > efficiency[sent], efficiency[own] < efficiency[sent]
    same = own == sent
    arrived = ack & (same | lower)
    open_ = ~same & ((ack & ~lower) | (~ack & ~higher))
    judged = np.isfinite(joined("sent_bler"))
    bler = joined("sent_bler")[judged]
    n = len(sent)
    nothing = (np.nan,) * 2
    return Verdict(
        blocks=sum(len(part.blocks) for part in parts),
        ended=n,
        predicted=scores(bler, ~ack[judged]),
        recorded=scores(logged("bler")[judged], ~ack[judged]),
        reliability=reliability(bler, ~ack[judged]),
        agreement=float(same.mean()) if n else np.nan,
        higher=float(higher.mean()) if n else np.nan,
        lower=float(lower.mean()) if n else np.nan,
        goodput=float((gain_sent * ack).mean()) if n else np.nan,
        matched=ratio(gain_sent * ack * same, same) if same.any() else nothing,
        bounds=(
            (float((gain_own * arrived).mean()), float((gain_own * (arrived | open_)).mean()))
            if n
            else nothing
        ),
        decided=float(1 - open_.mean()) if n else np.nan,
    )


def ratio(value: np.ndarray, weight: np.ndarray) -> tuple[float, float]:
    """``sum(value) / sum(weight)`` and half its 95 % interval, over batches of `BATCH` in a row.

    The interval is that of the ratio's linear part over batches; NaN for fewer than two of them.
    """
    starts = np.arange(0, len(value), BATCH)
    values, weights = np.add.reduceat(value, starts), np.add.reduceat(weight.astype(float), starts)
    estimate = float(values.sum() / weights.sum())
    _, half = interval((values - estimate * weights) / weights.mean())
    return estimate, half
