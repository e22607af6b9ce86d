# SPDX-License-Identifier: GPL-3.0-or-later
"""MCS tables: modulation order, code rate, and the AWGN waterfall of every MCS."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np

MAX_MCS, MAX_ORDER, MAX_REFERENCE_BITS = 256, 16, 2**31
"""Bounds of a table: of rows (an index travels as one byte), of bits per symbol, of bits per block."""

_LARGEST_FILE = 2**20  # bytes of a curves file: one with points is a few kB
_MODELS = Path(__file__).resolve().parent.parent / "models"
_CURVES = {
    "amc": "amc_curves.json",
    "nr-pdsch-1-sionna": "nr_pdsch_1_sionna_curves.json",
    "wifi": "wifi_curves.json",
}

TABLES = (*_CURVES, "nr-pdsch-1", "nr-pdsch-2", "nr-pdsch-3")
"""Names of the tables that `McsTable.named` knows: ``"amc"`` is the reference modem's;
``"nr-pdsch-1-sionna"``
has MCS 3 to 28 of NR PDSCH table 1 with the BLER curves of NVIDIA's Sionna (it has none for MCS 0 to 2);
``"wifi"`` has the eight rates of IEEE 802.11a/g with the curves of gr-ieee802-11 (``docs/wifi.md``)."""

# 3GPP TS 38.214 V17, Tables 5.1.3.1-1 to 5.1.3.1-3: (modulation order Q_m, target code rate R x 1024).
_NR_PDSCH: dict[int, tuple[tuple[int, Sequence[float]], ...]] = {
    1: (
        (2, (120, 157, 193, 251, 308, 379, 449, 526, 602, 679)),
        (4, (340, 378, 434, 490, 553, 616, 658)),
        (6, (438, 466, 517, 567, 616, 666, 719, 772, 822, 873, 910, 948)),
    ),
    2: (
        (2, (120, 193, 308, 449, 602)),
        (4, (378, 434, 490, 553, 616, 658)),
        (6, (466, 517, 567, 616, 666, 719, 772, 822, 873)),
        (8, (682.5, 711, 754, 797, 841, 885, 916.5, 948)),
    ),
    3: (
        (2, (30, 40, 50, 64, 78, 99, 120, 157, 193, 251, 308, 379, 449, 526, 602)),
        (4, (340, 378, 434, 490, 553, 616)),
        (6, (438, 466, 517, 567, 616, 666, 719, 772)),
    ),
}
# Implementation gap to the modulation-constrained capacity that stands in for measured NR curves: about
# 1 dB for NR LDPC at 10 % BLER and some 1000 bits, and a waterfall of about 1 dB from 90 % to 10 %.
_NR_GAP_DB = 1.0
_NR_SLOPE_DB = 0.25


@dataclass(frozen=True)
class McsTable:
    """A link's modulation and coding schemes, in the order of their indices.

    The AWGN block error rate of MCS ``m`` at SINR ``s`` for blocks of ``reference_bits`` is

        BLER_m(s) = sigmoid((threshold_db[m] - s) / slope_db[m])

    and for ``B`` bits the logit grows by ``ln(B / reference_bits)``: errors of short stretches are
    nearly independent, so ``1 - BLER`` is a product over the stretches.

    Args:
        name: what the table is; it travels in checkpoints.
        modulation_order: bits per symbol (1, 2, 4, 6, 8, ... `MAX_ORDER`), one per MCS, `MAX_MCS` at most.
        code_rate: inside (0, 1], one per MCS.
        threshold_db: SINR of 50 % BLER in dB, strictly increasing with the code rate on each
            modulation order's ladder.
        slope_db: logistic scale in dB, above 0, one per MCS and equal within a modulation order, so
            that no two curves of a ladder cross.
        reference_bits: information bits of the blocks that the curves hold for, up to `MAX_REFERENCE_BITS`.
        overhead_symbols: symbols (resource elements) that every block costs beside its payload:
            preamble and header of a packet radio; 0 for a slotted one.

    Raises:
        ValueError: lengths differ, a value is out of range, or a ladder is out of order.
    """

    name: str
    modulation_order: tuple[int, ...]
    code_rate: tuple[float, ...]
    threshold_db: tuple[float, ...]
    slope_db: tuple[float, ...]
    reference_bits: int = 1024
    overhead_symbols: float = 0.0

    def __post_init__(self) -> None:
        columns = (self.modulation_order, self.code_rate, self.threshold_db, self.slope_db)
        if not isinstance(self.name, str):
            raise ValueError(f"MCS table {self.name!r}: give it a name in letters")
        if len({len(c) for c in columns}) != 1 or not 1 <= len(self) <= MAX_MCS:
            raise ValueError(
                f"MCS table {self.name!r}: give as many orders as rates, thresholds and slopes,"
                f" 1 to {MAX_MCS} of each"
            )
        if not all(1 <= order <= MAX_ORDER and order == int(order) for order in self.modulation_order):
            raise ValueError(f"MCS table {self.name!r}: orders are whole numbers from 1 to {MAX_ORDER}")
        if not 1 <= self.reference_bits <= MAX_REFERENCE_BITS:
            raise ValueError(f"MCS table {self.name!r}: reference_bits is not from 1 to {MAX_REFERENCE_BITS}")
        if not all(_finite(v) for column in (*columns, (self.overhead_symbols,)) for v in column):
            raise ValueError(f"MCS table {self.name!r} has a value that is not finite")
        if not all(0 < r <= 1 for r in self.code_rate):
            raise ValueError(f"MCS table {self.name!r}: code rates lie inside (0, 1]")
        if min(self.slope_db) <= 0 or not 0 <= self.overhead_symbols < math.inf:
            raise ValueError(f"MCS table {self.name!r}: slopes are positive, overhead is not negative")
        for order in set(self.modulation_order):
            ladder = sorted(
                (self.code_rate[m], self.threshold_db[m], self.slope_db[m])
                for m in range(len(self))
                if self.modulation_order[m] == order
            )
            for (rate_a, low, slope_a), (rate_b, high, slope_b) in pairwise(ladder):
                if not (rate_a < rate_b and low < high and slope_a == slope_b):
                    raise ValueError(
                        f"MCS table {self.name!r}, modulation order {order},"
                        f" rates {rate_a:.4g} and {rate_b:.4g}: "
                        f"the threshold must rise with the rate ({low:.4g} -> {high:.4g} dB) "
                        f"and the slope stay ({slope_a:.4g}, {slope_b:.4g})"
                    )

    def __len__(self) -> int:
        return len(self.modulation_order)

    @cached_property
    def _hash(self) -> int:
        return hash((self.name, self.modulation_order, self.code_rate, self.threshold_db, self.slope_db))

    def __hash__(self) -> int:
        return self._hash  # once: caches by table ask for it at every block

    @classmethod
    def named(cls, name: str) -> McsTable:
        """The table of that name, one of `TABLES`, or the one in a curves file (see `from_curves`).

        Args:
            name: a name, or the path of a file that ends in ``.json``.

        Raises:
            ValueError: there is no such table, or the file is missing or garbled.
        """
        if name.endswith(".json"):
            try:
                if Path(name).stat().st_size > _LARGEST_FILE:
                    raise ValueError(f"a curves file has {_LARGEST_FILE} bytes at most")
                return cls.from_curves(Path(name).stem, json.loads(Path(name).read_text()))
            except (OSError, ValueError, RecursionError) as error:
                raise ValueError(f"table = {name!r}: {error}") from error
        if name not in TABLES:
            raise ValueError(f"table = {name!r}: give one of {', '.join(TABLES)}, or a curves file (.json)")
        if name in _CURVES:
            return cls.from_curves(name, json.loads((_MODELS / _CURVES[name]).read_text()))
        return cls.nr_pdsch(int(name[-1]))

    @classmethod
    def nr_pdsch(cls, table: int = 1) -> McsTable:
        """NR PDSCH MCS table 1 (64-QAM), 2 (256-QAM) or 3 (64-QAM, low spectral efficiency).

        Orders and rates are those of 3GPP TS 38.214, Tables 5.1.3.1-1 to -3. The standard has no BLER
        curves: the thresholds here are the SINR at which the capacity of the modulation in AWGN
        reaches the spectral efficiency, plus 1 dB. Bring measured curves where they matter.

        Raises:
            ValueError: ``table`` is not 1, 2 or 3.
        """
        if table not in _NR_PDSCH:
            raise ValueError(f"table = {table!r}: TS 38.214 has PDSCH MCS tables 1, 2 and 3")
        order = [q for q, rates in _NR_PDSCH[table] for _ in rates]
        rate = [r / 1024 for _, rates in _NR_PDSCH[table] for r in rates]
        threshold = [snr_at_capacity_db(q, q * r) + _NR_GAP_DB for q, r in zip(order, rate, strict=True)]
        return cls(
            name=f"nr-pdsch-{table}",
            modulation_order=tuple(order),
            code_rate=tuple(rate),
            threshold_db=tuple(threshold),
            slope_db=(_NR_SLOPE_DB,) * len(order),
        )

    @classmethod
    def amc(cls) -> McsTable:
        """The reference modem's ten MCS, with the curves that ``lighttune modem-curves`` measured."""
        return cls.named("amc")

    @classmethod
    def from_curves(cls, name: str, curves: dict) -> McsTable:
        """Build a table from the JSON document that ``lighttune modem-curves`` writes.

        Raises:
            ValueError: the document has another schema or lacks a key.
        """
        if not isinstance(curves, dict) or curves.get("schema") != 1:
            raise ValueError("the curves are not of schema 1, which this version reads: measure them anew")
        try:
            rows = curves["mcs"]
            return cls(
                name=name,
                modulation_order=tuple(int(r["modulation_order"]) for r in rows),
                code_rate=tuple(float(r["code_rate"]) for r in rows),
                threshold_db=tuple(float(r["threshold_db"]) for r in rows),
                slope_db=tuple(float(r["slope_db"]) for r in rows),
                reference_bits=8 * int(curves["payload_bytes"]),
                overhead_symbols=float(curves["overhead_symbols"]),
            )
        except (KeyError, TypeError, OverflowError) as error:
            raise ValueError(f"curves of {name!r} lack or garble {error}: measure them anew") from error

    @cached_property
    def spectral_efficiency(self) -> np.ndarray:
        """Information bits per symbol, shape ``(n_mcs,)``."""
        return np.array(self.modulation_order) * np.array(self.code_rate)

    @cached_property
    def threshold(self) -> np.ndarray:
        """`threshold_db` as an array, shape ``(n_mcs,)``."""
        return np.array(self.threshold_db)

    @cached_property
    def slope(self) -> np.ndarray:
        """`slope_db` as an array, shape ``(n_mcs,)``."""
        return np.array(self.slope_db)

    @cached_property
    def orders(self) -> np.ndarray:
        """The modulation orders that occur, rising, shape ``(n_orders,)``."""
        return np.unique(self.modulation_order)

    @cached_property
    def order_of(self) -> np.ndarray:
        """Place in `orders` of each MCS's modulation order, shape ``(n_mcs,)``."""
        return np.searchsorted(self.orders, self.modulation_order)

    @cached_property
    def above_middle_db(self) -> np.ndarray:
        """Each MCS's threshold over the middle of its modulation order's ladder in dB, ``(n_mcs,)``."""
        ladders = [self.threshold[self.order_of == q] for q in range(len(self.orders))]
        middle = np.array([(ladder.min() + ladder.max()) / 2 for ladder in ladders])
        return self.threshold - middle[self.order_of]

    @cached_property
    def by_efficiency(self) -> np.ndarray:
        """MCS indices in the order of rising spectral efficiency, shape ``(n_mcs,)``."""
        return np.argsort(self.spectral_efficiency, kind="stable")

    @cached_property
    def next_higher(self) -> np.ndarray:
        """The next more efficient MCS of each, itself for the most efficient one, shape ``(n_mcs,)``."""
        higher = np.arange(len(self))
        for m, above in pairwise(self.by_efficiency):
            higher[m] = above
        return higher

    @cached_property
    def most_robust(self) -> int:
        """Index of the MCS with the lowest threshold."""
        return int(np.argmin(self.threshold))

    @cached_property
    def digest(self) -> str:
        """Twelve hexadecimal digits that change with any figure of the table: checkpoints carry it."""
        columns = (self.modulation_order, self.code_rate, self.threshold_db, self.slope_db)
        text = json.dumps([*columns, self.reference_bits, self.overhead_symbols])
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def length_logit(self, bits: float | np.ndarray | None) -> float | np.ndarray:
        """What a block of ``bits`` adds to the BLER's logit: ``ln(bits / reference_bits)``."""
        return 0.0 if bits is None else np.log(np.maximum(bits, 1) / self.reference_bits)

    def bler(self, snr_db: float | np.ndarray, bits: int | None = None) -> np.ndarray:
        """AWGN BLER of every MCS at ``snr_db`` (scalar or shape ``S``); returns shape ``S + (n_mcs,)``."""
        logit = (self.threshold - np.asarray(snr_db)[..., None]) / self.slope + self.length_logit(bits)
        return sigmoid(logit)

    def snr_at_bler_db(self, bler: float, bits: int | None = None) -> np.ndarray:
        """SINR in dB at which each MCS has this AWGN BLER, shape ``(n_mcs,)``.

        Raises:
            ValueError: ``bler`` is not inside (0, 1).
        """
        if not 0 < bler < 1:
            raise ValueError(f"bler = {bler!r}: give a probability inside (0, 1)")
        return self.threshold + self.slope * (math.log((1 - bler) / bler) + self.length_logit(bits))

    def goodput_if_acked(self, bits: int | None = None) -> np.ndarray:
        """Information bits per symbol that an ACKed block carries, overhead counted, shape ``(n_mcs,)``."""
        size = self.reference_bits if bits is None else bits
        return size / (self.overhead_symbols + size / self.spectral_efficiency)


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond a double
        return False


