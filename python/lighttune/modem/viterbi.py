# SPDX-License-Identifier: GPL-3.0-or-later
"""A small Viterbi decoder in numpy for the header: synchronous, so that reception never waits on a message.

Four trellis steps are taken at once (radix 16): numpy's cost is per call, not per path.
Payloads go to GNU Radio's C++ decoder instead.
"""

from __future__ import annotations

import numpy as np

from .coding import CONSTRAINT, POLYNOMIALS, TAIL_BITS

_STEPS = 4
_STATES = 1 << (CONSTRAINT - 1)
_BRANCHES = 1 << _STEPS


def _signs() -> np.ndarray:
    """Coded bits, as +-1, of `_STEPS` joined steps: shape ``(8, branches * states)``.

    A state holds the last six bits, newest in bit 0; a branch is the four bits that leave the register.
    """
    state = np.arange(_STATES)[None, :]
    window = state | np.arange(_BRANCHES)[:, None] << (CONSTRAINT - 1)
    signs = np.empty((_STEPS, 2, _BRANCHES, _STATES), np.float32)
    for step in range(_STEPS):
        register = window >> (_STEPS - 1 - step) & (1 << CONSTRAINT) - 1
        for column, polynomial in enumerate(POLYNOMIALS):
            parity = sum((register & polynomial) >> i & 1 for i in range(CONSTRAINT)) & 1
            signs[step, column] = 2 * parity - 1
    return signs.reshape(2 * _STEPS, -1)


_SIGNS = _signs()


def decode(llr: np.ndarray) -> np.ndarray:
    """Most likely bits of a terminated codeword of the K = 7 mother code.

    Args:
        llr: positive for bit 1, shape ``(2 * steps,)``; ``steps`` (tail included) a multiple of 4.

    Returns:
        Bits without the tail, shape ``(steps - 6,)``, uint8.
    """
    blocks = len(llr) // (2 * _STEPS)
    path = llr.reshape(blocks, 2 * _STEPS).astype(np.float32) @ _SIGNS
    # The predecessor of state s over branch b is (s >> 4) | (b << 2): metrics broadcast, none is gathered.
    path = path.reshape(blocks, _BRANCHES, 4, 16)
    metric = np.full(_STATES, -1e9, np.float32)
    metric[0] = 0
    for candidates in path:
        candidates += metric.reshape(_BRANCHES, 4, 1)
        metric = np.maximum.reduce(candidates).ravel()
    path = path.reshape(blocks, _BRANCHES, _STATES)
    ends = np.empty(blocks, np.intp)
    state = 0
    for i in range(blocks - 1, -1, -1):
        ends[i] = state
        state = state >> _STEPS | int(path[i, :, state].argmax()) << (CONSTRAINT - 1 - _STEPS)
    bits = ends[:, None] >> np.arange(_STEPS - 1, -1, -1) & 1
    return bits.ravel()[:-TAIL_BITS].astype(np.uint8)
