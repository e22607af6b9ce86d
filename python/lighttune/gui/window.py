# SPDX-License-Identifier: GPL-3.0-or-later
"""The panel's window: figures in large type, a constellation, and a minute of history.

Colours are those of Okabe and Ito, which colour-blind people can tell apart; predicted and observed BLER
differ by the kind of line, too.
"""

from __future__ import annotations

from html import escape
from typing import NamedTuple

import numpy as np
import pyqtgraph as pg
from PyQt5 import QtCore, QtGui, QtWidgets

from ..core.link_text import (
    UNKNOWN,
    bit_rate,
    curves,
    decibels,
    decider,
    mcs_name,
    offset,
    percent,
    tuner_count,
    tuner_shift_db,
    tuner_state,
)
from ..core.link_view import LinkView, Row, View
from ..modem.mapping import ORDERS, constellation

HISTORY_S = 60.0
"""What the plots show."""

_BLUE, _ORANGE, _GREEN, _PURPLE, _GREY = "#0072B2", "#D55E00", "#009E73", "#AA4499", "#555555"
_STALE_S = 1.0
_LABEL = {"font-size": "10pt"}
_STYLE = """
PanelWidget { background: white; }
QLabel { color: black; }
QComboBox, QComboBox QAbstractItemView { color: black; background: white; font-size: 15px; }
QFrame#tile { background: #F4F6F8; border: 1px solid #C8CED4; border-radius: 6px; }
QLabel#caption { color: #444444; font-size: 13px; }
QLabel#value { font-size: 26px; font-weight: bold; }
QLabel#note { color: #444444; font-size: 12px; }
QLabel#title { font-size: 20px; font-weight: bold; }
QLabel#heard { font-size: 13px; }
QLabel#says { font-size: 14px; }
"""
_CAPTIONS = {
    "mcs": "MCS (last decision)",
    "snr": "SNR (last report)",
    "believed": "SINR believed",
    "goodput": "Goodput",
    "decider": "Decided by",
    "predicted": "BLER predicted",
    "observed": "BLER observed",
    "loss": "Lost at every MCS",
    "tuner": "Tuner",
    "drops": "Dropped",
}
_COLUMNS = 5


class Constellation(NamedTuple):
    """Equalised points of a packet, shape ``(n,)``, complex, finite."""

    link: int
    seq: int | None
    mcs: int | None
    points: np.ndarray


class Tile(QtWidgets.QFrame):
    """One figure: what it is, its value in large type, and a note."""

    def __init__(self, caption: str) -> None:
        super().__init__()
        self.setObjectName("tile")
        self.value, self.note = _label("value"), _label("note")
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(12, 8, 12, 8)
        layout.setSpacing(1)
        for label in (_label("caption", caption), self.value, self.note):
            label.setSizePolicy(QtWidgets.QSizePolicy.Ignored, QtWidgets.QSizePolicy.Preferred)
            layout.addWidget(label)  # a long text is cut off, it does not widen the window

    def show_text(self, value: str, note: str = "", colour: str = "black") -> None:
        """Show other text."""
        self.value.setText(value)
        self.value.setStyleSheet(f"color: {colour}")
        self.note.setText(note)
        _tip(self, f"{value}\n{note}")


