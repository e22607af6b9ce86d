# SPDX-License-Identifier: GPL-3.0-or-later
"""HARQ of which only the end is told: an MCS that is far too high ends well, after many attempts."""

from dataclasses import replace

import numpy as np
from gnuradio.lighttune.core.mcs import sigmoid

from course import Course

ATTEMPTS = 4


def final_verdicts(link: Course, rng: np.random.Generator) -> Course:
    """Up to four attempts, whose energies add up (chase combining); the verdict carries the last attempt's
    number and comes four blocks later.

    With ``F_k`` the BLER at ``k`` times the SINR, attempt ``k`` fails after those before it with
    ``F_k / F_{k-1}``: what decoded with less energy would have decoded with more.
    """
    table = link.table
    energy_db = 10 * np.log10(1 + np.arange(ATTEMPTS))
    snr_db = link.snr_db + energy_db[:, None]
    fails = sigmoid((table.threshold - snr_db[..., None]) / table.slope)
    fails[1:] = np.minimum(fails[1:] / fails[:-1], 1.0)
    draws = np.concatenate([link.draws, rng.random((ATTEMPTS - 1, len(link)))])
    return replace(link, bler=fails, draws=draws, told_at=np.arange(len(link)) + ATTEMPTS)