def sigmoid(logit: float | np.ndarray) -> np.ndarray:
    """Logistic function that stays strictly inside (0, 1) in double and single precision."""
    return 1 / (
        1 + np.exp(-np.minimum(np.maximum(logit, -15.0), 15.0))
    )  # sigmoid(15) = 1 - 3e-7, five float32 steps below 1


def snr_at_capacity_db(order: int, efficiency: float) -> float:
    """SINR in dB at which ``order`` bits per symbol carry ``efficiency`` bits in AWGN.

    Square QAM is taken as two PAM of order / 2 bits; the mutual information of a PAM with Gaussian noise is
    integrated by Gauss-Hermite quadrature, and the SINR found by bisection.

    Raises:
        ValueError: ``efficiency`` is not inside (0, order).
    """
    if not 0 < efficiency < order:
        raise ValueError(
            f"efficiency = {efficiency!r}: a modulation of order {order} carries 0 to {order} bits"
        )
    levels = np.arange(2.0 ** (order / 2)) if order > 1 else np.arange(2.0)
    levels = (levels - levels.mean()) / levels.std()
    nodes, weights = np.polynomial.hermite.hermgauss(24)

    def information(snr_db: float) -> float:
        # One real dimension: unit energy; noise variance 1/snr (BPSK has all its energy in one: 1/(2 snr)).
        variance = 10 ** (-snr_db / 10) / (2 if order == 1 else 1)
        noise = np.sqrt(2 * variance) * nodes
        gap = levels[:, None, None] + noise[None, :, None] - levels[None, None, :]
        exponent = (noise[None, :, None] ** 2 - gap**2) / (2 * variance)
        loss = np.log2(np.exp(exponent).sum(axis=2)) @ weights / np.sqrt(np.pi)
        return float((np.log2(len(levels)) - loss.mean()) * (1 if order == 1 else 2))

    low, high = -30.0, 60.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if information(middle) < efficiency else (low, middle)
    return high
