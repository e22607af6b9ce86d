# SPDX-License-Identifier: GPL-3.0-or-later
"""The fault matrix in the simulator: LightTune and OLLA, the real adapters, behind `sim.faults`."""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from gnuradio.lighttune.baselines import Olla
from gnuradio.lighttune.core.adapter import LightTune, Selector
from gnuradio.lighttune.core.checkpoint import load_model
from gnuradio.lighttune.core.predictor import OFFSET, Predictor
from gnuradio.lighttune.core.tuner import Tuner
from gnuradio.lighttune.sim import World, make_world
from gnuradio.lighttune.sim.faults import Faults, Faulty
from gnuradio.lighttune.sim.link import run

MODEL = "amc"
WORLDS = ("nominal", "mixture")
MINUTE = 60_000  # slots of 1 ms
WRAP = 2**32 - 500  # the first block's number: it wraps at block 500

_NOTHING = Faults()
Spoil = Callable[[np.ndarray, np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class Fault:
    """A row of the matrix.

    Args:
        name, how: for the page.
        faults: what goes wrong; a share of the run where it ends, see `timed`.
        during: the slots in which it does, as shares of the run; None for all of it.
        spoil: what the tuner writes instead of its weights in that time.
        tuner_restarts: the tuner's state is lost at the beginning of that time.
        other_curves: the receiver's MCS curves are not the model's, from the beginning to the end.
        slots: in which it goes wrong, where that is not a share of the run.
    """

    name: str
    how: str
    faults: Faults = _NOTHING
    during: tuple[float, float] | None = None
    spoil: Spoil | None = None
    tuner_restarts: bool = False
    other_curves: bool = False
    slots: int = 0


def _outliers(snr_db: float, draw: float) -> float:
    return 100.0 if draw < 0.02 else -60.0 if draw < 0.04 else snr_db


def _absurd(snr_db: float, draw: float) -> float:
    return 1e6 if draw < 0.05 else -1e6 if draw < 0.1 else math.nan if draw < 0.15 else snr_db


def _mostly_lost(snr_db: float, draw: float) -> float | None:
    return snr_db if draw < 0.1 else None


def _none(snr_db: float, draw: float) -> None:
    return None


def _constant(snr_db: float, draw: float) -> float:
    return 10.0


def _six_db(snr_db: float, draw: float) -> float:
    return 6.0 * round(snr_db / 6.0)


def _jumping_clock(slot: int) -> float:
    return slot * 1e-3 + (3e9 if slot // 300 % 2 else -3e9)


def _nan(weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.full_like(weights, np.nan)


def _inf(weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.where(rng.random(weights.shape) < 0.1, np.inf, weights)


def _million(weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return 1e6 * rng.standard_normal(weights.shape)


def _too_high(weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return _with_offset(weights, 14.0)


def _too_low(weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return _with_offset(weights, -14.0)


def _with_offset(weights: np.ndarray, offset_db: float) -> np.ndarray:
    spoilt = _model().offline.copy()
    spoilt[OFFSET] = offset_db
    return spoilt


AT_ONCE, MIDDLE, FROM_THE_MIDDLE = (0.4, 0.4), (0.4, 0.6), (0.4, 1.0)

ROWS: tuple[Fault, ...] = (
    Fault("none", "for comparison"),
    *(Fault(f"{n} % of feedback lost", "never told", Faults(loss=n / 100)) for n in (10, 25, 50)),
    Fault("50 % lost, told as NACK", "as `ack_merge` does", Faults(loss=0.5, loss_is_nack=True)),
    *(Fault(f"feedback {n} blocks late", "all of it", Faults(delay_slots=n)) for n in (1, 10, 100)),
    Fault("duplicates", "30 % come twice, up to 10 blocks apart", Faults(duplicate=0.3)),
    Fault("reordering", "each up to 20 blocks late by itself", Faults(jitter_slots=20)),
    Fault("sequence wrap-around", "numbers pass 2^32 after 500 blocks", Faults(first_seq=WRAP)),
    Fault("transmitter restarts", "selector and tuner lose all state", Faults(restart=True), AT_ONCE),
    Fault("tuner restarts", "it alone loses its state", Faults(), AT_ONCE, tuner_restarts=True),
    Fault("receiver restarts", "200 slots without a word", Faults(deaf=True), MIDDLE, slots=200),
    Fault("clock jumps", "`time` of reports 6e9 s to and fro", Faults(time_s=_jumping_clock)),
    Fault("reports missing", "none for a fifth of the run", Faults(report=_none), MIDDLE),
    Fault("90 % of reports missing", "all the time", Faults(report=_mostly_lost)),
    Fault("reports constant", "10 dB from the beginning on", Faults(report=_constant)),
    Fault("reports freeze", "10 dB for a fifth of the run", Faults(report=_constant), MIDDLE),
    Fault("reports quantised", "to 6 dB", Faults(report=_six_db)),
    Fault("reports absurd", "15 % are NaN or +-1e6 dB: refused", Faults(report=_absurd)),
    Fault("reports wild", "4 % are 100 or -60 dB, which is accepted", Faults(report=_outliers)),
    Fault("all-ACK for a minute", "it says ACK whatever comes", Faults(stuck=True), slots=MINUTE),
    Fault("all-NACK for a minute", "it says NACK whatever comes", Faults(stuck=False), slots=MINUTE),
    Fault("receiver of other curves", "thresholds +-1.5 dB, waterfalls twice as wide", other_curves=True),
    Fault("tuner writes NaN", "for a fifth of the run", Faults(), MIDDLE, _nan),
    Fault("tuner writes inf", "in a tenth of the weights", Faults(), MIDDLE, _inf),
    Fault("tuner writes absurd weights", "a million times a normal draw", Faults(), MIDDLE, _million),
    Fault("tuner 14 dB too high", "within bounds, and to stay", Faults(), FROM_THE_MIDDLE, _too_high),
    Fault("tuner 14 dB too low", "the same, the other way", Faults(), FROM_THE_MIDDLE, _too_low),
)  # fmt: skip


class BadTuner:
    """A tuner that writes what ``spoil`` makes of its weights, through the selector's own ``load``."""

    def __init__(self, tuner: Tuner, spoil: Spoil | None, begin: int, end: int) -> None:
        self._tuner, self._spoil, self._begin, self._end = tuner, spoil, begin, end
        self._rng, self._blocks = np.random.default_rng(1), 0

    def learn(self, *sample: Any) -> np.ndarray:
        self._blocks += 1
        changed = self._tuner.learn(*sample)
        return changed | (self._spoil is not None and self._begin <= self._blocks <= self._end)

    def model(self, link: int) -> tuple[int, np.ndarray, bool]:
        version, weights, healthy = self._tuner.model(link)
        if self._spoil is not None and self._begin <= self._blocks < self._end:
            return version + self._blocks, self._spoil(weights, self._rng), True
        return version + self._blocks, weights, healthy


class Restarting(LightTune):
    """LightTune whose tuner loses its state once; as the service does, it tells what it has now."""

    def __init__(self, selector: Selector, make_tuner: Callable[[], Tuner], at: int) -> None:
        super().__init__(selector, make_tuner())
        self._make_tuner, self._left = make_tuner, at

    def feedback(self, seq: int, ack: bool, attempt: int = 0) -> bool:
        self._left -= 1
        if self._left == 0:
            self.tuner = self._make_tuner()
            self.selector.load(*self.tuner.model(self.link))
        return super().feedback(seq, ack, attempt)


@dataclass(frozen=True)
class Outcome:
    """One row, world and seed: goodput of each slot, mean over the links, with the fault and without, and
    what was counted."""

    lighttune: np.ndarray
    olla: np.ndarray
    healthy: np.ndarray
    begin: int
    end: int
    counts: Counter[str]
    by_olla: float


def span(fault: Fault, n_slots: int) -> tuple[int, int]:
    """The slots in which it goes wrong; the end is beyond the run where it lasts."""
    if fault.during is None and not fault.slots:
        return 0, n_slots
    begin = int(n_slots * (fault.during[0] if fault.during else 0.0)) or 600
    return begin, begin + fault.slots if fault.slots else int(n_slots * fault.during[1])


def measure(fault: Fault, world_name: str, seed: int, links: int, n_slots: int) -> Outcome:
    """Run both adapters with the fault, and LightTune without it."""
    if fault.slots >= n_slots:
        links, n_slots = max(1, links // 4), fault.slots + n_slots  # what it takes to recover is in it
    world = _world(world_name, seed, links, n_slots)
    if fault.other_curves:
        world = _other_curves(world, seed)
    begin, end = span(fault, n_slots)
    faults = replace(fault.faults, begin=begin, end=end)
    made: list[Faulty] = []

    def behind(make: Callable[[], Any], what: Faults, link: int) -> Faulty:
        adapter = Faulty(make, what, np.random.default_rng([seed, link]))
        made.append(adapter)
        return adapter

    faulty = run(lambda link: behind(lambda: light_tune(fault, begin, end), faults, link), world)
    counts = sum((one.counts for one in made), start=Counter())
    outliers = sum(one.adapter.selector.doubt.outliers for one in made)  # type: ignore[attr-defined]
    if outliers:
        counts["outliers"] = outliers
    olla = run(lambda link: behind(lambda: Olla(world.table), faults, link), world)
    healthy = _healthy(world_name, seed, links, n_slots)
    return Outcome(
        faulty.goodput.mean(axis=0), olla.goodput.mean(axis=0), healthy,
        begin, end, counts, float((faulty.version < 0).mean()),
    )  # fmt: skip


def light_tune(fault: Fault, begin: int = 0, end: int = 0) -> LightTune:
    """The adapter of one link, with what is wrong with its tuner."""
    predictor = _model()
    selector = Selector(predictor, Olla(predictor.table))

    def tuner() -> Any:
        return Tuner(predictor, max_links=1)

    if fault.tuner_restarts:
        return Restarting(selector, tuner, begin)
    return LightTune(selector, BadTuner(tuner(), fault.spoil, begin, end) if fault.spoil else tuner())


@lru_cache(maxsize=1)
def _model() -> Predictor:
    return load_model(MODEL)


@lru_cache(maxsize=16)
def _healthy(name: str, seed: int, links: int, n_slots: int) -> np.ndarray:
    """Goodput of each slot where nothing goes wrong."""
    world = _world(name, seed, links, n_slots)
    return run(lambda link: light_tune(ROWS[0]), world).goodput.mean(axis=0)


@lru_cache(maxsize=8)
def _world(name: str, seed: int, links: int, n_slots: int) -> World:
    return make_world(name, _model().table, seed, links, n_slots)


def _other_curves(world: World, seed: int) -> World:
    rng = np.random.default_rng([seed, 99])
    shift = rng.uniform(-1.5, 1.5, world.threshold_db.shape)
    return replace(world, threshold_db=world.threshold_db + shift, slope_factor=2.0 * world.slope_factor)


def over_olla(outcome: Outcome) -> float:
    """Goodput over OLLA's in percent, from the beginning of the fault to the end of the run."""
    since = slice(outcome.begin, None)
    return 100.0 * (outcome.lighttune[since].mean() / outcome.olla[since].mean() - 1.0)


def recovery(outcomes: list[Outcome], window: int = 100, share: float = 0.95) -> int | None:
    """Slots from the end of the fault until the goodput over ``window`` slots, mean of the seeds, is
    ``share`` of what it is without the fault; None if the fault lasts, or it does not come to that."""
    first = outcomes[0]
    end = first.begin if first.end == first.begin else first.end
    left = np.mean([o.lighttune[end:] for o in outcomes], axis=0)
    if len(left) < 2 * window:
        return None
    right = np.mean([o.healthy[end:] for o in outcomes], axis=0)
    box = np.ones(window)
    back = np.convolve(left, box, "valid") >= share * np.convolve(right, box, "valid")
    return int(np.argmax(back)) if back.any() else None
