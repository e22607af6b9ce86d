# SPDX-License-Identifier: GPL-3.0-or-later
"""The selector block: the link's belief and a neural BLER predictor choose the MCS of every PDU."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pmt

from ..core.link import Link, LinkStatus
from ..core.link_files import find_model
from ..core.link_model import LinkModel
from ..core.selection import SelectionPolicy
from . import _messages as m
from ._selector import SelectorBlock

_SILENT_S = 2.0  # of the tuner's heart-beats, two a second
_LINKS_IN_STATUS = 16


class mcs_selector(SelectorBlock):
    """Chooses the MCS of every PDU, from whatever the link tells: reports, ACKs and NACKs, or these alone.

    ``csi`` need not be connected: without reports the link adapts from its ACKs and NACKs. A tuner's curves
    are taken as they come, unless they are not finite or out of bounds. Without a tuner, and while one is
    away, the link goes on as it is.

    Args:
        model: name of a shipped model (``"amc"``), path of a model file, or a `LinkModel`. Empty: the one
            that ships for ``table``, or the beliefs alone, which need no training.
        objective: ``"goodput"`` maximises it; ``"target"`` does so while the share of first transmissions
            that fail stays at ``bler_target`` or below in the long run; see `SelectionPolicy`.
        bler_target: inside (0, 1): of the objective ``"target"``.
        max_links: links that are kept at most, 1 to 65536.
        table: name of the MCS table that the PHY uses (``"amc"``, ``"nr-pdsch-1"``, ... or a curves file): a
            model of another table is refused. Empty: the model's own.

    Raises:
        FileNotFoundError: there is no such model file.
        ValueError: an argument is out of range, or the file is not a model that this version reads.
    """

    def __init__(
        self,
        model: str | os.PathLike | LinkModel = "amc",
        objective: str = "goodput",
        bler_target: float = 0.1,
        max_links: int = 1024,
        table: str = "",
    ) -> None:
        self.model = find_model(model, table).aiming_at(SelectionPolicy(objective, bler_target))
        self._heard_s: float | None = None
        self._away = False
        super().__init__("mcs_selector", self.model.table, lambda: Link(self.model), max_links)

    def start(self) -> bool:
        if self._heard_s is not None:
            self._heard_s = time.monotonic()  # the tuner starts again too: it has its time-out to be heard
        return super().start()

    def take_model(self, message: pmt.pmt_base) -> None:
        """Load a link's curves, or note a heart-beat. Any well-formed message shows that the tuner lives."""
        m.need_dict(message)
        if m.read_bool(message, m.HEARTBEAT, default=False):
            self._heard_s = time.monotonic()
            self._away = m.read_bool(message, m.AWAY, default=False)
            return
        link, version = m.read_link(message), m.read_long(message, m.VERSION)
        curves = m.read_floats(message, m.WEIGHTS, self.model.n_tuned)
        self._heard_s = time.monotonic()
        refused = self.adapter(link).load(version, curves)
        self.counters.add("models")
        if refused is not None:
            raise m.Refused(refused)

    def link_status(self, link: int) -> LinkStatus:
        """What a link believes at the moment.

        Raises:
            KeyError: no message has named the link yet.
        """
        return self._adapters[link].status()

    def snapshot(self) -> dict[int, np.ndarray]:
        """All that the links have learnt, by their numbers; see `Link.snapshot`."""
        return {link: adapter.snapshot() for link, adapter in self._adapters.copy().items()}

    def restore(self, records: dict[int, np.ndarray]) -> None:
        """Go on from where `snapshot` was taken, also in another process; before the flowgraph starts.

        Raises:
            ValueError: a record is not one of this version and model, or there are too many.
        """
        for link, record in records.items():
            try:
                self.adapter(link).restore(record)
            except m.Refused as error:
                raise ValueError(str(error)) from error

    def details(self) -> dict[str, Any]:
        links = list(self._adapters.copy().items())
        if self._heard_s is None:
            tuner = "not heard yet"
        elif time.monotonic() - self._heard_s > _SILENT_S:
            tuner = "silent"
        else:
            tuner = "away" if self._away else "heard"
        return {
            **super().details(),
            "tuner": tuner,
            "beliefs": {
                str(link): dict(_told(adapter.status())) for link, adapter in links[:_LINKS_IN_STATUS]
            },
        }


def _told(status: LinkStatus) -> Iterator[tuple[str, Any]]:
    """A link's status as plain values: what is not known is left out."""
    yield "expert", status.expert
    yield "sinr_db", status.sinr_db
    if status.offset_db is not None:
        yield "offset_db", status.offset_db
    yield "width_db", status.width_db
    yield "loss", status.loss
    yield "says", "; ".join(status.sentences())
