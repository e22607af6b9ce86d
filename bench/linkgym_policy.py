# SPDX-License-Identifier: GPL-3.0-or-later
"""LightTune as a policy of linkgym: the outside benchmark that this project did not write.

It needs neither linkgym nor GNU Radio: a policy is any object with ``reset()`` and ``act(obs, info)``.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "python"))

from lighttune.baselines import Olla
from lighttune.core.adapter import LightTune, Selector
from lighttune.core.checkpoint import load_model
from lighttune.core.messages import SNR_RANGE_DB, Csi
from lighttune.core.tuner import Tuner

MODEL = "nr-pdsch-1-sionna"
N_ACTIONS = 26  # NR MCS 3 to 28: action a is row a of the model's table


class LightTunePolicy:
    """Chooses the MCS of every slot from what linkgym's reports say, and tunes on their ACK/NACKs.

    It reads ``info["report"]`` and ``info["num_allocated_re"]`` and nothing else. A report is used once.
    Nothing outlives an episode: `reset` starts with the weights as trained offline.

    Args:
        model: name of a shipped model, or path of a model file, with the MCS of
            ``models/nr_pdsch_1_sionna_curves.json``.
        tuned: False leaves the predictor as trained offline.
        report_bias_db: is added to every reported SINR before the adapter sees it.

    Raises:
        FileNotFoundError, ValueError: as `load_model`; the model has another number of MCS; or the bias is
            not finite.

    Attributes:
        bler: predicted BLER of the last block; NaN before the first.
    """

    def __init__(self, model: str | Path = MODEL, *, tuned: bool = True, report_bias_db: float = 0.0) -> None:
        if not math.isfinite(report_bias_db):
            raise ValueError(f"report_bias_db = {report_bias_db!r}: give a finite number of dB")
        self.predictor = load_model(model)
        if len(self.predictor.table) != N_ACTIONS:
            raise ValueError(f"{model} knows {len(self.predictor.table)} MCS: linkgym has {N_ACTIONS}")
        self.tuned = tuned
        self.report_bias_db = report_bias_db
        self.reset()

    def reset(self) -> None:
        """Begin an episode: a fresh selector, tuner and fallback."""
        selector = Selector(self.predictor, Olla(self.predictor.table))
        self.adapter = LightTune(selector, Tuner(self.predictor, max_links=1) if self.tuned else None)
        self.bler = math.nan
        self._slot = 0
        self._reported = -1  # the slot of the last report that was used

    def act(self, obs: np.ndarray, info: Mapping[str, Any]) -> int:
        """The action (MCS less 3) for the next slot.

        Args:
            obs: not read; the reports in ``info`` say the same in plain units.
            info: as returned by the environment's ``reset`` or ``step``.
        """
        report = info["report"]
        if report is not None and report["slot"] > self._reported:
            self._take(report)
        decision = self.adapter.select(bits=info["num_allocated_re"], seq=self._slot)
        self._slot += 1
        self.bler = decision.bler
        return decision.mcs

    @property
    def updates(self) -> int:
        """Slots of this episode that were tuned on."""
        tuner = self.adapter.tuner
        return 0 if tuner is None else int(tuner.state(self.adapter.link).get("updates", 0))

    def _take(self, report: Mapping[str, Any]) -> None:
        self._reported = report["slot"]
        snr_db = report["sinr_wideband_db"] + self.report_bias_db
        if not math.isnan(snr_db):
            low, high = SNR_RANGE_DB  # a slot in a deep fade may report minus infinity
            self.adapter.report(Csi(min(max(snr_db, low), high), seq=self._reported))
        self.adapter.feedback(self._reported, report["ack"])
