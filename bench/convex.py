# SPDX-License-Identifier: GPL-3.0-or-later
"""The convex sets of docs/convergence.md: what their best points are bounded and found by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np


class Domain(Protocol):
    """A convex set ``K`` of points ``(d,)``."""

    @property
    def diameter(self) -> float:
        """An upper bound of the largest distance of two points of ``K``."""

    @property
    def inner(self) -> np.ndarray:
        """A point inside."""

    def contains(self, w: np.ndarray) -> bool:
        """Whether ``w`` lies in ``K``."""

    def least(self, gradient: np.ndarray) -> float:
        """A lower bound of ``<gradient, v>`` over ``K``."""

    def barrier(self, w: np.ndarray) -> float:
        """A convex function that is finite inside alone and rises without end towards the rim."""

    def barrier_slopes(self, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Its gradient ``(d,)`` and Hessian ``(d, d)``."""


@dataclass(frozen=True)
class Box:
    """``|w_i| <= sizes_i``."""

    sizes: np.ndarray

    @property
    def diameter(self) -> float:
        return 2.0 * float(np.linalg.norm(self.sizes))

    @property
    def inner(self) -> np.ndarray:
        return 0.3 * self.sizes

    def contains(self, w: np.ndarray) -> bool:
        return bool((np.abs(w) <= self.sizes).all())

    def least(self, gradient: np.ndarray) -> float:
        return -float(np.abs(gradient) @ self.sizes)

    def barrier(self, w: np.ndarray) -> float:
        return float(-np.log(self.sizes**2 - w**2).sum()) if (np.abs(w) < self.sizes).all() else np.inf

    def barrier_slopes(self, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        inside = self.sizes**2 - w**2
        return 2.0 * w / inside, np.diag(2.0 / inside + 4.0 * w**2 / inside**2)


@dataclass(frozen=True)
class Ball:
    """A ball around ``centre (d,)``, cut by ``w >= 0``."""

    centre: np.ndarray
    radius: float

    @property
    def diameter(self) -> float:
        return 2.0 * self.radius

    @property
    def inner(self) -> np.ndarray:
        return self.centre + self.radius / (2.0 * np.sqrt(len(self.centre)))

    def contains(self, w: np.ndarray) -> bool:
        return bool(np.linalg.norm(w - self.centre) <= self.radius and w.min() >= 0)

    def least(self, gradient: np.ndarray) -> float:
        """By Lagrange duality.

        For every ``m > 0`` the minimum over ``v >= 0`` of ``<g, v> + m/2 (|v - centre|^2 - radius^2)`` is
        one. It is concave in ``m``, with derivative ``(|v - centre|^2 - radius^2) / 2``: bisection.
        """

        def dual(multiplier: float) -> tuple[float, float]:
            v = np.maximum(self.centre - gradient / multiplier, 0.0)
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

    def barrier(self, w: np.ndarray) -> float:
        inside = self.radius**2 - np.sum((w - self.centre) ** 2)
        return float(-np.log(inside) - np.log(w).sum()) if inside > 0 and w.min() > 0 else np.inf

    def barrier_slopes(self, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        away = w - self.centre
        inside = self.radius**2 - away @ away
        hessian = np.diag(2.0 / inside + 1.0 / w**2) + 4.0 * np.outer(away, away) / inside**2
        return 2.0 * away / inside - 1.0 / w, hessian
