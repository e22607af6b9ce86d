# SPDX-License-Identifier: GPL-3.0-or-later
"""Worlds, drawn: all that happens to the links of a run, so that every adapter faces the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from ..core.mcs import McsTable, sigmoid, snr_at_capacity_db
from ..core.messages import SNR_RANGE_DB
from .conditions import Population, Range, Recipe
from .fading import Scattering, draw_scattering, effective_snr_db, power_gains

PREROLL = 16
"""Slots that run before slot 0, so that the first report has been measured; the longest report delay."""

BETA = {
    1: ((0.117, 0.80), (0.663, 0.91)),
    2: ((0.117, 1.60), (0.663, 1.82)),
    4: ((0.332, 3.97), (0.643, 6.50)),
    6: ((0.428, 9.95), (0.926, 34.28)),
    8: ((0.667, 56.48), (0.926, 132.54)),
}
"""EESM beta of each modulation order: ``(code rate, beta)`` of a low and of a high rate.

For orders 2 to 8 the ends of each order's ladder among the values that S. Lagen et al., "New radio physical
layer abstraction for system-level simulations of 5G networks", IEEE ICC 2020, fitted to the MCS of NR PDSCH;
BPSK has QPSK's distance at half the SINR. `beta_of` interpolates the logarithm.
"""

SLOT_S = 1e-3
"""Duration of a slot."""

_SLOTS_AT_ONCE = 100_000  # link-slots whose subcarrier gains are held at a time: some 40 MB


@dataclass(frozen=True, eq=False)
class World:
    """A run's channels, reports and draws.

    A block sent at MCS ``m`` in slot ``t`` of link ``i`` fails with probability

        BLER = floor[t] + (1 - floor[t]) sigmoid(z),
        z = (threshold_db[i, m] - effective SINR at m) / (slope_db[m] slope_factor[t])

    (plus the table's logit of the block's length)

    and is ACKed where ``draws[i, t] >= BLER``, for whichever adapter sent it: common random numbers.

    Args:
        name: of the world.
        table: the links' MCS.
        snr_db: true effective SINR of the lowest and the highest code rate of each of the table's modulation
            orders, one after the other, ``(n_links, n_slots, 2 n_orders)``, float32; the rates between lie
            between.
        reported_db: the latest report that is known when the slot's MCS is chosen, ``(n_links, n_slots)``,
            float32.
        measured_at: slot in which it was measured, int ``(n_links, n_slots)``, below the slot itself;
            negative where that was before the run.
        draws: uniform over [0, 1), ``(n_links, n_slots)``, float32.
        threshold_db: true thresholds, ``(n_links, n_mcs)``.
        slope_db: true slopes, ``(n_mcs,)``.
        slope_factor, floor: of each slot, ``(n_slots,)``.
        shifts: slots at which the conditions change.
    """

    name: str
    table: McsTable
    snr_db: np.ndarray
    reported_db: np.ndarray
    measured_at: np.ndarray
    draws: np.ndarray
    threshold_db: np.ndarray
    slope_db: np.ndarray
    slope_factor: np.ndarray
    floor: np.ndarray
    shifts: tuple[int, ...]

    @property
    def n_links(self) -> int:
        """Number of links."""
        return self.snr_db.shape[0]

    @property
    def n_slots(self) -> int:
        """Number of slots."""
        return self.snr_db.shape[1]

    def effective_db(self, snr_db: np.ndarray) -> np.ndarray:
        """Effective SINR of every MCS, ``(..., n_mcs)``, from entries of `snr_db`, ``(..., 2 n_orders)``."""
        low, share = self._ladder
        return snr_db[..., low] + share * (snr_db[..., low + 1] - snr_db[..., low])

    @cached_property
    def _ladder(self) -> tuple[np.ndarray, np.ndarray]:
        """Where each MCS's order begins in `snr_db`, and how far it is on the way from low to high beta."""
        table = self.table
        log_beta = np.log(beta_of(table))
        ends = np.array([(log_beta[i].min(), log_beta[i].max()) for i in _ladders(table)])[table.order_of]
        width = ends[:, 1] - ends[:, 0]
        share = np.where(width > 0, (log_beta - ends[:, 0]) / np.where(width > 0, width, 1.0), 0.0)
        return 2 * table.order_of, share.astype(np.float32)

    def bler(self, mcs: np.ndarray, links: slice = slice(None), bits: int | None = None) -> np.ndarray:
        """True BLER of one MCS in each slot.

        Args:
            mcs: index into the table, broadcast to ``(n_links, n_slots)``, with the links that are asked for.
            links: which links.
            bits: information bits of the blocks; None for the table's reference length.

        Returns:
            Shape ``(n_links, n_slots)``.
        """
        mcs = np.broadcast_to(mcs, self.snr_db[links].shape[:2])
        low, share = (per_mcs[mcs] for per_mcs in self._ladder)
        ends = np.take_along_axis(self.snr_db[links], low[..., None] + np.arange(2), axis=2)
        snr = ends[..., 0] + share * (ends[..., 1] - ends[..., 0])
        threshold = np.take_along_axis(self.threshold_db[links], mcs, axis=1)
        return self._waterfall(threshold - snr, mcs, self.slope_factor, self.floor, bits)

    def bler_of_link(self, link: int, bits: int | None = None) -> np.ndarray:
        """True BLER of every MCS in each slot of one link, shape ``(n_slots, n_mcs)``."""
        short = self.threshold_db[link] - self.effective_db(self.snr_db[link])
        return self._waterfall(short, slice(None), self.slope_factor[:, None], self.floor[:, None], bits)

    def bler_at(self, slot: int, links: np.ndarray | slice = slice(None)) -> np.ndarray:
        """True BLER of every MCS in one slot for blocks of the reference length, ``(n_links, n_mcs)``."""
        short = self.threshold_db[links] - self.effective_db(self.snr_db[links, slot])
        return self._waterfall(short, slice(None), self.slope_factor[slot], self.floor[slot], None)

    def _waterfall(
        self,
        short_db: np.ndarray,
        mcs: np.ndarray | slice,
        factor: np.ndarray | float,
        floor: np.ndarray | float,
        bits: int | None,
    ) -> np.ndarray:
        logit = short_db / (self.slope_db[mcs] * factor) + self.table.length_logit(bits)
        return floor + (1.0 - floor) * sigmoid(logit)


