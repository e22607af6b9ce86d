# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures of the tests of the blocks."""

import numpy as np
import pytest
from gnuradio.lighttune.core.mcs import McsTable
from gnuradio.lighttune.core.predictor import Predictor

from helpers import make_predictor


@pytest.fixture(scope="session")
def plain_predictor() -> Predictor:
    """As the one of the other tests, but made once: the blocks copy what they change."""
    return make_predictor(McsTable.nr_pdsch(1), np.random.default_rng(1))
