# SPDX-License-Identifier: GPL-3.0-or-later
"""What the demo's records say, in figures.

Residual BLER counts everything that was not ACKed, time-outs included. Goodput is delivered payload over the
airtime of all bursts (preamble and header included). The true BLER of a real link is not known, so the
prediction error is measured against what was observed: the mean over windows of `WINDOW` packets of
``|mean predicted BLER - share of packets not ACKed|``, with the log loss beside it.
"""

from __future__ import annotations

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
    out["lighttune"]["beliefs"] = [held | {"packet": packet} for packet, held in records["lighttune"].beliefs]
    return out


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
    out.add_column("")
    out.add_column("OLLA", justify="right")
    out.add_column("LightTune", justify="right")
    out.add_column("", justify="right")
    olla, ours = result["olla"], result["lighttune"]
    spans = [("all", "whole run"), *((name, name) for name, _, _ in scenario.phases)]
    for key, label in spans:
        a, b = olla[key]["goodput_kbps"], ours[key]["goodput_kbps"]
        out.add_row(f"goodput, {label}", f"{a:.0f} kbit/s", f"{b:.0f} kbit/s", _change(a, b))
    out.add_section()
    for key, label in spans:
        a, b = olla[key]["residual_bler"], ours[key]["residual_bler"]
        out.add_row(f"residual BLER, {label}", f"{100 * a:.1f} %", f"{100 * b:.1f} %", _change(a, b))
    for name, a in olla["after_shift"].items():
        b = ours["after_shift"][name]
        label = f"residual BLER, {AFTER} packets after the shift to {name}"
        out.add_row(label, f"{100 * a:.1f} %", f"{100 * b:.1f} %", _change(a, b))
    out.add_section()
    for key, label in spans:
        a, b = olla[key]["prediction_error"], ours[key]["prediction_error"]
        out.add_row(f"BLER prediction error, {label}", f"{a:.3f}", f"{b:.3f}", _change(a, b))
    out.add_section()
    for (name, _, end), held in zip(scenario.phases, _at_ends(scenario, ours["beliefs"]), strict=True):
        out.add_row(f"believed, packet {end}: {name}", "", _told(held), "")
    out.add_row("packets that were tuned on", "", f"{100 * ours['tuned_share']:.1f} %", "")
    for key in ("median", "p99"):
        cells = (f"{r['decision_latency_us'][key]:.0f} us" for r in (olla, ours))
        out.add_row(f"decision latency, PDU in to PDU out, {key}", *cells, "")
    return out


def _change(before: float, after: float) -> str:
    return f"{100 * (after / before - 1):+.0f} %" if before else ""


def _at_ends(scenario: Scenario, beliefs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What was last believed in each phase; empty where no status came in it."""
    return [
        next((held for held in reversed(beliefs) if start <= held["packet"] < end), {})
        for _, start, end in scenario.phases
    ]


def _told(held: dict[str, Any]) -> str:
    if not held:
        return ""
    off = f"{-held['offset_db']:+.1f} dB" if "offset_db" in held else "unknown"
    return f"reports off by {off}, decided by {EXPERT_NAMES[held['expert']]}"