class PanelWidget(QtWidgets.QWidget):
    """The window of a `panel`; `link` is the number of the link that is shown."""

    def __init__(self, title: str, link: int) -> None:
        super().__init__()
        self.link = link
        self.setAttribute(QtCore.Qt.WA_StyledBackground)
        self.setStyleSheet(_STYLE)
        self.setMinimumSize(900, 560)
        self.resize(1200, 760)
        self.setWindowTitle(title)
        self.chooser, self.heard = QtWidgets.QComboBox(), _label("heard")
        self.chooser.activated.connect(self._choose)
        self.tiles = {key: Tile(caption) for key, caption in _CAPTIONS.items()}
        self.constellation, self.points, self.ideal = _constellation_plot()
        self.plots = _Plots()
        self.says = _label("says")
        self.says.setSizePolicy(QtWidgets.QSizePolicy.Ignored, QtWidgets.QSizePolicy.Preferred)
        self._list_links([link])

        head = QtWidgets.QHBoxLayout()
        for widget in (_label("title", title), _label("heard", "   Link"), self.chooser):
            head.addWidget(widget)
        head.addStretch()
        head.addWidget(self.heard)
        figures = QtWidgets.QGridLayout()
        for place, tile in enumerate(self.tiles.values()):
            figures.addWidget(tile, *divmod(place, _COLUMNS))
        for column in range(_COLUMNS):
            figures.setColumnStretch(column, 1)
        pictures = QtWidgets.QHBoxLayout()
        pictures.addWidget(self.constellation, 2)
        pictures.addWidget(self.plots, 3)
        layout = QtWidgets.QVBoxLayout(self)
        layout.addLayout(head)
        layout.addLayout(figures)
        layout.addWidget(self.says)
        layout.addLayout(pictures, 1)

    def _choose(self) -> None:
        self.link = self.chooser.currentData()
        self.points.clear()
        self.ideal.clear()
        self.constellation.setTitle("")

    def _list_links(self, links: list[int]) -> None:
        if [self.chooser.itemData(i) for i in range(self.chooser.count())] == links:
            return
        self.chooser.clear()
        for link in links:
            self.chooser.addItem(str(link), link)
        self.chooser.setCurrentIndex(links.index(self.link))

    def show_link(
        self, view: View, received: Constellation | None, now_s: float, heard_s: float | None
    ) -> None:
        """Draw the chosen link as it is now.

        Args:
            view: all links.
            received: a packet of that link, if a new one came.
            now_s: time, monotonic.
            heard_s: when the last message came.
        """
        self._list_links(sorted({self.link, *view.links}))
        if heard_s is None:
            self.heard.setText("no message yet")
        elif now_s - heard_s > _STALE_S:
            self.heard.setText(f"\u25b2 no message for {now_s - heard_s:.0f} s")
        else:
            self.heard.setText("\u25cf live")
        self._show_drops(view)
        link = view.links.get(self.link, _NOBODY)
        self._show_figures(view, link, now_s)
        self.plots.show_history(link, now_s)
        if received is not None:
            self._show_points(view, received)

    def _show_figures(self, view: View, link: LinkView, now_s: float) -> None:
        tiles = self.tiles
        if link.mcs is not None:
            tiles["mcs"].show_text(str(link.mcs), mcs_name(view.table, link.mcs))
        else:
            tiles["mcs"].show_text(UNKNOWN, "no decision yet")
        tiles["snr"].show_text(decibels(link.snr_db))
        per_symbol = link.goodput_per_symbol(view.table) if view.table is not None else np.nan
        tiles["goodput"].show_text(
            bit_rate(link.goodput_bps(now_s)),
            "" if np.isnan(per_symbol) else f"{per_symbol:.2f} bit per symbol",
        )
        tiles["predicted"].show_text(percent(link.predicted_bler), f"mean over {link.window} blocks")
        lost = f", {link.unmatched} of unknown blocks" if link.unmatched else ""
        tiles["observed"].show_text(
            percent(link.observed_bler), f"{link.window_nacks} of {link.window} blocks failed{lost}"
        )
        tiles["decider"].show_text(decider(link) or UNKNOWN, curves(link))
        self._show_belief(link)
        state, shift_db = tuner_state(view, link), tuner_shift_db(link)
        note = f"fired {tuner_count(link, 'fired')}"
        if not np.isnan(shift_db):
            note += f", largest shift {shift_db:+.1f} dB"
        colour = {"tuning": _BLUE, "away": _ORANGE, "silent": _ORANGE}.get(state, "black")
        tiles["tuner"].show_text(state, "not heard" if state == UNKNOWN else note, colour)

    def _show_belief(self, link: LinkView) -> None:
        belief = link.belief
        known = not np.isnan(belief.offset_db)
        self.tiles["believed"].show_text(
            decibels(belief.sinr_db), f"less the report: {offset(link)}" if known else ""
        )
        self.tiles["loss"].show_text(percent(belief.loss))
        text = "; ".join(belief.says)
        self.says.setText(f"\u25b2 {text}" if text else "")
        _tip(self.says, "\n".join(belief.says))
        self.says.setStyleSheet(f"color: {_ORANGE}")

    def _show_drops(self, view: View) -> None:
        drops = view.drops
        most = max(drops, key=drops.__getitem__, default=None)
        self.tiles["drops"].show_text(
            str(drops.total()),
            "" if most is None else f"most: {most[0]}, {most[1]}",
            "black" if most is None else _ORANGE,
        )

    def _show_points(self, view: View, received: Constellation) -> None:
        self.points.setData(received.points.real, received.points.imag)
        name, order = "", 0
        if view.table is not None and received.mcs is not None and received.mcs < len(view.table):
            name, order = mcs_name(view.table, received.mcs), view.table.modulation_order[received.mcs]
        ideal = constellation(order) if order in ORDERS else np.empty(0, complex)
        self.ideal.setData(ideal.real, ideal.imag)
        parts = (name or "Constellation", "" if received.seq is None else f"packet {received.seq}")
        self.constellation.setTitle(", ".join(filter(None, parts)), color="k", size="11pt")


