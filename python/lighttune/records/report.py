# SPDX-License-Identifier: GPL-3.0-or-later
"""The report: one HTML file that needs nothing else, not even a network."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterable, Sequence
from html import escape

import numpy as np
from matplotlib.figure import Figure

from ..core.link_text import EXPERT_NAMES
from . import figures
from .summary import Summary

_LINKS = 64  # in the table; those with the most blocks
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 1100px; margin: 2em auto;
  padding: 0 1em; }
h1 { font-size: 1.6em; margin-bottom: 0; } h2 { font-size: 1.2em; margin: 2em 0 .4em; }
.tiles { display: flex; flex-wrap: wrap; gap: .8em; margin: 1.2em 0; }
.tile { background: #f2f5f9; border-radius: 6px; padding: .6em 1em; min-width: 8.5em; }
.tile b { display: block; font-size: 1.5em; } .tile span { color: #555; font-size: .85em; }
table { border-collapse: collapse; margin: .6em 0; }
td, th { padding: .2em .9em .2em 0; text-align: right; }
td:first-child, th:first-child { text-align: left; }
th { border-bottom: 1px solid #999; font-weight: 600; } tr:nth-child(even) td { background: #f7f9fb; }
p.broken { background: #fdeceb; border-left: 4px solid #b3261e; padding: .5em 1em; }
img { max-width: 100%; } p.note { color: #555; max-width: 52em; }
.pair { display: flex; flex-wrap: wrap; gap: 1em; } .pair img { width: 520px; }
"""
_TIMELINE_NOTE = """
Blue cells show which MCS were sent, the darker the more often. Below them, the BLER that was predicted when
each block was sent, and the share of blocks that then failed at their first transmission: where the blue line
stays out of the grey band, the prediction was wrong. Goodput counts what arrived, per second (no more than
was offered) and per symbol of airtime. At the bottom, when the tuner adapted the curves, and whose
predictions weighed most: the network's, those of the belief that reads the reports, or those of the belief
that reads only ACK and NACK; the darker, the more links."""
_BELIEF_NOTE = """
What the selector held of each link, as its status said. SINR less the report: what has to be added to the
reports, with one standard deviation; 0 where they are right. Lost at every MCS: packets that no MCS would
have saved, such as those of collisions."""
_CALIBRATION_NOTE = """
Left: of the blocks for which some BLER was predicted, how many failed. A predictor that can be trusted lies
on the diagonal; above it, it promised too much. Right: the MCS that were sent, and how often each failed."""


def html(summary: Summary) -> str:
    """The whole document."""
    names = [session.name for session in summary.sessions]
    title = names[0] if len(names) == 1 else f"{names[0]} to {names[-1]} ({len(names)} sessions)"
    parts = [
        "<!DOCTYPE html><html lang='en'><head><meta charset='utf-8'>",
        "<meta name='viewport' content='width=device-width, initial-scale=1'>",
        f"<title>Link report {escape(title)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>Link report</h1><p class='note'>{escape(title)}, begun"
        f" {_date(summary.sessions[0].about.get('started_s'))}</p>",
        *_broken(summary),
        _tiles(summary),
    ]
    if len(summary.blocks):
        parts += [
            "<h2>Over time</h2>",
            _image(figures.timeline(summary), "link over time"),
            _note(_TIMELINE_NOTE),
        ]
    if summary.blocks.ended.any():
        parts += [
            "<h2>Can the prediction be trusted?</h2><div class='pair'>",
            _image(figures.calibration(summary), "reliability diagram"),
            _image(figures.mcs_shares(summary), "shares of the MCS"),
            "</div>",
            _note(_CALIBRATION_NOTE),
        ]
    parts += ["<h2>Links</h2>", _links(summary)]
    if summary.beliefs:
        parts += ["<h2>What was believed</h2>", _image(figures.beliefs(summary), "beliefs over time"),
                  _note(_BELIEF_NOTE), _believed(summary)]  # fmt: skip
    parts += ["<h2>What was dropped or lost</h2>", _losses(summary)]
    parts += ["<h2>Sessions</h2>", _sessions(summary), "</body></html>"]
    return "\n".join(parts)


def _broken(summary: Summary) -> list[str]:
    """A line for each session that says more of the hosts than of the channel."""
    return [
        f"<p class='broken'><b>{escape(session.name)} is broken:</b> {escape(str(health))}. Nothing should be"
        " learnt from it.</p>"
        for session, health in zip(summary.sessions, summary.health, strict=True)
        if health.broken
    ]


