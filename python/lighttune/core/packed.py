# SPDX-License-Identifier: GPL-3.0-or-later
"""A predictor as the compiled functions read it: few flat arrays, for each one costs time in every call."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from .lengths import BlockLengths
from .predictor import N_SHAPE, Encoder, Predictor, Shape, Weights


class Packed:
    """What all links of a predictor share.

    Attributes:
        table: what depends on the MCS alone, a row for each kind and a column for each MCS.
        encoder: see `pack_encoder`.
        sizes: of hidden units, modulation orders, adaptive layers and their width.
        offline: the offline weights, see `weights`.
        lengths: what follows from a block's length.
        work: scratch. `kernel` holds the GIL, so that links may share it.
    """

    def __init__(self, predictor: Predictor) -> None:
        table, encoder, shape = predictor.table, predictor.encoder, predictor.shape
        hidden = len(encoder.b1)
        self.predictor = predictor
        self.table = np.array(
            [
                table.threshold, table.slope, table.above_middle_db, predictor.scaled_threshold,
                table.order_of, table.next_higher,
            ],
            float,
        )  # fmt: skip
        self.encoder = pack_encoder(encoder)
        self.sizes = np.array([hidden, shape.orders, shape.layers, shape.width])
        self._places, self._factors = _places(shape)
        self.offline = self.weights(predictor.weights())
        self.work = np.zeros((6, max(hidden, N_SHAPE, 3 * shape.orders, len(table), shape.width)))
        self.lengths = BlockLengths(table)

    def weights(self, weights: Weights) -> np.ndarray:
        """Weights of one link as `kernel.predict` reads them, with what follows from them for each MCS."""
        n, order = len(self.predictor.table), self.predictor.table.order_of
        packed = np.empty(2 * n + len(self._places))
        packed[:n] = weights.offset_db + weights.order_db[order]
        packed[n : 2 * n] = np.exp(weights.gamma)
        packed[2 * n :] = weights.flat[self._places]
        packed[2 * n :] *= self._factors
        return packed


@lru_cache(maxsize=8)
def pack(predictor: Predictor) -> Packed:
    """The predictor's, made once for all of its links."""
    return Packed(predictor)


def pack_encoder(encoder: Encoder) -> np.ndarray:
    """The encoder in the order in which `kernel.read` goes through it; matrices by input, so that the inner
    loop runs over outputs, side by side."""
    parts = (
        encoder.mean, encoder.scale, encoder.b1, encoder.w1.T, encoder.b2, encoder.w2.T,
        encoder.b3, encoder.w3.T, encoder.direct.T,
    )  # fmt: skip
    return np.concatenate([np.ravel(part) for part in parts])


def _places(shape: Shape) -> tuple[np.ndarray, np.ndarray]:
    """Where each of the layers' packed weights stands among the flat ones, and what it is multiplied by."""
    place = Weights(shape, np.arange(shape.n_weights))
    units = np.stack([place.b, place.v, place.w, place.u], axis=1)
    factors = np.stack([np.ones(shape.width), shape.signs, shape.signs, 2.0 * shape.signs])
    matrices = [matrix.T.ravel() for matrix in place.W]
    before = sum(len(matrix) for matrix in matrices)
    return (
        np.concatenate([*matrices, units.ravel()]),
        np.concatenate([np.ones(before), np.tile(factors.ravel(), shape.layers)]),
    )
