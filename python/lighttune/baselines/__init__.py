# SPDX-License-Identifier: GPL-3.0-or-later
"""What LightTune is compared with, and falls back to: each a link adapter (`core.messages.LinkAdapter`)."""

from .fixed import FixedMcs
from .genie import Genie
from .olla import Olla
from .salad import Salad
from .table import TableOnly
from .thompson import ThompsonSampling
from .trend_olla import TrendOlla

__all__ = ["FixedMcs", "Genie", "Olla", "Salad", "TableOnly", "ThompsonSampling", "TrendOlla"]
