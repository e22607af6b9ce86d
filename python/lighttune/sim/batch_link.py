# SPDX-License-Identifier: GPL-3.0-or-later
"""`core.link.Link` for all links of a world: the code that runs on the air, in one loop per slot."""

from __future__ import annotations

import numba
import numpy as np

from ..core import link_kernel, network, tuning
from ..core.belief import MATRIX, VECTOR
from ..core.compiled import compiler
from ..core.link_model import LinkModel
from ..core.record import BLER, LINKS, MCS, N_EXPERTS
from ..core.tuning import TUNED, TUNEDS, TuningPolicy

_compiled = compiler("record", "belief", "network", "link_kernel", "tuning", "features", "predictor")

_i64, _f64 = numba.int64, numba.float64
_TABLES = _f64[:, :, ::1]


class BatchLink:
    """LightTune for all links.

    Args:
        model: of all links: table, network, and what to maximise.
        n: number of rows.
        policy: when and how fast to tune the curves; None leaves them as they are.
        pool: all links are of one PHY: the curves that one tunes all take.
    """

    def __init__(
        self, model: LinkModel, n: int, policy: TuningPolicy | None = None, pool: bool = False
    ) -> None:
        self.model = model
        self.probe = np.zeros(n, bool)
        self._links = model.links(n)
        self._tables = np.repeat(model.rows[None], n, axis=0)
        self._curves = np.zeros((n, model.n_tuned))
        self.version = np.zeros(n, np.int64)  # of the curves that decide; 0 for the model's
        self._policy = (policy or TuningPolicy()).vector()
        self._tuned = np.zeros(0 if policy is None else 1 if pool else n, TUNED)
        for row in range(len(self._tuned)):
            tuning.begin(self._tuned, row, self._policy)
        self._length, self._gain = model.lengths.of(None)
        self._bler = np.zeros((n, len(model.table)))
        self._measured_at = np.full(n, np.inf)  # no report yet
        self._next = 0
        self._sent: dict[int, np.ndarray] = {}

    def report(self, rows: np.ndarray, snr_db: np.ndarray, measured_at: np.ndarray) -> None:
        """Take new reports."""
        _report(self._links, rows, snr_db)
        self._measured_at[rows] = measured_at

    def select(self, slot: int) -> tuple[np.ndarray, np.ndarray]:
        """Choose; see `Link.select`."""
        self._next = slot + 1
        model = self.model
        _select(
            self._links, self._tables, model.policy, model.net, self._gain, self._ages(slot), self._length,
            self._bler,
        )  # fmt: skip
        sent = self._links["sent"].copy()
        self._sent[slot] = sent
        self.probe = self._links["probe"] > 0
        return sent[:, MCS].astype(int), sent[:, BLER]

    def predict(self) -> np.ndarray:
        """Predicted BLER of every MCS in the slot that was chosen last, ``(n, n_mcs)``."""
        return self._bler

    def feedback(self, slot: int, ack: np.ndarray) -> None:
        """Take outcomes, and tune on them where the trigger asks for it; see `Link.feedback`."""
        model = self.model
        _feedback(
            self._links, self._tables, model.rows, model.policy, model.net, self._ages(self._next),
            self._sent.pop(slot), 1.0 - ack, self._tuned, self._policy, self._curves, self.version,
        )  # fmt: skip

    def _ages(self, slot: int) -> np.ndarray:
        return np.maximum(slot - self._measured_at, 1.0)


@_compiled(numba.void(LINKS, _i64[::1], VECTOR))
def _report(links, rows, snr_db):
    for i in range(len(rows)):
        network.report(links, rows[i], snr_db[i])


@_compiled(numba.void(LINKS, _TABLES, VECTOR, network.WEIGHTS, VECTOR, VECTOR, _f64, MATRIX))
def _select(links, tables, policy, net, gain, ages, length, bler):
    work = np.zeros((N_EXPERTS + 1, tables.shape[2]))
    for row in range(len(links)):
        link_kernel.select(links, row, tables[row], policy, net, gain, ages[row], length, -1, work)
        bler[row] = work[N_EXPERTS]


@_compiled(
    numba.void(
        LINKS, _TABLES, MATRIX, VECTOR, network.WEIGHTS, VECTOR, MATRIX, VECTOR, TUNEDS, VECTOR, MATRIX,
        _i64[::1],
    )
)  # fmt: skip
def _feedback(links, tables, base, policy, net, ages, sent, nack, tuned, tuning_policy, curves, version):
    together = len(tuned) < len(links)
    moved, any_moved = np.zeros(len(links), numba.boolean), False
    for row in range(len(links)):
        link_kernel.outcome(links, row, tables[row], policy, net, sent[row], nack[row], ages[row])
        if len(tuned):
            moved[row] = tuning.learn_sent(
                tuned, min(row, len(tuned) - 1), tuning_policy, sent[row], nack[row]
            )
            any_moved = any_moved or moved[row]
    for row in range(len(links)):
        if moved[row] or (together and any_moved):
            at = min(row, len(tuned) - 1)
            tuning.read(tuned, at, curves[row])
            for i in range(curves.shape[1]):
                curves[row, i] = np.float32(curves[row, i])  # as `LinkTuner.model_of` sends them
            tuning.retable(curves[row], base, tables[row])
            version[row] = tuned[at].updates
