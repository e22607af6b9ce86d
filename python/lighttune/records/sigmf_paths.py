# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a capture's files are."""

from __future__ import annotations

from pathlib import Path

SAMPLE_BYTES = 8
"""Of a complex sample of two float32."""


def segment_path(stem: Path, segment: int) -> Path:
    """The samples of a capture's segment, from 1."""
    return stem.with_name(f"{stem.name}-{segment:04d}.sigmf-data")


def events_path(data: Path) -> Path:
    """Where the events of a segment are kept until it is finished."""
    return data.with_suffix(".events")
