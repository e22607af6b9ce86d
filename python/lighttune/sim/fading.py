# SPDX-License-Identifier: GPL-3.0-or-later
r"""Frequency-selective fading of many links, and the effective SINR of a block that is sent through it.

Tap ``l`` of a link is a sum of sinusoids with random angles of arrival and phases,

    h_l(t) = sqrt(P_l / M) sum_m exp(j (2 pi cos(alpha_lm) x(t) + phi_lm)),     x(t) = integral of f_d dt

whose ensemble autocorrelation at constant Doppler ``f_d`` is Clarke's ``P_l J0(2 pi f_d tau)`` (R. H. Clarke,
Bell System Technical Journal, 1968; Y. R. Zheng and C. Xiao, IEEE Commun. Letters, 2002, for the random
angles). A link with Rician factor ``K`` has a steady wave of power ``K / (K + 1)`` on its first tap besides.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

N_TAPS = 8
N_SINUSOIDS = 16  # per tap; eight already pass for Rayleigh (Zheng and Xiao)
_DECAY_PER_TAP = 0.5  # the last of eight taps is 15 dB below the first
_BLOCK = 64  # slots whose phasors come from one product of two factors

SNR_FLOOR_DB = -60.0
"""Effective SINRs are not below this."""


@dataclass(frozen=True, eq=False)
class Scattering:
    """The random geometry of links: everything about their fading but the speed.

    Args:
        cosine, phase, amplitude: of every wave, shape ``(n_links, N_TAPS + 1, N_SINUSOIDS)``; the last row of
            taps holds the steady wave.
        delay: of every tap, shape ``(n_links, N_TAPS + 1)``, in units of 1 / bandwidth.
    """

    cosine: np.ndarray
    phase: np.ndarray
    amplitude: np.ndarray
    delay: np.ndarray

    def __len__(self) -> int:
        return len(self.delay)

    def __getitem__(self, links: slice) -> Scattering:
        return Scattering(*(getattr(self, f.name)[links] for f in fields(self)))


def draw_scattering(rng: np.random.Generator, delay_spread: np.ndarray, rician_k: np.ndarray) -> Scattering:
    """Draw links whose gain has mean power 1.

    Args:
        delay_spread: RMS delay spread times bandwidth, shape ``(n_links,)``, 0 or more; 0 is flat fading.
        rician_k: power of the steady wave over that of the scattered ones, shape ``(n_links,)``; 0 is
            Rayleigh.
    """
    n_links = len(delay_spread)
    shape = (n_links, N_TAPS, N_SINUSOIDS)
    # One tap at a random place in each of eight cells: equal spacing would make the response periodic.
    place = np.arange(N_TAPS) + rng.random((n_links, N_TAPS))
    place -= place[:, :1]
    power = np.exp(-_DECAY_PER_TAP * place)
    power /= power.sum(axis=1, keepdims=True)
    mean = (power * place).sum(axis=1, keepdims=True)
    rms = np.sqrt((power * (place - mean) ** 2).sum(axis=1, keepdims=True))
    delay = place * (np.asarray(delay_spread)[:, None] / rms)

    scattered = 1.0 / (1.0 + np.asarray(rician_k))[:, None, None]
    amplitude = np.zeros((n_links, N_TAPS + 1, N_SINUSOIDS))
    amplitude[:, :-1] = np.sqrt(power[:, :, None] * scattered / N_SINUSOIDS)
    amplitude[:, -1, 0] = np.sqrt(1.0 - scattered[:, 0, 0])
    angle = np.empty((2, n_links, N_TAPS + 1, N_SINUSOIDS))
    angle[:, :, :-1] = rng.uniform(0, 2 * np.pi, (2, *shape))
    angle[:, :, -1] = rng.uniform(0, 2 * np.pi, (2, n_links, 1))
    return Scattering(np.cos(angle[0]), angle[1], amplitude, np.pad(delay, ((0, 0), (0, 1))))


def power_gains(
    scattering: Scattering,
    doppler_hz: np.ndarray,
    stretch_slots: tuple[int, ...],
    slot_s: float,
    n_subcarriers: int = 16,
) -> np.ndarray:
    """Power gain of every subcarrier in every slot.

    Args:
        scattering: the links.
        doppler_hz: maximum Doppler in each stretch of the run, shape ``(n_links, n_stretches)``; the fading
            is continuous where it changes.
        stretch_slots: slots of each stretch.
        slot_s: duration of a slot in seconds, within which the channel stands still.
        n_subcarriers: points of a coarse, even grid over the bandwidth.

    Returns:
        float32, shape ``(n_links, n_slots, n_subcarriers)``, mean 1.
    """
    cycles = np.zeros(len(scattering))
    taps = []
    for step, n_slots in zip((np.asarray(doppler_hz) * slot_s).T, stretch_slots, strict=True):
        taps.append(_taps(scattering, cycles, step, n_slots))
        cycles = cycles + step * n_slots
    frequency = (np.arange(n_subcarriers) + 0.5) / n_subcarriers - 0.5
    response = np.exp(-2j * np.pi * frequency[:, None] * scattering.delay[:, None, :]).astype(np.complex64)
    gain = response @ np.concatenate(taps, axis=2)
    # Slots stay adjacent in memory: sums over subcarriers run fast.
    return (gain.real**2 + gain.imag**2).swapaxes(1, 2)


def _taps(scattering: Scattering, cycles: np.ndarray, step: np.ndarray, n_slots: int) -> np.ndarray:
    """Tap gains of ``n_slots`` slots with ``step`` Doppler cycles each, complex64 ``(n_links, n_taps,
    n_slots)``.

    Slot ``i = a B + b`` turns a wave by ``exp(j w (a B)) exp(j w b)``: a matrix product over the waves
    instead of an exponential for each wave and slot.
    """
    turn = 2 * np.pi * scattering.cosine
    n_blocks = -(-n_slots // _BLOCK)
    start = cycles[:, None] + step[:, None] * _BLOCK * np.arange(n_blocks)
    coarse = np.exp(1j * (turn[:, :, None, :] * start[:, None, :, None] + scattering.phase[:, :, None, :]))
    coarse *= scattering.amplitude[:, :, None, :]
    fine = np.exp(1j * turn[..., None] * (step[:, None] * np.arange(_BLOCK))[:, None, None, :])
    taps = coarse.astype(np.complex64) @ fine.astype(np.complex64)
    return taps.reshape(*taps.shape[:2], -1)[:, :, :n_slots]


def effective_snr_db(
    gains: np.ndarray, mean_snr_db: float | np.ndarray, beta: float | np.ndarray
) -> np.ndarray:
    r"""Exponential effective SINR mapping: the AWGN SINR at which a block would fail as often.

        gamma_eff = -beta ln( (1 / K) sum_k exp(-gamma_k / beta) )

    3GPP TR 25.892 (V6.0.0), Annex A; ``beta`` is fitted to each modulation and code rate and grows with both.
    A small ``beta`` gives the weakest subcarrier, a large one the arithmetic mean.

    Args:
        gains: power gains, shape ``(n_links, n_slots, n_subcarriers)``.
        mean_snr_db: SINR at gain 1 in dB; broadcast to ``(n_links, n_slots)``.
        beta: above 0; broadcast likewise.

    Returns:
        In dB, shape ``(n_links, n_slots)``, not below `SNR_FLOOR_DB`.
    """
    beta = np.asarray(beta, np.float32)
    snr = gains * (10 ** (np.asarray(mean_snr_db, np.float32) / 10))[..., None]
    weakest = snr.min(axis=-1)  # taken out of the sum, which would underflow
    rest = np.exp((weakest[..., None] - snr) / beta[..., None]).mean(axis=-1)
    effective = weakest - beta * np.log(rest)
    return 10 * np.log10(np.maximum(effective, 10 ** (SNR_FLOOR_DB / 10)))
