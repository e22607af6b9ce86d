# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures that several folders of tests share."""

import signal

import numpy as np
import pytest
from gnuradio.lighttune.core.link_model import LinkModel
from gnuradio.lighttune.core.mcs import McsTable
from gnuradio.lighttune.core.predictor import Predictor
from hypothesis import HealthCheck, settings

from helpers import make_predictor

# A shell's background jobs ignore SIGINT, and so would every program that the tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Drawn from a seed, as all chance in the tests is. How long an example takes says what else the machine does.
settings.register_profile(
    "tests", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("tests")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20261123)


@pytest.fixture(scope="session")
def plain_model() -> LinkModel:
    """NR PDSCH table 1 without a network: the beliefs alone. Nothing writes to a model."""
    return LinkModel(McsTable.nr_pdsch(1))


@pytest.fixture
def plain_predictor() -> Predictor:
    """An encoder that believes the last report to within 0.7 dB, and layers that are silent until tuned."""
    return make_predictor(McsTable.nr_pdsch(1), np.random.default_rng(1))