def stack(worlds: Sequence[World]) -> World:
    """Worlds of one name, table and length, drawn from different seeds, as one: their links one after the
    other.

    Raises:
        ValueError: the worlds differ in more than their links.
    """
    first = worlds[0]
    for other in worlds:
        if (other.name, other.table, other.n_slots) != (first.name, first.table, first.n_slots):
            raise ValueError(f"world {other.name!r} of {other.n_slots} slots does not go with {first.name!r}")
    per_link = ("snr_db", "reported_db", "measured_at", "draws", "threshold_db")
    return replace(first, **{name: np.concatenate([getattr(w, name) for w in worlds]) for name in per_link})


def _ladders(table: McsTable) -> list[np.ndarray]:
    """MCS of each modulation order, in the order of `McsTable.orders`."""
    return [np.flatnonzero(table.order_of == q) for q in range(len(table.orders))]


def beta_of(table: McsTable) -> np.ndarray:
    """EESM beta of every MCS, ``(n_mcs,)``: log-linear in the code rate, from `BETA`.

    Raises:
        ValueError: the table has a modulation order without a beta.
    """
    unknown = [int(q) for q in table.orders if int(q) not in BETA]
    if unknown:
        raise ValueError(f"no EESM beta for modulation order {unknown}: the simulator knows {sorted(BETA)}")
    ends = np.array([BETA[int(q)] for q in table.orders])[table.order_of]
    (rate_a, log_a), (rate_b, log_b) = ((ends[:, i, 0], np.log(ends[:, i, 1])) for i in (0, 1))
    return np.exp(log_a + (np.array(table.code_rate) - rate_a) / (rate_b - rate_a) * (log_b - log_a))