def _tiles(summary: Summary) -> str:
    blocks, scores = summary.blocks, summary.scores()
    n = max(len(blocks), 1)
    share = "%.2f %%"
    tiles = [
        (f"{len(blocks):,}", "blocks sent"),
        (_duration(summary.duration_s), "recorded"),
        (f"{summary.goodput_bps() / 1e3:.1f} kbit/s", "goodput"),
        (share % (100 * scores["observed"]), "of first transmissions failed"),
        (share % (100 * scores["predicted"]), "were predicted to"),
        (f"{scores['log_loss']:.3f}", "log loss of the prediction [nats]"),
        (f"{scores['ece']:.3f}", "expected calibration error"),
        (f"{np.median(summary.snr_db):.1f} dB" if len(summary.snr_db) else "-", "median reported SNR"),
        (f"{len(np.unique(blocks.link))}", "links"),
        (share % (100 * blocks.probe.sum() / n), "of blocks were probes"),
        (share % (100 * (blocks.version < 0).sum() / n), "were decided without a model"),
        (f"{summary.versions:,}", "sets of curves published by the tuner"),
        (f"{(~blocks.ended).sum():,}", "blocks whose end is not known"),
    ]
    cells = (f"<div class='tile'><b>{escape(v)}</b><span>{escape(what)}</span></div>" for v, what in tiles)
    return f"<div class='tiles'>{''.join(cells).replace('nan %', '-').replace('>nan<', '>-<')}</div>"


def _links(summary: Summary) -> str:
    blocks, rows = summary.blocks, []
    links, counts = np.unique(blocks.link, return_counts=True)
    for link in links[np.argsort(-counts, kind="stable")][:_LINKS].tolist():
        mine = blocks.link == link
        scores = summary.scores(link)
        snr = summary.snr_db[summary.snr_link == link]
        delivered = (summary.bits() * blocks.delivered)[mine].sum() / max(summary.duration_s, 1e-3)
        rows.append([
            link, f"{mine.sum():,}", f"{delivered / 1e3:.1f}", f"{snr.mean():.1f}" if len(snr) else "-",
            np.bincount(blocks.mcs[mine]).argmax(), f"{100 * scores['observed']:.2f}",
            f"{100 * scores['predicted']:.2f}", f"{scores['log_loss']:.3f}",
            f"{100 * blocks.probe[mine].mean():.2f}", f"{100 * (blocks.version[mine] < 0).mean():.2f}",
            max(blocks.version[mine].max(), 0),
        ])  # fmt: skip
    head = ["link", "blocks", "goodput [kbit/s]", "mean SNR [dB]", "most sent MCS", "failed [%]",
            "predicted [%]", "log loss", "probes [%]", "without model [%]", "last version"]  # fmt: skip
    more = f"<p class='note'>and {len(links) - _LINKS} more links</p>" if len(links) > _LINKS else ""
    return _table(head, rows) + more


def _believed(summary: Summary) -> str:
    rows = []
    for link, held in sorted(summary.beliefs.items()):
        n = max(held.experts.total(), 1)
        shares = ", ".join(
            f"{EXPERT_NAMES[name]} {100 * times / n:.0f} %" for name, times in held.experts.most_common()
        )
        off = f"{held.offset_db[-1]:+.1f} \u00b1 {held.width_db[-1]:.1f}"
        off = off if np.isfinite(held.offset_db[-1]) else "-"  # no report ever came
        said = "; ".join(held.says) or "-"
        rows.append([link, shares or "-", off, f"{100 * held.loss[-1]:.1f}", said])  # a dash for NaN
    head = ["link", "whose predictions decided", "SINR less the report [dB]", "lost at every MCS [%]"]
    return _table([*head, "out of the ordinary, at the end"], rows)


def _losses(summary: Summary) -> str:
    rows = [[block, cause, f"{n:,}"] for (block, cause), n in sorted(summary.dropped.items())]
    rows += [["this log", cause, f"{n:,}"] for cause, n in sorted(summary.lost.items())]
    rows += [[f"file of {name}", cause, f"{n:,}"] for (name, cause), n in sorted(summary.damage.items())]
    if not rows:
        return _note("Nothing: no block dropped a message, and every message that came is in the log.")
    return _table(["where", "cause", "count"], rows)


def _sessions(summary: Summary) -> str:
    rows = []
    for session in summary.sessions:
        about = session.about
        table = about.get("table")
        named = table.get("name") if isinstance(table, dict) else None
        notes = about.get("notes")
        rows.append([
            session.name, _date(about.get("started_s")),
            "cleanly" if about.get("ended_s") else "cut off, or still going on",
            about.get("source", "-"), named or (summary.table.name if summary.table else "-"),
            (about.get("model") or "-")[:12], about.get("lighttune", "-"),
            ", ".join(f"{k}: {v}" for k, v in notes.items()) if isinstance(notes, dict) and notes else "-",
        ])  # fmt: skip
    head = ["session", "started", "ended", "source", "MCS table", "model", "gr-lighttune", "notes"]
    return _table(head, rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    def cells(tag: str, values: Sequence[object]) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(str(v))}</{tag}>" for v in values) + "</tr>"

    body = "".join(cells("td", row) for row in rows).replace("<td>nan</td>", "<td>-</td>")
    return f"<table>{cells('th', head)}{body}</table>"


def _image(figure: Figure, alt: str) -> str:
    data = base64.b64encode(figures.png(figure)).decode()
    return f"<img alt='{escape(alt)}' src='data:image/png;base64,{data}'>"


def _note(text: str) -> str:
    return f"<p class='note'>{escape(text.strip())}</p>"


def _date(time_s: object) -> str:
    if not isinstance(time_s, int | float):
        return "-"
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(time_s))


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
