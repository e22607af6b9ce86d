#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Regret of one convex part of the tuner against the best fixed value, over several horizons.

What is stated and proved stands in docs/convergence.md, and its symbols are used here. Writes a table and a
plot. Takes about two minutes. `tests/core/test_convergence.py` holds the same functions to the bound.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from gnuradio.lighttune.core import features as ft
from gnuradio.lighttune.core.checkpoint import load_model
from gnuradio.lighttune.core.guards import GuardPolicy, project
from gnuradio.lighttune.core.mcs import sigmoid
from gnuradio.lighttune.core.predictor import OFFSET, Activations, Predictor
from gnuradio.lighttune.core.rules import LocalHead, Outcome
from rich.progress import Progress

HORIZONS = (250, 500, 1000, 2000, 4000, 8000)
STREAMS = ("i.i.d.", "adaptive")
GAP = 1e-2  # nats: how far from the optimum, provably, a comparator's total loss may be
_LARGEST_T = 6.0  # only MCS with |t| below are sent (BLER 0.25 % to 99.75 %): what bounds h


@dataclass(frozen=True)
class Part:
    """What is tuned, all else being frozen: the read-out ``u`` of a layer, or the offset alone.

    Args:
        layer: 0, 1, ...; or -1 for the SINR offset.
        radius: of the ball around the offline value that bounds the comparators (dB for the offset).
    """

    layer: int
    radius: float

    @property
    def name(self) -> str:
        """For tables."""
        return "offset" if self.layer < 0 else f"read-out of layer {self.layer + 1}"

    def places(self, predictor: Predictor) -> np.ndarray:
        """Where the part lies in the flat weights, shape ``(d,)``."""
        marker = predictor.weights(np.zeros(predictor.shape.n_weights))
        if self.layer < 0:
            return np.array([OFFSET])
        marker.u[self.layer] = 1.0
        return np.flatnonzero(marker.flat)

    def logit(self, act: Activations) -> np.ndarray:
        """The local logit whose loss is descended, shape ``(..., C)``."""
        return act.t if self.layer < 0 else act.z[..., self.layer]

    def slope(self, act: Activations, predictor: Predictor) -> np.ndarray:
        """Derivative of the logit by the part, ``(..., C, d)``: constant, for the logit is affine in it."""
        if self.layer < 0:
            return -act.scale[..., None]
        return 2.0 * predictor.shape.signs * act.h[..., self.layer, :]

    def domain(self, predictor: Predictor) -> "Domain":
        """The set ``K`` of comparators."""
        return Domain(
            predictor.offline[self.places(predictor)].astype(float), self.radius, nonnegative=self.layer >= 0
        )


@dataclass(frozen=True)
class Domain:
    """The set ``K``: a ball around ``centre (d,)``, cut by ``w >= 0`` if ``nonnegative``."""

    centre: np.ndarray
    radius: float
    nonnegative: bool

    @property
    def diameter(self) -> float:
        """An upper bound of the largest distance of two points of ``K``."""
        return 2.0 * self.radius

    def least(self, gradient: np.ndarray) -> float:
        """A lower bound of ``<gradient, v>`` over ``K``, by Lagrange duality.

        For every ``m > 0`` the minimum over ``v >= 0`` of ``<g, v> + m/2 (|v - centre|^2 - radius^2)`` is
        one. It is concave in ``m``, with derivative ``(|v - centre|^2 - radius^2) / 2``: bisection.
        """

        def dual(multiplier: float) -> tuple[float, float]:
            v = self.centre - gradient / multiplier
            v = np.maximum(v, 0.0) if self.nonnegative else v
            outside = 0.5 * (np.sum((v - self.centre) ** 2) - self.radius**2)
            return float(v @ gradient + multiplier * outside), float(outside)

        high = max(float(np.linalg.norm(gradient)), 1e-12) / self.radius  # v lies inside the ball there
        low, best = 1e-9 * high, -np.inf
        for _ in range(60):
            middle = np.sqrt(low * high)
            value, outside = dual(middle)
            best = max(best, value)
            low, high = (middle, high) if outside > 0 else (low, middle)
        return best


@dataclass(frozen=True)
class World:
    """A link whose reports are too high, drawn block by block: ``T`` blocks, ``C`` MCS.

    ``features (T, N_FEATURES)``; ``allowed (T, C)``, which MCS may be sent; ``bler (T, C)``, the true one;
    ``chance (T,)`` and ``pick (T,)``, uniform numbers that decide on the outcome and on a random MCS.
    """

    features: np.ndarray
    allowed: np.ndarray
    bler: np.ndarray
    chance: np.ndarray
    pick: np.ndarray


