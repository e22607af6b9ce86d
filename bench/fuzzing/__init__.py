# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever comes from outside, as fuzz targets: `bench/fuzz.py` and `tests/fuzz` feed the same ones.

A target is a function of bytes that says whether it took them (True) or refused them as documented (False),
and raises whatever else happens: that is a finding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Feed = Callable[[bytes], bool]


@dataclass(frozen=True)
class Target:
    """What is fuzzed.

    Args:
        name: of it.
        make: makes the function that takes an input; gets an empty folder that it may write into.
        seeds: makes inputs to begin with, small, most of them taken.
        largest: bytes of an input at most.
        share: of the inputs that a target gets otherwise: less than 1 for slow ones.
    """

    name: str
    make: Callable[[Path], Feed]
    seeds: Callable[[], list[bytes]]
    largest: int = 4096
    share: float = 1.0
