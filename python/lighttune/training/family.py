# SPDX-License-Identifier: GPL-3.0-or-later
"""The family of links that the network is trained on: whatever a link may do, at random times and strengths.

It holds what a link's adapter has to find out on the air: biased reports, bursts of interference, impaired
receivers, losses at every SINR, changing Doppler and delay, cables; and what happens to reports and verdicts
on their way: none at all, sparse, constant, late, missing, false. Every strength is drawn from a continuous
range, never from the points at which the benchmarks test.
"""

from __future__ import annotations

import numpy as np

from ..core.mcs import McsTable, sigmoid
from ..sim.conditions import Conditions, Population, Recipe
from ..sim.drive import Script
from ..sim.realise import World, realise

GROUP = 16
"""Links that share the times and conditions of their stretches; each has its own place within the ranges."""

_SHORTEST = 0.1  # share of the run that a stretch lasts at least


def _chance(rng: np.random.Generator, share: float) -> bool:
    return bool(rng.random() < share)


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(low * (high / low) ** rng.random())


def _around(rng: np.random.Generator, low: float, high: float, factor: float) -> tuple[float, float]:
    """A range of this ratio about a place between low and high."""
    middle = _log_uniform(rng, low, high)
    return max(low, middle / factor), min(high, middle * factor)


def draw_conditions(rng: np.random.Generator) -> Conditions:
    """What holds for one stretch."""
    still = _chance(rng, 0.2)
    delay = int(rng.integers(1, 13))
    bias = 0.0
    if _chance(rng, 0.5):
        bias = rng.uniform(-20, 20) if _chance(rng, 0.15) else 3.0 * rng.standard_normal()
    noise = rng.uniform(0.0, 1.5)
    step = rng.uniform(0.0, 2.5) if _chance(rng, 0.5) else 0.0
    return Conditions(
        doppler_hz=(0.0, 0.3) if still else _around(rng, 0.5, 300.0, 2.0),
        report_delay_slots=(delay, min(delay + int(rng.integers(0, 4)), 12)),
        report_bias_db=float(bias),
        report_noise_db=(0.3 * noise, noise),
        report_step_db=(0.5 * step, step),
        evm=_log_uniform(rng, 0.02, 0.2) if _chance(rng, 0.25) else 0.0,
        floor=float(rng.uniform(0.0, 0.3)) if _chance(rng, 0.25) else 0.0,
        slope_factor=_log_uniform(rng, 0.7, 4.0) if _chance(rng, 0.3) else 1.0,
        burst_inr_db=float(rng.uniform(3.0, 18.0)) if _chance(rng, 0.25) else -np.inf,
        burst_slots=_log_uniform(rng, 5.0, 100.0),
        quiet_slots=_log_uniform(rng, 20.0, 400.0),
    )


def draw_recipe(rng: np.random.Generator) -> Recipe:
    """One to five stretches, and the links that live through them."""
    n = int(rng.integers(1, 6))
    starts = np.sort(rng.uniform(_SHORTEST, 1.0 - _SHORTEST, n - 1)) if n > 1 else []
    wave = _chance(rng, 0.35)  # links with a steady wave: cables, lines of sight
    return Recipe(
        stretches=tuple((float(a), draw_conditions(rng)) for a in (0.0, *starts)),
        population=Population(
            snr_margin_db=(-3.0, 6.0),
            delay_spread=(0.1, 6.0),
            flat_share=0.5 if wave else 0.05,
            rician_share=0.8 if wave else 0.2,
            rician_k_db=(0.0, 40.0) if wave else (0.0, 10.0),
            beta_jitter=0.2,
            clean_share=0.3,
            threshold_jitter_db=_log_uniform(rng, 0.1, 0.6),
        ),
    )


def draw_scripts(rng: np.random.Generator, table: McsTable, n_blocks: int) -> list[Script]:
    """`GROUP` links of the family, one block per slot."""
    world = realise("family", draw_recipe(rng), table, int(rng.integers(2**63)), GROUP, n_blocks)
    return [_plain(rng, world, link) if link % 2 else _script(rng, world, link) for link in range(GROUP)]


def _plain(rng: np.random.Generator, world: World, link: int) -> Script:
    """A link whose reports and verdicts all come, as most do."""
    n = world.n_slots
    measured_at = world.measured_at[link]
    new = np.diff(measured_at, prepend=-1) > 0
    return Script(
        bler=np.ascontiguousarray(world.bler_of_link(link), np.float32),
        draws=rng.random(n, np.float32),
        report_db=np.where(new, world.reported_db[link], np.nan).astype(np.float32),
        age=np.maximum(np.arange(n) - measured_at, 1).astype(float),
        due=np.arange(n) + 1,
        length=np.zeros(n),
        away=_explore(rng, n, len(world.table)),
    )


