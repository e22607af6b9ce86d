# SPDX-License-Identifier: GPL-3.0-or-later
"""All targets."""

from __future__ import annotations

from pathlib import Path

from . import Feed, Target, formats, handlers, taps

TARGETS = {target.name: target for target in (*handlers.TARGETS, *taps.TARGETS, *formats.TARGETS)}
"""By name."""


def together() -> Target:
    """All targets as one: the first byte of an input says whose it is."""
    targets = list(TARGETS.values())

    def make(folder: Path) -> Feed:
        feeds = []
        for number, target in enumerate(targets):
            (folder / str(number)).mkdir()
            feeds.append(target.make(folder / str(number)))
        return lambda data: feeds[data[0] % len(feeds)](data[1:]) if data else False

    seeds = [bytes([number]) + seed for number, target in enumerate(targets) for seed in target.seeds()]
    return Target("all", make, lambda: seeds, max(target.largest for target in targets))
