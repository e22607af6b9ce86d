# SPDX-License-Identifier: GPL-3.0-or-later
"""The GNU Radio blocks: thin adapters over `core`, `baselines` and `modem`."""

from .ack_merge import ack_merge
from .amc_rx import amc_rx
from .amc_tx import amc_tx
from .mcs_selector import mcs_selector
from .olla_selector import olla_selector
from .tuner import tuner

__all__ = ["ack_merge", "amc_rx", "amc_tx", "mcs_selector", "olla_selector", "tuner"]
