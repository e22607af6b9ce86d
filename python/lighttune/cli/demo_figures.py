# SPDX-License-Identifier: GPL-3.0-or-later
"""What the demo's records say, in figures.

Residual BLER counts everything that was not ACKed, time-outs included. Goodput is delivered payload over the
airtime of all bursts (preamble and header included). The true BLER of a real link is not known, so the
prediction error is measured against what was observed: the mean over windows of `WINDOW` packets of
``|mean predicted BLER - share of packets not ACKed|``, with the log loss beside it. "Before tuning" is what
the offline predictor says of the very same packets and MCS.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.guards import log_loss
from ..core.predictor import Predictor
from ..modem.framing import burst_samples
from .demo_link import PAYLOAD_BYTES, SAMP_RATE, Record, Scenario

WINDOW = 50


def figures(scenario: Scenario, records: dict[str, Record], predictor: Predictor) -> dict[str, Any]:
    """All figures of both runs, overall and for each phase, as plain numbers."""
    spans = {"all": (0, scenario.packets), **{name: (a, b) for name, a, b in scenario.phases}}
    untuned = {name: untuned_bler(record, predictor) for name, record in records.items()}
    out: dict[str, Any] = {
        name: {phase: _of_span(record, untuned[name], slice(a, b)) for phase, (a, b) in spans.items()}
        for name, record in records.items()
    }
    for name, record in records.items():
        latency_us = 1e6 * record.latency_s[np.isfinite(record.latency_s)]
        out[name]["decision_latency_us"] = {
            "median": float(np.median(latency_us)),
            "p99": float(np.percentile(latency_us, 99)),
        }
    state = records["lighttune"].status["tuner"]
    out["lighttune"]["tuned_share"] = state["updates"] / max(1, state["samples"])
    out["lighttune"]["tuner"] = state
    return out


def untuned_bler(record: Record, predictor: Predictor) -> np.ndarray:
    """The offline predictor's BLER for each packet as it was sent, ``(packets,)``; nan without features."""
    bler = np.full(record.packets, np.nan)
    offline = predictor.weights()
    for seq, features in record.features.items():
        bler[seq] = predictor.bler(offline, features)[int(record.mcs[seq])]
    return bler


def tuned_slots(record: Record) -> np.ndarray:
    """The packets that were decided with newer weights than the one before, bool ``(packets,)``."""
    return np.diff(record.version, prepend=0) > 0


def windowed(values: np.ndarray, window: int = WINDOW) -> np.ndarray:
    """Means over windows, the last one shorter, ``(ceil(n / window),)``; nan where a window has nothing."""
    parts = np.split(values, range(window, len(values), window))
    return np.array([np.nanmean(p) if np.isfinite(p).any() else np.nan for p in parts])


def _of_span(record: Record, untuned: np.ndarray, span: slice) -> dict[str, float]:
    mcs, ack = record.mcs[span], np.nan_to_num(record.ack[span])
    airtime_s = sum(burst_samples(int(m), PAYLOAD_BYTES) for m in mcs[np.isfinite(mcs)]) / SAMP_RATE
    nack, bler, before = 1 - ack, record.bler[span], untuned[span]
    out = {
        "goodput_kbps": 8e-3 * PAYLOAD_BYTES * float(ack.sum()) / airtime_s,
        "residual_bler": float(nack.mean()),
        "prediction_error": _prediction_error(bler, nack),
        "log_loss": _mean_loss(bler, nack),
    }
    if np.isfinite(before).any():
        out["prediction_error_before_tuning"] = _prediction_error(before, nack)
        out["log_loss_before_tuning"] = _mean_loss(before, nack)
    return out


def _prediction_error(bler: np.ndarray, nack: np.ndarray) -> float:
    nack = np.where(np.isfinite(bler), nack, np.nan)
    return float(np.nanmean(np.abs(windowed(bler) - windowed(nack))))


def _mean_loss(bler: np.ndarray, nack: np.ndarray) -> float:
    known = np.isfinite(bler)
    return float(log_loss(bler[known], nack[known]).mean())


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
        out.add_row(
            f"goodput, {label}",
            f"{a:.0f} kbit/s",
            f"{b:.0f} kbit/s",
            f"{100 * (b / a - 1) if a else 0:+.1f} %",
        )
    out.add_section()
    for key, label in spans:
        out.add_row(
            f"residual BLER, {label}", *(f"{100 * r[key]['residual_bler']:.1f} %" for r in (olla, ours)), ""
        )
    out.add_section()
    for key, label in spans:
        before, after = ours[key]["prediction_error_before_tuning"], ours[key]["prediction_error"]
        out.add_row(
            f"BLER prediction error, {label}",
            f"{olla[key]['prediction_error']:.3f}",
            f"{after:.3f} (un-tuned {before:.3f})",
            f"{100 * (after / before - 1) if before else 0:+.0f} %",
        )
    out.add_section()
    out.add_row("packets that were tuned on", "", f"{100 * ours['tuned_share']:.1f} %", "")
    for key in ("median", "p99"):
        cells = (f"{r['decision_latency_us'][key]:.0f} us" for r in (olla, ours))
        out.add_row(f"decision latency, PDU in to PDU out, {key}", *cells, "")
    return out
