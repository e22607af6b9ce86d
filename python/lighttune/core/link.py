# SPDX-License-Identifier: GPL-3.0-or-later
"""The link adapter: one link's belief, network and vote behind the three verbs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from . import link_kernel, tuning
from .link_files import find_model
from .link_model import LinkModel
from .link_tuner import LinkTuner, check_curves, curves_of
from .mcs import McsTable
from .messages import MAX_SEQ, Csi, Decision, age_blocks, check_seq
from .network import report
from .pending import PendingBlocks
from .record import BLIND, EXPERTS, FEATURES, LINK, MCS, N_EXPERTS, N_STEPS, NET, STEP_DB, TOLD
from .selection import SelectionPolicy
from .tuning import TUNED

_BROKEN = 0.2  # posterior from which an MCS is called broken: 100 times the prior, and hardly sent
_MOST_SAID = 3  # MCS that are named one by one
_TOLD_OFF_DB = 1.0  # an offset of less is not worth a word, and a threshold's neither


SNAPSHOT = np.dtype([("link", LINK), ("tuned", TUNED)])
"""All that a link has learnt, and its curves."""


class _Curves(NamedTuple):
    """That decide: whoever loads others swaps one reference."""

    version: int
    curves: np.ndarray | None  # of the tuner; None for the model's own
    rows: np.ndarray


@dataclass(frozen=True)
class LinkStatus:
    """What a link believes, as an operator wants to know it.

    Args:
        expert: whose predictions weigh most: ``"network"``, ``"reports"`` or ``"acks"``.
        votes: weight of each expert, adding to 1.
        sinr_db: SINR that the beliefs hold to be there now, in dB.
        offset_db: SINR less what was reported, in dB: the median; None where no report ever came.
        offset_range_db: above the first with a probability of 97 %, below the second with 75 %: ACKs alone
            say little, so a belief errs upwards. None where no report ever came.
        width_db: standard deviation of the SINR, in dB.
        loss: share of packets that are lost at every MCS, as it is expected.
        lossy: probability that some are.
        broken: MCS that do not decode.
        shift_db: what the tuner added to each MCS's threshold, in dB.
    """

    expert: str
    votes: dict[str, float]
    sinr_db: float
    offset_db: float | None
    offset_range_db: tuple[float, float] | None
    width_db: float
    loss: float
    lossy: float
    broken: tuple[int, ...]
    shift_db: tuple[float, ...]

    def sentences(self) -> list[str]:
        """What is out of the ordinary, in words; empty where nothing is."""
        said = []
        low, high = self.offset_range_db or (0.0, 0.0)
        if self.offset_db is not None and (low > _TOLD_OFF_DB or high < -_TOLD_OFF_DB):
            which = "high" if self.offset_db < 0 else "low"
            said.append(f"reports are {abs(self.offset_db):.1f} dB too {which}")
        if self.loss >= 0.03 and self.lossy > 0.9:
            said.append(f"{100 * self.loss:.0f} % of packets are lost at every MCS")
        said += [f"MCS {mcs} does not decode" for mcs in self.broken]
        off = {mcs: shift_db for mcs, shift_db in enumerate(self.shift_db) if abs(shift_db) > _TOLD_OFF_DB}
        if len(off) > _MOST_SAID:
            said.append(f"the curves of {len(off)} MCS are off by up to {max(map(abs, off.values())):.1f} dB")
            off.clear()
        for mcs, shift_db in off.items():
            which = "more" if shift_db > 0 else "less"
            said.append(f"MCS {mcs} needs {abs(shift_db):.1f} dB {which} than its curve says")
        return said


class Link:
    """One link's MCS choice, from whatever the link tells: reports, ACKs and NACKs, or these alone.

    Reports may never come, be sparse, late, or wrong; feedback may be late, lost or wrong. The belief
    (`belief`) finds out what the reports are worth, the network (`network`) reads the whole history, and
    their predictions are weighed by how well they fared (`link_kernel`). No weight of the network moves. What
    the curves have wrong a tuner finds out, if there is one (`tuning`): it may replace them at any time, by
    `load`.

    Args:
        model: the table and the network trained for it.
        pending_limit: blocks that may wait for feedback, 1 or more; the oldest expires beyond it.
        links, row: where the link's record is kept, begun; None for one of its own.
        tuner: is told every outcome, and its curves are taken at once; None where a tuner elsewhere sends
            them, or there is none.

    Raises:
        ValueError: ``pending_limit`` is below 1.

    Example:
        >>> link = make_link("amc")
        >>> link.report(Csi(snr_db=12.0))
        >>> decision = link.select()
        >>> link.feedback(decision.seq, ack=True)
        True
    """

    def __init__(
        self,
        model: LinkModel,
        pending_limit: int = 4096,
        links: np.ndarray | None = None,
        row: int = 0,
        tuner: LinkTuner | None = None,
    ) -> None:
        self.model = model
        self.pending: PendingBlocks[np.ndarray] = PendingBlocks(pending_limit)
        self._links = model.links(1) if links is None else links
        self._row = row
        self._work = np.zeros((N_EXPERTS + 1, len(model.table)))
        self._tuner = tuner
        self._tuned = _Curves(0, None, model.rows)
        self._next_seq = 0
        self._measured_at: int | None = None

    @property
    def version(self) -> int:
        """Of the curves that decide; 0 for the model's."""
        return self._tuned.version

    @property
    def table(self) -> McsTable:
        """The link's MCS."""
        return self.model.table

    def report(self, csi: Csi) -> None:
        """Take the receiver's latest report; one without ``seq`` is dated to the last block sent."""
        report(self._links, self._row, csi.snr_db)
        self._measured_at = (self._next_seq - 1) & MAX_SEQ if csi.seq is None else csi.seq

    def load(self, version: int, curves: np.ndarray) -> str | None:
        """Take curves from a tuner.

        Args:
            version: of these; decisions carry it.
            curves: as `LinkTuner.model_of`, ``(2 n_mcs,)``.

        Returns:
            Why they are not taken: not finite, or out of bounds; else None.

        Raises:
            ValueError: wrong shape.
        """
        refused = check_curves(curves, len(self.table))
        if refused is None:
            flat, rows = np.asarray(curves, float), self.model.rows.copy()
            tuning.retable(flat, self.model.rows, rows)
            self._tuned = _Curves(version, flat, rows)
        return refused

    def select(self, bits: int | None = None, seq: int | None = None, mcs: int | None = None) -> Decision:
        """Choose the MCS of the next block.

        Args:
            bits: its information bits; None for the table's reference length.
            seq: its sequence number, 0 to `MAX_SEQ`; None counts on from the last one.
            mcs: that goes out whatever is best: somebody else decided; None for the best.

        Raises:
            ValueError: ``seq`` or ``mcs`` is out of range.
        """
        seq = self._next_seq if seq is None else seq
        check_seq(seq)
        self._next_seq = (seq + 1) & MAX_SEQ
        if mcs is not None and not 0 <= mcs < len(self.table):
            raise ValueError(f"mcs = {mcs!r}: give 0 to {len(self.table) - 1}")
        tuned, (length, gain) = self._tuned, self.model.lengths.of(bits)
        mcs = link_kernel.select(
            self._links, self._row, tuned.rows, self.model.policy, self.model.net, gain, self._age(seq),
            length, -1 if mcs is None else mcs, self._work,
        )  # fmt: skip
        sent = self._links["sent"][self._row].copy()
        self.pending.add(seq, sent)
        probe = bool(self._links["probe"][self._row])
        return Decision(seq, mcs, self._work.item(N_EXPERTS, mcs), sent[FEATURES:], tuned.version, probe)

    def feedback(self, seq: int, ack: bool, attempt: int = 0) -> bool:
        """Take the outcome of block ``seq``; False if it is not pending (unknown, duplicate, late).

        What teaches is the first transmission (``attempt`` 0). The verdict of a later one says that the first
        failed, where nobody told so: there would have been no other.
        """
        sent = self.pending.pop(seq)
        if sent is None:
            return attempt > 0
        ack = ack and attempt == 0
        model, age, nack = self.model, self._age(self._next_seq), 0.0 if ack else 1.0
        link_kernel.outcome(
            self._links, self._row, self._tuned.rows, model.policy, model.net, sent, nack, age
        )
        if self._tuner is not None and self._tuner.learn(0, sent[FEATURES:], int(sent[MCS]), ack)[0]:
            self.load(*self._tuner.model_of(0))
        return True

    @property
    def best(self) -> int:
        """The MCS that the last `select` chose, or would have chosen where it was given one."""
        return int(self._links["best"][self._row])

    def bler(self) -> np.ndarray:
        """BLER of every MCS as it was predicted for the last block, ``(n_mcs,)``."""
        return self._work[N_EXPERTS].copy()

    def status(self) -> LinkStatus:
        """What the link believes at the moment."""
        link, curves = self._links[self._row], self._tuned.curves
        reported = bool(link["seen"] > 0)
        votes = np.where([reported, True, True], link["vote"], 0.0)
        total = float(votes.sum()) or 1.0
        told = votes[TOLD] > votes[BLIND] if votes[NET] > 0.5 * total else int(votes.argmax()) != BLIND
        which = TOLD if reported and told else BLIND
        centre = float(link["centre_db"][which])
        origin = float(link["reports"][0]) if which == TOLD else self.model.middle_db
        broken = np.flatnonzero(link["broken"][: len(self.table)] > _BROKEN)
        offsets_db = self._offsets_db(0.03, 0.5, 0.75)
        return LinkStatus(
            expert=EXPERTS[int(votes.argmax())],
            votes={name: float(vote) / total for name, vote in zip(EXPERTS, votes, strict=True)},
            sinr_db=origin + centre,
            offset_db=offsets_db[1] if reported else None,
            offset_range_db=(offsets_db[0], offsets_db[2]) if reported else None,
            width_db=float(link["width_db"][which]),
            loss=float(link["loss"][which]),
            lossy=1.0 - float(link["weights"][which].sum(axis=(0, 2))[0]),
            broken=tuple(int(mcs) for mcs in broken),
            shift_db=() if curves is None else tuple(curves[: len(self.table)].tolist()),
        )

    def _offsets_db(self, *shares: float) -> list[float]:
        """Of the belief about what the reports are off by, the offsets below which these shares lie."""
        below = self._links["weights"][self._row, TOLD].sum(axis=(0, 1)).cumsum()
        step_db = float(self.model.policy[STEP_DB])
        return [(int(np.searchsorted(below, share * below[-1])) - N_STEPS // 2) * step_db for share in shares]

    def snapshot(self) -> np.ndarray:
        """All that the link has learnt, as a copy: one `SNAPSHOT`, ``(1,)``. The blocks that wait for
        feedback are not in it."""
        record = np.zeros(1, SNAPSHOT)
        record["link"] = self._links[self._row]
        if self._tuner is not None:
            record["tuned"] = self._tuner.snapshot([0])
        elif self._tuned.curves is not None:
            n_mcs = len(self.table)
            record["tuned"]["shift_db"][0, :n_mcs] = self._tuned.curves[:n_mcs]
            record["tuned"]["log_slope"][0, :n_mcs] = self._tuned.curves[n_mcs:]
            record["tuned"]["updates"] = self.version
        return record

    def restore(self, record: np.ndarray) -> None:
        """Go on from where `snapshot` was taken.

        Raises:
            ValueError: it is of another type than `SNAPSHOT`, or a number in it is out of range.
        """
        check_record(record)
        tuned = record["tuned"]
        if self._tuner is not None:
            self._tuner.restore([0], tuned.astype(self._tuner.record))
        refused = self.load(int(tuned["updates"][0]), curves_of(tuned, len(self.table))[0])
        if refused is not None:
            raise ValueError(f"the link's state: {refused}")
        self._links[self._row] = record["link"][0]

    def _age(self, seq: int) -> float:
        return 1.0 if self._measured_at is None else float(age_blocks(seq, self._measured_at))


def check_record(record: np.ndarray) -> None:
    """Refuse a snapshot that would not be a link.

    Raises:
        ValueError: it is of another type than `SNAPSHOT`, or a number in it is out of range.
    """
    if not isinstance(record, np.ndarray) or record.dtype != SNAPSHOT or record.shape != (1,):
        raise ValueError("the link's state is not of this version's kind")
    one = record["link"][0]
    for name in LINK.names or ():
        if not np.isfinite(one[name]).all() and name != "sent":
            raise ValueError(f"the link's state is not finite: {name}")
    inside = (
        (one["weights"] >= 0).all() and (one["vote"] >= 0).all() and 0 < one["vote"].sum() < 2
        and (one["arrives"] >= 0).all() and (one["above"] >= 0).all()
        and (one["broken"] >= 0).all() and (one["broken"] <= 1).all()
        and min(one["seen"], one["blocks"], one["outcomes"], one["idle"]) >= 0
    )  # fmt: skip
    if not inside:
        raise ValueError("the link's state is out of range")


def make_link(
    model: str | os.PathLike | LinkModel = "amc",
    objective: str = "goodput",
    bler_target: float = 0.1,
    tuned: bool = True,
    seed: int | None = None,
    table: str | McsTable | None = None,
) -> Link:
    """A complete link adapter.

    Args:
        model: name of a shipped model (`link_files.shipped_models`), path of a model file, or a `LinkModel`.
        objective: ``"goodput"`` maximises it; ``"target"`` does so while the share of first transmissions
            that fail stays at ``bler_target`` or below in the long run.
        bler_target: inside (0, 1): of the objective ``"target"``.
        tuned: whether what the curves have wrong is learnt from the outcomes, while the trigger asks for it.
        seed: of what is drawn: nothing is, today.
        table: in the place of ``model``: an MCS table (`McsTable`, or a name for `McsTable.named`). Where no
            network ships for it, the beliefs alone decide, from the first block on.

    Raises:
        FileNotFoundError, ValueError: there is no such model, or an argument is out of range.
    """
    policy = SelectionPolicy(objective, bler_target)
    found = find_model(model if table is None else "", "" if table is None else table).aiming_at(policy)
    return Link(found, tuner=LinkTuner(found, max_links=1) if tuned else None)
