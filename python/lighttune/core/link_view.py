# SPDX-License-Identifier: GPL-3.0-or-later
"""What a screen shows of links, worked out from their messages: BLER and goodput in windows, states, drops.

The Qt panel, the terminal monitor and the metrics exporter all show this, so that they agree.
"""

from __future__ import annotations

import math
from collections import Counter, OrderedDict, deque
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from .mcs import TABLES, McsTable
from .pending import PendingBlocks

EXPERTS = ("network", "reports", "acks")
"""Whose predictions may weigh most."""

WINDOW_BLOCKS = 200
"""Blocks over which BLER is taken: 10 % is then known to within 2 points (one standard deviation)."""

GOODPUT_S = 2.0
"""Seconds over which goodput is taken."""

HISTORY_ROWS = 600
"""Rows that are kept of each link: a minute at ten a second."""

_LARGEST = 1e6  # of what a belief may say: beyond any dB
_BUCKET_S = 0.1
_BUCKETS = round(GOODPUT_S / _BUCKET_S)
_PENDING = 4096  # blocks that may wait for their feedback
_EARLY = 256  # feedback that overtook its decision
_BLOCKS = 64  # blocks whose status is kept


class Row(NamedTuple):
    """A link at one time; NaN where nothing is known yet."""

    time_s: float
    snr_db: float
    mcs: float
    predicted_bler: float
    observed_bler: float
    goodput_bps: float


class _Block(NamedTuple):
    """A block that was sent."""

    mcs: int
    bler: float
    bits: int


