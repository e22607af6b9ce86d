# SPDX-License-Identifier: GPL-3.0-or-later
"""Things that several folders of tests build."""

from importlib.util import find_spec

import numpy as np
import pytest
from gnuradio.lighttune.core.mcs import McsTable
from gnuradio.lighttune.core.predictor import N_SHAPE, Encoder, Predictor, Shape

needs_torch = pytest.mark.skipif(
    find_spec("torch") is None, reason="training needs torch: tools/setup.sh installs it"
)


def make_predictor(table: McsTable, rng: np.random.Generator, depth: float = 0.0) -> Predictor:
    """A predictor that is not trained; ``depth`` scales random weights of the encoder's last layer."""
    hidden, orders = 8, len(table.orders)
    shape = Shape(orders)
    encoder = Encoder(
        mean=np.zeros(N_SHAPE),
        scale=np.ones(N_SHAPE),
        w1=0.3 * rng.standard_normal((hidden, N_SHAPE)),
        b1=np.zeros(hidden),
        w2=0.3 * rng.standard_normal((hidden, hidden)),
        b2=np.zeros(hidden),
        w3=depth * rng.standard_normal((3 * orders, hidden)),
        b3=np.zeros(3 * orders),
        direct=np.zeros((3 * orders, N_SHAPE)),
    )
    blank = Predictor(table, encoder, np.zeros(shape.n_weights, np.float32), shape)
    weights = blank.weights()
    for matrix in weights.W:
        matrix[...] = rng.standard_normal(matrix.shape) / np.sqrt(matrix.shape[1])
    weights.b[...] = rng.uniform(-1.5, 1.5, weights.b.shape)
    weights.v[...] = 0.3 * np.abs(rng.standard_normal(weights.v.shape))
    weights.w[...] = 0.3 * np.abs(rng.standard_normal(weights.w.shape))
    return Predictor(table, encoder, weights.flat.astype(np.float32), shape)


def random_table(rng: np.random.Generator) -> McsTable:
    """One to four modulation orders with ladders of one to nine rates, in no order of efficiency."""
    rows = []
    for order in rng.choice((1, 2, 4, 6, 8), rng.integers(1, 5), replace=False):
        n = rng.integers(1, 10)
        rates = np.sort(rng.choice(np.arange(10, 98), n, replace=False)) / 100
        thresholds = rng.uniform(-5, 15) + np.cumsum(rng.uniform(0.2, 2.0, n))
        slope = rng.uniform(0.1, 2.0)
        rows += [(int(order), float(r), float(t), slope) for r, t in zip(rates, thresholds, strict=True)]
    rows = [rows[i] for i in rng.permutation(len(rows))]
    return McsTable("random", *zip(*rows, strict=True), overhead_symbols=float(rng.uniform(0, 300)))


def random_predictor(rng: np.random.Generator, table: McsTable) -> Predictor:
    orders, hidden = len(table.orders), int(rng.integers(1, 40))
    shape = Shape(orders, int(rng.integers(1, 5)), int(rng.integers(2, 24)))

    def normal(*size: int) -> np.ndarray:
        return rng.standard_normal(size) / np.sqrt(size[-1])

    encoder = Encoder(
        mean=normal(N_SHAPE), scale=rng.uniform(0.3, 3, N_SHAPE),
        w1=normal(hidden, N_SHAPE), b1=normal(hidden), w2=normal(hidden, hidden), b2=normal(hidden),
        w3=normal(3 * orders, hidden), b3=normal(3 * orders), direct=normal(3 * orders, N_SHAPE),
    )  # fmt: skip
    return Predictor(table, encoder, rng.normal(0, 0.3, shape.n_weights).astype(np.float32), shape)