class _Plots(pg.GraphicsLayoutWidget):
    """SNR, MCS, BLER and goodput over the last minute."""

    def __init__(self) -> None:
        super().__init__()
        self.setBackground("w")
        self._snr = _curve(self._axes(0, 0, "SNR (dB)"), _BLUE)
        dots = {"symbol": "o", "symbolSize": 4, "symbolPen": None, "symbolBrush": _PURPLE}
        self._mcs = self._axes(0, 1, "MCS index").plot(pen=None, **dots)
        self._bler_axes = self._axes(1, 0, "BLER (%)")
        self._observed = _curve(self._bler_axes, _BLUE)
        self._predicted = _curve(self._bler_axes, _ORANGE, QtCore.Qt.DashLine)
        # Where a legend would be, the curve is.
        self._bler_axes.setTitle(
            f'<span style="color:{_BLUE}">\u2501\u2501 observed</span> &nbsp; '
            f'<span style="color:{_ORANGE}">\u2505\u2505 predicted</span>',
            size="10pt",
        )
        self._goodput_axes = self._axes(1, 1, "Goodput (kbit/s)")
        self._goodput = _curve(self._goodput_axes, _GREEN)

    def _axes(self, row: int, column: int, title: str) -> pg.PlotItem:
        plot = self.addPlot(row, column)
        plot.setLabel("left", title, **_LABEL)
        plot.setLabel("bottom", "time (s), 0 is now", **_LABEL)
        plot.setXRange(-HISTORY_S, 0, padding=0.02)
        plot.showGrid(x=True, y=True, alpha=0.25)
        plot.setMouseEnabled(x=False)
        plot.hideButtons()
        _darken(plot)
        return plot

    def show_history(self, link: LinkView, now_s: float) -> None:
        """Draw the link's rows."""
        rows = np.array(link.history, float).reshape(-1, len(Row._fields)).T
        rows = rows[:, rows[0] >= now_s - HISTORY_S]
        bler, goodput = 100 * rows[3:5], rows[5] / 1e3
        curves = self._snr, self._mcs, self._predicted, self._observed, self._goodput
        for curve, values in zip(curves, (rows[1], rows[2], *bler, goodput), strict=True):
            known = np.isfinite(values)
            known &= known.sum() > 1  # pyqtgraph 0.13 fails at a line of one point
            curve.setData(rows[0, known] - now_s, values[known])
        # fmax passes NaN over
        for axes, values, least in ((self._bler_axes, bler, 10.0), (self._goodput_axes, goodput, 1e-3)):
            axes.setYRange(0, 1.05 * np.fmax.reduce(values, axis=None, initial=least), padding=0)


def _constellation_plot() -> tuple[pg.PlotWidget, pg.ScatterPlotItem, pg.ScatterPlotItem]:
    plot = pg.PlotWidget(background="w")
    plot.setAspectLocked(True)
    plot.setRange(xRange=(-1.4, 1.4), yRange=(-1.4, 1.7))  # the legend has the top
    plot.setMouseEnabled(x=False, y=False)
    plot.hideButtons()
    plot.setLabel("bottom", "in phase (unit mean power)", **_LABEL)
    plot.setLabel("left", "quadrature", **_LABEL)
    plot.showGrid(x=True, y=True, alpha=0.25)
    plot.addLegend(offset=(5, 5), colCount=2, labelTextColor="k")
    points = pg.ScatterPlotItem(
        size=5, pen=None, brush=pg.mkBrush(0, 114, 178, 150), name="received, equalised"
    )
    ideal = pg.ScatterPlotItem(size=9, symbol="+", pen=pg.mkPen(_ORANGE, width=1.5), brush=None, name="ideal")
    plot.addItem(points)
    plot.addItem(ideal)
    _darken(plot.getPlotItem())
    return plot, points, ideal


def _curve(plot: pg.PlotItem, colour: str, line: QtCore.Qt.PenStyle = QtCore.Qt.SolidLine) -> pg.PlotDataItem:
    # Antialiased, a thick line costs Qt 20 ms a picture, with Python's lock in hand; like this it is 1 ms.
    return plot.plot(pen=pg.mkPen(colour, width=2, style=line), antialias=False)


def _darken(plot: pg.PlotItem) -> None:
    font = QtGui.QFont()
    font.setPixelSize(12)
    for side in ("left", "bottom"):
        axis = plot.getAxis(side)
        axis.setPen(_GREY)
        axis.setTextPen("k")
        axis.setTickFont(font)
        axis.enableAutoSIPrefix(False)


def _label(name: str, text: str = "") -> QtWidgets.QLabel:
    label = QtWidgets.QLabel(text)
    label.setObjectName(name)
    label.setTextFormat(QtCore.Qt.PlainText)  # texts come with messages
    return label


def _tip(widget: QtWidgets.QWidget, text: str) -> None:
    """A tool tip of a message's text; Qt would take one that looks like markup for such."""
    widget.setToolTip(f"<qt>{escape(text)}</qt>".replace("\n", "<br>"))


_NOBODY = LinkView()
