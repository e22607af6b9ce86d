# SPDX-License-Identifier: GPL-3.0-or-later
"""Short and long frames in turn over a fading channel: the long ones fade while they last."""

from dataclasses import replace

import numpy as np
from gnuradio.lighttune.core.mcs import McsTable, sigmoid
from gnuradio.lighttune.sim.fading import draw_scattering, effective_snr_db, power_gains

from course import Course, link_at

BYTES = (20, 1500)
DOPPLER_HZ = 10.0
SYMBOL_RATE_HZ = 2e6
EVERY_MS = 12  # a frame begins; 1,500 bytes at half a bit per symbol take as long
_EESM_BETA = 4.0  # 16-QAM at a middle rate (see `sim.realise.BETA`)


def mixed_frames(table: McsTable, rng: np.random.Generator, n: int) -> list[Course]:
    """Frames of 20 and of 1,500 bytes in turn, over frequency-selective Rayleigh fading with 10 Hz of Doppler
    whose mean SINR lies in the upper half of the table. A frame's report is measured at its beginning."""
    low, high = table.threshold.min(), table.threshold.max()
    courses = []
    for _ in range(2):
        geometry = draw_scattering(rng, np.array([0.5]), np.array([0.0]))
        slots = (n + 4) * EVERY_MS
        gains = power_gains(geometry, np.array([[DOPPLER_HZ]]), (slots,), 1e-3)
        mean_db = rng.uniform((low + high) / 2, high)
        path_db = effective_snr_db(gains, np.array([[mean_db]]), np.array([[_EESM_BETA]]))[0].astype(float)
        bits = np.tile(8 * np.array(BYTES), n // 2 + 1)[:n]
        link = link_at(table, rng, path_db[: n * EVERY_MS : EVERY_MS])
        bler = np.empty((n, len(table)))
        for size in np.unique(bits):
            of_size = bits == size
            begins = np.flatnonzero(of_size) * EVERY_MS
            bler[of_size] = np.stack(
                [_bler(table, m, int(size), path_db, begins) for m in range(len(table))], axis=1
            )
        time_s = 1e-3 * EVERY_MS * np.arange(n)
        courses.append(replace(link, bler=bler[None], bits=bits, time_s=time_s))
    return courses


def _bler(table: McsTable, m: int, bits: int, path_db: np.ndarray, begins: np.ndarray) -> np.ndarray:
    """Of frames that begin at the milliseconds ``begins``: each millisecond of a frame is a block of its
    share of the bits, and all must decode."""
    symbols = table.overhead_symbols + bits / table.spectral_efficiency[m]
    parts = max(int(np.ceil(1e3 * symbols / SYMBOL_RATE_HZ)), 1)
    snr_db = path_db[begins[:, None] + np.arange(parts)]
    logit = (table.threshold_db[m] - snr_db) / table.slope_db[m] + table.length_logit(bits / parts)
    return 1 - np.prod(1 - sigmoid(logit), axis=1)
