# SPDX-License-Identifier: GPL-3.0-or-later
r"""A link's three verbs, compiled: report, select, outcome. Nothing here allocates without bound or waits.

The experts of the *vote* are the network, the belief that is told the reports, and the belief that is blind
to them. The mixture of their BLERs decides,

    p(m) = broken_m BROKEN_BLER + (1 - broken_m) sum_e vote_e p_e(m)

and the votes follow the log loss of the MCS that was sent by fixed share (Herbster and Warmuth 1998): after
an outcome ``vote_e <- (1 - a) vote_e P_e / sum + a / 3``. For any sequence of outcomes the mixture's log loss
exceeds that of the best expert in each of ``k + 1`` stretches of ``T`` blocks by at most

    ln(1 / first vote) + k ln(3 / a) + (T - 1 - k) ln(1 / (1 - a)) nats.

It speaks of the log loss at the MCS that were sent, not of goodput.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from . import belief, network
from . import features as ft
from .belief import BROKEN_BLER, MATRIX, N_STEPS, VECTOR, sigmoid
from .compiled import compiler
from .record import (
    ANCHOR,
    BLER,
    BLIND,
    BLIND_BLER,
    BLOCK,
    EXPLORE_BLIND,
    EXPLORE_TOLD,
    FEATURES,
    HIDDEN,
    LENGTH,
    LINKS,
    MCS,
    MIDDLE_DB,
    MOST_ROBUST,
    N_EXPERTS,
    N_INPUTS,
    N_SPREADS,
    NET,
    NET_BLER,
    PRICE_UNIT,
    REFERENCE,
    SHARE,
    SLOPE,
    STEP_DB,
    TARGET,
    THRESHOLD,
    TOLD,
    TOLD_BLER,
)  # fmt: skip
from .selection import LARGEST_PRICE, PRICE_STEP
from .tuning import ARRIVES, LOGIT, PER_DB

VOTE_SHARE = 0.005
"""Of the votes, what is dealt out anew after every outcome."""
OUTAGE = 0.98
"""Where every MCS fails as surely as this, every second block is the most robust one, and the others ask each
MCS in turn: an SINR below the table and a robust MCS that does not decode look the same."""
FIRST_VOTE = (0.15, 0.05, 0.8)
FIRST_VOTE_ALONE = (0.75, 0.25, 0.0)
"""Of the beliefs, where there is no network."""
WORTH_ASKING = 0.3
"""An MCS of a smaller share of the best expected goodput is not worth what its outcome would tell."""
_HEARD = 2e-3  # an expert with less is asked about the MCS that is sent, not about all

WEIGHTS = network.WEIGHTS
_compiled = compiler(
    "record",
    "belief",
    "network",
    "features",
    "selection",
    "predictor",
    "tuning",
    fastmath={"contract", "nsz"},
)
_ENTROPY = np.array(
    [0.0] + [-p * math.log(p) - (1 - p) * math.log(1 - p) for p in np.arange(1, 512) / 512] + [0.0]
)


@_compiled(numba.float64(numba.float64))
def entropy(p: float) -> float:
    """Of an outcome of this probability, in nats; from a table."""
    return _ENTROPY[int(min(max(p, 0.0), 1.0) * 512.0 + 0.5)]


@_compiled(numba.void(LINKS, numba.int64, VECTOR, WEIGHTS))
def begin(links: np.ndarray, row: int, policy: np.ndarray, net: np.ndarray) -> None:
    """A fresh link. Without a network (``net`` is empty) the beliefs decide."""
    link = links[row]
    for i in range(len(link.broken)):
        link.broken[i] = belief.BROKEN_PRIOR
    for i in range(HIDDEN):
        link.hidden[i] = 0.0
    for i in range(N_EXPERTS):
        link.vote[i] = FIRST_VOTE[i] if net.size else FIRST_VOTE_ALONE[i]
    link.seen, link.fresh, link.waiting, link.idle, link.blocks, link.outcomes = 0, 0, 0, 0, 0, 0
    link.fast, link.slow, link.price, link.failed, link.probe, link.best = 0.0, 0.0, 0.0, 0, 0, 0
    belief.begin(links, row, TOLD, policy)
    belief.begin(links, row, BLIND, policy)


@_compiled(numba.void(LINKS, numba.int64, VECTOR, WEIGHTS, numba.float64, numba.float64, WEIGHTS))
def advance(
    links: np.ndarray, row: int, policy: np.ndarray, net: np.ndarray, age: float, length: float, x: np.ndarray
) -> None:
    """Let the network read what is new; leaves the standardised inputs in ``x``."""
    network.read(links, row, policy, age, length, x)
    for i in range(N_INPUTS):
        links[row].inputs[i] = x[i]
    network.standardise(net, x)
    network.step(links, row, net, x)


@_compiled(numba.void(LINKS, numba.int64, MATRIX, VECTOR, WEIGHTS, numba.float64, numba.float64, MATRIX))
def weigh(
    links: np.ndarray,
    row: int,
    table: np.ndarray,
    policy: np.ndarray,
    net: np.ndarray,
    age: float,
    length: float,
    work: np.ndarray,
) -> None:
    """BLER of every MCS: of each expert in ``work``'s rows, of the mixture in row ``N_EXPERTS``."""
    link, n = links[row], table.shape[1]
    seen = link.seen > 0
    at = network.anchor(links, row, policy)
    if net.size:
        x = np.empty(N_INPUTS, np.float32)
        advance(links, row, policy, net, age, length, x)
        network.predict(links, row, net, x, table, policy, at, length, work[NET])
    told, blind, by_net = link.vote[TOLD], link.vote[BLIND], link.vote[NET]
    if not seen:
        told = 0.0
    for m in range(n):
        p = by_net * work[NET, m] if by_net > 0.0 else 0.0
        if told > _HEARD:
            work[TOLD, m] = belief.bler(links, row, TOLD, table, policy, m, link.reports[0], length)
            p += told * work[TOLD, m]
        if blind > _HEARD:
            work[BLIND, m] = belief.bler(links, row, BLIND, table, policy, m, policy[MIDDLE_DB], length)
            p += blind * work[BLIND, m]
        heard = by_net + (told if told > _HEARD else 0.0) + (blind if blind > _HEARD else 0.0)
        p = p / heard if heard > 0.0 else 0.5
        b = float(link.broken[m])
        work[N_EXPERTS, m] = min(max(b * BROKEN_BLER + (1.0 - b) * p, 1e-6), 1.0 - 1e-6)


