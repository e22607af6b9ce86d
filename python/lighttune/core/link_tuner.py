# SPDX-License-Identifier: GPL-3.0-or-later
"""The tuner: what the curves of many links have wrong, learnt while a link's trigger asks for it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from . import tuning
from .link_model import LinkModel
from .tuning import N_FEATURES, TUNED, TuningPolicy


class TunerFull(RuntimeError):
    """A sample of a new link was refused: the tuner already has ``max_links``."""


class LinkTuner:
    """Tunes the curves of a model for each of many links, or for all of them together; see `tuning`.

    Args:
        model: the links'.
        policy: when and how fast.
        max_links: links that are kept at most; a sample of a further one raises `TunerFull`.
        pool: all links are of one PHY: what one learns holds for all.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        model: LinkModel,
        policy: TuningPolicy | None = None,
        max_links: int = 1024,
        pool: bool = False,
    ) -> None:
        if max_links < 1:
            raise ValueError(f"max_links = {max_links!r}: give 1 or more")
        self.model = model
        self.policy = policy or TuningPolicy()
        self.max_links = max_links
        self.pool = pool
        self._vector = self.policy.vector()
        self._rows: dict[int, int] = {}
        self._free: list[int] = []  # rows of links that were forgotten
        # Filled when a row is first used: until then the system gives it no memory.
        self._tuned = np.zeros(1 if pool else max_links, TUNED)
        if pool:
            tuning.begin(self._tuned, 0, self._vector)

    def _row(self, link: int) -> int:
        row = self._rows.get(link)
        if row is None:
            if len(self._rows) >= self.max_links:
                raise TunerFull(f"link {link} is one too many: this tuner keeps {self.max_links} links")
            row = self._free.pop() if self._free else len(self._rows)
            if not self.pool:
                tuning.begin(self._tuned, row, self._vector)
            self._rows[link] = row
        return row

    def _place(self, rows: np.ndarray) -> np.ndarray:
        """Where the state of these rows is: all in one place, where they are pooled."""
        return np.zeros_like(rows) if self.pool else rows

    def rows(self, links: Sequence[int] | np.ndarray) -> np.ndarray:
        """Where the links' states are kept, until `forget`; new links get a place.

        Raises:
            TunerFull: a new link is one too many.
        """
        return np.array([self._row(int(link)) for link in links], np.int64)

    def learn(
        self,
        links: int | Sequence[int] | np.ndarray,
        features: np.ndarray,
        mcs: int | np.ndarray,
        ack: bool | np.ndarray,
    ) -> np.ndarray:
        """Take outcomes of first transmissions.

        Args:
            links: one link, or one for each sample; a link may occur several times, in order of time.
            features: as decided on, shape ``(N_FEATURES,)`` or ``(n, N_FEATURES)``.
            mcs: that was sent, scalar or ``(n,)``.
            ack: outcome, scalar or ``(n,)``.

        Returns:
            bool ``(n,)``: the sample moved its link's curves.

        Raises:
            ValueError: shapes differ, a feature is not finite, or an MCS is not in the table.
            TunerFull: a new link is one too many.
        """
        features = np.atleast_2d(np.asarray(features, float))
        mcs_array = np.atleast_1d(np.asarray(mcs, np.int64))
        nack = 1.0 - np.atleast_1d(np.asarray(ack, float))
        names = [links] if isinstance(links, int) else links
        if not len(names) == len(features) == len(mcs_array) == len(nack):
            raise ValueError(
                f"{len(names)} links, {len(features)} features, {len(mcs_array)} mcs, {len(nack)} acks"
            )
        if features.shape[1] != N_FEATURES or not np.isfinite(features).all():
            raise ValueError(f"features are not finite, or not {N_FEATURES}")
        if mcs_array.min() < 0 or mcs_array.max() >= len(self.model.table):
            raise ValueError(
                f"mcs = {mcs_array.min()}..{mcs_array.max()}: give 0 to {len(self.model.table) - 1}"
            )
        return self.learn_rows(self.rows(names), features, mcs_array, nack)

    def learn_rows(
        self, rows: np.ndarray, features: np.ndarray, mcs: np.ndarray, nack: np.ndarray
    ) -> np.ndarray:
        """As `learn`, unchecked, for who looked the links' `rows` up already: ``(n,)``, ``(n, N_FEATURES)``,
        ``(n,)``, and 1.0 for NACK, 0.0 for ACK, ``(n,)``."""
        moved = np.zeros(len(rows), bool)
        tuning.learn_all(self._tuned, self._place(rows), self._vector, features, mcs, nack, moved)
        return moved

    def model_of(self, link: int) -> tuple[int, np.ndarray]:
        """Version and curves (copy, float32, ``(2 n_mcs,)``: thresholds in dB and logarithms of slopes, less
        the model's) of a link."""
        row = self._rows.get(link)
        if row is None:
            return 0, np.zeros(self.model.n_tuned, np.float32)
        versions, curves = self._curves(np.array([row]))
        return int(versions[0]), curves[0]

    def models(self, links: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As `model_of` several links: ``(n,)`` and ``(n, 2 n_mcs)``."""
        return self._curves(self.rows(links))

    def _curves(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        tuned = self._tuned[self._place(rows)]
        return tuned["updates"], curves_of(tuned, len(self.model.table)).astype(np.float32)

    def state(self, link: int) -> dict[str, float]:
        """Plain figures of a link for status displays; empty for an unknown link."""
        row = self._rows.get(link)
        if row is None:
            return {}
        one, n_mcs = self._tuned[0 if self.pool else row], len(self.model.table)
        shift = one["shift_db"][:n_mcs]
        return {
            "tuning": bool(one["left"] > 0 or self.policy.always),
            "samples": int(one["samples"]),
            "updates": int(one["updates"]),
            "version": int(one["updates"]),
            "fired": int(one["fired"]),
            "largest_shift_db": float(shift[np.abs(shift).argmax()]),
            "evidence": float(one["evidence"].max()),
        }

    @property
    def record(self) -> np.dtype:
        """Type of `snapshot`'s records."""
        return TUNED.newbyteorder("<")

    def snapshot(self, links: Sequence[int] | np.ndarray) -> np.ndarray:
        """All that is kept of some links that were seen, as a copy: one `record` for each, ``(n,)``."""
        return self._tuned[self._place(self.rows(links))].astype(self.record)

    def restore(self, links: Sequence[int] | np.ndarray, records: np.ndarray) -> None:
        """Put links back to where `snapshot` saw them.

        Raises:
            ValueError: the records are of another type than `record`, or a number in them is not finite or
                out of range.
            TunerFull: a new link is one too many.
        """
        if records.dtype != self.record or records.shape != (len(links),):
            raise ValueError("the links' states are not of this tuner's kind: another version's")
        for name in records.dtype.names or ():
            if not np.isfinite(records[name]).all():
                raise ValueError(f"the links' states are not finite: {name}")
        inside = (
            (np.abs(records["shift_db"]) <= tuning.MAX_SHIFT_DB).all()
            and (np.abs(records["log_slope"]) <= tuning.MAX_LOG_SLOPE).all()
            and (records["precision"] > 0).all()
            and all((records[name] >= 0).all() for name in ("left", "fired", "samples", "updates"))
        )
        if not inside:
            raise ValueError("the links' states are out of range")
        self._tuned[self._place(self.rows(links))] = records.astype(TUNED)

    def forget(self, links: Sequence[int] | np.ndarray) -> None:
        """Drop what is kept of some links; their places are free for others. Unknown links are left alone."""
        rows = [self._rows.pop(int(link)) for link in links if int(link) in self._rows]
        self._free += rows

    @property
    def links(self) -> list[int]:
        """The links that were seen, oldest first."""
        return list(self._rows)


def curves_of(tuned: np.ndarray, n_mcs: int) -> np.ndarray:
    """What was tuned, of records of `tuning.TUNED` ``(n,)``: thresholds in dB, then logarithms of slopes,
    less the model's, ``(n, 2 n_mcs)``."""
    return np.concatenate([tuned["shift_db"][:, :n_mcs], tuned["log_slope"][:, :n_mcs]], axis=1)


def check_curves(curves: np.ndarray, n_mcs: int) -> str | None:
    """What is wrong with curves ``(2 n_mcs,)`` that came from a tuner, or None.

    Raises:
        ValueError: wrong shape.
    """
    if curves.shape != (2 * n_mcs,):
        raise ValueError(f"{curves.size} curve parameters: {2 * n_mcs} are needed")
    if not np.isfinite(curves).all():
        return "curves not finite"
    shift, slope = curves[:n_mcs], curves[n_mcs:]
    if np.abs(shift).max() > tuning.MAX_SHIFT_DB or np.abs(slope).max() > tuning.MAX_LOG_SLOPE:
        return "curves out of bounds"
    return None
