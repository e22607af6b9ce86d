# SPDX-License-Identifier: GPL-3.0-or-later
"""The baselines for all links of a world in lockstep (`batch.run_batch`), each row with settings of its own.

Their arithmetic is that of `lighttune.baselines`, which has the equations, sources and ranges; tests hold
each class to the choices of its one-link twin. A setting that is called per row is a number, or an array that
broadcasts to ``(n,)``: with a link in several rows, one run tries many settings. Blocks are of the table's
reference length.
"""

from __future__ import annotations

import math

import numpy as np

from ..baselines import genie, salad, thompson, trend_olla
from ..core.mcs import McsTable, sigmoid
from ..core.selection import at, choose

PerRow = float | np.ndarray

_UNKNOWN = 0.5  # predicted BLER before the first report, as in `baselines.table`


def _per_row(value: PerRow | None, n: int, none: float = math.nan) -> np.ndarray:
    """A setting of each row, ``(n,)``; ``none`` stands for None."""
    return np.broadcast_to(np.asarray(none if value is None else value, float), (n,))


class BatchOlla:
    """`baselines.Olla` for all links.

    Args:
        table: the links' MCS.
        n: number of rows.
        target, delta_up_db: per row, as in `Olla`. ``delta_up_db = 0`` is `TableOnly`.
        offset_range_db: as in `Olla`.

    Attributes:
        offset_db: what is added to the reported SINR, in dB, ``(n,)``.
    """

    def __init__(
        self,
        table: McsTable,
        n: int,
        target: PerRow = 0.1,
        delta_up_db: PerRow = 0.5,
        offset_range_db: tuple[float, float] = (-10.0, 10.0),
    ) -> None:
        self.table = table
        self.target = _per_row(target, n)
        self.up_db = _per_row(delta_up_db, n)
        self.down_db = self.up_db * self.target / (1.0 - self.target)
        self.offset_db = np.zeros(n)
        self.snr_db = np.full(n, np.nan)
        self._range_db = offset_range_db
        # As `baselines.table._needed_db`, a row for each row's target.
        needed = np.stack([table.snr_at_bler_db(float(t)) for t in self.target])[:, table.by_efficiency]
        self._needed_db = np.minimum.accumulate(needed[:, ::-1], axis=1)[:, ::-1]
        self._informed: dict[int, np.ndarray] = {}

    def report(self, rows: np.ndarray, snr_db: np.ndarray, measured_at: np.ndarray) -> None:
        """Take new reports; see `batch.BatchAdapter`."""
        self.snr_db[rows] = snr_db

    def select(self, slot: int) -> tuple[np.ndarray, np.ndarray]:
        """Choose; the most robust MCS where nothing was reported."""
        known = np.isfinite(self.snr_db)
        self._informed[slot] = known
        mcs, bler = self.choose_at(self._expected_db(slot))
        return np.where(known, mcs, self.table.most_robust), np.where(known, bler, _UNKNOWN)

    def _expected_db(self, slot: int) -> np.ndarray:
        """SINR that is looked up for ``slot``, without the offset, in dB, ``(n,)``."""
        return self.snr_db

    def choose_at(self, snr_db: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """MCS and AWGN BLER at a reported SINR, ``(n,)``."""
        snr = snr_db + self.offset_db
        affordable = (self._needed_db <= snr[:, None]).sum(axis=1)
        ladder = self.table.by_efficiency
        mcs = np.where(affordable > 0, ladder[affordable - 1], self.table.most_robust)
        logit = (self.table.threshold[mcs] - snr) / self.table.slope[mcs]
        return mcs, sigmoid(logit)

    def feedback(self, slot: int, ack: np.ndarray) -> None:
        """Move the offsets of the links that had a report when they chose."""
        self.feedback_own(slot, ack, np.ones(len(ack), bool))

    def feedback_own(self, slot: int, ack: np.ndarray, rows: np.ndarray) -> None:
        """The same for the links in the mask ``rows`` alone: the others sent somebody else's choice."""
        self.learn(ack, self._informed.pop(slot) & rows)

    def learn(self, ack: np.ndarray, rows: np.ndarray) -> None:
        """Take outcomes, bool ``(n,)``, of the links in the mask ``rows``."""
        moved = self.offset_db + np.where(ack, self.down_db, -self.up_db)
        self.offset_db = np.where(rows, np.clip(moved, *self._range_db), self.offset_db)

    def observe(self, snr_db: np.ndarray, mcs: np.ndarray, ack: np.ndarray, rows: np.ndarray) -> None:
        """As `Olla.observe` for the links in the mask ``rows``."""
        own, _ = self.choose_at(snr_db)
        efficiency = self.table.spectral_efficiency
        telling = np.where(ack, efficiency[mcs] >= efficiency[own], efficiency[mcs] <= efficiency[own])
        self.learn(ack, rows & telling)


class BatchTrendOlla(BatchOlla):
    """`baselines.TrendOlla` for all links; its scored gain, not a fixed one.

    Args:
        table: the links' MCS.
        n: number of rows.
        target, delta_up_db: per row, as in `Olla`.
        level_gain, slope_gain, lead_db, step_db: of all rows, as in `TrendOlla`.
        offset_range_db: as in `Olla`.
    """

    def __init__(
        self,
        table: McsTable,
        n: int,
        target: PerRow = 0.1,
        delta_up_db: PerRow = 0.5,
        level_gain: float = 0.7,
        slope_gain: float = 0.5,
        lead_db: float = 6.0,
        step_db: float = 3.0,
        offset_range_db: tuple[float, float] = (-10.0, 10.0),
    ) -> None:
        super().__init__(table, n, target, delta_up_db, offset_range_db)
        self._level_gain, self._slope_gain = level_gain, slope_gain
        self._lead_db, self._step_db = lead_db, step_db
        self._level_db = np.full(n, np.nan)
        self._slope_db = np.zeros(n)
        self._measured_at = np.zeros(n, np.int64)
        self._age = np.ones(n, np.int64)
        self._hits, self._leads = np.zeros(n), np.zeros(n)
        # The past of each row, a ring: when it was measured (never: in the far future), level and slope.
        self._n_past = np.zeros(n, np.int64)
        self._past_at = np.full((trend_olla._REMEMBERED, n), _NEVER)
        self._past_db = np.zeros((2, trend_olla._REMEMBERED, n))

    def report(self, rows: np.ndarray, snr_db: np.ndarray, measured_at: np.ndarray) -> None:
        """Take new reports into level, slope and score; see `TrendOlla.report`."""
        gap = measured_at - self._measured_at[rows]
        anew = ~np.isfinite(self._level_db[rows]) | (gap < 0) | (gap > trend_olla._FORGOTTEN_SLOTS)
        self._past_at[:, rows[anew]] = _NEVER
        self._score(rows, snr_db, measured_at)
        level, slope = self._level_db[rows], self._slope_db[rows]
        surprise = np.clip(snr_db - (level + slope * gap), -self._step_db, self._step_db)
        turn = np.where(gap > 0, self._slope_gain * surprise / np.maximum(gap, 1), 0.0)
        self._level_db[rows] = np.where(anew, snr_db, snr_db - (1 - self._level_gain) * surprise)
        self._slope_db[rows] = np.where(anew, 0.0, slope + turn)
        self._measured_at[rows] = measured_at
        place = self._n_past[rows] % trend_olla._REMEMBERED
        self._n_past[rows] += 1
        self._past_at[place, rows] = measured_at
        self._past_db[:, place, rows] = self._level_db[rows], self._slope_db[rows]
        super().report(rows, snr_db, measured_at)

    def _score(self, rows: np.ndarray, snr_db: np.ndarray, measured_at: np.ndarray) -> None:
        """Compare reports with what was foretold for them; see `TrendOlla._score`."""
        past_at = self._past_at[:, rows]
        old_enough = measured_at - past_at >= self._age[rows]
        # A row's past lies in the order of time: the youngest that is old enough was measured last.
        youngest = np.argmax(np.where(old_enough, past_at, -_NEVER), axis=0)
        told = np.flatnonzero(old_enough.any(axis=0))
        rows, youngest = rows[told], youngest[told]
        level, slope = self._past_db[:, youngest, rows]
        horizon = measured_at[told] - self._past_at[youngest, rows]
        foretold = np.clip(slope * horizon, -self._lead_db, self._lead_db)
        came = np.clip(snr_db[told] - level, -2 * self._lead_db, 2 * self._lead_db)
        self._hits[rows] += trend_olla._SCORE_GAIN * (foretold * came - self._hits[rows])
        self._leads[rows] += trend_olla._SCORE_GAIN * (foretold**2 - self._leads[rows])

    def _expected_db(self, slot: int) -> np.ndarray:
        self._age = np.where(np.isfinite(self._level_db), np.maximum(slot - self._measured_at, 1), 1)
        gain = np.clip(self._hits / (self._leads + trend_olla._SCORE_FLOOR_DB2), 0.0, 1.0)
        return self._level_db + gain * np.clip(self._slope_db * self._age, -self._lead_db, self._lead_db)


_NEVER = np.int64(2**40)  # later than any slot


class BatchSalad:
    """`baselines.Salad` for all links, each begun by its first report.

    Args:
        table: the links' MCS.
        n: number of rows.
        rng: draws which blocks probe, for all rows.
        target, learning_rate, integral_gain, probe_share: per row, as in `Salad`.
        distil_every: per row, as in `Salad`; None, or 0 in an array, holds the learning rate.
        window, probe_score, probe_target: of all rows, as in `Salad`.

    Attributes:
        estimate_db: the inferred SINR, NaN before there is one, ``(n,)``.
        learning_rate: in dB², ``(n,)``.
        score: the hypothesis test's statistic, ``(n,)``.
        probe: whether the block that was chosen last is a probe, ``(n,)``.
    """

    def __init__(
        self,
        table: McsTable,
        n: int,
        rng: np.random.Generator,
        target: PerRow = 0.1,
        learning_rate: PerRow = 1.0,
        distil_every: int | np.ndarray | None = 200,
        integral_gain: PerRow = 0.02,
        probe_share: PerRow = 0.15,
        window: int = 15,
        probe_score: float = 0.25,
        probe_target: float = 0.95,
    ) -> None:
        self.table = table
        self.target = _per_row(target, n)
        self.learning_rate = _per_row(learning_rate, n).copy()
        self.estimate_db = np.full(n, np.nan)
        self.score = np.zeros(n)
        self.probe = np.zeros(n, bool)
        self._rng = rng
        self._gain = table.goodput_if_acked()
        self._distil_every = _per_row(distil_every, n, none=0).astype(np.int64)
        self._integral_gain = _per_row(integral_gain, n)
        self._probe_share = _per_row(probe_share, n)
        self._probe_score, self._probe_target = probe_score, np.full(n, probe_target)
        lowest, highest = table.threshold.min(), table.threshold.max()
        self._range_db = (lowest - salad._MARGIN_DB, highest + salad._MARGIN_DB)
        self._tilt = np.zeros(n)
        self._tested = np.zeros((2, window, n))  # excess of the BLER over the outcome, and variance
        # Ring of estimate, threshold, slope and outcome. Once begun, a row has an outcome in every slot.
        self._history = np.zeros((salad._REMEMBERED, 4, n))
        self._slots = 0
        self._outcomes = np.zeros(n, np.int64)
        self._sent: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def report(self, rows: np.ndarray, snr_db: np.ndarray, measured_at: np.ndarray) -> None:
        """Begin with each link's first report; none is read after it."""
        first = ~np.isfinite(self.estimate_db[rows])
        self.estimate_db[rows[first]] = np.clip(snr_db[first], *self._range_db)

    def select(self, slot: int) -> tuple[np.ndarray, np.ndarray]:
        """Choose within the tilted target, or that of a probe."""
        known = np.isfinite(self.estimate_db)
        bler = self.table.bler(self.estimate_db)
        mcs = self._most_efficient(bler, self.target + self._tilt)
        draws = self._rng.random(len(mcs))
        rows = np.flatnonzero(known & (self.score > self._probe_score) & (draws < self._probe_share))
        self.probe[:] = False
        if rows.size:
            higher = self._most_efficient(bler[rows], self._probe_target[rows] + self._tilt[rows])
            self.probe[rows] = higher != mcs[rows]
            mcs[rows] = higher
        mcs = np.where(known, mcs, self.table.most_robust)
        self._sent[slot] = (mcs, known)
        return mcs, np.where(known, at(bler, mcs), _UNKNOWN)

    def _most_efficient(self, bler: np.ndarray, tau: np.ndarray) -> np.ndarray:
        """`selection.most_efficient_within` for rows: BLERs ``(m, n_mcs)``, targets ``(m,)``."""
        allowed = bler <= np.clip(tau, *salad._TARGET_RANGE)[:, None]
        best = np.argmax(np.where(allowed, self._gain, -1.0), axis=1)
        return np.where(allowed.any(axis=1), best, self.table.most_robust)

    def feedback(self, slot: int, ack: np.ndarray) -> None:
        """Infer from outcomes, where there was an estimate when the block was chosen."""
        mcs, rows = self._sent.pop(slot)
        nack = 1.0 - ack
        threshold, slope, before = self.table.threshold[mcs], self.table.slope[mcs], self.estimate_db
        # As `salad.student_step`.
        p = np.clip(sigmoid((threshold - before) / slope), *salad._BLER_RANGE)
        after = before + self.learning_rate * (p - nack) / np.clip(slope, *salad._SLOPE_RANGE_DB)
        self.estimate_db = np.where(rows, np.clip(after, *self._range_db), before)
        self._tested[:, :-1] = self._tested[:, 1:]
        self._tested[:, -1] = np.where(rows, (p - nack, p * (1 - p)), 0.0)
        excess, variance = self._tested.sum(axis=1)
        self.score = excess / np.sqrt(np.where(variance > 0, variance, 1.0))
        tilt = np.clip(self._tilt + self._integral_gain * (self.target - nack), -1.0, 1.0)
        end = np.where(ack, self.table.by_efficiency[-1], self.table.most_robust)
        self._tilt = np.where(rows & (mcs != end), tilt, self._tilt)
        self._history[self._slots % salad._REMEMBERED] = before, threshold, slope, nack
        self._slots += 1
        self._outcomes += rows
        due = rows & (self._distil_every > 0) & (self._outcomes % np.maximum(self._distil_every, 1) == 0)
        for row in np.flatnonzero(due):
            count = min(int(self._outcomes[row]), salad._REMEMBERED)
            places = np.arange(self._slots - count, self._slots) % salad._REMEMBERED
            self.learning_rate[row] = salad.distil(*self._history[places, :, row].T)


class BatchThompson:
    """`baselines.ThompsonSampling` for all links.

    One generator draws for all rows, so a row's draws are not those of a link with a generator of its own.

    Args:
        table: the links' MCS.
        n: number of rows.
        rng: draws the samples of all rows.
        target: per row, as in `ThompsonSampling`; None, or NaN in an array, maximises goodput.
        prior_strength, flat_prior: per row, as in `ThompsonSampling`.
        memory_blocks: per row; None, or infinity in an array, never forgets.
        bin_db: of all rows.
    """

    def __init__(
        self,
        table: McsTable,
        n: int,
        rng: np.random.Generator,
        target: PerRow | None = 0.1,
        prior_strength: PerRow = 10.0,
        flat_prior: PerRow = 1.0,
        memory_blocks: PerRow | None = None,
        bin_db: float = 1.0,
    ) -> None:
        self.table = table
        self._rng = rng
        self._gain = table.goodput_if_acked()
        self._least = 1 - _per_row(target, n)  # mean success; NaN without a target
        self._strength, self._flat = _per_row(prior_strength, n), _per_row(flat_prior, n)
        self._keep = 1 - 1 / _per_row(memory_blocks, n, none=math.inf)
        self._bin_db = bin_db
        self._lowest = math.floor((table.threshold.min() - thompson._MARGIN_DB) / bin_db)
        highest = math.ceil((table.threshold.max() + thompson._MARGIN_DB) / bin_db)
        p0 = table.bler(np.arange(self._lowest, highest + 1) * bin_db)
        self._prior = np.stack([1 - p0, p0], axis=1)  # per block of strength: (n_bins, 2, n_mcs)
        # ACKs and NACKs, (n, n_bins, 2, n_mcs), as remembered at the row's outcome number `_as_of`: a bin
        # forgets when it is next looked at, not at every outcome.
        self._counts = np.zeros((n, *self._prior.shape))
        self._as_of = np.zeros((n, len(p0)), np.int64)
        self._outcomes = np.zeros(n, np.int64)
        self._cqi = np.full(n, -1)
        self._sent: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def report(self, rows: np.ndarray, snr_db: np.ndarray, measured_at: np.ndarray) -> None:
        """Take new reports."""
        cqi = np.rint(snr_db / self._bin_db).astype(np.int64) - self._lowest
        self._cqi[rows] = np.clip(cqi, 0, len(self._prior) - 1)

    def counts(self, rows: np.ndarray, cqi: np.ndarray) -> np.ndarray:
        """ACKs and NACKs remembered of each MCS in a bin of each of some rows, ``(m, 2, n_mcs)``."""
        age = self._outcomes[rows] - self._as_of[rows, cqi]
        return self._counts[rows, cqi] * (self._keep[rows] ** age)[:, None, None]

    def posterior(self, rows: np.ndarray) -> np.ndarray:
        """The Beta posteriors' two parameters in the present bins of ``rows``, ``(m, 2, n_mcs)``."""
        cqi = self._cqi[rows]
        prior = self._flat[rows, None, None] + self._strength[rows, None, None] * self._prior[cqi]
        return prior + self.counts(rows, cqi)

    def select(self, slot: int) -> tuple[np.ndarray, np.ndarray]:
        """Sample, and send what is best if it is so; the most robust MCS where nothing was reported."""
        n = len(self._cqi)
        mcs, bler = np.full(n, self.table.most_robust), np.full(n, _UNKNOWN)
        self._sent[slot] = (self._cqi.copy(), mcs)
        rows = np.flatnonzero(self._cqi >= 0)
        if rows.size:
            ack, nack = self.posterior(rows).swapaxes(0, 1)
            success = self._rng.beta(ack, nack)
            mcs[rows] = draw_constrained(success, success * self._gain, self._least[rows], self._rng)
            bler[rows] = at(nack, mcs[rows]) / (at(ack, mcs[rows]) + at(nack, mcs[rows]))
        return mcs, bler

    def feedback(self, slot: int, ack: np.ndarray) -> None:
        """Count outcomes for the bins that their blocks were chosen at."""
        cqi, mcs = self._sent.pop(slot)
        rows = np.flatnonzero(cqi >= 0)
        cqi = cqi[rows]
        self._outcomes[rows] += 1
        self._counts[rows, cqi] = self.counts(rows, cqi)
        self._as_of[rows, cqi] = self._outcomes[rows]
        self._counts[rows, cqi, np.where(ack[rows], 0, 1), mcs[rows]] += 1


def draw_constrained(
    success: np.ndarray, value: np.ndarray, least: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """`thompson.draw_constrained` for rows; one with a NaN for ``least`` has no constraint.

    Args:
        success, value: of each arm, ``(m, n_arms)``.
        least: mean success, ``(m,)``.

    Returns:
        Arms, ``(m,)``.
    """
    arm = np.argmax(value, axis=1)
    rows = np.flatnonzero(at(success, arm) < least)
    if not rows.size:
        return arm
    success, value, bound = success[rows], value[rows], least[rows, None]
    is_safe = success >= bound
    # All pairs of a safe arm, axis 1, and a risky one, axis 2: as in the one-link twin.
    pair = is_safe[:, :, None] & ~is_safe[:, None, :]
    apart = np.where(pair, success[:, :, None] - success[:, None, :], 1.0)
    share = (bound - success)[:, None, :] / apart
    mixed = share * value[:, :, None] + (1 - share) * value[:, None, :]
    best = np.argmax(np.where(pair, mixed, -np.inf).reshape(len(rows), -1), axis=1)
    i, j = np.divmod(best, value.shape[1])
    each = np.arange(len(rows))
    pure = np.argmax(np.where(is_safe, value, -np.inf), axis=1)
    drawn = np.where(rng.random(len(rows)) < share[each, i, j], i, j)
    drawn = np.where(value[each, pure] >= mixed[each, i, j], pure, drawn)
    arm[rows] = np.where(is_safe.any(axis=1), drawn, np.argmax(success, axis=1))
    return arm


class BatchGenie:
    """`baselines.Genie` for all links, with the objective of goodput.

    Args:
        table: the links' MCS.
    """

    def __init__(self, table: McsTable) -> None:
        self._table, self._gain = table, table.goodput_if_acked()
        self._bler: np.ndarray | None = None

    def reveal(self, bler: np.ndarray) -> None:
        """Take the true BLER of every MCS in the coming slot, ``(n, n_mcs)``."""
        self._bler = bler

    def report(self, rows: np.ndarray, snr_db: np.ndarray, measured_at: np.ndarray) -> None:
        """Needs no reports."""

    def select(self, slot: int) -> tuple[np.ndarray, np.ndarray]:
        """The MCS with the highest expected goodput, and its BLER.

        Raises:
            RuntimeError: nothing was revealed.
        """
        if self._bler is None:
            raise RuntimeError("a genie knows only what it is told: call reveal() before select()")
        mcs = choose(self._bler, self._gain, self._table)
        return mcs, np.clip(at(self._bler, mcs), *genie._INSIDE)

    def feedback(self, slot: int, ack: np.ndarray) -> None:
        """Has nothing to learn."""