class Belief(NamedTuple):
    """What the selector's status says that it holds of a link; empty and NaN where it does not say.

    Args:
        expert: whose predictions weigh most: ``"network"``, ``"reports"`` or ``"acks"``.
        sinr_db: SINR that is there now, in dB.
        offset_db: SINR less what was reported, in dB; NaN where no report ever came.
        width_db: standard deviation of that, in dB.
        loss: share of packets that are lost at every MCS.
        says: what is out of the ordinary, in sentences.
    """

    expert: str = ""
    sinr_db: float = math.nan
    offset_db: float = math.nan
    width_db: float = math.nan
    loss: float = math.nan
    says: tuple[str, ...] = ()

    @classmethod
    def told(cls, fields: Mapping[str, Any]) -> Belief:
        """Of a link's part of ``beliefs``; what is none of the above is left out."""

        def real(name: str) -> float:
            value = fields.get(name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                return math.nan
            return float(value) if abs(value) < _LARGEST else math.nan

        def text(name: str) -> str:
            return value if isinstance(value := fields.get(name), str) else ""

        expert = name if (name := text("expert")) in EXPERTS else ""
        return cls(
            expert, real("sinr_db"), real("offset_db"), real("width_db"), real("loss"),
            tuple(filter(None, text("says").split("; "))),
        )  # fmt: skip


class LinkView:
    """One link.

    Attributes:
        snr_db: last report in dB; NaN before the first.
        mcs: last decision's index; None before the first.
        version: of the curves that last decided, 0 for the model's own; None before the first, and where no
            model decides (OLLA).
        decisions, probes, acks, nacks: messages so far (of feedback, retransmissions too).
        unmatched: feedback to a block that no decision told of, or that was told of already.
        belief: what the selector holds of the link.
        tuner: what the tuner's status says of this link, such as ``tuning`` and ``updates``; maybe empty.
        history: `Row`\\ s that `sample` took, the newest last, `HISTORY_ROWS` at most.
    """

    def __init__(self) -> None:
        self.snr_db = math.nan
        self.mcs: int | None = None
        self.version: int | None = None
        self.decisions = self.probes = self.acks = self.nacks = self.unmatched = 0
        self.belief = Belief()
        self.tuner: Mapping[str, Any] = {}
        self.history: deque[Row] = deque(maxlen=HISTORY_ROWS)
        self._pending: PendingBlocks[_Block] = PendingBlocks(_PENDING)
        self._early: OrderedDict[int, bool] = OrderedDict()
        self._window: deque[tuple[_Block, bool]] = deque(maxlen=WINDOW_BLOCKS)
        self._buckets: deque[list[int]] = deque(maxlen=_BUCKETS + 1)  # [number of 0.1 s, bits]

    def decided(self, seq: int, block: _Block, version: int, probe: bool, now_s: float) -> None:
        """A block was sent."""
        self.mcs, self.version = block.mcs, version if version >= 0 else None
        self.decisions += 1
        self.probes += probe
        self._pending.add(seq, block)
        if seq in self._early:  # the two messages come by two ports, in any order
            self._join(seq, self._early.pop(seq), now_s)

    def ended(self, seq: int, ack: bool, attempt: int, now_s: float) -> None:
        """A block was received, or not; retransmissions only count."""
        self.acks += ack
        self.nacks += not ack
        if attempt > 0 or self._join(seq, ack, now_s):
            return
        self.unmatched += seq in self._early
        self._early[seq] = ack
        if len(self._early) > _EARLY:
            self._early.popitem(last=False)
            self.unmatched += 1

    def _join(self, seq: int, ack: bool, now_s: float) -> bool:
        block = self._pending.pop(seq)
        if block is None:
            return False
        self._window.append((block, ack))
        if ack:
            number = math.floor(now_s / _BUCKET_S)
            if not self._buckets or self._buckets[-1][0] != number:
                self._buckets.append([number, 0])
            self._buckets[-1][1] += block.bits
        return True

    @property
    def window(self) -> int:
        """Blocks in the window: the last `WINDOW_BLOCKS` of which decision and outcome are known."""
        return len(self._window)

    @property
    def window_nacks(self) -> int:
        """Of these, the ones that failed."""
        return sum(not ack for _, ack in self._window)

    @property
    def observed_bler(self) -> float:
        """Share of the window's blocks that failed; NaN for an empty window."""
        return self.window_nacks / self.window if self.window else math.nan

    @property
    def predicted_bler(self) -> float:
        """Mean BLER that was predicted for the very same blocks; NaN for an empty window."""
        return sum(b.bler for b, _ in self._window) / self.window if self.window else math.nan

    def goodput_bps(self, now_s: float) -> float:
        """Payload bits per second that were acknowledged over the last `GOODPUT_S`."""
        now = math.floor(now_s / _BUCKET_S)
        return sum(bits for number, bits in self._buckets if now - _BUCKETS <= number < now) / GOODPUT_S

    def goodput_per_symbol(self, table: McsTable) -> float:
        """Information bits per symbol that the window's blocks brought; NaN where the table does not fit."""
        if not self._window or max(b.mcs for b, _ in self._window) >= len(table):
            return math.nan
        return float(sum(table.spectral_efficiency[b.mcs] for b, ack in self._window if ack) / self.window)

    def sample(self, now_s: float) -> Row:
        """The link as it is now; the row is kept in `history`."""
        row = Row(
            now_s, self.snr_db, math.nan if self.mcs is None else self.mcs,
            self.predicted_bler, self.observed_bler, self.goodput_bps(now_s),
        )  # fmt: skip
        self.history.append(row)
        return row


class View:
    """All links of a flowgraph, and its blocks.

    Args:
        max_links: links that are kept at most; messages of further ones are refused.

    Attributes:
        links: by number.
        blocks: last status of each block, by its name.
        table: MCS table that the selector named, if it is one that ships.
    """

    def __init__(self, max_links: int = 1024) -> None:
        self.links: dict[int, LinkView] = {}
        self.blocks: dict[str, Mapping[str, Any]] = {}
        self.table: McsTable | None = None
        self._max_links = max_links

    def take(self, kind: str, fields: Mapping[str, Any], now_s: float) -> None:
        """Take a message.

        Args:
            kind: ``"csi"``, ``"decision"``, ``"feedback"``, ``"model"`` or ``"status"``.
            fields: its values, as `net.fields.check_fields` lets them pass.
            now_s: when it came.

        Raises:
            ValueError: it is of one link or block too many; the text is fit for a counter.
        """
        if kind == "csi":
            self._link(fields).snr_db = fields["snr_db"]
        elif kind == "decision":
            block = _Block(fields["mcs"], fields["bler"], fields.get("bits", 0))
            self._link(fields).decided(fields["seq"], block, fields["version"], fields["probe"], now_s)
        elif kind == "feedback":
            self._link(fields).ended(fields["seq"], fields["ack"], fields["attempt"], now_s)
        elif kind == "status":
            self._status(fields)

    def _link(self, fields: Mapping[str, Any]) -> LinkView:
        number = fields["link"]
        if number not in self.links:
            if len(self.links) >= self._max_links:
                raise ValueError("too many links")
            self.links[number] = LinkView()
        return self.links[number]

    def _status(self, fields: Mapping[str, Any]) -> None:
        block = fields["block"]
        if block not in self.blocks and len(self.blocks) >= _BLOCKS:
            raise ValueError("too many blocks")
        self.blocks[block] = fields
        # Not `McsTable.named` for any name: that would open a file which a message chose.
        if (name := fields.get("mcs_table")) in TABLES and (self.table is None or self.table.name != name):
            self.table = McsTable.named(name)
        for link, state in self._of_links(fields.get("state")):
            link.tuner = state
        for link, belief in self._of_links(fields.get("beliefs")):
            link.belief = Belief.told(belief)

    def _of_links(self, states: Any) -> Iterator[tuple[LinkView, Mapping[str, Any]]]:
        """The parts of a status that are of links which are known."""
        for number, state in states.items() if isinstance(states, Mapping) else ():
            if isinstance(state, Mapping) and number.isdecimal() and int(number) in self.links:
                yield self.links[int(number)], state

    @property
    def drops(self) -> Counter[tuple[str, str]]:
        """Messages that the blocks dropped, by block and cause."""
        found: Counter[tuple[str, str]] = Counter()
        for block, status in self.blocks.items():
            dropped = status.get("dropped")
            for cause, n in dropped.items() if isinstance(dropped, Mapping) else ():
                if isinstance(n, int) and n > 0:
                    found[block, cause] = n
        return found

    @property
    def tuner(self) -> str:
        """How the selector hears its tuner: ``"heard"``, ``"not heard yet"``, ``"away"`` (its process or
        service is) or ``"silent"``; empty while no selector said so."""
        told = self.blocks.get("mcs_selector", {}).get("tuner", "")
        return told if isinstance(told, str) else ""
