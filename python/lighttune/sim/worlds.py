# SPDX-License-Identifier: GPL-3.0-or-later
"""The named worlds: a table of conditions, and how to draw one."""

from __future__ import annotations

from dataclasses import replace

from ..core.mcs import McsTable
from .conditions import Conditions, Population, Recipe
from .realise import World, realise

_PLAIN = Conditions()
_BURSTS = replace(_PLAIN, burst_inr_db=8.0)
_IMPAIRED = replace(_PLAIN, evm=0.1, floor=0.02, slope_factor=3.0)  # EVM of 10 %: a ceiling of 20 dB
_AGED = replace(_PLAIN, doppler_hz=(1.0, 100.0), report_delay_slots=(5, 8), report_step_db=(1.0, 2.0))
_FAST = replace(_PLAIN, doppler_hz=(60.0, 200.0))

WORLDS: dict[str, Recipe] = {
    "nominal": Recipe(((0.0, _PLAIN),)),
    "snr_bias_jump": Recipe(
        (
            (0.0, _PLAIN),
            (1 / 3, replace(_PLAIN, report_bias_db=3.0)),
            (2 / 3, replace(_PLAIN, report_bias_db=-3.0)),
        )
    ),
    "doppler_shift": Recipe(
        (
            (0.0, _PLAIN),
            (1 / 3, _FAST),
            (2 / 3, _AGED),
        )
    ),
    "interference": Recipe(((0.0, _PLAIN), (1 / 3, _BURSTS))),
    "impairment": Recipe(((0.0, _PLAIN), (1 / 3, _IMPAIRED))),
    "mixture": Recipe(
        (
            (0.0, _PLAIN),
            (0.25, replace(_FAST, report_bias_db=2.0)),
            (0.50, replace(_BURSTS, report_bias_db=-2.0)),
            (0.75, replace(_IMPAIRED, report_bias_db=3.0, burst_inr_db=5.0)),
        )
    ),
    "wrong_curves": Recipe(((0.0, _PLAIN),), Population(threshold_error_db=1.5, slope_error=(0.5, 2.0))),
    "formula_curves": Recipe(((0.0, _PLAIN),), Population(formula=True)),
}
"""The worlds by name. In the first nothing changes; in the last two the PHY's curves are not the table's, for
all links alike and for good; in each of the others something shifts in mid-run."""
SHIFTED = tuple(name for name in WORLDS if name not in ("nominal", "wrong_curves", "formula_curves"))
"""The worlds in which something shifts in mid-run."""


def make_world(name: str, table: McsTable, seed: int, n_links: int = 100, n_slots: int = 10_000) -> World:
    """Draw a world.

    Worlds of one seed and size have the same links, scattering, report noise and ACK draws: only the
    conditions differ.

    Args:
        name: a key of `WORLDS`.
        table: the links' MCS.
        seed: 0 or more; the same seed gives the same world.
        n_links, n_slots: size, at least 1 link and as many slots as the world has stretches.

    Raises:
        ValueError: there is no such world, or a size is out of range.
    """
    if name not in WORLDS:
        raise ValueError(f"world {name!r} is not known: give one of {', '.join(WORLDS)}")
    recipe = WORLDS[name]
    if n_links < 1 or n_slots < len(recipe.stretches):
        least = len(recipe.stretches)
        raise ValueError(f"{n_links} links, {n_slots} slots: world {name!r} needs 1 and {least} at least")
    return realise(name, recipe, table, seed, n_links, n_slots)
