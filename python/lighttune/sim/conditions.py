# SPDX-License-Identifier: GPL-3.0-or-later
"""What a world is made of: a population of links, and conditions that hold for stretches of the run."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

Range = tuple[float, float]


@dataclass(frozen=True)
class Population:
    """How links differ; a range is drawn from uniformly, once per link.

    Args:
        snr_margin_db: mean SNR from the table's lowest threshold plus the first to its highest plus the
            second.
        delay_spread: RMS delay spread times bandwidth, log-uniform.
        flat_share, rician_share: shares of links with flat fading, and with a steady wave.
        rician_k_db: Rician factor of those.
        beta_jitter: standard deviation of the log of each modulation order's EESM beta, around
            `realise.BETA`.
        report_beta: EESM beta of the receiver's SINR report, log-uniform. The default is all but the
            arithmetic mean over the subcarriers, which is what the reference modem's receiver reports, and a
            wideband SINR in NR: a block's effective SINR falls short of it, by more for low orders and fast
            fades.
        clean_share: share of links whose reports are neither noisy nor rounded, whatever the conditions say.
        threshold_jitter_db: standard deviation of each link's MCS thresholds around the PHY's.
        threshold_error_db: standard deviation of the PHY's thresholds around the table's, for all links
            alike.
        slope_error: the PHY's slopes over the table's, log-uniform, for all links alike.
        formula: the PHY's thresholds are capacity's at its spectral efficiency plus 1 dB, whatever the table
            says: a table whose curves nobody measured is as far off.
    """

    snr_margin_db: Range = (2.0, 3.0)
    delay_spread: Range = (0.2, 2.0)
    flat_share: float = 0.0
    rician_share: float = 0.2
    rician_k_db: Range = (0.0, 10.0)
    beta_jitter: float = 0.1
    report_beta: Range = (100.0, 4000.0)
    clean_share: float = 0.0
    threshold_jitter_db: float = 0.2
    threshold_error_db: float = 0.0
    slope_error: Range = (1.0, 1.0)
    formula: bool = False


@dataclass(frozen=True)
class Conditions:
    """What holds for a stretch of the run; a link keeps its place within a range through all stretches.

    Args:
        doppler_hz: maximum Doppler.
        report_delay_slots: from measurement to use of a report, whole numbers, 1 to `realise.PREROLL`.
        report_bias_db: is added to every report.
        report_noise_db: standard deviation of the error of a report.
        report_step_db: reports are rounded to multiples of this; 0 for none.
        evm: error vector magnitude of the receiver: the effective SINR ``s`` of a block becomes
            ``1 / (1 / s + evm^2)``.
        floor: share of blocks that fail at any SINR.
        slope_factor: by which the waterfalls are wider (in dB) than the table's: their slope is smaller.
        burst_inr_db: interference over noise during a burst; minus infinity for no bursts. Reports do not
            show it: they are measured on other resources.
        burst_slots, quiet_slots: mean lengths of a burst and of the time between two; both are geometric.
    """

    doppler_hz: Range = (5.0, 40.0)
    report_delay_slots: tuple[int, int] = (2, 4)
    report_bias_db: float = 0.0
    report_noise_db: Range = (0.3, 0.7)
    report_step_db: Range = (0.5, 0.5)
    evm: float = 0.0
    floor: float = 0.0
    slope_factor: float = 1.0
    burst_inr_db: float = -np.inf
    burst_slots: float = 30.0
    quiet_slots: float = 120.0


@dataclass(frozen=True)
class Recipe:
    """A world's table entry: ``(share of the run at which they begin, conditions)``, the first at 0."""

    stretches: tuple[tuple[float, Conditions], ...]
    population: Population = field(default_factory=Population)