def make_world(predictor: Predictor, seed: int, blocks: int, bias_db: float = 3.0) -> World:
    """Reports uniform over 5 to 20 dB, ``bias_db`` too high; but for the bias the predictor is right."""
    rng = np.random.default_rng(seed)
    features = np.zeros((blocks, ft.N_FEATURES))
    features[:, 0] = rng.uniform(5.0, 20.0, blocks)
    shape = rng.standard_normal((blocks, ft.SHAPE.stop - ft.SHAPE.start))
    features[:, ft.SHAPE] = predictor.encoder.mean + predictor.encoder.scale * shape
    size = np.abs(predictor.forward(predictor.weights(), features).t)
    allowed = size <= np.maximum(_LARGEST_T, size.min(axis=1, keepdims=True))  # the nearest one at least
    right = predictor.weights()
    right.flat[OFFSET] -= bias_db
    bler = predictor.bler(right, features)
    return World(features, allowed, bler, rng.random(blocks), rng.random(blocks))


def gradient_bound(predictor: Predictor, world: World, part: Part) -> float:
    """``G``: no MCS that may be sent has a gradient that is longer."""
    slope = part.slope(predictor.forward(predictor.weights(), world.features), predictor)
    return float(np.linalg.norm(slope, axis=-1)[world.allowed].max())


@dataclass(frozen=True)
class Trace:
    """What happened, ``n`` runs over ``T`` blocks: the losses that were suffered, and their data.

    ``loss, rest, nack (n, T)`` and ``slope (n, T, d)``: the loss at ``w`` is that of the logit
    ``rest + slope . w``.
    """

    loss: np.ndarray
    rest: np.ndarray
    slope: np.ndarray
    nack: np.ndarray


def play(
    predictor: Predictor,
    worlds: list[World],
    part: Part,
    adaptive: bool,
    rates: np.ndarray,
    tick: Callable[[], None] = lambda: None,
) -> Trace:
    """Projected online gradient, by the tuner's own rule and projection, in all worlds side by side.

    Args:
        worlds: one for each run, ``n`` of them, of equal length.
        adaptive: the MCS with the most goodput by the read-out as it stands, or one at random.
        rates: ``eta``, shape ``(n, T)``.
        tick: called after every 100 blocks.
    """
    n, (blocks, _) = len(worlds), worlds[0].allowed.shape
    features, allowed, bler = (
        np.stack([getattr(w, k) for w in worlds], 1) for k in ("features", "allowed", "bler")
    )
    chance, pick = (np.stack([getattr(w, k) for w in worlds], 1) for k in ("chance", "pick"))
    encoded = predictor.encoder(features)
    efficiency, row = predictor.table.spectral_efficiency, np.arange(n)
    rule = LocalHead(offset_rate=1.0, gamma_rate=1.0, layer_rate=1.0)
    guards = GuardPolicy(radius=part.radius, max_offset_db=part.radius)
    weights, places = predictor.weights(np.tile(predictor.offline, (n, 1))), part.places(predictor)
    trace = Trace(*(np.empty((n, blocks, *shape)) for shape in ((), (), (len(places),), ())))
    for i in range(blocks):
        code = tuple(e[i] for e in encoded)
        if adaptive:
            act = predictor.forward(weights, features[i], encoded=code)
            value = efficiency * (1.0 - sigmoid(part.logit(act)))
            mcs = np.where(allowed[i], value, -1.0).argmax(axis=1)
        else:
            rank = np.floor(pick[i] * allowed[i].sum(axis=1))
            mcs = (allowed[i].cumsum(axis=1) > rank[:, None]).argmax(axis=1)
        outcome = Outcome(features[i], mcs[:, None], code, (chance[i] < bler[i, row, mcs]).astype(float))
        act = predictor.forward(weights, features[i], outcome.mcs, code)
        z, slope = part.logit(act)[:, 0], part.slope(act, predictor)[:, 0]
        trace.loss[:, i] = np.logaddexp(0.0, (1.0 - 2.0 * outcome.nack) * z)
        trace.rest[:, i] = z - np.einsum("nd,nd->n", slope, weights.flat[:, places])
        trace.slope[:, i], trace.nack[:, i] = slope, outcome.nack
        step = rule.direction(predictor, weights, act, outcome)  # at rate 1 minus the gradient
        weights.flat[:, places] += rates[:, i, None] * step[:, places]
        project(weights, predictor.offline, guards)
        if i % 100 == 99:
            tick()
    return trace