@_compiled(
    numba.float64(LINKS, numba.int64, numba.int64, MATRIX, VECTOR, numba.int64, numba.float64, numba.float64)
)
def information(
    links: np.ndarray,
    row: int,
    which: int,
    table: np.ndarray,
    policy: np.ndarray,
    mcs: int,
    reference_db: float,
    length: float,
) -> float:
    """What the outcome of a block at this MCS would tell about a belief's offset, in nats."""
    link = links[row]
    step, slope = policy[STEP_DB], table[SLOPE, mcs]
    needed = belief.needed_db(table, mcs, reference_db, length)
    left = max(1.0 - link.loss[which], 0.1)
    mean, each = 0.0, 0.0
    for s in range(N_SPREADS):
        width = belief.scale(slope, belief.STRAY_DB[s])
        first, last = belief.window(needed, width, step)
        certain = link.above[which, s, last]
        mean += certain
        each += certain / left * entropy(left)
        for i in range(first, last):
            weight = link.arrives[which, s, i] / left
            ack = left * sigmoid(((i - N_STEPS // 2) * step - needed) / width)
            mean += weight * ack
            each += weight * entropy(ack)
    return max(entropy(mean) - each, 0.0)


@_compiled(numba.int64(LINKS, numba.int64, MATRIX, VECTOR, VECTOR, numba.float64, MATRIX))
def choose(
    links: np.ndarray,
    row: int,
    table: np.ndarray,
    policy: np.ndarray,
    gain: np.ndarray,
    length: float,
    work: np.ndarray,
) -> int:
    """The MCS of the largest expected goodput, less the price of a failure, plus what is worth knowing."""
    link, n = links[row], table.shape[1]
    largest, lowest = 0.0, math.inf
    for m in range(n):
        largest = max(largest, gain[m] * (1.0 - work[N_EXPERTS, m]))
        lowest = min(lowest, work[N_EXPERTS, m])
    if lowest >= OUTAGE:
        link.probe = 1
        return int(policy[MOST_ROBUST]) if link.blocks % 2 == 0 else (link.blocks // 2) % n
    best, most = 0, -math.inf
    greedy, most_greedy = 0, -math.inf
    which = BLIND if link.seen == 0 else TOLD
    reference = policy[MIDDLE_DB] if link.seen == 0 else link.reports[0]
    curious = policy[EXPLORE_BLIND] if link.seen == 0 else policy[EXPLORE_TOLD]
    for m in range(n):
        p = work[N_EXPERTS, m]
        value = gain[m] - p * (gain[m] + link.price)
        if value > most_greedy:
            greedy, most_greedy = m, value
        if curious > 0.0 and gain[m] * (1.0 - p) > WORTH_ASKING * largest:
            value += curious * largest * information(links, row, which, table, policy, m, reference, length)
        if value > most:
            best, most = m, value
    link.probe = 1 if best != greedy else 0
    return best


@_compiled(
    numba.void(
        LINKS, numba.int64, numba.int64, MATRIX, VECTOR, numba.int64, numba.float64, numba.float64
    )
)  # fmt: skip
def note_curve(
    links: np.ndarray,
    row: int,
    which: int,
    table: np.ndarray,
    policy: np.ndarray,
    mcs: int,
    reference_db: float,
    length: float,
) -> None:
    """Write down where on the MCS's waterfall the block is: what the tuner wants to know.

    The BLER is ``1 - arrives + arrives sigmoid(logit)``: the share that is lost at any SINR is not the
    curve's. ``per_db`` is how much the logit grows with the threshold, averaged over what the belief holds
    possible.
    """
    link = links[row]
    sent = link.sent
    arrives = link.above[which, 0, 0] + link.above[which, 1, 0]
    lower = (1.0 - belief.bler(links, row, which, table, policy, mcs, reference_db + 0.5, length)) / arrives
    upper = (1.0 - belief.bler(links, row, which, table, policy, mcs, reference_db - 0.5, length)) / arrives
    lower, upper = min(max(lower, 1e-4), 1.0 - 1e-4), min(max(upper, 1e-4), 1.0 - 1e-4)
    arrives *= 1.0 - float(link.broken[mcs])
    ack = min(max((1.0 - sent[BLER]) / arrives, 1e-4), 1.0 - 1e-4)
    sent[FEATURES + LOGIT] = math.log((1.0 - ack) / ack)
    sent[FEATURES + PER_DB] = max(math.log(lower * (1.0 - upper) / (upper * (1.0 - lower))), 1e-3)
    sent[FEATURES + ARRIVES] = arrives


@_compiled(numba.void(LINKS, numba.int64, MATRIX, VECTOR, numba.int64, numba.float64, MATRIX))
def note(
    links: np.ndarray,
    row: int,
    table: np.ndarray,
    policy: np.ndarray,
    mcs: int,
    length: float,
    work: np.ndarray,
) -> None:
    """Write down in ``links[row].sent`` that a block goes out at this MCS."""
    link = links[row]
    sent, seen = link.sent, link.seen > 0
    at = network.anchor(links, row, policy)
    sent[MCS], sent[LENGTH], sent[ANCHOR] = mcs, length, at
    sent[REFERENCE] = link.reports[0] if seen else math.nan
    blind = work[BLIND, mcs]
    if not link.vote[BLIND] > _HEARD:
        blind = belief.bler(links, row, BLIND, table, policy, mcs, policy[MIDDLE_DB], length)
    told = math.nan
    if seen:
        told = work[TOLD, mcs]
        if not link.vote[TOLD] > _HEARD:
            told = belief.bler(links, row, TOLD, table, policy, mcs, link.reports[0], length)
    sent[TOLD_BLER], sent[BLIND_BLER] = told, blind
    sent[NET_BLER] = work[NET, mcs] if link.vote[NET] > 0.0 else math.nan
    sent[BLER] = work[N_EXPERTS, mcs]
    sent[BLOCK] = float(link.blocks)
    which = TOLD if seen and link.vote[TOLD] >= link.vote[BLIND] else BLIND
    reference = link.reports[0] if which == TOLD else policy[MIDDLE_DB]
    note_curve(links, row, which, table, policy, mcs, reference, length)
    link.blocks += 1
    link.idle += 1


@_compiled(
    numba.int64(
        LINKS, numba.int64, MATRIX, VECTOR, WEIGHTS, VECTOR, numba.float64, numba.float64, numba.int64, MATRIX
    )
)
def select(
    links: np.ndarray,
    row: int,
    table: np.ndarray,
    policy: np.ndarray,
    net: np.ndarray,
    gain: np.ndarray,
    age: float,
    length: float,
    given: int,
    work: np.ndarray,
) -> int:
    """Choose the MCS of the coming block; notes in ``links[row].sent`` what `outcome` wants back.

    Args:
        gain: `McsTable.goodput_if_acked` of the block, ``(n_mcs,)``.
        age: of the last report in blocks, 1 or more.
        length: `McsTable.length_logit` of the block.
        given: the MCS that goes out whatever is best; -1 for the best.
        work: ``(N_EXPERTS + 1, n_mcs)``; its last row holds every MCS's BLER afterwards.
    """
    weigh(links, row, table, policy, net, age, length, work)
    mcs = choose(links, row, table, policy, gain, length, work)
    links[row].best = mcs
    if given >= 0:
        mcs, links[row].probe = given, 0
    note(links, row, table, policy, mcs, length, work)
    return mcs


@_compiled(numba.void(LINKS, numba.int64, VECTOR, VECTOR, numba.float64))
def vote(links: np.ndarray, row: int, policy: np.ndarray, sent: np.ndarray, nack: float) -> None:
    """Fixed share on the log loss of what was sent; an expert that said nothing keeps its vote."""
    votes = links[row].vote
    total, spoke, alive = 0.0, 0.0, 0
    for e in range(N_EXPERTS):
        p = sent[TOLD_BLER + e]
        if not math.isnan(p):
            p = min(max(p, 1e-6), 1.0 - 1e-6)
            spoke += votes[e]
            votes[e] *= p if nack > 0.5 else 1.0 - p
            total += votes[e]
            alive += 1
    if not total > 0.0:
        return
    for e in range(N_EXPERTS):
        if not math.isnan(sent[TOLD_BLER + e]):
            votes[e] = spoke * ((1.0 - policy[SHARE]) * votes[e] / total + policy[SHARE] / alive)


@_compiled(numba.void(LINKS, numba.int64, MATRIX, VECTOR, WEIGHTS, VECTOR, numba.float64, numba.float64))
def outcome(
    links: np.ndarray,
    row: int,
    table: np.ndarray,
    policy: np.ndarray,
    net: np.ndarray,
    sent: np.ndarray,
    nack: float,
    age: float,
) -> None:
    """Take the outcome (1.0 for NACK) of a first transmission of which `select` noted ``sent``."""
    link = links[row]
    mcs, length = int(sent[MCS]), sent[LENGTH]
    fine, heard = 0.0, 0.0
    for e in range(N_EXPERTS):
        p = sent[TOLD_BLER + e]
        if not math.isnan(p):
            fine += link.vote[e] * p
            heard += link.vote[e]
    fine = fine / heard if heard > 0.0 else 0.5
    vote(links, row, policy, sent, nack)
    blocks = link.idle
    link.idle = 0
    if not math.isnan(sent[REFERENCE]):
        belief.outcome(links, row, TOLD, table, policy, mcs, sent[REFERENCE], length, nack, blocks)
    belief.outcome(links, row, BLIND, table, policy, mcs, policy[MIDDLE_DB], length, nack, blocks)
    belief.mask(links, row, table.shape[1], mcs, fine, nack)
    link.failed = 1 if nack > 0.5 else 0

    short = (table[THRESHOLD, mcs] - sent[ANCHOR]) / table[SLOPE, mcs] + length
    surprise = nack - sigmoid(short)
    link.fast += ft.FAST_GAIN * (surprise - link.fast)
    link.slow += ft.SLOW_GAIN * (surprise - link.slow)
    link.outcomes += 1
    unit = policy[PRICE_UNIT]
    if unit > 0.0:
        link.price = min(
            max(link.price + PRICE_STEP * unit * (nack - policy[TARGET]), 0.0), LARGEST_PRICE * unit
        )
    if net.size:
        if link.waiting:  # one that the network has not read yet: it reads each by itself
            x = np.empty(N_INPUTS, np.float32)
            advance(links, row, policy, net, age, length, x)
        link.waiting = 1
        link.outcome[network.SIGN] = 2.0 * nack - 1.0
        link.outcome[network.MARGIN] = table[THRESHOLD, mcs] - sent[ANCHOR]
        link.outcome[network.SURPRISE] = nack - sent[BLER]
        link.outcome[network.OUTCOME_THRESHOLD] = table[THRESHOLD, mcs]
        link.outcome[network.OUTCOME_BLOCK] = sent[BLOCK]