def realise(name: str, recipe: Recipe, table: McsTable, seed: int, n_links: int, n_slots: int) -> World:
    """Draw a world; see `worlds.make_world` and `family.training_batch`.

    Raises:
        ValueError: the table has a modulation order without a beta, or a report delay is out of range.
    """
    for _, conditions in recipe.stretches:
        low, high = conditions.report_delay_slots
        if not 1 <= low <= high <= PREROLL:
            raise ValueError(f"report_delay_slots = {(low, high)}: give 1 <= lowest <= highest <= {PREROLL}")
    # One stream for each purpose: a world's report noise does not depend on whether it has bursts.
    population_rng, scattering_rng, position_rng, report_rng, burst_rng, draw_rng, curve_rng = (
        np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(7)
    )
    threshold_db, slope_db = _curves(curve_rng, recipe.population, table)
    starts = [round(share * n_slots) for share, _ in recipe.stretches]
    lengths = np.diff([*starts, n_slots])
    lengths[0] += PREROLL
    stretch = np.repeat(np.arange(len(lengths)), lengths)  # of each slot, the pre-roll included
    links = _draw_links(population_rng, scattering_rng, recipe.population, table, n_links)
    slots = _draw_slots(position_rng, burst_rng, recipe, stretch, n_links)

    snr_db, receiver_db = _run_fading(links, slots, tuple(int(n) for n in lengths))
    evm2 = slots.constant("evm") ** 2
    snr_db = -10 * np.log10(10 ** (-snr_db / 10) + evm2[:, None]).astype(np.float32)
    measured = _measure(report_rng, receiver_db, slots, links.clean)
    slot = np.arange(n_slots)
    delay = np.floor(slots.ranged("report_delay_slots", whole=True))[:, PREROLL:].astype(np.int32)
    # Where the delay grows, no older report comes in after a newer one.
    measured_at = np.maximum.accumulate(slot - delay, axis=1)
    return World(
        name=name,
        table=table,
        snr_db=snr_db[:, PREROLL:],
        reported_db=np.take_along_axis(measured, measured_at + PREROLL, axis=1),
        measured_at=measured_at,
        draws=draw_rng.random((n_links, n_slots), np.float32),
        threshold_db=links.threshold_db + (threshold_db - table.threshold),
        slope_db=slope_db,
        slope_factor=slots.constant("slope_factor")[PREROLL:],
        floor=slots.constant("floor")[PREROLL:],
        shifts=tuple(starts[1:]),
    )


@dataclass(frozen=True, eq=False)
class _Links:
    """What is drawn once per link; the first axis of every array is the link's."""

    scattering: Scattering
    mean_snr_db: np.ndarray
    beta: np.ndarray  # as `World.snr_db`: two for each modulation order
    report_beta: np.ndarray
    threshold_db: np.ndarray
    clean: np.ndarray


def _draw_links(
    rng: np.random.Generator,
    scattering_rng: np.random.Generator,
    population: Population,
    table: McsTable,
    n: int,
) -> _Links:
    below, above = population.snr_margin_db
    spread = _log_uniform(rng, population.delay_spread, n)
    spread[rng.random(n) < population.flat_share] = 0.0
    rician_k = 10 ** (rng.uniform(*population.rician_k_db, n) / 10)
    rician_k[rng.random(n) >= population.rician_share] = 0.0
    beta = beta_of(table)
    ends = np.array([end for i in _ladders(table) for end in (beta[i].min(), beta[i].max())])
    jitter = population.beta_jitter * rng.standard_normal((n, len(table.orders)))
    return _Links(
        scattering=draw_scattering(scattering_rng, spread, rician_k),
        mean_snr_db=rng.uniform(table.threshold.min() + below, table.threshold.max() + above, n),
        beta=ends * np.exp(np.repeat(jitter, 2, axis=1)),
        report_beta=_log_uniform(rng, population.report_beta, n),
        threshold_db=table.threshold + population.threshold_jitter_db * rng.standard_normal((n, len(table))),
        clean=rng.random(n) < population.clean_share,
    )


def _curves(
    rng: np.random.Generator, population: Population, table: McsTable
) -> tuple[np.ndarray, np.ndarray]:
    """Thresholds and slopes of the PHY, ``(n_mcs,)`` each."""
    threshold_db = table.threshold
    if population.formula:
        pairs = zip(table.modulation_order, table.spectral_efficiency, strict=True)
        threshold_db = np.array([snr_at_capacity_db(order, rate) + 1.0 for order, rate in pairs])
    error = population.threshold_error_db * rng.standard_normal(len(table))
    return threshold_db + error, table.slope * _log_uniform(rng, population.slope_error, len(table))


