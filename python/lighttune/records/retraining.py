# SPDX-License-Identifier: GPL-3.0-or-later
"""A network for a testbed from its own logs: trained on some sessions, judged on others. Needs torch.

A log's events go through a link that is given the MCS which was really sent, so that its network reads what
it would have read there. It is trained on the outcome at that MCS: of the others the log says nothing, and a
network from scratch would not know them.

Sessions, not blocks, are held out: neighbouring blocks see the same channel, and a network that has seen one
of them knows the others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..core.link import Link
from ..core.link_model import LinkModel
from ..core.pending import PendingBlocks
from ..core.record import ANCHOR, LENGTH, N_INPUTS
from ..training.sequences import Sequences
from .calibration import Reliability
from .followers import WAIT, Choice, LinkFollower
from .log import Session
from .replay import Verdict, judge, replay

_STRETCH = 2048  # steps of a link that are fitted in one go
_WARM = 256  # steps before them that are gone through first, so that the network has its memory

Progress = Callable[[str, float], None]
"""Called with what is being done and the share of it that is done."""


@dataclass(frozen=True)
class RetrainingPlan:
    """Epochs, highest learning rate (a tenth of the first training's), stretches of links at a time."""

    epochs: int = 12
    rate: float = 3e-4
    batch: int = 8


@dataclass(frozen=True, eq=False)
class Retrained:
    """What became of it.

    Args:
        model: the new one.
        training, held_out: blocks with a known end.
        scores: on the held-out sessions, `calibration.scores` by name: ``before`` (the model that it began
            with), ``after``, and ``as recorded`` (what was predicted when the log was recorded).
        reliability: ``before`` and ``after``.
    """

    model: LinkModel
    training: int
    held_out: int
    scores: dict[str, dict[str, float]]
    reliability: dict[str, Reliability]


def split(
    found: Sequence[Session], held_out: Sequence[str], share: float
) -> tuple[list[Session], list[Session]]:
    """Sessions to train on, and those to be held out.

    Args:
        found: two sessions or more.
        held_out: names of those to be held out; empty for the last ones.
        share: how many are then held out, inside (0, 1): one at least, and one is left.

    Raises:
        ValueError: there is only one session, a name is not among them, or nothing would be left.
    """
    if len(found) < 2:
        raise ValueError(
            f"{len(found)} session: give two or more, so that one can be held out (every start of `lighttune"
            " record` or of a recorder block begins one)"
        )
    if not 0 < share < 1:
        raise ValueError(f"a share of {share!r} held out: give a number inside (0, 1)")
    names = [session.name for session in found]
    for name in held_out:
        if name not in names:
            raise ValueError(f"no session {name!r} to hold out: there are {', '.join(names)}")
    n = min(max(1, math.ceil(share * len(found))), len(found) - 1)
    chosen = set(held_out or sorted(names)[-n:])
    train, test = [s for s in found if s.name not in chosen], [s for s in found if s.name in chosen]
    if not train:
        raise ValueError("all sessions are held out: leave one to train on")
    return train, test


def retrain_on(
    base: LinkModel,
    train: Sequence[Session],
    held_out: Sequence[Session],
    seed: int,
    progress: Progress = lambda what, share: None,
    plan: RetrainingPlan | None = None,
) -> Retrained:
    """Train a network further on some sessions; the same sessions, seed and torch build give the same one.

    Args:
        base: to begin with, of the sessions' MCS table.
        train, held_out: sessions, one or more of each.
        seed: of the order in which stretches are fitted, 0 or more.

    Raises:
        ValueError: the model has no network, a session has an MCS that the table has not, or no block of
            these sessions has a known end.
    """
    from ..training.fit import TorchNetwork, fit, reproducible

    if not base.net.size:
        raise ValueError(
            f"no network ships for the MCS table {base.table.name!r}: train one with `lighttune train"
            " --table`, and give it as --model"
        )
    plan = plan or RetrainingPlan()
    sequences = read_sequences(base, train, lambda share: progress("reading", share))
    before = _judged(base, held_out)
    training = int(sequences.weight.sum(dtype=float))
    for name, n in (("to train on", training), ("held out", before.ended)):
        if not n:
            raise ValueError(f"no block {name} has a known end: record longer sessions")
    with reproducible(seed):
        net = TorchNetwork(base.table)
        net.take(base.net)
        fit(net, [lambda: sequences], plan.epochs, plan.rate, plan.batch,
            lambda share, loss: progress(f"training, log loss {loss:.3f}", share))  # fmt: skip
    model = LinkModel(base.table, net.export(), base.selection)
    after = _judged(model, held_out)
    return Retrained(
        model,
        training,
        before.ended,
        {"before": before.predicted, "after": after.predicted, "as recorded": before.recorded},
        {"before": before.reliability, "after": after.reliability},
    )


def _judged(model: LinkModel, found: Sequence[Session]) -> Verdict:
    """How well a link of this model predicts what was sent in some sessions."""

    def follow(link: int) -> LinkFollower:
        return LinkFollower(Link(model, WAIT))

    return judge([replay(session, model.table, follow) for session in found], model.table)


def read_sequences(
    model: LinkModel, found: Sequence[Session], progress: Callable[[float], None] = lambda share: None
) -> Sequences:
    """What the network of every link of some sessions read, in stretches, and how the blocks ended.

    Raises:
        ValueError: a session has an MCS that the table has not.
    """
    readers: list[_Reader] = []

    def reader(link: int) -> _Reader:
        readers.append(_Reader(model))
        return readers[-1]

    for done, session in enumerate(found, 1):
        replay(session, model.table, reader)
        progress(done / len(found))
    stretches = [(one, start) for one in readers for start in range(0, len(one.inputs), _STRETCH)]
    longest = max((len(one.inputs) for one in readers), default=0)
    shape = len(stretches), min(longest, _WARM + _STRETCH)
    made = Sequences(
        np.zeros((*shape, N_INPUTS), np.float32),
        np.zeros((*shape, len(model.table)), np.float16),
        np.zeros((*shape, len(model.table)), np.float16),
        np.zeros(shape, np.float32),
        np.zeros(shape, np.float32),
    )
    for row, (one, start) in enumerate(stretches):
        begin, end = max(start - _WARM, 0), min(start + _STRETCH, len(one.inputs))
        n = end - begin
        made.inputs[row, :n] = one.inputs[begin:end]
        made.anchor_db[row, :n], made.length[row, :n] = np.transpose(one.places[begin:end])
        for step in range(start, end):
            if step in one.ends:
                mcs, nack = one.ends[step]
                made.target[row, step - begin, mcs] = nack
                made.weight[row, step - begin, mcs] = 1.0
    return made


class _Reader(LinkFollower):
    """A link that notes what its network reads.

    Attributes:
        inputs: of each step, ``(N_INPUTS,)``.
        places: `Sequences.anchor_db` and `Sequences.length` of each step.
        ends: by the step that decided a block, the MCS that was sent and whether it failed.
    """

    def __init__(self, model: LinkModel) -> None:
        self._record = model.links(1)
        super().__init__(Link(model, WAIT, links=self._record))
        self.inputs: list[np.ndarray] = []
        self.places: list[tuple[float, float]] = []
        self.ends: dict[int, tuple[int, bool]] = {}
        self._deciding: PendingBlocks[int] = PendingBlocks(WAIT)

    def select(self, bits: int | None, seq: int, mcs: int) -> Choice:
        choice = super().select(bits, seq, mcs)
        self._deciding.add(seq, len(self.inputs))
        self._note()
        return choice

    def outcome(self, seq: int, mcs: int, ack: bool) -> None:
        waiting = self._record["waiting"][0]
        super().outcome(seq, mcs, ack)
        step = self._deciding.pop(seq)
        if step is None:
            return
        self.ends[step] = mcs, not ack
        if waiting:  # two outcomes between decisions: the network read the first one by itself
            self._note()

    def _note(self) -> None:
        record = self._record[0]
        self.inputs.append(record["inputs"].copy())
        self.places.append((float(record["sent"][ANCHOR]), float(record["sent"][LENGTH])))
