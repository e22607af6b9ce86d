# SPDX-License-Identifier: GPL-3.0-or-later
"""Things that several folders of tests build."""

import numpy as np
from gnuradio.lighttune.core.mcs import McsTable
from gnuradio.lighttune.core.predictor import N_SHAPE, Encoder, Predictor, Shape


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