def diminishing(diameter: float, gradient: float, blocks: int) -> np.ndarray:
    """``eta_t = D / (G sqrt(2 t))``, shape ``(blocks,)``."""
    return diameter / (gradient * np.sqrt(2.0 * np.arange(1, blocks + 1)))


def best_fixed(trace: Trace, run: int, horizon: int, domain: Domain) -> tuple[float, float, np.ndarray]:
    """The least total loss of any fixed ``w`` in ``K`` over a run's first blocks.

    Newton's method on ``tau f(w) - sum log w - log(radius^2 - |w - centre|^2)`` with growing ``tau``. The
    certificate does not trust it: for convex ``f`` and any ``w`` of ``K``, ``f(w) - min f`` is at most
    ``<grad f(w), w> - min over v in K of <grad f(w), v>`` (Frank and Wolfe 1956).

    Returns:
        the total loss in nats, the certificate in nats, and ``w``.
    """
    a, rest = trace.slope[run, :horizon], trace.rest[run, :horizon]
    nack, sign = trace.nack[run, :horizon], 1.0 - 2.0 * trace.nack[run, :horizon]
    eye, centre, active = np.eye(a.shape[1]), domain.centre, float(domain.nonnegative)

    def loss(w: np.ndarray) -> float:
        return float(np.logaddexp(0.0, sign * (rest + a @ w)).sum())

    def barrier(w: np.ndarray) -> float:
        inside = domain.radius**2 - np.sum((w - centre) ** 2)
        if inside <= 0 or (domain.nonnegative and w.min() <= 0):
            return np.inf
        return float(-np.log(inside) - (np.log(w).sum() if domain.nonnegative else 0.0))

    w = centre + domain.radius / (2.0 * np.sqrt(len(centre)))
    for tau in np.geomspace(1e-2, 2.0 * (len(centre) + 1) / GAP, 8):
        for _ in range(100):
            p, away = sigmoid(rest + a @ w), w - centre
            inside = domain.radius**2 - away @ away
            gradient = tau * (a.T @ (p - nack)) - active / w + 2.0 * away / inside
            hessian = tau * (a.T * (p * (1.0 - p))) @ a + active * eye / w**2
            hessian += 2.0 * eye / inside + 4.0 * np.outer(away, away) / inside**2
            newton = np.linalg.solve(hessian, gradient)
            decrement, size, here = gradient @ newton, 1.0, tau * loss(w) + barrier(w)
            if decrement < 1e-8:
                break
            while size > 1e-10:
                at = w - size * newton
                wall = barrier(at)
                if wall < np.inf and tau * loss(at) + wall <= here - 0.25 * size * decrement:
                    break
                size /= 2.0
            w = w - size * newton
    gradient = a.T @ (sigmoid(rest + a @ w) - nack)
    return loss(w), float(gradient @ w - domain.least(gradient)), w


def regrets(trace: Trace, domain: Domain, horizons: tuple[int, ...] = HORIZONS) -> np.ndarray:
    """Regret in nats of every run over every horizon, ``(n, len(horizons))``; at most `GAP` too small.

    Raises:
        ArithmeticError: a comparator is not provably within `GAP` of the optimum.
    """
    out = np.empty((len(trace.loss), len(horizons)))
    for run in range(len(out)):
        for column, horizon in enumerate(horizons):
            least, gap, _ = best_fixed(trace, run, horizon, domain)
            if gap > GAP:
                raise ArithmeticError(f"run {run}, T = {horizon}: the comparator may be {gap:.2g} nats off")
            out[run, column] = trace.loss[run, :horizon].sum() - least
    return out


def exponent(regret: np.ndarray, horizons: tuple[int, ...] = HORIZONS) -> float:
    """Slope of log regret over log T, for ``regret (len(horizons),)``; less than 1 nat counts as 1."""
    return float(np.polyfit(np.log(horizons), np.log(np.maximum(regret, 1.0)), 1)[0])


def bound(domain: Domain, gradient: float, horizons: tuple[int, ...] = HORIZONS) -> np.ndarray:
    """``sqrt(2) D G sqrt(T)`` in nats, shape ``(len(horizons),)``."""
    return np.sqrt(2.0) * domain.diameter * gradient * np.sqrt(np.array(horizons))


@dataclass(frozen=True)
class Measured:
    """Regret of a part on a stream, ``(n, len(horizons))``, its bound, and what was suffered, in nats."""

    part: Part
    stream: str
    regret: np.ndarray
    bound: np.ndarray
    suffered: np.ndarray


