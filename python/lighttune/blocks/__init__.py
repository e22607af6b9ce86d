# SPDX-License-Identifier: GPL-3.0-or-later
"""The GNU Radio blocks: thin adapters over `core`, `baselines` and `modem`."""

__all__ = []
