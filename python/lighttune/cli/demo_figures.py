# SPDX-License-Identifier: GPL-3.0-or-later
"""What the demo's records say, in figures.

Residual BLER counts everything that was not ACKed, time-outs included. Goodput is delivered payload over the
airtime of all bursts (preamble and header included). The true BLER of a real link is not known, so the
prediction error is measured against what was observed: the mean over windows of `WINDOW` packets of
``|mean predicted BLER - share of packets not ACKed|``, with the log loss beside it.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from ..core.link_text import EXPERT_NAMES
from ..modem.framing import burst_samples
from .demo_link import PAYLOAD_BYTES, SAMP_RATE, Record, Scenario

WINDOW = 50
AFTER = 40
"""Packets after a shift over which the price of the surprise is counted."""

_CLIP = 1e-6  # of a predicted BLER, so that its log loss is finite


def figures(scenario: Scenario, records: dict[str, Record]) -> dict[str, Any]:
    """All figures of both runs, overall and for each phase, as plain numbers."""
    spans = {"all": (0, scenario.packets), **{name: (a, b) for name, a, b in scenario.phases}}
    out: dict[str, Any] = {}
    for name, record in records.items():
        latency_us = 1e6 * record.latency_s[np.isfinite(record.latency_s)]
        lost = 1 - np.nan_to_num(record.ack)
        out[name] = {phase: _of_span(record, slice(a, b)) for phase, (a, b) in spans.items()}
        out[name]["after_shift"] = {
            phase: float(lost[start : start + AFTER].mean()) for phase, start, _ in scenario.phases[1:]
        }
        out[name]["decision_latency_us"] = {
            "median": float(np.median(latency_us)),
            "p99": float(np.percentile(latency_us, 99)),
        }
    state = records["lighttune"].status["tuner"]
    out["lighttune"]["tuned_share"] = state["updates"] / max(1, state["samples"])
    out["lighttune"]["tuner"] = state
    beliefs = records["lighttune"].beliefs
    for name, a, b in scenario.phases:
        out["lighttune"][name] |= _believed([held for packet, held in beliefs if a <= packet < b])
    out["lighttune"]["beliefs"] = [held | {"packet": packet} for packet, held in beliefs]
    return out


def _believed(beliefs: list[dict[str, Any]]) -> dict[str, str]:
    """Of a phase's statuses, in words: what the reports were held to be off by, in the mean, and who decided
    most often."""
    if not beliefs:
        return {}
    high_db = [-held["offset_db"] for held in beliefs if "offset_db" in held]
    (expert, times), *_ = Counter(held["expert"] for held in beliefs).most_common(1)
    return {
        "reports_high_db": f"{np.mean(high_db):+.1f} dB" if high_db else "no report came",
        "decided_by": f"{EXPERT_NAMES[expert]}, {100 * times / len(beliefs):.0f} %",
    }


def airtime_s(record: Record) -> np.ndarray:
    """Airtime of each packet's burst, ``(packets,)``; 0 where none was sent."""
    bursts = [burst_samples(int(m), PAYLOAD_BYTES) if np.isfinite(m) else 0 for m in record.mcs]
    return np.array(bursts) / SAMP_RATE


def delivered_kbit(record: Record) -> np.ndarray:
    """Payload that each packet brought, ``(packets,)``."""
    return 8e-3 * PAYLOAD_BYTES * np.nan_to_num(record.ack)


def windowed(values: np.ndarray, window: int = WINDOW) -> np.ndarray:
    """Means over windows, the last one shorter, ``(ceil(n / window),)``; nan where a window has nothing."""
    parts = np.split(values, range(window, len(values), window))
    return np.array([np.nanmean(p) if np.isfinite(p).any() else np.nan for p in parts])


def _of_span(record: Record, span: slice) -> dict[str, float]:
    nack, bler = 1 - np.nan_to_num(record.ack[span]), record.bler[span]
    known = np.isfinite(bler)
    sure = np.clip(bler[known], _CLIP, 1 - _CLIP)
    return {
        "goodput_kbps": float(delivered_kbit(record)[span].sum() / airtime_s(record)[span].sum()),
        "residual_bler": float(nack.mean()),
        "prediction_error": _prediction_error(bler, nack),
        "log_loss": float(-np.log(np.where(nack[known] > 0, sure, 1 - sure)).mean()),
    }


def _prediction_error(bler: np.ndarray, nack: np.ndarray) -> float:
    nack = np.where(np.isfinite(bler), nack, np.nan)
    return float(np.nanmean(np.abs(windowed(bler) - windowed(nack))))


def per_packet(records: dict[str, Record]) -> dict[str, dict[str, list]]:
    """The records as plain lists, for the JSON document."""
    names = ("mcs", "bler", "ack", "snr_db", "version", "latency_s")
    return {
        run: {name: [None if np.isnan(v) else v for v in getattr(record, name).tolist()] for name in names}
        for run, record in records.items()
    }


def table(scenario: Scenario, result: dict[str, Any]) -> Any:
    """A rich table of the figures."""
    from rich.table import Table

    out = Table(
        title=f"{scenario.packets} packets of {PAYLOAD_BYTES} bytes, the same for both", title_justify="left"
    )
    for justify in ("left", "left", "right", "right", "right"):
        out.add_column("", justify=justify)
    out.columns[2].header, out.columns[3].header = "OLLA", "LightTune"
    olla, ours = result["olla"], result["lighttune"]
    spans = [("all", "whole run"), *((name, name) for name, _, _ in scenario.phases)]
    for title, key, text in (
        ("goodput", "goodput_kbps", lambda x: f"{x:.0f} kbit/s"),
        ("residual BLER", "residual_bler", _percent),
        ("BLER prediction error", "prediction_error", lambda x: f"{x:.3f}"),
    ):
        _add(out, title, [(label, olla[span][key], ours[span][key]) for span, label in spans], text)
        if key == "residual_bler":
            after = [(name, share, ours["after_shift"][name]) for name, share in olla["after_shift"].items()]
            _add(out, f"residual BLER, {AFTER} packets after the shift to", after, _percent)
    for title, key in (("reports too high by, as held", "reports_high_db"), ("decided by", "decided_by")):
        for name, _, _ in scenario.phases:
            out.add_row(title, name, "", ours[name].get(key, "not told"), "")
            title = ""
        out.add_section()
    out.add_row("packets that were tuned on", "", "", _percent(ours["tuned_share"]), "")
    title = "decision latency"
    for key in ("median", "p99"):
        out.add_row(title, key, *(f"{r['decision_latency_us'][key]:.0f} us" for r in (olla, ours)), "")
        title = ""
    return out


def _add(out: Any, title: str, rows: list[tuple[str, float, float]], text: Any) -> None:
    for label, a, b in rows:
        out.add_row(title, label, text(a), text(b), f"{100 * (b / a - 1):+.0f} %" if a else "")
        title = ""
    out.add_section()


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
