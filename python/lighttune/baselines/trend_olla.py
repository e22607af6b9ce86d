# SPDX-License-Identifier: GPL-3.0-or-later
"""OLLA on a SINR that is extrapolated to the coming block: what prediction earns without learning."""

from __future__ import annotations

import math
from collections import deque

from ..core.mcs import McsTable
from ..core.messages import MAX_SEQ, Csi, Decision
from .olla import Olla

_PERIOD = MAX_SEQ + 1
_FORGOTTEN_SLOTS = 64  # after a longer silence, or a jump back, the trend begins anew
_REMEMBERED = (
    32  # past predictions that wait to be scored: more than the age of any report worth extrapolating
)
_SCORE_GAIN = 1 / 64  # memory of the score, in reports: a few fades long
_SCORE_FLOOR_DB2 = 0.01  # a trend that moves nothing earns no weight


class TrendOlla(Olla):
    r"""`Olla`, with the reported SINR replaced by its linear extrapolation to the slot of the coming block.

    Holt's double exponential smoothing of the reports, for reports of any spacing: with ``r`` a report that
    was measured ``d`` slots after the one before it,

        e = clip(r - (level + slope d), -step_db, step_db)
        level <- r - (1 - level_gain) e
        slope <- slope + slope_gain e / d

    (the clip makes it robust: the level follows a jump at once, the slope learns no more from it than from a
    step). A block whose slot comes ``a`` slots after the last measurement (``Csi.seq`` dates it) is chosen at

        level + gain * clip(slope a, -lead_db, lead_db) + OLLA's offset.

    ``gain`` is what extrapolation is worth, within [0, 1]: the slope of the regression of what came on what
    the trend had foretold for the same age, over about 64 reports. So it falls to 0 where reports are too
    old, too coarse or too rare for the fading, and this adapter is then OLLA on smoothed reports. On reports
    that do not change it is OLLA, exactly.

    Nothing here reads ACKs but OLLA's offset, and nothing was trained: a learned predictor that does no
    better has learned nothing that a straight line does not know.

    C. C. Holt, "Forecasting seasonals and trends by exponentially weighted moving averages", ONR Memorandum
    52, 1957 (reprinted in Int. J. Forecasting 20, 2004). That OLLA should act on an extrapolated SINR is no
    one publication's claim; the clips, the scored gain and the defaults are ours. The defaults were chosen
    among a dozen by the RMS error of the predicted SINR on one draw (seed 90001) of two worlds: nominal,
    1.27 dB to 1.17 dB, and Doppler, 2.40 dB with and without.

    Args:
        table: the link's MCS.
        level_gain: share of a report that enters the level, within (0, 1].
        slope_gain: share of the surprise that enters the slope, within [0, 1].
        gain: weight of the extrapolation, 0 or more; None scores it as above.
        lead_db: largest change that is extrapolated in dB, 0 or more.
        step_db: largest surprise that smoothing and slope take from one report in dB, above 0.
        target, delta_up_db, offset_range_db, offset_db, pending_limit: as in `Olla`.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        table: McsTable,
        *,
        level_gain: float = 0.7,
        slope_gain: float = 0.5,
        gain: float | None = None,
        lead_db: float = 6.0,
        step_db: float = 3.0,
        target: float = 0.1,
        delta_up_db: float = 0.5,
        offset_range_db: tuple[float, float] = (-10.0, 10.0),
        offset_db: float = 0.0,
        pending_limit: int = 4096,
    ) -> None:
        super().__init__(
            table,
            target=target,
            delta_up_db=delta_up_db,
            offset_range_db=offset_range_db,
            offset_db=offset_db,
            pending_limit=pending_limit,
        )
        if not 0 < level_gain <= 1:
            raise ValueError(f"level_gain = {level_gain!r}: give above 0, up to 1 (no smoothing)")
        if not 0 <= slope_gain <= 1:
            raise ValueError(f"slope_gain = {slope_gain!r}: give 0 (no trend) to 1")
        if gain is not None and not 0 <= gain < math.inf:
            raise ValueError(f"gain = {gain!r}: give 0 or more, or None to score the trend")
        if not 0 <= lead_db < math.inf:
            raise ValueError(f"lead_db = {lead_db!r}: give 0 dB or more")
        if not 0 < step_db < math.inf:
            raise ValueError(f"step_db = {step_db!r}: give a step above 0 dB")
        self._level_gain, self._slope_gain, self._fixed_gain = level_gain, slope_gain, gain
        self._lead_db, self._step_db = lead_db, step_db
        self._level_db = 0.0
        self._slope_db = 0.0  # per slot
        self._measured_at: int | None = None
        self._slot = 0  # of the block that is being chosen
        self._age = 1  # of the report when the last block was chosen: the horizon to score
        self._past: deque[tuple[int, float, float]] = deque(maxlen=_REMEMBERED)  # measured at, level, slope
        self._hits, self._leads = (
            0.0,
            0.0,
        )  # running means of foretold times real change, and of foretold squared

    @property
    def gain(self) -> float:
        """Weight of the extrapolation, as fixed or as scored so far."""
        if self._fixed_gain is not None:
            return self._fixed_gain
        return min(max(self._hits / (self._leads + _SCORE_FLOOR_DB2), 0.0), 1.0)

    def predicted_db(self, age: int) -> float | None:
        """SINR expected ``age`` slots after the last measurement, without OLLA's offset; None before one."""
        if self._measured_at is None:
            return None
        return self._level_db + self.gain * _clip(self._slope_db * age, self._lead_db)

    def report(self, csi: Csi) -> None:
        """Take the receiver's latest report into level, slope and score."""
        super().report(csi)
        measured_at = (self._next_seq - 1) % _PERIOD if csi.seq is None else csi.seq
        gap = None if self._measured_at is None else _slots_between(self._measured_at, measured_at)
        if gap is None or not 0 <= gap <= _FORGOTTEN_SLOTS:
            self._level_db, self._slope_db = csi.snr_db, 0.0
            self._past.clear()
        else:
            self._score(csi.snr_db, measured_at)
            surprise = _clip(csi.snr_db - (self._level_db + self._slope_db * gap), self._step_db)
            self._level_db = csi.snr_db - (1 - self._level_gain) * surprise
            if gap > 0:  # a repeated report says nothing of the slope
                self._slope_db += self._slope_gain * surprise / gap
        self._measured_at = measured_at
        self._past.append((measured_at, self._level_db, self._slope_db))

    def select(self, bits: int | None = None, seq: int | None = None) -> Decision:
        """Choose the MCS of the next block; see `Baseline.select`."""
        self._slot = self._next_seq if seq is None else seq
        return super().select(bits, seq)

    def _choose(self, bits: int | None) -> tuple[int, float]:
        if self._measured_at is None:
            return super()._choose(bits)
        self._age = max(_slots_between(self._measured_at, self._slot), 1)
        predicted = self.predicted_db(self._age)
        return super()._choose(bits) if predicted is None else self._choose_at(predicted, bits)

    def _score(self, snr_db: float, measured_at: int) -> None:
        """Compare this report with what was foretold for it from the youngest report that was old enough."""
        for then, level_db, slope_db in reversed(self._past):
            horizon = _slots_between(then, measured_at)
            if horizon >= self._age:
                foretold = _clip(slope_db * horizon, self._lead_db)
                came = _clip(snr_db - level_db, 2 * self._lead_db)
                self._hits += _SCORE_GAIN * (foretold * came - self._hits)
                self._leads += _SCORE_GAIN * (foretold**2 - self._leads)
                return


def _slots_between(earlier: int, later: int) -> int:
    """Slots from one sequence number to another, negative where it lies before; numbers wrap."""
    half = _PERIOD // 2
    return (later - earlier + half) % _PERIOD - half


def _clip(value: float, limit: float) -> float:
    return min(max(value, -limit), limit)
