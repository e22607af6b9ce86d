# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures of the tests of the tuner service."""

import numpy as np
import pytest
from gnuradio.lighttune.core.mcs import McsTable
from gnuradio.lighttune.core.predictor import Predictor

from helpers import make_predictor


@pytest.fixture(scope="session")
def plain_predictor() -> Predictor:
    """As the one of the other tests, but made once: the service copies what it changes."""
    return make_predictor(McsTable.nr_pdsch(1), np.random.default_rng(1))
