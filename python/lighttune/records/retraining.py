# SPDX-License-Identifier: GPL-3.0-or-later
"""A predictor for a testbed from its own logs: trained on some sessions, judged on others. Needs torch.

Sessions, not blocks, are held out: neighbouring blocks see the same channel, and a predictor that has seen
one of them knows the others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..core.predictor import Predictor
from ..core.retraining import retrain
from ..core.training import Samples
from .calibration import Reliability, reliability, scores
from .log import Session, blocks_of, check_mcs

_VALIDATION = 0.15  # the last part of each session: it decides which epoch is kept
_AT_ONCE = 8192


@dataclass(frozen=True, eq=False)
class Retrained:
    """What became of it.

    Args:
        predictor: the new one.
        training, validation, held_out: blocks.
        scores: on the held-out sessions, `calibration.scores` by name: ``before`` (the predictor that it
            began with), ``after``, and ``as recorded`` (what was predicted when the log was recorded: tuned,
            if a tuner was there).
        reliability: the same.
    """

    predictor: Predictor
    training: int
    validation: int
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
    base: Predictor,
    train: Sequence[Session],
    held_out: Sequence[Session],
    seed: int,
    progress: Callable[[str, float, float], None] = lambda stage, share, loss: None,
) -> Retrained:
    """Train a predictor further on some sessions; the same sessions, seed and torch build give the same.

    Args:
        base: to begin with, of the sessions' MCS table.
        train, held_out: sessions, one or more of each.
        seed, progress: as of `core.retraining.retrain`.

    Raises:
        ValueError: a session has an MCS that the table has not, or there are too few blocks to learn from.
    """
    parts = [_samples(session, base)[0] for session in train]
    firsts = [math.floor((1 - _VALIDATION) * len(part)) for part in parts]
    training = _joined([_cut(part, slice(0, n)) for part, n in zip(parts, firsts, strict=True)])
    validation = _joined([_cut(part, slice(n, None)) for part, n in zip(parts, firsts, strict=True)])
    judged = [_samples(session, base) for session in held_out]
    test, recorded = _joined([part for part, _ in judged]), np.concatenate([bler for _, bler in judged])
    for name, some in (("to train on", training), ("to validate on", validation), ("held out", test)):
        if not len(some):
            raise ValueError(f"no blocks {name} with features and a known end: record longer sessions")
    predictor = retrain(base, training, validation, seed, progress=progress)
    nack = test.nack > 0.5
    bler = {"before": _bler(base, test), "after": _bler(predictor, test), "as recorded": recorded}
    return Retrained(
        predictor,
        len(training),
        len(validation),
        len(test),
        {name: scores(p, nack) for name, p in bler.items()},
        {name: reliability(p, nack) for name, p in bler.items()},
    )


def _samples(session: Session, base: Predictor) -> tuple[Samples, np.ndarray]:
    """A session's blocks that can be learnt from, and what was predicted for them when it was recorded."""
    blocks = blocks_of(session, features=True)
    check_mcs(session, blocks, base.table)
    features = blocks.features
    assert features is not None
    usable = blocks.ended & np.isfinite(features).all(axis=1)
    nack = (~blocks.ack[usable]).astype(np.float32)
    return Samples(features[usable], blocks.mcs[usable], nack), blocks.bler[usable]


def _cut(samples: Samples, rows: slice) -> Samples:
    return Samples(samples.features[rows], samples.mcs[rows], samples.nack[rows])


def _joined(parts: Sequence[Samples]) -> Samples:
    columns = ("features", "mcs", "nack")
    return Samples(*(np.concatenate([getattr(part, name) for part in parts]) for name in columns))


def _bler(predictor: Predictor, samples: Samples) -> np.ndarray:
    offline = predictor.weights()
    starts = range(0, len(samples), _AT_ONCE)
    return np.concatenate(
        [
            predictor.bler(offline, samples.features[a : a + _AT_ONCE], samples.mcs[a : a + _AT_ONCE, None])[
                :, 0
            ]
            for a in starts
        ]
    )