def _log_uniform(rng: np.random.Generator, bounds: Range, n: int) -> np.ndarray:
    low, high = bounds
    return low * (high / low) ** rng.random(n)


@dataclass(frozen=True, eq=False)
class _Slots:
    """What holds in each slot, the pre-roll included."""

    recipe: Recipe
    stretch: np.ndarray  # (n_slots,)
    position: dict[
        str, np.ndarray
    ]  # of each link within the ranges of a condition, (n_links,), uniform over [0, 1)
    interference_db: np.ndarray  # rise of the noise, (n_links, n_slots)

    def constant(self, name: str) -> np.ndarray:
        """A condition that all links share, ``(n_slots,)``."""
        return np.array([getattr(c, name) for _, c in self.recipe.stretches])[self.stretch]

    def by_stretch(self, name: str, whole: bool = False) -> np.ndarray:
        """A condition with a range, ``(n_links, n_stretches)``; ``whole``: up to the highest plus one."""
        low, high = np.array([getattr(c, name) for _, c in self.recipe.stretches], float).T
        return low + (high - low + whole) * self.position[name][:, None]

    def ranged(self, name: str, whole: bool = False) -> np.ndarray:
        """The same for every slot, ``(n_links, n_slots)``."""
        return self.by_stretch(name, whole)[:, self.stretch]


_RANGED = ("doppler_hz", "report_delay_slots", "report_noise_db", "report_step_db")


def _draw_slots(
    rng: np.random.Generator, burst_rng: np.random.Generator, recipe: Recipe, stretch: np.ndarray, n: int
) -> _Slots:
    position = {name: rng.random(n) for name in _RANGED}
    slots = _Slots(recipe, stretch, position, np.zeros((n, len(stretch)), np.float32))
    rise_db = 10 * np.log10(1 + 10 ** (slots.constant("burst_inr_db") / 10))
    start, end = 1 / slots.constant("quiet_slots"), 1 / slots.constant("burst_slots")
    on = np.zeros(n, bool)
    for t in np.flatnonzero(rise_db):
        on = burst_rng.random(n) < np.where(on, 1 - end[t], start[t])
        slots.interference_db[:, t] = on * rise_db[t]
    return slots


def _run_fading(links: _Links, slots: _Slots, lengths: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Effective SINR at both ends of each order's ladder, and as the receiver measures it, a group of links
    at a time."""
    n_links, n_slots, doppler = len(links.mean_snr_db), len(slots.stretch), slots.by_stretch("doppler_hz")
    snr_db = np.empty((n_links, n_slots, links.beta.shape[1]), np.float32)
    receiver_db = np.empty((n_links, n_slots), np.float32)
    at_once = max(1, _SLOTS_AT_ONCE // n_slots)
    for i in (slice(a, a + at_once) for a in range(0, n_links, at_once)):
        gains = power_gains(links.scattering[i], doppler[i], lengths, SLOT_S)
        quiet_db = links.mean_snr_db[i, None]
        receiver_db[i] = effective_snr_db(gains, quiet_db, links.report_beta[i, None])
        for q in range(snr_db.shape[2]):
            snr_db[i, :, q] = effective_snr_db(
                gains, quiet_db - slots.interference_db[i], links.beta[i, q, None]
            )
    return snr_db, receiver_db


def _measure(rng: np.random.Generator, true_db: np.ndarray, slots: _Slots, clean: np.ndarray) -> np.ndarray:
    """Reports by the slot of their measurement: biased, noisy, rounded, ``(n_links, n_slots)``."""
    rough = ~clean[:, None]
    noise = slots.ranged("report_noise_db") * rng.standard_normal(true_db.shape, np.float32)
    report = true_db + slots.constant("report_bias_db") + rough * noise
    step = rough * slots.ranged("report_step_db")
    rounded = np.round(report / np.maximum(step, 1e-6)) * step
    return np.clip(np.where(step > 0, rounded, report), *SNR_RANGE_DB).astype(np.float32)