def row(m: Measured, horizons: tuple[int, ...]) -> str:
    """A line of the table."""
    mean, largest = m.regret.mean(axis=0), m.regret.max(axis=0)
    late = tuple(horizons[-3:])
    return (
        f"| {m.part.name} | {m.stream} | {mean[0]:.0f}, {mean[-1]:.0f} | {largest[0]:.0f}, {largest[-1]:.0f} "
        f"| {m.bound[0]:.0f}, {m.bound[-1]:.0f} | {m.suffered[-1]:.0f} | {exponent(mean, horizons):.2f} "
        f"| {exponent(largest, horizons):.2f} | {exponent(largest[-3:], late):.2f} |"
    )


def plot(measured: list[Measured], horizons: tuple[int, ...], path: Path) -> None:
    """Regret against the horizon: a panel for each part and stream."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    parts = list(dict.fromkeys(m.part for m in measured))
    figure, axes = plt.subplots(2, len(parts), figsize=(4 * len(parts), 7), sharex=True, sharey=True)
    for m in measured:
        axis = axes[STREAMS.index(m.stream), parts.index(m.part)]
        axis.loglog(horizons, m.bound, "k--", label="bound, √2 D G √T")
        axis.loglog(horizons, m.suffered, ":", color="tab:gray", label="total loss of the tuned part")
        for name, regret, style in (
            ("max", m.regret.max(axis=0), "o-"),
            ("mean", m.regret.mean(axis=0), "s-"),
        ):
            label = f"{name} over seeds, T^{exponent(regret, horizons):.2f}"
            axis.loglog(horizons, np.maximum(regret, 1.0), style, label=label)
        axis.set_title(f"{m.part.name}, {m.stream}")
        axis.legend(fontsize=8)
        axis.grid(alpha=0.3)
    for axis in axes[-1]:
        axis.set_xlabel("blocks T")
    for axis in axes[:, 0]:
        axis.set_ylabel("regret (nats)")
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=10, help="runs of each part (default: %(default)s)")
    parser.add_argument("--horizon", type=int, default=32000, help="the longest (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("docs/results"), help="default: %(default)s")
    args = parser.parse_args()
    horizons = tuple(h for h in (*HORIZONS, 16000, 32000, 64000) if h <= args.horizon)
    predictor, guards = load_model("amc"), GuardPolicy()
    parts = [Part(-1, guards.max_offset_db)]
    parts += [Part(layer, guards.radius) for layer in range(predictor.shape.layers)]
    measured = []
    with Progress() as bar:
        task = bar.add_task("worlds", total=args.seeds)
        worlds = []
        for seed in range(args.seeds):
            worlds.append(make_world(predictor, seed, horizons[-1]))
            bar.advance(task)
        task = bar.add_task("runs", total=len(parts) * len(STREAMS) * (horizons[-1] // 100))
        for part in parts:
            domain = part.domain(predictor)
            largest = [gradient_bound(predictor, w, part) for w in worlds]
            rates = np.stack([diminishing(domain.diameter, g, horizons[-1]) for g in largest])
            for stream in STREAMS:
                bar.update(task, description=f"{part.name}, {stream}")
                adaptive = stream == "adaptive"
                trace = play(predictor, worlds, part, adaptive, rates, lambda: bar.advance(task))
                suffered = trace.loss.mean(axis=0).cumsum()[np.array(horizons) - 1]
                measured.append(
                    Measured(
                        part,
                        stream,
                        regrets(trace, domain, horizons),
                        bound(domain, max(largest), horizons),
                        suffered,
                    )
                )
    command = f"bench/convergence.py --seeds {args.seeds} --horizon {args.horizon}"
    ends = f"{horizons[0]}, {horizons[-1]}"
    lines = [
        f"<!-- written by `{command}`; do not edit -->",
        "# Regret against the best fixed value",
        "",
        f"Shipped model, reports 3 dB too high, {args.seeds} seeds, T = {', '.join(map(str, horizons))}.",
        f"Written by `{command}`. What is proved, and what is not, stands",
        "in [convergence.md](../convergence.md). Radii are those of the shipped guards. Regret is in nats,",
        f"against a comparator that is provably within {GAP} nats of the best; two figures are for",
        f"T = {ends}. The loss is the mean over seeds of all nats that were suffered over the longest T.",
        "Exponents are slopes of log regret over log T: of the mean and of the largest over the seeds, and",
        "(late) of the largest over the last three T.",
        "",
        "| part | stream | mean regret | largest regret | bound | loss | exponent, mean | largest | late |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
        *(row(m, horizons) for m in measured),
        "",
        "![regret against T](convergence/regret.png)",
    ]
    (args.out / "convergence").mkdir(parents=True, exist_ok=True)
    plot(measured, horizons, args.out / "convergence" / "regret.png")
    (args.out / "convergence.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