def _script(rng: np.random.Generator, world: World, link: int) -> Script:
    """A link to which anything may happen."""
    n, table = world.n_slots, world.table
    length = _lengths(rng, n)
    bler = _told_bler(rng, world, link, length)
    report_db, age, with_ack = _reports(rng, world, link)
    return Script(
        bler=np.ascontiguousarray(bler, np.float32),
        draws=rng.random(n, np.float32),
        report_db=report_db,
        age=age,
        with_ack=with_ack,
        due=_verdicts(rng, n),
        length=length,
        away=_explore(rng, n, len(table)),
    )


def _lengths(rng: np.random.Generator, n: int) -> np.ndarray:
    """Length logits: mostly the table's reference, else one other length, or two in turn or at random."""
    kind = rng.random()
    if kind < 0.7:
        return np.zeros(n)
    a, b = rng.uniform(-3.5, 3.0, 2)
    if kind < 0.8:
        return np.full(n, a)
    return np.where(rng.random(n) < 0.5, a, b) if kind < 0.9 else np.where(np.arange(n) % 2, a, b)


def _told_bler(rng: np.random.Generator, world: World, link: int, length: np.ndarray) -> np.ndarray:
    """Of every MCS the probability that a block is told as NACK."""
    table = world.table
    short = world.threshold_db[link] - world.effective_db(world.snr_db[link])
    logit = short / (table.slope * world.slope_factor[:, None]) + length[:, None]
    bler = sigmoid(logit)
    floor = world.floor[:, None]
    if _chance(rng, 0.15):  # of this link alone, from some time on
        floor = (
            floor + rng.uniform(0.0, 0.3) * (np.arange(world.n_slots) >= rng.integers(world.n_slots))[:, None]
        )
    bler = floor + (1.0 - floor) * bler
    if _chance(rng, 0.1):  # pulses: a share of the time, most packets are lost
        period, duty = int(rng.integers(4, 60)), rng.uniform(0.05, 0.4)
        hit = (np.arange(world.n_slots) + rng.integers(period)) % period < duty * period
        bler = np.where(hit[:, None], np.maximum(bler, rng.uniform(0.4, 1.0)), bler)
    if _chance(rng, 0.1):  # ACKs told as NACKs, at times NACKs told as ACKs
        false_nack, false_ack = rng.uniform(0.0, 0.15), rng.uniform(0.0, 0.1) * _chance(rng, 0.3)
        bler = bler * (1.0 - false_ack) + (1.0 - bler) * false_nack
    return bler


def _reports(rng: np.random.Generator, world: World, link: int) -> tuple[np.ndarray, np.ndarray, bool]:
    """Which of the world's reports come, their ages, and whether they come with ACKs alone."""
    n = world.n_slots
    slot = np.arange(n)
    reported, measured_at = world.reported_db[link].copy(), world.measured_at[link]
    new = np.diff(measured_at, prepend=-1) > 0
    kind, with_ack = rng.random(), False
    if kind < 0.12:  # none, ever
        new[:] = False
    elif kind < 0.2:  # none from some time on, or until then
        since = slot >= rng.integers(n)
        new &= since if _chance(rng, 0.5) else ~since
    elif kind < 0.32:  # sparse
        keep = slot % int(_log_uniform(rng, 2, 250)) == 0
        new = new & keep if _chance(rng, 0.5) else new & (rng.random(n) < keep.mean())
    elif kind < 0.36:  # constant
        reported[:] = reported[0]
    elif kind < 0.4:  # meaningless
        reported[:] = rng.uniform(world.table.threshold.min(), world.table.threshold.max(), n)
    elif kind < 0.48:
        with_ack = True
        measured_at, new = slot, np.ones(n, bool)
    never = -(10**9)
    last = np.maximum.accumulate(np.where(new, measured_at, never))
    age = np.maximum(slot - np.where(last == never, -1, last), 1).astype(float)
    return np.where(new, reported, np.nan).astype(np.float32), age, with_ack


def _verdicts(rng: np.random.Generator, n: int) -> np.ndarray:
    """Before which block each block's verdict comes."""
    slot, kind = np.arange(n), rng.random()
    if kind < 0.5:
        due = slot + 1
    elif kind < 0.7:
        due = slot + int(rng.integers(2, 11))
    elif kind < 0.8:
        due = slot + int(_log_uniform(rng, 10, 60))
    elif kind < 0.9:  # several at once
        group = int(rng.integers(2, 17))
        due = (slot // group + 1) * group
    else:
        due = slot + 1 + rng.integers(0, rng.integers(2, 30), n)
    if _chance(rng, 0.25):
        due = np.where(rng.random(n) < _log_uniform(rng, 0.02, 0.95), n, due)
    return due.astype(np.int64)


def _explore(rng: np.random.Generator, n: int, n_mcs: int) -> np.ndarray:
    """Half of the links are sent away from the choice now and then, so that the network sees what follows."""
    if _chance(rng, 0.5):
        return np.zeros(n, np.int64)
    lean = rng.normal(0.0, 0.1 * n_mcs**0.5, n) + rng.normal(0.0, 0.3)
    return np.where(rng.random(n) < rng.uniform(0.1, 0.7), np.round(3.0 * lean), 0.0).astype(np.int64)
