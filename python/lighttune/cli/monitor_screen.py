# SPDX-License-Identifier: GPL-3.0-or-later
"""What `lighttune monitor` draws."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable
from typing import Literal, NamedTuple

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from ..core.link_text import (
    UNKNOWN,
    bit_rate,
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
from ..net.listener import Listener

BEHIND = "the host is behind"
"""How `ack_merge` begins to say so, on ``host`` of its status."""

HISTORY_S = 60.0
"""What the small curves show."""

_BARS = "▁▂▃▄▅▆▇█"
_CELLS = 12
_STALE_S = 2.0
_CAUSES, _REMARKS = 6, 8


def screen(listener: Listener, rows: int, width: int) -> RenderableType:
    """The whole picture.

    Args:
        listener: what was heard.
        rows: links that have room.
        width: of the window in characters; columns that have no room in it are left out.
    """
    parts: list[RenderableType] = [_connection(listener)]
    if listener.views:
        parts += [*_behind(listener), _links(listener, rows, width), _remarked(listener), _drops(listener)]
    return Group(*parts)


def sparkline(history: list[Row], name: str, now_s: float) -> str:
    """Means over equal parts of the last minute as bars between the least and the most; gaps are blank."""
    bins: list[list[float]] = [[] for _ in range(_CELLS)]
    for row in history:
        place = math.floor((row.time_s - now_s + HISTORY_S) / HISTORY_S * _CELLS)
        value = getattr(row, name)
        if 0 <= place <= _CELLS and not math.isnan(value):
            bins[min(place, _CELLS - 1)].append(value)
    means = [sum(b) / len(b) if b else math.nan for b in bins]
    known = [m for m in means if not math.isnan(m)]
    low, span = (min(known), max(known) - min(known)) if known else (0.0, 0.0)
    return "".join(
        " " if math.isnan(m) else _BARS[round((m - low) / span * 7)] if span > 1e-9 else _BARS[0]
        for m in means
    )


def _connection(listener: Listener) -> Text:
    subscriber = listener.subscriber
    text = Text.assemble("lighttune monitor  ", (subscriber.endpoint, "bold"), "  ")
    silent_s = math.inf if listener.heard_s is None else time.time() - listener.heard_s
    if listener.heard_s is None:
        text.append("▲ no data yet: is the flowgraph running, with a telemetry block?", "yellow")
    elif silent_s > _STALE_S:
        text.append(f"▲ no data for {silent_s:.0f} s", "bold yellow")
    else:
        text.append("● live", "bold green")
    text.append(f"  {subscriber.received} messages, {subscriber.missed} lost on the way")
    if refused := subscriber.malformed + listener.refused:
        cause, n = refused.most_common(1)[0]
        text.append(f", {refused.total()} refused (most: {cause}, {n})", "yellow")
    return text


def _behind(listener: Listener) -> list[Text]:
    """A line for each flowgraph whose ack_merge says that the host is behind."""
    lines = []
    for source, view in listener.views.items():
        for status in view.blocks.values():
            said = status.get("host")
            if isinstance(said, str) and said.startswith(BEHIND):
                whose = f"{source}: " if len(listener.views) > 1 else ""
                lines.append(Text(f"▲ {whose}{said}", "bold yellow"))
    return lines


def _links(listener: Listener, rows: int, width: int) -> Table:
    several = len(listener.views) > 1
    columns = [column for column in _COLUMNS if width >= column.least_width]
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    if several:
        table.add_column("source", overflow="ellipsis", no_wrap=True, max_width=20)
    for column in columns:
        table.add_column(
            column.title, justify=column.justify, no_wrap=True, overflow="ellipsis", vertical="bottom"
        )
    found = [(s, n, link) for s, view in listener.views.items() for n, link in sorted(view.links.items())]
    now_s = time.time()
    for source, number, link in found[:rows]:
        shown = _Shown(listener.views[source], number, link, now_s)
        table.add_row(*[escape(source)] * several, *(column.cell(shown) for column in columns))
    if len(found) > rows:
        table.caption = f"and {len(found) - rows} more links: a higher window shows more"
    return table


class _Shown(NamedTuple):
    """A link in its row."""

    view: View
    number: int
    link: LinkView
    now_s: float


class _Column(NamedTuple):
    """A column, and the width of the window from which on there is room for it."""

    title: str
    justify: Literal["left", "right"]
    least_width: int
    cell: Callable[[_Shown], RenderableType]


def _mcs(shown: _Shown) -> str:
    mcs = shown.link.mcs
    return UNKNOWN if mcs is None else f"{mcs} {mcs_name(shown.view.table, mcs)}"


def _tuner(shown: _Shown) -> Text:
    state = tuner_state(shown.view, shown.link)
    return Text(state, {"tuning": "bold cyan", "away": "bold yellow", "silent": "bold yellow"}.get(state, ""))


def _shift(shown: _Shown) -> str:
    shift_db = tuner_shift_db(shown.link)
    return UNKNOWN if math.isnan(shift_db) else f"{shift_db:+.1f} dB"


def _told(name: str) -> Callable[[_Shown], str]:
    return lambda shown: str(tuner_count(shown.link, name)) if shown.link.tuner else UNKNOWN


def _curve(name: str, style: str) -> Callable[[_Shown], Text]:
    return lambda shown: Text(sparkline(list(shown.link.history), name, shown.now_s), style)


def _version(shown: _Shown) -> str:
    return UNKNOWN if shown.link.version is None else str(shown.link.version)


def _remarks(shown: _Shown) -> Text:
    n = len(shown.link.belief.says)
    return Text(f"\u25b2 {n}" if n else "", "bold yellow")


_COLUMNS = (
    _Column("link", "right", 0, lambda shown: str(shown.number)),
    _Column("MCS", "left", 0, _mcs),
    _Column("SNR", "right", 0, lambda shown: decibels(shown.link.snr_db)),
    _Column("SNR,\nlast minute", "left", 158, _curve("snr_db", "cyan")),
    _Column("BLER\npredicted", "right", 0, lambda shown: percent(shown.link.predicted_bler)),
    _Column("BLER\nobserved", "right", 0, lambda shown: percent(shown.link.observed_bler)),
    _Column("blocks\nfailed", "right", 130, lambda shown: f"{shown.link.window_nacks}/{shown.link.window}"),
    _Column("goodput", "right", 0, lambda shown: bit_rate(shown.link.goodput_bps(shown.now_s))),
    _Column("goodput,\nlast minute", "left", 158, _curve("goodput_bps", "green")),
    _Column("decided\nby", "left", 0, lambda shown: decider(shown.link) or UNKNOWN),
    _Column("SINR less\nthe report", "right", 110, lambda shown: offset(shown.link)),
    _Column("lost at\nevery MCS", "right", 110, lambda shown: percent(shown.link.belief.loss)),
    _Column("tuner", "left", 0, _tuner),
    _Column("largest\nshift", "right", 168, _shift),
    _Column("curves'\nversion", "right", 195, _version),
    _Column("trigger\nfired", "right", 195, _told("fired")),
    _Column("updates", "right", 195, _told("updates")),
    _Column("", "left", 0, _remarks),
)


def _remarked(listener: Listener) -> RenderableType:
    """What is out of the ordinary, link by link."""
    several = len(listener.views) > 1
    said = [
        (f"{escape(source)}: {number}" if several else str(number), says)
        for source, view in listener.views.items()
        for number, link in sorted(view.links.items())
        for says in link.belief.says
    ]
    if not said:
        return Text("nothing out of the ordinary", "dim")
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("link", justify="right")
    table.add_column("out of the ordinary", no_wrap=True, overflow="ellipsis")
    for link_name, says in said[:_REMARKS]:
        table.add_row(link_name, escape(says))
    if len(said) > _REMARKS:
        table.caption = f"and {len(said) - _REMARKS} more"
    return table


def _drops(listener: Listener) -> RenderableType:
    drops: Counter[tuple[str, str]] = Counter()
    for source, view in listener.views.items():
        for (block, cause), n in view.drops.items():
            drops[f"{source}: {block}" if len(listener.views) > 1 else block, cause] = n
        if unmatched := sum(link.unmatched for link in view.links.values()):
            drops[source, "feedback to unknown blocks"] = unmatched
    if not drops:
        return Text("no message dropped", "dim")
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("dropped", justify="right")
    table.add_column("by")
    table.add_column("cause")
    for (block, cause), n in drops.most_common(_CAUSES):
        table.add_row(str(n), escape(block), escape(cause))
    if len(drops) > _CAUSES:
        table.caption = f"and {len(drops) - _CAUSES} more causes"
    return table
