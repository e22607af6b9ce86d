# SPDX-License-Identifier: GPL-3.0-or-later
"""The panel block: shows what a link is doing, in a Qt window."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import pmt
from PyQt5 import QtCore, QtWidgets

from ..blocks import _messages as m
from ..blocks._block import handles
from ..blocks._tap import TapBlock
from ..core.link_view import View
from ..net.fields import MAX_MCS, Fields, check_fields
from .window import Constellation, PanelWidget

_BUFFER = 8192  # messages between two pictures: some 25,000 blocks a second
_POINTS = 512  # of one packet


class panel(TapBlock):
    """Shows a link's constellation, MCS, SNR, BLER predicted and observed, goodput, beliefs and tuner.

    The handlers only put messages into bounded buffers; a timer of the Qt thread reads them and draws. As in
    every Qt flowgraph, a `QApplication` must exist before the block is made.

    Args:
        title: written at the top, such as ``"LightTune"`` or ``"OLLA"`` where two panels stand side by side.
        link: number of the link that is shown at first, 0 to 65535; the window can choose another.
        update_hz: pictures per second, 1 to 50.

    Raises:
        RuntimeError: there is no `QApplication`.
        ValueError: an argument is out of range.
    """

    def __init__(self, title: str = "LightTune", link: int = 0, update_hz: float = 10.0) -> None:
        if QtWidgets.QApplication.instance() is None:
            raise RuntimeError("no QApplication: make one first, or set the flowgraph's output to QT GUI")
        if not 0 <= link <= m.MAX_LINK:
            raise ValueError(f"link = {link!r}: give 0 to {m.MAX_LINK}")
        if not 1 <= update_hz <= 50:
            raise ValueError(f"update_hz = {update_hz!r}: give 1 to 50 pictures per second")
        self.view = View()
        self._messages: deque[tuple[str, Callable[[], Fields], float]] = deque(maxlen=_BUFFER)
        self._constellations: deque[pmt.pmt_base] = deque(maxlen=16)
        self._heard_s: float | None = None
        self._widget = PanelWidget(title, link)
        super().__init__("panel")
        self._timer = QtCore.QTimer(self._widget)
        self._timer.timeout.connect(self._draw)
        self._timer.start(round(1000 / update_hz))

    def qwidget(self) -> PanelWidget:
        """The window, to be placed into a layout; named as in gr-qtgui."""
        return self._widget

    def take(self, kind: str, fields: Callable[[], Fields], time_s: float) -> None:
        if len(self._messages) == _BUFFER:
            self.dropped.add("buffer: overflow")
        self._messages.append((kind, fields, time_s))

    @handles("constellation")
    def on_constellation(self, message: pmt.pmt_base) -> None:
        """A packet's points; of many, the last ones are enough."""
        self._constellations.append(message)

    def details(self) -> dict[str, Any]:
        return {"links": len(self.view.links), "shown": self._widget.link}

    def _draw(self) -> None:
        """Take what came and draw it; in the Qt thread."""
        for _ in range(len(self._messages)):
            kind, fields, self._heard_s = self._messages.popleft()
            with self.guard(kind):
                try:
                    values = fields()
                    check_fields(kind, values)
                    self.view.take(kind, values, self._heard_s)
                except ValueError as error:
                    raise m.Refused(str(error).removeprefix(f"{kind}: ")) from error
        received = None
        while self._constellations:
            with self.guard("constellation"):
                found = _constellation(self._constellations.popleft())
                received = found if found.link == self._widget.link else received
        now_s = time.time()
        for link in self.view.links.values():
            link.sample(now_s)
        with self.guard("picture"):
            self._widget.show_link(self.view, received, now_s, self._heard_s)


def _constellation(message: pmt.pmt_base) -> Constellation:
    """Read a PDU of points.

    Raises:
        Refused: it is not one.
    """
    if not pmt.is_pair(message) or not pmt.is_c32vector(pmt.cdr(message)):
        raise m.Refused("not a PDU of a c32vector")
    metadata = m.need_dict(pmt.car(message))
    seq = m.read_seq(metadata) if m.has(metadata, m.SEQ) else None
    mcs = m.read_long(metadata, m.MCS, 0, MAX_MCS) if m.has(metadata, m.MCS) else None
    points = np.array(pmt.c32vector_elements(pmt.cdr(message)), np.complex64)
    points = points[:: max(1, -(-len(points) // _POINTS))]
    return Constellation(m.read_link(metadata), seq, mcs, points[np.isfinite(points)])
