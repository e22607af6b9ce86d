# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known of a link: one structured record, and how the compiled functions read a model.

A batch of links is an array of records, and a snapshot of some of them is ``links[rows].copy()``.
"""

from __future__ import annotations

import numba
import numpy as np

from . import features as ft
from .mcs import MAX_MCS

# The belief's grid: `belief` says what is on its axes.
N_MODES, N_LOSSES, N_STEPS = 4, 6, 121
N_SPREADS = 2  # of the modes: sharp ones, and one that is as wide as a fade

HIDDEN = 64  # units of the recurrent layer and of the head; 128 gained nothing in the design study
N_INPUTS = 32

TOLD, BLIND, NET = 0, 1, 2
"""Experts: the belief that reads the reports, the belief that reads only ACK and NACK, the network."""
N_EXPERTS = 3
EXPERTS = ("reports", "acks", "network")
"""What `status` calls them."""

# One sent block, as `link_kernel.outcome` wants it back: a vector of floats.
MCS, REFERENCE, ANCHOR, LENGTH, TOLD_BLER, BLIND_BLER, NET_BLER, BLER, BLOCK = range(9)
FEATURES = 9
"""Where `tuning`'s features begin: the tuner's part of it."""
N_SENT = 12

LINK = np.dtype(
    [
        # Reports (`features.LinkHistory`).
        ("reports", "f8", (ft.HISTORY,)),
        ("mean", "f8"),
        ("spread2", "f8"),
        ("structure2", "f8", (len(ft.STRUCTURE_LAGS),)),
        ("fast", "f8"),
        ("slow", "f8"),
        ("seen", "i8"),  # reports so far
        ("fresh", "i8"),  # a report that the network has not read yet
        # The beliefs: with reports, and without.
        ("weights", "f4", (2, N_MODES, N_LOSSES, N_STEPS)),
        ("arrives", "f8", (2, N_SPREADS, N_STEPS)),  # weight times the share that is not lost at any SINR
        ("above", "f8", (2, N_SPREADS, N_STEPS + 1)),  # the sum of that from each step on
        ("centre_db", "f8", (2,)),
        ("width_db", "f8", (2,)),
        ("loss", "f8", (2,)),
        ("broken", "f4", (MAX_MCS,)),
        ("failed", "i8"),  # whether the last outcome was a NACK
        ("idle", "i8"),  # blocks since the beliefs last drifted
        # The network.
        ("hidden", "f4", (HIDDEN,)),
        ("waiting", "i8"),  # an outcome that the network has not read yet, and what it was
        ("outcome", "f8", (5,)),
        ("inputs", "f4", (N_INPUTS,)),  # that it read last, as they are
        # The vote, the price of a failure, and how much was sent.
        ("vote", "f8", (N_EXPERTS,)),
        ("price", "f8"),
        ("blocks", "i8"),
        ("outcomes", "i8"),
        ("best", "i8"),  # the MCS that the last `select` chose, whatever was sent
        ("probe", "i8"),  # whether the last `select` went beyond the best expected goodput, to learn
        ("sent", "f8", (N_SENT,)),  # of the last `select`
    ],
    align=True,
)
"""A link's record: 32 KiB, most of it the beliefs' grid."""

LINKS = numba.from_dtype(LINK)[::1]
"""Of the compiled functions' first argument."""

# Rows of a table: what depends on the MCS alone.
THRESHOLD, SLOPE, ABOVE_MIDDLE, ORDER = range(4)

# What a policy and a table say, in one vector.
(
    TARGET, PRICE_UNIT, EXPLORE_BLIND, EXPLORE_TOLD, MOST_ROBUST, STEP_DB, MIDDLE_DB, LOW_DB, HIGH_DB,
    N_ORDERS, JUMP_TOLD, JUMP_BLIND, SWITCH, SHARE,
) = range(14)  # fmt: skip
N_POLICY = 14
